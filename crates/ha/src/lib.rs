//! The decisions of high availability: who leads, who is fenced, what the sync set is, how a member comes back.
//!
//! [`Core`] is a pure state machine: `core.step(now, event) -> steps`. The agent feeds it in production, the simulator in
//! tests; it never does I/O, never reads a clock, never rolls dice. PROTOCOL.md holds its rules, one by one.

mod beat;
mod begin;
mod choose;
mod core;
mod elect;
mod event;
mod follow;
mod freeze;
mod gone;
mod lead;
mod lease;
mod message;
mod operate;
mod reason;
pub mod roles;
mod series;
mod shared;
mod shown;
mod stall;
mod start;
mod step;
mod stuck;
mod switchover;
mod syncing;
pub mod variant;
mod vouch;
mod winner;

pub use core::{Core, Peer, StepUnderWay};
pub use event::{Command, Copying, EngineFailure, EngineOutcome, Event, PAST_MAX, Refusal, StoreResult, StoreView};
pub use message::{Beat, Leading, Message, ReplicaSeen};
pub use reason::{Gone, Reason, Told};
pub use roles::{Cause, ROWS, Role, Row};
pub use step::{Durable, EngineStep, Intent, IntentKind, OpId, Rev, Step, StoreTxn};
pub use syncing::{Move, Target, next_move};
