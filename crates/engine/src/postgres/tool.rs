//! Runs one of PostgreSQL's own tools as a child in its own process group, with a time limit.
//! The group is killed when the limit passes or the caller gives up. Secrets never pass through arguments.

use crate::postgres::{Binaries, Error, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Most of a tool's output that is kept, in bytes; the end of it.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Most of it that goes into an error, in characters.
const SAID_CHARS_MAX: usize = 600;

/// A tool about to run.
pub struct Tool {
    name: &'static str,
    command: Command,
    input: Option<String>,
    watch: Option<Watch>,
}

/// Told what a tool writes to standard error, as it comes.
type Watch = Box<dyn Fn(&str) + Send>;

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tool").field(&self.name).finish()
    }
}

/// What a tool wrote.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Tool {
    /// One of `binaries`' programs, in a clean environment and the C locale.
    #[must_use]
    pub fn new(binaries: &Binaries, name: &'static str) -> Self {
        let mut command = Command::new(binaries.program(name));
        command.env_clear().env("LC_ALL", "C").env("PATH", &binaries.dir).env("TZ", "UTC");
        // libpq would look for certificates and passwords at home
        command.env("HOME", "/nonexistent");
        if let Some(path) = &binaries.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        Self { name, command, input: None, watch: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.command.args(args);
        self
    }

    /// Gives it this text on standard input.
    #[must_use]
    pub fn input(mut self, text: String) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(text);
        self
    }

    /// Tells `watch` what it writes to standard error, as it comes.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(&str) + Send + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`Error::Tool`] when it fails, [`Error::TimedOut`] after `limit`, [`Error::File`] when it cannot be started.
    pub async fn run(mut self, limit: Duration) -> Result<Output> {
        let path = self.command.as_std().get_program().to_owned();
        let child = self.command.spawn().map_err(Error::file("run", path.as_ref()))?;
        let mut group = Group { child };
        let ended = tokio::time::timeout(limit, group.finish(self.input.take(), self.watch.take())).await;
        let Ok(ended) = ended else {
            return Err(Error::TimedOut { doing: self.name, limit, hint: "" });
        };
        let (status, output) = ended.map_err(Error::file("run", path.as_ref()))?;
        if status.success() {
            return Ok(output);
        }
        let all = format!("{}{}", output.stderr, if output.stderr.is_empty() { &output.stdout } else { "" });
        let skip = all.trim_end().chars().count().saturating_sub(SAID_CHARS_MAX);
        let said = all.trim_end().chars().skip(skip).collect();
        Err(Error::Tool { tool: self.name, status: status.to_string(), said })
    }
}

/// The child and all it started; killed together when dropped.
struct Group {
    child: Child,
}

impl Group {
    async fn finish(
        &mut self,
        input: Option<String>,
        watch: Option<Watch>,
    ) -> std::io::Result<(std::process::ExitStatus, Output)> {
        let (stdin, stdout, stderr) = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let write = async {
            if let (Some(mut pipe), Some(text)) = (stdin, input) {
                // a tool that ends early closes the pipe: its status says why
                let _ = pipe.write_all(text.as_bytes()).await;
            }
        };
        let ((), stdout, stderr) = tokio::join!(write, tail(stdout, None), tail(stderr, watch));
        let status = self.child.wait().await?;
        Ok((status, Output { stdout, stderr }))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // the id is gone once the child has been waited for, so nothing else can be hit
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn tail(pipe: Option<impl AsyncRead + Unpin>, watch: Option<Watch>) -> String {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut buffer = [0u8; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..n]);
            if let Some(watch) = &watch {
                watch(&String::from_utf8_lossy(&buffer[..n]));
            }
            if kept.len() > 2 * OUTPUT_BYTES_MAX {
                kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
