//! Carries a scenario out on real servers: through the engine, as an agent would, and as clients do, through psql.
//! Every wait is for something that is seen, with a deadline.

mod client;
mod look;
mod settle;

use crate::support::{LIMIT, Lab, Member, term, until};
use client::Writer;
use dauphin_conform::{Act, Line, Scenario, Seen, Who};
use dauphin_engine::postgres::client::{ClientError, Login};
use dauphin_engine::postgres::config::{self, quote};
use dauphin_engine::postgres::session::Session;
use dauphin_engine::postgres::sync::names;
use dauphin_engine::postgres::{Access, Binaries, Error, StopMode, SyncMethod, history};
use dauphin_model::{Enforced, Timeline, Voter};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Instant;

/// The timeline that the first member leads on when a scenario begins.
const BEGIN: Timeline = Timeline(3);
/// Where files lie in memory.
const MEMORY: &str = "/dev/shm";
/// Room that a scenario's members need at most, with much to spare.
const MEMORY_MIN_BYTES: u64 = 2 << 30;
/// What slots keep, as the members of these tests have it.
const SLOTS_KEEP: &str = "256MB";
/// A slot's limit that is reached as soon as a segment is full.
const LESS_THAN_A_SEGMENT: &str = "1MB";

/// A stopped server's data, from which every scenario's members are copied.
pub(crate) struct Template {
    member: Member,
    lab: Lab,
}

/// Three real servers, and what the scenario knows beside them.
struct Real {
    // before the folder that they live in: what is dropped first ends first
    members: [Member; 3],
    lab: Lab,
    /// Ours to each member's `postgres` and `app`.
    sessions: [[Session; 2]; 3],
    up: [bool; 3],
    leads: [bool; 3],
    upstream: [Option<Who>; 3],
    /// How often each member's log had told of a refused stream when its stream was last begun.
    refused: [settle::Refused; 3],
    /// From whom a member was rewound, that was not started since.
    rewound: [Option<Who>; 3],
    paused: BTreeSet<Who>,
    no_slot: BTreeSet<(Who, Who)>,
    writers: BTreeMap<u32, Writer>,
    /// Something was done since everything had arrived.
    moved: bool,
}

impl Template {
    /// A new cluster's first server, with its roles and a table, stopped in order.
    pub(crate) async fn new(bin: Binaries) -> Self {
        let mut lab = Lab { bin, dir: folder(), ..Lab::new().await };
        // servers that are killed leave nothing behind outside their folders
        lab.user.insert("dynamic_shared_memory_type".to_owned(), "mmap".to_owned());
        let mut member = lab.leader("m1").await;
        member.psql("app", "CREATE TABLE t (n int PRIMARY KEY)").await.unwrap();
        assert_eq!(member.stop(StopMode::Fast).await, StopMode::Fast);
        Self { member, lab }
    }

    /// What the looks of a scenario show on real servers.
    pub(crate) async fn run(&self, scenario: &Scenario) -> Vec<Seen> {
        let mut real = Box::pin(self.formed()).await;
        let mut seen = Vec::new();
        for (at, line) in scenario.lines.iter().enumerate() {
            match line {
                Line::Do(act) => {
                    real.act(act).await;
                    real.moved = true;
                }
                Line::See(look, told) => {
                    real.settle(&format!("{}, line {}", scenario.name, at + 1)).await;
                    let shown = real.look(look, told).await;
                    if shown != *told {
                        eprintln!("{}, line {}: {line}, and is {shown:?}", scenario.name, at + 1);
                        eprintln!("{}", real.logs());
                    }
                    seen.push(shown);
                }
            }
        }
        seen
    }

    /// Three members with the same data; the first leads, the others stream from it.
    async fn formed(&self) -> Real {
        let of = &self.lab;
        let lab = Lab {
            dir: folder(),
            bin: of.bin.clone(),
            credentials: of.credentials.clone(),
            networks: of.networks.clone(),
            user: of.user.clone(),
        };
        let member = |name: &str| {
            let member = lab.member(name);
            member.pg.instance.make_dirs().unwrap();
            // a cold copy of data that was stopped in order is a whole one
            let (from, to) = (&self.member.pg.instance.data_dir, &member.pg.instance.data_dir);
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
            member
        };
        let mut members = [member("m1"), member("m2"), member("m3")];
        let sessions = [session(&members[0]), session(&members[1]), session(&members[2])];
        let [one, two, three] = &mut members;
        tokio::join!(lab.start(one, false), lab.start(two, false), lab.start(three, false));
        let mut real = Real {
            members,
            lab,
            sessions,
            up: [true; 3],
            leads: [false; 3],
            upstream: [None; 3],
            refused: Default::default(),
            rewound: [None; 3],
            paused: BTreeSet::new(),
            no_slot: BTreeSet::new(),
            writers: BTreeMap::new(),
            moved: true,
        };
        for act in [
            Act::Promote(Who::M1, BEGIN.0),
            Act::Sync(Who::M1, vec![], 0),
            Act::Open(Who::M1),
            Act::Follow(Who::M2, Who::M1),
            Act::Follow(Who::M3, Who::M1),
        ] {
            real.act(&act).await;
        }
        real.settle("at the beginning").await;
        real
    }
}

