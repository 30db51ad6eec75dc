//! `dauphin init`: a cluster's certificate authority, secrets and token, and for each member a folder with the files
//! that its machine needs. It never overwrites anything.

use crate::cli::{Init, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::say;
use crate::target;
use dauphin_lab::{Secrets, make_private, random_word, write_private};
use dauphin_model::file::Local;
use dauphin_model::{ClusterFile, MemberSpec};
use dauphin_net::ca::Ca;
use dauphin_net::{Peer, PeerKind, PeerName};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where a member's files are meant to stand on its machine.
const HOME: &str = "/etc/dauphin";
/// Where a member's data and state are meant to stand.
const LIB: &str = "/var/lib/dauphin";

/// Folders that are no member's.
const OWN_FOLDERS: [&str; 3] = ["ca", "proxy", "operator"];

pub(crate) fn run(target: &Target, options: &Init) -> Outcome {
    let path = target::config_path(target)?;
    let file = target::load(path)?;
    let out = options.out.clone().unwrap_or_else(|| target::folder_of(path).join(file.spec.cluster.as_str()));
    if options.renew {
        return renew(&file, &out, target.json);
    }
    if out.exists() {
        return Err(Failure::usage(
            format!("{} exists already, and init overwrites nothing", out.display()),
            "name another folder with --out, or move that one away (it may hold the only copy of the cluster's CA)",
        ));
    }
    if let Some(member) = file.spec.members.iter().find(|m| OWN_FOLDERS.contains(&m.name.as_str())) {
        let text = format!("a member cannot be named {}: init makes a folder of that name for itself", member.name);
        return Err(Failure::usage(text, "rename the member in the file"));
    }
    let bundles = write(&file, &out)?;
    if target.json {
        let bundles: Vec<_> = bundles.iter().map(|(name, dir)| json!({"for": name, "dir": dir})).collect();
        say::json(&json!({"cluster": file.spec.cluster, "dir": out, "bundles": bundles}))?;
        return Ok(DONE);
    }
    explain(&file, &out);
    Ok(DONE)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string(), "")
}

/// Writes everything below `out`; what was made for whom.
fn write(file: &ClusterFile, out: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let secrets = Secrets::random(file.spec.engine)?;
    let token = random_word()?;
    let authority = Ca::create(&file.spec.cluster).map_err(failed)?;
    let ca = out.join("ca");
    make_private(&ca)?;
    authority.save(&ca).map_err(failed)?;
    let mut made = vec![("ca".to_owned(), ca)];
    for member in &file.spec.members {
        let dir = out.join(member.name.as_str());
        make_private(&dir.join("identity"))?;
        let hosts = vec![member.host.clone()];
        authority.issue_to(&dir.join("identity"), &Peer::member(&member.name), &hosts).map_err(failed)?;
        write_private(&dir.join("secrets.toml"), secrets.text().as_bytes())?;
        write_private(&dir.join("token"), token.as_bytes())?;
        write_private(&dir.join("dauphin.toml"), bundle_file(file, Some(member)).render().as_bytes())?;
        made.push((member.name.to_string(), dir));
    }
    for (kind, name) in OTHERS {
        let dir = out.join(name);
        make_private(&dir.join("identity"))?;
        let peer = Peer { kind, name: PeerName::new(name).map_err(failed)? };
        authority.issue_to(&dir.join("identity"), &peer, &[]).map_err(failed)?;
        write_private(&dir.join("token"), token.as_bytes())?;
        if kind == PeerKind::Proxy && file.spec.engine.is_read_by_proxy() {
            write_private(&dir.join("password"), secrets.of("proxy").as_bytes())?;
        }
        let mut own = bundle_file(file, None);
        if kind == PeerKind::Operator {
            own.proxy = None;
        }
        write_private(&dir.join("dauphin.toml"), own.render().as_bytes())?;
        made.push((name.to_owned(), dir));
    }
    Ok(made)
}

