//! What members tell each other of their machines and servers, besides what elections need: disks, log, slots, checksums,
//! clocks; and which findings follow by the limits of the specification. Agents measure and carry it; nothing here decides
//! about the cluster.

use crate::finding::Finding;
use dauphin_model::{AlertSpec, Level, Span};
use serde::{Deserialize, Serialize};

/// Days that are left from which on the end of the cluster's CA is worth a warning.
const AUTHORITY_DAYS_WARNING: i64 = 30;
/// Most slots that are told of.
pub const SLOTS_MAX: usize = 50;

/// What one member tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    /// The file systems that it needs.
    pub disks: Vec<Disk>,
    /// The log on its disk.
    pub log: Option<LogSize>,
    /// Slots of its server that are not Dauphin's own; of a leader alone.
    pub slots: Vec<Slot>,
    /// Pages whose checksum failed, as its server counts them.
    pub damaged: u64,
    /// For how long something that runs on it has held its replay up, in milliseconds.
    pub held_up_ms: Option<u64>,
    /// Days until the cluster's CA ends, as its file says.
    pub authority_days: Option<i64>,
}

/// A file system that a member needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// A folder on it: that of the data, of the log, or of the agent's own state.
    pub folder: String,
    /// Bytes that it has, without what is kept for root.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
    /// How soon it is full, if it goes on like this; `None`: that cannot be foreseen.
    pub full_in: Option<Span>,
}

impl Disk {
    /// How much of it is used, in percent.
    #[must_use]
    pub fn used(&self) -> u8 {
        let used = u128::from(self.total.saturating_sub(self.free)) * 100;
        u8::try_from(used.checked_div(u128::from(self.total)).unwrap_or(0)).unwrap_or(100)
    }

    /// How bad that is.
    #[must_use]
    pub fn level(&self, spec: &AlertSpec) -> Option<Level> {
        let by_share = spec.disk.iter().rposition(|limit| self.total > 0 && self.used() >= *limit);
        let sooner = |full_in: Span| spec.disk_full_in.iter().rposition(|limit| full_in < *limit);
        Level::ALL.get(by_share.max(self.full_in.and_then(sooner))?).copied()
    }
}

/// The log on a member's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSize {
    /// Bytes.
    pub bytes: u64,
    /// By how much it grows in an hour; `None`: not watched for long enough.
    pub per_hour: Option<i64>,
}

/// A replication slot that somebody else than Dauphin made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Somebody receives from it.
    pub active: bool,
    /// What it kept is gone.
    pub lost: bool,
    /// Log that it keeps, in bytes.
    pub held: u64,
}

/// What follows from what a member tells.
pub(crate) fn findings(spec: &AlertSpec, vitals: &Vitals) -> Vec<Finding> {
    let mut found = Vec::new();
    let worst = vitals.disks.iter().filter_map(|disk| Some((disk.level(spec)?, disk)));
    if let Some((level, disk)) = worst.max_by_key(|(level, disk)| (*level, disk.used())) {
        let (folder, used, free, full_in) = (disk.folder.clone(), disk.used(), disk.free, disk.full_in);
        found.push(Finding::DiskFills { level, folder, used, free, full_in });
    }
    if let Some(log) = vitals.log
        && let Some(level) = spec.log_size.iter().rposition(|limit| log.bytes > *limit)
        && let Some(level) = Level::ALL.get(level).copied()
    {
        found.push(Finding::LogGrows { level, bytes: log.bytes, per_hour: log.per_hour });
    }
    let lost = vitals.slots.iter().filter(|slot| slot.lost);
    let lost: Vec<String> = lost.map(|slot| slot.name.clone()).collect();
    if !lost.is_empty() {
        found.push(Finding::SlotLost { slots: lost });
    }
    let idle = vitals.slots.iter().filter(|slot| !slot.active && !slot.lost);
    let idle: Vec<(String, u64)> = idle.map(|slot| (slot.name.clone(), slot.held)).collect();
    if !idle.is_empty() {
        found.push(Finding::SlotIdle { slots: idle });
    }
    if vitals.damaged > 0 {
        found.push(Finding::PagesDamaged { pages: vitals.damaged });
    }
    if let Some(days) = vitals.authority_days.filter(|days| *days < AUTHORITY_DAYS_WARNING) {
        found.push(Finding::AuthorityEnds { days });
    }
    found
}

