//! `dauphin proxies`: the proxies that an agent hears, whom they send clients to, and their pools.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto::{Cluster, Proxies, Proxy};

/// A certificate that is valid for fewer days than this is to be renewed.
const CERTIFICATE_DAYS: i64 = 30;

pub(crate) fn run(target: &Target) -> Outcome {
    let client = target::client(target)?;
    let told: Proxies = client.get("/v1/proxies")?;
    if target.json {
        say::json(&told)?;
        return Ok(DONE);
    }
    if told.proxies.is_empty() {
        say::line("no proxy is heard: `dauphin proxy --config FILE` runs one");
        return Ok(DONE);
    }
    let cluster = client.cluster()?;
    let colours = say::colours_out();
    let mut table = Table::new(&["PROXY", "HOST", "PID", "CLIENTS", "WAITING", "LEADER", "LISTENS ON", "NOTE"]);
    for proxy in &told.proxies {
        let (note, tone) = note(proxy, &cluster);
        table.row(vec![
            (proxy.name.clone(), Tone::Plain),
            (proxy.host.clone(), Tone::Plain),
            (proxy.pid.to_string(), Tone::Plain),
            (format!("{}/{}", proxy.clients, proxy.clients_max), Tone::Plain),
            (proxy.waiting.to_string(), if proxy.waiting > 0 { Tone::Warn } else { Tone::Plain }),
            (dash(proxy.leader.as_ref()), tone),
            (proxy.listen.clone(), Tone::Plain),
            (note.to_owned(), tone),
        ]);
    }
    table.lines(colours).iter().for_each(|line| say::line(line));
    if told.proxies.iter().all(|proxy| proxy.pools.is_empty()) {
        return Ok(DONE);
    }
    let head = ["POOL OF", "DATABASE", "USER", "CLIENTS", "WAITING", "LONGEST WAIT", "SERVERS BUSY", "FREE"];
    let mut table = Table::new(&head);
    for (proxy, pool) in told.proxies.iter().flat_map(|proxy| proxy.pools.iter().map(move |pool| (proxy, pool))) {
        let tone = if pool.waiting > 0 { Tone::Warn } else { Tone::Plain };
        let longest = (pool.waiting > 0).then(|| format!("{} ms", pool.longest_wait_ms));
        table.row(vec![
            (format!("{}:{}", proxy.name, proxy.pid), Tone::Plain),
            (pool.database.clone(), Tone::Plain),
            (pool.user.clone(), Tone::Plain),
            (pool.clients.to_string(), Tone::Plain),
            (pool.waiting.to_string(), tone),
            (dash(longest), tone),
            (pool.servers_busy.to_string(), Tone::Plain),
            (pool.servers_idle.to_string(), Tone::Plain),
        ]);
    }
    say::line("");
    table.lines(colours).iter().for_each(|line| say::line(line));
    Ok(DONE)
}

/// What somebody should know of it.
fn note(proxy: &Proxy, cluster: &Cluster) -> (&'static str, Tone) {
    match &proxy.leader {
        _ if proxy.drains => ("serves its clients to their end", Tone::Warn),
        None if cluster.open => ("knows of no leader", Tone::Bad),
        Some(leader) if cluster.open && cluster.leader.as_ref() != Some(leader) => ("another one leads", Tone::Bad),
        _ if proxy.clients >= proxy.clients_max => ("full", Tone::Bad),
        _ if proxy.certificate_days < CERTIFICATE_DAYS => ("its certificate ends soon", Tone::Warn),
        _ => ("", Tone::Plain),
    }
}