/// Who has a folder beside the members.
const OTHERS: [(PeerKind, &str); 2] = [(PeerKind::Proxy, "proxy"), (PeerKind::Operator, "operator")];

/// Issues a new certificate into every identity folder; who is to get it, and how it takes it.
fn renew(file: &ClusterFile, out: &Path, json: bool) -> Outcome {
    let authority = Ca::load(&out.join("ca"), &file.spec.cluster).map_err(|e| {
        Failure::usage(e.to_string(), "name the folder that `dauphin init` made, with its ca in it, with --out")
    })?;
    let members = file.spec.members.iter().map(|m| (Peer::member(&m.name), m.name.to_string(), vec![m.host.clone()]));
    let others = OTHERS
        .into_iter()
        .map(|(kind, name)| Ok((Peer { kind, name: PeerName::new(name)? }, name.to_owned(), Vec::new())));
    let others: Result<Vec<_>, dauphin_net::BadPeerName> = others.collect();
    let mut renewed = Vec::new();
    for (peer, name, hosts) in members.chain(others.map_err(failed)?) {
        let dir = out.join(&name).join("identity");
        make_private(&dir)?;
        authority.issue_to(&dir, &peer, &hosts).map_err(failed)?;
        renewed.push((name, dir, hosts.into_iter().next()));
    }
    if json {
        let bundles: Vec<_> = renewed.iter().map(|(name, dir, _)| json!({"for": name, "dir": dir})).collect();
        say::json(&json!({"cluster": file.spec.cluster, "dir": out, "renewed": bundles}))?;
        return Ok(DONE);
    }
    say::line("new certificates; copy each folder over the one of its machine:");
    for (name, dir, host) in &renewed {
        // who runs a proxy or the verbs knows where
        let host = host.as_ref().map_or_else(|| format!("each {name}, "), |host| format!("{host}:"));
        say::line(&format!("  {}  ->  {host}{HOME}/identity", dir.display()));
    }
    say::line("then send each agent and each proxy SIGHUP (links stay up)");
    Ok(DONE)
}

/// The file of one member (or of a proxy or operator): the shared part, and paths of its own.
fn bundle_file(file: &ClusterFile, member: Option<&MemberSpec>) -> ClusterFile {
    let local = member.map(|member| Local {
        member: member.name.clone(),
        data_dir: member.holds_data().then(|| PathBuf::from(LIB).join("data")),
        state_dir: PathBuf::from(LIB).join("state"),
        run_dir: PathBuf::from("/run/dauphin"),
        bin_dir: file.local.as_ref().and_then(|l| l.bin_dir.clone()),
        listen: None,
        identity: PathBuf::from("identity"),
        secrets: PathBuf::from("secrets.toml"),
        token_file: PathBuf::from("token"),
        api_hosts: file.local.as_ref().map(|l| l.api_hosts.clone()).unwrap_or_default(),
        watchdog: None,
    });
    let proxy = if member.is_none() { file.proxy.clone() } else { None };
    ClusterFile { spec: file.spec.clone(), local, proxy }
}

fn explain(file: &ClusterFile, out: &Path) {
    let dir = out.display();
    say::line(&format!("made the cluster {} in {dir}", file.spec.cluster));
    say::line("");
    say::line("copy to each machine (readable by the user that the agent runs as, and nobody else):");
    for member in &file.spec.members {
        say::line(&format!("  {dir}/{0}  ->  {1}:{HOME}", member.name, member.host));
    }
    say::line(&format!("  {dir}/proxy  ->  each machine with a proxy:{HOME}"));
    say::line("");
    say::line("start on each:");
    say::line(&format!("  dauphin agent --config {HOME}/dauphin.toml"));
    say::line("");
    say::line(&format!("operate with {dir}/operator: dauphin status --config {dir}/operator/dauphin.toml"));
    say::line(&format!("keep {dir}/ca offline: with it anybody can make a member of this cluster"));
}
