//! Which fault comes when, to whom: all of it from the seed and the fault's number, so that a leg can be run again alone.
//! Pure. What a fault does is the lab's.

use dauphin_lab::FaultKind;
use serde::{Deserialize, Serialize};

/// Numbers from a seed (SplitMix64, Steele and others, 2014): the same on every machine, for ever.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// For this fault of this seed.
    #[must_use]
    pub fn of(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low).max(1)
    }

    /// This often of 100.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.between(0, 100) < chance
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.between(0, of.len().max(1) as u64);
        of.get(usize::try_from(index).unwrap_or_default())
    }
}

/// Whom a fault is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The leader of the moment.
    Leader,
    /// A replica: the n-th of those there are, modulo their number.
    Replica(u64),
}

/// One fault to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its number in the series, from 1.
    pub number: u64,
    /// Its kind's name.
    pub kind: &'static str,
    /// Its kind.
    pub fault: FaultKind,
    /// To whom.
    pub whom: Whom,
    /// Quiet before it, in milliseconds.
    pub pause_ms: u64,
    /// How long it lasts before it is healed, in milliseconds.
    pub lasts_ms: u64,
    /// A second one at the same time, to whom and when after the first.
    pub also: Option<(&'static str, FaultKind, Whom, u64)>,
}

/// The fault of this number. `kinds` are those that can be made here.
#[must_use]
pub fn planned(seed: u64, number: u64, kinds: &[&'static str]) -> Option<Planned> {
    let mut dice = Dice::of(seed, number);
    let of = |dice: &mut Dice| {
        let name = *dice.one(kinds)?;
        let kind = FaultKind::NAMES.iter().find(|(known, _)| *known == name)?.1;
        let whom = if dice.percent(50) { Whom::Leader } else { Whom::Replica(dice.between(0, 100)) };
        Some((name, kind, whom))
    };
    let (kind, fault, whom) = of(&mut dice)?;
    let pause_ms = dice.between(300, 2_500);
    // most are over soon: what takes hold does so within two seconds or three
    let longest = if dice.percent(70) { 4_000 } else { 9_000 };
    let lasts_ms = dice.between(500, longest);
    // a fifth of them come in pairs: then a majority may be gone for a while
    let also = dice.percent(20).then(|| of(&mut dice)).flatten();
    let also = also.map(|(kind, fault, whom)| (kind, fault, whom, dice.between(0, 1_500)));
    Some(Planned { number, kind, fault, whom, pause_ms, lasts_ms, also })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_one_schedule_and_draws_everything() {
        let kinds: Vec<&'static str> = FaultKind::NAMES.iter().map(|(name, _)| *name).collect();
        let of = |seed| (1..=300).map(|n| planned(seed, n, &kinds).unwrap()).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let drawn: BTreeSet<&str> = of(7).iter().map(|p| p.kind).collect();
        assert_eq!(drawn.len(), kinds.len());
        let leaders = of(7).iter().filter(|p| p.whom == Whom::Leader).count();
        let pairs = of(7).iter().filter(|p| p.also.is_some()).count();
        assert!((100..200).contains(&leaders) && (30..90).contains(&pairs), "{leaders} {pairs}");
        assert_eq!(planned(1, 1, &[]), None);
    }
}
