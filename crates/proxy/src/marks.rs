//! How far servers' logs reach: the leader's, when a session that has written is about to read from a replica, and the
//! replicas'. Sessions ask; one question at a time is under way to each server, and its answer is for all who wait. What a
//! server said of an earlier term, or before its connection was lost, counts for nothing.

use crate::hub::Hub;
use crate::server::{self, OpenError, Server};
use crate::table::View;
use dauphin_model::{MemberName, Target, Term};
use dauphin_wire::postgres::scram::Secret;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

/// Asked of the leader: what it has written, flushed or not, as a commit may be acknowledged before it is flushed.
const WRITTEN: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn()";
/// Asked of a replica: what its readers see.
const REPLAYED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn()";

/// Asked of the leader: a commit that its replicas have to acknowledge, as they do only for who still leads. Nothing, where
/// it waits for none.
const CONFIRMS: &str = "SELECT CASE WHEN pg_catalog.current_setting('synchronous_standby_names') \
     OPERATOR(pg_catalog.<>) '' THEN pg_catalog.pg_logical_emit_message(true, 'dauphin', '') END \
     FROM pg_catalog.set_config('synchronous_commit', 'on', true)";

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The same, where it waits for replicas.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting to one may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a server could not be asked.
const RETRY: Duration = Duration::from_millis(50);
/// How often it is looked whether the proxy is there still.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Least time between two questions to a replica that is behind.
const AGAIN: Duration = Duration::from_millis(1);

/// Bytes of a page of the log, and of what stands at the beginning of one; of the first page of a file there is more.
const PAGE_BYTES: u64 = 8192;
const HEADER_BYTES: [u64; 2] = [24, 40];

/// What a server has said last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Which question that was the answer to; 0: there is none.
    pub(crate) number: u64,
    /// The term that was known when it was asked.
    pub(crate) term: Term,
    /// How far its log reaches; 0: it has nothing to say.
    pub(crate) lsn: u64,
    /// When it was asked.
    pub(crate) asked: Option<Instant>,
}

/// One server's.
#[derive(Debug)]
pub(crate) struct Mark {
    asked: AtomicU64,
    wanted: Notify,
    seen: watch::Sender<Seen>,
}

impl Mark {
    fn new() -> Self {
        Self { asked: AtomicU64::new(0), wanted: Notify::new(), seen: watch::Sender::new(Seen::default()) }
    }

    /// The number of the last question. What was acknowledged before this is in the answers to later ones.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// What it has said last.
    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Has it asked once more.
    pub(crate) fn ask(&self) {
        self.wanted.notify_one();
    }

    /// Waits for an answer that will do; none when it does not come in time.
    pub(crate) async fn wait(&self, until: Instant, will_do: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let mut seen = self.seen.subscribe();
        let waiting = async {
            loop {
                let last = *seen.borrow_and_update();
                if will_do(&last) {
                    return Some(last);
                }
                self.ask();
                seen.changed().await.ok()?;
            }
        };
        tokio::time::timeout_at(until, waiting).await.ok().flatten()
    }
}

/// All servers'.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) leader: Arc<Mark>,
    /// The leader's, as far as its replicas confirm.
    pub(crate) confirmed: Arc<Mark>,
    replicas: Mutex<BTreeMap<MemberName, Arc<Mark>>>,
    /// A replica has said something.
    news: watch::Sender<()>,
    login: (Vec<u8>, Secret),
    /// Where servers are asked; none in tests that ask none.
    runtime: Option<Handle>,
}

impl Marks {
    /// `database` and `password` are those of the proxy's own role.
    pub(crate) fn new(database: &str, password: String) -> Self {
        Self {
            leader: Arc::new(Mark::new()),
            confirmed: Arc::new(Mark::new()),
            replicas: Mutex::default(),
            news: watch::Sender::new(()),
            login: (server::own_startup(database), Secret::Password(password)),
            runtime: Handle::try_current().ok(),
        }
    }

    /// Begins to follow the leader.
    pub(crate) fn start(hub: &Arc<Hub>) {
        for (mark, question) in [(&hub.marks.leader, Question::Written), (&hub.marks.confirmed, Question::Confirms)] {
            hub.marks.spawn(follow(Arc::downgrade(hub), Arc::clone(mark), question));
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Changes whenever a replica has said something.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// A replica's; followed from the first time it is asked for until the proxy ends.
    pub(crate) fn replica(&self, hub: &Arc<Hub>, member: &MemberName) -> Arc<Mark> {
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let mark = Arc::new(Mark::new());
            self.spawn(follow(Arc::downgrade(hub), Arc::clone(&mark), Question::Replayed(member.clone())));
            mark
        };
        Arc::clone(replicas.entry(member.clone()).or_insert_with(new))
    }
}

/// What is asked, and of whom.
enum Question {
    /// Of the leader: how far it has written.
    Written,
    /// Of the leader: to write something that its replicas acknowledge.
    Confirms,
    /// Of this replica: how far it has replayed.
    Replayed(MemberName),
}

impl Question {
    fn text(&self) -> &'static str {
        match self {
            Self::Written => WRITTEN,
            Self::Confirms => CONFIRMS,
            Self::Replayed(_) => REPLAYED,
        }
    }

