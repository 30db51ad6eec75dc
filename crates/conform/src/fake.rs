//! Carries a scenario out on the simulator's fake servers.

use crate::story::{Act, Commit, Line, Look, Scenario, Seen, Standing, Stream, Who};
use dauphin_ha::EngineStep;
use dauphin_model::{Enforced, EngineKind, MemberName, Timeline};
use dauphin_sim::{FakeStream, Fakes};
use std::collections::{BTreeMap, BTreeSet};

/// Three fake servers, and what the scenario knows beside them.
struct Fake {
    servers: Fakes,
    /// Where each value was written.
    written: BTreeMap<u32, Who>,
    /// Commits whose wait was cancelled.
    cancelled: BTreeSet<u32>,
    /// Who keeps no log for whom.
    no_slot: BTreeSet<(Who, Who)>,
}

/// What the looks of a scenario show on fake servers.
///
/// # Errors
/// The line that could not be carried out.
pub fn on_fakes(scenario: &Scenario) -> Result<Vec<Seen>, String> {
    let mut fake = Fake::formed(scenario.engine)?;
    let mut seen = Vec::new();
    for (at, line) in scenario.lines.iter().enumerate() {
        match line {
            Line::Do(act) => fake.act(act).map_err(|e| format!("{}, line {}: {line}: {e}", scenario.name, at + 1))?,
            Line::See(look, _) => {
                fake.servers.settle();
                seen.push(fake.look(look));
            }
        }
    }
    Ok(seen)
}

impl Fake {
    /// As the first server of a new cluster and its copies come to be.
    fn formed(engine: EngineKind) -> Result<Self, String> {
        let mut fake = Self {
            servers: Fakes::new(engine, 3),
            written: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            no_slot: BTreeSet::new(),
        };
        fake.step(Who::M1, &EngineStep::Bootstrap { timeline: Timeline(2) })?;
        fake.act(&Act::Clone(Who::M2, Who::M1))?;
        fake.act(&Act::Clone(Who::M3, Who::M1))?;
        fake.act(&Act::Stop(Who::M1))?;
        for who in Who::ALL {
            fake.act(&Act::Start(who))?;
        }
        fake.act(&Act::Promote(Who::M1, 3))?;
        fake.act(&Act::Sync(Who::M1, Vec::new(), 0))?;
        fake.act(&Act::Open(Who::M1))?;
        fake.act(&Act::Follow(Who::M2, Who::M1))?;
        fake.act(&Act::Follow(Who::M3, Who::M1))?;
        fake.servers.settle();
        Ok(fake)
    }

    fn step(&mut self, at: Who, step: &EngineStep) -> Result<(), String> {
        self.servers.step(at.index(), step).map(|_| ())
    }

    fn name(&self, who: Who) -> MemberName {
        self.servers.name(who.index())
    }

    fn set(&self, voters: &[Who], required: u32) -> EngineStep {
        let voters = voters.iter().map(|v| self.servers.voter(v.index())).collect();
        EngineStep::SetSync { enforced: Enforced { voters, required } }
    }

    fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Write(at, value) => {
                self.written.insert(*value, *at);
                let wrote = self.servers.write(at.index(), u64::from(*value));
                if wrote { Ok(()) } else { Err("no client is let in".to_owned()) }
            }
            Act::Cancel(value) => {
                let at = self.written.get(value).ok_or("it was not written")?;
                let waited = self.servers.cancel(at.index(), u64::from(*value));
                self.cancelled.insert(*value);
                if waited { Ok(()) } else { Err("it does not wait".to_owned()) }
            }
            Act::Sync(at, voters, required) => self.step(*at, &self.set(voters, *required)),
            Act::BeginSync(at, voters, required) => {
                let step = self.set(voters, *required);
                self.servers.begin(at.index(), &step);
                Ok(())
            }
            Act::Freeze(who) => {
                self.step(*who, &EngineStep::Freeze)?;
                self.last_word()
            }
            Act::Follow(who, upstream) => {
                let (upstream, voter) = (self.name(*upstream), self.servers.voter(who.index()));
                self.step(*who, &EngineStep::Follow { upstream, voter })
            }
            Act::HearOf(who, of) => {
                self.servers.hear_of(who.index(), of.index());
                Ok(())
            }
            Act::Promote(who, timeline) => {
                // whom to wait for is told later, by another step
                let (timeline, enforced) = (Timeline(*timeline), Enforced::default());
                self.step(*who, &EngineStep::Promote { timeline, enforced })
            }
            Act::Open(who) => self.step(*who, &EngineStep::OpenAccess),
            Act::Close(who) => self.step(*who, &EngineStep::CloseAccess),
            Act::Kill(who) => {
                self.servers.kill(who.index());
                self.last_word()
            }
            Act::Start(who) => self.step(*who, &EngineStep::StartDetached),
            Act::Stop(who) => {
                self.step(*who, &EngineStep::Stop)?;
                self.last_word()
            }
            Act::Rewind(who, from) => {
                let from = self.name(*from);
                self.step(*who, &EngineStep::Rewind { from })
            }
            Act::Clone(who, from) => {
                let voter = self.servers.voter(who.index());
                self.no_slot.remove(&(*from, *who));
                let from = self.name(*from);
                self.step(*who, &EngineStep::Clone { from, voter })
            }
            // of PostgreSQL the fake replays what it receives at once
            Act::PauseReplay(who) => {
                self.servers.hold_applier(who.index(), true);
                Ok(())
            }
            Act::ResumeReplay(who) => {
                self.servers.hold_applier(who.index(), false);
                Ok(())
            }
            Act::WriteByHand(who, value) => {
                self.servers.write_by_hand(who.index(), u64::from(*value));
                Ok(())
            }
            Act::Beat(who) => {
                self.servers.settle();
                self.servers.beat(who.index());
                Ok(())
            }
            Act::DropSlot(at, of) => {
                self.no_slot.insert((*at, *of));
                Ok(())
            }
            Act::Recycle(at) => {
                self.servers.settle();
                let keeps = |of: &Who| !self.no_slot.contains(&(*at, *of));
                let kept_for: Vec<usize> = at.others().filter(keeps).map(Who::index).collect();
                self.servers.recycle(at.index(), &kept_for);
                Ok(())
            }
            Act::RecycleBeyondSlots(at) => {
                self.servers.settle();
                self.servers.recycle(at.index(), &[]);
                Ok(())
            }
        }
    }

    /// What a member said last arrives before the next line, as it does on real servers, where the end of its sender is waited
    /// for. In the simulator it may come late.
    fn last_word(&mut self) -> Result<(), String> {
        self.servers.settle();
        Ok(())
    }

    fn look(&self, look: &Look) -> Seen {
        let values = |set: BTreeSet<u64>| set.into_iter().filter_map(|value| u32::try_from(value).ok()).collect();
        match look {
            Look::Commit(value) => Seen::Commit(self.commit(*value)),
            Look::Rows(who) => Seen::Values(values(self.servers.visible(who.index()))),
            Look::Log(who) => Seen::Values(values(self.servers.logged(who.index()))),
            Look::Timeline(who) => Seen::Timeline(self.servers.position(who.index()).timeline.0),
            Look::Attached(who) => {
                let attached = self.servers.attached(who.index());
                Seen::Members(Who::ALL.into_iter().filter(|w| attached.contains(&self.name(*w))).collect())
            }
            Look::Stream(who) => Seen::Stream(match self.servers.stream(who.index()) {
                FakeStream::None => Stream::None,
                FakeStream::Streams => Stream::Streams,
                FakeStream::LogGone => Stream::LogGone,
                FakeStream::LogParts => Stream::LogParts,
                FakeStream::AsksElsewhere => Stream::AsksElsewhere,
            }),
            Look::Standing(ours, theirs) => {
                let (a, b) = (self.servers.position(ours.index()), self.servers.position(theirs.index()));
                let shared = || {
                    let other = self.servers.logged(theirs.index());
                    values(self.servers.logged(ours.index()).intersection(&other).copied().collect())
                };
                Seen::Standing(a.leads_into(&b).map_or_else(|_| Standing::PartsAfter(shared()), |()| Standing::Leads))
            }
            Look::Vouches(who) => match self.servers.vouches(who.index()) {
                Some(end) => {
                    let there = |value: &&u32| self.servers.lies_before(u64::from(**value), &end);
                    Seen::Values(self.written.keys().filter(there).copied().collect())
                }
                None => Seen::Nothing("it does not say".to_owned()),
            },
            Look::HoldsAll(ours, theirs) => {
                let (a, b) = (self.servers.position(ours.index()), self.servers.position(theirs.index()));
                Seen::Holds(a.holds(&b))
            }
        }
    }

    fn commit(&self, value: u32) -> Commit {
        let waits = |at: &Who| self.servers.waits(at.index(), u64::from(value));
        if self.servers.acknowledged(u64::from(value)) {
            Commit::Acknowledged
        } else if self.cancelled.contains(&value) {
            Commit::Warned
        } else if self.written.get(&value).is_some_and(waits) {
            Commit::Waits
        } else {
            Commit::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{differences, scenarios_of};

    #[test]
    fn the_fakes_do_what_every_scenario_tells() {
        let of = |scenario: &Scenario| match on_fakes(scenario) {
            Ok(seen) => differences(scenario, "the fake", &seen),
            Err(error) => vec![error],
        };
        for engine in [EngineKind::Postgres, EngineKind::Mysql, EngineKind::Mariadb] {
            let found: Vec<String> = scenarios_of(engine).iter().flat_map(of).collect();
            assert!(found.is_empty(), "{engine:?}:\n{}", found.join("\n"));
        }
    }
}
