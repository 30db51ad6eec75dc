//! What servers of GTIDs do otherwise: relay logs, acknowledgements that are counted, logs that take what they lack from one
//! that parts from them, and writes on replicas.

use super::{commit, leads, log, parts, rows, stream, timeline, vouches};
use crate::story::Act::{
    Beat, Follow, Freeze, Kill, Open, PauseReplay, Promote, ResumeReplay, Start, Stop, Sync, Write, WriteByHand,
};
use crate::story::Commit::{Acknowledged, Unknown, Waits};
use crate::story::Line::{self, Do};
use crate::story::Who::{M1, M2, M3};
use crate::story::{Scenario, Stream};
use dauphin_model::EngineKind;

/// Those of this engine.
pub(super) fn scenarios(engine: EngineKind) -> Vec<Scenario> {
    let all = [
        ("a commit that waits is not acknowledged, and is there after a crash", waits_then_crash()),
        ("who counts late acknowledges nothing that it had before, and what comes next", counts_late()),
        ("what is received counts, applied or not", applier_stands()),
        ("a promotion applies what was received", promotion_applies()),
        ("a frozen replica receives nothing more", frozen()),
        ("an orderly stop sends everything to whoever is attached", orderly_stop()),
        ("a log that parts from its source's", parts_from_its_source(engine)),
        (
            "somebody writes on a replica: it vouches for what the leader wrote, and stands nowhere",
            by_hand(engine, 1, 1),
        ),
        ("somebody writes more on a replica than the leader does afterwards", by_hand(engine, 3, 1)),
        ("somebody writes less on a replica than the leader does afterwards", by_hand(engine, 1, 3)),
    ];
    let mut all: Vec<Scenario> = all.into_iter().map(|(name, lines)| Scenario { engine, name, lines }).collect();
    if engine == EngineKind::Mysql {
        let name = "two are asked for: one is not enough, and is once one is asked for";
        all.push(Scenario { engine, name, lines: two_of_two() });
    }
    all
}

fn waits_then_crash() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        Do(Freeze(M2)),
        Do(Write(M1, 2)),
        commit(2, Waits),
        rows(M1, &[1]),
        // it waits where it is written, and is sent to one that does not count all the same
        rows(M3, &[1, 2]),
        commit(2, Waits),
        Do(Kill(M1)),
        commit(2, Unknown),
        Do(Start(M1)),
        rows(M1, &[1, 2]),
        log(M2, &[1]),
        leads(M2, M1),
        timeline(M1, 3),
    ]
}

fn counts_late() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Freeze(M2)),
        Do(Write(M1, 1)),
        commit(1, Waits),
        log(M3, &[1]),
        Do(Sync(M1, vec![M3], 1)),
        stream(M3, Stream::Streams),
        commit(1, Waits),
        Do(Beat(M1)),
        commit(1, Acknowledged),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
    ]
}

fn applier_stands() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        rows(M2, &[1]),
        Do(PauseReplay(M2)),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
        rows(M2, &[1]),
        log(M2, &[1]),
        vouches(M2, &[1, 2]),
        Do(ResumeReplay(M2)),
        Do(Follow(M2, M1)),
        rows(M2, &[1, 2]),
    ]
}

fn promotion_applies() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(PauseReplay(M2)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        rows(M2, &[]),
        Do(Kill(M1)),
        Do(Freeze(M3)),
        Do(ResumeReplay(M2)),
        Do(Promote(M2, 4)),
        rows(M2, &[1]),
        log(M2, &[1]),
        timeline(M2, 4),
        leads(M3, M2),
        Do(Follow(M3, M2)),
        rows(M3, &[1]),
        timeline(M3, 4),
    ]
}

fn frozen() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        log(M2, &[1]),
        Do(Freeze(M2)),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
        log(M3, &[1, 2]),
        log(M2, &[1]),
        stream(M2, Stream::None),
        Do(Kill(M2)),
        Do(Start(M2)),
        log(M2, &[1]),
        stream(M2, Stream::None),
        Do(Follow(M2, M1)),
        log(M2, &[1, 2]),
    ]
}

fn orderly_stop() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        Do(Stop(M1)),
        log(M2, &[1]),
        log(M3, &[1]),
        Do(Start(M1)),
        leads(M1, M2),
        leads(M2, M1),
        timeline(M1, 3),
    ]
}

/// MySQL takes what it lacks behind what the source lacks, and stands nowhere then; MariaDB refuses.
fn parts_from_its_source(engine: EngineKind) -> Vec<Line> {
    let mut lines = vec![
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        log(M2, &[1]),
        log(M3, &[1]),
        Do(Kill(M1)),
        Do(Freeze(M2)),
        Do(Freeze(M3)),
        Do(Promote(M2, 4)),
        Do(Promote(M3, 6)),
        Do(Sync(M2, vec![], 0)),
        Do(Sync(M3, vec![], 0)),
        Do(Open(M2)),
        Do(Open(M3)),
        Do(Write(M2, 2)),
        Do(Write(M3, 3)),
        commit(2, Acknowledged),
        commit(3, Acknowledged),
        timeline(M2, 4),
        timeline(M3, 6),
        parts(M3, M2, &[1]),
        Do(Stop(M3)),
        Do(Start(M3)),
        Do(Follow(M3, M2)),
    ];
    match engine {
        EngineKind::Mariadb => lines.extend([stream(M3, Stream::LogParts), rows(M3, &[1, 3]), timeline(M3, 6)]),
        EngineKind::Mysql | EngineKind::Postgres => {
            lines.extend([stream(M3, Stream::Streams), rows(M3, &[1, 2, 3]), timeline(M3, 1)]);
        }
    }
    lines
}

/// So many rows by hand, and so many of the leader's behind them: MySQL applies those, and MariaDB only receives them, as their
/// numbers are taken. Either acknowledges.
fn by_hand(engine: EngineKind, errant: u32, written: u32) -> Vec<Line> {
    let (errant, written): (Vec<u32>, Vec<u32>) = ((100..100 + errant).collect(), (2..2 + written).collect());
    let mut lines = vec![Do(Sync(M1, vec![M2], 1)), Do(Write(M1, 1)), commit(1, Acknowledged), rows(M2, &[1])];
    lines.extend(errant.iter().map(|value| Do(WriteByHand(M2, *value))));
    lines.push(timeline(M2, 1));
    for value in &written {
        lines.extend([Do(Write(M1, *value)), commit(*value, Acknowledged)]);
    }
    let applied: &[u32] = if engine == EngineKind::Mariadb { &[] } else { &written };
    lines.extend([
        rows(M2, &[&[1], applied, &errant].concat()),
        timeline(M2, 1),
        vouches(M2, &[&[1], &written[..]].concat()),
    ]);
    lines
}

fn two_of_two() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2, M3], 2)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        Do(Freeze(M3)),
        Do(Write(M1, 2)),
        commit(2, Waits),
        log(M2, &[1, 2]),
        commit(2, Waits),
        Do(Sync(M1, vec![M2], 1)),
        commit(2, Acknowledged),
    ]
}
