//! How positions stand to each other, and which of several members holds all that any of them holds. An election asks it.
//! One rule for every kind of position: what differs is the type that says what it holds.

use crate::position::Position;

/// How one position stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// They hold the same.
    Equal,
    /// The other holds all of ours and more.
    Behind,
    /// Ours holds all of the other and more.
    Ahead,
    /// Each holds something that the other does not, or the same place holds different things.
    Diverged,
}

impl Standing {
    /// From who holds whom.
    #[must_use]
    pub const fn from_holding(ours_holds: bool, theirs_holds: bool) -> Self {
        match (ours_holds, theirs_holds) {
            (true, true) => Self::Equal,
            (true, false) => Self::Ahead,
            (false, true) => Self::Behind,
            (false, false) => Self::Diverged,
        }
    }

    /// The same, seen from the other.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::Behind => Self::Ahead,
            Self::Ahead => Self::Behind,
            Self::Diverged => Self::Diverged,
        }
    }
}

/// A position that says what it holds.
pub trait Held: Clone {
    /// Whether it holds all that `other` holds.
    #[must_use]
    fn holds(&self, other: &Self) -> bool;

    /// A position that holds what both hold: retrieved with executed. `None`: no log can hold both.
    #[must_use]
    fn join(&self, other: &Self) -> Option<Self>;
}

impl Held for Position {
    fn holds(&self, other: &Self) -> bool {
        Self::holds(self, other)
    }

    fn join(&self, other: &Self) -> Option<Self> {
        if Self::holds(self, other) { Some(self.clone()) } else { Self::holds(other, self).then(|| other.clone()) }
    }
}

/// Who of several members reaches furthest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Furthest<M> {
    /// These hold all that any of the members holds; each of them may be promoted. Empty only when nobody was asked.
    Hold(Vec<M>),
    /// Nobody holds everything. None of these is held by another: they must be merged, or one side given up.
    Scattered(Vec<M>),
}

/// Who holds all that any of the members holds. Hand in what each has received and executed together
/// ([`Held::join`]): what only waits to be applied counts as held.
#[must_use]
pub fn furthest<M: Clone, P: Held>(members: &[(M, P)]) -> Furthest<M> {
    let name = |(member, _): &(M, P)| member.clone();
    let holds_all = |(_, held): &&(M, P)| members.iter().all(|(_, other)| held.holds(other));
    let all: Vec<M> = members.iter().filter(holds_all).map(name).collect();
    if members.is_empty() || !all.is_empty() {
        return Furthest::Hold(all);
    }
    let beaten = |held: &P| members.iter().any(|(_, other)| !held.holds(other) && other.holds(held));
    Furthest::Scattered(members.iter().filter(|(_, held)| !beaten(held)).map(name).collect())
}
