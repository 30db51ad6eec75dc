//! Faults of the links between members with hosts of their own: packets that come in from some member are dropped before
//! anybody sees them, by a routing rule in the receiver's namespace. Clients, proxy and command line come from elsewhere
//! and are cut by `client-cut` alone. Only `ip` is needed, and connections that exist are cut like new ones.

use crate::error::LabError;
use crate::network::{INSIDE, LOCAL_RULE, LabNetwork, Namespace};
use crate::process::{Process, lies_in};
use crate::relay::{self, Treatment};
use crate::state::{Lab, LabMember};
use dauphin_net::STORE_TOS;
use rustix::process::Signal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What can happen to a member's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// Cut off from all other members.
    Partition,
    /// Hears none of them.
    PartitionIn,
    /// None of them hears it.
    PartitionOut,
    /// Its server and theirs do not reach each other.
    ReplicationCut,
    /// Its part of the store and theirs do not reach each other.
    StoreCut,
    /// It and the next member do not reach each other; both reach everybody else.
    CutPair,
    /// Cut off from everything that is no member: clients, the proxy, the command line.
    ClientCut,
    /// A minority with it in it is cut off from the others: of five members, it and the next one.
    Split,
    /// Its connections are reset, once.
    Reset,
    /// Every packet is 50 to 90 ms later, each way, and one of a hundred is lost.
    Delay,
    /// Every packet is 2.5 s later, each way: everything arrives, and too late.
    Late,
    /// Its link carries 512 kbit/s each way, and what does not fit waits up to 400 ms: this one clients feel too.
    Slow,
}

/// The rules' numbers: one for each member and kind, before the rule that finds local addresses.
const FIRST_RULE: u32 = 100;
const KINDS: u32 = 12;

/// One rule: in this member's namespace, packets from this address are dropped, if they are of this sort.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Index of the member that does not hear.
    at: usize,
    from: String,
    sort: String,
}

impl LinkFault {
    fn number(self, victim: usize) -> u32 {
        let kind = match self {
            Self::Partition => 0,
            Self::PartitionIn => 1,
            Self::PartitionOut => 2,
            Self::ReplicationCut => 3,
            Self::StoreCut => 4,
            Self::Slow => 5,
            Self::CutPair => 6,
            Self::ClientCut => 7,
            Self::Split => 8,
            Self::Reset => 9,
            Self::Delay => 10,
            Self::Late => 11,
        };
        first_rule(victim) + kind
    }

    /// What is dropped where when it happens to the member of this index.
    fn rules(self, members: &[LabMember], victim: usize, outside: &str) -> Vec<Rule> {
        let Some(v) = members.get(victim) else { return Vec::new() };
        if self == Self::ClientCut {
            return vec![Rule { at: victim, from: outside.to_owned(), sort: String::new() }];
        }
        if matches!(self, Self::CutPair | Self::Split) {
            let count = if self == Self::CutPair { 1 } else { members.len().saturating_sub(1) / 2 };
            let side: Vec<usize> = (0..count.max(1)).map(|n| (victim + n) % members.len()).collect();
            let next = (victim + 1) % members.len();
            let far: Vec<usize> = (0..members.len())
                .filter(|other| if self == Self::CutPair { *other == next } else { !side.contains(other) })
                .collect();
            let cut = |a: usize, b: usize| Rule { at: a, from: members[b].host.clone(), sort: String::new() };
            return side.iter().flat_map(|a| far.iter().flat_map(move |b| [cut(*a, *b), cut(*b, *a)])).collect();
        }
        let others = members.iter().enumerate().filter(|(index, _)| *index != victim);
        let rules = |(index, other): (usize, &LabMember)| {
            let heard = |sort: String| Rule { at: victim, from: other.host.clone(), sort };
            let said = |sort: String| Rule { at: index, from: v.host.clone(), sort };
            let sql = |port: u16, side: &str| format!("ipproto tcp {side} {port}");
            match self {
                Self::Partition => vec![heard(String::new()), said(String::new())],
                Self::PartitionIn => vec![heard(String::new())],
                Self::PartitionOut => vec![said(String::new())],
                Self::Slow | Self::CutPair | Self::ClientCut | Self::Split | Self::Reset | Self::Delay | Self::Late => {
                    Vec::new()
                }
                Self::StoreCut => {
                    let sort = format!("tos {STORE_TOS:#x}");
                    vec![heard(sort.clone()), said(sort)]
                }
                Self::ReplicationCut => {
                    let both = |port| [sql(port, "dport"), sql(port, "sport")];
                    let theirs = both(other.sql_port).into_iter().zip(["said", "heard"]);
                    let ours = both(v.sql_port).into_iter().zip(["heard", "said"]);
                    let asked = theirs.filter(|_| !other.witness).chain(ours.filter(|_| !v.witness));
                    asked.map(|(sort, way)| if way == "said" { said(sort) } else { heard(sort) }).collect()
                }
            }
        };
        others.flat_map(rules).collect()
    }
}

