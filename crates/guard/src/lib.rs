//! The guard: a small process beside the agent that is the database server's parent. It kills the server before the
//! lease's deadline when the agent is dead, frozen or late. The agent uses [`Guard`]; the binary's hidden verb calls
//! [`run`]. The guard never decides who leads, never speaks to the store or the network, and never kills by name.
//!
//! The guard process itself is one thread on `poll` (and one that writes its log): it must go on when everything
//! around it hangs. Only [`client`] uses tokio, and it runs in the agent.

mod args;
pub mod client;
mod connection;
mod log;
pub mod orphan;
mod process;
pub mod protocol;
mod server;
mod socket;
mod supervise;
mod tree;
mod watchdog;

pub use args::{run, run_as};
pub use client::{Event, Guard, GuardError};
pub use protocol::{Exit, GuardDeath, Killed, OnAgentDeath, ServerSignal, StartServer, Status};
pub use supervise::{IDLE_EXIT, KILL_LEAD};

use dauphin_model::Mono;
use rustix::time::{ClockId, clock_gettime};

/// Now, on the clock that leases are counted on. It goes on while the machine sleeps; nobody can set it.
#[must_use]
pub fn boottime() -> Mono {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Mono(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}
