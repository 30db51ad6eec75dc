//! `dauphin proxies`: the proxies that an agent hears, whom they send clients to, and their pools.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto::Proxies;

pub(crate) fn run(target: &Target) -> Outcome {
    let told: Proxies = target::client(target)?.get("/v1/proxies")?;
    if target.json {
        say::json(&told)?;
        return Ok(DONE);
    }
    if told.proxies.is_empty() {
        say::line("no proxy is heard: `dauphin proxy --config FILE` runs one");
        return Ok(DONE);
    }
    let colours = say::colours_out();
    let mut table = Table::new(&["PROXY", "HOST", "PID", "CLIENTS", "WAITING", "LEADER", "LISTENS ON", "NOTE"]);
    for proxy in &told.proxies {
        let tone = match &proxy.note {
            None => Tone::Plain,
            Some(_) if proxy.critical => Tone::Bad,
            Some(_) => Tone::Warn,
        };
        table.row(vec![
            (proxy.name.clone(), Tone::Plain),
            (proxy.host.clone(), Tone::Plain),
            (proxy.pid.to_string(), Tone::Plain),
            (format!("{}/{}", proxy.clients, proxy.clients_max), Tone::Plain),
            (proxy.waiting.to_string(), if proxy.waiting > 0 { Tone::Warn } else { Tone::Plain }),
            (dash(proxy.leader.as_ref()), tone),
            (proxy.listen.clone(), Tone::Plain),
            (proxy.note.clone().unwrap_or_default(), tone),
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
