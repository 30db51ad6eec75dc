//! Positions of MySQL and MariaDB, beside PostgreSQL's in [`crate::position`]: GTID sets, GTID positions, file and offset.
//! Elections, errant checks and rejoin compare them; nothing here decides what follows, and nothing trusts a byte it reads.

mod bad;
mod bytes;
mod event;
pub mod file_position;
pub mod intervals;
pub mod mariadb;
pub mod mariadb_state;
mod reader;
pub mod set;
pub mod source;
pub mod standing;

pub use bad::{BadBytes, BadText, Limit};
pub use bytes::{BYTES_MAX, INTERVALS_MAX};
pub use event::Gtid;
pub use file_position::FilePosition;
pub use intervals::{Interval, Intervals, NUMBER_MAX};
pub use mariadb::{MariaGtid, MariaPosition};
pub use mariadb_state::BinlogState;
pub use reader::TEXT_BYTES_MAX;
pub use set::GtidSet;
pub use source::{Source, Tag, Uuid};
pub use standing::{Furthest, Held, Standing, furthest};
