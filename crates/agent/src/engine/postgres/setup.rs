//! What the member's file says of its own PostgreSQL server: binaries, folders, addresses, certificates. Called once, at the
//! start; it starts nothing.

use super::PostgresHands;
use crate::engine::Error;
use crate::error::AgentError;
use crate::instance::{data_dir, os_user};
use crate::secrets::Secrets;
use dauphin_engine::postgres::{Binaries, Credentials, Instance, Postgres, Settings, Tls, check};
use dauphin_model::file::Local;
use dauphin_model::{MemberSpec, Spec};
use dauphin_net::ca::{CA_FILE, CERT_FILE, KEY_FILE};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

impl PostgresHands {
    pub(crate) async fn of(local: &Local, spec: &Spec, member: &MemberSpec, listen: &str) -> Result<Self, AgentError> {
        let roots: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
        let bin = Binaries::find(local.bin_dir.as_deref(), &roots).await.map_err(Error::from)?;
        let data_dir = data_dir(local);
        let member_dir = data_dir.parent().unwrap_or(&data_dir).to_owned();
        let (cluster, name, user) = (spec.cluster.clone(), member.name.clone(), os_user()?);
        let mut instance = Instance::new(bin, cluster, name, &member_dir, member.sql_port, &user);
        instance.data_dir = data_dir;
        let count = u32::try_from(spec.data_members().count()).unwrap_or(u32::MAX);
        let mut settings = Settings::new(vec![listen.to_owned()], count, &spec.postgres).map_err(Error::from)?;
        settings.apply_delay = member.delay;
        settings.tls = certificates(&instance, &local.identity, spec.postgres.sql_tls)?;
        let server = Postgres::new(instance, settings).map_err(Error::from)?;
        let secrets = Secrets::load(&local.secrets)?;
        let credentials = Credentials {
            replication: secrets.need("replication")?,
            rewind: secrets.need("rewind")?,
            monitor: secrets.need("monitor")?,
            proxy: secrets.need("proxy")?,
        };
        Ok(Self { server, credentials, secrets, named: Mutex::new(None) })
    }

    pub(crate) fn check_found(&self, expected: Option<u64>, known: bool) -> Result<Option<u64>, Error> {
        let instance = &self.server.instance;
        if instance.has_data() && !instance.rewind_marker().exists() {
            return Ok(Some(instance.check_data(expected)?));
        }
        if known && !instance.has_beginnings() {
            check::require_empty(&instance.data_dir)?;
        }
        Ok(None)
    }
}

/// The member's own certificate, for SQL too; none where this build of PostgreSQL speaks no TLS and need not.
fn certificates(instance: &Instance, identity: &Path, required: bool) -> Result<Option<Tls>, AgentError> {
    match instance.check_tls() {
        Err(refused) if required => return Err(Error::from(refused).into()),
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    // the server reads relative paths from its data directory
    let dir = std::path::absolute(identity).map_err(AgentError::file("find", identity))?;
    Ok(Some(Tls { cert: dir.join(CERT_FILE), key: dir.join(KEY_FILE), ca: dir.join(CA_FILE) }))
}
