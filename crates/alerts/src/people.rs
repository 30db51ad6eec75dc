//! What people may wish of the memory: a silence, its end, an acknowledgement. Any agent does it for them; the one that
//! speaks takes it over.

use crate::condition::Kind;
use crate::memory::{Acknowledged, Memory, SILENCES_MAX, Silence};
use dauphin_model::{MemberName, Span};
use std::fmt;

/// Longest silence.
pub const SILENCE_MAX: Span = Span::ms(30 * 86_400_000);
/// Longest name of a person, and longest reason, in characters; more is cut off.
pub const TEXT_CHARS_MAX: usize = 200;

/// A silence that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceWish {
    /// Of whom; `None`: all.
    pub member: Option<MemberName>,
    /// Of what; `None`: everything.
    pub kind: Option<Kind>,
    /// For how long.
    pub lasts: Span,
    /// Who.
    pub by: String,
    /// Why.
    pub because: String,
}

/// Why a wish was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Too long, or no time at all.
    Length,
    /// Too many silences.
    TooMany,
    /// No such silence.
    NoSuchSilence(u64),
    /// No such alert.
    NoSuchAlert(u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "a silence lasts 1 s to {} d", SILENCE_MAX.0 / 86_400_000_000),
            Self::TooMany => write!(f, "there are {SILENCES_MAX} silences already; end some first"),
            Self::NoSuchSilence(id) => write!(f, "there is no silence {id}"),
            Self::NoSuchAlert(id) => write!(f, "there is no alert {id} that lasts"),
        }
    }
}

impl std::error::Error for Refused {}

/// What people wrote, without what could disturb a terminal or fill the store.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

impl Memory {
    /// Takes a silence on.
    ///
    /// # Errors
    /// What is allowed.
    pub fn silence(&mut self, wish: SilenceWish, now_unix: u64) -> Result<Silence, Refused> {
        let seconds = wish.lasts.as_ms() / 1_000;
        if seconds == 0 || wish.lasts > SILENCE_MAX {
            return Err(Refused::Length);
        }
        self.silences.retain(|s| s.until_unix > now_unix);
        if self.silences.len() >= SILENCES_MAX {
            return Err(Refused::TooMany);
        }
        self.last_id += 1;
        let silence = Silence {
            id: self.last_id,
            member: wish.member,
            kind: wish.kind,
            until_unix: now_unix.saturating_add(seconds),
            by: plain(&wish.by),
            because: plain(&wish.because),
        };
        self.silences.push(silence.clone());
        Ok(silence)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn unsilence(&mut self, id: u64) -> Result<(), Refused> {
        let before = self.silences.len();
        self.silences.retain(|s| s.id != id);
        if self.silences.len() == before { Err(Refused::NoSuchSilence(id)) } else { Ok(()) }
    }

    /// Somebody has that alert in hand.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn acknowledge(&mut self, id: u64, by: &str, now_unix: u64) -> Result<(), Refused> {
        let alert = self.alerts.iter_mut().find(|a| a.id == id).ok_or(Refused::NoSuchAlert(id))?;
        let level = alert.level.ok_or(Refused::NoSuchAlert(id))?;
        alert.acknowledged = Some(Acknowledged { by: plain(by), at_unix: now_unix, level });
        Ok(())
    }
}
