//! What the server's messages do to the tracker: answers come in the order of what they answer. It says what may pass on to
//! the client, and notes what is done for good.

use super::{Change, Parsed, Pending, Round, Track, Verdict};
use super::{memory, statements};
use crate::track::statements::{Known, is_ours};
use dauphin_wire::postgres::frame::{BadFrame, HEADER_BYTES, Next};
use dauphin_wire::postgres::message::{self, Report, Status};
use dauphin_wire::postgres::sql::{Lasting, Pin};

impl Track {
    /// Takes one message, or part of one, from the server: its length and what to do with it; 0 when there is not
    /// enough of it.
    pub(crate) fn server(&mut self, data: &[u8], known: &mut Known) -> Result<(usize, Verdict), BadFrame> {
        let whole = |tag| matches!(tag, b'Z' | b'C' | b'E' | b'N' | b'S' | b'1' | b'3');
        let asks = self.hears_number();
        match self.from_server.next(data, if asks { |_| true } else { whole })? {
            Next::More => Ok((0, Verdict::Pass)),
            Next::Whole { tag, len } if asks && tag != b'S' => Ok((len, self.number(tag, &data[HEADER_BYTES..len]))),
            Next::Whole { tag, len } => {
                let verdict = self.server_whole(tag, &data[HEADER_BYTES..len], known);
                let told = matches!(verdict, Verdict::Pass | Verdict::Acknowledges | Verdict::Told) && !self.pays(tag);
                Ok((len, if told { Verdict::Drop } else { verdict }))
            }
            Next::Part { tag, len, first, .. } => {
                if first {
                    self.dropped = !self.pays(tag);
                }
                if self.dropped {
                    return Ok((len, Verdict::Drop));
                }
                match tag {
                    b'G' if first && matches!(self.pending.front(), Some(Pending::Sync)) => self.memory.pin(Pin::Copy),
                    b'W' if first => self.memory.pin(Pin::Replication),
                    _ => {}
                }
                Ok((len, Verdict::Pass))
            }
        }
    }

    fn server_whole(&mut self, tag: u8, body: &[u8], known: &mut Known) -> Verdict {
        match tag {
            b'Z' => {
                self.ready(body);
                return Verdict::Acknowledges;
            }
            b'C' => {
                self.done(message::command_tag(body), known);
                return Verdict::Acknowledges;
            }
            b'E' => {
                let report = Report::parse(body);
                if report.is_fatal() {
                    return Verdict::Fatal;
                }
                let stale = report.code == b"0A000" && report.routine == b"RevalidateCachedQuery";
                if stale || matches!(report.code, b"26000" | b"42P05") {
                    // What it knows is not what is noted, or of no use any more.
                    known.doubt();
                }
                // By the names that the session has now: some of them may not have been taken at all.
                let told = statements::in_client_names(body, &self.memory.names);
                self.failed(known);
                if let Some(told) = told {
                    message::put(&mut self.told, b'E', &told);
                    return Verdict::Told;
                }
            }
            b'N' if Report::parse(body).is_cancelled_wait() => return Verdict::CancelledWait,
            b'S' => {
                if let Some((name, value)) = message::parameter_status(body) {
                    self.memory.report(name, value);
                }
            }
            b'1' => return self.parsed(known),
            b'3' => return self.closed(known),
            _ => {}
        }
        Verdict::Pass
    }

    pub(super) fn confused(&mut self) {
        if !self.lost {
            self.lost = true;
            self.pending.clear();
            self.memory.pin(Pin::Doubt);
        }
    }

    fn parsed(&mut self, known: &mut Known) -> Verdict {
        let Some(Pending::Parse { what, ours }) = self.pending.pop_front() else {
            self.confused();
            return Verdict::Pass;
        };
        match what {
            Parsed::Unnamed { change } if !ours => self.armed = change,
            Parsed::Named { statement, .. } => known.insert(statement.id()),
            Parsed::Unnamed { .. } | Parsed::Native => {}
        }
        if ours { Verdict::Drop } else { Verdict::Pass }
    }

