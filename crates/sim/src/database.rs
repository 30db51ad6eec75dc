//! A fake server: a log with timelines, synchronous waits, a receiver, crashes that make waiting commits visible. What is
//! PostgreSQL's alone is marked; what servers of GTIDs have instead is in `gtid`. The world drives it; it never decides anything
//! and knows nothing of the protocol.

use crate::gtid::{NOWHERE, Relay, Session};
use dauphin_model::{Branch, Enforced, EngineKind, Lsn, Position, Timeline, Voter};
use std::collections::BTreeMap;

/// Records of its log that a server keeps whatever it loses, and that a copy brings along.
pub(crate) const LOG_KEPT: usize = 200;

/// A record of the log: who wrote it is its timeline; `value` is a client's, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record {
    /// The timeline it was written on.
    pub timeline: Timeline,
    /// How many records the log held before it, where it was written.
    pub number: u64,
    /// Identity of the client's commit; 0 for the server's own records.
    pub value: u64,
}

/// What a rewound copy has yet to receive before its server takes its first connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Needs {
    /// Up to here, as its source had it.
    pub end: usize,
    /// The last record of that.
    pub last: Record,
}

/// A commit that waits for replicas.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    /// The commit; 0 for the barrier's.
    pub value: u64,
    /// The log must be held up to here.
    pub end: usize,
}

/// What the server process keeps in memory.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Running {
    /// It is a replica.
    pub in_recovery: bool,
    /// Whom it receives from, and under which name; `epoch` tells one stream from the next.
    pub upstream: Option<(usize, Voter)>,
    /// Grows whenever the receiver is started or stopped: what an older stream carries is dropped.
    pub epoch: u64,
    /// A stream is established.
    pub streaming: bool,
    /// The newest line that recovery has heard of and taken up: it asks for nothing else while it runs.
    pub aim: Option<Position>,
    /// Settings that some backend or sender may still use; the last is the one wanted.
    pub enforced: Vec<Enforced>,
    /// Clients are let in.
    pub access: bool,
    /// Commits that wait.
    pub waiting: Vec<Waiting>,
    /// What each attached name has safely on its disk.
    pub attached: BTreeMap<Voter, usize>,
    /// What a server of GTIDs knows beside it.
    pub gtid: Session,
}

/// The server: its disk, and its process if it runs.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Database {
    /// Whose server it is.
    pub kind: EngineKind,
    /// The log on the disk: of a server of GTIDs what is applied.
    pub log: Vec<Record>,
    /// What a server of GTIDs has received beyond that.
    pub relay: Relay,
    /// Its log is no chain of leaderships.
    pub stray: bool,
    /// The timelines left behind.
    pub history: Vec<Branch>,
    /// The current timeline.
    pub timeline: Timeline,
    /// There is a data directory.
    pub has_data: bool,
    /// A copy or a rewind began and did not end: no server starts with it.
    pub torn: bool,
    /// It was rewound and is not consistent yet.
    pub needs: Option<Needs>,
    /// The newest line whose history is on the disk: a start takes it up if the log leads into it.
    pub newest: Option<Position>,
    /// What lies before this of the log is gone: a replica that needs it cannot stream from here.
    pub kept_from: usize,
    /// The process.
    pub running: Option<Running>,
    /// Grows with every start, so that what an older process was asked to do is dropped.
    pub life: u64,
}

impl Database {
    /// End of the log, with its history.
    #[must_use]
    pub(crate) fn position(&self) -> Position {
        if self.stray {
            return Position::new(NOWHERE, Lsn(self.log.len() as u64));
        }
        Position { history: self.history.clone(), timeline: self.timeline, lsn: Lsn(self.log.len() as u64) }
    }

    /// Starts as a replica of nobody. A crash's waiting commits are simply there.
    pub(crate) fn start(&mut self) {
        self.life += 1;
        let ours = self.position();
        let aim = self.newest.clone().filter(|newest| ours.leads_into(newest).is_ok());
        let enforced = vec![Enforced::default()];
        self.running = Some(Running { in_recovery: true, enforced, aim, ..Running::default() });
    }

