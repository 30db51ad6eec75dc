//! What the proxy knows of one session from the messages that pass: whether it is at rest, what it would take to go on
//! with it on another server, and what cannot be taken along. The relay feeds it every message of both sides. It never
//! does I/O, and in doubt it says that the session is busy or cannot move.

mod aborted;
mod answers;
mod commit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod memory;
pub(crate) mod own;
mod reported;
mod rewrite;
mod round;
mod statements;
#[cfg(test)]
mod tests;

use aborted::Aborted;
pub(crate) use aborted::Loss;
use commit::Commit;
pub(crate) use commit::Doubt;
use dauphin_wire::postgres::frame::{BadFrame, CLIENT_BYTES_MAX, Frames, HEADER_BYTES, Next, Sender, WHOLE_BYTES_MAX};
use dauphin_wire::postgres::message::Status;
use dauphin_wire::postgres::sql::{Control, Effects, Lasting, Pin, Scan};
pub(crate) use memory::{DIRTY, Memory, Pins};
pub(crate) use reported::Reported;
pub(crate) use statements::{Known, Registry};
use statements::{Prepared, Statement, Unnamed};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Answers that are awaited at once; beyond it the client's next message waits. More than a server holds back before it
/// sends any, so that it always goes on.
const PENDING_MAX: usize = 4096;

/// The first bytes of a long Bind or Parse that are waited for: both names are there, unless they are longer than any.
const BIND_HEAD_BYTES: usize = 512;

/// Most queues kept for the next session that waits for an answer.
const SPARE_MAX: usize = 64;

thread_local! {
    /// An idle session has no queue, and one that is busy allocates none.
    static SPARE: RefCell<Vec<VecDeque<Pending>>> = const { RefCell::new(Vec::new()) };
}

/// What a Parse prepares.
#[derive(Debug)]
enum Parsed {
    /// The unnamed statement, and the setting it would change when run.
    Unnamed { change: Option<Change> },
    /// A statement that servers know by a number; the client's name, if this is when it took it.
    Named { statement: Rc<Statement>, name: Option<Box<[u8]>> },
    /// A statement under the client's own name: it stays where it is.
    Native,
}

/// An answer that the server owes, in order.
#[derive(Debug)]
enum Pending {
    /// ParseComplete; not for the client if the Parse was ours.
    Parse { what: Parsed, ours: bool },
    /// CloseComplete of ours: the server no longer knows this one.
    Evict { id: u32 },
    /// CloseComplete that the client takes for ParseComplete: the server knew the statement.
    Known { name: Box<[u8]> },
    /// CloseComplete; the name that is gone, should the server skip it.
    Close { gone: Option<(Box<[u8]>, Prepared)> },
    /// ReadyForQuery of a simple query or function call; what it changes, in order.
    Query { changes: Vec<Change> },
    /// ReadyForQuery of a Sync.
    Sync,
    /// ReadyForQuery of our question for a transaction's number.
    Number,
}

/// A change of what is remembered, once the server has done it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    what: Lasting,
    text: Box<[u8]>,
}

impl Change {
    /// It makes the server forget statements, or everything.
    fn forgets(&self) -> bool {
        matches!(self.what, Lasting::DiscardAll | Lasting::Deallocate(_) | Lasting::DeallocateAll)
    }
}

/// What to do with a whole message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forward it.
    Pass,
    /// It answers something that the client never sent.
    Drop,
    /// Forward a ParseComplete in its place.
    Parsed,
    /// Forward [`Track::take_told`] in its place.
    Told,
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
    /// There is not enough of it to say.
    More,
    /// The server has to answer first.
    Full,
    /// So many bytes are forwarded as they are.
    Pass(usize),
    /// Instead of so many bytes, what was written is sent.
    Instead(usize),
}

/// The server's side of a session: what it knows, and what all servers are told.
pub(crate) struct Upstream<'a> {
    pub(crate) known: &'a mut Known,
    pub(crate) registry: &'a Registry,
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
    /// Something was run that may have written.
    wrote: bool,
    /// It may choose how it reads.
    chooses: bool,
    /// It may choose by which replicas.
    picks: bool,
    /// The unnamed statement, when it changes a setting.
    armed: Option<Change>,
    /// Something in flight may end the transaction: what comes behind it is on its own.
    ends: bool,
    /// Something in flight begins one.
    begun: bool,
    /// Something in flight makes the server forget statements or settings: what comes behind it waits.
    barrier: bool,
    /// The same, once the pipeline is complete.
    barrier_at_sync: bool,
    /// What the unnamed portal does, and what any of the others may.
    portal: Control,
    portals: Control,
    round: Round,
    /// Done in the transaction that is open.
    undecided: Vec<Change>,
    savepoint: bool,
    unnamed: Unnamed,
    aborted: Option<Box<Aborted>>,
    commit: Option<Box<Commit>>,
    /// The server's message that is half here is not for the client.
    dropped: bool,
    /// A setting of the proxy's own was to have a value that it does not take.
    misset: bool,
    /// The client said goodbye.
    terminated: bool,
    /// A message for the client in place of the server's.
    told: Vec<u8>,
    memory: Memory,
}

