//! Statements that took long or came to nothing, for the log: their shape, never their literals. Only `session` calls it, and keeps a
//! copy of a statement only while the configuration asks for such lines.

use super::Session;
use crate::pool::link::Right;
use dauphin_wire::postgres::frame::HEADER_BYTES;
use dauphin_wire::postgres::message::{self, Bind};
use dauphin_wire::postgres::shape::shape;
use std::time::{Duration, Instant};

/// Most bytes of a statement that are kept for it.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// Most bytes of a shape that are written, about.
const SHAPE_BYTES_MAX: usize = 500;

/// Most messages of a pipeline that are looked through for a statement.
const MESSAGES_MAX: usize = 16;

impl Session {
    /// Keeps what the client asks for now, if such lines are asked for.
    pub(super) fn keep_statement(&mut self, data: &[u8]) {
        if self.shard.slow.get().is_none() || self.seated.seat.busy.get() {
            return;
        }
        let mut said = self.said.take().unwrap_or_default();
        said.clear();
        said.extend_from_slice(self.statement_in(data));
        self.said = Some(said);
    }

    /// The first statement in these messages, or as much of it as is here.
    fn statement_in<'a>(&'a self, data: &'a [u8]) -> &'a [u8] {
        let mut rest = data;
        for _ in 0..MESSAGES_MAX {
            let Some([tag, a, b, c, d]) = rest.first_chunk::<HEADER_BYTES>().copied() else { break };
            let end = (u32::from_be_bytes([a, b, c, d]) as usize)
                .saturating_add(1)
                .clamp(HEADER_BYTES, rest.len().max(HEADER_BYTES));
            let body = &rest[HEADER_BYTES..end];
            let text = match tag {
                b'Q' => Some(body),
                b'P' => message::split_text(body).map(|(_, text)| text),
                b'B' => Bind::parse(body).and_then(|bind| self.track.text_of(bind.statement)),
                _ => None,
            };
            if let Some(text) = text {
                let text = message::split_text(text).map_or(text, |(text, _)| text);
                return &text[..text.len().min(KEPT_BYTES_MAX)];
            }
            rest = &rest[end..];
        }
        &[]
    }

    /// What the client asked for is answered.
    pub(super) fn note_slow(&self, length: Duration) {
        if self.shard.slow.get().is_none_or(|slow| length < slow) {
            return;
        }
        let Some(left_out) = self.hub.may_log(Instant::now()) else { return };
        let on = match self.backend.as_ref().map(|link| (&link.right, &link.target.member)) {
            Some((Right::Leader(_), member)) => format!("{member}, leader"),
            Some((Right::Replica(_), member)) => format!("{member}, replica"),
            None => "nowhere".to_owned(),
        };
        let (who, shape) = (&self.seated.seat.who, self.shape(self.said.as_deref()));
        tracing::info!(
            user = ?who.user, database = ?who.database.name, on, ms = length.as_millis(), left_out, "slow: {shape}"
        );
    }

    /// The client is told this in place of what its statement would have said.
    pub(super) fn note_refused(&self, code: &str, message: &str) {
        if self.shard.slow.get().is_none() {
            return;
        }
        let Some(left_out) = self.hub.may_log(Instant::now()) else { return };
        let who = &self.seated.seat.who;
        // What a server had taken, else what none would take.
        let runs = self.said.as_deref().filter(|_| self.seated.seat.busy.get() || self.held.is_empty());
        let shape = self.shape(runs.or_else(|| Some(self.statement_in(&self.held))));
        tracing::info!(
            user = ?who.user, database = ?who.database.name, code, message, left_out, "refused: {shape}"
        );
    }

    fn shape(&self, text: Option<&[u8]>) -> String {
        match text {
            Some(text) if !text.is_empty() => shape(text, self.track.memory().backslashes(), SHAPE_BYTES_MAX),
            _ => "(not known)".to_owned(),
        }
    }
}
