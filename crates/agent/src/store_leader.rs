//! Where the store's leadership stands: not on the member that leads the cluster, and not on one that is gone. Losing one
//! node would otherwise cost two elections, one after the other. It decides nothing about the cluster.

use crate::server::Server;
use dauphin_ha::Role;
use dauphin_model::MemberName;
use dauphin_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked at: a leader that falls soon after it was elected is none the less rare.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long handing the store's leadership over may take.
const TRANSFER_WITHIN: Duration = Duration::from_secs(2);
/// The pause after a transfer that failed.
const REST: Duration = Duration::from_secs(1);

/// Hands the store's leadership away from a member that leads the cluster, as often as it comes to that.
pub(crate) async fn keep_apart(server: Arc<Server>, store: Store) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !store.health().borrow().is_leader || server.picture.borrow().role != Role::Leader {
            continue;
        }
        let targets: Vec<MemberName> = {
            let picture = server.picture.borrow();
            let heard = |n: &&MemberName| **n != picture.me && picture.beat_of(n).is_some();
            store.health().borrow().voters.iter().filter(heard).cloned().collect()
        };
        // whose agent is heard need not be in the store's reach
        for to in targets {
            match store.transfer_leader(&to, TRANSFER_WITHIN).await {
                Err(error @ StoreError::Refused { .. }) => tracing::debug!(%error, %to, "the store is not led there"),
                Err(error) => {
                    tracing::debug!(%error, %to, "the store's leadership stays here for now");
                    break;
                }
                Ok(()) => break,
            }
        }
        if store.health().borrow().is_leader {
            tokio::time::sleep(REST).await;
        }
    }
}

/// That member is gone: if it leads the store, its place is taken at once.
pub(crate) fn elect_instead_of(gone: &MemberName, store: Store) {
    if store.health().borrow().leader.as_ref() == Some(gone) {
        tokio::spawn(async move {
            if let Err(error) = store.elect_now().await {
                tracing::debug!(%error, "the store's election");
            }
        });
    }
}
