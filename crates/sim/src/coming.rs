//! What the world is made of: one member, and the things to come. The world keeps them in its queue and lets them happen;
//! nothing here does anything by itself.

use crate::database::{Database, Record};
use crate::gtid::Heard;
use dauphin_ha::{
    Core, Durable, EngineFailure, EngineOutcome, EngineStep, Message, OpId, StoreResult, StoreTxn, StoreView,
};
use dauphin_model::{Branch, EngineKind, MemberName, Mono, Span, Timeline, Voter};
use std::collections::BTreeMap;

/// Something to come.
#[derive(Debug, Clone, Hash)]
pub(crate) enum Coming {
    Tick(usize),
    Deliver {
        to: usize,
        from: usize,
        message: Box<Message>,
    },
    Saved {
        to: usize,
        life: u64,
        durable: Durable,
        fails: Fails,
    },
    StoreResult {
        to: usize,
        life: u64,
        op: OpId,
        result: StoreResult,
    },
    StoreApply {
        op: OpId,
        from: usize,
        life: u64,
        txn: Box<StoreTxn>,
        fails: Fails,
        /// Whoever asked was told already that nobody knows.
        told: bool,
        sent: Mono,
    },
    StoreSeen(usize),
    /// Somebody keeps a copy of the store.
    StoreCopied,
    EngineEnds {
        at: usize,
        life: u64,
        db_life: u64,
        /// Which step of this member: one that a fence cut off does not end any more.
        seq: u64,
        step: EngineStep,
        fails: Fails,
    },
    /// A step's end is told that came about in another way: it was cut off by a fence.
    EngineTold {
        at: usize,
        life: u64,
        result: Box<Result<EngineOutcome, EngineFailure>>,
    },
    /// A promotion that was given up comes about after all.
    PromotesLate {
        at: usize,
        db_life: u64,
        timeline: Timeline,
    },
    BarrierEnds {
        at: usize,
        life: u64,
        db_life: u64,
        serial: u64,
    },
    Ship(usize),
    Arrive {
        at: usize,
        epoch: u64,
        db_life: u64,
        from: usize,
        records: Vec<Record>,
        history: Vec<Branch>,
        timeline: Timeline,
    },
    /// Log arrives at a replica with a relay log.
    Received {
        at: usize,
        epoch: u64,
        db_life: u64,
        /// How much of it the replica had when it was sent.
        from: usize,
        records: Vec<Record>,
        /// Where it ends in its source's log.
        end: usize,
    },
    Flushed {
        at: usize,
        db_life: u64,
        voter: Voter,
        end: usize,
    },
    Deadline {
        at: usize,
        seq: u64,
    },
    AgentReturns(usize),
    NodeThaws(usize),
    /// A member's links and its way to the store are whole again.
    Mended(usize),
    Client(usize),
    Fault,
}

/// How a step will go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fails {
    No,
    /// Before it was done: nothing is changed.
    Before,
    /// In a way that trying again does not help.
    Hopeless,
    /// It was done, and is reported failed.
    After,
    /// Not at all, but its end is told twice.
    Twice,
}

/// One member.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Node {
    pub(crate) name: MemberName,
    pub(crate) core: Option<Core>,
    pub(crate) life: u64,
    pub(crate) disk: Durable,
    pub(crate) db: Database,
    pub(crate) witness: bool,
    /// How fast its clock runs, in thousandths of true time.
    pub(crate) rate: u64,
    pub(crate) agent_paused_until: Mono,
    pub(crate) frozen_until: Mono,
    pub(crate) stalled_until: Mono,
    /// Series of its programs; 0 on PostgreSQL, where all members have one.
    pub(crate) series: u32,
    /// Until then a server of GTIDs applies nothing of what it receives.
    pub(crate) applier_stands_until: Mono,
    /// What its agent heard last of each member's log, on servers of GTIDs.
    pub(crate) heard: BTreeMap<usize, Heard>,
    pub(crate) disk_full_since: Mono,
    pub(crate) disk_full_until: Mono,
    /// The guard's deadline, in true time.
    pub(crate) deadline: Option<Mono>,
    pub(crate) deadline_seq: u64,
    pub(crate) seen: StoreView,
    /// What it saw of the store before that.
    pub(crate) seen_before: StoreView,
    pub(crate) store_cut: bool,
    pub(crate) barrier: Option<u64>,
    pub(crate) server_down_told: bool,
    /// The engine step under way.
    pub(crate) step: Option<(u64, EngineStep)>,
    pub(crate) step_seq: u64,
}

/// Clocks that run true.
pub(crate) const TRUE_RATE: u64 = 1_000;

impl Node {
    /// A member whose folders are empty.
    pub(crate) fn new(name: MemberName, kind: EngineKind, witness: bool, rate: u64) -> Self {
        Self {
            name,
            core: None,
            life: 0,
            disk: Durable::default(),
            db: Database { kind, ..Database::default() },
            witness,
            rate,
            series: u32::from(kind.has_gtids()),
            agent_paused_until: Mono(0),
            frozen_until: Mono(0),
            stalled_until: Mono(0),
            applier_stands_until: Mono(0),
            heard: BTreeMap::new(),
            disk_full_since: Mono(0),
            disk_full_until: Mono(0),
            deadline: None,
            deadline_seq: 0,
            seen: StoreView::default(),
            seen_before: StoreView::default(),
            store_cut: false,
            barrier: None,
            server_down_told: false,
            step: None,
            step_seq: 0,
        }
    }

    /// What this member's own clock shows at that moment of true time.
    pub(crate) fn clock(&self, now: Mono) -> Mono {
        Mono(now.0.saturating_mul(self.rate) / TRUE_RATE)
    }

    /// How long, in true time, until its clock shows that moment. Never too short: a guard is not early.
    pub(crate) fn until(&self, now: Mono, moment: Mono) -> Span {
        Span((moment.since(self.clock(now)).0.saturating_mul(TRUE_RATE)).div_ceil(self.rate.max(1)))
    }

    pub(crate) fn disk_is_full(&self, now: Mono) -> bool {
        now < self.disk_full_until
    }
}
