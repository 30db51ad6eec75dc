//! What a log holds: after a promotion, a rewind, a freeze, a stop, and when log is given away.

use super::{attached, commit, holds_all, leads, log, parts, rows, stream, timeline};
use crate::story::Act::{
    Clone, DropSlot, Follow, Freeze, HearOf, Kill, Open, PauseReplay, Promote, Recycle, RecycleBeyondSlots, Rewind,
    Start, Stop, Sync, Write,
};
use crate::story::Commit::{Acknowledged, Unknown, Waits};
use crate::story::Line::{self, Do};
use crate::story::Stream;
use crate::story::Who::{M1, M2, M3};

pub(super) fn fork() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        holds_all(M2, M1, true),
        holds_all(M3, M1, true),
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
        parts(M2, M3, &[1]),
        rows(M3, &[1, 3]),
        Do(Stop(M3)),
        Do(Rewind(M3, M2)),
        Do(Start(M3)),
        Do(Follow(M3, M2)),
        stream(M3, Stream::Streams),
        leads(M3, M2),
        rows(M3, &[1, 2]),
        timeline(M3, 4),
        log(M3, &[1, 2]),
    ]
}

pub(super) fn heard_of_in_vain() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        log(M3, &[1]),
        Do(Kill(M1)),
        Do(Freeze(M2)),
        Do(Freeze(M3)),
        Do(Promote(M2, 4)),
        Do(HearOf(M3, M2)),
        Do(Kill(M2)),
        timeline(M3, 3),
        Do(Start(M1)),
        Do(Promote(M1, 5)),
        Do(Sync(M1, vec![], 0)),
        Do(Open(M1)),
        leads(M3, M1),
        Do(Follow(M3, M1)),
        stream(M3, Stream::AsksElsewhere),
        Do(Stop(M3)),
        Do(Start(M3)),
        Do(Follow(M3, M1)),
        stream(M3, Stream::Streams),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
        rows(M3, &[1, 2]),
        timeline(M3, 5),
    ]
}

pub(super) fn replica_ahead() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        commit(1, Acknowledged),
        log(M2, &[1]),
        Do(Freeze(M2)),
        Do(Write(M1, 2)),
        commit(2, Acknowledged),
        log(M3, &[1, 2]),
        Do(Kill(M1)),
        Do(Promote(M2, 5)),
        Do(Sync(M2, vec![], 0)),
        Do(Follow(M3, M2)),
        stream(M3, Stream::LogParts),
        parts(M3, M2, &[1]),
        rows(M3, &[1, 2]),
        attached(M2, &[]),
        Do(Stop(M3)),
        Do(Rewind(M3, M2)),
        Do(Start(M3)),
        Do(Follow(M3, M2)),
        stream(M3, Stream::Streams),
        attached(M2, &[M3]),
        rows(M3, &[1]),
        timeline(M3, 5),
    ]
}

pub(super) fn promotion_with_pending_log() -> Vec<Line> {
    vec![
        Do(Sync(M1, vec![M2], 1)),
        Do(PauseReplay(M2)),
        Do(Write(M1, 1)),
        Do(Write(M1, 2)),
        commit(1, Acknowledged),
        commit(2, Acknowledged),
        log(M2, &[1, 2]),
        Do(Kill(M1)),
        Do(Freeze(M2)),
        log(M2, &[1, 2]),
        Do(Promote(M2, 4)),
        rows(M2, &[1, 2]),
        timeline(M2, 4),
        Do(Follow(M3, M2)),
        stream(M3, Stream::Streams),
        rows(M3, &[1, 2]),
        timeline(M3, 4),
    ]
}

pub(super) fn frozen() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        log(M2, &[1]),
        Do(Freeze(M2)),
        stream(M2, Stream::None),
        attached(M1, &[M3]),
        Do(Write(M1, 2)),
        log(M3, &[1, 2]),
        log(M2, &[1]),
        holds_all(M2, M1, false),
        // frozen once more changes nothing, and a start does not end it
        Do(Freeze(M2)),
        Do(Kill(M2)),
        Do(Start(M2)),
        Do(Write(M1, 3)),
        log(M3, &[1, 2, 3]),
        log(M2, &[1]),
        stream(M2, Stream::None),
        leads(M2, M1),
        Do(Follow(M2, M1)),
        rows(M2, &[1, 2, 3]),
    ]
}

pub(super) fn orderly_stop() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        log(M2, &[1]),
        Do(Freeze(M2)),
        Do(Sync(M1, vec![M2], 1)),
        Do(Write(M1, 2)),
        commit(2, Waits),
        Do(Stop(M1)),
        commit(2, Unknown),
        holds_all(M3, M1, true),
        log(M3, &[1, 2]),
        log(M1, &[1, 2]),
        log(M2, &[1]),
        leads(M2, M1),
        Do(Start(M1)),
        rows(M1, &[1, 2]),
        attached(M1, &[M3]),
        Do(Promote(M3, 4)),
        Do(Sync(M3, vec![], 0)),
        Do(Follow(M1, M3)),
        Do(Follow(M2, M3)),
        attached(M3, &[M1, M2]),
        rows(M2, &[1, 2]),
        rows(M1, &[1, 2]),
        timeline(M1, 4),
    ]
}

pub(super) fn retention() -> Vec<Line> {
    vec![
        Do(Write(M1, 1)),
        log(M2, &[1]),
        Do(Freeze(M2)),
        Do(Freeze(M3)),
        Do(DropSlot(M1, M2)),
        Do(Write(M1, 2)),
        // M3's slot keeps it
        Do(Recycle(M1)),
        Do(Follow(M3, M1)),
        stream(M3, Stream::Streams),
        log(M3, &[1, 2]),
        Do(Recycle(M1)),
        Do(Follow(M2, M1)),
        stream(M2, Stream::LogGone),
        attached(M1, &[M3]),
        log(M2, &[1]),
        // the logs do not part: what lies between is missing
        leads(M2, M1),
        Do(Clone(M2, M1)),
        Do(Start(M2)),
        Do(Follow(M2, M1)),
        stream(M2, Stream::Streams),
        rows(M2, &[1, 2]),
        // a slot keeps log up to its limit
        Do(Freeze(M2)),
        Do(Write(M1, 3)),
        Do(Recycle(M1)),
        Do(Follow(M2, M1)),
        stream(M2, Stream::Streams),
        log(M2, &[1, 2, 3]),
        Do(Freeze(M2)),
        Do(Write(M1, 4)),
        Do(RecycleBeyondSlots(M1)),
        Do(Follow(M2, M1)),
        stream(M2, Stream::LogGone),
        log(M2, &[1, 2, 3]),
        Do(Clone(M2, M1)),
        Do(Start(M2)),
        Do(Follow(M2, M1)),
        rows(M2, &[1, 2, 3, 4]),
    ]
}