/// How far a clock is from most others', in milliseconds, ahead of them above 0: from how far each of the others is ahead of
/// it. Of two that differ nobody can say which is wrong, and both say so. `None`: there is no other.
#[must_use]
pub fn clock_off(ahead_of_it: &[i64]) -> Option<i64> {
    if ahead_of_it.is_empty() {
        return None;
    }
    let mut all: Vec<i64> = ahead_of_it.iter().copied().chain([0]).collect();
    all.sort_unstable();
    let middle = [all.get((all.len() - 1) / 2), all.get(all.len() / 2)];
    middle.into_iter().flatten().map(|ahead| -*ahead).max_by_key(|off| off.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(total: u64, free: u64, full_in_minutes: Option<u64>) -> Option<Level> {
        let full_in = full_in_minutes.map(|minutes| Span::ms(minutes * 60_000));
        Disk { folder: String::new(), total, free, full_in }.level(&AlertSpec::default())
    }

    #[test]
    fn a_disk_is_as_bad_as_it_is_full_or_will_soon_be() {
        assert_eq!(disk(1_000, 201, None), None);
        assert_eq!(disk(1_000, 200, None), Some(Level::Warning));
        assert_eq!(disk(1_000, 100, None), Some(Level::Critical));
        assert_eq!(disk(1_000, 50, None), Some(Level::Emergency));
        assert_eq!(disk(1_000, 0, None), Some(Level::Emergency));
        assert_eq!(disk(1_000, 900, Some(1_500)), None);
        assert_eq!(disk(1_000, 900, Some(1_400)), Some(Level::Warning));
        assert_eq!(disk(1_000, 900, Some(59)), Some(Level::Emergency), "soon full, however empty it is");
        assert_eq!(disk(1_000, 100, Some(1_400)), Some(Level::Critical), "the worse of the two");
        assert_eq!(disk(0, 0, None), None, "nothing is known of it");
        assert_eq!(disk(u64::MAX, u64::MAX / 50, None), Some(Level::Emergency));
    }

    #[test]
    fn the_clock_that_most_others_disagree_with_is_off() {
        let check = |ahead: &[i64], off: Option<i64>| assert_eq!(clock_off(ahead), off, "{ahead:?}");
        check(&[], None);
        check(&[0, 0], Some(0));
        // five seconds ahead of both
        check(&[-5_000, -5_000], Some(5_000));
        // another one is
        check(&[0, 5_000], Some(0));
        // two alone: each says that they differ
        check(&[-5_000], Some(5_000));
        check(&[5_000], Some(-5_000));
        check(&[0, 0, 5_000], Some(0));
        check(&[5_000, 5_000, 0], Some(-5_000));
    }

    #[test]
    fn what_is_well_has_no_findings() {
        let slot = |name: &str, active, lost| Slot { name: name.into(), active, lost, held: 7 };
        let well = Vitals {
            disks: vec![Disk { folder: "/data".into(), total: 1_000, free: 500, full_in: None }],
            log: Some(LogSize { bytes: 1 << 30, per_hour: Some(1 << 40) }),
            slots: vec![slot("feed", true, false)],
            damaged: 0,
            held_up_ms: None,
            authority_days: Some(30),
        };
        assert_eq!(findings(&AlertSpec::default(), &well), []);
        let ill = Vitals {
            disks: vec![
                Disk { folder: "/data".into(), total: 1_000, free: 150, full_in: None },
                Disk { folder: "/log".into(), total: 1_000, free: 30, full_in: None },
            ],
            log: Some(LogSize { bytes: 65 << 30, per_hour: None }),
            slots: vec![slot("feed", false, false), slot("copy", false, true)],
            damaged: 2,
            held_up_ms: None,
            authority_days: Some(3),
        };
        let found = findings(&AlertSpec::default(), &ill);
        let short: Vec<(&str, Level)> = found.iter().map(|f| (f.kind().code(), f.level())).collect();
        assert_eq!(
            short,
            [
                ("disk_fills", Level::Emergency),
                ("log_grows", Level::Critical),
                ("slot_lost", Level::Critical),
                ("slot_idle", Level::Warning),
                ("checksum_failure", Level::Critical),
                ("certificate_ends", Level::Critical),
            ]
        );
    }
}
