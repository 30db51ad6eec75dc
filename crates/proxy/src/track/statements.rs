//! Prepared statements by two names: the client's, and one that is the same on every server for every client that prepares
//! the same text. A server that lacks one is given it before it is used, so statements outlive the server they were
//! prepared on. The tracker rewrites with it; nothing here does I/O.

use dauphin_wire::postgres::message;
use dauphin_wire::postgres::sql::Control;
use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// What servers know statements by, before a number.
const PREFIX: &str = "dauphin_";

/// A number that no statement has: to close it does nothing, and is answered in its turn.
pub(crate) const NOBODY: u32 = 0;

/// Most bytes of texts that one session keeps under names.
const TEXT_BYTES_MAX: usize = 512 * 1024;

/// Longest unnamed statement kept, in bytes: a client that prepares it, pauses, and then binds it on another server is told
/// that it does not exist if it was longer.
const UNNAMED_BYTES_MAX: usize = 32 * 1024;

/// Most statements that one server keeps; the oldest is closed for the next.
const KNOWN_MAX: usize = 500;

/// Texts that a shard remembers; beyond it those that no session uses are forgotten.
const TEXTS_MAX: usize = 4_000;

/// A prepared statement, whoever prepared it.
#[derive(Debug)]
pub(crate) struct Statement {
    id: u32,
    /// What follows the name in its Parse: text, zero byte, types of parameters.
    tail: Box<[u8]>,
}

impl Statement {
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its text, and what follows it.
    pub(crate) fn text(&self) -> &[u8] {
        &self.tail
    }

    /// Appends the Parse that makes a server know it; with another text, to hear the server refuse.
    pub(crate) fn put_parse(&self, out: &mut Vec<u8>, tail: Option<&[u8]>) {
        message::put_parts(out, b'P', |out| {
            put_name(out, self.id);
            out.extend_from_slice(tail.unwrap_or(&self.tail));
        });
    }
}

/// Whether a client uses a name of the kind that servers know statements by.
pub(crate) fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Appends a server's name for a statement.
pub(crate) fn put_name(out: &mut Vec<u8>, id: u32) {
    out.extend_from_slice(PREFIX.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    out.push(0);
}

/// An error's body with the client's names in place of the servers'; none when it has none of those.
pub(crate) fn in_client_names(body: &[u8], names: &Names) -> Option<Vec<u8>> {
    let quoted = format!("\"{PREFIX}");
    let at = body.windows(quoted.len()).position(|window| window == quoted.as_bytes())?;
    let digits = body[at + quoted.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + quoted.len() + digits;
    let id = std::str::from_utf8(&body[at + quoted.len()..end]).ok()?.parse().ok()?;
    let name = names.name_of(id).filter(|_| body.get(end) == Some(&b'"'))?;
    Some([&body[..=at], name, &body[end..]].concat())
}

/// Appends the Close of a statement by a server's name.
pub(crate) fn put_close(out: &mut Vec<u8>, id: u32) {
    message::put_parts(out, b'C', |out| {
        out.push(b'S');
        put_name(out, id);
    });
}

/// A statement found by its text.
#[derive(Debug)]
struct ByText(Rc<Statement>);

impl Borrow<[u8]> for ByText {
    fn borrow(&self) -> &[u8] {
        &self.0.tail
    }
}

impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.tail.hash(state);
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.tail == other.0.tail
    }
}

impl Eq for ByText {}

/// All statements of a shard.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    texts: RefCell<HashSet<ByText>>,
    last: Cell<u32>,
    serial: Cell<u64>,
}

impl Registry {
    /// The statement of this text and these types.
    fn intern(&self, tail: &[u8]) -> Rc<Statement> {
        let mut texts = self.texts.borrow_mut();
        if let Some(ByText(statement)) = texts.get(tail) {
            return Rc::clone(statement);
        }
        if texts.len() >= TEXTS_MAX {
            texts.retain(|ByText(statement)| Rc::strong_count(statement) > 1);
        }
        self.last.set(self.last.get().wrapping_add(1).max(1));
        let statement = Rc::new(Statement { id: self.last.get(), tail: tail.into() });
        texts.insert(ByText(Rc::clone(&statement)));
        statement
    }

