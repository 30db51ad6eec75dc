//! Where clients go, as this agent sees it: told to every proxy at once when it changes. It only puts together what the
//! core and the beats say.

use crate::picture::Picture;
use dauphin_ha::{Beat, Role};
use dauphin_model::{EngineKind, Fence, LeadershipState, Mono, ReplicaTarget, Route, RouteState, Run, Target};

/// The route, without its generation (the sender counts).
pub(crate) fn of(picture: &Picture, now: Mono, fences: Vec<Fence>) -> Option<Route> {
    let record = picture.store.leadership.as_ref()?;
    let target = |name| {
        let member = picture.spec.member(name)?;
        let (name, host, zone) = (member.name.clone(), member.host.clone(), member.zone.clone());
        Some(Target { member: name, host, port: member.sql_port, zone })
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
        let close = match picture.spec.engine {
            // late on purpose
            _ if m.delay.is_some() => false,
            EngineKind::Postgres => lag.is_some_and(|lag| lag <= picture.spec.read_lag_max_bytes),
            // their logs are counted in transactions, of any size: what is worth a warning serves no reads
            EngineKind::Mysql | EngineKind::Mariadb => {
                picture.lag(&m.name, now).is_some_and(|lag| lag.ms < picture.spec.alerts.lag[0].as_ms())
            }
        };
        // of this term: what it holds is the log of this leader, and not another one of the same length
        let behind = |b: &Beat| {
            b.term == record.term && b.position.as_ref().is_some_and(|p| p.timeline == record.timeline) && b.streaming
        };
        let runs = beat.is_some_and(|b| b.role == Role::Replica && b.run == Run::Running && b.serves && behind(b));
        let (target, usable) = (target(&m.name)?, close && runs);
        Some(ReplicaTarget { target, lag_bytes: lag, usable, reporting: m.reporting })
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

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_ha::StoreView;
    use dauphin_model::{ClusterFile, Evidence, Incarnation, Leadership, MemberName, Published, Term, Timeline, Voter};
    use std::collections::BTreeMap;

    fn member(name: &str, port: u16, more: &str) -> String {
        format!(
            "[[member]]\nname = \"{name}\"\nhost = \"h\"\nsql_port = {port}\napi_port = {}\nlink_port = {}\n{more}\n",
            port + 100,
            port + 200
        )
    }

    #[test]
    fn a_route_tells_where_members_stand_and_what_they_are_for() {
        let members =
            [member("m1", 1, "zone = \"a\""), member("m2", 2, "zone = \"b\"\nreporting = true"), member("m3", 3, "")];
        let file =
            ClusterFile::parse("f", &format!("[cluster]\nname = \"shop\"\n{}", members.concat())).expect("a file");
        let me = MemberName::new("m1").expect("a name");
        let leadership = Leadership {
            term: Term(1),
            leader: Voter::new(me.clone(), Incarnation(1)),
            timeline: Timeline(1),
            state: LeadershipState::Open,
            published: Published::default(),
            holder: None,
            evidence: Evidence::Bootstrap,
            switch: None,
        };
        let picture = Picture {
            me,
            role: Role::Leader,
            spec: file.spec,
            store: StoreView { leadership: Some(leadership), ..StoreView::default() },
            server: Default::default(),
            durable: Default::default(),
            beat: None,
            beat_at: None,
            others: BTreeMap::new(),
            busy: None,
            believes_up: true,
        };
        let route = of(&picture, Mono::default(), Vec::new()).expect("somebody leads");
        assert_eq!(route.leader.and_then(|leader| leader.zone).as_deref(), Some("a"));
        let replicas = route.replicas.iter().map(|replica| {
            (replica.target.member.as_str(), replica.target.zone.as_deref(), replica.reporting, replica.usable)
        });
        // Nothing was heard of them yet.
        assert_eq!(replicas.collect::<Vec<_>>(), [("m2", Some("b"), true, false), ("m3", None, false, false)]);
    }
}
