//! A server is lost in the middle of a transaction or statement, and the connection with the client lives on: what was in
//! flight is answered with an error, and a transaction that is gone fails until the client ends it, as a server's own would.
//! The session asks; nothing here does I/O.

use super::{Pending, Track};
use crate::track::statements::Known;
use dauphin_wire::postgres::frame::{BadFrame, HEADER_BYTES, Next};
use dauphin_wire::postgres::message::{self, Bind, Status};
use dauphin_wire::postgres::sql::{self, Ending};
use std::collections::VecDeque;

/// What the client is told of what was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    /// SQLSTATE.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) message: &'static str,
    /// More for people.
    pub(crate) detail: Option<&'static str>,
    /// What to do next.
    pub(crate) hint: &'static str,
}

impl Loss {
    /// Appends the error.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        message::put_error(out, self.code, self.message, self.detail, Some(self.hint));
    }
}

/// A transaction that the client still believes to be in, or a pipeline whose end is still to come.
#[derive(Debug)]
pub(super) struct Aborted {
    loss: Loss,
    /// The client is in a transaction, as it sees it.
    transaction: bool,
    /// It was told that it is lost.
    told: bool,
    /// A Sync is to come.
    unsynced: bool,
    /// Everything up to it is skipped.
    skip: bool,
    /// What its portal does.
    bound: Option<Ending>,
}

