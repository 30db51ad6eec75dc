//! Rounds that only read, of a session that may read from replicas: where the next one goes, and what becomes of one that a
//! replica refuses or loses before the client has seen any of it: the leader serves it. Only `session` calls it. What may write is never sent to a replica knowingly, and nothing that was shown is run again.

use super::fresh::Need;
use super::{Session, Source};
use crate::cancel;
use crate::pool::link::Right;
use crate::track::own::Asked;
use crate::track::{DIRTY, Known};
use dauphin_model::{CommitToken, MemberName, ReadLevel};
use dauphin_wire::postgres::message::{self, Report};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

/// Most bytes that a session keeps room for.
const SPARE_BYTES_MAX: usize = 512;

/// Most bytes that are kept until it is sure that the client may see them; with more the leader serves the round.
const STAGED_BYTES_MAX: usize = 64 * 1024;
/// How long a replica that is not usable any more may be silent in the middle of a round.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// A round that a replica answers.
struct Round {
    /// As the client sent it.
    bytes: Vec<u8>,
    /// What the replica has answered, until it is sure that the client may see it.
    staged: Vec<u8>,
    shown: bool,
    /// The replica does not do this.
    refused: bool,
    /// When the replica is given up unless it has said something by then: it is not usable any more.
    due: Option<Instant>,
    /// When it said something since.
    heard: Option<Instant>,
}

/// Where the next round goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It has not been looked at.
    Look,
    /// To a replica, if one is fresh enough.
    Find,
    /// To this one.
    To(MemberName),
    /// To the leader, whatever it looks like: a replica has refused it, or none was fresh enough.
    Lead,
}

/// What such a session remembers.
pub(super) struct Reading {
    pub(super) need: Need,
    /// The same for the round to come, once it is known.
    pub(super) settled: Need,
    pub(super) next: Next,
    /// It is looked at for itself, once what is in flight is answered.
    apart: bool,
    round: Option<Round>,
    /// Reads in a row for which no replica was fresh enough in time.
    pub(super) misses: u8,
    /// Room for the next round's bytes.
    spare: Vec<u8>,
    /// With `monotonic`: which replica answered last, and when.
    pub(super) last: Option<(MemberName, Instant)>,
    /// The token of which the client was told that it is of a log that ended.
    pub(super) warned: Option<CommitToken>,
}

/// What becomes of the client's next bytes.
pub(super) enum Turn {
    /// So many of them go to the server that the session has.
    Forward(usize),
    /// A server has to be found first.
    Wait,
}

impl Reading {
    fn new() -> Box<Self> {
        Box::new(Self {
            need: Need::Nothing,
            settled: Need::Nothing,
            next: Next::Look,
            apart: false,
            round: None,
            misses: 0,
            spare: Vec::new(),
            last: None,
            warned: None,
        })
    }

    /// A replica answers.
    pub(super) fn in_round(&self) -> bool {
        self.round.is_some()
    }

    /// Where the next round goes, if to a replica.
    pub(super) fn chosen(&self) -> Option<&MemberName> {
        match &self.next {
            Next::To(member) => Some(member),
            _ => None,
        }
    }

    /// Looks at a whole message's beginning, and says whether it and what came before it may be shown from here on: `None` as
    /// long as that is not sure.
    pub(super) fn judge(&mut self, tag: u8, data: &[u8]) -> Option<Vec<u8>> {
        let round = self.round.as_mut().filter(|round| !round.shown && !round.refused)?;
        match tag {
            // What describes the rows to come, and what comes at any time.
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b'N' | b'S' => None,
            b'E' if is_refusal(data) => {
                round.refused = true;
                round.staged = Vec::new();
                None
            }
            _ => {
                round.shown = true;
                Some(std::mem::take(&mut round.staged))
            }
        }
    }

    /// What is not sure yet is kept, and what nobody is to see is dropped; gives back what may be shown.
    pub(super) fn keep<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match &mut self.round {
            Some(round) if !round.shown => {
                // What is too much to be kept is dropped: the leader serves the round.
                if !round.refused && round.staged.len() + bytes.len() <= STAGED_BYTES_MAX {
                    round.staged.extend_from_slice(bytes);
                } else {
                    (round.refused, round.staged) = (true, Vec::new());
                }
                &[]
            }
            _ => bytes,
        }
    }
}

/// Whether this error says that a replica cannot do it, or could not go on with it, while the leader can.
fn is_refusal(data: &[u8]) -> bool {
    let code = Report::parse(data).code;
    // read-only transaction; not on a standby; conflict with recovery; deadlock with it; recovery is in progress; on its way
    // down or up
    matches!(code, b"25006" | b"0A000" | b"40001" | b"40P01" | b"55000" | b"57P01" | b"57P02" | b"57P03")
}

