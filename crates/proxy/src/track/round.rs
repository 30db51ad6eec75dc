//! Looks ahead: whether what a client sends next is one whole round that only reads. Sessions ask before they choose a server;
//! nothing is noted.

use super::Track;
use dauphin_wire::postgres::frame::{Frames, HEADER_BYTES, Next};
use dauphin_wire::postgres::message::{self, Bind};
use dauphin_wire::postgres::sql;

/// Most messages of a round that are looked at.
const MESSAGES_MAX: usize = 64;
/// Most names of a round that are told apart.
const NAMES_MAX: usize = 8;

/// Which of a round's names only read.
#[derive(Default)]
struct Few<'a> {
    names: [(&'a [u8], bool); NAMES_MAX],
    len: usize,
}

impl<'a> Few<'a> {
    fn note(&mut self, name: &'a [u8], reads: bool) -> Option<()> {
        *self.names.get_mut(self.len)? = (name, reads);
        self.len += 1;
        Some(())
    }

    /// What was noted last.
    fn get(&self, name: &[u8]) -> Option<bool> {
        self.names[..self.len].iter().rev().find(|(known, _)| *known == name).map(|(_, reads)| *reads)
    }
}

impl Track {
    /// The length of the first round in `data`, up to its Sync, if all that it runs only reads. None: it may do more, or is not
    /// here as a whole. The session has to be at rest.
    pub(crate) fn reading_round(&self, data: &[u8]) -> Option<usize> {
        let reads = |text: &[u8]| sql::effects(text, self.memory.backslashes()).control.reads;
        let (mut frames, mut at, mut runs) = (Frames::default(), 0, false);
        let (mut statements, mut portals) = (Few::default(), Few::default());
        for _ in 0..MESSAGES_MAX {
            let Ok(Next::Whole { tag, len }) = frames.next(&data[at..], |_| true) else { return None };
            let body = &data[at + HEADER_BYTES..at + len];
            at += len;
            match tag {
                b'Q' if at == len => {
                    return message::split_text(body).is_some_and(|(text, _)| reads(text)).then_some(at);
                }
                b'P' => {
                    let (name, text) = message::parse_statement(body)?;
                    if !name.is_empty() && !self.memory.names.has_room(name, &body[name.len() + 1..]) {
                        return None;
                    }
                    statements.note(name, reads(text))?;
                }
                b'B' => {
                    let Bind { portal, statement, .. } = Bind::parse(body)?;
                    let here = statements.get(statement);
                    portals.note(portal, here.unwrap_or_else(|| self.control_of(statement).reads))?;
                }
                // What a second one is refused for cannot be run again: the first one's rows were shown.
                b'E' if runs => return None,
                b'E' => {
                    let (portal, _) = message::split_text(body)?;
                    runs = portals.get(portal)?;
                    if !runs {
                        return None;
                    }
                }
                b'D' | b'H' | b'C' => {}
                b'S' => return runs.then_some(at),
                _ => return None,
            }
        }
        None
    }

    /// The length of the first round in `data`, if it runs nothing.
    pub(crate) fn idle_round(&self, data: &[u8]) -> Option<usize> {
        let (mut frames, mut at) = (Frames::default(), 0);
        for _ in 0..MESSAGES_MAX {
            let Ok(Next::Whole { tag, len }) = frames.next(&data[at..], |_| true) else { return None };
            at += len;
            match tag {
                b'C' | b'D' | b'H' => {}
                b'S' => return Some(at),
                _ => return None,
            }
        }
        None
    }

    /// A round is run again: the names that it took are free.
    pub(crate) fn forget_names_of(&mut self, round: &[u8]) {
        let (mut frames, mut at) = (Frames::default(), 0);
        while let Ok(Next::Whole { tag, len }) = frames.next(&round[at..], |_| true) {
            if tag == b'P'
                && let Some((name, _)) = message::parse_statement(&round[at + HEADER_BYTES..at + len])
            {
                self.memory.names.remove(name);
            }
            at += len;
        }
    }
}
