//! The lab that a leg runs on: made, hit, healed, watched until it is whole, ended. The only place that knows which faults
//! this machine can make.

use anyhow::{Context, Result, anyhow};
use dauphin_api::Client;
use dauphin_api::dto::{Cluster, History};
use dauphin_lab::{
    Engine, FaultKind, Lab, LinkFault, Options, can_have_clocks, can_have_disks, can_have_hosts, installed,
};
use dauphin_model::{Durability, OnShortage, Profile};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_postgres::Config;

/// Every member is well within this long of the last heal.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// A cluster that is not well after this is given up, and the next leg gets a new one.
const LAST_CHANCE: Duration = Duration::from_secs(240);
/// How often the members are asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What kind of cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// PostgreSQL's major version.
    pub pg: String,
    /// `quorum`, `sync` or `async`.
    pub durability: String,
    /// `standard` or `fast`.
    pub profile: String,
    /// How many members.
    #[serde(default = "three")]
    pub members: u16,
}

/// What all clusters had before others were tried.
fn three() -> u16 {
    3
}

impl Cell {
    /// The seed of this cell's schedule: cells that run side by side draw different faults.
    #[must_use]
    pub fn seed(&self, seed: u64) -> u64 {
        let name = format!("{}/{}/{}", self.pg, self.durability, self.profile);
        // FNV-1a
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, mix)
    }
}

/// A running lab.
pub struct Stage {
    /// The lab.
    pub lab: Lab,
    client: Client,
}

/// How it became well again.
#[derive(Debug, Clone, PartialEq)]
pub enum Wellness {
    /// After this long.
    Well(Duration),
    /// Not within [`HEALTHY_WITHIN`]: what was missing then, and after how long it was well all the same.
    Late(String, Option<Duration>),
}

/// Where the engine's programs of this version are.
#[must_use]
pub fn binaries(pg: &str) -> Option<PathBuf> {
    let ours = PathBuf::from(format!(".engines/postgres-{pg}"));
    let places = [
        ours.join(format!("usr/lib/postgresql/{pg}/bin")),
        ours.join("bin"),
        format!("/usr/lib/postgresql/{pg}/bin").into(),
    ];
    places.into_iter().find(|place| place.join("postgres").exists())
}

/// The kinds of fault that can be made here, and those that cannot, with the reason.
#[must_use]
pub fn kinds(only: &[String], members: u16) -> (Vec<&'static str>, Vec<(String, String)>) {
    let (strace, hosts, disks) = (installed("strace"), can_have_hosts(), can_have_disks());
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for (name, kind) in FaultKind::NAMES {
        let why = match kind {
            FaultKind::Processes(_) | FaultKind::Descriptors => None,
            FaultKind::Links(LinkFault::Split) if members < 5 => Some("of three members a minority is one: partition"),
            FaultKind::Links(_) => (!hosts).then_some("needs root and `ip`"),
            FaultKind::Disk(_) => (!strace).then_some("needs strace"),
            FaultKind::Clock(_) => (!can_have_clocks()).then_some("needs libfaketime"),
            FaultKind::PowerCut => (!disks).then_some("needs root, mkfs.ext4, xfs_io and a loop device"),
        };
        match why {
            _ if !only.is_empty() && !only.iter().any(|k| k == name) => {}
            None => can.push(name),
            Some(why) => cannot.push((name.to_owned(), why.to_owned())),
        }
    }
    (can, cannot)
}

