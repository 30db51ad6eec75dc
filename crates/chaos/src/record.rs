//! What is kept of a series: one line of JSON for every leg, appended when it is over. A series goes on from there.

use crate::stage::Cell;
use crate::verdict::Verdict;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// One fault as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultLine {
    /// Its number.
    pub number: u64,
    /// Its kind.
    pub kind: String,
    /// Whom it hit.
    pub member: String,
    /// `leader` or `replica`.
    pub on: String,
    /// When, in seconds of the leg.
    pub at: f64,
    /// When it was healed.
    pub healed_at: f64,
    /// The second one of a pair.
    pub also: Option<(String, String)>,
    /// Seconds from the heal until every member was well.
    pub well_s: Option<f64>,
    /// What was missing when it was not well in time, and after how long it was.
    pub late: Option<(String, Option<f64>)>,
    /// The lab could not make it.
    pub failed: Option<String>,
    /// Longest time without an acknowledged insert, from this fault to the next.
    pub gap_s: f64,
    /// Leaderships that began meanwhile.
    pub leaderships: u64,
}

/// One leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegLine {
    /// Which cluster.
    pub cell: Cell,
    /// The seed.
    pub seed: u64,
    /// Of which source.
    pub commit: String,
    /// When it ended.
    pub date: String,
    /// The server's version.
    pub version: String,
    /// Its length in seconds.
    pub seconds: f64,
    /// The faults.
    pub faults: Vec<FaultLine>,
    /// What was checked.
    pub verdict: Verdict,
    /// What else may not be.
    pub oracles: Vec<String>,
    /// How each kind of process grew, in kB and descriptors, where it lived through the leg.
    pub growth: Vec<(String, i64, i64)>,
    /// Errors that clients were told, by kind.
    pub errors: std::collections::BTreeMap<String, u64>,
    /// Who led, from when to when, in which term: seconds of the leg.
    pub leaders: Vec<(f64, u64, String)>,
    /// Acknowledged inserts in each second.
    pub per_second: Vec<u32>,
}

impl LegLine {
    /// Whether all held.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.verdict.violations.is_empty() && self.oracles.is_empty() && self.faults.iter().all(|f| f.late.is_none())
    }
}

/// All legs in the file.
///
/// # Errors
/// I/O errors, and a line that is none (with its number).
pub fn read(path: &Path) -> Result<Vec<LegLine>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(n, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{} line {}", path.display(), n + 1))
    };
    text.lines().filter(|l| !l.trim().is_empty()).enumerate().map(parse).collect()
}

/// Appends a leg.
///
/// # Errors
/// I/O errors.
pub fn append(path: &Path, leg: &LegLine) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(leg)?).with_context(|| format!("cannot write {}", path.display()))
}