    fn closed(&mut self, known: &mut Known) -> Verdict {
        match self.pending.pop_front() {
            Some(Pending::Close { .. }) => Verdict::Pass,
            Some(Pending::Known { .. }) => Verdict::Parsed,
            Some(Pending::Evict { id }) => {
                known.remove(id);
                Verdict::Drop
            }
            _ => {
                self.confused();
                Verdict::Pass
            }
        }
    }

    fn failed(&mut self, known: &mut Known) {
        self.round.failed = true;
        // The server skips the rest of the pipeline, as if it had never been sent; a simple query answers for itself.
        let extended = !matches!(self.pending.front(), Some(Pending::Query { .. }));
        let ends = |pending: &Pending| match pending {
            Pending::Query { .. } => !extended,
            Pending::Sync => true,
            _ => false,
        };
        let skipped = self.pending.iter().position(ends).unwrap_or(self.pending.len());
        self.undo(skipped, known);
        if let Some(Pending::Query { changes }) = self.pending.front_mut() {
            changes.clear();
        }
    }

    /// So many of what was sent did not happen.
    pub(super) fn undo(&mut self, count: usize, known: &mut Known) {
        for pending in self.pending.drain(..count).rev() {
            match pending {
                Pending::Parse { what: Parsed::Unnamed { .. }, ours } => {
                    // One that was made again for this server is still the session's.
                    if !ours {
                        self.unnamed.forget();
                    }
                    known.unnamed = 0;
                }
                Pending::Parse { what: Parsed::Named { name: Some(name), .. }, .. } | Pending::Known { name } => {
                    self.memory.names.remove(&name);
                }
                Pending::Close { gone: Some((name, prepared)) } => self.memory.names.put_back(name, prepared),
                _ => {}
            }
        }
    }

    pub(super) fn done(&mut self, tag: &[u8], known: &mut Known) {
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
                if tag != b"DEALLOCATE" {
                    known.clear();
                }
                // Not undone by a rollback.
                let before = self.undecided.len();
                self.changed(tag);
                if let Some(change) = self.undecided.get(before).cloned() {
                    self.undecided.truncate(before);
                    if let Lasting::Deallocate(name) = &change.what {
                        match self.memory.names.get(name) {
                            Some(statement) => known.remove(statement.id()),
                            None if is_ours(name) => known.doubt(),
                            None => {}
                        }
                    }
                    self.memory.change(&change.what, &change.text);
                }
            }
            _ => {}
        }
    }

    /// A SET or the like was done: which one, if it is one that was watched.
    fn changed(&mut self, tag: &[u8]) {
        let fits = |change: &Change| match change.what {
            Lasting::Set(_) => tag == b"SET",
            Lasting::Reset(_) | Lasting::ResetAll => tag == b"RESET",
            Lasting::DiscardAll => tag == b"DISCARD ALL",
            Lasting::Deallocate(_) | Lasting::DeallocateAll => tag.starts_with(b"DEALLOCATE"),
        };
        let change = match self.pending.front_mut() {
            Some(Pending::Query { changes }) => {
                changes.iter().position(fits).and_then(|at| changes.drain(..=at).next_back())
            }
            _ => self.armed.clone().filter(fits),
        };
        self.undecided.extend(change);
        if self.undecided.len() > memory::SETTINGS_MAX {
            self.undecided = Vec::new();
            self.memory.pin(Pin::Setting);
        }
    }

    fn decide(&mut self, committed: bool) {
        for change in std::mem::take(&mut self.undecided) {
            if committed {
                self.memory.change(&change.what, &change.text);
            }
        }
    }

    pub(super) fn ready(&mut self, body: &[u8]) {
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
                // A transaction of its own, done or not. Anything more tangled is not worth guessing.
                if before == Status::Idle && !self.round.control && !self.savepoint {
                    self.decide(!self.round.failed);
                } else {
                    self.undecided = Vec::new();
                    self.memory.pin(Pin::Setting);
                }
            }
            self.savepoint = false;
        }
        self.round = Round::default();
        if self.pending.is_empty() {
            self.barrier = false;
        }
        if self.pending.is_empty() && !self.unsynced {
            self.may_commit = false;
            (self.ends, self.begun) = (false, false);
            if status == Status::Idle {
                (self.portal, self.portals) = Default::default();
            }
            self.lend_queue();
        }
    }
}
