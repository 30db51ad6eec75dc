//! Notices on disk, a folder for each place and a file for each notice, until the place took them. What was put is synced
//! before the call returns; order is that of putting. It is bounded: when full, the oldest of what matters least goes.

use crate::error::SendError;
use crate::letter::Letter;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most notices that wait for one place.
pub const LETTERS_MAX: usize = 500;
/// Ending of a file that is not whole yet.
const UNFINISHED: &str = "new";
/// Ending of a file that cannot be read any more: kept for a person, never sent.
const DAMAGED: &str = "damaged";

/// One notice that waits: its number and how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    weight: u8,
}

impl Ticket {
    fn file(self) -> String {
        format!("{:020}-{}.json", self.number, self.weight)
    }

    fn of(name: &str) -> Option<Self> {
        let (number, weight) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, weight: weight.parse().ok()? })
    }
}

/// What waits, by place. Its lock is held for moments, never while a file is written, read or removed.
type Waiting = BTreeMap<String, Vec<Ticket>>;

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    dir: PathBuf,
    waiting: Mutex<Waiting>,
    /// Whose turn it is to write.
    turn: Mutex<()>,
}

impl Outbox {
    /// Opens it, with what an earlier process left.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path) -> Result<Self, SendError> {
        let mut waiting = Waiting::new();
        let read = |waiting: &mut Waiting| -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            for place in fs::read_dir(dir)? {
                let place = place?;
                let Some(name) = place.file_name().to_str().map(str::to_owned) else { continue };
                if place.file_type()?.is_dir() {
                    waiting.insert(name, left_behind(&place.path())?);
                }
            }
            Ok(())
        };
        read(&mut waiting).map_err(|source| SendError::Outbox { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned(), waiting: Mutex::new(waiting), turn: Mutex::default() })
    }

    /// One whose folder could not be read.
    pub(crate) fn unread(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), waiting: Mutex::default(), turn: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a notice for a place; it is on the disk when this returns. Says how many were dropped to make room.
    ///
    /// # Errors
    /// It cannot be written; nothing was put.
    pub fn put(&self, place: &str, letter: &Letter) -> Result<usize, SendError> {
        let dir = self.dir.join(place);
        let fail = |source| SendError::Outbox { path: dir.clone(), source };
        // one writer at a time; whoever only looks never waits for the disk
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.lock().get(place).and_then(|tickets| tickets.iter().map(|t| t.number).max());
        let ticket = Ticket { number: last.unwrap_or(0) + 1, weight: letter.weight() };
        write(&self.dir, &dir, &ticket.file(), letter).map_err(fail)?;
        let dropped = self.add(place, ticket);
        for ticket in &dropped {
            let _ = fs::remove_file(dir.join(ticket.file()));
        }
        Ok(dropped.len())
    }

    /// Counts a notice in; the ones for which there is no room any more.
    fn add(&self, place: &str, ticket: Ticket) -> Vec<Ticket> {
        let mut waiting = self.lock();
        let tickets = waiting.entry(place.to_owned()).or_default();
        tickets.push(ticket);
        let mut dropped = Vec::new();
        while tickets.len() > LETTERS_MAX {
            let least = tickets.iter().copied().min_by_key(|t| (t.weight, t.number));
            tickets.retain(|t| Some(*t) != least);
            dropped.extend(least);
        }
        dropped
    }

    /// The oldest notice that waits for a place. One that cannot be read is put aside.
    pub(crate) fn first(&self, place: &str) -> Option<(Ticket, Letter)> {
        loop {
            let ticket = self.lock().get(place)?.iter().copied().min_by_key(|t| t.number)?;
            let path = self.dir.join(place).join(ticket.file());
            let text = fs::read(&path).map_err(|e| e.to_string());
            match text.and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string())) {
                Ok(letter) => return Some((ticket, letter)),
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "a notice cannot be read and is put aside");
                    let _ = fs::rename(&path, path.with_extension(DAMAGED));
                    self.forget(place, ticket);
                }
            }
        }
    }

    /// The place took it, or never will.
    pub(crate) fn done(&self, place: &str, ticket: Ticket) {
        // a file that stays would be sent once more after a restart, which its number tells
        if let Err(error) = fs::remove_file(self.dir.join(place).join(ticket.file())) {
            tracing::warn!(%error, place, "a notice that was delivered cannot be removed from the outbox");
        }
        self.forget(place, ticket);
    }

    fn forget(&self, place: &str, ticket: Ticket) {
        if let Some(tickets) = self.lock().get_mut(place) {
            tickets.retain(|t| *t != ticket);
        }
    }

    /// How many notices wait, by place.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<String, usize> {
        self.lock().iter().map(|(place, tickets)| (place.clone(), tickets.len())).collect()
    }

    /// A place is not in the configuration any more: what waits for it goes. Says how many.
    pub fn give_up(&self, place: &str) -> usize {
        let dropped = self.lock().remove(place).map_or(0, |tickets| tickets.len());
        let _ = fs::remove_dir_all(self.dir.join(place));
        dropped
    }
}

