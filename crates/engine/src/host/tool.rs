//! Runs one of a database's own tools as a child in its own process group, with a time limit.
//! The group is killed when the limit passes or the caller gives up. Secrets never pass through arguments.

use crate::host::FileError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Most of a tool's output that is kept, in bytes; the end of it.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Most of it that goes into an error, in characters.
const SAID_CHARS_MAX: usize = 600;
/// How long a tool may take to end after its pipes broke.
const BROKEN_LIMIT: Duration = Duration::from_secs(5);

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

/// Why a tool gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It failed.
    #[error("{tool} failed ({status}): {said}")]
    Failed {
        /// Its name.
        tool: &'static str,
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// It took too long, and was killed.
    #[error("{tool} did not end within {} ms", limit.as_millis())]
    TimedOut {
        /// Its name.
        tool: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// What should go into it or come out of it broke off.
    #[error("the stream of {tool} broke: {source}; it said: {said}")]
    Stream {
        /// Its name.
        tool: &'static str,
        /// What broke.
        source: std::io::Error,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// It could not be started.
    #[error(transparent)]
    File(#[from] FileError),
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
    /// A program, in a clean environment and the C locale. `libraries` are folders for `LD_LIBRARY_PATH`.
    #[must_use]
    pub fn of(program: &Path, name: &'static str, libraries: Option<&str>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        if let Some(dir) = program.parent() {
            command.env("PATH", dir);
        }
        // client libraries would look for certificates, passwords and options at home
        command.env("HOME", "/nonexistent");
        if let Some(path) = libraries {
            command.env("LD_LIBRARY_PATH", path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        Self { name, command, input: None, watch: None }
    }

    /// Folders of programs that the tool itself runs, after its own.
    #[must_use]
    pub fn path(mut self, more: &[&str]) -> Self {
        let own = Path::new(self.command.as_std().get_program()).parent().map(Path::to_owned);
        let all = own.into_iter().chain(more.iter().map(|dir| Path::new(dir).to_owned()));
        // a folder with a colon in its name cannot be in a path: the tool then says what it lacks
        self.command.env("PATH", std::env::join_paths(all).unwrap_or_default());
        self
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

    /// Runs it in this folder.
    #[must_use]
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs it to its end while `body` writes to its standard input and reads from its standard output; both are closed when
    /// `body` is done.
    ///
    /// # Errors
    /// [`ToolError::Stream`] with what `body` met, unless the tool failed by itself.
    pub async fn stream<T>(
        mut self,
        limit: Duration,
        body: impl AsyncFnOnce(ChildStdin, ChildStdout) -> std::io::Result<T>,
    ) -> Result<T, ToolError> {
        let path = self.command.as_std().get_program().to_owned();
        let at = |source| ToolError::File(FileError::at("run", path.as_ref())(source));
        let child = self.command.stdin(Stdio::piped()).spawn().map_err(at)?;
        let mut group = Group { child };
        let tool = self.name;
        let pipes = (group.child.stdin.take(), group.child.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else { return Err(at(std::io::ErrorKind::BrokenPipe.into())) };
        let stderr = tail(group.child.stderr.take(), self.watch.take());
        let ended = async {
            let given = body(stdin, stdout).await;
            // without its pipes it ends, or hangs: what it says then is worth a moment, not more
            let patience = if given.is_ok() { limit } else { BROKEN_LIMIT };
            let status = tokio::time::timeout(patience, group.child.wait()).await;
            if status.is_err() {
                group.kill();
            }
            (given, status)
        };
        let run = async { tokio::join!(ended, stderr) };
        let Ok(((given, status), stderr)) = tokio::time::timeout(limit, run).await else {
            return Err(ToolError::TimedOut { tool, limit });
        };
        let said = end_of(&stderr);
        match (given, status) {
            (Ok(value), Ok(Ok(status))) if status.success() => Ok(value),
            (Err(source), _) if source.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(ToolError::Stream { tool, source, said })
            }
            (_, Ok(Ok(status))) => Err(ToolError::Failed { tool, status: status.to_string(), said }),
            (_, Ok(Err(source))) => Err(at(source)),
            (Err(source), Err(_)) => Err(ToolError::Stream { tool, source, said }),
            (Ok(_), Err(_)) => Err(ToolError::TimedOut { tool, limit }),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn run(mut self, limit: Duration) -> Result<Output, ToolError> {
        let path = self.command.as_std().get_program().to_owned();
        let child = self.command.spawn().map_err(FileError::at("run", path.as_ref()))?;
        let mut group = Group { child };
        let ended = tokio::time::timeout(limit, group.finish(self.input.take(), self.watch.take())).await;
        let Ok(ended) = ended else {
            return Err(ToolError::TimedOut { tool: self.name, limit });
        };
        let (status, output) = ended.map_err(FileError::at("run", path.as_ref()))?;
        if status.success() {
            return Ok(output);
        }
        let said = end_of(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        Err(ToolError::Failed { tool: self.name, status: status.to_string(), said })
    }
}

/// What of a tool's output goes into an error.
pub(crate) fn end_of(said: &str) -> String {
    let skip = said.trim_end().chars().count().saturating_sub(SAID_CHARS_MAX);
    said.trim_end().chars().skip(skip).collect()
}

/// The child and all it started; killed together when dropped.
pub(crate) struct Group {
    pub(crate) child: Child,
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

impl Group {
    fn kill(&self) {
        // the id is gone once the child has been waited for, so nothing else can be hit
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Tool {
        Tool::of(Path::new("/bin/sh"), "sh", None).args(["-c", script])
    }

    async fn through(script: &str) -> Result<Vec<u8>, ToolError> {
        let body = async |mut stdin: ChildStdin, mut stdout: ChildStdout| {
            stdin.write_all(b"in").await?;
            drop(stdin);
            let mut read = Vec::new();
            stdout.read_to_end(&mut read).await?;
            Ok(read)
        };
        shell(script).stream(LIMIT, body).await
    }

    #[tokio::test]
    async fn a_stream_goes_through_a_tool_and_its_status_counts() {
        assert_eq!(through("read x; echo $x out").await.expect("it ends well"), b"in out\n");
        let failed = through("cat; echo disk full >&2; exit 3").await.expect_err("it failed").to_string();
        assert!(failed.contains("disk full"), "{failed}");
    }

    #[tokio::test]
    async fn a_stream_that_breaks_ends_the_tool_and_tells_both_sides() {
        let body = async |_, _| Err::<(), _>(std::io::Error::other("the other machine is gone"));
        let script = "echo at work >&2; cat; echo ended >&2";
        let said = shell(script).stream(LIMIT, body).await.expect_err("it broke").to_string();
        assert!(said.contains("the other machine is gone") && said.contains("at work"), "{said}");
        // a tool that closed its own pipe has the reason
        let body = async |mut stdin: ChildStdin, mut stdout: ChildStdout| {
            let mut end = Vec::new();
            stdout.read_to_end(&mut end).await?;
            stdin.write_all(&[0; 1 << 20]).await
        };
        let said = shell("echo no space >&2; exit 1").stream(LIMIT, body).await.expect_err("it failed").to_string();
        assert!(said.contains("no space"), "{said}");
    }
}
