//! A COMMIT of which nobody knows whether it happened. Before it is sent, the server is asked for the transaction's number:
//! the next leader can say what became of that, and the client is answered as the server would have. The tracker puts
//! the question before the COMMIT and keeps its answer from the client; the session asks the next leader.

use super::{Pending, Track, Upstream, Verdict};
use crate::track::statements::Known;
use dauphin_wire::postgres::frame::HEADER_BYTES;
use dauphin_wire::postgres::message::{self, Report, Status};
use dauphin_wire::postgres::sql::{Control, Ending};
use std::collections::VecDeque;

/// The number of this transaction, if it has written anything.
const QUESTION: &str = "SELECT pg_catalog.pg_current_xact_id_if_assigned()";

/// Most messages of a pipeline with a COMMIT that can be answered for the server.
const OWED_MAX: usize = 16;

/// What the server has said of the transaction's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing yet.
    Waits,
    /// The transaction has written nothing.
    Nothing,
    Number(u64),
    /// It failed, and with it the transaction: the client was told in place of the COMMIT's answer.
    Failed,
}

/// A COMMIT on its way.
#[derive(Debug)]
pub(super) struct Commit {
    answer: Answer,
    /// Types of the answers that the client still waits for, in order.
    owed: VecDeque<u8>,
    /// More was sent than can be answered.
    tangled: bool,
}

/// A COMMIT whose answer will not come.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// The transaction; none if it has written nothing.
    pub(crate) xid: Option<u64>,
    /// What the client is told if it has committed.
    pub(crate) committed: Vec<u8>,
}

impl Track {
    /// Puts the question before a message that begins a COMMIT, if it is the first of its pipeline.
    pub(super) fn ask_before(&mut self, control: Control, up: &mut Upstream<'_>, out: &mut Vec<u8>) {
        let first = self.pending.is_empty() && !self.unsynced && self.commit.is_none();
        if !first || self.status != Status::InTransaction || control.ending != Some(Ending::Commit) {
            return;
        }
        message::put_query(out, QUESTION);
        up.known.unnamed = 0;
        self.expect(Pending::Number);
        self.commit = Some(Box::new(Commit { answer: Answer::Waits, owed: VecDeque::new(), tangled: false }));
    }

    /// The client sent this after the question, and waits for what it is answered with.
    pub(super) fn owe(&mut self, tag: u8, frame: &[u8]) {
        let Some(commit) = &mut self.commit else { return };
        let of_statement = frame.get(HEADER_BYTES) == Some(&b'S');
        let answers: &[u8] = match tag {
            b'Q' => b"CZ",
            b'P' => b"1",
            b'B' => b"2",
            b'D' if of_statement => b"tn",
            b'D' => b"n",
            b'E' => b"C",
            b'C' => b"3",
            b'S' => b"Z",
            b'X' | b'H' => b"",
            _ => {
                commit.tangled = true;
                b""
            }
        };
        commit.tangled |= commit.owed.contains(&b'Z') || commit.owed.len() + answers.len() > OWED_MAX;
        if !commit.tangled {
            commit.owed.extend(answers);
        }
    }

    /// Whether the server's next messages answer the question.
    pub(super) fn hears_number(&self) -> bool {
        matches!(self.pending.front(), Some(Pending::Number))
    }

    /// A whole message of the answer to the question.
    pub(super) fn number(&mut self, tag: u8, body: &[u8]) -> Verdict {
        let Some(commit) = &mut self.commit else {
            self.confused();
            return Verdict::Pass;
        };
        match tag {
            b'D' => {
                commit.answer =
                    message::first_column(body).and_then(|n| n.parse().ok()).map_or(Answer::Nothing, Answer::Number)
            }
            b'E' if Report::parse(body).is_fatal() => return Verdict::Fatal,
            b'E' => {
                commit.answer = Answer::Failed;
                return Verdict::Pass;
            }
            b'Z' => {
                self.pending.pop_front();
            }
            b'N' => return Verdict::Pass,
            _ => {}
        }
        Verdict::Drop
    }

    /// A message that answers the client's COMMIT has come; false when the client has had its answer already.
    pub(super) fn pays(&mut self, tag: u8) -> bool {
        let Some(commit) = &mut self.commit else { return true };
        if commit.owed.front() == Some(&tag) {
            commit.owed.pop_front();
        }
        let told = commit.answer == Answer::Failed && !matches!(tag, b'Z' | b'N' | b'S' | b'A');
        if tag == b'Z' {
            self.commit = None;
        }
        !told
    }

    /// What the next leader has to be asked, if the server is lost now and that is all there is to know.
    pub(crate) fn in_doubt(&self) -> Option<Doubt> {
        let commit = self.commit.as_ref().filter(|commit| !commit.tangled && commit.owed.back() == Some(&b'Z'))?;
        let xid = match commit.answer {
            Answer::Number(xid) => Some(xid),
            Answer::Nothing => None,
            Answer::Waits | Answer::Failed => return None,
        };
        let whole = self.is_between_server_messages() && self.from_client.at_boundary() && !self.round.failed;
        if !whole || self.lost || !self.memory.pins().let_go() || !commit.owed.contains(&b'C') {
            return None;
        }
        let mut committed = Vec::new();
        for tag in &commit.owed {
            let body: &[u8] = match tag {
                b'C' => b"COMMIT\0",
                b'Z' => b"I",
                b't' => &[0, 0],
                _ => &[],
            };
            message::put(&mut committed, *tag, body);
        }
        Some(Doubt { xid, committed })
    }

    /// It has committed, as the next leader knows.
    pub(crate) fn has_committed(&mut self) {
        let mut nothing = Known::default();
        self.commit = None;
        self.done(b"COMMIT", &mut nothing);
        self.ready(b"I");
    }
}
