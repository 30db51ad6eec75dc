//! What `agent` and `proxy` have in common: a log on standard error, a runtime, an end at SIGTERM or SIGINT.

use crate::cli::Service;
use crate::failure::Failure;
use std::future::Future;
use std::io::IsTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Threads of a service: one for its loop, one for what is slow.
const THREADS: usize = 2;

/// What is logged unless DAUPHIN_LOG says otherwise. The consensus library tells its every thought at `info`.
const LOG_DEFAULT: &str = "info,openraft=error";

/// Runs a service to its end. It hears of SIGTERM and SIGINT through the future it is given.
pub(crate) fn run<F, Fut, E>(options: &Service, service: F) -> Result<(), Failure>
where
    F: FnOnce(Stop) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Failure>,
{
    if options.own_session {
        // fails only for a process that leads a group already: then nobody's terminal can end it either
        let _ = rustix::process::setsid();
    }
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("no threads to run with: {e}"), ""))?;
    runtime.block_on(async {
        let stop = Stop::listen()?;
        service(stop).await.map_err(Into::into)
    })
}

/// Ends when somebody asks this process to end.
pub(crate) struct Stop {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("signals cannot be heard: {e}"), "");
        Ok(Self {
            term: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    /// Waits for it.
    pub(crate) async fn asked(mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn log() {
    let filter = EnvFilter::try_from_env("DAUPHIN_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // a second log in one process is impossible here
    let _ = log.try_init();
}
