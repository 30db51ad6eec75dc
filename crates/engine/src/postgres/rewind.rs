//! Rewinds a stopped member's data to a leader's history with pg_rewind: preconditions named, what will be cut off
//! archived first, a half-done rewind quarantined. Whether to rewind at all, or to copy anew, is the agent's decision.

use crate::postgres::client::Client;
use crate::postgres::clone::forget_source;
use crate::postgres::config::{Settings, Upstream, conninfo};
use crate::postgres::roles::{Credentials, REPLICATION, REWIND};
use crate::postgres::session::{CONNECT_LIMIT, login};
use crate::postgres::tool::{Tool, ToolError};
use crate::postgres::{ControlData, Error, Instance, Postgres, Refusal, Result, files, history};
use dauphin_model::{Lsn, Position, Term, Timeline};
use serde::Serialize;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long pg_rewind may take.
const REWIND_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// How long looking for the end of the log may take.
const WALDUMP_LIMIT: Duration = Duration::from_secs(600);
/// How long a checkpoint may take: a large cache on a slow disk takes minutes.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(600);

/// What a rewind (or a new copy) takes away, and where it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CutOff {
    /// The member.
    pub member: String,
    /// The term whose leader it was cut for.
    pub term: Term,
    /// The timeline of what was cut off.
    pub timeline: Timeline,
    /// First byte cut off.
    pub from: Lsn,
    /// End of the log that was cut off.
    pub to: Lsn,
    /// Log segments that hold it.
    pub segments: Vec<String>,
    /// When it was archived, in seconds since 1970, for people.
    pub archived_at: u64,
    /// The folder; read the segments with pg_waldump.
    pub folder: PathBuf,
}

impl Postgres {
    /// Writes a checkpoint: pg_rewind believes a leader's timeline only after its first one.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn checkpoint(&self) -> Result<()> {
        let doing = "writing a checkpoint";
        // on a connection of its own: the acts must not wait behind it
        let login = login("dauphin_checkpoint", false, "-c statement_timeout=0");
        let mut client =
            Client::connect(&self.instance.socket(), &login, CONNECT_LIMIT).await.map_err(Error::sql(doing))?;
        client.query("CHECKPOINT", CHECKPOINT_LIMIT).await.map(|_| ()).map_err(Error::sql(doing))
    }
}

impl Instance {
    /// The end of a cleanly stopped server's log.
    ///
    /// # Errors
    /// [`Refusal::Rewind`] when it was not stopped cleanly, [`Error::PositionUnknown`], [`Error::Tool`].
    pub async fn stopped_position(&self) -> Result<Position> {
        self.require_stopped()?;
        let control = self.control_data().await?;
        let (timeline, lsn) = if control.state == "shut down in recovery" {
            (control.minimum_recovery_timeline, control.minimum_recovery)
        } else if control.is_clean() {
            (control.timeline, self.end_of_log(&control).await?)
        } else {
            let why = format!("it was not stopped cleanly ({}); start it fenced, and stop it, first", control.state);
            return Err(Refusal::Rewind { data_dir: self.data_dir.clone(), why }.into());
        };
        Ok(Position { history: history::read(&self.data_dir, timeline)?, timeline, lsn })
    }

    /// Up to where a rewound, stopped copy must receive its source's log before it is consistent.
    ///
    /// # Errors
    /// [`Error::PositionUnknown`], [`Error::Tool`].
    pub async fn needs(&self) -> Result<Option<Position>> {
        if !self.data_dir.join("backup_label").exists() {
            // nothing was rewound
            return Ok(None);
        }
        let control = self.control_data().await?;
        let (timeline, lsn) = (control.minimum_recovery_timeline, control.minimum_recovery);
        Ok(Some(Position { history: history::read(&self.data_dir, timeline)?, timeline, lsn }))
    }

    async fn end_of_log(&self, control: &ControlData) -> Result<Lsn> {
        let dump = Tool::new(&self.bin, "pg_waldump")
            .arg("--path")
            .arg(self.data_dir.join("pg_wal"))
            .arg("--timeline")
            .arg(control.timeline.to_string())
            .arg("--start")
            .arg(control.checkpoint.to_string())
            .arg("--quiet")
            .run(WALDUMP_LIMIT)
            .await;
        // it reads until there is no record any more, and that is how it ends
        let said = match dump {
            Ok(output) => output.stderr,
            Err(ToolError::Failed { said, .. }) => said,
            Err(error) => return Err(error.into()),
        };
        let end = said.rsplit(" at ").find_map(|part| part.split([':', ' ', ',']).next()?.trim().parse::<Lsn>().ok());
        end.filter(|end| *end >= control.checkpoint)
            .ok_or(Error::Answer { doing: "finding the end of the log with pg_waldump", answer: said })
    }

