//! Where clients go, as this agent sees it: told to every proxy at once when it changes. It only puts together what the
//! core and the beats say.

use crate::picture::Picture;
use dauphin_ha::{Beat, Role};
use dauphin_model::{Fence, LeadershipState, ReplicaTarget, Route, RouteState, Run, Target};

/// The route, without its generation (the sender counts).
pub(crate) fn of(picture: &Picture, fences: Vec<Fence>) -> Option<Route> {
    let record = picture.store.leadership.as_ref()?;
    let target = |name| {
        let member = picture.spec.member(name)?;
        Some(Target { member: member.name.clone(), host: member.host.clone(), port: member.sql_port })
    };
    let leads_here = record.leader.name == picture.me;
    let beat = picture.beat_of(&record.leader.name);
    let leading = beat.and_then(|b| b.leading.as_ref()).filter(|l| l.term == record.term);
    // the leader itself says open only once its server lets clients in
    let open = match (leads_here, leading) {
        (true, _) => picture.role == Role::Leader && leading.is_some_and(|l| l.accepting),
        (false, Some(leading)) => leading.state == LeadershipState::Open && leading.accepting,
        (false, None) => false,
    };
    let draining = leading.is_some_and(|l| l.draining);
    let replicas = picture.spec.data_members().filter(|m| m.name != record.leader.name).filter_map(|m| {
        let beat = picture.beat_of(&m.name);
        let lag = leading.and_then(|_| picture.lag_bytes(&m.name));
        let close = lag.is_some_and(|lag| lag <= picture.spec.read_lag_max_bytes);
        // of this term: what it holds is the log of this leader, and not another one of the same length
        let behind = |b: &Beat| {
            b.term == record.term && b.position.as_ref().is_some_and(|p| p.timeline == record.timeline) && b.streaming
        };
        let runs = beat.is_some_and(|b| b.role == Role::Replica && b.run == Run::Running && b.serves && behind(b));
        Some(ReplicaTarget { target: target(&m.name)?, lag_bytes: lag, usable: close && runs })
    });
    Some(Route {
        cluster: picture.spec.cluster.clone(),
        from: picture.me.clone(),
        term: record.term,
        state: if open { RouteState::Open } else { RouteState::Closed },
        leader: target(&record.leader.name),
        replicas: replicas.collect(),
        draining,
        fences,
        generation: 0,
    })
}