    /// Hears of an upstream's line, and aims at it if recovery can go on from what it aimed at before.
    pub(crate) fn hear_of(&mut self, theirs: &Position) {
        if self.newest.as_ref().is_none_or(|newest| newest.timeline < theirs.timeline) {
            self.newest = Some(theirs.clone());
        }
        let leads = self.position().leads_into(theirs).is_ok();
        let Some(running) = &mut self.running else { return };
        let holds = |timeline| theirs.timeline == timeline || theirs.history.iter().any(|b| b.timeline == timeline);
        if leads && running.aim.as_ref().is_none_or(|aim| holds(aim.timeline)) {
            running.aim = Some(theirs.clone());
        }
    }

    /// The timeline that the receiver asks for: the one on which recovery goes on.
    pub(crate) fn asks_for(&self) -> Option<Timeline> {
        let running = self.running.as_ref().filter(|r| r.upstream.is_some())?;
        running.aim.as_ref().map(|aim| aim.timeline_from(Lsn(self.log.len() as u64)))
    }

    /// The timelines above its own that it knows and its log leads into, while it does not stream.
    pub(crate) fn heard_of(&self) -> Vec<Timeline> {
        let ours = self.position();
        let Some(running) = self.running.as_ref().filter(|r| r.in_recovery && !r.streaming) else { return Vec::new() };
        let known = running.aim.iter().chain(&self.newest);
        let above = known.filter(|line| line.timeline > self.timeline && ours.leads_into(line).is_ok());
        above.map(|line| line.timeline).collect()
    }

    /// Up to where it takes log from an upstream on that line: if it aims at another one, to the end of the timeline that it
    /// asks for, as either of them has it.
    pub(crate) fn takes_up_to(&self, theirs: &Position) -> usize {
        let here = Lsn(self.log.len() as u64);
        let aim = self.running.as_ref().and_then(|r| r.aim.as_ref()).filter(|aim| aim.timeline != theirs.timeline);
        let Some(aim) = aim else { return usize::MAX };
        let end_on = |line: &Position| line.history.iter().find(|b| here < b.end).map(|b| b.end.0);
        let end = end_on(aim).into_iter().chain(end_on(theirs)).min();
        end.map_or(usize::MAX, |end| usize::try_from(end).unwrap_or(usize::MAX))
    }

    /// The process is gone, whatever it was doing.
    pub(crate) fn kill(&mut self) {
        self.life += 1;
        self.running = None;
    }

    /// Becomes a leader on this timeline. Its commits wait for ever until it is told whom to wait for.
    pub(crate) fn promote(&mut self, timeline: Timeline) {
        let end = Lsn(self.log.len() as u64);
        self.history.push(Branch { timeline: self.timeline, end });
        self.timeline = timeline;
        self.newest = None;
        self.lead();
        self.log_own(0);
    }

    /// Leads on the timeline that it is on.
    pub(crate) fn lead(&mut self) {
        // closed to clients, a server of GTIDs waits for nobody
        let required = u32::from(!self.kind.has_gtids());
        let Some(running) = &mut self.running else { return };
        running.in_recovery = false;
        running.upstream = None;
        running.streaming = false;
        running.aim = None;
        running.epoch += 1;
        running.enforced = vec![Enforced { required, ..Enforced::default() }];
        running.access = false;
        running.attached.clear();
        running.gtid = Session::default();
    }

    /// Writes a record of its own.
    pub(crate) fn log_own(&mut self, value: u64) {
        let (timeline, number) = (self.timeline, self.log.len() as u64);
        self.log.push(Record { timeline, number, value });
    }

    /// Writes a commit; it is acknowledged when [`Self::released`] says so.
    pub(crate) fn write(&mut self, value: u64) -> bool {
        if self.running.as_ref().is_none_or(|r| r.in_recovery) || self.logs_no_more() {
            return false;
        }
        self.log_own(value);
        let end = self.log.len();
        self.running.iter_mut().for_each(|running| running.waiting.push(Waiting { value, end }));
        true
    }

