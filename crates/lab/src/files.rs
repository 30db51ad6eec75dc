//! The folders of a lab: for each member and the proxy its configuration, identity, secrets, token and empty places for
//! data, state, sockets and logs. `up` writes them once.

use crate::bundle::{self, Secrets};
use crate::error::LabError;
use crate::options::{Engine, Options};
use crate::state::{Lab, LabMember, LabUser, Login};
use dauphin_model::{ClusterFile, ClusterName, MemberName};
use dauphin_net::ca::{Ca, CaError};
use dauphin_net::{Peer, PeerKind, PeerName};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Most client connections of the lab's proxy.
const PROXY_CLIENTS_MAX: u32 = 10_000;
/// Connections that a lab's server takes.
const SERVER_CONNECTIONS_MAX: u32 = 300;

/// The file, in the lab's folder, that psql reads passwords from (PGPASSFILE).
pub(crate) const PASSFILE: &str = "pgpass";
/// The same for the clients of MySQL and MariaDB (--defaults-extra-file): the application's.
pub(crate) const CLIENT_FILE: &str = "client.cnf";

/// Writes everything into the lab's folder and gives it to the members' user.
pub(crate) fn write(lab: &Lab, options: &Options, secrets: &Secrets, engine_bin: &Path) -> Result<(), LabError> {
    let cluster = ClusterName::new(&lab.cluster).map_err(|e| LabError::Failed(e.to_string()))?;
    let authority = Ca::create(&cluster).map_err(failed)?;
    let ca_dir = lab.dir.join("ca");
    bundle::make_private(&ca_dir)?;
    authority.save(&ca_dir).map_err(failed)?;
    for member in &lab.members {
        let dir = lab.member_dir(member);
        for folder in ["identity", "state", "run", "log"] {
            bundle::make_private(&dir.join(folder))?;
        }
        if !member.witness {
            bundle::make_private(&lab.data_dir(member))?;
        }
        let name = MemberName::new(&member.name).map_err(|e| LabError::Failed(e.to_string()))?;
        authority
            .issue_to(&dir.join("identity"), &Peer::member(&name), std::slice::from_ref(&member.host))
            .map_err(failed)?;
        bundle::write_private(&dir.join("secrets.toml"), secrets.text().as_bytes())?;
        bundle::write_private(&dir.join("token"), lab.token.as_bytes())?;
        let text = shared(lab, options) + &local(lab, member, engine_bin);
        bundle::write_private(&lab.config(member), text.as_bytes())?;
        give(&dir, lab.user.as_ref())?;
    }
    if lab.proxy.is_some() {
        write_proxy(lab, options, &authority, secrets)?;
    }
    // so that nobody has to type a password where others can see it
    if options.engine != Engine::Postgres {
        let text = format!("[client]\nuser = {}\npassword = {}\n", lab.app.user, lab.app.password);
        return bundle::write_private(&lab.dir.join(CLIENT_FILE), text.as_bytes());
    }
    let line = |login: &Login| format!("*:*:*:{}:{}\n", login.user, login.password);
    bundle::write_private(&lab.dir.join(PASSFILE), (line(&lab.app) + &line(&lab.admin)).as_bytes())
}

/// Refuses a lab whose members would refuse their files.
pub(crate) fn check(lab: &Lab, options: &Options) -> Result<(), LabError> {
    let parsed = ClusterFile::parse("the lab's configuration", &shared(lab, options));
    parsed.map(drop).map_err(|faults| {
        let text: Vec<&str> = faults.faults.iter().map(|f| f.message.as_str()).collect();
        LabError::Usage(format!("this lab cannot be: {}", text.join("; ")))
    })
}

fn write_proxy(lab: &Lab, options: &Options, authority: &Ca, secrets: &Secrets) -> Result<(), LabError> {
    let dir = lab.proxy_dir();
    for folder in ["identity", "state", "run", "log"] {
        bundle::make_private(&dir.join(folder))?;
    }
    let hosts = lab.proxy.as_ref().map(|p| p.host.clone()).into_iter().collect::<Vec<_>>();
    let name = PeerName::new("proxy").map_err(|e| LabError::Failed(e.to_string()))?;
    authority.issue_to(&dir.join("identity"), &Peer { kind: PeerKind::Proxy, name }, &hosts).map_err(failed)?;
    bundle::write_private(&dir.join("token"), lab.token.as_bytes())?;
    if options.engine.is_read_by_proxy() {
        bundle::write_private(&dir.join("password"), secrets.of("proxy").as_bytes())?;
    }
    let text = shared(lab, options) + &proxy(lab, options.engine);
    bundle::write_private(&dir.join("dauphin.toml"), text.as_bytes())?;
    give(&dir, lab.user.as_ref())
}