impl Track {
    /// A session right after login.
    pub(crate) fn new(replication: bool) -> Self {
        let mut track = Self { from_server: Frames::of(Sender::Server), ..Self::default() };
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

    /// Whether the server said last that it is outside a transaction.
    pub(crate) fn is_idle(&self) -> bool {
        self.status == Status::Idle
    }

    /// Whether something was sent that is not answered.
    pub(crate) fn is_in_flight(&self) -> bool {
        !self.pending.is_empty() || self.unsynced || self.lost || self.scan.is_some() || !self.from_client.at_boundary()
    }

    /// Whether something in flight may have committed without the client knowing.
    pub(crate) fn may_have_committed(&self) -> bool {
        // What has failed has not committed; the server just has not said yet that it is ready. What is half here it has not
        // begun.
        let failed = self.pending.len() == 1 && !self.unsynced && self.round.failed && !self.lost;
        self.is_in_flight() && (self.may_commit || self.lost) && !failed
    }

    /// Whether something was run since the last time that may have written.
    pub(crate) fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// Something was run that has written, though it does not look like it.
    pub(crate) fn note_wrote(&mut self) {
        self.wrote = true;
    }

    /// Whether it may choose how it reads.
    pub(crate) fn chooses(&self) -> bool {
        self.chooses
    }

    /// Whether a setting of the proxy's own was refused since the last time.
    pub(crate) fn take_misset(&mut self) -> bool {
        std::mem::take(&mut self.misset)
    }

    /// It may choose how it reads.
    pub(crate) fn let_choose(&mut self) {
        self.chooses = true;
    }

    /// It may choose from which replicas.
    pub(crate) fn let_pick(&mut self) {
        self.picks = true;
    }

    /// Whether no message from the server is half through.
    pub(crate) fn is_between_server_messages(&self) -> bool {
        self.from_server.at_boundary()
    }

    /// What the client is told in place of the server's last message.
    pub(crate) fn take_told(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.told)
    }

    /// Whether the server answers everything once the client's message that `data` goes on with, or begins, is through.
    pub(crate) fn ends_round(&self, data: &[u8]) -> bool {
        matches!(self.from_client.tag(data), Some(b'Q' | b'S' | b'F'))
    }

    /// Whether no message from the client is half through.
    pub(crate) fn is_between_client_messages(&self) -> bool {
        self.from_client.at_boundary()
    }

    /// Within a transaction, whether the server owes the answer to something that is through as a whole.
    pub(crate) fn is_owed(&self) -> bool {
        !self.pending.is_empty() && !self.unsynced && self.from_client.at_boundary()
    }

    /// Whether the client has sent Terminate.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Whether the client's next message has to wait for the server's answers.
    pub(crate) fn is_full(&self) -> bool {
        self.barrier || self.pending.len() >= PENDING_MAX
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
        self.from_server = Frames::of(Sender::Server);
        self.dropped = false;
    }

    /// The text that a name stands for, with what follows it.
    pub(crate) fn text_of(&self, name: &[u8]) -> Option<&[u8]> {
        if name.is_empty() {
            return self.unnamed.frame.get(HEADER_BYTES + 1..);
        }
        self.memory.names.get(name).map(|statement| statement.text())
    }

    /// Takes one message, or part of one, from the client; writes what is sent in its place.
    pub(crate) fn client(&mut self, data: &[u8], up: &mut Upstream<'_>, out: &mut Vec<u8>) -> Result<Taken, BadFrame> {
        if self.from_client.at_boundary() {
            if self.is_full() {
                return Ok(Taken::Full);
            }
            if is_head_of_long(data) {
                return Ok(Taken::More);
            }
        }
        let written = out.len();
        let len = match self.from_client.next(data, |tag| matches!(tag, b'Q' | b'P' | b'B' | b'D' | b'C'))? {
            Next::More => return Ok(Taken::More),
            Next::Whole { tag, len } => {
                self.client_whole(tag, &data[..len], up, out);
                len
            }
            Next::Part { tag: b'B', len, first: true, .. } => {
                self.unsynced = true;
                self.bind(&data[..len], up, out);
                self.owe(b'B', &data[..len]);
                len
            }
            Next::Part { tag, len, first, last } => {
                self.client_part(tag, &data[..len], (first, last), up);
                if first {
                    self.owe(tag, &data[..len]);
                }
                len
            }
        };
        Ok(if out.len() > written { Taken::Instead(len) } else { Taken::Pass(len) })
    }