impl Track {
    /// Whether the client has to be answered without a server.
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.is_some()
    }

    /// The server is gone. Gives what the client is told; none when it cannot be told, and has to be let go.
    pub(crate) fn abort(&mut self, loss: Loss) -> Option<Vec<u8>> {
        let known = self.memory.pins().let_go() && !self.lost;
        if !known || !self.is_between_server_messages() {
            return None;
        }
        // Behind a BEGIN that is lost nothing must be on its own.
        let transaction = (self.status != Status::Idle || self.begun) && !self.ends;
        let long = usize::from(self.scan.take().is_some());
        let answers = |pending: &&Pending| matches!(pending, Pending::Query { .. } | Pending::Sync);
        let owed = self.pending.iter().filter(answers).count() + long;
        // A message that is half here is skipped to its end; only one of the extended protocol is owed a Sync.
        let skip = self.unsynced || (long == 0 && !self.from_client.at_boundary() && owed == 0);
        self.undo(self.pending.len(), &mut Known::default());
        let mut out = Vec::new();
        for number in 0..owed {
            // What has failed by itself has said so.
            if number > 0 || !self.round.failed {
                loss.put(&mut out);
            }
            message::put(&mut out, b'Z', if transaction { b"E" } else { b"I" });
        }
        if skip && (owed > 0 || !self.round.failed) {
            loss.put(&mut out);
        }
        let told = !out.is_empty() || self.round.failed;
        self.pending = VecDeque::new();
        self.unsynced = false;
        self.may_commit = false;
        (self.ends, self.begun, self.barrier, self.barrier_at_sync) = (false, false, false, false);
        (self.portal, self.portals) = Default::default();
        self.armed = None;
        self.commit = None;
        self.undecided = Vec::new();
        self.savepoint = false;
        self.status = Status::Idle;
        self.round = super::Round::default();
        if transaction || skip || !self.from_client.at_boundary() {
            self.aborted = Some(Box::new(Aborted { loss, transaction, told, unsynced: skip, skip, bound: None }));
        }
        Some(out)
    }

    /// Answers what the client sends meanwhile: how much of it was taken, none when there is not enough.
    pub(crate) fn client_aborted(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, BadFrame> {
        let whole = |tag| matches!(tag, b'Q' | b'P' | b'B' | b'D' | b'C');
        let (tag, len, body) = match self.from_client.next(data, whole)? {
            Next::More => return Ok(None),
            Next::Whole { tag, len } => (tag, len, &data[HEADER_BYTES..len]),
            // Nothing so long does no more than end a transaction, whatever its first part looks like.
            Next::Part { tag, len, first: true, .. } => (tag, len, &b""[..]),
            Next::Part { len, .. } => (0, len, &b""[..]),
        };
        if let Some(mut aborted) = self.aborted.take() {
            self.answer_aborted(&mut aborted, tag, body, out);
            let waits = aborted.transaction || aborted.unsynced || !self.from_client.at_boundary();
            self.aborted = waits.then_some(aborted);
        }
        Ok(Some(len))
    }

    fn answer_aborted(&mut self, aborted: &mut Aborted, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        aborted.unsynced |= matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C' | b'H');
        match tag {
            b'X' => {
                self.terminated = true;
                (aborted.transaction, aborted.unsynced) = (false, false);
            }
            b'S' => {
                (aborted.unsynced, aborted.skip) = (false, false);
                put_ready(aborted, out);
            }
            // Within a pipeline that failed, and of a COPY that is over.
            _ if aborted.skip => {}
            b'Q' => {
                let text = message::split_text(body).map_or(body, |(text, _)| text);
                self.unnamed.forget();
                match sql::effects(text, self.memory.backslashes()).control.ending {
                    Some(ending) => end(aborted, ending, out),
                    None => refuse(aborted, out),
                }
                put_ready(aborted, out);
            }
            b'F' => {
                refuse(aborted, out);
                put_ready(aborted, out);
            }
            b'P' => {
                let parsed = message::parse_statement(body);
                let control = parsed.map(|(_, text)| sql::effects(text, self.memory.backslashes()).control);
                match (parsed, control.filter(|control| control.ending.is_some())) {
                    // Named ones are prepared where there is a server.
                    (Some((b"", _)), Some(control)) => {
                        let mut frame = Vec::new();
                        message::put(&mut frame, b'P', body);
                        self.unnamed.set(u64::MAX, &frame, control);
                        message::put(out, b'1', &[]);
                    }
                    _ => fail(aborted, out),
                }
            }
            b'B' => {
                let name = Bind::parse(body).map(|bind| bind.statement);
                aborted.bound = name.and_then(|name| self.control_of(name).ending);
                match aborted.bound {
                    Some(_) => message::put(out, b'2', &[]),
                    None => fail(aborted, out),
                }
            }
            b'D' => match message::close_target(body) {
                Some((b'S', name)) if self.control_of(name).ending.is_some() => {
                    message::put(out, b't', &[0, 0]);
                    message::put(out, b'n', &[]);
                }
                Some((b'P', _)) if aborted.bound.is_some() => message::put(out, b'n', &[]),
                _ => fail(aborted, out),
            },
            b'E' => match aborted.bound.take() {
                Some(ending) => {
                    let failed = ending == Ending::Commit && !aborted.told;
                    end(aborted, ending, out);
                    aborted.skip = failed;
                }
                None => fail(aborted, out),
            },
            b'C' => {
                if let Some((b'S', name)) = message::close_target(body) {
                    if name.is_empty() {
                        self.unnamed.forget();
                    } else {
                        self.memory.names.remove(name);
                    }
                }
                message::put(out, b'3', &[]);
            }
            _ => {}
        }
    }
}

/// The client ends the transaction. What it did not know to be lost it must not take for committed.
fn end(aborted: &mut Aborted, ending: Ending, out: &mut Vec<u8>) {
    if ending == Ending::Commit && !aborted.told {
        aborted.loss.put(out);
        aborted.told = true;
    } else {
        message::put_texts(out, b'C', &["ROLLBACK"]);
    }
    aborted.transaction = false;
}

fn refuse(aborted: &mut Aborted, out: &mut Vec<u8>) {
    if aborted.told {
        let text = "current transaction is aborted, commands ignored until end of transaction block";
        message::put_error(out, message::IN_FAILED_TRANSACTION, text, None, None);
    } else {
        aborted.loss.put(out);
        aborted.told = true;
    }
}

/// A message of the extended protocol fails: so does everything up to the next Sync.
fn fail(aborted: &mut Aborted, out: &mut Vec<u8>) {
    refuse(aborted, out);
    aborted.skip = true;
}

fn put_ready(aborted: &Aborted, out: &mut Vec<u8>) {
    message::put(out, b'Z', if aborted.transaction { b"E" } else { b"I" });
}