    /// Archives what lies beyond `keep` on this stopped member, and says exactly what that is; `None` when nothing does.
    /// Doing it again replaces the archive of the same range.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn archive_cut_off(&self, ours: &Position, keep: Lsn, term: Term) -> Result<Option<CutOff>> {
        if ours.lsn <= keep {
            return Ok(None);
        }
        let name = format!("term{term}-timeline{}-{}", ours.timeline, keep.to_string().replace('/', "-"));
        let folder = self.cut_off_dir().join(name);
        private_folder(&folder)?;
        let wal = self.data_dir.join("pg_wal");
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&wal).map_err(Error::file("look into", &wal))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let bytes = entry.metadata().map_or(0, |m| m.len());
            if holds_cut_off(&name, bytes, ours, keep) {
                std::fs::copy(entry.path(), folder.join(&name)).map_err(Error::file("archive", &entry.path()))?;
                segments.push(name);
            }
        }
        segments.sort();
        let archived_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let (member, timeline) = (self.member.to_string(), ours.timeline);
        let cut = CutOff { member, term, timeline, from: keep, to: ours.lsn, segments, archived_at, folder };
        let text = serde_json::to_string_pretty(&cut).unwrap_or_default();
        files::replace(&cut.folder.join("cut-off.json"), &text, true)?;
        Ok(Some(cut))
    }

    /// Before a fresh copy takes the place of this stopped member's data: archives what lies beyond the leader's log, at
    /// `theirs`. Where that cannot be told (it was not stopped cleanly, it is damaged), the whole log is kept.
    ///
    /// # Errors
    /// [`Error::File`], or when the server runs.
    pub async fn archive_before_copy(&self, theirs: Option<&Position>, term: Term) -> Result<Option<CutOff>> {
        self.require_stopped()?;
        if let (Ok(ours), Some(theirs)) = (self.stopped_position().await, theirs) {
            return self.archive_cut_off(&ours, ours.common(theirs), term);
        }
        let folder = self.cut_off_dir().join(format!("term{term}-whole-log"));
        files::remove_dir(&folder)?;
        private_folder(&folder)?;
        let wal = self.data_dir.join("pg_wal");
        for entry in std::fs::read_dir(&wal).map_err(Error::file("look into", &wal))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let archive = |_| std::fs::copy(entry.path(), folder.join(entry.file_name())).map(|_| ());
                // moved where that is possible: the folder it leaves is thrown away next
                std::fs::rename(entry.path(), folder.join(entry.file_name()))
                    .or_else(archive)
                    .map_err(Error::file("archive", &entry.path()))?;
            }
        }
        tracing::warn!(folder = %folder.display(), "how far the log went is not known: all of it is kept");
        Ok(None)
    }

    /// Rewinds cleanly stopped data (a crashed server is first started as a fenced replica: it replays its log and writes
    /// none) to the history of `source`, a leader at `theirs` that has written a checkpoint on its timeline. Gives
    /// what was cut off, `None` when there was nothing to rewind. The data may then start as its replica.
    ///
    /// # Errors
    /// [`Refusal::Rewind`] when it cannot be done: only a new copy helps; nothing was changed. [`Error::LeaderNotReady`], or
    /// [`Error::Tool`] when the source cannot be reached: try again. After an error with [`Instance::rewind_marker`] there
    /// it broke half-way, and the data is not started again.
    pub async fn rewind(
        &self,
        source: &Upstream,
        theirs: &Position,
        settings: &Settings,
        credentials: &Credentials,
        term: Term,
    ) -> Result<Option<CutOff>> {
        let refuse = |why: String| Err(Refusal::Rewind { data_dir: self.data_dir.clone(), why }.into());
        self.require_stopped()?;
        self.check_data(None)?;
        if self.data_dir.join("backup_label").exists() {
            // just rewound or copied: the log it begins with comes from the leader
            return Ok(None);
        }
        let ours = self.stopped_position().await?;
        let keep = ours.common(theirs);
        if keep == ours.lsn {
            return Ok(None);
        }
        let control = self.control_data().await?;
        if !control.checksums && !control.wal_log_hints {
            return refuse(
                "it has neither data checksums nor wal_log_hints; copy it again (dauphin reinit)".to_owned(),
            );
        }
        if control.lacks_checkpoint() {
            self.settle().await?;
        }
        credentials.write_passfile(&self.passfile())?;
        let server =
            conninfo(self, settings, source).replace(&format!("user={REPLICATION}"), &format!("user={REWIND}"));
        let server = format!("{server} dbname=postgres");
        let tool = || {
            Tool::new(&self.bin, "pg_rewind")
                .arg("--target-pgdata")
                .arg(&self.data_dir)
                .arg(format!("--source-server={server}"))
                .arg("--no-ensure-shutdown")
        };
        // a rehearsal finds what is missing while nothing is changed yet
        match tool().arg("--dry-run").run(REWIND_LIMIT).await {
            Ok(output)
                if output.stderr.contains("no rewind required") || output.stdout.contains("no rewind required") =>
            {
                return Err(Error::LeaderNotReady);
            }
            Ok(_) => {}
            Err(ToolError::Failed { said, .. }) if !said.contains("connection") => return refuse(complaint(&said)),
            Err(error) => return Err(error.into()),
        }
        let cut = self.archive_cut_off(&ours, keep, term)?;
        files::replace(&self.rewind_marker(), &format!("term {term}\n"), true)?;
        tool().run(REWIND_LIMIT).await?;
        forget_source(&self.data_dir)?;
        files::remove(&self.rewind_marker())?;
        files::sync_parent(&self.rewind_marker()).map_err(Error::file("write", &self.member_dir))?;
        Ok(cut)
    }
}

