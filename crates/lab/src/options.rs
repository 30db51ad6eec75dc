//! What a lab is asked to be, checked before anything is made. The command line fills it; pure.

use crate::error::LabError;
use dauphin_model::{Durability, OnShortage, Profile};
use std::path::PathBuf;

/// Most members of a lab: a store of seven is the largest that makes sense.
pub(crate) const MEMBERS_MAX: u16 = 7;
/// Highest base port: the last port used is the base plus 200 plus the number of members.
const BASE_PORT_MAX: u16 = 65_000;
/// Lowest base port: below are ports that only root may open.
const BASE_PORT_MIN: u16 = 1_024;
/// Longest folder name in bytes, so that `DIR/m1/run/.s.PGSQL.15001` fits a socket's address (107 bytes).
const DIR_BYTES_MAX: usize = 78;

/// The database engine of a lab.
pub use dauphin_model::EngineKind as Engine;

/// What `dauphin lab up` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; absolute.
    pub dir: PathBuf,
    /// The engine.
    pub engine: Engine,
    /// Number of members, a witness included.
    pub members: u16,
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// How fast failures are believed.
    pub profile: Profile,
    /// What to do when replicas are short.
    pub on_shortage: OnShortage,
    /// `raft`, `etcd`, `consul` or `zookeeper`.
    pub store: String,
    /// The engine's bin directory.
    pub bin: Option<PathBuf>,
    /// The first port.
    pub base_port: u16,
    /// No proxy.
    pub no_proxy: bool,
    /// A network namespace for each member.
    pub hosts: bool,
    /// A disk for each member.
    pub disks: bool,
    /// A wall clock for each member.
    pub clocks: bool,
    /// Number of sites of a mesh.
    pub mesh: Option<u16>,
    /// The last member is a witness.
    pub witness: bool,
    /// The program that agents run: `dauphin`.
    pub program: PathBuf,
}

impl Options {
    /// Refuses what this lab cannot be.
    ///
    /// # Errors
    /// [`LabError::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), LabError> {
        let usage = |text: String| Err(LabError::Usage(text));
        if self.store != "raft" {
            return usage(format!("the store {} is not built yet: use --store raft", self.store));
        }
        if self.mesh.is_some() {
            return usage("--mesh is not built yet: leave it out".into());
        }
        if self.members == 0 || self.members > MEMBERS_MAX {
            return usage(format!("--members is 1 to {MEMBERS_MAX}, not {}", self.members));
        }
        if self.witness && self.members < 2 {
            return usage("--witness makes the last member a witness: it needs --members 2 or more".into());
        }
        if !(BASE_PORT_MIN..=BASE_PORT_MAX).contains(&self.base_port) {
            return usage(format!("--base-port is {BASE_PORT_MIN} to {BASE_PORT_MAX}, not {}", self.base_port));
        }
        let length = self.dir.as_os_str().len();
        if length > DIR_BYTES_MAX {
            return usage(format!(
                "--dir has {length} bytes and at most {DIR_BYTES_MAX} fit (sockets in it have short names): \
                 take a shorter path"
            ));
        }
        let text = self.dir.to_string_lossy();
        if text.chars().any(|c| c.is_control() || matches!(c, '\'' | '"' | '\\' | '%' | '$')) {
            return usage(format!(
                "--dir {text:?} holds characters that configuration files cannot: take another path"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            dir: PathBuf::from("/tmp/lab"),
            engine: Engine::Postgres,
            members: 3,
            durability: Durability::Quorum,
            profile: Profile::Standard,
            on_shortage: OnShortage::Wait,
            store: "raft".into(),
            bin: None,
            base_port: 15_000,
            no_proxy: false,
            hosts: false,
            disks: false,
            clocks: false,
            mesh: None,
            witness: false,
            program: PathBuf::from("/bin/true"),
        }
    }

    #[track_caller]
    fn refused(options: &Options, word: &str) {
        let error = options.check().expect_err("a refusal");
        assert_eq!(error.exit(), 2);
        assert!(error.to_string().contains(word), "{error}");
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_what_can() {
        assert!(options().check().is_ok());
        for engine in [Engine::Mysql, Engine::Mariadb] {
            assert!(Options { engine, ..options() }.check().is_ok());
        }
        refused(&Options { store: "etcd".into(), ..options() }, "--store raft");
        refused(&Options { mesh: Some(3), ..options() }, "not built yet");
        refused(&Options { members: 0, ..options() }, "1 to 7");
        refused(&Options { members: 8, ..options() }, "1 to 7");
        refused(&Options { members: 1, witness: true, ..options() }, "--members 2");
        refused(&Options { base_port: 80, ..options() }, "--base-port");
        refused(&Options { dir: PathBuf::from("/x".repeat(50)), ..options() }, "shorter");
        refused(&Options { dir: PathBuf::from("/tmp/it's"), ..options() }, "characters");
    }
}
