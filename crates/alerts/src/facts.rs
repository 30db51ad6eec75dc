//! What an agent knows of the cluster, and which conditions follow from it. What it cannot know is said to be unknown: an
//! alert is not cleared because nobody can look.

use crate::condition::Kind;
use crate::finding::Finding;
use crate::vitals::{self, Vitals};
use dauphin_model::{MemberKind, MemberName, Remark, Span, Spec};

/// The cluster, as one agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// There has been a leader: before that a cluster is being made.
    pub made: bool,
    /// A leader lets clients in.
    pub open: bool,
    /// A majority of the store answers.
    pub majority: bool,
    /// Fewer replicas than the durability needs.
    pub commits_wait: bool,
    /// Published as degraded.
    pub degraded: bool,
    /// Automatic failover is off.
    pub paused: bool,
    /// Whether certificates of proxies end.
    pub proxies: ProxyCertificates,
    /// The members.
    pub members: Vec<MemberFacts>,
}

/// Whether certificates of proxies end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyCertificates {
    /// None of those that are heard.
    #[default]
    Last,
    /// Soon: the one that ends first.
    EndSoon {
        /// The name in it.
        proxy: String,
        /// Days that are left.
        days: i64,
    },
    /// One that was about to end is not heard any more.
    Unknown,
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Its server takes part.
    #[default]
    Running,
    /// It starts.
    Coming,
    /// It copies its data.
    Copying,
    /// Its server runs, and receives nothing.
    Unfed,
    /// It goes back to where its log parts from the leader's.
    Rejoining,
    /// It needs a person.
    Quarantined,
    /// Not there, in one word of `status`.
    Down(&'static str),
    /// Nothing is heard of its agent.
    Unreachable,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    /// Its name.
    pub name: MemberName,
    /// It leads.
    pub leads: bool,
    /// How it is.
    pub standing: Standing,
    /// For how long it has been behind.
    pub lag: Option<Span>,
    /// Log that it has not replayed.
    pub lag_bytes: Option<u64>,
    /// What its agent found odd.
    pub remarks: Vec<Remark>,
    /// What it tells of its machine and its server; `None`: nothing lately.
    pub vitals: Option<Vitals>,
    /// How far its wall clock is from most others', in milliseconds; `None`: not known.
    pub clock_off: Option<i64>,
}

/// Whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It does.
    Found(Finding),
    /// Nobody can say.
    Unknown,
}

/// One condition looked at. One that is not among the observations does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Which.
    pub kind: Kind,
    /// Of whom.
    pub member: Option<MemberName>,
    /// Whether it holds.
    pub seen: Seen,
}

/// What a member that is not heard could tell of itself alone.
const OWN_WORD: [Kind; 11] = [
    Kind::Quarantined,
    Kind::Diverged,
    Kind::Lag,
    Kind::ReplayPaused,
    Kind::CertificateEnds,
    Kind::SetByHand,
    Kind::SharedName,
    Kind::ReceiverDown,
    Kind::SetBack,
    Kind::Errant,
    Kind::Unacknowledged,
];
/// What its vitals tell.
const BY_VITALS: [Kind; 6] =
    [Kind::DiskFills, Kind::LogGrows, Kind::SlotIdle, Kind::SlotLost, Kind::ChecksumFailure, Kind::CertificateEnds];

