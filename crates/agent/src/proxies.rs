//! What proxies tell of themselves, as long as they tell it: the desk notes it, the HTTP interface shows it. No decision rests on it.

use crate::server::lock;
use dauphin_api::dto;
use dauphin_model::proxies::{POOLS_TOLD_MAX, PROXY_BYTES_MAX, ProxyNews};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most processes that are kept; further ones are not shown.
const PROXIES_MAX: usize = 64;

/// A process that has said nothing for so long is gone: it tells every two seconds.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Longest text of a name that is shown, in characters.
const NAME_MAX: usize = 128;

/// By the certificate's name, host and process.
type Key = (String, String, u32);

/// All that are heard.
#[derive(Debug, Default)]
pub(crate) struct Proxies(Mutex<BTreeMap<Key, (Instant, ProxyNews)>>);

impl Proxies {
    /// A proxy with this name in its certificate says how it is. What cannot be read is no news.
    pub(crate) fn note(&self, name: &str, body: &[u8], now: Instant) {
        if body.len() > PROXY_BYTES_MAX {
            return;
        }
        let Ok(mut news) = serde_json::from_slice::<ProxyNews>(body) else { return };
        news.pools.truncate(POOLS_TOLD_MAX);
        let key = (name.to_owned(), cut(&news.host), news.pid);
        let mut all = lock(&self.0);
        all.retain(|_, (heard, _)| now.saturating_duration_since(*heard) < SILENT_MAX);
        if all.len() < PROXIES_MAX || all.contains_key(&key) {
            all.insert(key, (now, news));
        }
    }

    /// Those that are there, by name.
    pub(crate) fn document(&self, now: Instant) -> dto::Proxies {
        let all = lock(&self.0);
        let there = all.iter().filter_map(|((name, host, pid), (heard, news))| {
            let silent = now.saturating_duration_since(*heard);
            (silent < SILENT_MAX).then(|| proxy(name, host, *pid, silent, news))
        });
        dto::Proxies { proxies: there.collect() }
    }
}

fn proxy(name: &str, host: &str, pid: u32, silent: Duration, news: &ProxyNews) -> dto::Proxy {
    let pool = |pool: &dauphin_model::proxies::PoolNews| dto::ProxyPool {
        database: cut(&pool.database),
        user: cut(&pool.user),
        clients: pool.clients,
        waiting: pool.waiting,
        longest_wait_ms: pool.longest_ms,
        servers_busy: pool.busy,
        servers_idle: pool.idle,
    };
    dto::Proxy {
        name: cut(name),
        host: host.to_owned(),
        pid,
        program: cut(&news.program),
        listen: cut(&news.listen),
        zone: news.zone.as_deref().map(cut),
        up_seconds: news.up_s,
        heard_seconds: silent.as_secs_f64(),
        term: news.term.0,
        leader: news.leader.as_ref().map(ToString::to_string),
        drains: news.drains,
        certificate_days: news.certificate_days,
        clients: news.clients,
        clients_max: news.clients_max,
        waiting: news.pools.iter().fold(0, |sum, pool| sum.saturating_add(pool.waiting)),
        pools: news.pools.iter().map(pool).collect(),
        more_pools: news.more_pools,
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::proxies::PoolNews;

    fn news(pid: u32, waiting: u64) -> Vec<u8> {
        let pools =
            vec![PoolNews { database: "shop".into(), user: "app".into(), clients: 9, waiting, ..PoolNews::default() }];
        let news = ProxyNews { host: "web1".into(), pid, clients: 9, pools, ..ProxyNews::default() };
        serde_json::to_vec(&news).expect("JSON")
    }

    #[test]
    fn proxies_are_shown_while_they_are_heard_and_not_one_too_many_is_kept() {
        let (proxies, begun) = (Proxies::default(), Instant::now());
        let at = |s: u64| begun + Duration::from_secs(s);
        let shown = |now: Instant| proxies.document(now).proxies.iter().map(|p| (p.pid, p.waiting)).collect::<Vec<_>>();
        proxies.note("p1", &news(1, 0), at(0));
        proxies.note("p1", &news(2, 3), at(1));
        proxies.note("p1", &news(1, 4), at(2));
        assert_eq!(shown(at(2)), [(1, 4), (2, 3)], "two processes behind one certificate, each as it was last");
        assert_eq!(shown(at(11)), [(1, 4)], "the other one is silent");
        assert_eq!(shown(at(12)), []);
        for bad in [&b"{"[..], b"[]", &vec![b' '; PROXY_BYTES_MAX + 1]] {
            proxies.note("p1", bad, at(12));
        }
        assert_eq!(shown(at(12)), []);
        (0..200).for_each(|pid| proxies.note("p1", &news(pid, 0), at(20)));
        assert_eq!(shown(at(20)).len(), PROXIES_MAX);
    }
}
