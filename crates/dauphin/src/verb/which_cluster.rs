//! `dauphin which-cluster HOST:PORT`: which known cluster a server belongs to.

use crate::cli::{Target, WhichCluster};
use crate::failure::{DONE, Failure, Outcome};
use crate::say;
use crate::verb::clusters::{Known, known};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};

pub(crate) fn run(target: &Target, options: &WhichCluster) -> Outcome {
    let wrong =
        || Failure::usage(format!("{:?} is no server's address", options.address), "write HOST:PORT, as in db1:5432");
    let (host, port) = options.address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let addresses = addresses(host, port);
    for one in known(target) {
        if let Some((name, what)) = place(&one, host, port, &addresses) {
            let cluster = &one.file.spec.cluster;
            if target.json {
                say::json(&json!({"cluster": cluster, "member": name, "port": what, "config": one.path}))?;
            } else {
                let whose = name.map_or_else(|| "the proxy".to_owned(), |name| format!("member {name}"));
                say::line(&format!("{cluster}: {whose} ({what}), {}", one.path.display()));
            }
            return Ok(DONE);
        }
    }
    let text = format!("{} belongs to no cluster that is known here", options.address);
    Err(Failure::failed(text, "dauphin clusters lists those that are; --config FILE adds one"))
}

/// The member and the kind of port that this address is, in one cluster.
fn place(one: &Known, host: &str, port: u16, addresses: &BTreeSet<IpAddr>) -> Option<(Option<String>, &'static str)> {
    for member in &one.file.spec.members {
        let ports = [(member.sql_port, "sql"), (member.api_port, "api"), (member.link_port, "link")];
        let Some((_, what)) = ports.iter().find(|(p, _)| *p == port) else { continue };
        if member.host == host || !addresses.is_disjoint(&self::addresses(&member.host, port)) {
            return Some((Some(member.name.to_string()), what));
        }
    }
    let proxy = one.file.proxy.as_ref()?;
    let here = |address: std::net::SocketAddr| address.port() == port && addresses.contains(&address.ip());
    if here(proxy.listen_write) {
        return Some((None, "write"));
    }
    proxy.listen_read.is_some_and(here).then_some((None, "read"))
}

fn addresses(host: &str, port: u16) -> BTreeSet<IpAddr> {
    (host, port).to_socket_addrs().map(|found| found.map(|a| a.ip()).collect()).unwrap_or_default()
}
