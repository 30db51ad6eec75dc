//! Leaderships as the core has them: positions on timelines, voters and their acknowledgements, barriers, access.

use crate::copies::copied;
use crate::run::{LIMIT, until};
use crate::stage::{Member, PASSWORD, Stage};
use dauphin_engine::host::Secret;
use dauphin_engine::mysql::{Access, Error, Flavour, NOWHERE, StopMode, Thread};
use dauphin_model::{Branch, Enforced, Held, Lsn, Position, Relation, Run, ServerView, SwitchPoint, Term, Timeline};
use mysql_async::prelude::Queryable;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long something may take that shall not happen.
const SHORT: Duration = Duration::from_millis(600);

type Commit = JoinHandle<Result<(), mysql_async::Error>>;

/// What commits wait for.
pub fn enforced(voters: &[&Member], required: u32) -> Enforced {
    Enforced { voters: voters.iter().map(|member| member.voter()).collect(), required }
}

impl Member {
    pub async fn view(&self) -> ServerView {
        self.sql.view(LIMIT).await
    }

    pub async fn position(&self) -> Position {
        self.view().await.position.unwrap()
    }

    /// Leads on this timeline, behind the closed access.
    async fn lead(&self, timeline: u32) -> SwitchPoint {
        self.sql.set_access(Access::Closed).await.unwrap();
        self.sql.begin_timeline(Timeline(timeline), LIMIT).await.unwrap()
    }

    /// A row that is on its way.
    async fn commits(&self, n: i32) -> Commit {
        let mut client = self.app().await;
        tokio::spawn(async move { client.query_drop(format!("INSERT INTO app.t VALUES ({n}, 'x')")).await })
    }

    pub async fn waits(&self, n: i32) -> Commit {
        let commit = self.commits(n).await;
        until("a waiting commit", async || self.look().await.semi_sync.waiting == 1).await;
        commit
    }
}

/// The first leader of a cluster of these members, with accounts, the application's database and its table. Nothing waits yet.
pub async fn begin(leader: &Member, members: &[&Member]) {
    leader.lead(2).await;
    let names: Vec<_> = members.iter().map(|member| member.sql.instance.member.clone()).collect();
    leader.sql.ensure_accounts(&Stage::credentials(), &names).await.unwrap();
    leader.sql.ensure_app("app", "app", &Secret::new("app".to_owned())).await.unwrap();
    let mut root = leader.root().await;
    root.query_drop("CREATE TABLE app.t (n int PRIMARY KEY, w text) ENGINE=InnoDB").await.unwrap();
}

async fn trio(stage: &Stage) -> [Member; 3] {
    [stage.member("m1").await, stage.member("m2").await, stage.member("m3").await]
}

/// Raises the barrier and waits for it in the background.
pub async fn raise(leader: &Member, term: u64, enforced: &Enforced) -> JoinHandle<Result<(), Error>> {
    let barrier = leader.sql.start_barrier(Term(term), enforced).await.unwrap();
    tokio::spawn(barrier.done())
}

#[track_caller]
fn ends<T>(task: JoinHandle<T>) -> impl Future<Output = T> {
    let line = std::panic::Location::caller().line();
    async move {
        let ended = tokio::time::timeout(LIMIT, task).await;
        ended.unwrap_or_else(|_| panic!("what line {line} waits for did not end")).unwrap()
    }
}

/// The leader's agent beats, until this is over.
async fn beats(leader: &Member, commit: &Commit) {
    until("the commit", async || {
        let beat = leader.sql.beat(Term(1), LIMIT).await;
        assert!(matches!(beat, Ok(()) | Err(Error::CommitsWait { .. })), "{beat:?}");
        commit.is_finished()
    })
    .await;
}

