//! Real clusters under random faults, and whether what clients saw may be so. `make chaos` runs it: leg after leg, each on
//! a new lab, with clients that record histories, faults from a seed, and checks when all is healed. What it finds is
//! appended to a file; the report is made from that. It never helps a cluster: after the last heal it only waits.

pub mod clients;
pub mod db;
pub mod dialect;
pub mod leg;
pub mod oracles;
pub mod picture;
pub mod record;
pub mod report;
pub mod schedule;
pub mod stage;
pub mod verdict;
pub mod watch;