/// The conditions that follow from the facts.
#[must_use]
pub fn look(spec: &Spec, facts: &Facts) -> Vec<Observation> {
    let mut out = Vec::new();
    let mut cluster = |holds: bool, finding: Finding| {
        if holds {
            out.push(Observation { kind: finding.kind(), member: None, seen: Seen::Found(finding) });
        }
    };
    cluster(facts.made && !facts.open, Finding::NoLeader);
    cluster(!facts.majority, Finding::NoMajority);
    cluster(facts.open && facts.commits_wait, Finding::CommitsWait);
    cluster(facts.majority && facts.degraded, Finding::Degraded);
    cluster(facts.majority && facts.paused, Finding::FailoverPaused);
    let running = facts.members.iter().filter(|m| !m.leads && m.standing == Standing::Running && holds_data(spec, m));
    let running = u32::try_from(running.count()).unwrap_or(u32::MAX);
    let wanted = spec.alerts.replicas_wanted(spec.data_members().count());
    cluster(facts.made && running < wanted, Finding::FewReplicas { running, wanted });
    if let ProxyCertificates::EndSoon { proxy, days } = facts.proxies.clone() {
        cluster(true, Finding::ProxyCertificateEnds { proxy, days });
    }
    let unknown = |kind| Observation { kind, member: None, seen: Seen::Unknown };
    if !facts.open {
        out.push(unknown(Kind::CommitsWait));
    }
    if facts.proxies == ProxyCertificates::Unknown {
        out.push(unknown(Kind::CertificateEnds));
    }
    if !facts.majority {
        out.extend([Kind::Degraded, Kind::FailoverPaused].map(unknown));
    }
    for one in &facts.members {
        member(spec, facts, one, &mut out);
    }
    out
}

fn holds_data(spec: &Spec, facts: &MemberFacts) -> bool {
    spec.member(&facts.name).is_some_and(|m| m.kind == MemberKind::Data)
}

fn member(spec: &Spec, facts: &Facts, one: &MemberFacts, out: &mut Vec<Observation>) {
    let mut add = |kind: Kind, seen: Seen| out.push(Observation { kind, member: Some(one.name.clone()), seen });
    let mut found = |finding: Finding| add(finding.kind(), Seen::Found(finding));
    match one.standing {
        Standing::Running | Standing::Coming | Standing::Copying => {}
        Standing::Unfed if facts.open => found(Finding::ReceiverDown),
        // from whom?
        Standing::Unfed => {}
        Standing::Rejoining => found(Finding::Diverged),
        Standing::Quarantined => found(Finding::Quarantined),
        Standing::Down(state) => found(Finding::MemberDown { state }),
        Standing::Unreachable => found(Finding::MemberDown { state: "unreachable" }),
    }
    for remark in &one.remarks {
        found(Finding::Remark(remark.clone()));
    }
    strain(spec, one.vitals.as_ref(), one.clock_off).into_iter().for_each(&mut found);
    // one that is not there falls behind: that is the same news
    let there = !matches!(one.standing, Standing::Unreachable | Standing::Down(_) | Standing::Quarantined);
    let behind = spec.lag_beyond(&one.name, one.lag, one.lag_bytes).filter(|_| !one.leads && there);
    if let Some(level) = behind {
        found(Finding::Lag { level, age: one.lag, bytes: one.lag_bytes });
    }
    if one.standing == Standing::Unfed && !facts.open {
        add(Kind::ReceiverDown, Seen::Unknown);
    }
    if one.vitals.is_none() {
        BY_VITALS.into_iter().for_each(|kind| add(kind, Seen::Unknown));
    }
    if one.clock_off.is_none() {
        add(Kind::ClockApart, Seen::Unknown);
    }
    if one.standing == Standing::Unreachable {
        OWN_WORD.into_iter().for_each(|kind| add(kind, Seen::Unknown));
    } else if behind.is_none() && !one.leads && (!facts.open || one.standing != Standing::Running) {
        // behind whom?
        add(Kind::Lag, Seen::Unknown);
    }
    if !facts.majority {
        add(Kind::NoVote, Seen::Unknown);
    }
}

/// What a member's machine and server suffer from.
#[must_use]
pub fn strain(spec: &Spec, vitals: Option<&Vitals>, clock_off: Option<i64>) -> Vec<Finding> {
    let mut found = vitals.map(|v| vitals::findings(&spec.alerts, v)).unwrap_or_default();
    let limit = i64::try_from(spec.alerts.clocks_apart.as_ms()).unwrap_or(i64::MAX);
    if let Some(ms) = clock_off.filter(|ms| ms.saturating_abs() > limit) {
        found.push(Finding::ClockApart { ms });
    }
    found
}