pub async fn a_leader_dies_and_its_tail_is_found_and_copied_over(stage: &Stage) {
    let [mut one, mut two, three] = trio(stage).await;
    let fresh = one.position().await;
    assert_eq!(fresh, Position::new(NOWHERE, Lsn(0)));
    assert_eq!(one.view().await.in_recovery, Some(true), "closed, it leads nobody");
    begin(&one, &[&one, &two, &three]).await;
    assert_eq!(one.position().await.history, [Branch { timeline: NOWHERE, end: Lsn(0) }]);
    assert_eq!(one.view().await.in_recovery, Some(false));

    // the barrier waits for voters, and nothing waits in the server meanwhile
    let barrier = raise(&one, 1, &enforced(&[&two, &three], 1)).await;
    two.follow_as(&one, false).await;
    until("an attached replica", async || one.view().await.attached.len() == 1).await;
    let attached = one.view().await.attached.remove(0);
    assert_eq!((attached.voter, attached.sync_state.as_str()), (Some(two.voter()), "async"));
    until("the same log", async || two.position().await == one.position().await).await;
    assert!(!barrier.is_finished() && one.look().await.semi_sync.waiting == 0);
    two.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    three.follow_as(&one, true).await;
    one.sql.set_access(Access::Open).await.unwrap();
    for n in 0..5 {
        one.insert(n).await.unwrap();
    }
    let open = one.position().await;
    for replica in [&two, &three] {
        until("the leader's log", async || replica.position().await == open).await;
        let view = replica.view().await;
        assert_eq!((view.run, view.in_recovery, view.streaming), (Run::Running, Some(true), Some(Timeline(2))));
        assert_eq!((view.replay_lag_ms, view.replay_paused), (Some(0), false));
    }
    let names: Vec<_> = one.view().await.attached.into_iter().map(|a| (a.voter, a.sync_state)).collect();
    let quorum = |member: &Member| (Some(member.voter()), "quorum".to_owned());
    assert!(names.contains(&quorum(&two)) && names.contains(&quorum(&three)) && names.len() == 2, "{names:?}");
    let identity = one.sql.identity(LIMIT).await.unwrap();
    assert!(identity.is_some_and(|n| n > 0) && two.sql.identity(LIMIT).await.unwrap() == identity);

    // both freeze where the leader is; what it commits then nobody has, and it dies with that
    let frozen = [two.sql.freeze_at(LIMIT).await.unwrap().position, three.sql.freeze_at(LIMIT).await.unwrap().position];
    assert_eq!(frozen, [open.clone(), open.clone()]);
    let tail = one.waits(100).await;
    let logged = one.position().await;
    assert_eq!(logged.lsn, Lsn(open.lsn.0 + 1), "a commit that waits is logged");
    one.stop(StopMode::Kill).await;
    assert!(ends(tail).await.is_err());
    assert_eq!(one.view().await.run, Run::Crashed);

    // one of them leads, behind its barrier; the other follows
    let switch = three.lead(3).await;
    assert_eq!(switch, SwitchPoint { from: Timeline(2), lsn: open.lsn, next_xid: 0 });
    assert_eq!(three.lead(3).await, switch, "told again, it says the same");
    let too_low = three.sql.begin_timeline(Timeline(2), LIMIT).await;
    assert!(matches!(too_low, Err(Error::Timeline { wanted: 2, .. })), "{too_low:?}");
    let barrier = raise(&three, 2, &enforced(&[&two], 1)).await;
    two.follow_as(&three, true).await;
    ends(barrier).await.unwrap();
    three.sql.set_access(Access::Open).await.unwrap();
    three.insert(5).await.unwrap();
    until("the new leader's log", async || two.position().await == three.position().await).await;
    assert_eq!(two.position().await.timeline, Timeline(3));
    assert_eq!((two.rows().await, three.rows().await), (6, 6));
    assert_eq!(two.sql.identity(LIMIT).await.unwrap(), identity);

    // the old one comes back with its tail, which diverges where it was left
    one.start().await;
    let (old, leader) = (one.position().await, three.position().await);
    assert_eq!(old, logged);
    assert_eq!(old.compare(&leader), Relation::Diverged { at: open.lsn });
    assert_eq!(open.leads_into(&leader), Ok(()));
    assert_eq!(one.view().await.in_recovery, Some(true));
    one.stop(StopMode::Kill).await;
    let theirs = three.look().await.logged();
    let cut = one.sql.instance.archive_cut_off(None, &theirs, Term(2)).await.unwrap().unwrap();
    assert!(cut.whole, "{cut:?}");
    one.sql.instance.wipe().unwrap();
    copied(&two, &one).await;
    one.start().await;
    assert_eq!(one.position().await, two.position().await, "a copy is where its source is");
    one.follow_as(&three, false).await;
    three.insert(6).await.unwrap();
    until("the leader's log", async || one.position().await == three.position().await).await;
    assert_eq!(one.rows().await, 7);

    // and back in order: nothing is left behind
    three.sql.set_sync(&enforced(&[&one, &two], 1)).await.unwrap();
    one.follow_as(&three, true).await;
    let mut three = three;
    let end = three.stop_in_order().await.unwrap();
    assert_eq!(three.view().await.run, Run::Stopped);
    for replica in [&one, &two] {
        until("all of it", async || replica.position().await == end).await;
    }
    assert_eq!(one.sql.freeze_at(LIMIT).await.unwrap().position, end);
    assert_eq!(one.lead(9).await, SwitchPoint { from: Timeline(3), lsn: end.lsn, next_xid: 0 });
    three.start().await;
    three.follow_as(&one, false).await;
    two.follow_as(&one, false).await;
    for replica in [&two, &three] {
        until("the leader's log", async || replica.position().await == one.position().await).await;
        assert_eq!(replica.position().await.timeline, Timeline(9));
    }
    two.stop(StopMode::Kill).await;
}

