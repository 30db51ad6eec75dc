//! Runs one of a database's own tools as a child in its own process group, with a time limit.
//! The group is killed when the limit passes or the caller gives up. Secrets never pass through arguments.

use crate::host::FileError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::path::Path;
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
        let all = format!("{}{}", output.stderr, if output.stderr.is_empty() { &output.stdout } else { "" });
        let skip = all.trim_end().chars().count().saturating_sub(SAID_CHARS_MAX);
        let said = all.trim_end().chars().skip(skip).collect();
        Err(ToolError::Failed { tool: self.name, status: status.to_string(), said })
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