impl Session {
    /// How it reads: by what it has set, asked for at login, or what its role or database has set.
    pub(super) fn asked(&self) -> Asked {
        let its = self.track.memory().asked().or(self.at_login);
        match &self.source {
            Source::Shared(pools, _) => its.or(pools.asked.get()),
            Source::Own(_) => its,
        }
    }

    pub(super) fn read_level(&self) -> ReadLevel {
        // as in `asked`, for one of them: each query asks
        let its = self.track.memory().asked().level.or(self.at_login.level);
        let set = || match &self.source {
            Source::Shared(pools, _) => pools.asked.get().level,
            Source::Own(_) => None,
        };
        its.or_else(set).unwrap_or(self.shard.reads.get().level)
    }

    /// Whether a replica answers.
    pub(super) fn in_round(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.in_round())
    }

    /// Whether what the client sends next waits for the answers to what is in flight: it may go elsewhere.
    pub(super) fn waits_for_answers(&self) -> bool {
        let waits = |reading: &Reading| match &reading.round {
            Some(round) => !round.shown || self.track.is_idle() || self.track.is_owed(),
            None => reading.apart && !self.track.is_at_rest(),
        };
        self.reading.as_ref().is_some_and(|reading| waits(reading))
    }

    /// In a transaction on a replica: what comes behind its end may go elsewhere.
    pub(super) fn goes_by_rounds(&self) -> bool {
        self.in_round() && !self.track.is_idle()
    }

    /// At rest, with this from the client.
    pub(super) fn turn(&mut self, data: &[u8]) -> Turn {
        let level = if self.track.chooses() { self.read_level() } else { ReadLevel::Leader };
        if std::mem::replace(&mut self.strict, level == ReadLevel::Strict) {
            // Taken at each confirmation.
            self.track.note_wrote();
        }
        if self.strict {
            self.track.take_wrote();
        }
        if !level.is_routed() && self.reading.is_none() {
            return if self.has_server() { Turn::Forward(data.len()) } else { Turn::Wait };
        }
        if self.reading.is_none() {
            self.reading = Some(Reading::new());
        }
        self.note_written();
        let Some(mut reading) = self.reading.take() else { return Turn::Wait };
        let turn = self.turn_of(&mut reading, level, data);
        self.reading = (level.is_routed() || reading.in_round()).then_some(reading);
        turn
    }

    fn turn_of(&mut self, reading: &mut Reading, level: ReadLevel, data: &[u8]) -> Turn {
        if matches!(reading.need, Need::UpTo(_, of) if of != self.hub.term()) {
            // The log may go on from before that position: what was acknowledged is in it all the same.
            reading.need = Need::After(self.hub.marks.leader.asked(), self.hub.term());
        }
        let leads = !level.is_routed() || reading.next == Next::Lead;
        let round = if leads { None } else { self.track.reading_round(data) };
        if round.is_some() && reading.next == Next::Look && self.asked().shares == Some(true) {
            // Whatever another connection has written or read by now, the leader has.
            reading.need = Need::After(self.hub.marks.leader.asked(), self.hub.term());
        }
        reading.apart = false;
        if let Some(len) = round
            && self.leave_leader()
        {
            let ready = if self.backend.is_some() {
                self.admitted
            } else {
                !self.is_paused() && self.take_fresh(reading, level)
            };
            if !ready {
                reading.next = Next::Find;
                return Turn::Wait;
            }
            reading.next = Next::Look;
            let mut bytes = std::mem::take(&mut reading.spare);
            bytes.extend_from_slice(&data[..len]);
            reading.round =
                Some(Round { bytes, staged: Vec::new(), shown: false, refused: false, due: None, heard: None });
            return Turn::Forward(len);
        }
        if self.is_on_replica() {
            self.give_back();
        }
        reading.next = Next::Lead;
        if !self.has_server() {
            return Turn::Wait;
        }
        reading.next = Next::Look;
        // Drivers close what they prepared at any time: what is read behind that may go elsewhere.
        let idle =
            self.track.idle_round(data).filter(|len| !leads && self.track.reading_round(&data[*len..]).is_some());
        reading.apart = idle.is_some();
        if idle.is_none() {
            // It may write though it does not look like it, and what it shows may be newer than what replicas have.
            self.track.note_wrote();
        }
        Turn::Forward(idle.unwrap_or(data.len()))
    }

    /// Whether it has a server that takes a transaction, or is given one without a wait.
    fn has_server(&mut self) -> bool {
        if self.backend.is_some() { self.admitted } else { self.check_out_now() }
    }

    /// Gives the leader's connection back if the session can do without. Whether it has none.
    fn leave_leader(&mut self) -> bool {
        if self.backend.is_some() && !self.is_on_replica() {
            self.let_go();
        }
        self.backend.is_none() || self.is_on_replica()
    }

    fn is_on_replica(&self) -> bool {
        self.backend.as_ref().is_some_and(|link| matches!(link.right, Right::Replica(_)))
    }

    /// What this session has written must be seen by what it reads next.
    pub(super) fn note_written(&mut self) {
        if let Some(reading) = &mut self.reading
            && self.track.take_wrote()
        {
            reading.need = Need::After(self.hub.marks.leader.asked(), self.hub.term());
        }
    }

    /// The server has answered: a replica's round is over once the session is at rest again. False: the session has left
    /// something on the replica that it would miss.
    pub(super) fn end_round(&mut self) -> bool {
        if !self.track.is_at_rest() {
            return true;
        }
        let monotonic = self.read_level() == ReadLevel::Monotonic;
        let Some(reading) = &mut self.reading else { return true };
        let Some(mut round) = reading.round.take() else { return true };
        if !self.track.memory().pins().let_go() {
            return false;
        }
        if let (true, Some(Right::Replica(member))) = (monotonic, self.backend.as_ref().map(|link| &link.right)) {
            reading.last = Some((member.clone(), Instant::now()));
        }
        if !round.refused && round.bytes.capacity() <= SPARE_BYTES_MAX {
            round.bytes.clear();
            reading.spare = round.bytes;
            self.give_back();
            return true;
        }
        self.give_back();
        if round.refused {
            self.again(round);
        }
        true
    }

    /// The client was told that it is lost.
    pub(super) fn drop_round(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.round = None;
        }
    }

    /// The replica is gone. Whether the round that it had is run again: nothing of it was shown.
    pub(super) fn rescue(&mut self) -> bool {
        let open = |round: &Round| !round.shown;
        if !self.reading.as_ref().is_some_and(|reading| reading.round.as_ref().is_some_and(open)) {
            return false;
        }
        // As if it had said that it could not, and was ready for more.
        self.track.detached();
        let (mut said, mut known) = (Vec::new(), Known::default());
        message::put(&mut said, b'E', b"SERROR\0C57P01\0\0");
        let failed = self.track.server(&said, &mut known).is_ok();
        said.clear();
        message::put(&mut said, b'Z', b"I");
        let ready = self.track.server(&said, &mut known).is_ok();
        if !failed || !ready || !self.track.is_at_rest() {
            return false;
        }
        self.detach();
        if let Some(round) = self.reading.as_mut().and_then(|reading| reading.round.take()) {
            self.again(round);
        }
        true
    }

    /// The replica is not usable any more: it may only be behind, or it may stand still.
    pub(super) fn watch_round(&mut self) {
        let Some(round) = self.reading.as_mut().and_then(|reading| reading.round.as_mut()) else { return };
        if round.due.is_some() {
            return;
        }
        let (due, seat) = (Instant::now() + SILENT_MAX, Rc::clone(&self.seated.seat));
        round.due = Some(due);
        spawn_local(async move {
            sleep_until(due).await;
            seat.wake();
        });
    }

    /// Has the replica stop what it is not waited for any more.
    pub(super) fn abandon(&self) {
        if let Some(link) = &self.backend {
            cancel::abandon(&self.hub, &link.target);
        }
    }

    /// The replica has said something.
    pub(super) fn round_goes_on(&mut self) {
        if let Some(round) = self.reading.as_mut().and_then(|reading| reading.round.as_mut())
            && round.due.is_some()
        {
            round.heard = Some(Instant::now());
        }
    }

    /// Whether a replica that is not usable any more was silent for too long.
    pub(super) fn is_overdue(&mut self) -> bool {
        let Some(round) = self.reading.as_mut().and_then(|reading| reading.round.as_mut()) else { return false };
        if round.due.is_none_or(|due| Instant::now() < due) {
            return false;
        }
        // In a transaction it may be the client that is silent.
        let owes = self.track.is_in_flight();
        if !owes || round.heard.is_some_and(|heard| heard.elapsed() < SILENT_MAX) {
            round.due = None;
            self.watch_round();
            return false;
        }
        true
    }

    /// The leader serves it.
    fn again(&mut self, round: Round) {
        self.hub.stats.reads_again.add();
        let mut bytes = round.bytes;
        self.track.forget_names_of(&bytes);
        bytes.append(&mut self.held);
        (self.held, self.more) = (bytes, true);
        if let Some(reading) = &mut self.reading {
            reading.next = Next::Lead;
        }
    }

    /// Gives the replica's connection back, or closes it if it has more to say.
    fn give_back(&mut self) {
        let quiet = self.backend.as_ref().is_some_and(|link| link.to_server.is_empty() && link.server.rest.is_empty());
        if !quiet {
            return self.detach();
        }
        let Source::Shared(_, pool) = &mut self.source else { return };
        let (Some(mut link), Some(pool)) = (self.backend.take(), pool.take()) else { return };
        if self.track.memory_mut().take_code() || link.state != self.track.memory().state() {
            // A transaction has set something, and what a replica reports of itself is not what the session is shown.
            link.state = DIRTY;
        }
        self.released();
        pool.give(link, &self.shard);
    }
}