pub async fn whoever_is_no_voter_acknowledges_nothing(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    two.follow_as(&one, false).await;
    three.follow_as(&one, false).await;
    let barrier = raise(&one, 1, &enforced(&[&two], 1)).await;
    // it believes that it counts, and is not let in
    three.follow_as(&one, true).await;
    until("a refusal", async || three.look().await.channels[0].receiver_fault.is_some()).await;
    two.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    one.sql.set_access(Access::Open).await.unwrap();
    one.insert(1).await.unwrap();

    // a replica that follows plainly receives, and its word counts for nothing
    three.follow_as(&one, false).await;
    until("the leader's log", async || three.position().await == one.position().await).await;
    two.sql.freeze(LIMIT).await.unwrap();
    let commit = one.waits(2).await;
    three.executes(&three.look().await.executed).await;
    until("the row", async || three.rows().await == 2).await;
    assert!(!commit.is_finished(), "it has the row, and does not count");

    // it becomes a voter, and the commit is acknowledged
    let lsn = one.sql.confirm_sync(&enforced(&[&three], 1)).await.unwrap();
    assert_eq!(lsn, one.position().await.lsn, "what waits is counted");
    assert!(!commit.is_finished());
    three.follow_as(&one, true).await;
    // it has the row already and is sent it no more: what it acknowledges is what comes next
    until("the voter", async || one.look().await.semi_sync.replicas > 0).await;
    beats(&one, &commit).await;
    ends(commit).await.unwrap();

    // and is one no more: its connection ends with its account
    until("the voter", async || one.look().await.semi_sync.replicas == 1).await;
    one.sql.set_sync(&enforced(&[&two], 1)).await.unwrap();
    assert_eq!(one.look().await.semi_sync.replicas, 0);
    let commit = one.waits(3).await;
    until("a refusal", async || three.look().await.channels[0].receiver != Thread::Running).await;
    assert!(!commit.is_finished() && three.rows().await == 2);
    let refused =
        one.sql.ensure_accounts(&Stage::credentials(), &[dauphin_model::MemberName::new("m4").unwrap()]).await;
    assert!(matches!(refused, Err(Error::CommitsWait { .. })), "{refused:?}");

    // degraded: nobody is waited for
    one.sql.set_sync(&enforced(&[], 0)).await.unwrap();
    ends(commit).await.unwrap();
    one.insert(4).await.unwrap();
    if stage.flavour() == Flavour::Mariadb {
        let many = one.sql.set_sync(&enforced(&[&two, &three], 2)).await;
        assert!(matches!(many, Err(Error::Setting { .. })), "{many:?}");
        assert!(!one.look().await.semi_sync.waits, "nothing was changed");
    }
}

