//! Founding a cluster. The first member by name asks every other listed member who it is and founds the cluster with all
//! of them; whoever leads it first gives it its identity. The others wait to be counted in.
//!
//! Nobody is counted in who already has a log, so a member that lost its disk can neither found a second cluster nor
//! vote in the first.

use crate::health::{Standing, StoreHealth};
use crate::machine::Command;
use crate::raft::node::{Node, new_cluster_id};
use crate::raft::rpc::{Answer, Ask};
use crate::raft::types::NodeId;
use crate::types::ClusterIdentity;
use dauphin_model::MemberName;
use openraft::EmptyNode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Wait between two rounds of asking.
const ROUND: Duration = Duration::from_millis(200);
/// How long one member may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// Takes part in founding the cluster until it has an identity. `members`: founds it with these; `None`: waits for a
/// cluster to add this member.
pub(crate) async fn found(node: Weak<Node>, members: Option<BTreeSet<MemberName>>) {
    loop {
        let Some(node) = node.upgrade() else { return };
        match round(&node, members.as_ref()).await {
            Ok(()) => return,
            Err(why) => waits(&node, why),
        }
        drop(node);
        tokio::time::sleep(ROUND).await;
    }
}

async fn round(node: &Arc<Node>, members: Option<&BTreeSet<MemberName>>) -> Result<(), String> {
    if node.state.borrow().identity.is_some() {
        return Ok(());
    }
    let started = node.raft.is_initialized().await.map_err(|e| e.to_string())?;
    if !started {
        let Some(members) = members else { return Err("a cluster to add this member".to_owned()) };
        match members.first() {
            Some(first) if *first != node.id.name => return Err(format!("{first} to found the cluster")),
            Some(_) | None => {}
        }
        let nodes = gather(node, members).await?;
        node.raft.initialize(nodes).await.map_err(|e| e.to_string())?;
    }
    // Whoever leads gives the identity; the first one in the log counts.
    if node.leader().as_ref() != Some(&node.id.name) {
        return Err("the cluster's identity".to_owned());
    }
    let id = new_cluster_id().map_err(|e| e.to_string())?;
    let found = Command::Found(ClusterIdentity { id, generation: 1 });
    node.raft.client_write(found).await.map(|_| ()).map_err(|e| e.to_string())
}

/// All members' nodes, none of which has a log yet.
async fn gather(node: &Arc<Node>, members: &BTreeSet<MemberName>) -> Result<BTreeMap<NodeId, EmptyNode>, String> {
    let mut nodes = BTreeMap::from([(node.id.clone(), EmptyNode {})]);
    for name in members.iter().filter(|name| **name != node.id.name) {
        match node.wire.ask_name(name, Ask::Hello, HELLO_WITHIN).await {
            Ok(Answer::Hello { node, has_log: false, cluster: None }) if node.name == *name => {
                nodes.insert(node, EmptyNode {});
            }
            Ok(Answer::Hello { .. }) => {
                return Err(format!(
                    "nothing: {name} already belongs to a cluster, so none is founded here; add this member to that one"
                ));
            }
            Ok(other) => return Err(format!("{name}, which answered {other:?}")),
            Err(e) => return Err(format!("every member to be up: {e}")),
        }
    }
    Ok(nodes)
}

fn waits(node: &Node, why: String) {
    node.health.send_if_modified(|health: &mut StoreHealth| {
        let waiting = Standing::Waiting { why };
        let changed = matches!(health.standing, Standing::Waiting { .. }) && health.standing != waiting;
        if changed {
            health.standing = waiting;
        }
        changed
    });
}
