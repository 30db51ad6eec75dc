//! Health checks in the form that Patroni made common, so that existing load balancers work unchanged.
//! 200 means yes, 503 no; the body says why. Pure: the server maps paths to it.

use serde::{Deserialize, Serialize};

/// This member, as far as a load balancer cares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthView {
    /// Its name.
    pub name: String,
    /// `leader`, `replica` or `witness`.
    pub role: String,
    /// As in the cluster document.
    pub state: String,
    /// Leader, with its lease, behind the barrier: clients may write here.
    pub open: bool,
    /// The server answers queries (leader or replica).
    pub running: bool,
    /// `sync`, `quorum`, `potential`, `async` or null.
    pub sync_state: Option<String>,
    /// How far it is behind, in bytes.
    pub lag_bytes: Option<u64>,
    /// How far it may be behind and still take reads, in bytes.
    pub lag_max_bytes: u64,
    /// The agent's loop turns.
    pub alive: bool,
    /// The current term.
    pub term: Option<u64>,
}

/// What a load balancer asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// May clients write here?
    Primary,
    /// Is it a replica that takes reads?
    Replica,
    /// Does it take reads, as leader or replica?
    ReadOnly,
    /// Is it a replica that vouches for commits?
    Sync,
    /// Is it a replica that vouches in a quorum?
    Quorum,
    /// Is it a replica that vouches for nothing?
    Async,
    /// Does the server run?
    Health,
    /// Does the agent's loop turn?
    Liveness,
    /// May traffic be sent here?
    Readiness,
}

impl Check {
    /// Every check with its path.
    pub const PATHS: [(&'static str, Self); 9] = [
        ("/primary", Self::Primary),
        ("/replica", Self::Replica),
        ("/read-only", Self::ReadOnly),
        ("/sync", Self::Sync),
        ("/quorum", Self::Quorum),
        ("/async", Self::Async),
        ("/health", Self::Health),
        ("/liveness", Self::Liveness),
        ("/readiness", Self::Readiness),
    ];

    /// Whether the answer is yes. `lag` is the caller's own limit in bytes, if it gave one.
    #[must_use]
    pub fn passes(self, member: &HealthView, lag: Option<u64>) -> bool {
        let leads = member.role == "leader";
        let follows = member.role == "replica" && member.running;
        let near = |limit: u64| member.lag_bytes.is_some_and(|bytes| bytes <= limit);
        let wanted = lag.is_none_or(near);
        // with quorum durability every voter is both
        let vouches = matches!(member.sync_state.as_deref(), Some("sync" | "quorum"));
        match self {
            Self::Primary => leads && member.open,
            Self::Replica => follows && wanted,
            Self::ReadOnly => (leads && member.open) || (follows && wanted),
            Self::Sync => follows && vouches && wanted,
            Self::Quorum => follows && member.sync_state.as_deref() == Some("quorum") && wanted,
            Self::Async => follows && !vouches && wanted,
            Self::Health => member.running,
            Self::Liveness => member.alive,
            Self::Readiness => (leads && member.open) || (follows && near(lag.unwrap_or(member.lag_max_bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(role: &str, sync_state: Option<&str>) -> HealthView {
        HealthView {
            role: role.into(),
            open: role == "leader",
            running: true,
            alive: true,
            sync_state: sync_state.map(Into::into),
            lag_bytes: Some(10),
            lag_max_bytes: 100,
            ..HealthView::default()
        }
    }

    #[track_caller]
    fn check(member: &HealthView, expected: &str) {
        let yes: Vec<_> = Check::PATHS
            .iter()
            .filter(|(_, c)| c.passes(member, None))
            .map(|(p, _)| p.trim_start_matches('/'))
            .collect();
        assert_eq!(yes.join(" "), expected);
    }

    #[test]
    fn each_kind_of_member_answers_the_checks_meant_for_it() {
        check(&view("leader", None), "primary read-only health liveness readiness");
        check(&HealthView { open: false, ..view("leader", None) }, "health liveness");
        check(&view("replica", Some("quorum")), "replica read-only sync quorum health liveness readiness");
        check(&view("replica", Some("sync")), "replica read-only sync health liveness readiness");
        check(&view("replica", Some("async")), "replica read-only async health liveness readiness");
        check(&view("replica", Some("potential")), "replica read-only async health liveness readiness");
        check(&HealthView { running: false, ..view("replica", None) }, "liveness");
        check(&HealthView { running: false, ..view("witness", None) }, "liveness");
    }

    #[test]
    fn a_replica_that_is_behind_is_not_ready() {
        let behind = HealthView { lag_bytes: Some(200), ..view("replica", Some("async")) };
        assert!(!Check::Readiness.passes(&behind, None));
        assert!(Check::Replica.passes(&behind, None));
        assert!(!Check::Replica.passes(&behind, Some(150)));
        assert!(!Check::Replica.passes(&HealthView { lag_bytes: None, ..behind }, Some(150)));
    }
}