pub async fn a_barrier_whose_wait_was_ended_proves_nothing(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    let voters = enforced(&[&two], 1);
    one.sql.set_sync(&voters).await.unwrap();
    two.follow_as(&one, true).await;
    let mut root = one.root().await;
    for end in ["KILL QUERY", "KILL CONNECTION"] {
        until("the voter", async || one.look().await.semi_sync.replicas == 1).await;
        until("the leader's log", async || two.position().await == one.position().await).await;
        two.signal("STOP");
        let barrier = raise(&one, 1, &voters).await;
        until("the barrier's row", async || one.look().await.semi_sync.waiting == 1).await;
        let list = "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync ACK%'";
        let waits: Option<u64> = root.query_first(list).await.unwrap();
        root.query_drop(format!("{end} {}", waits.unwrap())).await.unwrap();
        let waits_on = stage.flavour() == Flavour::Mysql && end == "KILL QUERY";
        if waits_on {
            two.signal("CONT");
        }
        let said = ends(barrier).await;
        assert!(said.is_ok() == waits_on, "{end}: {said:?}");
        assert!(waits_on || matches!(said, Err(Error::Barrier(_))), "{end}: {said:?}");
        two.signal("CONT");
        until("an end of all waits", async || one.look().await.semi_sync.waiting == 0).await;
    }
}

pub async fn a_barrier_passes_a_voter_that_had_its_row_before_it_counted(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    let voters = enforced(&[&two, &three], 1);
    one.sql.set_sync(&voters).await.unwrap();
    two.follow_as(&one, true).await;
    three.follow_as(&one, false).await;
    until("the voter", async || one.look().await.semi_sync.replicas == 1).await;
    until("the leader's log", async || two.position().await == one.position().await).await;
    two.signal("STOP");
    let barrier = raise(&one, 1, &voters).await;
    until("the barrier's row", async || one.look().await.semi_sync.waiting == 1).await;
    until("the row on one that does not count", async || three.position().await == one.position().await).await;
    three.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    two.signal("CONT");
}

pub async fn what_a_voter_had_before_it_counted_does_not_wait_for_ever(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    let barrier = raise(&one, 1, &enforced(&[&two], 1)).await;
    two.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    three.follow_as(&one, false).await;
    one.sql.set_access(Access::Open).await.unwrap();
    // the voter stands still; the other one has what waits, and all that can be logged behind it
    two.signal("STOP");
    let mut commits = vec![one.waits(1).await];
    for n in 2..6 {
        commits.push(one.commits(n).await);
    }
    until("what waits on one that does not count", async || three.position().await == one.position().await).await;
    one.sql.set_sync(&enforced(&[&three], 1)).await.unwrap();
    three.follow_as(&one, true).await;
    let nothing = Lsn(three.position().await.lsn.0 - 1);
    let begun = std::time::Instant::now();
    while begun.elapsed() < 2 * SHORT + SHORT {
        assert_eq!(one.sql.release_held(nothing).await.unwrap(), 0, "it does not hold that");
        tokio::time::sleep(SHORT / 10).await;
    }
    until("an end of all waits", async || {
        one.sql.release_held(three.position().await.lsn).await.unwrap();
        let beat = one.sql.beat(Term(1), LIMIT).await;
        assert!(matches!(beat, Ok(()) | Err(Error::CommitsWait { .. })), "{beat:?}");
        commits.iter().all(JoinHandle::is_finished)
    })
    .await;
    for commit in commits {
        ends(commit).await.unwrap();
    }
    until("all rows", async || three.rows().await == 5).await;
    two.signal("CONT");
}