impl Stage {
    /// Makes the lab.
    ///
    /// # Errors
    /// What the lab says.
    pub fn up(cell: &Cell, program: &Path, dir: &Path, base_port: u16) -> Result<Self> {
        let bin = binaries(&cell.pg).ok_or_else(|| anyhow!("PostgreSQL {} is not installed: make engines", cell.pg))?;
        if Lab::is_in(dir) {
            // left by a run that was cut off
            dauphin_lab::down(&Lab::load(dir)?, false)?;
        }
        let options = Options {
            dir: dir.to_owned(),
            engine: Engine::Postgres,
            members: cell.members,
            durability: match cell.durability.as_str() {
                "sync" => Durability::Sync,
                "async" => Durability::Async,
                _ => Durability::Quorum,
            },
            profile: if cell.profile == "fast" { Profile::Fast } else { Profile::Standard },
            on_shortage: OnShortage::Wait,
            store: "raft".to_owned(),
            bin: Some(bin),
            base_port,
            no_proxy: false,
            hosts: can_have_hosts(),
            disks: can_have_disks(),
            clocks: can_have_clocks(),
            mesh: None,
            witness: false,
            program: program.to_owned(),
        };
        let lab = dauphin_lab::up(&options, &mut |_| ()).context("the lab")?;
        let client = Client::new(lab.endpoints(), None);
        Ok(Self { lab, client })
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the lab says.
    pub fn down(self) -> Result<()> {
        Ok(dauphin_lab::down(&self.lab, false)?)
    }

    /// The cluster as an agent shows it.
    #[must_use]
    pub fn cluster(&self) -> Option<Cluster> {
        self.client.cluster().ok()
    }

    /// All leaderships so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.client.get("/v1/history").unwrap_or_default()
    }

    /// Names of the leader and of the others.
    #[must_use]
    pub fn roles(&self) -> (Option<String>, Vec<String>) {
        let leader = self.cluster().and_then(|c| c.leader);
        let others = self.lab.members.iter().map(|m| m.name.clone()).filter(|n| Some(n) != leader.as_ref()).collect();
        (leader, others)
    }

    /// Waits until a leader is open and every member runs and streams.
    pub fn wait_well(&self, since: Instant) -> Wellness {
        let mut late = None;
        loop {
            let why = match self.cluster() {
                Some(view) => unwell(&self.lab, &view),
                None => Some("no agent answers".to_owned()),
            };
            match (why, since.elapsed()) {
                (None, took) if late.is_none() => return Wellness::Well(took),
                (None, took) => return Wellness::Late(late.unwrap_or_default(), Some(took)),
                (Some(why), took) if took > HEALTHY_WITHIN && late.is_none() => late = Some(why),
                (Some(_), took) if took > LAST_CHANCE => return Wellness::Late(late.unwrap_or_default(), None),
                (Some(_), _) => {}
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Where clients write.
    #[must_use]
    pub fn proxy(&self) -> Config {
        let (host, port) = self.lab.proxy.as_ref().map_or(("127.0.0.1", 0), |p| (p.host.as_str(), p.write_port));
        self.config(host, port, &self.lab.app.user, &self.lab.app.password)
    }

    /// Where clients read from replicas.
    #[must_use]
    pub fn reading(&self) -> Config {
        let (host, port) = self.lab.proxy.as_ref().map_or(("127.0.0.1", 0), |p| (p.host.as_str(), p.read_port));
        self.config(host, port, &self.lab.app.user, &self.lab.app.password)
    }

    /// Each member's server, for an administrator.
    #[must_use]
    pub fn members(&self) -> Vec<Config> {
        let admin = &self.lab.admin;
        let of = |m: &dauphin_lab::LabMember| self.config(&m.host, m.sql_port, &admin.user, &admin.password);
        self.lab.members.iter().map(of).collect()
    }

    fn config(&self, host: &str, port: u16, user: &str, password: &str) -> Config {
        let mut config = Config::new();
        config
            .host(host)
            .port(port)
            .user(user)
            .password(password)
            .dbname("app")
            .connect_timeout(Duration::from_secs(2));
        config
    }
}

/// What is missing until the cluster is well.
fn unwell(lab: &Lab, view: &Cluster) -> Option<String> {
    if !view.open {
        return Some("no leader is open".to_owned());
    }
    lab.members.iter().find_map(|m| match view.members.iter().find(|v| v.name == m.name) {
        None => Some(format!("{} is not shown", m.name)),
        Some(v) if v.state != "running" => Some(format!("{} is {}", m.name, v.state)),
        Some(v) if v.role == "replica" && lab.durability != "async" && v.sync_state.is_none() => {
            Some(format!("{} does not stream", m.name))
        }
        Some(_) => None,
    })
}
