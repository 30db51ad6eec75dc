//! Whose turn it is to speak: the member that leads the store, which is one; without such a one, after a moment, the first
//! member of the file that is heard. In a partition each side without a majority has a speaker of its own.

use crate::picture::Picture;
use dauphin_model::{MemberName, Mono, Span};
use dauphin_store::{Standing, StoreHealth};
use std::time::Duration;

/// How long the store is without a leader before somebody speaks for it: elections are ordinary.
const LEADERLESS_FOR: Span = Span::ms(5_000);

/// How long a store's leader may be without an answer of a majority before it is one in name only.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Follows the turns.
#[derive(Debug, Default)]
pub(super) struct Turn {
    leaderless: Option<Mono>,
}

impl Turn {
    /// Whether this agent speaks now.
    pub(super) fn is_ours(&mut self, now: Mono, picture: &Picture, health: &StoreHealth) -> bool {
        if health.leader.is_some() {
            self.leaderless = None;
        } else if now.since(*self.leaderless.get_or_insert(now)) < LEADERLESS_FOR {
            return false;
        }
        // who has no part in the store cannot tell a lost majority from its own absence
        health.standing == Standing::Voter && of(picture, health).as_ref() == Some(&picture.me)
    }
}

/// Who speaks, as this member sees it.
pub(super) fn of(picture: &Picture, health: &StoreHealth) -> Option<MemberName> {
    let heard = || picture.spec.members.iter().map(|m| &m.name).find(|name| is_heard(picture, name));
    health.leader.clone().or_else(|| heard().cloned())
}

/// Whether a majority of the store answers, as far as this member can tell. A leader that is cut off does not step down.
pub(super) fn majority(health: &StoreHealth) -> bool {
    let answered = || health.quorum_seen.is_some_and(|seen| seen.elapsed() < ANSWERED_WITHIN);
    health.leader.is_some() && (!health.is_leader || health.voters.len() == 1 || answered())
}

fn is_heard(picture: &Picture, name: &MemberName) -> bool {
    *name == picture.me || picture.beat_of(name).is_some()
}
