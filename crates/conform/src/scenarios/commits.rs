//! When a commit is acknowledged, and when not.

use super::{attached, commit, leads, log, rows, stream, timeline};
use crate::story::Act::{BeginSync, Cancel, Close, Follow, Freeze, Kill, Open, Promote, Start, Sync, Write};
use crate::story::Commit::{Acknowledged, Unknown, Waits, Warned};
use crate::story::Line::{self, Do};
use crate::story::Stream;
use crate::story::Who::{M1, M2, M3};

pub(super) fn waits_then_crash() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        Do(Freeze(M2)),
        Do(Write(M1, 2)),
        commit(2, Waits),
        rows(M1, &[1]),
        // it waits where it is written, and is sent all the same
        rows(M3, &[1, 2]),
        Do(Kill(M1)),
        commit(2, Unknown),
        Do(Start(M1)),
        rows(M1, &[1, 2]),
        commit(2, Unknown),
        log(M2, &[1]),
        leads(M2, M1),
        // fenced, it goes on sending what it has
        attached(M1, &[M3]),
        Do(Follow(M2, M1)),
        attached(M1, &[M2, M3]),
        rows(M2, &[1, 2]),
        timeline(M2, 3),
    ]
}

pub(super) fn cancelled() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Freeze(M2)),
        Do(Write(M1, 1)),
        Do(Write(M1, 2)),
        commit(1, Waits),
        Do(Cancel(1)),
        commit(1, Warned),
        commit(2, Waits),
        rows(M1, &[1]),
        log(M2, &[]),
        // lost with its leader, as if it had never been
        Do(Kill(M1)),
        Do(Promote(M2, 4)),
        Do(Follow(M3, M2)),
        stream(M3, Stream::LogParts),
        rows(M2, &[]),
        commit(1, Warned),
        commit(2, Unknown),
    ]
}

pub(super) fn closed() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Freeze(M2)),
        Do(Write(M1, 1)),
        commit(1, Waits),
        Do(Close(M1)),
        commit(1, Unknown),
        rows(M1, &[1]),
        // what comes too late is told to nobody
        Do(Follow(M2, M1)),
        rows(M2, &[1]),
        commit(1, Unknown),
        Do(Open(M1)),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
    ]
}

pub(super) fn promoted_waits() -> Vec<Line> {
    vec![
        Do(Kill(M1)),
        Do(Promote(M2, 4)),
        Do(Open(M2)),
        Do(Follow(M3, M2)),
        attached(M2, &[M3]),
        Do(Write(M2, 1)),
        commit(1, Waits),
        log(M3, &[1]),
        Do(Sync(M2, vec![M3], 1)),
        commit(1, Acknowledged),
        Do(Sync(M2, vec![M1, M3], 2)),
        Do(Write(M2, 2)),
        commit(2, Waits),
        Do(Sync(M2, vec![], 0)),
        commit(2, Acknowledged),
    ]
}

pub(super) fn names_race() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(Freeze(M3)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        // a sender that has not taken the new setting releases by the old one
        Do(BeginSync(M1, vec![M3], 1)),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
        Do(Sync(M1, vec![M3], 1)),
        Do(Write(M1, 3)),
        commit(3, Waits),
        log(M2, &[1, 2, 3]),
        // one that has taken it releases by the new one, before it is confirmed
        Do(BeginSync(M1, vec![M2], 1)),
        commit(3, Acknowledged),
        Do(Write(M1, 4)),
        commit(4, Acknowledged),
        Do(Sync(M1, vec![M2], 1)),
        Do(Follow(M3, M1)),
        Do(Freeze(M2)),
        Do(Write(M1, 5)),
        commit(5, Waits),
        log(M3, &[1, 2, 3, 4, 5]),
        // nobody of either setting is there
        Do(Freeze(M3)),
        Do(BeginSync(M1, vec![M3], 1)),
        Do(Write(M1, 6)),
        commit(6, Waits),
        commit(5, Waits),
        Do(Sync(M1, vec![M3], 1)),
        Do(Follow(M3, M1)),
        commit(5, Acknowledged),
        commit(6, Acknowledged),
    ]
}

pub(super) fn left_voter() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M3], 1)),
        Do(Freeze(M3)),
        Do(Write(M1, 1)),
        commit(1, Waits),
        log(M2, &[1]),
        // it has the commit, and nobody speaks for it any more
        Do(Freeze(M2)),
        attached(M1, &[]),
        Do(Sync(M1, vec![M2], 1)),
        commit(1, Waits),
        Do(Follow(M2, M1)),
        commit(1, Acknowledged),
        Do(Sync(M1, vec![M2, M3], 2)),
        Do(Write(M1, 2)),
        commit(2, Waits),
        log(M2, &[1, 2]),
        Do(Kill(M2)),
        Do(Follow(M3, M1)),
        log(M3, &[1, 2]),
        commit(2, Waits),
        Do(Start(M2)),
        log(M2, &[1, 2]),
        commit(2, Waits),
        Do(Follow(M2, M1)),
        commit(2, Acknowledged),
    ]
}

pub(super) fn quorum() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2, M3], 1)),
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        Do(Freeze(M2)),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
        Do(Follow(M2, M1)),
        log(M2, &[1, 2]),
        Do(Kill(M3)),
        Do(Write(M1, 3)),
        commit(3, Acknowledged),
        Do(Freeze(M2)),
        Do(Write(M1, 4)),
        commit(4, Waits),
        rows(M1, &[1, 2, 3]),
        Do(Start(M3)),
        commit(4, Waits),
        Do(Follow(M3, M1)),
        commit(4, Acknowledged),
        Do(Sync(M1, vec![M2, M3], 2)),
        Do(Write(M1, 5)),
        commit(5, Waits),
        log(M3, &[1, 2, 3, 4, 5]),
        Do(Follow(M2, M1)),
        commit(5, Acknowledged),
    ]
}