    fn client_whole(&mut self, tag: u8, frame: &[u8], up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        match tag {
            b'Q' => self.simple_query(frame, up, out),
            b'P' => self.parse(frame, up, out),
            b'B' => self.bind(frame, up, out),
            b'D' => self.describe(frame, up, out),
            _ => self.close(frame, out),
        }
        self.unsynced |= tag != b'Q';
        self.owe(tag, frame);
    }

    fn client_part(&mut self, tag: u8, part: &[u8], (first, last): (bool, bool), up: &mut Upstream<'_>) {
        match tag {
            b'Q' => {
                up.known.unnamed = 0;
                self.long_query(part, first, last);
            }
            _ if !first => {}
            b'P' => {
                self.unsynced = true;
                if part.get(HEADER_BYTES) == Some(&0) {
                    // Too long to be made again elsewhere.
                    let serial = up.registry.serial();
                    up.known.unnamed = serial;
                    self.unnamed.set(serial, &[], Control::ANY);
                }
                self.memory.pin(Pin::TooMuch);
                self.expect(Pending::Parse { what: Parsed::Native, ours: false });
            }
            b'C' => self.memory.pin(Pin::Doubt),
            b'D' => self.unsynced = true,
            b'E' => {
                self.unsynced = true;
                self.runs(match part.get(HEADER_BYTES) {
                    Some(0) => self.portal,
                    Some(_) => self.portals,
                    None => self.portal.or(self.portals),
                });
            }
            b'S' => {
                self.unsynced = false;
                self.barrier |= std::mem::take(&mut self.barrier_at_sync);
                self.expect(Pending::Sync);
            }
            b'F' => {
                self.memory.pin(Pin::Code);
                self.query(Vec::new(), Control::default());
            }
            b'X' => self.terminated = true,
            _ => {}
        }
    }

    /// Something is run.
    fn runs(&mut self, control: Control) {
        let alone = (self.status == Status::Idle && !control.begins) || self.ends;
        self.may_commit |= alone || control.may_commit;
        // What a transaction reads may write as well, whatever it looks like.
        self.wrote |= !control.reads && control.ending.is_none();
        self.begun |= control.begins;
        self.ends |= control.ends;
    }

    fn query(&mut self, changes: Vec<Change>, control: Control) {
        self.runs(control);
        self.barrier |= changes.iter().any(Change::forgets);
        if self.unsynced {
            // Which of both an error is of is not told.
            self.memory.pin(Pin::Doubt);
        }
        self.armed = None;
        self.unnamed.forget();
        self.expect(Pending::Query { changes });
    }

    fn long_query(&mut self, part: &[u8], first: bool, last: bool) {
        let text = if first { &part[HEADER_BYTES..] } else { part };
        let backslashes = self.memory.backslashes();
        let scan = self.scan.get_or_insert_with(|| Box::new(Scan::new(backslashes)));
        let text = if last { text.strip_suffix(&[0]).unwrap_or(text) } else { text };
        scan.feed(text);
        if last && let Some(scan) = self.scan.take() {
            let effects = scan.finish();
            let control = effects.control;
            let changes = self.apply(effects, None);
            self.query(changes, control);
        }
    }

    /// Takes in what a text does to its session; what that changes once it is done, in order.
    fn apply(&mut self, effects: Effects, text: Option<&[u8]>) -> Vec<Change> {
        if let Some(pin) = effects.pin {
            self.memory.pin(pin);
        }
        self.savepoint |= effects.savepoint;
        let short = text.filter(|text| text.len() <= memory::SETTING_BYTES_MAX);
        let mut changes = Vec::new();
        for what in effects.changes {
            match (&what, short) {
                (Lasting::Set(_), None) => self.memory.pin(Pin::Setting),
                (Lasting::Set(_), Some(text)) => changes.push(Change { what, text: text.into() }),
                _ => changes.push(Change { what, text: Box::default() }),
            }
        }
        changes
    }

    fn expect(&mut self, pending: Pending) {
        if self.lost {
            return;
        }
        if self.pending.capacity() == 0 {
            self.pending = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self.pending.push_back(pending);
    }

    /// Nothing is awaited: the queue is for others.
    fn lend_queue(&mut self) {
        let queue = std::mem::take(&mut self.pending);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX && queue.capacity() <= PENDING_MAX {
                spare.push(queue);
            }
        });
    }
}

/// Whether these bytes begin a Bind or Parse that will pass in parts, and its names may not be there yet.
fn is_head_of_long(data: &[u8]) -> bool {
    let [b'B' | b'P', a, b, c, d, ..] = *data else { return false };
    let total = u32::from_be_bytes([a, b, c, d]) as usize + 1;
    (WHOLE_BYTES_MAX + 1..=CLIENT_BYTES_MAX).contains(&total) && data.len() < BIND_HEAD_BYTES
}