fn first_rule(victim: usize) -> u32 {
    FIRST_RULE + KINDS * u32::try_from(victim).unwrap_or_default()
}

impl LinkFault {
    /// What becomes of every packet.
    fn treatment(self) -> Option<Treatment> {
        let ms = Duration::from_millis;
        match self {
            Self::Delay => Some(Treatment { delay: ms(50), jitter: ms(40), lost: 10 }),
            Self::Late => Some(Treatment { delay: ms(2_500), jitter: Duration::ZERO, lost: 0 }),
            _ => None,
        }
    }
}

/// Cuts. Says in words what.
pub(super) fn hit(lab: &Lab, member: &LabMember, kind: LinkFault) -> Result<String, LabError> {
    let (victim, namespaces) = hosts(lab, member)?;
    let number = kind.number(victim);
    for namespace in &namespaces {
        namespace.remove_rules(|n| n == number)?;
    }
    if kind == LinkFault::Slow {
        namespaces[victim].slow_down()?;
    }
    if kind == LinkFault::Reset {
        namespaces[victim].reset()?;
    }
    if let Some(treatment) = kind.treatment() {
        relay_on(lab, member, &namespaces[victim], treatment)?;
    }
    let outside = lab.network.as_ref().map(LabNetwork::outside).unwrap_or_default();
    let rules = kind.rules(&lab.members, victim, &outside);
    for (index, namespace) in namespaces.iter().enumerate() {
        let lines = rules.iter().filter(|rule| rule.at == index);
        let line =
            |rule: &Rule| format!("rule add pref {number} iif {INSIDE} from {} {} blackhole", rule.from, rule.sort);
        namespace.batch(&lines.map(line).collect::<Vec<_>>())?;
    }
    let others: Vec<&str> = lab.members.iter().filter(|m| m.name != member.name).map(|m| m.name.as_str()).collect();
    Ok(match kind {
        LinkFault::Partition => format!("cut off from {}", others.join(", ")),
        LinkFault::PartitionIn => format!("hears nothing of {}", others.join(", ")),
        LinkFault::PartitionOut => format!("is not heard by {}", others.join(", ")),
        LinkFault::ReplicationCut => "its server and the others do not reach each other".to_owned(),
        LinkFault::StoreCut => "its store and the others do not reach each other".to_owned(),
        LinkFault::Slow => "its link is slow".to_owned(),
        LinkFault::CutPair => {
            format!("it and {} do not reach each other", lab.members[(victim + 1) % lab.members.len()].name)
        }
        LinkFault::ClientCut => "cut off from whatever is no member".to_owned(),
        LinkFault::Split => "a minority with it in it is cut off from the others".to_owned(),
        LinkFault::Reset => "its connections were reset".to_owned(),
        LinkFault::Delay => "its packets are late and some are lost".to_owned(),
        LinkFault::Late => "its packets are very late".to_owned(),
    })
}

fn bridge(lab: &Lab) -> &str {
    lab.network.as_ref().map_or("", |network| network.bridge.as_str())
}

/// Leads the member's link through a process that holds every packet for a while.
fn relay_on(lab: &Lab, member: &LabMember, namespace: &Namespace, treatment: Treatment) -> Result<(), LabError> {
    relay_off(lab, member, namespace)?;
    let devices = namespace.detour(bridge(lab))?;
    let mut command = Command::new(&lab.program);
    // known by its folder later; in a group of its own, so that Ctrl-C does not end it
    command.args(relay::arguments(&devices, treatment)).current_dir(lab.member_dir(member).join("log"));
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(LabError::io("cannot start", &lab.program))?;
    super::reap(child);
    Ok(())
}

/// Ends the relay alone: its folder lies on the member's disk.
pub(super) fn leave_disk(lab: &Lab, member: &LabMember) -> Result<(), LabError> {
    match &lab.network {
        Some(network) => relay_off(lab, member, &network.namespace(member)).map(drop),
        None => Ok(()),
    }
}

/// Ends that. Says whether it was so.
fn relay_off(lab: &Lab, member: &LabMember, namespace: &Namespace) -> Result<bool, LabError> {
    let folder = lab.member_dir(member);
    let ours = |p: &Process| {
        p.arguments.get(2).is_some_and(|verb| verb == "relay")
            && p.directory.as_deref().is_some_and(|d| lies_in(d, &folder))
    };
    let relays: Vec<Process> = Process::all().into_iter().filter(ours).collect();
    relays.iter().filter_map(Process::handle).for_each(|handle| handle.signal(Signal::KILL));
    let was = namespace.straighten(bridge(lab))?;
    Ok(was || !relays.is_empty())
}

