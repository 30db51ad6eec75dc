//! The client's messages that name prepared statements, or whose text a server must not see as it is. What the server needs
//! first is put before them; what it must not do is turned into something that does nothing and is answered in its turn.

use super::own;
use super::statements::{NOBODY, Statement, is_ours, put_close, put_name};
use super::{Change, Parsed, Pending, Track, Upstream};
use dauphin_wire::postgres::frame::HEADER_BYTES;
use dauphin_wire::postgres::message::{self, Bind};
use dauphin_wire::postgres::sql::{self, Control, Effects, Lasting, Pin};
use dauphin_wire::postgres::warnings;
use std::rc::Rc;

/// How far a Parse of the same statement is on its way.
enum Sent {
    No,
    /// Before this message, with no Sync between: if it fails, this one is skipped.
    Now,
    /// Earlier: it may fail, and this one would not.
    Before,
}

impl Track {
    pub(super) fn simple_query(&mut self, frame: &[u8], up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        let body = &frame[HEADER_BYTES..];
        let text = message::split_text(body).map_or(body, |(text, _)| text);
        let effects = sql::effects(text, self.memory.backslashes());
        let control = effects.control;
        self.ask_before(control, up, out);
        let asked = !out.is_empty();
        let instead = self.instead(&effects, text, up);
        let changes = self.remember(effects, text, instead.as_deref());
        self.query(changes, control);
        up.known.unnamed = 0;
        if let Some(text) = instead {
            message::put_parts(out, b'Q', |out| {
                out.extend_from_slice(&text);
                out.push(0);
            });
        } else if asked {
            out.extend_from_slice(frame);
        }
    }

    /// Another text for the server, if it must not see this one.
    fn instead(&mut self, effects: &Effects, text: &[u8], up: &Upstream<'_>) -> Option<Vec<u8>> {
        if let [Lasting::Deallocate(name)] = effects.changes.as_slice()
            && let Some(statement) = self.memory.names.get(name)
        {
            let id = statement.id();
            // A server that does not know it forgets everything instead: what is still needed is made again.
            let known = up.known.contains(id).then(|| format!("DEALLOCATE dauphin_{id}").into_bytes());
            return Some(known.unwrap_or_else(|| b"DEALLOCATE ALL".to_vec()));
        }
        if let [Lasting::Set(key)] = effects.changes.as_slice()
            && own::is_own(key)
        {
            return Some(self.own_setting(key, text));
        }
        if let Some(question) = own::token_shown(text) {
            return Some(question.into());
        }
        if effects.messages { warnings::audible(text) } else { None }
    }

    /// What a server is told of a setting of the proxy's.
    fn own_setting(&mut self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let key = String::from_utf8_lossy(key);
        let checked = match own::value_of(text) {
            _ if !self.picks && key == own::REPORTING => {
                let text = "which replicas serve a session is chosen at login, where the proxy has pool = \"session\"";
                Err(text.to_owned())
            }
            _ if !self.chooses && key != own::REPORTING => {
                Err("how a session reads is chosen on the write port, where the proxy has pool = \"transaction\""
                    .to_owned())
            }
            None => Err(format!("no value for {key} is found in {:?}", String::from_utf8_lossy(text))),
            Some(value) => own::Asked::default().set(&key, &value).map(|()| own::plain(&key, &value)),
        };
        checked.unwrap_or_else(|why| {
            self.misset = true;
            own::refusal(&why)
        })
    }

    /// What it changes, by the text that is to be repeated elsewhere.
    fn remember(&mut self, effects: Effects, text: &[u8], instead: Option<&[u8]>) -> Vec<Change> {
        // Statements go by the client's names, whatever the server calls them.
        let own = matches!(effects.changes.as_slice(), [Lasting::Set(key)] if own::is_own(key));
        let repeated = if effects.messages || own { instead.unwrap_or(text) } else { text };
        self.apply(effects, Some(repeated))
    }