    /// A number that tells one unnamed statement from all others.
    pub(crate) fn serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }
}

/// What one server knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    ids: HashSet<u32>,
    /// Oldest first; may name some that are gone.
    order: VecDeque<u32>,
    /// Whose its unnamed statement is; 0: nobody's.
    pub(crate) unnamed: u64,
    /// It may know more than is noted: each statement is closed before it is made.
    doubtful: bool,
}

impl Known {
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    pub(crate) fn insert(&mut self, id: u32) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.ids.remove(&id);
    }

    /// It has forgotten everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What it knows is no longer sure.
    pub(crate) fn doubt(&mut self) {
        self.ids.clear();
        self.order.clear();
        self.doubtful = true;
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// One to close before the next is made.
    pub(crate) fn excess(&mut self) -> Option<u32> {
        while self.ids.len() >= KNOWN_MAX {
            let oldest = self.order.pop_front()?;
            if self.ids.contains(&oldest) {
                return Some(oldest);
            }
        }
        None
    }
}

/// A session's unnamed statement.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    /// 0: there is none.
    pub(crate) serial: u64,
    /// Its Parse; empty when it is too long to keep.
    pub(crate) frame: Vec<u8>,
    pub(crate) control: Control,
}

impl Unnamed {
    pub(crate) fn set(&mut self, serial: u64, frame: &[u8], control: Control) {
        (self.serial, self.control) = (serial, control);
        self.frame.clear();
        if frame.len() <= UNNAMED_BYTES_MAX {
            self.frame.extend_from_slice(frame);
        }
    }

    pub(crate) fn forget(&mut self) {
        self.serial = 0;
        self.frame.clear();
    }
}

/// What one name costs, about.
fn cost(name: &[u8], tail: &[u8]) -> usize {
    name.len() + tail.len() + 64
}

/// A statement as one session prepared it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) statement: Rc<Statement>,
    pub(crate) control: Control,
}

/// A session's names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_name: BTreeMap<Box<[u8]>, Prepared>,
    bytes: usize,
}

impl Names {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        self.by_name.get(name).map(|prepared| &prepared.statement)
    }

    /// What the client calls the statement of this number.
    pub(crate) fn name_of(&self, id: u32) -> Option<&[u8]> {
        self.by_name.iter().find(|(_, prepared)| prepared.statement.id() == id).map(|(name, _)| &**name)
    }

    /// What a statement does; one that is not known here may do anything.
    pub(crate) fn control(&self, name: &[u8]) -> Control {
        self.by_name.get(name).map_or(Control::ANY, |prepared| prepared.control)
    }

    /// Whether one more can be kept.
    pub(crate) fn has_room(&self, name: &[u8], tail: &[u8]) -> bool {
        self.bytes + cost(name, tail) <= TEXT_BYTES_MAX
    }

    /// Takes a name for this text; none when there is no more room.
    pub(crate) fn add(
        &mut self,
        registry: &Registry,
        name: &[u8],
        tail: &[u8],
        control: Control,
    ) -> Option<Rc<Statement>> {
        if !self.has_room(name, tail) {
            return None;
        }
        let statement = registry.intern(tail);
        self.put_back(name.into(), Prepared { statement: Rc::clone(&statement), control });
        Some(statement)
    }

    pub(crate) fn put_back(&mut self, name: Box<[u8]>, prepared: Prepared) {
        self.remove(&name);
        self.bytes += cost(&name, &prepared.statement.tail);
        self.by_name.insert(name, prepared);
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Prepared> {
        let prepared = self.by_name.remove(name)?;
        self.bytes -= cost(name, &prepared.statement.tail);
        Some(prepared)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }
}
