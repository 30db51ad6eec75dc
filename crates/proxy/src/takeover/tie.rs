//! What two processes have to do with each other after a takeover: the former one tells how many clients it still has, and cancels
//! what the new one is asked to cancel and does not know. One task at each end, until either process has gone.

use super::wire::{Said, Wire, WireError};
use super::{Before, CANCELS_MAX, Estate, FormerProcess, PROGRAM, STEP_MAX};
use crate::cancel;
use crate::hub::Hub;
use dauphin_wire::postgres::cancel::CancelKey;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the former process tells how it gets on.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Where the key begins in a cancel request.
const KEY_AT: usize = 8;

/// The former process's end, until the new one has gone.
pub(super) async fn serve(estate: Arc<Estate>, mut wire: Wire, heir: u32) {
    let (replies, mut done) = mpsc::channel::<u64>(CANCELS_MAX);
    let places = Arc::new(Semaphore::new(CANCELS_MAX));
    let mut status = interval(STATUS_EVERY);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let error = loop {
        let answer = tokio::select! {
            said = wire.recv() => match said {
                Ok(Said::Cancel { number, key }) => {
                    // Nobody may be kept busy with keys that are guessed.
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                    let (estate, replies) = (Arc::clone(&estate), replies.clone());
                    tokio::spawn(async move {
                        if let Some(key) = CancelKey::parse(&key) {
                            cancel::forward(&estate.hub, &estate.shards, &key).await;
                        }
                        drop(place);
                        // Nobody is told once the new process has gone.
                        let _ = replies.send(number).await;
                    });
                    continue;
                }
                Ok(_) => break WireError::Nonsense,
                Err(error) => break error,
            },
            Some(number) = done.recv() => Said::Cancelled { number },
            _ = status.tick() => Said::Status { processes: processes(&estate).await },
        };
        match timeout(STEP_MAX, wire.send(&answer, &[])).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => break error,
            Err(_) => break WireError::Silent,
        }
    };
    tracing::warn!(
        "process {heir}, which has taken over: {error}; cancel requests of clients here reach nobody any more"
    );
}

/// This process, and those before it.
async fn processes(estate: &Estate) -> Vec<FormerProcess> {
    let hub = &estate.hub;
    let drains = hub.succession.over.get().map(std::time::Instant::elapsed).unwrap_or_default();
    let own = FormerProcess {
        pid: std::process::id(),
        program: PROGRAM.into(),
        clients: hub.stats.clients.get(),
        in_transaction: estate.shards.gather(|shard| shard.in_transaction()).await.into_iter().sum(),
        drains_s: drains.as_secs(),
        left_s: hub.rules().limits.drain.saturating_sub(drains).as_secs(),
    };
    [own].into_iter().chain(hub.succession.formers()).collect()
}

/// The new process's end, until the former one has gone.
pub(super) fn follow(hub: &Arc<Hub>, wire: Wire, former: FormerProcess) {
    let (cancels, asked) = mpsc::channel(CANCELS_MAX);
    hub.stats.former.set(former.clients);
    *hub.succession.before() = Before { cancels: Some(cancels), processes: vec![former] };
    hub.succession.alone.send_replace(false);
    let hub = Arc::downgrade(hub);
    tokio::spawn(async move {
        let error = ask(&hub, wire, asked).await;
        let Some(hub) = hub.upgrade() else { return };
        *hub.succession.before() = Before::default();
        hub.stats.former.set(0);
        hub.succession.alone.send_replace(true);
        match error {
            WireError::Gone => tracing::info!("the process that was taken over from has ended"),
            error => tracing::warn!("the process that was taken over from: {error}; it is not listened to any more"),
        }
    });
}

async fn ask(
    hub: &Weak<Hub>,
    mut wire: Wire,
    mut asked: mpsc::Receiver<(CancelKey, oneshot::Sender<()>)>,
) -> WireError {
    let mut waiting: HashMap<u64, oneshot::Sender<()>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            said = wire.recv() => match said {
                Ok(Said::Status { processes }) => {
                    let Some(hub) = hub.upgrade() else { return WireError::Gone };
                    hub.stats.former.set(processes.iter().map(|process| process.clients).sum());
                    hub.succession.before().processes = processes;
                }
                Ok(Said::Cancelled { number }) => {
                    if let Some(done) = waiting.remove(&number) {
                        // Who asked may have gone.
                        let _ = done.send(());
                    }
                }
                Ok(_) => return WireError::Nonsense,
                Err(error) => return error,
            },
            asked = asked.recv() => {
                // None: this proxy has stopped.
                let Some((key, done)) = asked else { return WireError::Gone };
                // Those who gave up are not answered any more.
                waiting.retain(|_, done| !done.is_closed());
                number += 1;
                waiting.insert(number, done);
                if let Err(error) = wire.send(&Said::Cancel { number, key: key.request().split_off(KEY_AT) }, &[]).await {
                    return error;
                }
            }
        }
    }
}
