//! The scenarios. docs/simulator.md lists them.

mod commits;
mod gtids;
mod logs;

use crate::story::Line::{self, See};
use crate::story::{Commit, Look, Scenario, Seen, Standing, Stream, Who};
use dauphin_model::EngineKind;

/// Those of this engine.
#[must_use]
pub fn scenarios_of(engine: EngineKind) -> Vec<Scenario> {
    match engine {
        EngineKind::Postgres => of_postgres(),
        EngineKind::Mysql | EngineKind::Mariadb => gtids::scenarios(engine),
    }
}

/// Those of PostgreSQL.
fn of_postgres() -> Vec<Scenario> {
    let all = [
        ("a commit that waits is not acknowledged, and is there after a crash", commits::waits_then_crash()),
        ("a wait that is cancelled ends with a warning, and the commit is there", commits::cancelled()),
        ("closing ends the sessions whose commits wait", commits::closed()),
        ("two members promoted from the same point part there, and the loser goes back", logs::fork()),
        ("a replica with a commit that the new leader lacks does not stream until it went back", logs::replica_ahead()),
        (
            "a replica that heard of a timeline that came to nothing streams again once it was started anew",
            logs::heard_of_in_vain(),
        ),
        ("a promotion loses nothing that was received, replayed or not", logs::promotion_with_pending_log()),
        ("a promoted server acknowledges nothing until it is told whom to wait for", commits::promoted_waits()),
        ("while the setting changes either releases, afterwards the new one alone", commits::names_race()),
        ("what a replica said before it left does not count", commits::left_voter()),
        ("a frozen replica receives nothing more", logs::frozen()),
        ("an orderly stop ships everything to whoever is attached", logs::orderly_stop()),
        ("log that no slot keeps is gone for whoever comes back, and a copy mends it", logs::retention()),
        ("one of two: either is enough, none is not; two of two: both are needed", commits::quorum()),
    ];
    all.into_iter().map(|(name, lines)| Scenario { engine: EngineKind::Postgres, name, lines }).collect()
}

fn vouches(who: Who, values: &[u32]) -> Line {
    See(Look::Vouches(who), Seen::Values(values.to_vec()))
}

fn commit(value: u32, told: Commit) -> Line {
    See(Look::Commit(value), Seen::Commit(told))
}

fn rows(who: Who, values: &[u32]) -> Line {
    See(Look::Rows(who), Seen::Values(values.to_vec()))
}

fn log(who: Who, values: &[u32]) -> Line {
    See(Look::Log(who), Seen::Values(values.to_vec()))
}

fn timeline(who: Who, timeline: u32) -> Line {
    See(Look::Timeline(who), Seen::Timeline(timeline))
}

fn attached(who: Who, members: &[Who]) -> Line {
    See(Look::Attached(who), Seen::Members(members.to_vec()))
}

fn stream(who: Who, told: Stream) -> Line {
    See(Look::Stream(who), Seen::Stream(told))
}

fn leads(ours: Who, theirs: Who) -> Line {
    See(Look::Standing(ours, theirs), Seen::Standing(Standing::Leads))
}

fn parts(ours: Who, theirs: Who, after: &[u32]) -> Line {
    See(Look::Standing(ours, theirs), Seen::Standing(Standing::PartsAfter(after.to_vec())))
}

fn holds_all(ours: Who, theirs: Who, told: bool) -> Line {
    See(Look::HoldsAll(ours, theirs), Seen::Holds(told))
}
