//! Whether and how this member's server is started as a replica, and when its data is given up because it does not. Whoever
//! thinks for a member that should run calls it; whom to follow is `follow`'s.

use crate::core::Core;
use crate::step::{EngineStep, Step};
use crate::stuck::STUCK;
use dauphin_model::{LeadershipState, Run};

/// Failed starts of the server before the data is given up.
const STARTS_MAX: u32 = 5;

impl Core {
    /// Starts the server as a replica of nobody; behind the leader, if only the leader's log makes its data whole. Says
    /// whether it runs as a replica.
    pub(crate) fn keep_running(&mut self) -> bool {
        if self.starts_behind_another() {
            self.push(Step::Fence);
            return false;
        }
        if self.starts_in_vain() {
            self.push(Step::Fence);
            self.server.run = Run::Stopped;
            self.needs_a_copy("its start came no further though the leader is well: the log it needs may be gone");
            return false;
        }
        match self.server.run {
            Run::Running if self.server.in_recovery == Some(true) => {
                // a replica that answers is consistent
                self.durable.needs = None;
                return true;
            }
            Run::Running if self.server.in_recovery == Some(false) => {
                self.push(Step::Fence);
                self.server.run = Run::Stopped;
                self.server.in_recovery = None;
            }
            Run::Stopped | Run::Crashed
                if self.engine_idle()
                    && self.is_saved()
                    && self.shutting_down.is_none()
                    && !self.reinitializing()
                    && !self.gives_way() =>
            {
                let gives_up = self.bad_starts >= STARTS_MAX && self.gives_up_starting();
                if !gives_up && let Some(step) = self.start() {
                    self.server.in_recovery = None;
                    self.server.position = None;
                    self.engine(step);
                }
            }
            Run::Hung if self.engine.is_none() => {
                let hung = self.server_hung_since.is_some_and(|s| self.now.since(s) >= self.spec.profile.suspect());
                if hung {
                    self.push(Step::Fence);
                    self.server_hung_since = None;
                }
            }
            _ => {}
        }
        false
    }

    /// How it starts; not at all while nobody leads whose log its data needs.
    fn start(&mut self) -> Option<EngineStep> {
        let Some(needs) = self.durable.needs.clone() else { return Some(EngineStep::StartDetached) };
        let Some((record, theirs)) = self.leader_to_follow() else {
            // perhaps it has received what it needs, and is needed itself
            return self.leader_gone().map(|_| EngineStep::StartDetached);
        };
        if needs.leads_into(&theirs).is_err() {
            if self.may_cut(&record) {
                let because =
                    format!("what it was rewound to, up to {needs}, came to nothing before it had received it");
                self.needs_a_copy(&because);
            }
            return None;
        }
        let (upstream, voter) = (self.upstream(&record), self.voter());
        Some(EngineStep::StartBehind { upstream, voter })
    }

    /// Whether a start is under way behind somebody who does not lead any more (or behind nobody, while somebody leads), or
    /// one that an agent before this one began behind nobody knows whom. Told once.
    fn starts_behind_another(&mut self) -> bool {
        let needs = self.durable.needs.is_some();
        let Some(under_way) = &self.engine else {
            let unknown = needs && self.server.run == Run::Starting;
            if unknown {
                self.server.run = Run::Crashed;
            }
            return unknown;
        };
        let behind = match &under_way.step {
            EngineStep::StartBehind { upstream, .. } => Some(upstream),
            EngineStep::StartDetached if needs => None,
            _ => return false,
        };
        let Some((record, _)) = self.leader_to_follow().filter(|_| !under_way.cut) else { return false };
        let wanted = self.my_spec().and_then(|m| m.follow.as_ref());
        let ours = [Some(&record.leader.name), Some(&self.upstream(&record)), wanted];
        let another = behind.is_none() || !ours.contains(&behind);
        if let Some(under_way) = &mut self.engine {
            under_way.cut |= another;
        }
        another
    }

    /// Whether the start under way behind this leader waits for log and has got none for long. Where no copy may be made it
    /// goes on waiting: what is in the way may be mended.
    fn starts_in_vain(&self) -> bool {
        let Some(under_way) = self.engine.as_ref().filter(|e| !e.cut) else { return false };
        let (EngineStep::StartBehind { .. }, Run::Starting) = (&under_way.step, self.server.run) else { return false };
        let (Some((record, _)), Some((waits, since))) = (self.leader_to_follow(), &self.starting) else { return false };
        let stuck = self.now.since(under_way.since.max(*since)) >= self.spec.profile.suspect().times(STUCK);
        stuck && waits.is_some() && self.may_cut(&record) && self.spec.allow_reclone
    }

    /// A leader that just fell lets the others take over first: its own recovery syncs the whole data directory, and
    /// what shares the disk with it would feel that. Only for a moment, and only if others vouch for what it acknowledged.
    fn gives_way(&self) -> bool {
        let fallen = self.deposed_since.is_some_and(|since| self.now.since(since) < self.spec.profile.suspect());
        let taken = self.record().is_some_and(|r| r.leader.name != self.me && r.state == LeadershipState::Open);
        let vouched = self.record().is_some_and(|r| !r.published.voters.is_empty());
        fallen && !taken && vouched && self.others().iter().any(|n| self.fresh(n))
    }

    /// Its server does not start with this data, and somebody leads whom it can be copied from. Where nobody does, it is
    /// tried on: what kept it from starting may have been its disk.
    fn gives_up_starting(&mut self) -> bool {
        let Some(record) = self.record() else { return false };
        let leader = &record.leader.name;
        if record.state != LeadershipState::Open || *leader == self.me || !self.fresh(leader) {
            return false;
        }
        self.needs_a_copy("its server does not start with this data: see its log");
        true
    }
}