/// Ends this member's cuts. Says whether there were any.
pub(super) fn mend(lab: &Lab, member: &LabMember) -> Result<bool, LabError> {
    if lab.network.is_none() {
        return Ok(false);
    }
    let (victim, namespaces) = hosts(lab, member)?;
    let mine = first_rule(victim)..first_rule(victim) + KINDS;
    let mut any = relay_off(lab, member, &namespaces[victim])?;
    any |= namespaces[victim].speed_up()?;
    for namespace in &namespaces {
        any |= namespace.remove_rules(|number| mine.contains(&number))?;
    }
    Ok(any)
}

fn hosts(lab: &Lab, member: &LabMember) -> Result<(usize, Vec<Namespace>), LabError> {
    let Some(network) = &lab.network else {
        return Err(LabError::Usage(
            "the members of this lab share one network: faults of links need one made with `dauphin lab up --hosts`"
                .to_owned(),
        ));
    };
    let victim = lab.members.iter().position(|m| m.name == member.name).unwrap_or_default();
    Ok((victim, lab.members.iter().map(|m| network.namespace(m)).collect()))
}

const _: () = assert!(FIRST_RULE + KINDS * 7 < LOCAL_RULE, "cuts come before local addresses are found");

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u16, witness: bool) -> LabMember {
        let port = |base: u16| if witness && base == 0 { 0 } else { 1000 + base + n };
        LabMember {
            name: format!("m{n}"),
            host: format!("10.0.0.{n}"),
            sql_port: port(0),
            api_port: port(100),
            link_port: port(200),
            witness,
        }
    }

    fn of(kind: LinkFault) -> Vec<String> {
        let members = [member(1, false), member(2, false), member(3, true)];
        let rules = kind.rules(&members, 0, "10.0.0.254");
        rules.iter().map(|r| format!("m{} <- {} {}", r.at + 1, r.from, r.sort).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_slow_link_cuts_nothing() {
        assert_eq!(of(LinkFault::Slow), [""; 0]);
    }

    #[test]
    fn cuts_are_one_way_or_both_and_of_one_sort_or_all() {
        assert_eq!(of(LinkFault::PartitionIn), ["m1 <- 10.0.0.2", "m1 <- 10.0.0.3"]);
        assert_eq!(of(LinkFault::PartitionOut), ["m2 <- 10.0.0.1", "m3 <- 10.0.0.1"]);
        let both = of(LinkFault::Partition);
        assert_eq!(both.len(), 4, "{both:?}");
        let store = of(LinkFault::StoreCut);
        assert!(store.len() == 4 && store.iter().all(|rule| rule.ends_with("tos 0x10")), "{store:?}");
        let sql = of(LinkFault::ReplicationCut);
        // what asks m2's server and what it answers, and the same for m1's, which the witness may ask too
        assert_eq!(
            sql,
            [
                "m2 <- 10.0.0.1 ipproto tcp dport 1002",
                "m1 <- 10.0.0.2 ipproto tcp sport 1002",
                "m1 <- 10.0.0.2 ipproto tcp dport 1001",
                "m2 <- 10.0.0.1 ipproto tcp sport 1001",
                "m1 <- 10.0.0.3 ipproto tcp dport 1001",
                "m3 <- 10.0.0.1 ipproto tcp sport 1001",
            ]
        );
    }

    #[test]
    fn pairs_minorities_and_clients_are_cut_alone() {
        assert_eq!(of(LinkFault::CutPair), ["m1 <- 10.0.0.2", "m2 <- 10.0.0.1"]);
        assert_eq!(of(LinkFault::ClientCut), ["m1 <- 10.0.0.254"]);
        assert_eq!(of(LinkFault::Split).len(), 4, "of three, one against two");
        let five: Vec<LabMember> = (1..=5).map(|n| member(n, false)).collect();
        let split = LinkFault::Split.rules(&five, 4, "");
        assert_eq!(split.len(), 12, "two against three, both ways");
        assert!(split.iter().all(|r| r.at != 4 || r.from != "10.0.0.1"), "m5 and m1 hear each other");
    }

    #[test]
    fn every_member_and_kind_has_a_number_of_its_own() {
        let kinds = [
            LinkFault::Partition,
            LinkFault::PartitionIn,
            LinkFault::PartitionOut,
            LinkFault::ReplicationCut,
            LinkFault::StoreCut,
            LinkFault::Slow,
            LinkFault::CutPair,
            LinkFault::ClientCut,
            LinkFault::Split,
            LinkFault::Reset,
            LinkFault::Delay,
            LinkFault::Late,
        ];
        let mut all: Vec<u32> = (0..7).flat_map(|v| kinds.map(|k| k.number(v))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 7 * kinds.len());
    }
}
