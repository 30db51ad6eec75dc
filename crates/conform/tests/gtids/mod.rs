//! Carries a scenario out on real servers of MySQL or MariaDB: through the engine, as an agent would, and as clients do. Every
//! wait is for something that is seen, with a deadline.

mod look;

use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_conform::{Act, Commit, Line, Scenario, Seen, Who};
use dauphin_engine::host::Secret;
use dauphin_engine::mysql::{Access, Reached, StopMode, Thread};
use dauphin_model::{Enforced, Held, MemberName, Position, Term, Timeline};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The timelines of the first server, and of the first member once a scenario begins.
const FIRST: Timeline = Timeline(2);
const BEGIN: u32 = 3;
/// How long a freeze may wait for an applier that stands.
const FREEZE_LIMIT: Duration = Duration::from_secs(1);
/// Where a server keeps the number that tells it from others.
const OWN_FILE: &str = "auto.cnf";

/// A stopped server's data, from which every scenario's members are copied.
pub(crate) struct Template {
    member: Member,
    of: Stage,
}

/// A client that writes one value.
struct Writer {
    at: Who,
    task: JoinHandle<Commit>,
    ended: Option<Commit>,
    /// Whoever holds this holds the commit.
    written: Position,
}

/// Three real servers, and what the scenario knows beside them.
struct Real {
    members: [Member; 3],
    up: [bool; 3],
    leads: [bool; 3],
    upstream: [Option<Who>; 3],
    enforced: [BTreeSet<Who>; 3],
    writers: BTreeMap<u32, Writer>,
    /// Whoever keeps a replica from applying.
    holding: BTreeMap<Who, Conn>,
}

impl Template {
    /// A new cluster's first server, with its accounts and a table, stopped in order.
    pub(crate) async fn new(of: Stage) -> Self {
        let mut member = of.member("first").await;
        member.sql.set_access(Access::Closed).await.unwrap();
        member.sql.begin_timeline(FIRST, LIMIT).await.unwrap();
        let names: Vec<_> = Who::ALL.iter().map(|who| MemberName::new(name(*who)).unwrap()).collect();
        member.sql.ensure_accounts(&Stage::credentials(), &names).await.unwrap();
        member.sql.ensure_app("app", "app", &Secret::new("app".to_owned())).await.unwrap();
        let create = "CREATE TABLE app.t (n int PRIMARY KEY, w text) ENGINE=InnoDB";
        member.root().await.query_drop(create).await.unwrap();
        assert_eq!(member.stop(StopMode::Orderly).await, StopMode::Orderly);
        Self { member, of }
    }

    /// What the looks of a scenario show on real servers.
    pub(crate) async fn run(&self, scenario: &Scenario) -> Vec<Seen> {
        let mut real = Box::pin(self.formed()).await;
        let mut seen = Vec::new();
        for (at, line) in scenario.lines.iter().enumerate() {
            match line {
                Line::Do(act) => Box::pin(real.act(act)).await,
                Line::See(look, told) => {
                    real.settle(&format!("{}, line {}", scenario.name, at + 1)).await;
                    let shown = Box::pin(real.look(look, told)).await;
                    if shown != *told {
                        eprintln!("{}, line {}: {line}, and is {shown:?}", scenario.name, at + 1);
                        Who::ALL.iter().for_each(|who| eprintln!("--- {who:?}\n{}", tail(&real.of(*who).log())));
                    }
                    seen.push(shown);
                }
            }
        }
        seen
    }

    /// Three members with the same data; the first leads, the others stream from it.
    async fn formed(&self) -> Real {
        let member = async |who: Who| {
            let mut member = self.of.blank(name(who), Stage::settings(name(who), &[]));
            let (from, to) = (&self.member.sql.instance.data_dir, &member.sql.instance.data_dir);
            let _ = std::fs::remove_dir_all(to);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
            let _ = std::fs::remove_file(to.join(OWN_FILE));
            let command = member.sql.prepare_start().await.unwrap();
            member.start_closed(command).await;
            member
        };
        let members = [member(Who::M1).await, member(Who::M2).await, member(Who::M3).await];
        let mut real = Real {
            members,
            up: [true; 3],
            leads: [false; 3],
            upstream: [None; 3],
            enforced: Default::default(),
            writers: BTreeMap::new(),
            holding: BTreeMap::new(),
        };
        for act in [
            Act::Promote(Who::M1, BEGIN),
            Act::Sync(Who::M1, vec![], 0),
            Act::Open(Who::M1),
            Act::Follow(Who::M2, Who::M1),
            Act::Follow(Who::M3, Who::M1),
        ] {
            Box::pin(real.act(&act)).await;
        }
        real.settle("at the beginning").await;
        real
    }
}

