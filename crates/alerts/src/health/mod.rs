//! How members and the cluster are, in five words with a reason each: healthy, investigate, repair, rejoin, failover. It follows
//! from the same facts as the alerts, so that both say the same; leading, electing and fencing are the decision core's alone.

mod care;
mod monitor;

pub use care::{Blocker, Fix, Own, Treatment};
pub use monitor::{Dated, Monitor};

use crate::facts::{Facts, MemberFacts, Standing};
use crate::finding::{age_and_bytes, shown_span};
use dauphin_model::{MemberKind, MemberName, Remark, Span, Spec};
use std::collections::BTreeMap;
use std::fmt;

/// How a member is, or the cluster; what comes later is said of the cluster before what comes earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Health {
    /// It runs and keeps up.
    #[default]
    Healthy,
    /// It is there, and something is not as it should be.
    Investigate,
    /// It is not there, and has to be brought back.
    Repair,
    /// It is coming back: it gets the leader's data.
    Rejoin,
    /// No leader lets clients in.
    Failover,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Investigate, Self::Repair, Self::Rejoin, Self::Failover];

    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Investigate => "investigate",
            Self::Repair => "repair",
            Self::Rejoin => "rejoin",
            Self::Failover => "failover",
        }
    }

    /// As a metric: 0 healthy to 4 failover.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Investigate => 1,
            Self::Repair => 2,
            Self::Rejoin => 3,
            Self::Failover => 4,
        }
    }
}

/// Why it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It leads and is open.
    Leads,
    /// It is there and votes.
    Votes,
    /// It follows and keeps up.
    Follows,
    /// All members are well.
    AllWell,
    /// Its server starts.
    Starts,
    /// It is behind.
    Behind {
        /// For how long.
        age: Option<Span>,
        /// What it has not replayed, in bytes.
        bytes: Option<u64>,
    },
    /// Its replay is paused by hand.
    ReplayPaused,
    /// Something that runs on it holds its replay up.
    HeldUp {
        /// For how long.
        held: Span,
    },
    /// It receives nothing, though a leader is open.
    ReceiverDown,
    /// It receives nothing, as there is nobody to receive from.
    NobodyToFollow,
    /// Fewer replicas than the durability needs.
    CommitsWait,
    /// Not there, in one word of `status`.
    Down(&'static str),
    /// It needs a person.
    Quarantined,
    /// It copies the leader's data.
    Copies,
    /// It goes back to where its log parts from the leader's.
    GoesBack,
    /// It is to lead, and lets nobody in yet.
    NotOpen,
    /// No leader lets clients in.
    NoLeader,
    /// That of a member.
    Of(MemberName, Box<Self>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads => write!(f, "it leads and lets clients in"),
            Self::Votes => write!(f, "it is there and votes"),
            Self::Follows => write!(f, "it follows and keeps up"),
            Self::AllWell => write!(f, "a leader lets clients in, and every member is well"),
            Self::Starts => write!(f, "its server starts"),
            Self::Behind { age, bytes } => write!(f, "it is behind: {}", age_and_bytes(*age, *bytes)),
            Self::ReplayPaused => write!(f, "its replay is paused by hand"),
            Self::HeldUp { held } => {
                write!(f, "something that runs on it has held its replay up for {}", shown_span(*held))
            }
            Self::ReceiverDown => write!(f, "it receives nothing, though a leader is there"),
            Self::NobodyToFollow => write!(f, "it waits for a leader to receive from"),
            Self::CommitsWait => write!(f, "commits wait: too few replicas are there to hold them"),
            Self::Down("unreachable") => write!(f, "nothing is heard of its agent"),
            Self::Down(state) => write!(f, "its server is {state}"),
            Self::Quarantined => write!(f, "it does not come back by itself and needs a person"),
            Self::Copies => write!(f, "it copies the leader's data"),
            Self::GoesBack => write!(f, "its log parts from the leader's, and it goes back to where it does"),
            Self::NotOpen => write!(f, "it is to lead, and lets nobody in yet"),
            Self::NoLeader => write!(f, "no leader lets clients in"),
            Self::Of(member, why) => write!(f, "{member}: {why}"),
        }
    }
}

/// What is to be said of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Of the cluster.
    pub cluster: (Health, Why),
    /// Of each member.
    pub members: BTreeMap<MemberName, (Health, Why)>,
}

/// Judges by what is known now.
#[must_use]
pub fn judge(spec: &Spec, facts: &Facts) -> Judgement {
    let members: BTreeMap<MemberName, (Health, Why)> =
        facts.members.iter().map(|one| (one.name.clone(), member(spec, facts, one))).collect();
    // the file's order, so that of several the same one is named again and again
    let worst = facts.members.iter().filter_map(|one| members.get_key_value(&one.name)).rev();
    let worst = worst.max_by_key(|(_, (health, _))| *health);
    let cluster = match worst {
        _ if !facts.open => (Health::Failover, Why::NoLeader),
        Some((name, (health, why))) if *health > Health::Investigate => {
            (*health, Why::Of(name.clone(), Box::new(why.clone())))
        }
        _ if facts.commits_wait => (Health::Investigate, Why::CommitsWait),
        Some((name, (health, why))) if *health > Health::Healthy => {
            (*health, Why::Of(name.clone(), Box::new(why.clone())))
        }
        Some(_) | None => (Health::Healthy, Why::AllWell),
    };
    Judgement { cluster, members }
}

fn member(spec: &Spec, facts: &Facts, one: &MemberFacts) -> (Health, Why) {
    let witness = spec.member(&one.name).is_some_and(|m| m.kind == MemberKind::Witness);
    match one.standing {
        Standing::Unreachable => return (Health::Repair, Why::Down("unreachable")),
        Standing::Quarantined => return (Health::Repair, Why::Quarantined),
        Standing::Down(state) => return (Health::Repair, Why::Down(state)),
        Standing::Copying => return (Health::Rejoin, Why::Copies),
        Standing::Rejoining => return (Health::Rejoin, Why::GoesBack),
        Standing::Coming if one.leads && !facts.open => return (Health::Failover, Why::NotOpen),
        Standing::Coming => return (Health::Investigate, Why::Starts),
        Standing::Unfed if facts.open => return (Health::Investigate, Why::ReceiverDown),
        Standing::Unfed => return (Health::Investigate, Why::NobodyToFollow),
        Standing::Running => {}
    }
    if witness {
        return (Health::Healthy, Why::Votes);
    }
    if one.leads {
        return if facts.open { (Health::Healthy, Why::Leads) } else { (Health::Failover, Why::NotOpen) };
    }
    if one.remarks.contains(&Remark::ReplayPaused) {
        return (Health::Investigate, Why::ReplayPaused);
    }
    if let Some(held_ms) = one.vitals.as_ref().and_then(|v| v.held_up_ms) {
        return (Health::Investigate, Why::HeldUp { held: Span::ms(held_ms) });
    }
    if spec.lag_beyond(&one.name, one.lag, one.lag_bytes).is_some() {
        return (Health::Investigate, Why::Behind { age: one.lag, bytes: one.lag_bytes });
    }
    (Health::Healthy, Why::Follows)
}
