//! What the proxy knows of one session from the messages that pass: whether it is at rest, what it would take to go on
//! with it on another server, and what cannot be taken along. The relay feeds it every message of both sides. It never
//! does I/O, and in doubt it says that the session is busy or cannot move.

mod memory;
#[cfg(test)]
mod tests;

use dauphin_wire::postgres::frame::{BadFrame, Frames, HEADER_BYTES, Next};
use dauphin_wire::postgres::message::{self, Report, Status};
use dauphin_wire::postgres::sql::{self, Effects, Pin, Scan, Sole};
use dauphin_wire::postgres::warnings;
pub(crate) use memory::{Memory, Pins};
use std::collections::VecDeque;

/// Messages of a pipeline that are awaited at once. Beyond it the session counts as busy and pinned for good.
const PENDING_MAX: usize = 4096;

/// An answer that the server owes, in order.
#[derive(Debug)]
enum Pending {
    /// ParseComplete; the statement to keep then, and the setting it would change when run.
    Parse { name: Box<[u8]>, frame: Option<Box<[u8]>>, change: Option<Change> },
    /// CloseComplete; the statement that is gone then.
    Close { statement: Option<Box<[u8]>> },
    /// ReadyForQuery of a simple query or function call; the setting it changes.
    Query { change: Option<Change> },
    /// ReadyForQuery of a Sync.
    Sync,
}

/// A change of what is remembered, once the server has done it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    sole: Sole,
    text: Box<[u8]>,
}

/// What to do with a whole message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forward it.
    Pass,
    /// It acknowledges something: forward it only if the server may still acknowledge.
    Acknowledges,
    /// The server gave up waiting for its replicas: nothing that follows may pass.
    CancelledWait,
    /// The server ends the connection with this message.
    Fatal,
}

/// What becomes of a message from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many bytes are forwarded as they are; 0 when there is not enough to say.
    Pass(usize),
    /// Instead of so many bytes, this message is sent.
    Instead(usize, Vec<u8>),
}

/// What passed since the server was last ready.
#[derive(Debug, Default, Clone, Copy)]
struct Round {
    /// BEGIN, COMMIT or ROLLBACK was done, and how many statements at all.
    control: bool,
    tags: u32,
    failed: bool,
}

/// One session's state.
#[derive(Debug, Default)]
pub(crate) struct Track {
    from_client: Frames,
    from_server: Frames,
    status: Status,
    pending: VecDeque<Pending>,
    /// Messages of the extended protocol passed since the last Sync.
    unsynced: bool,
    /// A long simple query is passing in parts.
    scan: Option<Box<Scan>>,
    /// More was awaited than is kept: nothing is known for sure any more.
    lost: bool,
    /// Something in flight may commit.
    may_commit: bool,
    /// The unnamed statement, when it changes a setting, and whether some named one may commit.
    armed: Option<Change>,
    named_may_commit: bool,
    unnamed_may_commit: bool,
    round: Round,
    /// Done in the transaction that is open.
    undecided: Vec<Change>,
    savepoint: bool,
    /// The client said goodbye.
    terminated: bool,
    memory: Memory,
}

impl Track {
    /// A session right after login.
    pub(crate) fn new(replication: bool) -> Self {
        let mut track = Self::default();
        if replication {
            track.memory.pin(Pin::Replication);
        }
        track
    }