    fn target(&self, view: &View) -> Option<Target> {
        match self {
            Self::Written | Self::Confirms => view.open_leader().cloned(),
            Self::Replayed(member) => view.usable_replicas().find(|target| target.member == *member).cloned(),
        }
    }

    /// The position in what the server answered.
    fn read(&self, answer: Result<Option<String>, OpenError>) -> Option<u64> {
        match (self, answer) {
            (Self::Confirms, Ok(None)) => Some(0),
            (_, answer) => lsn_of(answer, !matches!(self, Self::Replayed(_))),
        }
    }
}

/// Follows the leader, or one replica, as long as the proxy is there.
async fn follow(hub: Weak<Hub>, mark: Arc<Mark>, question: Question) {
    let mut connection: Option<(Server, Target, Term)> = None;
    loop {
        let wanted = timeout(LOOK_EVERY, mark.wanted.notified()).await.is_ok();
        let Some(hub) = hub.upgrade() else { return };
        if !wanted {
            continue;
        }
        let view = hub.view();
        let target = question.target(&view);
        let same = |(_, its, term): &(Server, Target, Term)| Some(its) == target.as_ref() && *term == view.term;
        if !connection.as_ref().is_some_and(same) {
            connection = None;
            mark.seen.send_modify(|seen| seen.term = Term::default());
            if let Some(target) = target {
                let opening = Server::open(&hub.dial, &target, &hub.marks.login.0, &hub.marks.login.1);
                if let Ok(Ok(server)) = timeout(OPEN_TIMEOUT, opening).await {
                    connection = Some((server, target, view.term));
                }
            }
        }
        let number = mark.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let asked = Instant::now();
        let answer = match &mut connection {
            Some((server, ..)) => ask(&hub, server, &question, view.term).await,
            None => None,
        };
        match answer.and_then(|answer| question.read(answer)) {
            Some(lsn) => {
                mark.seen.send_replace(Seen { number, term: view.term, lsn, asked: Some(asked) });
                if matches!(question, Question::Replayed(_)) {
                    hub.marks.news.send_replace(());
                    sleep(AGAIN).await;
                }
            }
            None => {
                connection = None;
                // Whoever waits asks again.
                mark.seen.send_modify(|seen| seen.term = Term::default());
                sleep(RETRY).await;
            }
        }
    }
}

/// What the server says while this is the term; none when it takes too long.
async fn ask(
    hub: &Hub,
    server: &mut Server,
    question: &Question,
    term: Term,
) -> Option<Result<Option<String>, OpenError>> {
    let mut views = hub.subscribe();
    let moved = async { while hub.term() == term && views.changed().await.is_ok() {} };
    let within = if matches!(question, Question::Confirms) { CONFIRM_TIMEOUT } else { ANSWER_TIMEOUT };
    let answered = timeout(within, server.ask(question.text()));
    tokio::select! {
        answer = answered => answer.ok().filter(|_| hub.term() == term),
        () = moved => None,
    }
}

/// The position in an answer.
fn lsn_of(answer: Result<Option<String>, OpenError>, written: bool) -> Option<u64> {
    let text = answer.ok()??;
    let (high, low) = text.split_once('/')?;
    let lsn = u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?;
    // At the beginning of a page the leader tells where its next record will begin, and a replica where the last one ended.
    let into = lsn % PAGE_BYTES;
    Some(if written && HEADER_BYTES.contains(&into) { lsn - into } else { lsn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_at_the_beginning_of_a_page_is_the_end_of_the_one_before() {
        let read = |text: &str, written| lsn_of(Ok(Some(text.to_owned())), written);
        assert_eq!(read("1/30", true), Some(0x1_0000_0030));
        assert_eq!(read("0/2018", true), Some(0x2000));
        assert_eq!(read("0/2028", true), Some(0x2000));
        assert_eq!(read("0/2018", false), Some(0x2018));
        assert_eq!(read("0/2040", true), Some(0x2040));
        for wrong in ["", "0", "x/0", "0/x", "/"] {
            assert_eq!(read(wrong, true), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_for_all_who_wait_and_comes_in_time_or_not_at_all() {
        let mark = Mark::new();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(mark.wait(soon, |seen| seen.number > 0).await.is_none());
        let answer = async {
            mark.wanted.notified().await;
            mark.seen.send_replace(Seen { number: 1, lsn: 7, ..Seen::default() });
        };
        let soon = Instant::now() + Duration::from_secs(20);
        let (first, second, ()) =
            tokio::join!(mark.wait(soon, |seen| seen.number > 0), mark.wait(soon, |seen| seen.lsn >= 7), answer);
        assert_eq!((first.map(|seen| seen.lsn), second.map(|seen| seen.lsn)), (Some(7), Some(7)));
    }
}
