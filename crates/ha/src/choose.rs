//! The end of an election: what revokes the old leader, who wins by history, position, priority and zone, and the one
//! compare-and-set that decides. It never promotes anybody.

use crate::core::Core;
use crate::elect::{Answer, Campaign, Kind, Phase};
use crate::message::Message;
use crate::reason::Reason;
use crate::roles::Role;
use crate::step::StoreTxn;
use crate::variant::Variant;
use dauphin_model::sync_set::answers_for;
use dauphin_model::{
    Evidence, Leadership, LeadershipState, MemberName, Position, Published, Run, Span, Term, Timeline, Voter,
};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// How long an elector waits for further answers once it has enough: a better placed winner may be among them.
const GRACE: Span = Span::ms(150);

/// What speaks for a candidate beside its log.
struct Merits {
    /// It was asked for.
    wanted: bool,
    priority: u32,
    /// It stands where the leader before stood: clients are near.
    same_zone: bool,
    /// Bytes that it has to replay before it can be promoted; as many as can be where that is not known.
    replay_behind: u64,
}

impl Merits {
    /// Decides between logs that are the same: the zone, then who is promoted sooner.
    fn among_equals(&self) -> (bool, std::cmp::Reverse<u64>) {
        (self.same_zone, std::cmp::Reverse(self.replay_behind))
    }
}

impl Core {
    /// The order in which logs are preferred.
    pub(crate) fn rank(&self, a: &Position, b: &Position) -> Ordering {
        if self.broken(Variant::IgnoreBranch) { a.lsn.cmp(&b.lsn) } else { a.rank(b) }
    }

    /// Chooses the winner by history and position, then zone and replay lag; has a member of higher priority, or one that was
    /// asked for by name, catch up first.
    pub(crate) fn choose(&mut self, campaign: &Campaign, record: &Leadership, evidence: Evidence) {
        let may_catch_up = self.now.since(self.open_since(campaign)) < self.spec.profile.suspect().times(4);
        if campaign.catching_up.is_some() && may_catch_up {
            return;
        }
        let beside = self.held_aside(campaign);
        // what a person gives up, whatever the votes say
        let gives_up = matches!(campaign.kind, Kind::Forced { allow_data_loss: true });
        let evidence = if gives_up && beside.is_some() { Evidence::DataLossAccepted } else { evidence };
        let needs_all = beside.is_some() && !self.knows_without_those(campaign, record, &evidence);
        let heeded =
            |v: &Voter, a: &Answer| a.position.timeline <= record.timeline && (needs_all || !self.is_aside(v, a));
        let heard: Vec<(&Voter, &Answer)> = campaign.answers.iter().filter(|(v, a)| heeded(v, a)).collect();
        let Some(best) = heard.iter().map(|(_, a)| &a.position).max_by(|a, b| self.rank(a, b)).cloned() else {
            if beside.is_some() {
                self.while_too_few(campaign, record);
            }
            return;
        };
        let wanted = match &campaign.kind {
            Kind::HandOver(to) => to.clone(),
            Kind::Forced { .. } => Some(self.me.clone()),
            // a switchover that lost its leader half-way: among equals, whom that leader had chosen
            Kind::Automatic => self.store.intent.as_ref().and_then(|i| i.to.clone()).filter(|to| {
                heard.iter().any(|(v, a)| v.name == *to && self.rank(&a.position, &best) == Ordering::Equal)
            }),
        };
        let furthest = |a: &Answer| self.rank(&a.position, &best) == Ordering::Equal;
        // it holds that much, or can have it from who does
        let comes_to_best = |v: &Voter, a: &Answer| {
            furthest(a) || heard.iter().any(|(source, b)| furthest(b) && self.reads_from(&source.name, &v.name))
        };
        let deposed = |v: &Voter, a: &Answer| a.holder && v.name == self.me && self.server.run != Run::Running;
        let mut able: Vec<(&Voter, &Answer)> = heard
            .iter()
            .copied()
            .filter(|(v, a)| {
                self.spec.member(&v.name).is_some_and(dauphin_model::MemberSpec::may_lead)
                    && (!deposed(v, a) || self.broken(Variant::WinInPlace))
                    && !self.is_aside(v, a)
                    && comes_to_best(v, a)
            })
            .collect();
        let merits = |v: &Voter| self.merits(v, wanted.as_ref(), &record.leader.name);
        able.sort_by(|(va, a), (vb, b)| {
            let (first, then) = (merits(va), merits(vb));
            let asked = (then.wanted, then.priority).cmp(&(first.wanted, first.priority));
            let by_log = || self.rank(&b.position, &a.position);
            asked
                .then_with(by_log)
                .then_with(|| then.among_equals().cmp(&first.among_equals()))
                .then_with(|| va.cmp(vb))
        });
        let Some((winner, answer)) = able.first().copied() else {
            if beside.is_some() {
                self.while_too_few(campaign, record);
            }
            return;
        };
        let (winner, answer) = (winner.clone(), answer.clone());
        if self.rank(&answer.position, &best) == Ordering::Less {
            let source = heard.iter().find(|(v, a)| {
                let readable = self.reads_from(&v.name, &winner.name);
                furthest(a) && readable && !deposed(v, a) && !self.is_aside(v, a)
            });
            if let Some((source, _)) = source
                && campaign.catching_up.is_none()
                && may_catch_up
            {
                let (from, best) = (source.name.clone(), best.clone());
                if let Some(c) = &mut self.campaign {
                    c.catching_up = Some(winner.clone());
                }
                self.ask_catch_up(&winner.name, campaign.term, from, best);
                return;
            }
            let fallback = able.iter().find(|(_, a)| furthest(a));
            let Some((winner, answer)) = fallback.map(|(v, a)| ((*v).clone(), (*a).clone())) else {
                self.while_too_few(campaign, record);
                return;
            };
            self.decide_for(campaign, record, winner, answer.position, evidence);
            return;
        }
        self.decide_for(campaign, record, winner, answer.position, evidence);
    }

