//! What a lab is right now: its making, and the processes and roles of this moment. `lab show` prints it.

use crate::error::LabError;
use crate::find;
use crate::process::Process;
use crate::state::{Lab, LabProxy, Login};
use dauphin_api::Client;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// `lab show --json`, as CONTRACT.md has it.
#[derive(Serialize)]
pub struct Shown {
    /// Name of the cluster.
    pub cluster: String,
    /// Its engine.
    pub engine: ShownEngine,
    /// `async`, `sync` or `quorum`.
    pub durability: String,
    /// `fast`, `standard` or `wan`.
    pub profile: String,
    /// The folder.
    pub dir: PathBuf,
    /// The members.
    pub members: Vec<ShownMember>,
    /// The proxy.
    pub proxy: Option<ShownProxy>,
    /// The agents' HTTP interface.
    pub api: ShownApi,
    /// Owner of the database for applications.
    pub app: ShownLogin,
    /// A superuser.
    pub admin: Login,
    /// Sites of a mesh: none here.
    pub sites: Vec<Value>,
}

/// The engine of a lab.
#[derive(Serialize)]
pub struct ShownEngine {
    /// `postgres`, `mysql` or `mariadb`.
    pub kind: String,
    /// As its binaries say.
    pub version: String,
}

/// One member of a lab.
#[derive(Serialize)]
pub struct ShownMember {
    /// Its name.
    pub name: String,
    /// Its address.
    pub host: String,
    /// Its server's port.
    pub sql_port: u16,
    /// Its agent's HTTP port.
    pub api_port: u16,
    /// Its agent's port for other members.
    pub link_port: u16,
    /// `leader`, `replica`, `witness`; null when no agent says.
    pub role: Option<String>,
    /// As in `status`; null when no agent says.
    pub state: Option<String>,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Null when dead.
    pub agent_pid: Option<i32>,
    /// Null when dead.
    pub guard_pid: Option<i32>,
    /// Null when dead.
    pub server_pid: Option<i32>,
    /// Whether one of its processes is stopped.
    pub frozen: bool,
    /// Its configuration file: enough to act as operator.
    pub config: PathBuf,
}

/// The proxy of a lab.
#[derive(Serialize)]
pub struct ShownProxy {
    /// Where it listens.
    #[serde(flatten)]
    pub proxy: LabProxy,
    /// Null when dead.
    pub pid: Option<i32>,
}

/// The HTTP interface.
#[derive(Serialize)]
pub struct ShownApi {
    /// What POSTs carry.
    pub token: String,
}

/// A database user and its database.
#[derive(Serialize)]
pub struct ShownLogin {
    /// Name and password.
    #[serde(flatten)]
    pub login: Login,
    /// The database it owns.
    pub database: String,
}

/// The lab in this folder as it is now.
///
/// # Errors
/// When there is no lab, or its file cannot be read.
pub fn show(lab: &Lab) -> Result<Shown, LabError> {
    // agents are asked before processes are looked up: what is shown of both is then of one moment, nearly
    let view = Client::new(lab.endpoints(), None).cluster().ok();
    let all = Process::all();
    let said = |name: &str| view.as_ref().and_then(|v| v.members.iter().find(|m| m.name == name));
    let members = lab.members.iter().map(|member| {
        let node = find::node(lab, member, &all);
        ShownMember {
            name: member.name.clone(),
            host: member.host.clone(),
            sql_port: member.sql_port,
            api_port: member.api_port,
            link_port: member.link_port,
            role: said(&member.name).map(|m| m.role.clone()),
            state: said(&member.name).map(|m| m.state.clone()),
            data_dir: lab.data_dir(member),
            agent_pid: node.agent.as_ref().map(|p| p.pid),
            guard_pid: node.guard.as_ref().map(|p| p.pid),
            server_pid: node.server.as_ref().map(|p| p.pid),
            frozen: node.all().any(Process::is_stopped),
            config: lab.config(member),
        }
    });
    Ok(Shown {
        cluster: lab.cluster.clone(),
        engine: ShownEngine { kind: lab.engine.clone(), version: lab.version.clone() },
        durability: lab.durability.clone(),
        profile: lab.profile.clone(),
        dir: lab.dir.clone(),
        members: members.collect(),
        proxy: lab
            .proxy
            .as_ref()
            .map(|proxy| ShownProxy { proxy: proxy.clone(), pid: find::proxy(lab, &all).map(|p| p.pid) }),
        api: ShownApi { token: lab.token.clone() },
        app: ShownLogin { login: lab.app.clone(), database: "app".into() },
        admin: lab.admin.clone(),
        sites: Vec::new(),
    })
}