pub async fn two_voters_must_vouch_where_two_are_asked(stage: &Stage) {
    if stage.flavour() == Flavour::Mariadb {
        // it waits for one
        return;
    }
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    let barrier = raise(&one, 1, &enforced(&[&two, &three], 2)).await;
    two.follow_as(&one, true).await;
    until("the first voter", async || one.look().await.semi_sync.replicas == 1).await;
    assert!(!barrier.is_finished());
    three.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    one.sql.set_access(Access::Open).await.unwrap();
    three.sql.freeze(LIMIT).await.unwrap();
    let commit = one.waits(1).await;
    until("the row", async || two.rows().await == 1).await;
    assert!(!commit.is_finished());
    // what the one that leaves vouched for is logged: it lies before the place that is told
    let lsn = one.sql.confirm_sync(&enforced(&[&two], 1)).await.unwrap();
    assert_eq!(lsn, two.position().await.lsn);
    ends(commit).await.unwrap();
}

pub async fn a_transaction_of_nobodys_puts_a_member_nowhere(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    two.follow_as(&one, false).await;
    until("the leader's log", async || two.position().await == one.position().await).await;
    // somebody writes to a replica
    two.sql.open_writes().await.unwrap();
    two.root().await.query_drop("INSERT INTO app.t VALUES (1, 'errant')").await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    let (lost, leader) = (two.position().await, one.position().await);
    assert_eq!((lost.timeline, lost.history.len()), (NOWHERE, 0));
    assert!(matches!(lost.compare(&leader), Relation::Diverged { .. }), "{lost} {leader}");
    assert!(lost.leads_into(&leader).is_err());
    // it vouches for what leaders wrote, all the same: it may have acknowledged that
    let frozen = two.sql.freeze_at(LIMIT).await.unwrap();
    assert_eq!(frozen.position, leader);
    assert!(frozen.stray.is_some_and(|stray| !stray.is_empty()));
    // a leader that took its numbers over would be nowhere itself
    let theirs = one.look().await.logged();
    let cut = two.sql.instance.archive_cut_off(None, &theirs, Term(2)).await.unwrap().expect("errant");
    assert_eq!(cut.did.first().map(String::as_str), Some("INSERT INTO app.t (1)"), "{cut:?}");
    let passed = one.sql.pass_over(&cut).await;
    assert!(matches!(passed, Err(Error::Setting { .. })), "{passed:?}");
    assert_eq!(one.position().await, leader);
    two.sql.set_access(Access::Closed).await.unwrap();
    let led = two.sql.begin_timeline(Timeline(3), LIMIT).await;
    assert!(matches!(&led, Err(error @ Error::Stray { .. }) if error.blames_data()), "{led:?}");
    // a log that no leadership began
    three.sql.open_writes().await.unwrap();
    three.root().await.query_drop("CREATE DATABASE other").await.unwrap();
    assert_eq!(three.position().await, Position::new(NOWHERE, Lsn(1)));
}