    /// Whether nobody may lead with this log or receive from it: it vouches for what leaders wrote in it, and that is all.
    fn is_aside(&self, voter: &Voter, answer: &Answer) -> bool {
        answer.stray || self.outgrown_by(&voter.name).is_some()
    }

    /// Who vouches for more than any other holds, in a log that is no use but for that.
    fn held_aside(&self, campaign: &Campaign) -> Option<(Voter, Answer)> {
        let furthest = |aside: bool| {
            let of = campaign.answers.iter().filter(move |(v, a)| self.is_aside(v, a) == aside);
            of.max_by(|(_, a), (_, b)| self.rank(&a.position, &b.position))
        };
        let (voter, held) = furthest(true)?;
        let more = furthest(false).is_none_or(|(_, a)| self.rank(&a.position, &held.position) == Ordering::Less);
        more.then(|| (voter.clone(), held.clone()))
    }

    /// Whether everything acknowledged is with the others, whatever such members hold besides: enough others answered, or
    /// nothing was promised.
    fn knows_without_those(&self, campaign: &Campaign, record: &Leadership, evidence: &Evidence) -> bool {
        let mut others = campaign.clone();
        others.answers.retain(|voter, answer| !self.is_aside(voter, answer));
        match evidence {
            Evidence::DataLossAccepted | Evidence::Bootstrap => true,
            // nothing was promised; what an older member lacks of a newer one is given up by a person, and by nobody else
            Evidence::LeaseEnded => {
                let most = others.answers.values().map(|a| &a.position).max_by(|a, b| self.rank(a, b));
                let more = |a: &Answer| most.is_none_or(|most| self.rank(most, &a.position) == Ordering::Less);
                !campaign.answers.iter().any(|(v, a)| !a.stray && self.is_aside(v, a) && more(a))
            }
            Evidence::FencedLeader { .. } | Evidence::Frozen { .. } => {
                !matches!(self.revoked(&others, record), None | Some(Evidence::DataLossAccepted))
            }
        }
    }

    /// What speaks for a member beside its log. `before`: the leader that it would follow.
    fn merits(&self, voter: &Voter, wanted: Option<&MemberName>, before: &MemberName) -> Merits {
        let member = self.spec.member(&voter.name);
        let zone = |name| self.spec.member(name).and_then(|m| m.zone.as_ref());
        let behind = if voter.name == self.me {
            self.replay_behind()
        } else {
            self.beat_of(&voter.name).map_or(u64::MAX, |b| b.replay_behind)
        };
        Merits {
            wanted: wanted == Some(&voter.name),
            priority: member.map_or(0, |m| m.priority),
            same_zone: zone(&voter.name).is_some() && zone(&voter.name) == zone(before),
            replay_behind: behind,
        }
    }

