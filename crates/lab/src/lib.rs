//! Real clusters in a folder: files, processes and faults, for tests, the demo and people who want to try things.
//! The command line calls it. It starts and stops processes and reads what agents say; it never decides for a cluster.

mod binaries;
mod bundle;
mod clocks;
mod disks;
mod down;
mod error;
mod fault;
mod files;
mod find;
mod leftovers;
mod network;
mod options;
mod process;
mod relay;
mod show;
mod spawn;
mod state;
mod up;
mod user;

pub use bundle::{Secrets, make_private, random_word, write_private, write_public};
pub use clocks::can_have_clocks;
pub use disks::{can_have_disks, installed};
pub use down::down;
pub use error::LabError;
pub use fault::{ClockFault, DiskFault, FaultKind, Healed, Hit, LinkFault, ProcessFault, fault, heal};
pub use network::{LabNetwork, can_have_hosts};
pub use options::{Engine, Options};
pub use process::Process;
pub use relay::{Treatment, run as relay};
pub use show::{Shown, show};
pub use state::{Lab, LabMember, LabProxy, LabUser, Login};
pub use up::up;
