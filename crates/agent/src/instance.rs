//! What the member's file says of its own server: binaries, folders, addresses, certificates. Called once, at the start; it
//! starts nothing.

use crate::error::AgentError;
use dauphin_engine::postgres::{Binaries, Instance, Postgres, Settings, Tls};
use dauphin_model::file::Local;
use dauphin_model::{MemberSpec, Spec};
use dauphin_net::ca::{CA_FILE, CERT_FILE, KEY_FILE};
use std::path::{Path, PathBuf};

fn listen_addresses(listen: &str) -> Vec<String> {
    vec![listen.to_owned()]
}

pub(crate) async fn postgres(
    local: &Local,
    spec: &Spec,
    member: &MemberSpec,
    listen: &str,
) -> Result<Postgres, AgentError> {
    let roots: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
    let bin = Binaries::find(local.bin_dir.as_deref(), &roots).await?;
    let data_dir = local.data_dir.clone().unwrap_or_else(|| local.state_dir.join("data"));
    let member_dir = data_dir.parent().unwrap_or(&data_dir).to_owned();
    let mut instance =
        Instance::new(bin, spec.cluster.clone(), member.name.clone(), &member_dir, member.sql_port, &os_user()?);
    instance.data_dir = data_dir;
    let count = u32::try_from(spec.data_members().count()).unwrap_or(u32::MAX);
    let mut settings = Settings::new(listen_addresses(listen), count, &spec.postgres)?;
    settings.tls = certificates(&instance, &local.identity, spec.postgres.sql_tls)?;
    Ok(Postgres::new(instance, settings)?)
}

/// The member's own certificate, for SQL too; none where this build of PostgreSQL speaks no TLS and need not.
fn certificates(instance: &Instance, identity: &Path, required: bool) -> Result<Option<Tls>, AgentError> {
    match instance.check_tls() {
        Err(refused) if required => return Err(refused.into()),
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    // the server reads relative paths from its data directory
    let dir = std::path::absolute(identity).map_err(AgentError::file("find", identity))?;
    Ok(Some(Tls { cert: dir.join(CERT_FILE), key: dir.join(KEY_FILE), ca: dir.join(CA_FILE) }))
}

/// The name of the user that this process runs as: the database's superuser is mapped to it.
fn os_user() -> Result<String, AgentError> {
    let uid = rustix::process::getuid().as_raw();
    let path = Path::new("/etc/passwd");
    let text = std::fs::read_to_string(path).map_err(AgentError::file("read", path))?;
    let field = |line: &str, n: usize| line.split(':').nth(n).map(str::to_owned);
    text.lines()
        .find(|line| field(line, 2).and_then(|f| f.parse::<u32>().ok()) == Some(uid))
        .and_then(|line| field(line, 0))
        .ok_or_else(|| {
            AgentError::Configuration(format!("user id {uid} has no name in /etc/passwd; run as a named user"))
        })
}
