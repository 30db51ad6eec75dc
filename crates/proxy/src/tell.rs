//! Tells every agent how this proxy is, so that people see it beside the members: who it sends clients to, and how full its pools are. It
//! asks the shards every other second, and when leadership moves, and sends what they say; nobody answers.

use crate::hub::Hub;
use crate::shard::Shards;
use crate::source::News;
use crate::survey;
use crate::table::View;
use dauphin_model::proxies::{POOLS_TOLD_MAX, PoolNews, ProxyNews};
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often.
pub(crate) const TELL_EVERY: Duration = Duration::from_secs(2);

/// What stays the same for as long as the process lives.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    begun: Instant,
    host: String,
    listen: String,
}

impl Process {
    pub(crate) fn new(write: &[SocketAddr]) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { begun: Instant::now(), host, listen: write.first().map(ToString::to_string).unwrap_or_default() }
    }

    /// News without pools.
    pub(crate) fn news(&self, view: &View, zone: Option<&str>, clients: u64, clients_max: usize) -> ProxyNews {
        ProxyNews {
            host: self.host.clone(),
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            up_s: self.begun.elapsed().as_secs(),
            listen: self.listen.clone(),
            zone: zone.map(str::to_owned),
            term: view.term,
            leader: view.admitting_leader().map(|target| target.member.clone()),
            clients,
            clients_max: clients_max as u64,
            ..ProxyNews::default()
        }
    }
}

/// Tells until the proxy is gone, or nobody is to be told.
pub(crate) async fn tell(hub: Weak<Hub>, shards: Shards, this: Process, news: News) {
    let mut ticks = tokio::time::interval(TELL_EVERY);
    let Some(mut views) = hub.upgrade().map(|hub| hub.subscribe()) else { return };
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        // asked after that, every shard has it: where it holds, no transaction begins behind this
        let pooled = survey::merge_pooled(shards.gather(survey::pooled).await);
        let Some(hub) = hub.upgrade() else { return };
        let rules = hub.rules();
        let zone = rules.zone.as_deref();
        let mut told = this.news(&view, zone, hub.stats.clients.get(), rules.limits.clients);
        told.drains = hub.succession.is_over();
        told.pools = pooled
            .into_iter()
            .map(|((database, user), counts)| PoolNews {
                database,
                user,
                clients: counts.active + counts.idle + counts.waiting,
                waiting: counts.waiting,
                longest_ms: u64::try_from(counts.longest.as_millis()).unwrap_or(u64::MAX),
                busy: counts.servers_active + counts.servers_cancelled,
                idle: counts.servers_idle,
            })
            .collect();
        told.pools.sort_by_key(|pool| Reverse((pool.waiting, pool.clients)));
        told.more_pools = told.pools.len().saturating_sub(POOLS_TOLD_MAX) as u64;
        told.pools.truncate(POOLS_TOLD_MAX);
        news.tell(told);
        drop((rules, hub));
        tokio::select! {
            _ = ticks.tick() => {}
            () = leads_elsewhere(&mut views, &view) => {}
        }
    }
}

/// Ends once clients are sent elsewhere than this view says, or nowhere; a switchover waits for that to be told. Never ends
/// behind the last view.
pub(crate) async fn leads_elsewhere(views: &mut watch::Receiver<Arc<View>>, told: &View) {
    let elsewhere = |view: &Arc<View>| view.admitting_leader() != told.admitting_leader() || view.term != told.term;
    if views.wait_for(elsewhere).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{MemberName, Target, Term};
    use futures_util::FutureExt;

    #[tokio::test]
    async fn it_is_told_at_once_that_transactions_are_held_and_not_what_moves_no_client() {
        let member = MemberName::new("m1").expect("a name");
        let target = Target { member, host: "h".into(), port: 5432, zone: None };
        let open = View { term: Term(6), leader: Some(target), open: true, ..View::default() };
        let (publish, mut views) = watch::channel(Arc::new(open.clone()));
        let due = |views: &mut _, told| leads_elsewhere(views, told).now_or_never().is_some();
        assert!(!due(&mut views, &open));
        publish.send_replace(Arc::new(View { replicas_of: Term(6), ..open.clone() }));
        assert!(!due(&mut views, &open));
        let held = View { draining: true, ..open.clone() };
        publish.send_replace(Arc::new(held.clone()));
        assert!(due(&mut views, &open), "a switchover waits for that");
        assert!(!due(&mut views, &held));
        let later = View { term: Term(7), ..held.clone() };
        publish.send_replace(Arc::new(later.clone()));
        assert!(due(&mut views, &held));
        drop(publish);
        assert!(due(&mut views, &held), "what changed is seen to the end");
        assert!(!due(&mut views, &later), "and nothing comes any more");
    }
}