    /// Commits whose wait is over: held by enough voters under any setting that may be in use.
    pub(crate) fn released(&mut self) -> Vec<u64> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let Some(first) = running.waiting.first().map(|w| w.end) else { return Vec::new() };
        let (attached, by_count) = (&running.attached, self.kind.has_gtids());
        let reach = running.enforced.iter().map(|e| held_up_to(e, attached, by_count)).max().unwrap_or(0);
        if first > reach {
            return Vec::new();
        }
        // they wait in the order of the log
        let done = running.waiting.iter().take_while(|w| w.end <= reach).count();
        running.waiting.drain(..done).map(|w| w.value).collect()
    }

    /// A client's wait is cancelled: it is told so, and never that its commit is done, though the commit is there. Whether
    /// it waited.
    pub(crate) fn cancel(&mut self, value: u64) -> bool {
        let Some(running) = &mut self.running else { return false };
        let before = running.waiting.len();
        running.waiting.retain(|w| w.value != value);
        running.waiting.len() < before
    }

    /// Gives away the log before `needed`; without, all of it.
    pub(crate) fn recycle(&mut self, needed: Option<usize>) {
        self.kept_from = self.kept_from.max(needed.unwrap_or(self.log.len()));
    }

    /// All that it has: the log, and what was received beyond it.
    pub(crate) fn on_disk(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.log.iter().chain(&self.relay.records)
    }

    /// Whether it has that commit.
    #[must_use]
    pub(crate) fn holds(&self, value: u64) -> bool {
        // those that are asked for are near the end
        self.on_disk().rev().any(|r| r.value == value)
    }

    /// A copy or a rewind begins: what is there may only be used once it has ended.
    pub(crate) fn tear(&mut self, wiped: bool) {
        self.torn = true;
        self.has_data = true;
        self.needs = None;
        if wiped {
            self.log.clear();
            self.relay = Relay::default();
            self.stray = false;
            self.history.clear();
        }
    }

    /// Goes back to where both logs part; `false`: the source has not the log any more that this takes.
    pub(crate) fn rewind(&mut self, source: &Self) -> bool {
        let common = self.log.iter().zip(&source.log).take_while(|(a, b)| a == b).count();
        if common < source.kept_from {
            return false;
        }
        self.torn = false;
        self.kept_from = self.kept_from.max(source.kept_from).min(common);
        self.log.truncate(common);
        let end = Lsn(common as u64);
        self.history = source.history.iter().copied().take_while(|b| b.end < end).collect();
        self.timeline = source.history.get(self.history.len()).map_or(source.timeline, |b| b.timeline);
        self.newest = Some(source.position());
        true
    }

    /// Copies everything; of the log, only what lies behind the copy's beginning can be streamed on.
    pub(crate) fn clone_from(&mut self, source: &Self) {
        self.log.clone_from(&source.log);
        self.relay = Relay::default();
        self.stray = source.stray;
        self.history.clone_from(&source.history);
        self.timeline = source.timeline;
        self.newest = Some(source.position());
        self.kept_from = source.kept_from.max(source.log.len().saturating_sub(LOG_KEPT));
        self.has_data = true;
        self.torn = false;
        self.kill();
    }

    /// Takes records of the upstream's log beyond ours, if ours is part of its past; the timeline follows.
    pub(crate) fn receive(&mut self, records: &[Record], from: usize, history: &[Branch], timeline: Timeline) -> bool {
        if from != self.log.len() {
            return false;
        }
        self.log.extend_from_slice(records);
        let end = Lsn(self.log.len() as u64);
        self.history = history.iter().copied().take_while(|b| b.end < end).collect();
        self.timeline = history.get(self.history.len()).map_or(timeline, |b| b.timeline);
        true
    }
}

/// How far enough voters hold the log. Servers of GTIDs count acknowledgements: that of one who counts no more, too, if it was
/// given before.
fn held_up_to(setting: &Enforced, attached: &BTreeMap<Voter, usize>, by_count: bool) -> usize {
    let Some(last) = (setting.required as usize).checked_sub(1) else { return usize::MAX };
    let counts = |voter: &Voter| by_count || setting.voters.contains(voter);
    let mut held: Vec<usize> = attached.iter().filter(|(voter, _)| counts(voter)).map(|(_, end)| *end).collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    held.get(last).copied().unwrap_or(0)
}
