//! What the member's file says of its own server of MySQL or MariaDB: binaries, folders, addresses, certificates. Called once,
//! at the start; it starts nothing.

use super::MysqlHands;
use crate::engine::Error;
use crate::error::AgentError;
use crate::instance::{data_dir, os_user};
use crate::secrets::Secrets;
use dauphin_engine::mysql::{Binaries, Credentials, Flavour, Instance, Mysql, ServerId, Settings, Tls};
use dauphin_model::file::Local;
use dauphin_model::{EngineKind, Incarnation, MemberSpec, Spec, Voter};
use dauphin_net::ca::{CA_FILE, CERT_FILE, KEY_FILE};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Longest password that a replica of MySQL logs in with.
const REPLICATION_BYTES_MAX: usize = 32;

impl MysqlHands {
    pub(crate) async fn of(local: &Local, spec: &Spec, member: &MemberSpec, listen: &str) -> Result<Self, AgentError> {
        let roots: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
        let flavour = if spec.engine == EngineKind::Mariadb { Flavour::Mariadb } else { Flavour::Mysql };
        let bin = Binaries::find(flavour, local.bin_dir.as_deref(), &roots).await.map_err(Error::from)?;
        let data_dir = data_dir(local);
        let member_dir = data_dir.parent().unwrap_or(&data_dir).to_owned();
        let (cluster, name, user) = (spec.cluster.clone(), member.name.clone(), os_user()?);
        let mut instance = Instance::new(bin, cluster, name, &member_dir, member.sql_port, &user);
        instance.data_dir = data_dir;
        // which incarnation this member is follows before the server is started
        let first = |member: &MemberSpec| Voter::new(member.name.clone(), Incarnation(1));
        let voters: Vec<Voter> = spec.data_members().map(first).collect();
        ServerId::check(&spec.cluster, &voters).map_err(Error::from)?;
        let id = ServerId::of(&spec.cluster, &first(member));
        let mut settings =
            Settings::new(listen, &member.host, id, spec.mysql.parameters.clone()).map_err(Error::from)?;
        // the server reads relative paths from its data directory
        let dir = std::path::absolute(&local.identity).map_err(AgentError::file("find", &local.identity))?;
        settings.tls = Some(Tls { cert: dir.join(CERT_FILE), key: dir.join(KEY_FILE), ca: dir.join(CA_FILE) });
        settings.require_tls = spec.mysql.sql_tls;
        let secrets = Secrets::load(&local.secrets)?;
        let credentials = Credentials {
            replication: secrets.need("replication")?,
            monitor: secrets.need("monitor")?,
            copy: secrets.need("copy")?,
        };
        credentials.check().map_err(Error::from)?;
        if credentials.replication.expose().len() > REPLICATION_BYTES_MAX {
            let path = local.secrets.display();
            let text = format!(
                "{path}: the password of replication is longer than {REPLICATION_BYTES_MAX} characters, which is the most that a replica \
                 can log in with"
            );
            return Err(AgentError::Configuration(text));
        }
        Ok(Self {
            server: Arc::new(Mysql::new(instance, settings).map_err(Error::from)?),
            credentials,
            secrets,
            enforced: Mutex::default(),
            follows: Mutex::default(),
            asking: AtomicBool::new(false),
            started: Mutex::default(),
            foreign: AtomicBool::new(false),
            beaten: Mutex::default(),
            acknowledging: Mutex::default(),
            watching: AtomicBool::new(false),
            archived: Mutex::default(),
            safeguards: Mutex::default(),
            ends: Mutex::default(),
            room: Mutex::default(),
            giving: Mutex::default(),
        })
    }

    /// Data that was there and is not any more is a disk that is not mounted. Of which cluster it is, a running server alone
    /// can say.
    pub(crate) fn check_found(&self, known: bool) -> Result<(), Error> {
        let instance = &self.server.instance;
        if known && !instance.has_data() {
            instance.require_empty()?;
        }
        Ok(())
    }
}
