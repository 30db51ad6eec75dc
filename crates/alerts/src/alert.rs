//! One alert: since when it has been how bad, and what people know of it. A level counts once it has held for long enough,
//! and is over once it has been gone for long enough. The board asks it; it tells nobody.

use crate::condition::Kind;
use crate::facts::Seen;
use crate::memory::{Acknowledged, KeptAlert};
use dauphin_model::{Level, MemberName, Mono, Span};

/// Which alert.
pub(crate) type Key = (Kind, Option<MemberName>);

/// One alert, raised or about to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alert {
    /// 0: not raised yet.
    pub(crate) id: u64,
    /// How bad it counts as.
    pub(crate) level: Option<Level>,
    /// How bad people were told that it is.
    pub(crate) told: Option<Level>,
    pub(crate) text: String,
    pub(crate) next: String,
    pub(crate) raised_unix: u64,
    pub(crate) told_at: Mono,
    pub(crate) told_unix: u64,
    pub(crate) acknowledged: Option<Acknowledged>,
    /// Since when people know something else.
    pub(crate) differs: Option<Mono>,
    /// It holds now, at any level.
    pub(crate) holds: bool,
    /// Since when it has been at least as bad, by level.
    reached: [Option<Mono>; 3],
    /// Since when it has been better than that, by level.
    left: [Option<Mono>; 3],
}

impl Alert {
    /// As another agent, or this one before its restart, kept it.
    pub(crate) fn kept(kept: &KeptAlert, now: Mono, unix: u64) -> Self {
        let ago = Span::ms(unix.saturating_sub(kept.told_unix).saturating_mul(1_000));
        Self {
            id: kept.id,
            level: kept.level,
            told: kept.told,
            text: kept.text.clone(),
            next: kept.next.clone(),
            raised_unix: kept.raised_unix,
            told_at: now - ago,
            told_unix: kept.told_unix,
            acknowledged: kept.acknowledged.clone(),
            ..Self::default()
        }
    }

    /// As it is kept.
    pub(crate) fn keep(&self, (kind, member): &Key) -> KeptAlert {
        KeptAlert {
            id: self.id,
            kind: *kind,
            member: member.clone(),
            level: self.level,
            told: self.told,
            text: self.text.clone(),
            next: self.next.clone(),
            raised_unix: self.raised_unix,
            told_unix: self.told_unix,
            acknowledged: self.acknowledged.clone(),
        }
    }

    /// Takes the wishes and the number from what is kept, and leaves the rest.
    pub(crate) fn take_over(&mut self, kept: &KeptAlert) {
        self.acknowledged.clone_from(&kept.acknowledged);
    }

    /// Nobody looked for a while: what was begun to be counted begins anew.
    pub(crate) fn begin_anew(&mut self) {
        self.reached = [None; 3];
        self.left = [None; 3];
    }

    /// Takes in what was seen now. `None`: it does not hold.
    pub(crate) fn see(&mut self, now: Mono, seen: Option<&Seen>) {
        let level = match seen {
            Some(Seen::Unknown) => {
                // neither longer nor over
                self.begin_anew();
                self.holds = self.level.is_some();
                return;
            }
            Some(Seen::Found(finding)) => Some(finding.level()),
            None => None,
        };
        self.holds = level.is_some();
        for ((of, reached), left) in Level::ALL.into_iter().zip(&mut self.reached).zip(&mut self.left) {
            let (begins, ends) = if level >= Some(of) { (reached, left) } else { (left, reached) };
            begins.get_or_insert(now);
            *ends = None;
        }
    }

    /// How bad it counts as now.
    pub(crate) fn settled(&self, now: Mono, raise_after: Span, clear_after: Span) -> Option<Level> {
        let for_long = |since: Option<Mono>, span: Span| since.is_some_and(|since| now.since(since) >= span);
        let all = || Level::ALL.into_iter().zip(self.reached).zip(self.left);
        let up = all().filter(|((_, reached), _)| for_long(*reached, raise_after)).map(|((of, _), _)| of).max();
        if up > self.level {
            return up;
        }
        // the lowest level that it has left for long takes all above it away
        let over = all().find(|((_, _), left)| for_long(*left, clear_after)).map(|((of, _), _)| of);
        match over {
            Some(of) if self.level >= Some(of) => Level::ALL.into_iter().rfind(|level| *level < of),
            _ => self.level,
        }
    }

    /// Neither raised, nor about to be, nor to be told of.
    pub(crate) fn is_nothing(&self) -> bool {
        self.level.is_none() && self.told.is_none() && self.reached.iter().all(Option::is_none)
    }
}