    pub(super) fn parse(&mut self, frame: &[u8], up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        let body = &frame[HEADER_BYTES..];
        let Some((name, text)) = message::parse_statement(body) else {
            self.memory.pin(Pin::Doubt);
            return self.expect(Pending::Parse { what: Parsed::Native, ours: false });
        };
        let effects = sql::effects(text, self.memory.backslashes());
        let control = effects.control;
        self.ask_before(control, up, out);
        let asked = !out.is_empty();
        let instead = self.instead(&effects, text, up);
        let change = self.remember(effects, text, instead.as_deref()).pop();
        self.barrier_at_sync |= change.as_ref().is_some_and(Change::forgets);
        let joined;
        let mut tail = &body[name.len() + 1..];
        if let Some(text) = &instead {
            joined = [text, &tail[text_end(tail)..]].concat();
            tail = &joined;
        }
        if name.is_empty() {
            let serial = up.registry.serial();
            up.known.unnamed = serial;
            if instead.is_some() {
                let start = out.len();
                message::put_parts(out, b'P', |out| {
                    out.push(0);
                    out.extend_from_slice(tail);
                });
                self.unnamed.set(serial, &out[start..], control);
            } else {
                self.unnamed.set(serial, frame, control);
                if asked {
                    out.extend_from_slice(frame);
                }
            }
            return self.expect(Pending::Parse { what: Parsed::Unnamed { change }, ours: false });
        }
        if change.is_some() {
            // It may be run any number of times, at any time.
            self.memory.pin(Pin::Setting);
        }
        self.parse_named(name, tail, control, up, out);
    }

    fn parse_named(&mut self, name: &[u8], tail: &[u8], control: Control, up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        if let Some(statement) = self.memory.names.get(name).map(Rc::clone) {
            // The name is taken: the server says so, once it knows it.
            self.provide(&statement, up, out);
            statement.put_parse(out, Some(tail));
            return self.expect(Pending::Parse { what: Parsed::Native, ours: false });
        }
        let Some(statement) = self.memory.names.add(up.registry, name, tail, control) else {
            self.memory.pin(Pin::TooMuch);
            return self.expect(Pending::Parse { what: Parsed::Native, ours: false });
        };
        if up.known.contains(statement.id()) && !self.is_evicted(statement.id()) {
            put_close(out, NOBODY);
            return self.expect(Pending::Known { name: name.into() });
        }
        self.make_room(&statement, up, out);
        statement.put_parse(out, None);
        let name = Some(name.into());
        self.expect(Pending::Parse { what: Parsed::Named { statement, name }, ours: false });
    }

    /// Gives the server a statement that it may lack.
    fn provide(&mut self, statement: &Rc<Statement>, up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        if up.known.contains(statement.id()) && (self.pending.is_empty() || !self.is_evicted(statement.id())) {
            return;
        }
        if matches!(self.sent(statement.id()), Sent::Now) {
            return;
        }
        self.make_room(statement, up, out);
        statement.put_parse(out, None);
        let what = Parsed::Named { statement: Rc::clone(statement), name: None };
        self.expect(Pending::Parse { what, ours: true });
    }

    /// Closes what the server may have under this number, and one more if it has too many.
    fn make_room(&mut self, statement: &Statement, up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        let again = up.known.is_doubtful()
            || up.known.contains(statement.id())
            || matches!(self.sent(statement.id()), Sent::Now | Sent::Before);
        for id in up.known.excess().into_iter().chain(again.then_some(statement.id())) {
            put_close(out, id);
            self.expect(Pending::Evict { id });
        }
    }

    fn is_evicted(&self, id: u32) -> bool {
        self.pending.iter().any(|pending| matches!(pending, Pending::Evict { id: other } if *other == id))
    }

    fn sent(&self, id: u32) -> Sent {
        let mut sent = Sent::Now;
        for pending in self.pending.iter().rev() {
            match pending {
                Pending::Sync | Pending::Query { .. } => sent = Sent::Before,
                Pending::Parse { what: Parsed::Named { statement, .. }, .. } if statement.id() == id => return sent,
                _ => {}
            }
        }
        Sent::No
    }