    pub(crate) fn ask_catch_up(&mut self, who: &MemberName, term: Term, from: MemberName, until: Position) {
        if *who == self.me {
            let me = self.me.clone();
            self.on_catch_up(&me, term, from, until);
        } else {
            self.send(who, Message::CatchUp { term, from, until });
        }
    }

    /// One compare-and-set decides.
    pub(crate) fn decide_for(
        &mut self,
        campaign: &Campaign,
        record: &Leadership,
        winner: Voter,
        position: Position,
        evidence: Evidence,
    ) {
        let seen = campaign.answers.values().map(|a| a.position.timeline).max().unwrap_or_default();
        let used = if self.broken(Variant::ReuseTimeline) { position.timeline } else { record.timeline.max(seen) };
        let timeline: Timeline = used.next();
        let others = campaign
            .answers
            .iter()
            .filter(|(v, _)| **v != winner)
            .map(|(v, a)| (v.clone(), a.position.clone()))
            .collect();
        if evidence == Evidence::DataLossAccepted || evidence == Evidence::LeaseEnded {
            let held_by = record.published.voters.iter().chain(record.holder.as_ref());
            let more = |(v, answer): (&Voter, &Answer)| {
                self.is_aside(v, answer) && self.rank(&position, &answer.position) == Ordering::Less
            };
            let given_up = |v: &&Voter| campaign.answers.get_key_value(*v).is_none_or(more);
            let held_by = held_by.filter(given_up).cloned().collect();
            self.journal(Reason::RangeAtRisk { term: campaign.term, from: position.lsn, to: None, held_by });
        }
        self.journal(Reason::Decided {
            term: campaign.term,
            leader: winner.clone(),
            position,
            others,
            evidence: evidence.clone(),
        });
        let lease = (evidence == Evidence::LeaseEnded).then_some(self.store.lease_rev);
        let published = self.published_with_decision(campaign, record, &winner);
        let chosen = Leadership {
            term: campaign.term,
            leader: winner,
            timeline,
            state: LeadershipState::Elected,
            published,
            holder: record.holder.clone(),
            evidence,
            switch: None,
        };
        let op = self.commit(StoreTxn {
            expect_leadership: (!self.broken(Variant::DecideByTermAlone)).then_some(self.store.leadership_rev),
            expect_lease: lease,
            leadership: Some(chosen.clone()),
            // a wish is used up by the decision, whatever comes of it
            intent: Some(None),
            ..StoreTxn::default()
        });
        if let Some(c) = &mut self.campaign {
            c.phase = Phase::Decide(op);
        }
        if chosen.leader == self.voter() && self.broken(Variant::PromoteBeforeDecide) && self.role == Role::Frozen {
            self.begin_leading(&chosen);
        }
    }

    /// The set that the decision carries: the one that was published, whatever it is, until the winner has proved another.
    fn published_with_decision(&self, campaign: &Campaign, record: &Leadership, winner: &Voter) -> Published {
        if !self.broken(Variant::NewSetAtDecision) {
            return record.published.clone();
        }
        let voters: BTreeSet<Voter> = campaign.answers.keys().filter(|v| *v != winner).cloned().collect();
        let answers = answers_for(voters.len(), self.spec.required_of(voters.len()));
        Published { voters, answers, version: record.published.version.next(), ..record.published.clone() }
    }

