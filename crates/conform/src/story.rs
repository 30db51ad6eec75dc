//! The language of the scenarios: what is done to three servers, what is looked at, and what must be seen. A scenario is
//! data; `fake` and the tests' `real` carry it out.
//!
//! What one side knows and the other does not is left out, on purpose:
//! - places in the log as numbers (bytes there, records here): instead of them, which commits a log holds and whether one log
//!   leads into another;
//! - how far a replica of PostgreSQL has replayed: the fake replays what it receives at once. [`Act::PauseReplay`] means nothing
//!   to it, and rows are not looked at on a replica while replay is paused;
//! - which of two settings a process goes by while the setting is being changed: the fake lets a commit go by either.
//!   [`Act::BeginSync`] brings real servers into the state where both are in use;
//! - what a replica said last and is still on its way when it leaves: in the simulator it may come late; here it arrives first;
//! - the order among voters (`FIRST`), which the fake does not know: every setting here counts them (`ANY`);
//! - how long anything takes.

use dauphin_model::EngineKind;
use std::fmt;

/// One of the three members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The first. It leads when a scenario begins, on timeline 3.
    M1,
    /// The second.
    M2,
    /// The third.
    M3,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::M1, Self::M2, Self::M3];

    /// Its place among them.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::M1 => 0,
            Self::M2 => 1,
            Self::M3 => 2,
        }
    }

    /// The two others.
    pub fn others(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |other| *other != self)
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A client begins to write this value on a leader, and is let wait if it must.
    Write(Who, u32),
    /// That client's wait is cancelled, by a person or a time limit.
    Cancel(u32),
    /// Commits wait for so many of these from now on; done when no process goes by an earlier setting.
    Sync(Who, Vec<Who>, u32),
    /// The setting begins to change, and is in use beside the one before. No name may be in both: on a real server it is
    /// brought to those senders alone that the new setting names.
    BeginSync(Who, Vec<Who>, u32),
    /// It stops receiving.
    Freeze(Who),
    /// It receives from that one.
    Follow(Who, Who),
    /// A replica hears that the second one leads on a new timeline, and aims at it; of its log it receives nothing.
    HearOf(Who, Who),
    /// It becomes a leader on this timeline, closed to clients.
    Promote(Who, u32),
    /// Clients are let in.
    Open(Who),
    /// Clients are kept out, and their sessions ended.
    Close(Who),
    /// SIGKILL to all of its processes.
    Kill(Who),
    /// It starts as a replica of nobody.
    Start(Who),
    /// It stops in order.
    Stop(Who),
    /// Stopped, it goes back to where its log parted from that one's.
    Rewind(Who, Who),
    /// Its data is thrown away and copied from that one; it is stopped then.
    Clone(Who, Who),
    /// A replica's replay is paused; it goes on receiving.
    PauseReplay(Who),
    /// It goes on.
    ResumeReplay(Who),
    /// Somebody writes this value on a replica. On servers of GTIDs.
    WriteByHand(Who, u32),
    /// The leader's agent writes its heartbeat. On servers of GTIDs.
    Beat(Who),
    /// The first keeps no log for the second any more.
    DropSlot(Who, Who),
    /// It gives away the log that it need not keep.
    Recycle(Who),
    /// It gives away log that a slot would keep, too: the slot's limit is reached.
    RecycleBeyondSlots(Who),
}

/// What is looked at, once everything has arrived that can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// What the client that wrote this value knows.
    Commit(u32),
    /// The values that another session sees.
    Rows(Who),
    /// The values that the log on its disk holds.
    Log(Who),
    /// The timeline of its log's end.
    Timeline(Who),
    /// Who streams from it.
    Attached(Who),
    /// How its stream stands.
    Stream(Who),
    /// Whether the first one's log leads into the second one's.
    Standing(Who, Who),
    /// Whether the first one's log holds all of the second one's, to the last record.
    HoldsAll(Who, Who),
    /// The values that it vouches for once it is frozen, whatever else its log holds. On servers of GTIDs.
    Vouches(Who),
}

/// What a client knows of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Done, and nothing else was said.
    Acknowledged,
    /// It waits.
    Waits,
    /// Done here, with the warning that it may not be anywhere else: no acknowledgement.
    Warned,
    /// The connection ended: it may be done or not.
    Unknown,
}

/// How a replica's stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// There is none, and none is tried: it follows nobody, or one that is not there.
    None,
    /// It streams.
    Streams,
    /// Refused: what it needs next is not kept any more.
    LogGone,
    /// Refused: its log holds what its upstream's does not.
    LogParts,
    /// Refused: it asks for a timeline that its upstream's log does not hold.
    AsksElsewhere,
}

/// How one log stands to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It leads into it.
    Leads,
    /// They part after these.
    PartsAfter(Vec<u32>),
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Of a commit.
    Commit(Commit),
    /// Values, in order.
    Values(Vec<u32>),
    /// A timeline.
    Timeline(u32),
    /// Members, in order.
    Members(Vec<Who>),
    /// A stream.
    Stream(Stream),
    /// Two logs.
    Standing(Standing),
    /// Yes or no.
    Holds(bool),
    /// It cannot be seen.
    Nothing(String),
}

/// One line of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Something is done.
    Do(Act),
    /// Something is looked at, and this must be seen.
    See(Look, Seen),
}

/// A story that must go the same way on fake and real servers of an engine. It begins with `m1` leading on timeline 3, open and waiting for
/// nobody, `m2` and `m3` streaming from it, and each of the three keeping log for the two others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Whose servers.
    pub engine: EngineKind,
    /// A sentence that says what is true.
    pub name: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Scenario {
    /// What is looked at, and what must be seen, with the number of the line.
    pub fn looks(&self) -> impl Iterator<Item = (usize, &Look, &Seen)> {
        self.lines.iter().enumerate().filter_map(|(at, line)| match line {
            Line::Do(_) => None,
            Line::See(look, told) => Some((at, look, told)),
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Do(act) => write!(f, "do {act:?}"),
            Self::See(look, told) => write!(f, "see {look:?}: {told:?}"),
        }
    }
}

/// Where what was seen is not what the scenario tells; `seen` are the looks in order.
#[must_use]
pub fn differences(scenario: &Scenario, on: &str, seen: &[Seen]) -> Vec<String> {
    let mut found: Vec<String> = scenario
        .looks()
        .zip(seen)
        .filter(|((_, _, told), seen)| told != seen)
        .map(|((at, look, told), seen)| {
            format!("{}, line {}: {look:?} on {on} is {seen:?}, not {told:?}", scenario.name, at + 1)
        })
        .collect();
    let (told, looked) = (scenario.looks().count(), seen.len());
    if told != looked {
        found.push(format!("{}: {looked} of {told} looks on {on}", scenario.name));
    }
    found
}
