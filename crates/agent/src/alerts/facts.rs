//! From what the agent sees to the facts that alerts follow from. It only translates.

use super::speaker;
use crate::picture::Picture;
use crate::view;
use crate::vigil::Vigil;
use dauphin_alerts::{Facts, MemberFacts, ProxyCertificates, Standing};
use dauphin_ha::{Beat, Role};
use dauphin_model::{EngineKind, MemberSpec, Mono, Remark, Run, Span};
use dauphin_store::StoreHealth;

/// For alerts: all that this agent knows.
pub(super) fn of(
    picture: &Picture,
    now: Mono,
    health: &StoreHealth,
    vigil: &Vigil,
    proxies: ProxyCertificates,
) -> Facts {
    let mut facts = seen(picture, now, Some(vigil));
    facts.proxies = proxies;
    facts.majority = speaker::majority(health);
    for member in &mut facts.members {
        let votes = health.voters.is_empty() || health.voters.contains(&member.name);
        if health.leader.is_some() && !votes {
            member.remarks.push(Remark::NoVote { member: member.name.to_string() });
        }
    }
    facts
}

/// What is seen of the cluster itself; the store counts as well.
pub(crate) fn seen(picture: &Picture, now: Mono, vigil: Option<&Vigil>) -> Facts {
    let degraded = picture.store.leadership.as_ref().is_some_and(|r| r.published.degraded);
    Facts {
        // a first leader that is only decided has let nobody in: the cluster is being made
        made: !picture.store.past.is_empty(),
        open: view::is_open(picture),
        majority: true,
        commits_wait: !degraded && picture.leading().is_some_and(|l| l.short),
        degraded,
        paused: picture.store.paused,
        proxies: ProxyCertificates::default(),
        members: picture.spec.members.iter().map(|m| member(picture, now, vigil, m)).collect(),
    }
}

fn member(picture: &Picture, now: Mono, vigil: Option<&Vigil>, spec: &MemberSpec) -> MemberFacts {
    let (vitals, clock_off) = vigil.map(|vigil| vigil.of(&spec.name, now)).unwrap_or_default();
    let beat = picture.beat_of(&spec.name);
    MemberFacts {
        name: spec.name.clone(),
        leads: picture.store.leadership.as_ref().is_some_and(|r| r.leader.name == spec.name),
        standing: beat.map_or(Standing::Unreachable, standing),
        // of one that is gone it is told that it is down
        lag: beat.and_then(|_| picture.lag(&spec.name, now)).map(|lag| Span::ms(lag.ms)),
        // others count transactions, for which there are no limits
        lag_bytes: picture.lag_bytes(&spec.name).filter(|_| picture.spec.engine == EngineKind::Postgres),
        remarks: beat.map(|b| b.remarks.clone()).unwrap_or_default(),
        vitals,
        clock_off,
    }
}

fn standing(beat: &Beat) -> Standing {
    match view::state_of(Some(beat)) {
        _ if beat.role == Role::Quarantined => Standing::Quarantined,
        _ if beat.role == Role::Replica && beat.run == Run::Running && !beat.streaming => Standing::Unfed,
        "running" => Standing::Running,
        "rejoining" | "rewinding" => Standing::Rejoining,
        "starting" => Standing::Coming,
        "cloning" => Standing::Copying,
        down => Standing::Down(down),
    }
}