    /// What revokes the leader before, once enough have answered.
    pub(crate) fn revoked(&self, campaign: &Campaign, record: &Leadership) -> Option<Evidence> {
        let holder = campaign.answers.iter().find(|(_, a)| a.holder).map(|(v, _)| v.clone());
        if let Some(leader) = holder {
            return Some(Evidence::FencedLeader { leader });
        }
        // nobody vouches: so it is with `async`, and for a moment after the specification has changed to something else
        if record.published.voters.is_empty() && !record.published.degraded {
            // its holder may go by another specification than we do
            let told = self.store.lease.map(|l| l.length).unwrap_or_default();
            let told = if self.broken(Variant::OwnLeaseLength) { Span::ZERO } else { told };
            let length = self.spec.profile.lease().max(told);
            let ended = self.broken(Variant::IgnoreLease) || self.now.since(self.store.lease_seen) >= length;
            return (ended && !campaign.answers.is_empty()).then_some(Evidence::LeaseEnded);
        }
        let voters: Vec<Voter> =
            campaign.answers.keys().filter(|v| record.published.voters.contains(v)).cloned().collect();
        let mut needed = record.published.answers as usize;
        if self.broken(Variant::FewerAnswers) {
            needed = needed.saturating_sub(1).max(1);
        }
        if voters.len() >= needed && needed > 0 {
            return Some(Evidence::Frozen { voters });
        }
        let forced = matches!(campaign.kind, Kind::Forced { allow_data_loss: true });
        let late = self.now.since(campaign.started) >= self.spec.profile.suspect();
        (forced && late && !campaign.answers.is_empty()).then_some(Evidence::DataLossAccepted)
    }

    /// How long further answers are worth waiting for once there are enough.
    pub(crate) fn waits_for_more(&self, campaign: &Campaign, record: &Leadership, evidence: &Evidence) -> Span {
        let out = |n: &MemberName| campaign.answers.keys().any(|v| v.name == *n) || campaign.refused.contains(n);
        let missed = |n: &MemberName| self.fresh(n) && !out(n);
        let own = !out(&self.me) && self.freezing.as_ref().is_some_and(|f| f.term == campaign.term);
        // what a former leader acknowledged with `async`, it may hold alone: it may have to start its server first
        let alone = |v: &Voter| missed(&v.name) || (v.name == self.me && !out(&self.me));
        if *evidence == Evidence::LeaseEnded && record.holder.as_ref().is_some_and(alone) {
            self.spec.profile.suspect()
        } else if own || self.others().iter().any(|n| *n != record.leader.name && missed(n)) {
            GRACE
        } else {
            Span::ZERO
        }
    }

    pub(crate) fn while_too_few(&mut self, campaign: &Campaign, record: &Leadership) {
        let (stood, open) = (self.now.since(campaign.started), self.now.since(self.open_since(campaign)));
        let over = open >= self.spec.profile.suspect().times(2) && stood >= self.patience();
        let missed = |n: &MemberName| !campaign.answers.keys().any(|v| v.name == *n) && !campaign.refused.contains(n);
        let all_heard = !self.others().iter().any(|n| *n != record.leader.name && self.fresh(n) && missed(n));
        // once everybody who is there has answered, waiting brings only those who come back
        let tell = !campaign.told && (over || (all_heard && stood >= self.spec.profile.beat()));
        if !over && !tell {
            return;
        }
        let answered: Vec<Voter> = campaign.answers.keys().cloned().collect();
        let missing: Vec<Voter> = record
            .published
            .voters
            .iter()
            .chain(record.holder.as_ref())
            .filter(|v| !campaign.answers.contains_key(v))
            .cloned()
            .collect();
        let (term, needed) = (campaign.term, record.published.answers);
        let enough = self.revoked(campaign, record).is_some();
        let too_few = Reason::TooFewAnswers { term, answered, missing, needed };
        let reason = match self.held_aside(campaign).filter(|_| enough) {
            Some((voter, Answer { position, stray: true, .. })) => Reason::HeldBesideStray { term, voter, position },
            Some((voter, Answer { position, .. })) => match self.outgrown_by(&voter.name) {
                Some(older) => Reason::HeldByNewer { term, voter, position, older },
                None => too_few,
            },
            None => too_few,
        };
        if tell {
            self.journal_of(&campaign.kind, reason.clone());
        }
        if let (false, Some(campaign)) = (over, &mut self.campaign) {
            campaign.told = true;
            return;
        }
        let kind = campaign.kind.clone();
        self.campaign = None;
        self.campaign_rest = self.now + self.spec.profile.beat() + self.turn();
        self.stood_in_vain();
        if let Kind::Forced { .. } = kind {
            self.refuse_failover(Reason::WouldLose { because: reason.to_string() });
        }
    }
}