pub async fn a_server_boots_closed_and_lets_nobody_in(stage: &Stage) {
    let mut one = stage.blank("m1", Stage::settings("m1", &[]));
    one.sql.initialize(&Stage::credentials()).await.unwrap();
    let command = one.sql.prepare_start().await.unwrap();
    one.start_closed(command).await;
    assert_eq!(one.sql.access().await.unwrap(), Access::Closed);
    begin(&one, &[&one]).await;
    let outside = async || {
        let mut client = one.connect("app", Some("app")).await?;
        client.query_drop("SELECT 1").await
    };
    let said = outside().await.expect_err("clients are kept out").to_string();
    eprintln!("measured: {}: a client is told: {said}", stage.bin.version);
    // the members' accounts and the agent's come in
    let mut member = one.connect("dauphin_replication", Some(PASSWORD)).await.unwrap();
    member.query_drop("SELECT 1").await.unwrap();
    let mut root = one.root().await;
    let mut count = async |name: &str| -> u64 {
        let row: Option<(String, u64)> = root.query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'")).await.unwrap();
        row.expect("counted").1
    };
    // and the agent's question whether they do is none that breaks off
    let (before, there) = (count("Aborted_clients").await, count("Threads_connected").await);
    one.sql.takes_connections(LIMIT).await.unwrap();
    let by = std::time::Instant::now() + LIMIT;
    while count("Threads_connected").await > there {
        assert!(std::time::Instant::now() < by, "it stays connected");
    }
    assert_eq!(count("Aborted_clients").await, before);

    one.sql.set_access(Access::Open).await.unwrap();
    outside().await.unwrap();
    let open = one.sql.begin_timeline(Timeline(3), LIMIT).await;
    assert!(matches!(open, Err(Error::Timeline { wanted: 3, .. })), "{open:?}");
    let (mut idle, mut busy) = (one.app().await, one.app().await);
    idle.query_drop("BEGIN").await.unwrap();
    idle.query_drop("INSERT INTO app.t VALUES (1, 'never')").await.unwrap();
    let sleeps = tokio::spawn(async move { busy.query_drop("SELECT SLEEP(60)").await });
    until("two at work", async || one.sql.busy_clients().await.unwrap() == 2).await;
    one.sql.set_access(Access::Closed).await.unwrap();
    assert_eq!(one.sql.busy_clients().await.unwrap(), 0);
    assert!(idle.query_drop("COMMIT").await.is_err());
    assert!(ends(sleeps).await.is_err() || stage.flavour() == Flavour::Mariadb);
    assert!(outside().await.is_err());
    member.query_drop("SELECT 1").await.unwrap();

    // an administrator of the user's is kept out as anybody
    one.sql.set_access(Access::Open).await.unwrap();
    one.sql.ensure_admin("chief", &Secret::new("ch'ief".to_owned())).await.unwrap();
    let logged = one.position().await;
    one.sql.ensure_admin("chief", &Secret::new("ch'ief".to_owned())).await.unwrap();
    assert_eq!(one.position().await, logged, "what is there is not written again");
    let mut chief = one.connect("chief", Some("ch'ief")).await.unwrap();
    chief.query_drop("CREATE DATABASE chiefs").await.unwrap();
    one.sql.set_access(Access::Closed).await.unwrap();
    assert!(chief.query_drop("SELECT 1").await.is_err());
    let again = async || one.connect("chief", Some("ch'ief")).await?.query_drop("SELECT 1").await;
    assert!(again().await.is_err());
    assert_eq!(one.rows().await, 0);
}

