//! The lab that a leg runs on: made, hit, healed, watched until it is whole, ended. The only place that knows which faults
//! this machine can make.

use crate::db::Place;
use anyhow::{Context, Result, anyhow};
use dauphin_api::Client;
use dauphin_api::dto::{Cluster, History};
use dauphin_histories::allowed::Server;
use dauphin_lab::{
    Engine, FaultKind, Lab, LinkFault, Login, Options, ProcessFault, can_have_clocks, can_have_disks, can_have_hosts,
    installed,
};
use dauphin_model::{Durability, OnShortage, Profile};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Every member is well within this long of the last heal.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// A cluster that is not well after this is given up, and the next leg gets a new one.
const LAST_CHANCE: Duration = Duration::from_secs(240);
/// How often the members are asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What kind of cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Which database.
    #[serde(default)]
    pub engine: Engine,
    /// Its series, as the folders of its programs are called: `15`, `9`, `10.11`.
    #[serde(alias = "pg")]
    pub version: String,
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
        // what PostgreSQL's were called before there were others: their schedules stay
        let engine = match self.engine {
            Engine::Postgres => String::new(),
            Engine::Mysql | Engine::Mariadb => format!("{}/", self.engine.word()),
        };
        let name = format!("{engine}{}/{}/{}", self.version, self.durability, self.profile);
        // FNV-1a
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, mix)
    }

    /// What the server itself promises its clients.
    #[must_use]
    pub fn promises(&self) -> Server {
        match self.engine {
            Engine::Postgres => Server::Postgres { major: self.version.parse().unwrap_or_default() },
            Engine::Mysql | Engine::Mariadb => Server::Innodb,
        }
    }

    /// Why Dauphin refuses to run such a cluster.
    #[must_use]
    pub fn refused(&self) -> Option<&'static str> {
        let waits_for_two = self.durability == "sync" && self.members > 2;
        (self.engine == Engine::Mariadb && waits_for_two)
            .then_some("MariaDB waits for one acknowledgement: sync with one replica, --members 2")
    }
}

/// A running lab.
pub struct Stage {
    /// The lab.
    pub lab: Lab,
    /// What its members run.
    pub engine: Engine,
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

/// The versions that are run when nobody says.
#[must_use]
pub const fn versions(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => &["15", "18"],
        Engine::Mysql => &["9"],
        Engine::Mariadb => &["10.11", "11"],
    }
}

/// Where the engine's programs of this version are.
#[must_use]
pub fn binaries(engine: Engine, version: &str) -> Option<PathBuf> {
    let ours = PathBuf::from(format!(".engines/{}-{version}", engine.word()));
    let (program, places) = match engine {
        Engine::Postgres => {
            let debian = format!("usr/lib/postgresql/{version}/bin");
            ("postgres", vec![ours.join(&debian), ours.join("bin"), Path::new("/").join(debian)])
        }
        Engine::Mysql => ("mysqld", vec![ours.join("usr/sbin"), ours.join("bin")]),
        Engine::Mariadb => ("mariadbd", vec![ours.join("usr/sbin"), ours.join("bin")]),
    };
    places.into_iter().find(|place| place.join(program).exists())
}

/// The kinds of fault that can be made here, and those that cannot, with the reason.
#[must_use]
pub fn kinds(engine: Engine, only: &[String], members: u16) -> (Vec<&'static str>, Vec<(String, String)>) {
    let (strace, hosts, disks) = (installed("strace"), can_have_hosts(), can_have_disks());
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for (name, kind) in FaultKind::NAMES {
        let why = match kind {
            FaultKind::Processes(ProcessFault::FreezeBackend) if engine != Engine::Postgres => {
                Some("clients have threads of one process: freeze-server")
            }
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
        let bin = binaries(cell.engine, &cell.version)
            .ok_or_else(|| anyhow!("{} {} is not installed: make engines", cell.engine.name(), cell.version))?;
        if Lab::is_in(dir) {
            // left by a run that was cut off
            dauphin_lab::down(&Lab::load(dir)?, false)?;
        }
        let options = Options {
            dir: dir.to_owned(),
            engine: cell.engine,
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
        Ok(Self { lab, client, engine: cell.engine })
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

    /// Waits until a leader is open, every member runs and streams, and `writes` says that clients write.
    pub fn wait_well(&self, since: Instant, writes: &dyn Fn() -> bool) -> Wellness {
        let mut late = None;
        loop {
            let why = match self.cluster() {
                Some(view) => {
                    unwell(&self.lab, &view).or_else(|| (!writes()).then(|| "no insert is acknowledged".to_owned()))
                }
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
    pub fn proxy(&self) -> Place {
        let (host, port) = self.lab.proxy.as_ref().map_or(("127.0.0.1", 0), |p| (p.host.as_str(), p.write_port));
        self.place(host, port, &self.lab.app)
    }

    /// Where clients read from replicas.
    #[must_use]
    pub fn reading(&self) -> Place {
        let (host, port) = self.lab.proxy.as_ref().map_or(("127.0.0.1", 0), |p| (p.host.as_str(), p.read_port));
        self.place(host, port, &self.lab.app)
    }

    /// Each member's server, for an administrator.
    #[must_use]
    pub fn members(&self) -> Vec<Place> {
        self.lab.members.iter().map(|m| self.place(&m.host, m.sql_port, &self.lab.admin)).collect()
    }

    fn place(&self, host: &str, port: u16, login: &Login) -> Place {
        let Login { user, password } = login.clone();
        Place { engine: self.engine, host: host.to_owned(), port, user, password, read_level: None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_of_a_cell_stays_what_it_was() {
        let cell = |engine, version: &str| Cell {
            engine,
            version: version.into(),
            durability: "quorum".into(),
            profile: "standard".into(),
            members: 3,
        };
        assert_eq!(cell(Engine::Postgres, "15").seed(22), 0x791e_d8ed_4719_ef21);
        assert_ne!(cell(Engine::Mysql, "15").seed(22), 0x791e_d8ed_4719_ef21);
    }
}