    /// Outside a transaction, nothing in flight in either direction.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.status == Status::Idle
            && self.pending.is_empty()
            && !self.unsynced
            && !self.lost
            && self.scan.is_none()
            && self.from_client.at_boundary()
            && self.from_server.at_boundary()
    }

    /// Whether something was sent that is not answered.
    pub(crate) fn is_in_flight(&self) -> bool {
        !self.pending.is_empty() || self.unsynced || self.lost || self.scan.is_some() || !self.from_client.at_boundary()
    }

    /// Whether something in flight may have committed without the client knowing.
    pub(crate) fn may_have_committed(&self) -> bool {
        self.is_in_flight() && (self.may_commit || self.lost || self.scan.is_some() || !self.from_client.at_boundary())
    }

    /// Whether no message from the server is half through.
    pub(crate) fn is_between_server_messages(&self) -> bool {
        self.from_server.at_boundary()
    }

    /// Whether the client has sent Terminate.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// What must be carried to another server, and why it may not be possible.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What must be carried to another server.
    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Forgets what belongs to the connection with the server, not to the session.
    pub(crate) fn detached(&mut self) {
        self.from_server = Frames::default();
    }

    /// Takes one message, or part of one, from the client.
    pub(crate) fn client(&mut self, data: &[u8]) -> Result<Taken, BadFrame> {
        match self.from_client.next(data, |tag| matches!(tag, b'Q' | b'P' | b'C'))? {
            Next::More => Ok(Taken::Pass(0)),
            Next::Whole { tag, len } => Ok(match self.client_whole(tag, &data[..len]) {
                Some(instead) => Taken::Instead(len, instead),
                None => Taken::Pass(len),
            }),
            Next::Part { tag, len, first, last } => {
                self.client_part(tag, &data[..len], first, last);
                Ok(Taken::Pass(len))
            }
        }
    }

    /// Gives another message when one must be sent instead.
    fn client_whole(&mut self, tag: u8, frame: &[u8]) -> Option<Vec<u8>> {
        let body = &frame[HEADER_BYTES..];
        match tag {
            b'Q' => {
                let text = message::split_text(body).map_or(body, |(text, _)| text);
                let effects = sql::effects(text, self.memory.backslashes());
                let instead = if effects.messages { warnings::audible(text) } else { None };
                let change = self.apply(effects, Some(instead.as_deref().unwrap_or(text)));
                self.query(change);
                return instead.map(|mut text| {
                    text.push(0);
                    framed(b'Q', &text)
                });
            }
            b'P' => return self.parse(frame, body),
            _ => {
                self.unsynced = true;
                let statement = match message::close_target(body) {
                    Some((b'S', name)) => Some(name.into()),
                    _ => None,
                };
                self.expect(Pending::Close { statement });
            }
        }
        None
    }

    fn client_part(&mut self, tag: u8, part: &[u8], first: bool, last: bool) {
        match tag {
            b'Q' => self.long_query(part, first, last),
            _ if !first => {}
            b'P' => {
                self.unsynced = true;
                self.may_commit = true;
                self.memory.pin(Pin::TooMuch);
                self.expect(Pending::Parse { name: Box::default(), frame: None, change: None });
            }
            b'C' => self.memory.pin(Pin::Doubt),
            b'E' => {
                self.unsynced = true;
                self.may_commit |= self.status == Status::Idle || self.unnamed_may_commit || self.named_may_commit;
            }
            b'B' | b'D' | b'H' => self.unsynced = true,
            b'S' => {
                self.unsynced = false;
                self.expect(Pending::Sync);
            }
            b'F' => {
                self.memory.pin(Pin::Code);
                self.query(None);
            }
            b'X' => self.terminated = true,
            _ => {}
        }
    }

    fn query(&mut self, change: Option<Change>) {
        self.may_commit |= self.status == Status::Idle;
        self.armed = None;
        self.memory.forget_statement(b"");
        self.expect(Pending::Query { change });
    }

    fn long_query(&mut self, part: &[u8], first: bool, last: bool) {
        let text = if first { &part[HEADER_BYTES..] } else { part };
        let backslashes = self.memory.backslashes();
        let scan = self.scan.get_or_insert_with(|| Box::new(Scan::new(backslashes)));
        let text = if last { text.strip_suffix(&[0]).unwrap_or(text) } else { text };
        scan.feed(text);
        if last && let Some(scan) = self.scan.take() {
            let change = self.apply(scan.finish(), None);
            self.query(change);
        }
    }

    fn parse(&mut self, frame: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        self.unsynced = true;
        let Some((name, text)) = message::parse_statement(body) else {
            self.memory.pin(Pin::Doubt);
            return None;
        };
        let effects = sql::effects(text, self.memory.backslashes());
        let audible = if effects.messages { warnings::audible(text) } else { None };
        let may_commit = effects.may_commit;
        let mut change = self.apply(effects, Some(audible.as_deref().unwrap_or(text)));
        if name.is_empty() {
            self.unnamed_may_commit = may_commit;
        } else {
            self.named_may_commit |= may_commit;
            // It may be run any number of times, at any time.
            if change.take().is_some() {
                self.memory.pin(Pin::Setting);
            }
        }
        let types = &body[name.len() + text.len() + 2..];
        let instead = audible.map(|audible| framed(b'P', &[name, b"\0", &audible, b"\0", types].concat()));
        let kept = instead.as_deref().unwrap_or(frame);
        self.expect(Pending::Parse { name: name.into(), frame: Some(kept.into()), change });
        instead
    }

    fn apply(&mut self, effects: Effects, text: Option<&[u8]>) -> Option<Change> {
        if let Some(pin) = effects.pin {
            self.memory.pin(pin);
        }
        self.savepoint |= effects.savepoint;
        self.may_commit |= effects.may_commit;
        let sole = effects.sole?;
        match text {
            Some(text) if text.len() <= memory::SETTING_BYTES_MAX => Some(Change { sole, text: text.into() }),
            _ => {
                self.memory.pin(Pin::Setting);
                None
            }
        }
    }

    fn expect(&mut self, pending: Pending) {
        if self.lost {
            return;
        }
        if self.pending.len() >= PENDING_MAX {
            self.lost = true;
            self.pending = VecDeque::new();
            return self.memory.pin(Pin::TooMuch);
        }
        self.pending.push_back(pending);
    }

    /// Takes one message, or part of one, from the server: its length and what to do with it; 0 when there is not
    /// enough of it.
    pub(crate) fn server(&mut self, data: &[u8]) -> Result<(usize, Verdict), BadFrame> {
        let whole = |tag| matches!(tag, b'Z' | b'C' | b'E' | b'N' | b'S' | b'1' | b'3');
        match self.from_server.next(data, whole)? {
            Next::More => Ok((0, Verdict::Pass)),
            Next::Whole { tag, len } => Ok((len, self.server_whole(tag, &data[HEADER_BYTES..len]))),
            Next::Part { tag, len, first, .. } => {
                match tag {
                    b'G' if first && matches!(self.pending.front(), Some(Pending::Sync)) => self.memory.pin(Pin::Copy),
                    b'W' if first => self.memory.pin(Pin::Replication),
                    _ => {}
                }
                Ok((len, Verdict::Pass))
            }
        }
    }

    fn server_whole(&mut self, tag: u8, body: &[u8]) -> Verdict {
        match tag {
            b'Z' => {
                self.ready(body);
                return Verdict::Acknowledges;
            }
            b'C' => {
                self.done(message::command_tag(body));
                return Verdict::Acknowledges;
            }
            b'E' => {
                if Report::parse(body).is_fatal() {
                    return Verdict::Fatal;
                }
                self.failed();
            }
            b'N' if Report::parse(body).is_cancelled_wait() => return Verdict::CancelledWait,
            b'S' => {
                if let Some((name, value)) = message::parameter_status(body) {
                    self.memory.report(name, value);
                }
            }
            b'1' => self.parsed(),
            b'3' => match self.pending.pop_front() {
                Some(Pending::Close { statement: Some(name) }) => self.memory.forget_statement(&name),
                Some(Pending::Close { statement: None }) => {}
                _ => self.confused(),
            },
            _ => {}
        }
        Verdict::Pass
    }

    fn confused(&mut self) {
        if !self.lost {
            self.lost = true;
            self.pending = VecDeque::new();
            self.memory.pin(Pin::Doubt);
        }
    }

    fn parsed(&mut self) {
        match self.pending.pop_front() {
            Some(Pending::Parse { name, frame, change }) => {
                if name.is_empty() {
                    self.armed = change;
                }
                if let Some(frame) = frame {
                    self.memory.keep_statement(name, frame);
                }
            }
            _ => self.confused(),
        }
    }

    fn failed(&mut self) {
        self.round.failed = true;
        // The server skips the rest of the pipeline; a simple query answers for itself.
        while matches!(self.pending.front(), Some(Pending::Parse { .. } | Pending::Close { .. })) {
            self.pending.pop_front();
        }
        if let Some(Pending::Query { change }) = self.pending.front_mut() {
            *change = None;
        }
    }

    fn done(&mut self, tag: &[u8]) {
        self.round.tags = self.round.tags.saturating_add(1);
        match tag {
            b"BEGIN" | b"START TRANSACTION" | b"COMMIT" | b"ROLLBACK" | b"PREPARE TRANSACTION" => {
                self.round.control = true;
                if self.round.tags == 1 && self.status != Status::Idle && !self.savepoint {
                    match tag {
                        b"COMMIT" => self.decide(true),
                        b"ROLLBACK" => self.decide(false),
                        _ => {}
                    }
                }
            }
            b"SET" | b"RESET" => self.changed(tag),
            b"DISCARD ALL" | b"DEALLOCATE" | b"DEALLOCATE ALL" => {
                // Not undone by a rollback.
                let before = self.undecided.len();
                self.changed(tag);
                if let Some(change) = self.undecided.get(before).cloned() {
                    self.undecided.truncate(before);
                    self.memory.change(&change.sole, &change.text);
                }
            }
            _ => {}
        }
    }

    /// A SET or the like was done: which one, if it is one that was watched.
    fn changed(&mut self, tag: &[u8]) {
        let change = match self.pending.front() {
            Some(Pending::Query { change }) => change.clone(),
            _ => self.armed.clone(),
        };
        self.undecided.extend(change.filter(|change| match change.sole {
            Sole::Set(_) => tag == b"SET",
            Sole::Reset(_) | Sole::ResetAll => tag == b"RESET",
            Sole::DiscardAll => tag == b"DISCARD ALL",
            Sole::Deallocate(_) | Sole::DeallocateAll => tag.starts_with(b"DEALLOCATE"),
        }));
        if self.undecided.len() > memory::SETTINGS_MAX {
            self.undecided = Vec::new();
            self.memory.pin(Pin::Setting);
        }
    }

    fn decide(&mut self, committed: bool) {
        for change in std::mem::take(&mut self.undecided) {
            if committed {
                self.memory.change(&change.sole, &change.text);
            }
        }
    }

    fn ready(&mut self, body: &[u8]) {
        if self.lost {
            self.status = Status::parse(body).unwrap_or(Status::Failed);
            return;
        }
        while let Some(pending) = self.pending.pop_front() {
            if matches!(pending, Pending::Query { .. } | Pending::Sync) {
                break;
            }
        }
        let before = self.status;
        let Some(status) = Status::parse(body) else { return self.confused() };
        self.status = status;
        if status == Status::Idle {
            if !self.undecided.is_empty() {
                // A transaction of its own, done: the change stays. Anything more tangled is not worth guessing.
                if before == Status::Idle && !self.round.control && !self.round.failed && !self.savepoint {
                    self.decide(true);
                } else {
                    self.undecided = Vec::new();
                    self.memory.pin(Pin::Setting);
                }
            }
            self.savepoint = false;
        }
        self.round = Round::default();
        if self.pending.is_empty() && !self.unsynced {
            self.may_commit = false;
            self.pending = VecDeque::new();
        }
    }
}

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + HEADER_BYTES);
    message::put(&mut out, tag, body);
    out
}
