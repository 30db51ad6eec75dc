//! The simulator's fake servers are held to real ones: the same scenarios run on both, and what can be observed must be
//! equal. Here are the scenarios' language, the scenarios, and what runs them on the fakes; `tests` run them on real
//! PostgreSQL, MySQL and MariaDB. Nothing here decides, and nothing of it ships.

mod fake;
mod scenarios;
mod story;

pub use fake::on_fakes;
pub use scenarios::scenarios_of;
pub use story::{Act, Commit, Line, Look, Scenario, Seen, Standing, Stream, Who, differences};
