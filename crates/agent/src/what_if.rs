//! What would happen if something befell the cluster as this agent sees it: hands its state to the simulator, which runs the
//! same decision core, and counts how that ends. Called by the operations; nothing of it touches the live cluster.

use crate::picture::Picture;
use crate::view;
use dauphin_api::Suppose;
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_model::{MemberName, Span, Spec};
use dauphin_sim::{Blow, Condition, End, Standing, foretell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often it is simulated at most.
const DRAWS: u64 = 20;
/// How long that may take in all: a draw that has begun is still ended.
const WITHIN: Duration = Duration::from_secs(2);
/// Log that has not reached a replica's disk, in bytes, from which it counts as behind: one segment. With less it has it
/// within moments.
const BEHIND_BYTES: u64 = 16 << 20;
/// What no simulation knows.
const UNKNOWN: &str =
    "the times are simulated: detection and decisions as they are, a server's own steps as if they took milliseconds";
const NEXT: &str = "dauphin status";

/// What is simulated.
pub(crate) struct WhatIf {
    standing: Standing,
    blow: Blow,
    suppose: String,
    notes: Vec<String>,
}

impl WhatIf {
    /// The question in the simulator's terms.
    ///
    /// # Errors
    /// A name that nobody has; a cluster that is not open.
    pub(crate) fn new(picture: &Picture, cluster: &dto::Cluster, suppose: &Suppose) -> Result<Self, ApiError> {
        let (blow, suppose) = blow(picture, suppose)?;
        let Some(leader) = cluster.leader.as_deref().filter(|_| cluster.open) else {
            let text = "no leader is open, so there is nothing to lose";
            return Err(ApiError::unavailable("not_open", text, "dauphin explain"));
        };
        let leader = view::known(picture, leader)?.name.clone();
        let mut notes = Vec::new();
        let mut others = Vec::new();
        for member in cluster.members.iter().filter(|m| m.name != leader.as_str()) {
            let condition = condition(member);
            match condition {
                Condition::Follows => {}
                Condition::Behind(_) if member.state != "running" => {
                    notes.push(format!("{} is {}: it votes, and has none of the last log", member.name, member.state));
                }
                Condition::Behind(bytes) => notes.push(format!(
                    "{} is {bytes} bytes behind; how long it takes to catch up comes on top where it is waited for",
                    member.name
                )),
                Condition::Away => notes.push(format!("{} is {} and takes no part", member.name, member.state)),
            }
            others.push((view::known(picture, &member.name)?.name.clone(), condition));
        }
        if picture.store.paused {
            notes.push("automatic failover is paused".to_owned());
        }
        notes.push(UNKNOWN.to_owned());
        let standing = Standing { spec: picture.spec.clone(), leader, others, paused: picture.store.paused };
        Ok(Self { standing, blow, suppose, notes })
    }

    /// Simulates it, again and again. Takes processor time: not for the agent's own loop.
    ///
    /// # Errors
    /// The simulated cluster does not come to stand as the live one does.
    pub(crate) fn answer(self) -> Result<dto::WhatIf, ApiError> {
        let begun = Instant::now();
        let mut ends: Vec<End> = Vec::new();
        for seed in 1..=DRAWS {
            if !ends.is_empty() && begun.elapsed() > WITHIN {
                break;
            }
            let end = foretell(&self.standing, &self.blow, seed)
                .map_err(|unlike| ApiError::unavailable("unlike", format!("it cannot be foretold: {unlike}"), NEXT))?;
            ends.push(end);
        }
        Ok(dto::WhatIf {
            suppose: self.suppose,
            leader: self.standing.leader.to_string(),
            draws: count(ends.len()),
            ends: counted(ends),
            notes: self.notes,
        })
    }
}

fn blow(picture: &Picture, suppose: &Suppose) -> Result<(Blow, String), ApiError> {
    let named = |name: &String| view::known(picture, name).map(|m| m.name.clone());
    Ok(match suppose {
        Suppose::Kill(name) => (Blow::Kill(vec![named(name)?]), format!("{name} were killed")),
        Suppose::Freeze(name) => (Blow::Freeze(named(name)?), format!("{name} stood still")),
        Suppose::Zone(zone) => {
            let members = in_zone(&picture.spec, zone)?;
            let text = format!("all of zone {zone} ({}) were killed", together(&members));
            (Blow::Kill(members), text)
        }
        Suppose::CutOff(names) => {
            let members = names.iter().map(named).collect::<Result<Vec<_>, _>>()?;
            let text = format!("{} were cut off from the others", together(&members));
            (Blow::CutOff(members), text)
        }
    })
}

fn in_zone(spec: &Spec, zone: &str) -> Result<Vec<MemberName>, ApiError> {
    let is_there = |z: &String| z == zone;
    let found: Vec<MemberName> =
        spec.members.iter().filter(|m| m.zone.as_ref().is_some_and(is_there)).map(|m| m.name.clone()).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut zones: Vec<&str> = spec.members.iter().filter_map(|m| m.zone.as_deref()).collect();
    zones.sort_unstable();
    zones.dedup();
    let there =
        if zones.is_empty() { "no member has a zone".to_owned() } else { format!("there are {}", zones.join(", ")) };
    let shown: String = zone.chars().take(40).collect();
    Err(ApiError::usage("no_such_zone", format!("there is no zone {shown:?}; {there}"), "dauphin topology"))
}

fn together(members: &[MemberName]) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a member stands, by what is seen of it.
fn condition(member: &dto::Member) -> Condition {
    let behind = member.unflushed_bytes.or(member.lag_bytes).unwrap_or_default();
    match member.state.as_str() {
        "running" if behind >= BEHIND_BYTES => Condition::Behind(behind),
        "running" => Condition::Follows,
        "unreachable" => Condition::Away,
        // its agent is there
        _ => Condition::Behind(u64::MAX),
    }
}

/// The ends, each with how often it came; the most frequent first.
fn counted(ends: Vec<End>) -> Vec<dto::Foretold> {
    let mut by_leader: BTreeMap<Option<MemberName>, Vec<End>> = BTreeMap::new();
    for end in ends {
        by_leader.entry(end.leader.clone()).or_default().push(end);
    }
    let mut found: Vec<dto::Foretold> = by_leader
        .into_iter()
        .map(|(leader, ends)| {
            let mut gaps: Vec<u64> = ends.iter().filter_map(|end| end.gap).map(Span::as_ms).collect();
            gaps.sort_unstable();
            dto::Foretold {
                leader: leader.map(|name| name.to_string()),
                draws: count(ends.len()),
                gap_ms: gaps.get(gaps.len() / 2).copied(),
                gap_ms_max: gaps.last().copied(),
                lost_ms_max: ends.iter().map(|end| end.lost.as_ms()).max().unwrap_or_default(),
                because: ends.iter().find_map(|end| end.because.as_ref()).map(ToString::to_string),
            }
        })
        .collect();
    found.sort_by_key(|end| std::cmp::Reverse(end.draws));
    found
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(leader: Option<&str>, gap: u64, lost: u64) -> End {
        let leader = leader.map(|name| MemberName::new(name).expect("a name"));
        let gap = leader.is_some().then_some(Span::ms(gap));
        End { leader, gap, lost: Span::ms(lost), because: None }
    }

    #[test]
    fn ends_are_counted_and_the_frequent_one_comes_first() {
        let ends = vec![end(Some("m3"), 900, 0), end(Some("m2"), 700, 0), end(None, 0, 0), end(Some("m2"), 800, 30)];
        let found = counted(ends);
        let first = &found[0];
        assert_eq!((first.leader.as_deref(), first.draws), (Some("m2"), 2));
        assert_eq!((first.gap_ms, first.gap_ms_max, first.lost_ms_max), (Some(800), Some(800), 30));
        let nobody = found.iter().find(|end| end.leader.is_none()).expect("one end with nobody");
        assert_eq!((nobody.draws, nobody.gap_ms), (1, None));
    }

    #[test]
    fn who_is_behind_is_told_from_who_is_away() {
        let member = |state: &str, bytes| dto::Member {
            state: state.to_owned(),
            unflushed_bytes: Some(bytes),
            ..dto::Member::default()
        };
        assert_eq!(condition(&member("running", 4_096)), Condition::Follows);
        assert_eq!(condition(&member("running", 1 << 30)), Condition::Behind(1 << 30));
        assert_eq!(condition(&member("unreachable", 0)), Condition::Away);
        assert_eq!(condition(&member("rejoining", 0)), Condition::Behind(u64::MAX));
    }
}
