//! Why a member leads, or does not: from how the cluster is, what the specification says and what the journal holds. Called by
//! `explain MEMBER`; it only reads what it is given.

use crate::journal::Entry;
use crate::why;
use dauphin_api::dto::{Cluster, Explanation, Member};
use dauphin_ha::Reason;
use dauphin_model::{EngineKind, Evidence, MemberKind, MemberSpec, Position, Voter};
use std::cmp::Ordering;

/// Decisions of the member itself that are shown beside the sentences.
const OWN_MAX: usize = 10;

/// What is asked about.
pub(crate) struct Asked<'a> {
    pub(crate) cluster: &'a Cluster,
    /// The member, in the specification and as it is.
    pub(crate) spec: &'a MemberSpec,
    pub(crate) member: &'a Member,
    /// What the specification says of the leader.
    pub(crate) leader: Option<&'a MemberSpec>,
    /// All decisions, oldest first.
    pub(crate) all: &'a [Entry],
}

impl Asked<'_> {
    /// The sentences, and the decisions that they rest on.
    pub(crate) fn explain(&self) -> Explanation {
        let decided = self.decided();
        if self.member.role == "leader" {
            let opened = self
                .all
                .iter()
                .rev()
                .find(|e| matches!(&e.reason, Reason::Opened { term, .. } if Some(term.0) == self.cluster.term));
            let why = opened.or(decided).map(|chosen| why::explanation(self.all, chosen));
            let Explanation { summary, entries } = why.unwrap_or_default();
            let summary = [format!("{} leads{}.", self.name(), self.term()), summary].join(" ");
            return Explanation { summary: summary.trim_end().to_owned(), entries };
        }
        let sentences = [Some(self.who()), self.never(), self.state(), self.health(), self.lost(decided), self.next()];
        let own = self.all.iter().filter(|e| e.member.as_str() == self.name()).rev().take(OWN_MAX);
        let mut entries: Vec<&Entry> = own.chain(decided).collect();
        entries.sort_by_key(|e| e.id);
        entries.dedup_by_key(|e| e.id);
        Explanation {
            summary: sentences.into_iter().flatten().collect::<Vec<_>>().join(" "),
            entries: entries.into_iter().map(Entry::dto).collect(),
        }
    }

    fn name(&self) -> &str {
        &self.member.name
    }

    fn term(&self) -> String {
        self.cluster.term.map(|term| format!(" in term {term}")).unwrap_or_default()
    }

    /// The decision that made the present leader.
    fn decided(&self) -> Option<&Entry> {
        let of_term =
            |e: &&Entry| matches!(&e.reason, Reason::Decided { term, .. } if Some(term.0) == self.cluster.term);
        self.all.iter().rev().find(of_term)
    }

    fn who(&self) -> String {
        match &self.cluster.leader {
            Some(leader) if self.cluster.open => {
                format!("{} does not lead: {leader} does{}.", self.name(), self.term())
            }
            Some(leader) => {
                format!("{} does not lead: {leader} is to{}, and is not open yet.", self.name(), self.term())
            }
            None => format!("{} does not lead: nobody does yet.", self.name()),
        }
    }

    /// What the specification says.
    fn never(&self) -> Option<String> {
        let why = match self.spec {
            spec if spec.kind == MemberKind::Witness => "it is a witness, without data",
            spec if spec.reporting => "it is there for reporting",
            spec if spec.delay.is_some() => "it applies late on purpose (delay)",
            spec if spec.never_leader => "the specification says never_leader",
            _ => return None,
        };
        Some(format!("It never leads: {why}."))
    }

    /// How it is, if it takes no part, with its own last word on that.
    fn state(&self) -> Option<String> {
        if self.member.state == "running" {
            return None;
        }
        let tells = |e: &&Entry| {
            let ours = e.member.as_str() == self.name();
            let says = matches!(
                e.reason,
                Reason::Fencing { .. }
                    | Reason::Quarantined { .. }
                    | Reason::Recloning { .. }
                    | Reason::Diverged { .. }
                    | Reason::StepFailed { .. }
                    | Reason::StoreRolledBack { .. }
                    | Reason::StoreWentOn { .. }
            );
            ours && says
        };
        let word = self.all.iter().rev().find(tells).map(|e| format!(" Its own last word on that: {}.", e.text()));
        let detail = self.member.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
        Some(format!("It is {}{detail}.{}", self.member.state, word.unwrap_or_default()))
    }

    /// How it is, if it is there and not well.
    fn health(&self) -> Option<String> {
        let why = self.member.health_reason.as_ref().filter(|_| self.member.health == "investigate")?;
        let seconds = self.member.health_seconds.map(|seconds| format!(", since {seconds} s ago")).unwrap_or_default();
        Some(format!("Its health is `{}`{seconds}: {why}.", self.member.health))
    }

    /// Why another one was chosen.
    fn lost(&self, decided: Option<&Entry>) -> Option<String> {
        let entry = decided?;
        let Reason::Decided { leader, position, others, evidence, .. } = &entry.reason else { return None };
        let explained = why::explanation(self.all, entry);
        if matches!(evidence, Evidence::Bootstrap) {
            return Some(format!("{} began the cluster, as the first member in the file that was there.", leader.name));
        }
        let asked = explained.entries.iter().any(|e| e.reason == "switchover_started");
        let how = if asked { "in a switchover that was asked for" } else { "in an election" };
        let chosen = format!("{} was chosen {how}.", leader.name);
        let its = others.iter().find(|(voter, _)| voter.name.as_str() == self.name());
        Some(match its {
            _ if asked => chosen,
            None => format!("{chosen} {} gave no answer to it, or none in time.", self.name()),
            Some((_, its)) => format!("{chosen} {}", self.compared(entry.engine, leader, position, its)),
        })
    }

    /// The rule that decided between two that answered.
    fn compared(&self, engine: EngineKind, leader: &Voter, position: &Position, its: &Position) -> String {
        match its.rank(position) {
            Ordering::Less => format!(
                "{}'s log reached {} then, and {}'s {}.",
                self.name(),
                engine.position(its),
                leader.name,
                engine.position(position)
            ),
            Ordering::Equal => {
                let ours = self.spec.priority;
                if let Some(theirs) = self.leader.map(|m| m.priority).filter(|theirs| ours < *theirs) {
                    format!("Their logs reached as far, and its priority is {ours}, the other's {theirs}.")
                } else {
                    "Their logs reached as far; among equals the zone of the leader before decides, then the order of the file."
                        .to_owned()
                }
            }
            Ordering::Greater => {
                let its = engine.position(its);
                format!("It had caught up with what others held first: {}'s log reached {its}.", self.name())
            }
        }
    }

    /// Whether it could take over now.
    fn next(&self) -> Option<String> {
        if self.never().is_some() || self.member.state != "running" {
            return None;
        }
        let behind = match (self.member.lag_bytes, self.member.lag_transactions) {
            (Some(0), _) | (None, Some(0)) => "has all of the leader's log".to_owned(),
            (Some(bytes), _) => format!("is {bytes} bytes behind"),
            (None, Some(count)) => format!("is {count} transactions behind"),
            (None, None) => {
                return Some(
                    "Whether it could be elected now is not known: nobody says how far it is behind.".to_owned(),
                );
            }
        };
        let vouches = match self.member.sync_state.as_deref() {
            Some("sync" | "quorum") => "it vouches for acknowledged commits",
            _ => "it does not vouch for acknowledged commits, so others come first",
        };
        Some(format!("If the leader were lost now it could be elected: it {behind}, and {vouches}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{ClusterFile, Incarnation, Lsn, MemberName, Term, Timeline};

    const FILE: &str = r#"
        [cluster]
        name = "shop"
        [[member]]
        name = "m1"
        host = "a"
        sql_port = 1
        api_port = 2
        link_port = 3
        [[member]]
        name = "m2"
        host = "b"
        priority = 50
        sql_port = 1
        api_port = 2
        link_port = 3
        [[member]]
        name = "m3"
        host = "c"
        reporting = true
        sql_port = 1
        api_port = 2
        link_port = 3
    "#;

    fn voter(name: &str) -> Voter {
        Voter::new(MemberName::new(name).expect("a name"), Incarnation(1))
    }

    fn at(lsn: u64) -> Position {
        Position::new(Timeline(2), Lsn(lsn))
    }

    fn entry(second: u64, member: &str, reason: Reason) -> Entry {
        let member = MemberName::new(member).expect("a name");
        Entry {
            id: second * 1_000_000,
            at: String::new(),
            term: Term(4),
            member,
            reason,
            engine: EngineKind::default(),
        }
    }

    fn decided(others: &[(&str, u64)], evidence: Evidence) -> Reason {
        let others = others.iter().map(|(name, lsn)| (voter(name), at(*lsn))).collect();
        Reason::Decided { term: Term(4), leader: voter("m1"), position: at(100), others, evidence }
    }

    fn frozen() -> Evidence {
        Evidence::Frozen { voters: vec![voter("m1"), voter("m2")] }
    }

    /// What is said of a member, m1 leading term 4.
    fn said(name: &str, change: impl FnOnce(&mut Member), all: &[Entry]) -> String {
        let file = ClusterFile::parse("f", FILE).expect("a file");
        let members = file.spec.members.iter().map(|m| Member {
            name: m.name.to_string(),
            role: if m.name.as_str() == "m1" { "leader" } else { "replica" }.to_owned(),
            state: "running".to_owned(),
            sync_state: Some("quorum".to_owned()),
            lag_bytes: Some(0),
            ..Member::default()
        });
        let members = members.collect();
        let cluster = Cluster { leader: Some("m1".into()), term: Some(4), open: true, members, ..Cluster::default() };
        let spec = |name: &str| file.spec.members.iter().find(|m| m.name.as_str() == name).expect("it");
        let mut member = cluster.members.iter().find(|m| m.name == name).expect("it").clone();
        change(&mut member);
        let asked = Asked { cluster: &cluster, spec: spec(name), member: &member, leader: Some(spec("m1")), all };
        asked.explain().summary
    }

    #[track_caller]
    fn check(summary: &str, parts: &[&str]) {
        let mut rest = summary;
        for part in parts {
            let found = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not next in: {summary}"));
            rest = &rest[found + part.len()..];
        }
    }

    #[test]
    fn what_decided_is_told_in_the_order_in_which_it_decides() {
        let shorter = [entry(1, "m1", decided(&[("m2", 90)], frozen()))];
        check(
            &said("m2", |_| {}, &shorter),
            &["m1 does in term 4", "in an election", "m2's log reached 0/5A", "m1's 0/64"],
        );
        let equal = [entry(1, "m1", decided(&[("m2", 100)], frozen()))];
        check(&said("m2", |_| {}, &equal), &["as far, and its priority is 50, the other's 100", "could be elected"]);
        let silent = [entry(1, "m1", decided(&[], frozen()))];
        check(&said("m2", |_| {}, &silent), &["m2 gave no answer to it"]);
        let first = [entry(1, "m1", decided(&[], Evidence::Bootstrap))];
        check(&said("m2", |_| {}, &first), &["m1 began the cluster"]);
        let to = MemberName::new("m1").expect("a name");
        let moved = [
            entry(1, "m2", Reason::SwitchoverStarted { to }),
            entry(2, "m1", decided(&[("m2", 100)], Evidence::FencedLeader { leader: voter("m2") })),
        ];
        check(&said("m2", |_| {}, &moved), &["m1 was chosen in a switchover that was asked for", "could be elected"]);
    }

    #[test]
    fn who_may_not_lead_and_who_cannot_says_so() {
        let all = [
            entry(1, "m1", decided(&[], frozen())),
            entry(2, "m2", Reason::Quarantined { because: "its disk is gone".into() }),
        ];
        let reporting = said("m3", |_| {}, &all);
        check(&reporting, &["It never leads: it is there for reporting."]);
        assert!(!reporting.contains("could be elected"), "{reporting}");
        let down = said("m2", |m| m.state = "crashed".into(), &all);
        check(&down, &["It is crashed.", "last word on that: this member needs a person: its disk is gone"]);
        assert!(!down.contains("could be elected"), "{down}");
        let late = said("m2", |m| (m.lag_bytes, m.sync_state) = (Some(4096), Some("async".into())), &all);
        check(&late, &["it is 4096 bytes behind, and it does not vouch"]);
        let untold = said("m2", |m| m.lag_bytes = None, &all);
        check(&untold, &["Whether it could be elected now is not known"]);
    }

    #[test]
    fn the_leader_is_told_why_it_leads() {
        let opened = Reason::Opened { term: Term(4), voters: Vec::new(), answers: 1 };
        let all = [entry(1, "m1", decided(&[("m2", 90)], frozen())), entry(2, "m1", opened)];
        check(&said("m1", |_| {}, &all), &["m1 leads in term 4.", "voters pledged to this term", "term 4 is open"]);
    }
}
