//! The leader's lease: renewed every beat, conditional on the record; the guard's deadline moves with it.
//! A leader whose lease ran out fences itself; nothing here waits for anything else.

use crate::core::Core;
use crate::event::StoreResult;
use crate::lead::Renewal;
use crate::step::{OpId, Step, StoreTxn};
use dauphin_model::{Lease, Mono};

impl Core {
    /// Renews when it is due; says whether the lease still holds.
    pub(crate) fn keep_lease(&mut self) -> bool {
        let (now, beat, length) = (self.now, self.spec.profile.beat(), self.spec.profile.lease());
        let rev = self.store.leadership_rev;
        let counter = self.store.lease.map_or(0, |l| l.counter);
        let Some(lead) = &mut self.lead else { return true };
        let lost = lead.granted_until.is_some_and(|until| now >= until);
        let stuck = lead.renewal.as_ref().is_some_and(|r| now.since(r.sent) >= beat.times(2));
        if lead.next_renewal <= now && (lead.renewal.is_none() || stuck) {
            lead.next_renewal = now + beat;
            lead.counter = lead.counter.max(counter) + 1;
            let lease = Lease { term: lead.term, counter: lead.counter, length };
            let until = now + length - self.spec.profile.margin();
            if lead.granted_until.is_some_and(|granted| granted > until) {
                // the specification has a shorter one now: whoever hears of it waits no longer than that
                lead.granted_until = Some(until);
                self.push(Step::Deadline(Some(until)));
            }
            let op = self.commit(StoreTxn { expect_leadership: Some(rev), lease: Some(lease), ..StoreTxn::default() });
            if let Some(lead) = &mut self.lead {
                lead.renewal = Some(Renewal { op, sent: now, length });
            }
        }
        !lost
    }

    /// Takes in how a renewal ended.
    pub(crate) fn renewed(&mut self, op: OpId, result: StoreResult) {
        let (margin, beat) = (self.spec.profile.margin(), self.spec.profile.beat());
        let now = self.now;
        let Some(lead) = &mut self.lead else { return };
        let Some(renewal) = lead.renewal.take_if(|r| r.op == op) else { return };
        match result {
            StoreResult::Committed(_) => {
                let until: Mono = renewal.sent + renewal.length - margin;
                lead.renewed = true;
                lead.granted_until = Some(until);
                self.push(Step::Deadline(Some(until)));
            }
            // our own publishing moved the record, or we are deposed: the record will tell
            StoreResult::Conflict => lead.next_renewal = now + beat.over(8),
            StoreResult::Failed | StoreResult::Unknown => lead.next_renewal = now + beat.over(4),
        }
    }
}
