//! Forwards a cancel request to the server that runs the client's statement now, and to nothing else.
//! The login calls it; the client's own connection closes only after the server's has, so that its next statement is
//! not hit by a late cancel.

use crate::hub::Hub;
use crate::pool::link::CancelTarget;
use crate::server::OpenError;
use crate::shard::Shards;
use dauphin_wire::postgres::cancel::CancelKey;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

/// How long a server may take to take a cancel request.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Forwards, or drops a key that runs nothing. One that is not known may be of a client of the process before this one.
pub(crate) async fn forward(hub: &Hub, shards: &Shards, key: &CancelKey) {
    let pid = key.pid;
    let Some(shard) = hub.find(key) else { return hub.succession.cancel(key).await };
    let done = shards.ask(shard, move |shard, done| {
        let Some(target) = shard.running_on(pid) else { return shard.interrupt(pid) };
        // From now on the server is given to nobody else; for good, if it may still be cancelled later.
        target.cancels.set(target.cancels.get() + 1);
        spawn_local(async move {
            shard.hub.stats.cancels.add();
            if send(&shard.hub, &target).await {
                target.cancels.set(target.cancels.get() - 1);
            }
            let _ = done.send(());
        });
    });
    done.await;
}

/// Has a server stop what nobody waits for any more. Its connection is not used again.
pub(crate) fn abandon(hub: &Arc<Hub>, target: &Rc<CancelTarget>) {
    let (hub, target) = (Arc::clone(hub), Rc::clone(target));
    spawn_local(async move {
        send(&hub, &target).await;
    });
}

/// Whether the server has certainly taken it, or never will: it gave no key.
async fn send(hub: &Hub, target: &CancelTarget) -> bool {
    let Some(key) = &target.key else { return true };
    let forward = async {
        let (mut stream, _) = hub.dial.connect(&target.member, target.address).await?;
        stream.write_all(&key.request()).await?;
        stream.flush().await?;
        // The server says nothing and closes when the signal is sent, with TLS perhaps without a word.
        let _ = stream.read(&mut [0; 1]).await;
        Ok::<(), OpenError>(())
    };
    match tokio::time::timeout(CANCEL_TIMEOUT, forward).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::debug!(%error, "a cancel request was not taken"),
        Err(_) => tracing::debug!("a cancel request was not taken in time"),
    }
    false
}
