//! Merges what the agents say, publishes it to the sessions, and writes one line at each change of leader, with what it
//! did to clients. One task for the life of the proxy.

use crate::hub::Hub;
use crate::source::Heard;
use crate::stats::Snapshot;
use crate::table::{RouteTable, View};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long after a leader opens its effect on clients is summed up.
const SETTLE: Duration = Duration::from_secs(1);

/// A time without an open leader.
struct Gap {
    since: Instant,
    before: Snapshot,
}

/// A leader opened after a gap; the line about it is due.
struct Opened {
    due: Instant,
    gap: Duration,
    before: Snapshot,
}

/// Publishes until the senders are gone.
pub(crate) async fn publish(hub: Arc<Hub>, mut table: RouteTable, mut heard: mpsc::Receiver<Heard>) {
    let mut gap = None;
    let mut opened: Option<Opened> = None;
    loop {
        let due = opened.as_ref().map_or_else(|| Instant::now() + SETTLE, |opened| opened.due);
        tokio::select! {
            word = heard.recv() => match word {
                Some(Heard::Route(route)) => {
                    let (from, cluster) = (route.from.clone(), route.cluster.clone());
                    if !table.hear(*route) {
                        tracing::warn!(member = %from, %cluster, "an agent of another cluster is not believed");
                    }
                }
                Some(Heard::Lost(member)) => table.lose(&member),
                None => return,
            },
            () = tokio::time::sleep_until(due), if opened.is_some() => {
                if let Some(opened) = opened.take() {
                    sum_up(&hub, &opened);
                }
                continue;
            }
        }
        let view = table.view();
        let before = hub.publish(view.clone());
        note(&hub, &before, &view, &mut gap, &mut opened);
    }
}

fn note(hub: &Hub, before: &View, view: &View, gap: &mut Option<Gap>, opened: &mut Option<Opened>) {
    let admits = |view: &View| view.admitting_leader().is_some();
    if admits(before) && (!admits(view) || view.term != before.term) {
        *gap = Some(Gap { since: Instant::now(), before: hub.stats.snapshot() });
    }
    if view.term != before.term || view.open != before.open || view.draining != before.draining {
        let leader = view.leader.as_ref().map_or("none", |leader| leader.member.as_str());
        let state = match (view.open, view.draining) {
            (true, false) => "open",
            (true, true) => "draining",
            (false, _) => "closed",
        };
        tracing::info!(clients = hub.stats.clients.get(), "term {}: leader {leader} {state}", view.term);
    }
    if admits(view)
        && let Some(gap) = gap.take()
    {
        *opened = Some(Opened { due: Instant::now() + SETTLE, gap: gap.since.elapsed(), before: gap.before });
    }
}

fn sum_up(hub: &Hub, opened: &Opened) {
    let (now, before) = (hub.stats.snapshot(), opened.before);
    let view = hub.view();
    let leader = view.leader.as_ref().map_or("none", |leader| leader.member.as_str());
    tracing::info!(
        "term {}: leader {leader} open; {} sessions re-attached, {} cut in a transaction ({} with an unknown outcome), {} \
         cut for their state, held {} ms",
        view.term,
        now.reattached - before.reattached,
        now.cut_busy - before.cut_busy,
        now.unknown - before.unknown,
        now.cut_pinned - before.cut_pinned,
        opened.gap.as_millis(),
    );
}