/// Archived log is as private as the data.
fn private_folder(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(Error::file("make folder", folder))
}

/// What a tool complains of, without what it reported on the way.
fn complaint(said: &str) -> String {
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| [" error: ", " fatal: ", "ERROR: ", "FATAL: "].iter().any(|word| line.contains(word)))
        .collect();
    if complaints.is_empty() { said.to_owned() } else { complaints.join("; ") }
}

/// Whether a file of pg_wal holds bytes between `keep` and our end, on a timeline of our own branch.
fn holds_cut_off(name: &str, segment_bytes: u64, ours: &Position, keep: Lsn) -> bool {
    let hex = |range: std::ops::Range<usize>| u64::from_str_radix(name.get(range)?, 16).ok();
    let (24, Some(timeline), Some(high), Some(low)) = (name.len(), hex(0..8), hex(8..16), hex(16..24)) else {
        return false;
    };
    if segment_bytes == 0 {
        return false;
    }
    let begin = high * 0x1_0000_0000 + low * segment_bytes;
    let branch_end = |b: &dauphin_model::Branch| u64::from(b.timeline.0) == timeline && b.end > keep;
    let on_branch = timeline == u64::from(ours.timeline.0) || ours.history.iter().any(branch_end);
    on_branch && begin < ours.lsn.0 && begin + segment_bytes > keep.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_rewind_tells_its_error_and_not_its_progress() {
        let said = "pg_rewind: servers diverged at WAL location 0/5000060 on timeline 2\n\
                    pg_rewind: error: could not open file \"000000020000000000000004\": No such file or directory";
        assert!(complaint(said).starts_with("pg_rewind: error: could not open"), "{}", complaint(said));
        assert_eq!(complaint("killed"), "killed");
    }

    #[test]
    fn only_segments_with_cut_off_bytes_are_archived() {
        let ours = Position::new(Timeline(2), Lsn(0x500_0060)).promoted(Timeline(3));
        let ours = Position { lsn: Lsn(0x700_0100), ..ours };
        let holds = |name: &str| holds_cut_off(name, 16 << 20, &ours, Lsn(0x500_0060));
        assert!(holds("000000030000000000000005"));
        assert!(holds("000000030000000000000007"));
        for not in
            ["000000020000000000000005", "000000030000000000000004", "000000030000000000000008", "00000003.history"]
        {
            assert!(!holds(not), "{not}");
        }
    }
}
