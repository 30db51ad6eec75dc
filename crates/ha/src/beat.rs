//! What a member tells the others of itself: every beat, and at once when something that they act on changed.
//! It reports; it never decides.

use crate::core::Core;
use crate::message::{Beat, Leading, Message, ReplicaSeen};
use crate::roles::Role;
use crate::step::Step;
use dauphin_model::Away;

impl Core {
    /// Sends the beat when it is due or something changed.
    pub(crate) fn beat(&mut self) {
        let beat = self.make_beat();
        let due = match &self.last_beat {
            None => true,
            Some((sent, last)) => self.now.since(*sent) >= self.spec.profile.beat() || urgent(last, &beat),
        };
        if !due || self.role == Role::Boot {
            return;
        }
        let others: Vec<_> = self.spec.members.iter().map(|m| m.name.clone()).filter(|n| *n != self.me).collect();
        for to in others {
            self.push(Step::Send { to, message: Message::Beat(Box::new(beat.clone())) });
        }
        self.last_beat = Some((self.now, beat));
    }

    fn make_beat(&self) -> Beat {
        let record = self.record();
        let mine = record.filter(|r| r.leader.name == self.me);
        Beat {
            incarnation: self.durable.incarnation,
            role: self.role,
            term: record.map(|r| r.term).unwrap_or_default(),
            pledge: self.saved.pledge,
            refuses_store: record.is_some_and(|r| self.store_is_old(r)),
            hears_leader: record.is_some_and(|r| r.leader.name == self.me || self.hears_leading(r.term)),
            gave_up: mine.filter(|_| !self.role.leads()).map(|r| r.term),
            handing_over: self.hands_over(),
            run: self.server.run,
            position: self.frozen_log().cloned().or_else(|| self.server.position.clone()),
            received: self.server.received,
            replay_behind: self.replay_behind(),
            replay_lag_ms: self.server.replay_lag_ms,
            series: self.server.series,
            streaming: self.server.streaming.is_some(),
            pending_restart: u32::try_from(self.server.pending_restart.len()).unwrap_or(u32::MAX),
            upstream: self.following.as_ref().filter(|_| self.server.streaming.is_some()).map(|f| f.upstream.clone()),
            serves: self.server.serves,
            remarks: self.server.remarks.clone(),
            leading: self.make_leading(),
            busy: self.engine.as_ref().map(|e| match &self.copying {
                Some(copying) => format!("{}: {copying}", e.step.name()),
                None => e.step.name().to_owned(),
            }),
        }
    }

    /// How much of its log this member has still to replay, in bytes; the most there can be where it is not known.
    pub(crate) fn replay_behind(&self) -> u64 {
        match (&self.server.position, self.server.replayed) {
            (Some(p), Some(replayed)) => p.lsn.0.saturating_sub(replayed.0),
            _ => u64::MAX,
        }
    }

    fn make_leading(&self) -> Option<Leading> {
        let lead = self.lead.as_ref()?;
        let end = self.server.position.as_ref().map(|p| p.lsn);
        let replicas = self.server.attached.iter().filter_map(|a| {
            Some(ReplicaSeen {
                name: a.voter.as_ref()?.name.clone(),
                sync_state: a.sync_state.clone(),
                lag_bytes: end?.0.saturating_sub(a.replay?.0),
                unreceived_bytes: a.write.and_then(|w| Some(end?.0.saturating_sub(w.0))),
                unflushed_bytes: a.flush.and_then(|f| Some(end?.0.saturating_sub(f.0))),
                lag: a.lag.map(|lag| lag.as_of(self.now)),
                client_addr: a.client_addr.clone(),
            })
        });
        Some(Leading {
            term: lead.term,
            state: lead.state(),
            clone_ok: lead.running,
            attach: lead.attach,
            accepting: lead.access,
            draining: lead.switchover.is_some(),
            short: lead.short_since.is_some_and(|since| self.now.since(since) >= self.spec.profile.suspect()),
            replicas: replicas.collect(),
            away: self.server.away.iter().map(|a| Away { lag: a.lag.as_of(self.now), ..a.clone() }).collect(),
        })
    }
}

/// Whether others act on the difference.
fn urgent(old: &Beat, new: &Beat) -> bool {
    let timeline = |b: &Beat| b.position.as_ref().map(|p| p.timeline);
    let leading =
        |b: &Beat| b.leading.as_ref().map(|l| (l.term, l.state, l.clone_ok, l.attach, l.accepting, l.draining));
    (old.role, old.term, old.pledge, old.gave_up, old.handing_over, old.run, old.incarnation, old.streaming)
        != (new.role, new.term, new.pledge, new.gave_up, new.handing_over, new.run, new.incarnation, new.streaming)
        || (leading(old), timeline(old), old.serves) != (leading(new), timeline(new), new.serves)
}
