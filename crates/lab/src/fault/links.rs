//! Faults of the links between members with hosts of their own: packets that come in from some member are dropped before
//! anybody sees them, by a routing rule in the receiver's namespace. Clients, proxy and command line come from elsewhere
//! and are never cut. Only `ip` is needed, and connections that exist are cut like new ones.

use crate::error::LabError;
use crate::network::{INSIDE, LOCAL_RULE, Namespace};
use crate::state::{Lab, LabMember};
use dauphin_net::STORE_TOS;

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
    /// Its link carries 512 kbit/s each way, and what does not fit waits up to 400 ms: this one clients feel too.
    Slow,
}

/// The rules' numbers: one for each member and kind, before the rule that finds local addresses.
const FIRST_RULE: u32 = 100;
const KINDS: u32 = 10;

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
        };
        first_rule(victim) + kind
    }

    /// What is dropped where when it happens to the member of this index.
    fn rules(self, members: &[LabMember], victim: usize) -> Vec<Rule> {
        let Some(v) = members.get(victim) else { return Vec::new() };
        let others = members.iter().enumerate().filter(|(index, _)| *index != victim);
        let rules = |(index, other): (usize, &LabMember)| {
            let heard = |sort: String| Rule { at: victim, from: other.host.clone(), sort };
            let said = |sort: String| Rule { at: index, from: v.host.clone(), sort };
            let sql = |port: u16, side: &str| format!("ipproto tcp {side} {port}");
            match self {
                Self::Partition => vec![heard(String::new()), said(String::new())],
                Self::PartitionIn => vec![heard(String::new())],
                Self::PartitionOut => vec![said(String::new())],
                Self::Slow => Vec::new(),
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
    let rules = kind.rules(&lab.members, victim);
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
    })
}

/// Ends this member's cuts. Says whether there were any.
pub(super) fn mend(lab: &Lab, member: &LabMember) -> Result<bool, LabError> {
    if lab.network.is_none() {
        return Ok(false);
    }
    let (victim, namespaces) = hosts(lab, member)?;
    let mine = first_rule(victim)..first_rule(victim) + KINDS;
    let mut any = namespaces[victim].speed_up()?;
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
        let rules = kind.rules(&members, 0);
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
    fn every_member_and_kind_has_a_number_of_its_own() {
        let kinds = [
            LinkFault::Partition,
            LinkFault::PartitionIn,
            LinkFault::PartitionOut,
            LinkFault::ReplicationCut,
            LinkFault::StoreCut,
            LinkFault::Slow,
        ];
        let mut all: Vec<u32> = (0..7).flat_map(|v| kinds.map(|k| k.number(v))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 7 * kinds.len());
    }
}
