//! A server's number in replication: derived from who the member is, and checked against the others'. Two servers with one
//! number drop each other's transactions as their own. Nothing is stored: the same member always has the same number.

use crate::mysql::{Refusal, Result};
use dauphin_model::{ClusterName, Voter};
use std::collections::BTreeMap;
use std::fmt;

/// `server_id`: from 1 to 4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u32);

impl ServerId {
    /// The number of a member. A new incarnation is another server: what the former one wrote is not its own.
    #[must_use]
    pub fn of(cluster: &ClusterName, voter: &Voter) -> Self {
        // FNV-1a: the same on every machine and in every build, unlike the standard library's
        let text = format!("{cluster}/{}", voter.application_name());
        let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
        Self(hash.max(1))
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Refuses members of whom two have one number. Names decide it, so it can be checked before anything is made.
    ///
    /// # Errors
    /// [`Refusal::ServerId`].
    pub fn check<'a>(cluster: &ClusterName, voters: impl IntoIterator<Item = &'a Voter>) -> Result<()> {
        let mut known: BTreeMap<Self, String> = BTreeMap::new();
        for voter in voters {
            let id = Self::of(cluster, voter);
            if let Some(one) = known.insert(id, voter.to_string()) {
                return Err(Refusal::ServerId { one, other: voter.to_string(), id: id.0 }.into());
            }
        }
        Ok(())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{Incarnation, MemberName};

    fn voter(name: &str, incarnation: u32) -> Voter {
        Voter::new(MemberName::new(name).expect("a name"), Incarnation(incarnation))
    }

    #[test]
    fn members_have_numbers_of_their_own_that_never_change() {
        let cluster = ClusterName::new("lab").expect("a name");
        let ids: Vec<u32> = (1..=3).map(|n| ServerId::of(&cluster, &voter(&format!("m{n}"), 1)).get()).collect();
        assert_eq!(ids, [1_237_293_097, 2_511_062_852, 1_926_399_903], "written down in binary logs: they must stay");
        assert_ne!(ServerId::of(&cluster, &voter("m1", 2)).get(), ids[0], "another incarnation");
        assert!(ServerId::check(&cluster, &[voter("m1", 1), voter("m2", 1)]).is_ok());
        let said = ServerId::check(&cluster, &[voter("m1", 1), voter("m1", 1)]).expect_err("twice").to_string();
        assert!(said.contains("both have server_id 1237293097"), "{said}");
    }
}