    /// Makes sure that the server's unnamed statement is this session's. False: it is not, and must not be used.
    fn provide_unnamed(&mut self, up: &mut Upstream<'_>, out: &mut Vec<u8>) -> bool {
        if self.unnamed.serial > 0 && up.known.unnamed == self.unnamed.serial {
            return true;
        }
        if self.unnamed.serial == 0 || self.unnamed.frame.is_empty() {
            return false;
        }
        out.extend_from_slice(&self.unnamed.frame);
        up.known.unnamed = self.unnamed.serial;
        self.expect(Pending::Parse { what: Parsed::Unnamed { change: None }, ours: true });
        true
    }

    /// A Bind, or the beginning of a long one.
    pub(super) fn bind(&mut self, frame: &[u8], up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        let (header, body) = frame.split_at(HEADER_BYTES);
        let Some(Bind { portal, statement, rest }) = Bind::parse(body) else { return };
        let control = self.control_of(statement);
        if portal.is_empty() {
            self.portal = control;
        } else {
            self.portals = self.portals.or(control);
        }
        self.ask_before(control, up, out);
        let named = self.memory.names.get(statement).map(Rc::clone);
        if statement.is_empty() && self.provide_unnamed(up, out) {
            if !out.is_empty() {
                out.extend_from_slice(frame);
            }
            return;
        }
        if let Some(named) = &named {
            self.provide(named, up, out);
        } else if !statement.is_empty() && !is_ours(statement) {
            if !out.is_empty() {
                out.extend_from_slice(frame);
            }
            return;
        }
        let start = out.len();
        out.extend_from_slice(header);
        out.extend_from_slice(portal);
        out.push(0);
        let name = out.len();
        put_name(out, server_name(named.as_ref()));
        let longer = out.len() - name;
        out.extend_from_slice(rest);
        // The whole message may be longer than what is here.
        let announced = header[1..].try_into().map_or(0, u32::from_be_bytes) as usize;
        let length = u32::try_from(announced + longer - statement.len() - 1).unwrap_or(u32::MAX);
        out[start + 1..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    /// What a prepared statement does.
    pub(super) fn control_of(&self, name: &[u8]) -> Control {
        if name.is_empty() { self.unnamed.control } else { self.memory.names.control(name) }
    }

    pub(super) fn describe(&mut self, frame: &[u8], up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        let Some((b'S', name)) = message::close_target(&frame[HEADER_BYTES..]) else { return };
        let named = self.memory.names.get(name).map(Rc::clone);
        if name.is_empty() && self.provide_unnamed(up, out) {
            if !out.is_empty() {
                out.extend_from_slice(frame);
            }
            return;
        }
        if let Some(named) = &named {
            self.provide(named, up, out);
        } else if !name.is_empty() && !is_ours(name) {
            return;
        }
        message::put_parts(out, b'D', |out| {
            out.push(b'S');
            put_name(out, server_name(named.as_ref()));
        });
    }

    pub(super) fn close(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let name = match message::close_target(&frame[HEADER_BYTES..]) {
            Some((b'S', name)) => name,
            _ => return self.expect(Pending::Close { gone: None }),
        };
        if name.is_empty() {
            self.unnamed.forget();
            return self.expect(Pending::Close { gone: None });
        }
        let gone = self.memory.names.remove(name).map(|prepared| (name.into(), prepared));
        if gone.is_some() || is_ours(name) {
            // The server keeps it: others use it too.
            put_close(out, NOBODY);
        }
        self.expect(Pending::Close { gone });
    }
}

/// What the server knows it by; nobody's, of which it says that there is no such statement.
fn server_name(named: Option<&Rc<Statement>>) -> u32 {
    named.map_or(NOBODY, |named| named.id())
}

/// Length of the text at the beginning of a Parse's tail.
fn text_end(tail: &[u8]) -> usize {
    tail.iter().position(|byte| *byte == 0).unwrap_or(tail.len())
}
