//! The new process: asks the one that runs for its listening sockets once it could take clients itself. The service calls it, step by
//! step; until the last one the other process serves as before, whatever happens here.

use super::place::Place;
use super::wire::{Said, Wire, WireError};
use super::{FormerProcess, PROGRAM, READY_MAX, STEP_MAX, VERSION, tie};
use crate::hub::Hub;
use crate::{ProxyError, ports};
use dauphin_model::{ClusterName, Term};
use std::net::TcpListener as StdListener;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How often it is looked whether enough was heard, besides at each change of leader.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The process that runs.
pub(crate) struct Former {
    wire: Wire,
    pid: u32,
    program: String,
    /// What it knows of the cluster.
    term: Term,
    open: bool,
    /// How many clients it goes on to serve.
    clients: u64,
}

/// Before it is known who it is.
fn unknown(error: &WireError) -> ProxyError {
    ProxyError::TakeOver(format!("the process that runs: {error}"))
}

impl Former {
    /// Says who is here and hears who is there.
    ///
    /// # Errors
    /// [`ProxyError::TakeOver`] when it refuses, or is not understood.
    pub(crate) async fn greet(stream: StdStream, cluster: &ClusterName) -> Result<Self, ProxyError> {
        let greet = async {
            stream.set_nonblocking(true)?;
            let mut wire = Wire::new(UnixStream::from_std(stream)?)?;
            let (cluster, pid) = (cluster.to_string(), std::process::id());
            let hello = Said::Hello { version: VERSION, cluster, pid, program: PROGRAM.into() };
            wire.send(&hello, &[]).await?;
            match wire.recv_within(STEP_MAX).await? {
                Said::Greeting { version: VERSION, pid, program, term, open } => {
                    Ok(Self { wire, pid, program, term: Term(term), open, clients: 0 })
                }
                Said::Refused { why } => Err(WireError::Refused(why)),
                _ => Err(WireError::Nonsense),
            }
        };
        greet.await.map_err(|error| unknown(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> ProxyError {
        ProxyError::TakeOver(format!("process {}: {error}", self.pid))
    }

    /// Waits until this process knows as much of the cluster as that one does: clients are not sent back in time.
    ///
    /// # Errors
    /// [`ProxyError::NotReady`] when the agents do not say it in time; [`ProxyError::TakeOver`] when that process ends meanwhile.
    pub(crate) async fn await_known(&mut self, hub: &Hub) -> Result<(), ProxyError> {
        let least = self.term.max(Term(1));
        let mut views = hub.subscribe();
        let known = async {
            loop {
                let view = Arc::clone(&views.borrow_and_update());
                let behind = view.term < least || (self.open && view.admitting_leader().is_none());
                if !behind {
                    return;
                }
                let _ = timeout(LOOK_EVERY, views.changed()).await;
            }
        };
        tokio::select! {
            known = timeout(READY_MAX, known) => {
                known.map_err(|_| ProxyError::NotReady { pid: self.pid, least, heard: hub.term() })
            }
            // It has nothing to say now.
            said = self.wire.recv() => Err(self.failed(&said.err().unwrap_or(WireError::Nonsense))),
        }
    }

    async fn hear(&mut self) -> Result<Said, ProxyError> {
        match self.wire.recv_within(STEP_MAX).await {
            Ok(Said::Refused { why }) => Err(self.failed(&why)),
            Ok(said) => Ok(said),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn say(&self, said: &Said) -> Result<(), ProxyError> {
        self.wire.send(said, &[]).await.map_err(|error| self.failed(&error))
    }

    /// Its listening sockets. It goes on accepting from them.
    ///
    /// # Errors
    /// [`ProxyError::TakeOver`].
    pub(crate) async fn sockets(&mut self) -> Result<Vec<StdListener>, ProxyError> {
        self.say(&Said::Take).await?;
        let Said::Sockets { count } = self.hear().await? else { return Err(self.failed(&WireError::Nonsense)) };
        let sockets: Vec<_> = self.wire.sockets().into_iter().filter_map(ports::adopt).collect();
        if sockets.len() != count {
            let why =
                format!("of {count} listening sockets {} arrived: are there too few file descriptors?", sockets.len());
            return Err(self.failed(&why));
        }
        Ok(sockets)
    }

    /// Has it accept nobody any more: this process is to accept at once when this has ended well.
    ///
    /// # Errors
    /// [`ProxyError::TakeOver`] when it goes on instead.
    pub(crate) async fn replace(&mut self, place: &Place) -> Result<(), ProxyError> {
        self.say(&Said::Ready).await?;
        let Said::Yours = self.hear().await? else { return Err(self.failed(&WireError::Nonsense)) };
        self.say(&Said::Serving).await?;
        match self.wire.recv_within(STEP_MAX).await {
            Ok(Said::Draining { clients }) => {
                self.clients = clients;
                Ok(())
            }
            Ok(_) => Err(self.failed(&WireError::Nonsense)),
            // It has been told, and stands still: it will find that when it goes on.
            Err(WireError::Silent) => Ok(()),
            // It goes on by itself, unless it is dead.
            Err(error) => match place.call()? {
                Some(_) => Err(self.failed(&error)),
                None => Ok(()),
            },
        }
    }

    /// Stays in touch with it while it still has clients.
    pub(crate) fn follow(self, hub: &Arc<Hub>) {
        tracing::info!(
            "took over from process {} (version {}), which serves its clients to their end",
            self.pid,
            self.program
        );
        let Self { wire, pid, program, clients, .. } = self;
        let left_s = hub.rules().limits.drain.as_secs();
        // Until it tells more, in a moment.
        tie::follow(hub, wire, FormerProcess { pid, program, clients, in_transaction: 0, drains_s: 0, left_s });
    }
}
