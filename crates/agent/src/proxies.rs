//! What proxies tell of themselves, as long as they tell it: the desk notes it, the HTTP interface and alerts show it.
//! No decision about the cluster rests on it; a switchover waits for a moment until they hold.

use crate::looks::CERTIFICATE_DAYS_MIN;
use crate::server::lock;
use dauphin_alerts::ProxyCertificates;
use dauphin_api::dto;
use dauphin_model::proxies::{POOLS_TOLD_MAX, PROXY_BYTES_MAX, ProxyNews};
use dauphin_model::{MemberName, Term};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most processes that are kept; further ones are not shown.
const PROXIES_MAX: usize = 64;

/// A process that has said nothing for so long is gone: it tells every two seconds.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// One that has missed two turns of telling may be gone: a switchover does not wait for it.
const PROMPT_MAX: Duration = Duration::from_secs(5);

/// A proxy that is silent with a certificate about to end counts for so long: it may be silent because that has ended.
const ENDING_KEPT: Duration = Duration::from_secs(86_400);

/// Longest text of a name that is shown, in characters.
const NAME_MAX: usize = 128;

/// By the certificate's name, host and process.
type Key = (String, String, u32);

/// All that are heard.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    all: BTreeMap<Key, (Instant, ProxyNews)>,
    /// By name, when a certificate was last told that ends soon.
    ending: BTreeMap<String, Instant>,
}

impl Proxies {
    /// A proxy with this name in its certificate says how it is. What cannot be read is no news.
    pub(crate) fn note(&self, name: &str, body: &[u8], now: Instant) {
        if body.len() > PROXY_BYTES_MAX {
            return;
        }
        let Ok(mut news) = serde_json::from_slice::<ProxyNews>(body) else { return };
        news.pools.truncate(POOLS_TOLD_MAX);
        let key = (name.to_owned(), cut(&news.host), news.pid);
        let mut heard = lock(&self.heard);
        let Heard { all, ending } = &mut *heard;
        all.retain(|_, (at, _)| now.saturating_duration_since(*at) < SILENT_MAX);
        ending.retain(|_, at| now.saturating_duration_since(*at) < ENDING_KEPT);
        if news.certificate_days >= CERTIFICATE_DAYS_MIN {
            ending.remove(name);
        } else if !news.drains && (ending.len() < PROXIES_MAX || ending.contains_key(name)) {
            ending.insert(name.to_owned(), now);
        }
        if all.len() < PROXIES_MAX || all.contains_key(&key) {
            all.insert(key, (now, news));
        }
    }

    /// Whether a certificate ends soon: of those that are there, and of those that said so and are silent.
    pub(crate) fn certificates(&self, now: Instant) -> ProxyCertificates {
        let heard = lock(&self.heard);
        let there = heard.all.iter().filter(|(_, (at, _))| now.saturating_duration_since(*at) < SILENT_MAX);
        let serving = there.filter(|(_, (_, news))| !news.drains);
        let first = serving.map(|((name, ..), (_, news))| (news.certificate_days, name)).min();
        match first.filter(|(days, _)| *days < CERTIFICATE_DAYS_MIN) {
            Some((days, name)) => ProxyCertificates::EndSoon { proxy: cut(name), days },
            None if heard.ending.values().any(|at| now.saturating_duration_since(*at) < ENDING_KEPT) => {
                ProxyCertificates::Unknown
            }
            None => ProxyCertificates::Last,
        }
    }

    /// Whether all that are there say of this term, or a later one, that no transaction begins with them.
    pub(crate) fn hold(&self, term: Term, now: Instant) -> bool {
        let heard = lock(&self.heard);
        let there = |at: Instant| now.saturating_duration_since(at) < PROMPT_MAX;
        let mut serving = heard.all.values().filter(|(at, news)| there(*at) && !(news.drains && news.clients == 0));
        serving.all(|(_, news)| news.term >= term && news.leader.is_none())
    }

    /// Those that are there, by name, and how each stands to this leader, if one is open.
    pub(crate) fn document(&self, now: Instant, leads: Option<&MemberName>) -> dto::Proxies {
        let heard = lock(&self.heard);
        let there = heard.all.iter().filter_map(|((name, host, pid), (heard, news))| {
            let silent = now.saturating_duration_since(*heard);
            (silent < SILENT_MAX).then(|| proxy((name, host, *pid), silent, news, leads))
        });
        dto::Proxies { proxies: there.collect() }
    }
}

/// What somebody should know of it, and whether its clients are worse off for that.
fn note(news: &ProxyNews, leads: Option<&MemberName>) -> Option<(String, bool)> {
    match (&news.leader, leads) {
        _ if news.drains => Some(("another process has taken over; serves its clients to their end".to_owned(), false)),
        (None, Some(leader)) => Some((format!("knows of no leader that takes clients, and {leader} does"), true)),
        (None, None) => Some(("holds new transactions until a leader is open".to_owned(), false)),
        (Some(other), Some(leader)) if other != leader => {
            Some((format!("sends clients to {other}, and {leader} leads"), true))
        }
        _ if news.clients >= news.clients_max => {
            Some(("takes no more clients: clients_max is reached".to_owned(), true))
        }
        _ if news.certificate_days < CERTIFICATE_DAYS_MIN => {
            Some((format!("its certificate ends in {} days", news.certificate_days), false))
        }
        _ => None,
    }
}