/// What waits in a folder; what was not written whole is removed.
fn left_behind(dir: &Path) -> io::Result<Vec<Ticket>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.path().extension().is_some_and(|e| e == UNFINISHED) {
            fs::remove_file(file.path())?;
        } else if let Some(ticket) = file.file_name().to_str().and_then(Ticket::of) {
            found.push(ticket);
        }
    }
    found.sort();
    Ok(found)
}

fn write(outbox: &Path, dir: &Path, name: &str, letter: &Letter) -> io::Result<()> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        File::open(outbox)?.sync_all()?;
    }
    let (path, body) = (dir.join(name), serde_json::to_vec(letter)?);
    let next = path.with_extension(UNFINISHED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(&body)?;
    file.sync_data()?;
    fs::rename(&next, &path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_alerts::{Change, Item, Kind, Notice};
    use dauphin_model::Level;

    fn letter(number: u64, level: Level) -> Letter {
        let item = Item {
            id: number,
            change: Change::Raised,
            kind: Kind::NoLeader,
            member: None,
            level,
            before: None,
            text: "no leader takes writes".into(),
            next: "dauphin explain".into(),
            raised_unix: 1,
        };
        let notice = Notice { number, at_unix: 1, items: vec![item] };
        Letter { cluster: "shop".into(), reporter: "m1".into(), notice, test: false }
    }

    #[test]
    fn what_was_put_is_there_after_a_restart_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        for number in 1..=3 {
            assert_eq!(outbox.put("ops", &letter(number, Level::Warning)).unwrap(), 0);
        }
        outbox.put("chat", &letter(9, Level::Warning)).unwrap();
        // what a crash leaves of a notice that was not put
        fs::write(dir.path().join("ops/00000000000000000004-1.new"), "{").unwrap();
        drop(outbox);
        let outbox = Outbox::open(dir.path()).unwrap();
        assert_eq!(outbox.waiting(), BTreeMap::from([("chat".into(), 1), ("ops".into(), 3)]));
        for number in 1..=3 {
            let (ticket, letter) = outbox.first("ops").unwrap();
            assert_eq!(letter.notice.number, number);
            outbox.done("ops", ticket);
        }
        assert!(outbox.first("ops").is_none());
        assert_eq!(outbox.give_up("chat"), 1);
        assert_eq!(Outbox::open(dir.path()).unwrap().waiting(), BTreeMap::from([("ops".into(), 0)]));
    }

    #[test]
    fn when_it_is_full_what_matters_least_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        outbox.put("ops", &letter(1, Level::Emergency)).unwrap();
        let most = u64::try_from(LETTERS_MAX).unwrap();
        let dropped: usize = (2..=most + 2).map(|n| outbox.put("ops", &letter(n, Level::Warning)).unwrap()).sum();
        assert_eq!((dropped, outbox.waiting()["ops"]), (2, LETTERS_MAX));
        assert_eq!(outbox.first("ops").unwrap().1.notice.number, 1, "the emergency stays");
        assert_eq!(fs::read_dir(dir.path().join("ops")).unwrap().count(), LETTERS_MAX);
    }

    #[test]
    fn a_damaged_notice_does_not_stop_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        outbox.put("ops", &letter(1, Level::Warning)).unwrap();
        outbox.put("ops", &letter(2, Level::Warning)).unwrap();
        fs::write(dir.path().join("ops/00000000000000000001-1.json"), "{\"cluster\":").unwrap();
        assert_eq!(outbox.first("ops").unwrap().1.notice.number, 2);
        assert!(dir.path().join("ops/00000000000000000001-1.damaged").exists());
    }
}
