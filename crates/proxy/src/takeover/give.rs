//! The process that runs: hands its listening sockets to a new one that asks for them, and takes clients until the very last step, so
//! that whatever befalls the new process before changes nothing here. The service starts it. It ends no client.

use super::wire::{SOCKETS_MAX, Said, Wire, WireError};
use super::{Estate, PROGRAM, READY_MAX, STEP_MAX, VERSION, tie};
use crate::ports::Accepting;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Pause after the system refuses to accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Most processes that are listened to at once.
const CALLERS_MAX: usize = 16;

/// Who wants to take over.
struct Heir {
    pid: u32,
    program: String,
    wire: Wire,
}

/// Answers new processes until one has taken over, and then that one, until the proxy has stopped.
pub(crate) async fn give(estate: Arc<Estate>, listener: UnixListener) {
    let Some(accepting) = estate.accepting.upgrade() else { return };
    let stopped = stopped(accepting.subscribe());
    drop(accepting);
    tokio::pin!(stopped);
    let mut giving: JoinSet<Option<Heir>> = JoinSet::new();
    let turn = Arc::new(Semaphore::new(1));
    let heir = loop {
        tokio::select! {
            biased;
            Some(given) = giving.join_next() => if let Ok(Some(heir)) = given {
                break heir;
            },
            () = &mut stopped => return,
            called = listener.accept() => match called.map(|(stream, _)| Wire::new(stream)) {
                Ok(Ok(wire)) => if giving.len() < CALLERS_MAX {
                    giving.spawn(give_to(Arc::clone(&estate), Arc::clone(&turn), wire));
                },
                Ok(Err(error)) => tracing::warn!(%error, "somebody who wants to take over is not listened to"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a new process");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    };
    drop(listener);
    hand_over(&estate, heir.pid).await;
    tokio::select! {
        () = tie::serve(Arc::clone(&estate), heir.wire, heir.pid) => {}
        () = gone(&estate) => {}
    }
}

/// From now on this process only serves the clients that it has.
async fn hand_over(estate: &Estate, heir: u32) {
    // A moment that only counts once; there is one process to take over.
    let _ = estate.hub.succession.over.set(Instant::now());
    if let Some(accepting) = estate.accepting.upgrade() {
        accepting.send_replace(Accepting::No);
    }
    estate.ports.lock().unwrap_or_else(PoisonError::into_inner).take();
    estate.shards.gather(|shard| shard.hand_over()).await;
    estate.hub.stir();
    estate.heir.send_replace(Some(heir));
}

/// Until connections are never accepted again, by a stop or as the proxy is gone.
async fn stopped(mut accepting: watch::Receiver<Accepting>) {
    // An error is an end, too.
    let _ = accepting.wait_for(|accepting| *accepting == Accepting::No).await;
}

/// Until the proxy is gone.
async fn gone(estate: &Estate) {
    let Some(mut accepting) = estate.accepting.upgrade().map(|accepting| accepting.subscribe()) else { return };
    while accepting.changed().await.is_ok() {}
}

/// One new process from its first word on; none when it has not taken over.
async fn give_to(estate: Arc<Estate>, turn: Arc<Semaphore>, mut wire: Wire) -> Option<Heir> {
    let said = wire.recv_within(STEP_MAX).await;
    let Ok(Said::Hello { version, cluster, pid, program }) = said else {
        // Whoever only looks whether somebody is here says nothing.
        return None;
    };
    // One at a time.
    let turn = turn.try_acquire();
    let refusal = match turn {
        Ok(_) => refusal(&estate, version, &cluster, &program).await,
        Err(_) => Some("another process is about to take over".to_owned()),
    };
    let mut heir = Heir { pid, program, wire };
    let given = match refusal {
        Some(why) => heir.refuse(why).await,
        None => heir.take_all(&estate).await,
    };
    match given {
        Ok(()) => {
            tracing::info!("process {} (version {}) has taken over", heir.pid, heir.program);
            Some(heir)
        }
        Err(error) => {
            tracing::warn!("process {} has not taken over: {error}; this one goes on", heir.pid);
            None
        }
    }
}

/// Why it may not take over.
async fn refusal(estate: &Estate, version: u32, cluster: &str, program: &str) -> Option<String> {
    if version != VERSION {
        return Some(format!(
            "version {program} of the program takes over in another way than version {PROGRAM}, which runs"
        ));
    }
    if cluster != estate.cluster.as_str() {
        return Some(format!("this proxy serves cluster {}, and not {cluster}", estate.cluster));
    }
    if paused(estate).await {
        return Some(
            "clients wait for a RESUME on its console, and no new process can give it: RESUME first".to_owned(),
        );
    }
    None
}

async fn paused(estate: &Estate) -> bool {
    estate.shards.gather(|shard| shard.has_paused()).await.into_iter().any(|paused| paused)
}

impl Heir {
    async fn refuse(&self, why: String) -> Result<(), WireError> {
        self.wire.send(&Said::Refused { why: why.clone() }, &[]).await?;
        Err(WireError::Refused(why))
    }

    /// Every step to its end. After an error all is as it was.
    async fn take_all(&mut self, estate: &Estate) -> Result<(), WireError> {
        let view = estate.hub.view();
        let (term, open) = (view.term.0, view.admitting_leader().is_some());
        let greeting =
            Said::Greeting { version: VERSION, pid: std::process::id(), program: PROGRAM.into(), term, open };
        self.wire.send(&greeting, &[]).await?;
        let Said::Take = self.wire.recv_within(READY_MAX + STEP_MAX).await? else { return Err(WireError::Nonsense) };
        self.send_sockets(estate).await?;
        let Said::Ready = self.wire.recv_within(STEP_MAX).await? else { return Err(WireError::Nonsense) };
        if paused(estate).await {
            return self.refuse("clients have been paused meanwhile: RESUME first".to_owned()).await;
        }
        let accepting = estate.accepting.upgrade().ok_or(WireError::Gone)?;
        // Who comes from here on waits in the sockets' queues for whichever process goes on.
        accepting.send_replace(Accepting::Held);
        if let Err(error) = self.give_way(estate.hub.stats.clients.get()).await {
            accepting.send_replace(Accepting::Yes);
            return Err(error);
        }
        Ok(())
    }

    async fn send_sockets(&self, estate: &Estate) -> Result<(), WireError> {
        // Others of the same sockets, as no lock is held while one waits.
        let copied = {
            let ports = estate.ports.lock().unwrap_or_else(PoisonError::into_inner);
            let sockets = ports.as_ref().map(|ports| ports.sockets()).unwrap_or_default();
            sockets.into_iter().map(|socket| socket.try_clone_to_owned()).collect::<Result<Vec<_>, _>>()?
        };
        if copied.len() > SOCKETS_MAX {
            let why = format!("{} sockets are open, and at most {SOCKETS_MAX} can be handed over", copied.len());
            return self.refuse(why).await;
        }
        let sockets: Vec<_> = copied.iter().map(rustix::fd::AsFd::as_fd).collect();
        self.wire.send(&Said::Sockets { count: sockets.len() }, &sockets).await
    }

    /// The last step: the new process goes on, or this one.
    async fn give_way(&mut self, clients: u64) -> Result<(), WireError> {
        self.wire.send(&Said::Yours, &[]).await?;
        let Said::Serving = self.wire.recv_within(STEP_MAX).await? else { return Err(WireError::Nonsense) };
        self.wire.send(&Said::Draining { clients }, &[]).await
    }
}
