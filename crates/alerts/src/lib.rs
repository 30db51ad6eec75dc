//! When people are told that something is wrong, and when that it is over: conditions, their levels, the board that remembers
//! what was told; and how members are, with what may be mended. Sans-I/O: the agent brings facts and the time, and acts.

mod alert;
mod board;
mod condition;
mod facts;
mod finding;
mod health;
mod memory;
mod notice;
mod people;
mod trend;
mod vitals;

pub use board::{Board, NOTICE_EVERY, NOTICES_BURST};
pub use condition::{Kind, NoSuchKind};
pub use facts::{Facts, MemberFacts, Observation, ProxyCertificates, Seen, Standing, look, strain};
pub use finding::Finding;
pub use health::{Blocker, Dated, Fix, Health, Judgement, Monitor, Own, Treatment, Why, judge};
pub use memory::{ALERTS_MAX, Acknowledged, KeptAlert, Memory, SILENCES_MAX, Silence};
pub use notice::{Change, Item, Notice};
pub use people::{Refused, SILENCE_MAX, SilenceWish, TEXT_CHARS_MAX};
pub use trend::Trend;
pub use vitals::{Disk, LogSize, SLOTS_MAX, Slot, Vitals, clock_off};
