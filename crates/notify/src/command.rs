//! A program that tells people: it gets the document on its standard input, an empty environment, and a time limit. It runs
//! as the agent's user; how it ends says whether it took the notice.

use crate::error::SendError;
use crate::secret;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How long it may take.
const RUNS_WITHIN: Duration = Duration::from_secs(30);
/// What of its errors is shown, in bytes.
const SHOWN_BYTES: u64 = 200;
/// Where it finds other programs.
const SEARCHED: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs it; what it said if it ended well.
pub(crate) async fn run(program: &Path, body: &[u8]) -> Result<String, SendError> {
    let checked = program.to_owned();
    let interrupted = |_| SendError::Program("was not looked at to the end".to_owned());
    tokio::task::spawn_blocking(move || secret::check_program(&checked)).await.map_err(interrupted)??;
    let mut child = Command::new(program)
        .env_clear()
        .env("PATH", SEARCHED)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // one group, so that what it started ends with it
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| SendError::Program(format!("cannot be started: {e}")))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let work = async {
        if let Some(mut stdin) = stdin {
            // a program that does not read is judged by how it ends
            let _ = stdin.write_all(body).await;
        }
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr).take(SHOWN_BYTES).read_to_end(&mut said).await;
            // the rest is read too: a full pipe would stop it
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        (child.wait().await, said)
    };
    let Ok((ended, said)) = tokio::time::timeout(RUNS_WITHIN, work).await else {
        if let Some(group) = group {
            // not waited for yet: the number is still its own
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        return Err(SendError::Program(format!("did not end within {} s", RUNS_WITHIN.as_secs())));
    };
    let said: String = String::from_utf8_lossy(&said).trim().chars().filter(|c| !c.is_control()).collect();
    match ended {
        Ok(status) if status.success() => Ok("the program ended well".to_owned()),
        Ok(status) => Err(SendError::Program(format!("ended with {status}: {said}"))),
        Err(error) => Err(SendError::Program(error.to_string())),
    }
}