fn failed(error: CaError) -> LabError {
    LabError::Failed(error.to_string())
}

/// The part of the file that all members share.
fn shared(lab: &Lab, options: &Options) -> String {
    let mut text = String::from("# Made by `dauphin lab up`.\n\n[cluster]\n");
    let on_shortage = match options.on_shortage {
        dauphin_model::OnShortage::Wait => "wait",
        dauphin_model::OnShortage::Degrade => "degrade",
    };
    let _ = writeln!(text, "name = \"{}\"\nengine = \"{}\"", lab.cluster, lab.engine);
    let _ = writeln!(text, "durability = \"{}\"", lab.durability);
    let _ = writeln!(text, "on_shortage = \"{on_shortage}\"\nprofile = \"{}\"\nallow_reclone = true\n", lab.profile);
    match options.engine {
        Engine::Postgres => postgres(&mut text, lab),
        Engine::Mysql | Engine::Mariadb => {
            let _ = writeln!(
                text,
                "[mysql]\nsql_tls = \"off\"\nparameters = {{ max_connections = {SERVER_CONNECTIONS_MAX}, \
                 innodb_buffer_pool_size = \"64M\" }}"
            );
        }
    }
    // people's own disks are fuller than a server's should be, and a lab is gone before that matters
    text.push_str("\n[alerts]\ndisk = [\"97%\", \"98%\", \"99%\"]\ndisk_full_in = [\"3min\", \"2min\", \"1min\"]\n");
    for member in &lab.members {
        let _ = writeln!(text, "\n[[member]]\nname = \"{}\"\nhost = \"{}\"", member.name, member.host);
        if member.witness {
            text.push_str("kind = \"witness\"\n");
        } else {
            let _ = writeln!(text, "sql_port = {}", member.sql_port);
        }
        let _ = writeln!(text, "api_port = {}\nlink_port = {}", member.api_port, member.link_port);
    }
    text
}

fn postgres(text: &mut String, lab: &Lab) {
    text.push_str("[postgres]\nsql_tls = \"off\"\n");
    match &lab.network {
        None => text.push_str("client_networks = [\"127.0.0.0/8\"]\n"),
        // the proxy runs beside the hosts, on none of them
        Some(network) => {
            let subnet = network.subnet();
            let _ = writeln!(text, "client_networks = [\"127.0.0.0/8\", \"{subnet}\"]");
            let _ = writeln!(text, "replication_networks = [\"{subnet}\"]");
        }
    }
    // `mmap` keeps dynamic memory in the data directory: killed servers leave nothing of it in /dev/shm
    let _ = writeln!(
        text,
        "parameters = {{ max_connections = {SERVER_CONNECTIONS_MAX}, shared_buffers = \"64MB\", \
         dynamic_shared_memory_type = \"mmap\" }}"
    );
}

/// The part of the file that is one member's own.
fn local(lab: &Lab, member: &LabMember, engine_bin: &Path) -> String {
    let dir = lab.member_dir(member);
    let dir = dir.display();
    let mut text = format!("\n[local]\nmember = \"{}\"\n", member.name);
    if !member.witness {
        let _ = writeln!(text, "data_dir = \"{dir}/data\"\nbin_dir = \"{}\"", engine_bin.display());
    }
    let _ = writeln!(text, "state_dir = \"{dir}/state\"\nrun_dir = \"{dir}/run\"\nidentity = \"{dir}/identity\"");
    let _ = writeln!(text, "secrets = \"{dir}/secrets.toml\"\ntoken_file = \"{dir}/token\"");
    text
}

/// The part of the file that is the proxy's own.
fn proxy(lab: &Lab, engine: Engine) -> String {
    let dir = lab.proxy_dir();
    let Some(proxy) = &lab.proxy else { return String::new() };
    let mut text = format!(
        "\n[proxy]\nlisten_write = \"{0}:{1}\"\nlisten_read = \"{0}:{2}\"\nclients_max = {PROXY_CLIENTS_MAX}\n\
         token_file = \"{3}/token\"\n",
        proxy.host,
        proxy.write_port,
        proxy.read_port,
        dir.display(),
    );
    if engine.is_read_by_proxy() {
        let _ = writeln!(text, "admin_users = [\"{}\"]\nrun_dir = \"{}/run\"", lab.app.user, dir.display());
    }
    text
}

/// Makes this user the owner of a folder and all that is in it.
fn give(path: &Path, user: Option<&LabUser>) -> Result<(), LabError> {
    let Some(user) = user else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).map_err(LabError::io("cannot give away", path))?;
    if fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
        let entries = fs::read_dir(path).map_err(LabError::io("cannot read", path))?;
        for entry in entries.flatten() {
            give(&entry.path(), Some(user))?;
        }
    }
    Ok(())
}