const fn name(who: Who) -> &'static str {
    match who {
        Who::M1 => "m1",
        Who::M2 => "m2",
        Who::M3 => "m3",
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

impl Real {
    fn of(&self, who: Who) -> &Member {
        &self.members[who.index()]
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Write(at, value) => self.write(*at, *value).await,
            Act::Sync(at, voters, required) => self.sync(*at, voters, *required).await,
            Act::Freeze(who) => {
                self.of(*who).sql.freeze_at(FREEZE_LIMIT).await.unwrap();
                self.upstream[who.index()] = None;
            }
            Act::Follow(who, from) => self.follow(*who, *from).await,
            Act::Promote(who, timeline) => {
                self.of(*who).sql.set_access(Access::Closed).await.unwrap();
                self.of(*who).sql.begin_timeline(Timeline(*timeline), LIMIT).await.unwrap();
                self.leads[who.index()] = true;
                self.upstream[who.index()] = None;
            }
            Act::Open(who) => self.of(*who).sql.set_access(Access::Open).await.unwrap(),
            Act::Close(who) => self.of(*who).sql.set_access(Access::Closed).await.unwrap(),
            Act::Kill(who) => {
                self.settle("before a kill").await;
                self.holding.remove(who);
                self.members[who.index()].stop(StopMode::Kill).await;
                self.is_down(*who);
            }
            Act::Stop(who) => {
                assert!(self.members[who.index()].stop_in_order().await.is_some(), "in order");
                self.is_down(*who);
            }
            Act::Start(who) => {
                let member = &mut self.members[who.index()];
                let command = member.sql.prepare_start().await.unwrap();
                member.start_closed(command).await;
                self.up[who.index()] = true;
            }
            Act::PauseReplay(who) => {
                let mut holding = self.of(*who).root().await;
                holding.query_drop("LOCK TABLES app.t READ").await.unwrap();
                self.holding.insert(*who, holding);
            }
            Act::ResumeReplay(who) => {
                let mut holding = self.holding.remove(who).unwrap();
                holding.query_drop("UNLOCK TABLES").await.unwrap();
            }
            Act::WriteByHand(who, value) => {
                let member = self.of(*who);
                member.sql.open_writes().await.unwrap();
                let insert = format!("INSERT INTO app.t VALUES ({value}, 'errant')");
                member.root().await.query_drop(insert).await.unwrap();
                member.sql.close_writes(LIMIT).await.unwrap();
            }
            Act::Beat(who) => {
                self.settle("before a beat").await;
                // it is a commit like any other, and may wait for ever
                let beat = self.of(*who).sql.beat(Term(1), FREEZE_LIMIT);
                let _ = beat.await;
            }
            Act::Cancel(_)
            | Act::BeginSync(..)
            | Act::HearOf(..)
            | Act::Rewind(..)
            | Act::Clone(..)
            | Act::DropSlot(..)
            | Act::Recycle(_)
            | Act::RecycleBeyondSlots(_) => panic!("{act:?} is no act on servers of GTIDs"),
        }
    }

    fn is_down(&mut self, who: Who) {
        let at = who.index();
        (self.up[at], self.leads[at], self.upstream[at]) = (false, false, None);
        self.enforced[at].clear();
    }

    /// Follows; as one that acknowledges where it counts, as its agent would find out.
    async fn follow(&mut self, who: Who, from: Who) {
        let acknowledges = self.enforced[from.index()].contains(&who);
        self.leads[who.index()] = false;
        self.of(who).follow_as(self.of(from), acknowledges).await;
        self.upstream[who.index()] = Some(from);
    }

    async fn sync(&mut self, at: Who, voters: &[Who], required: u32) {
        let enforced = Enforced { voters: voters.iter().map(|who| self.of(*who).voter()).collect(), required };
        self.of(at).sql.confirm_sync(&enforced).await.unwrap();
        self.enforced[at.index()] = voters.iter().copied().collect();
        let behind: Vec<Who> = Who::ALL.into_iter().filter(|who| self.upstream[who.index()] == Some(at)).collect();
        for who in behind {
            self.follow(who, at).await;
        }
        if required > 0 {
            let counting = voters.iter().filter(|who| self.upstream[who.index()] == Some(at)).count();
            until("those who count", async || self.of(at).look().await.semi_sync.replicas as usize == counting).await;
        }
    }

    async fn write(&mut self, at: Who, value: u32) {
        let mut client = self.of(at).app().await;
        let insert = format!("INSERT INTO app.t VALUES ({value}, 'x')");
        let task = tokio::spawn(async move {
            match client.query_drop(insert).await {
                Ok(()) => Commit::Acknowledged,
                Err(mysql_async::Error::Server(error)) => panic!("{error}"),
                Err(_) => Commit::Unknown,
            }
        });
        let others = self.writers.values().filter(|w| w.at == at && !w.task.is_finished()).count();
        until("a commit that ends or waits", async || {
            task.is_finished() || self.of(at).look().await.semi_sync.waiting as usize > others
        })
        .await;
        let written = self.position(at).await.unwrap();
        self.writers.insert(value, Writer { at, task, ended: None, written });
    }

    /// Waits until every replica has received what its source has, and applied it if it can.
    async fn settle(&self, at: &str) {
        for who in Who::ALL.into_iter().filter(|who| self.up[who.index()]) {
            let Some(source) = self.upstream[who.index()].filter(|from| self.up[from.index()]) else { continue };
            let stopped = || format!("{at}: {who:?} has what {source:?} has, or says why not");
            until(&stopped(), async || {
                let (theirs, view) = (self.of(source).look().await, self.of(who).look().await);
                let Some(channel) = view.channels.first() else { return false };
                if channel.receiver != Thread::Running && channel.receiver_fault.is_some() {
                    return true;
                }
                let waiting = Reached::Mysql(theirs.committing.clone());
                let end = theirs.executed.join(&waiting).unwrap_or_else(|| theirs.executed.clone());
                let all = [Some(view.executed.clone()), Some(channel.retrieved.clone()), view.reached()];
                let received = all.iter().flatten().any(|held| held.holds(&end));
                let stands = channel.applier_fault.is_some() || self.holding.contains_key(&who);
                received && (stands || view.is_applied())
            })
            .await;
        }
    }
}
