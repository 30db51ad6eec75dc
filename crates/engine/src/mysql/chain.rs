//! How much of its leaderships' chain a log holds that holds something else besides: a member on which somebody wrote may have
//! acknowledged commits before, and an election must know how far. Pure; `freeze` asks. It rather says more than the log holds than
//! less: only a row that somebody deleted from `dauphin.timelines` by hand can make it say less.

use crate::mysql::timelines::{Began, Log, Writer};
use dauphin_model::gtid::Uuid;
use dauphin_model::{Branch, GtidSet, Lsn, Position};
use std::collections::BTreeMap;

impl Log {
    /// Up to where it holds the chain of these leaderships, the member's own rows. `None`: that cannot be said.
    #[must_use]
    pub fn chain_end(&self, rows: &[Began]) -> Option<Position> {
        let total = self.ordinal();
        let held: Vec<&Began> = rows.iter().filter(|row| row.end.0 < total).collect();
        let last = held.last()?;
        if held.len() < rows.len() {
            // applied, and not reached: something is missing
            return None;
        }
        if Self::broken_chain(&held).is_some() || held.first().is_none_or(|first| first.end.0 > 0) {
            return None;
        }
        let end = match self {
            Self::Mysql(set) => end_in_set(set, &held)?,
            Self::Mariadb { state, .. } => match last.writer {
                Writer::Mariadb(id) => state.last_of(Self::DOMAIN, id)?,
                Writer::Mysql(_) => return None,
            },
        };
        let history = held.iter().map(|row| Branch { timeline: row.parent, end: row.end }).collect();
        (end > last.end.0).then_some(Position { history, timeline: last.timeline, lsn: Lsn(end) })
    }
}

/// Each leadership takes the next numbers of its writer, the last one all that are left: what that server wrote without leading
/// is counted with it. With a number missing, or a leadership not whole, nobody can say what is whose.
fn end_in_set(set: &GtidSet, held: &[&Began]) -> Option<u64> {
    let mut left: BTreeMap<Uuid, u64> = BTreeMap::new();
    for (source, runs) in set.sources() {
        if !held.iter().any(|row| row.writer == Writer::Mysql(source.uuid)) {
            continue;
        }
        let [run] = runs.runs() else { return None };
        if source.tag.is_some() || run.first() != 1 {
            return None;
        }
        left.insert(source.uuid, runs.count());
    }
    let ends = held.iter().skip(1).map(|row| Some(row.end.0)).chain([None]);
    let mut end = 0;
    for (row, until) in held.iter().zip(ends) {
        let Writer::Mysql(uuid) = row.writer else { return None };
        let of_writer = left.get_mut(&uuid)?;
        let takes = until.map_or(*of_writer, |until| until.saturating_sub(row.end.0));
        *of_writer = of_writer.checked_sub(takes)?;
        end = row.end.0 + takes;
    }
    Some(end)
}