/// A folder in memory where there is room: nothing here is about the disk, and copies of data are many small files.
fn folder() -> tempfile::TempDir {
    let room = rustix::fs::statvfs(MEMORY).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let place = if room >= MEMORY_MIN_BYTES { MEMORY } else { "/tmp" };
    tempfile::Builder::new().prefix("dauphin-conform").tempdir_in(place).unwrap()
}

fn session(member: &Member) -> [Session; 2] {
    ["postgres", "app"].map(|database| {
        let login = Login {
            user: "dauphin".to_owned(),
            database: database.to_owned(),
            application: "conform".to_owned(),
            replication: false,
            options: "-c synchronous_commit=local".to_owned(),
        };
        Session::new(member.pg.instance.socket(), login)
    })
}

/// Does an act of the engine, and again when the machine was too slow for its time limits, as an agent does.
async fn insist<T>(mut act: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let begun = Instant::now();
    loop {
        match act().await {
            Ok(done) => return done,
            Err(Error::TimedOut { .. } | Error::Sql { source: ClientError::TimedOut(_), .. })
                if begun.elapsed() < LIMIT => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn column(session: &Session, sql: &str) -> Vec<String> {
    let answer = session.query(sql, LIMIT).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    answer.rows.iter().map(|r| r.get(0).unwrap_or_default().to_owned()).collect()
}

impl Real {
    fn of(&self, who: Who) -> &Member {
        &self.members[who.index()]
    }

    fn voters(&self, of: impl Iterator<Item = Who>) -> Vec<Voter> {
        of.map(|who| self.of(who).voter.clone()).collect()
    }

    fn set(&self, voters: &[Who], required: u32) -> Enforced {
        Enforced { voters: self.voters(voters.iter().copied()).into_iter().collect(), required }
    }

    /// The first column of what a statement of ours gives; it waits for no replica.
    async fn sql(&self, who: Who, sql: &str) -> Vec<String> {
        let [postgres, _] = &self.sessions[who.index()];
        column(postgres, sql).await
    }

    fn logs(&self) -> String {
        let tail = |who: Who| {
            let log = self.of(who).log();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- log of {who:?}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        Who::ALL.into_iter().map(tail).collect()
    }

    /// Starts it as a replica of nobody. One that was rewound is whole only once it has received what its source wrote
    /// meanwhile: it starts behind that one, as an agent does it.
    async fn start(&mut self, who: Who) {
        let Some(from) = self.rewound[who.index()].take() else {
            return self.lab.start(&mut self.members[who.index()], false).await;
        };
        let upstream = self.of(from).upstream_for(self.of(who), false);
        assert!(matches!(self.of(who).pg.follow(&upstream).await, Err(Error::NotRunning { .. })));
        self.lab.start(&mut self.members[who.index()], true).await;
        insist(async || self.of(who).pg.freeze(LIMIT).await).await;
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Write(at, value) => self.write(*at, *value).await,
            Act::Cancel(value) => self.cancel(*value).await,
            Act::Sync(at, voters, required) => {
                let set = self.set(voters, *required);
                insist(async || self.of(*at).pg.confirm_sync(&set, SyncMethod::Any).await).await;
            }
            Act::BeginSync(at, voters, required) => self.begin_sync(*at, voters, *required).await,
            Act::Freeze(who) => {
                insist(async || self.of(*who).pg.freeze(LIMIT).await).await;
                self.upstream[who.index()] = None;
                self.detached(*who).await;
            }
            Act::Follow(who, from) => {
                let slot = !self.no_slot.contains(&(*from, *who));
                self.begin_stream(*who, Some(*from));
                let upstream = self.of(*from).upstream_for(self.of(*who), slot);
                self.of(*who).pg.follow(&upstream).await.unwrap();
            }
            Act::HearOf(who, of) => {
                let timeline = self.of(*of).pg.look(LIMIT).await.position.unwrap().timeline;
                let path = |member: &Member| history::path(&member.pg.instance.data_dir, timeline);
                std::fs::copy(path(self.of(*of)), path(self.of(*who))).unwrap();
                let told = format!("new target timeline is {timeline}");
                until("recovery to aim anew", async || self.of(*who).log().contains(&told)).await;
            }
            Act::Promote(who, timeline) => {
                insist(async || self.of(*who).pg.promote(Timeline(*timeline), LIMIT).await).await;
                let others = self.voters(who.others());
                insist(async || self.of(*who).pg.ensure_slots(&others).await).await;
                self.leads[who.index()] = true;
                self.upstream[who.index()] = None;
                self.paused.remove(who);
                self.detached(*who).await;
                // those that stream from it see a new server
                self.streams_begin_behind(*who);
            }
            Act::Open(who) => self.let_in(*who, Access::Open).await,
            Act::Close(who) => self.let_in(*who, Access::Closed).await,
            Act::Kill(who) => {
                // what it wrote last arrives first, as on the fakes; a question alone may make a leader write
                self.moved = true;
                self.settle("before a kill").await;
                self.stop(*who, StopMode::Kill).await;
            }
            Act::Stop(who) => self.stop(*who, StopMode::Fast).await,
            Act::Start(who) => {
                self.start(*who).await;
                self.up[who.index()] = true;
                self.begin_stream(*who, None);
                self.streams_begin_behind(*who);
            }
            Act::Rewind(who, from) => {
                insist(async || self.of(*from).pg.checkpoint().await).await;
                let theirs = self.of(*from).pg.look(LIMIT).await.position.unwrap();
                let member = self.of(*who);
                let upstream = self.of(*from).upstream_for(member, false);
                let settings = member.pg.settings().await;
                let credentials = &self.lab.credentials;
                let rewind = member.pg.instance.rewind(&upstream, &theirs, &settings, credentials, term(9));
                rewind.await.unwrap().expect("something is cut off");
                self.rewound[who.index()] = Some(*from);
            }
            Act::Clone(who, from) => self.copy(*who, *from).await,
            Act::PauseReplay(who) => {
                self.sql(*who, "SELECT pg_wal_replay_pause()").await;
                self.paused.insert(*who);
            }
            Act::DropSlot(at, of) => {
                let slot = self.of(*of).voter.application_name();
                self.sql(*at, &format!("SELECT pg_drop_replication_slot('{slot}')")).await;
                self.no_slot.insert((*at, *of));
            }
            Act::Recycle(at) => self.recycle(*at, SLOTS_KEEP).await,
            Act::RecycleBeyondSlots(at) => self.recycle(*at, LESS_THAN_A_SEGMENT).await,
            Act::ResumeReplay(_) | Act::WriteByHand(..) | Act::Beat(_) => panic!("{act:?} is no act on PostgreSQL"),
        }
    }

    async fn let_in(&self, who: Who, access: Access) {
        insist(async || self.of(who).pg.set_access(access, &self.lab.networks).await).await;
    }

    async fn stop(&mut self, who: Who, mode: StopMode) {
        assert_eq!(self.members[who.index()].stop(mode).await, mode);
        let at = who.index();
        (self.up[at], self.leads[at], self.upstream[at]) = (false, false, None);
        self.paused.remove(&who);
        self.detached(who).await;
    }

    async fn copy(&mut self, who: Who, from: Who) {
        if self.up[who.index()] {
            self.stop(who, StopMode::Fast).await;
        }
        self.of(who).pg.instance.wipe().unwrap();
        let [member, source] = self.members.get_disjoint_mut([who.index(), from.index()]).unwrap();
        self.lab.clone_of(source, member).await;
        // a lost slot protects nothing: it is made again, as agents do
        self.no_slot.remove(&(from, who));
        let kept = self.voters(from.others().filter(|other| !self.no_slot.contains(&(from, *other))));
        insist(async || self.of(from).pg.ensure_slots(&kept).await).await;
    }

    /// The setting is in the file, and with those senders alone whose replicas it names: the others, and the postmaster,
    /// still go by the one before. A reload passes through such a state each time.
    async fn begin_sync(&mut self, at: Who, voters: &[Who], required: u32) {
        let path = self.of(at).pg.instance.data_dir.join(config::FILE);
        let setting =
            format!("synchronous_standby_names = {}", quote(&names(&self.set(voters, required), SyncMethod::Any)));
        let text = std::fs::read_to_string(&path).unwrap();
        let line = |line: &str| {
            let ours = line.starts_with("synchronous_standby_names = ");
            if ours { setting.clone() } else { line.to_owned() }
        };
        let changed: Vec<String> = text.lines().map(line).collect();
        std::fs::write(&path, changed.join("\n") + "\n").unwrap();
        for voter in self.voters(voters.iter().copied()) {
            let name = voter.application_name();
            let of = |what: &str| format!("SELECT {what} FROM pg_stat_replication WHERE application_name = '{name}'");
            for pid in self.sql(at, &of("pid")).await {
                assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
                until("a sender that takes the setting", async || {
                    self.sql(at, &of("sync_priority > 0")).await == ["t"]
                })
                .await;
            }
        }
    }

    /// Gives away the log before the newest segment, but for what slots keep up to their limit.
    async fn recycle(&mut self, at: Who, slots_keep: &str) {
        self.keep(at, slots_keep).await;
        self.sql(at, "SELECT pg_switch_wal()").await;
        self.moved = true;
        self.settle("before log is given away").await;
        self.sql(at, "CHECKPOINT").await;
        self.keep(at, SLOTS_KEEP).await;
    }

    async fn keep(&self, at: Who, slots_keep: &str) {
        self.sql(at, "ALTER SYSTEM SET wal_keep_size = 0").await;
        self.sql(at, &format!("ALTER SYSTEM SET max_slot_wal_keep_size = '{slots_keep}'")).await;
        insist(async || self.of(at).pg.reload().await).await;
    }
}