fn proxy(
    (name, host, pid): (&str, &str, u32),
    silent: Duration,
    news: &ProxyNews,
    leads: Option<&MemberName>,
) -> dto::Proxy {
    let (note, critical) = note(news, leads).map_or((None, false), |(note, critical)| (Some(note), critical));
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
        note,
        critical,
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
    fn a_proxy_that_sends_clients_elsewhere_is_told_first() {
        let [m1, m2] = ["m1", "m2"].map(|name| MemberName::new(name).expect("a name"));
        let well =
            ProxyNews { leader: Some(m1.clone()), clients_max: 9, certificate_days: 300, ..ProxyNews::default() };
        let check = |news: &ProxyNews, leads: Option<&MemberName>, expected: Option<(&str, bool)>| {
            let told = note(news, leads);
            let told = told.as_ref().map(|(text, critical)| (text.as_str(), *critical));
            assert!(
                told.zip(expected).map_or(told == expected, |(t, e)| t.0.contains(e.0) && t.1 == e.1),
                "{told:?}, not {expected:?}"
            );
        };
        check(&well, Some(&m1), None);
        check(&well, None, None);
        check(&well, Some(&m2), Some(("to m1, and m2 leads", true)));
        let lost = ProxyNews { leader: None, ..well.clone() };
        check(&lost, Some(&m1), Some(("no leader that takes clients, and m1 does", true)));
        check(&lost, None, Some(("until a leader is open", false)));
        check(&ProxyNews { clients: 9, ..well.clone() }, Some(&m1), Some(("clients_max", true)));
        check(&ProxyNews { certificate_days: 3, ..well.clone() }, Some(&m1), Some(("ends in 3 days", false)));
        check(&ProxyNews { drains: true, ..well }, Some(&m2), Some(("taken over", false)));
    }

    #[test]
    fn a_switchover_waits_for_all_that_are_there_and_for_nobody_else() {
        let (proxies, begun) = (Proxies::default(), Instant::now());
        let at = |s: u64| begun + Duration::from_secs(s);
        let tell = |pid: u32, term: u64, leads: bool, s: u64| {
            let leader = leads.then(|| MemberName::new("m1").expect("a name"));
            let news = ProxyNews { pid, term: Term(term), leader, ..ProxyNews::default() };
            proxies.note("p1", &serde_json::to_vec(&news).expect("JSON"), at(s));
        };
        assert!(proxies.hold(Term(4), at(0)), "there are none");
        tell(1, 4, true, 0);
        tell(2, 4, false, 0);
        assert!(!proxies.hold(Term(4), at(0)), "one still begins transactions");
        tell(1, 3, false, 1);
        assert!(!proxies.hold(Term(4), at(1)), "that was another switchover");
        tell(1, 4, false, 2);
        assert!(proxies.hold(Term(4), at(2)));
        tell(1, 4, true, 3);
        assert!(!proxies.hold(Term(4), at(7)));
        assert!(proxies.hold(Term(4), at(8)), "silent: nobody waits for it");
    }

    #[test]
    fn the_certificate_that_ends_first_is_told_and_not_forgotten_when_its_proxy_is_silent() {
        let (proxies, begun) = (Proxies::default(), Instant::now());
        let at = |s: u64| begun + Duration::from_secs(s);
        let tell = |name: &str, days: i64, drains: bool, s: u64| {
            let news = ProxyNews { certificate_days: days, drains, ..ProxyNews::default() };
            proxies.note(name, &serde_json::to_vec(&news).expect("JSON"), at(s));
        };
        let soon = |name: &str, days| ProxyCertificates::EndSoon { proxy: name.into(), days };
        tell("p1", CERTIFICATE_DAYS_MIN, false, 0);
        tell("old", 1, true, 0);
        assert_eq!(proxies.certificates(at(0)), ProxyCertificates::Last, "who drains is about to go");
        tell("p2", 20, false, 0);
        tell("p3", 3, false, 0);
        assert_eq!(proxies.certificates(at(1)), soon("p3", 3));
        tell("p3", 700, false, 1);
        assert_eq!(proxies.certificates(at(1)), soon("p2", 20), "renewed");
        assert_eq!(proxies.certificates(at(10)), ProxyCertificates::Unknown, "silent, for whatever reason");
        tell("p2", 700, false, 20);
        assert_eq!(proxies.certificates(at(20)), ProxyCertificates::Last);
        tell("p2", 20, false, 21);
        assert_eq!(proxies.certificates(at(21 + 86_400)), ProxyCertificates::Last, "gone for good");
    }

    #[test]
    fn proxies_are_shown_while_they_are_heard_and_not_one_too_many_is_kept() {
        let (proxies, begun) = (Proxies::default(), Instant::now());
        let at = |s: u64| begun + Duration::from_secs(s);
        let shown =
            |now: Instant| proxies.document(now, None).proxies.iter().map(|p| (p.pid, p.waiting)).collect::<Vec<_>>();
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