pub async fn a_server_whose_commits_wait_is_killed_and_told_so(stage: &Stage) {
    let [mut one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    let barrier = raise(&one, 1, &enforced(&[&two], 1)).await;
    two.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    one.sql.set_access(Access::Open).await.unwrap();
    two.sql.freeze(LIMIT).await.unwrap();
    let commit = one.waits(1).await;
    assert_eq!(one.stop_in(SHORT).await, None);
    assert!(ends(commit).await.is_err(), "nobody was told that it is done");
    assert_eq!(one.view().await.run, Run::Crashed);
}

pub async fn a_replica_that_cannot_apply_vouches_for_what_it_has(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    let barrier = raise(&one, 1, &enforced(&[&two], 1)).await;
    two.follow_as(&one, true).await;
    ends(barrier).await.unwrap();
    one.sql.set_access(Access::Open).await.unwrap();
    until("the leader's log", async || two.position().await == one.position().await).await;
    // a row that is in no log: the leader's own cannot be applied there
    two.sql.open_writes().await.unwrap();
    let mut root = two.root().await;
    root.query_drop("SET SESSION sql_log_bin = OFF").await.unwrap();
    root.query_drop("INSERT INTO app.t VALUES (7, 'in the way')").await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    let applied = two.position().await;
    for n in 7..12 {
        one.insert(n).await.unwrap();
    }
    until("the applier's error", async || two.look().await.channels[0].applier_fault.is_some()).await;
    assert_eq!(two.position().await, applied, "what is not applied is not counted while it runs");
    assert_eq!(two.sql.freeze_at(LIMIT).await.unwrap().position, one.position().await, "and it may vouch for it");
    let led = two.sql.begin_timeline(Timeline(3), LIMIT).await;
    assert!(matches!(led, Err(Error::Timeline { .. })), "{led:?}");
    two.sql.set_access(Access::Closed).await.unwrap();
    let led = two.sql.begin_timeline(Timeline(3), LIMIT).await;
    assert!(matches!(led, Err(Error::Unapplied { .. })), "{led:?}");

    // a leadership that began in what is not applied: on which timeline it is cannot be said
    one.sql.set_sync(&enforced(&[&two], 0)).await.unwrap();
    one.lead(3).await;
    if stage.flavour() == Flavour::Mysql {
        root.query_drop("START REPLICA IO_THREAD").await.unwrap();
    } else {
        // it deletes its relay log and fetches everything again
        root.query_drop("CHANGE MASTER TO MASTER_USE_GTID = slave_pos").await.unwrap();
        root.query_drop("START SLAVE IO_THREAD").await.unwrap();
    }
    let end = one.look().await.executed;
    until("what the leader has", async || two.look().await.reached().is_some_and(|all| all.holds(&end))).await;
    let frozen = two.sql.freeze_at(LIMIT).await;
    assert!(matches!(frozen, Err(Error::Unapplied { .. })), "{frozen:?}");
    // with the row out of the way it is said
    two.sql.open_writes().await.unwrap();
    root.query_drop("DELETE FROM app.t WHERE n = 7").await.unwrap();
    two.sql.close_writes(LIMIT).await.unwrap();
    assert_eq!(two.sql.freeze_at(LIMIT).await.unwrap().position, one.position().await);
}

pub async fn a_replica_that_is_behind_becomes_a_voter_and_loses_nothing(stage: &Stage) {
    let [one, two, three] = trio(stage).await;
    begin(&one, &[&one, &two, &three]).await;
    one.sql.set_access(Access::Open).await.unwrap();
    one.sql.set_sync(&enforced(&[&two], 0)).await.unwrap();
    two.follow_as(&one, false).await;
    until("the leader's log", async || two.position().await == one.position().await).await;
    // it applies nothing for a while
    let mut root = two.root().await;
    root.query_drop("FLUSH TABLES WITH READ LOCK").await.unwrap();
    for n in 0..5 {
        one.insert(n).await.unwrap();
    }
    let end = one.look().await.executed;
    until("what the leader has", async || two.look().await.reached().is_some_and(|all| all.holds(&end))).await;
    assert!(!two.look().await.is_applied());
    let waits = tokio::time::timeout(SHORT * 5, two.follow_as(&one, true));
    match stage.flavour() {
        Flavour::Mysql => waits.await.unwrap(),
        // it applies everything first
        Flavour::Mariadb => assert!(waits.await.is_err()),
    }
    assert!(!two.look().await.is_applied());
    root.query_drop("UNLOCK TABLES").await.unwrap();
    two.follow_as(&one, true).await;
    until("the leader's log", async || two.position().await == one.position().await).await;
    assert_eq!(two.rows().await, 5);
    assert_eq!(two.look().await.channels[0].user, "dauphin_voter_m2");
    until("the voter", async || one.look().await.semi_sync.replicas == 1).await;
}
