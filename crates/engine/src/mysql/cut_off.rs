//! Before anything that a member alone holds is thrown away: what it is, its statements, and the logs that hold it, copied into
//! a folder of the member's, with a `cut-off.json` that says so. Works on a server that runs, closed, and on one that is down.

use crate::host::files;
use crate::host::folders::make_private;
use crate::host::tool::Tool;
use crate::mysql::binlog::{self, nothing};
use crate::mysql::did::did;
use crate::mysql::errant::{Errant, Logged, Tail};
use crate::mysql::{Error, Flavour, Instance, Result};
use dauphin_model::Term;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncReadExt;

/// The binary log's name and the relay log's.
const LOGS: [&str; 2] = ["binlog", "relay"];
/// File of the statements.
const STATEMENTS: &str = "statements.sql";
/// Most bytes of statements that are written down; the log files beside them have all.
const STATEMENTS_BYTES_MAX: usize = 16 << 20;
/// How long reading them out of the logs may take.
const STATEMENTS_LIMIT: Duration = Duration::from_secs(3_600);

/// What is about to be cut off a member's log, and where it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// The member.
    pub member: String,
    /// The term whose leader it is cut for.
    pub term: Term,
    /// The transactions.
    pub errant: Errant,
    /// The same, for people.
    pub transactions: String,
    /// How many transactions the log held before the first of them.
    #[serde(default)]
    pub from: u64,
    /// How many up to the last.
    #[serde(default)]
    pub to: u64,
    /// What they did, in a few words.
    #[serde(default)]
    pub did: Vec<String>,
    /// Log files that hold them; read them with the server's own tool.
    pub files: Vec<String>,
    /// Whether the logs hold all of them: older files may have been purged.
    pub whole: bool,
    /// Whether the file of statements has all of them.
    pub statements_whole: bool,
    /// When it was archived, in seconds since 1970, for people.
    pub archived_at: u64,
    /// The folder.
    pub folder: PathBuf,
}

/// Log files, the oldest first, and what they hold.
struct Held {
    logged: Logged,
    errant_in: Vec<PathBuf>,
    whole: bool,
}

impl Instance {
    /// Where archives of what was cut off lie.
    #[must_use]
    pub fn cut_off_dir(&self) -> PathBuf {
        self.member_dir.join("cut-off")
    }

    /// What this member's logs hold, received and not applied included, read from its files.
    ///
    /// # Errors
    /// [`Error::File`]; also for encrypted logs.
    pub async fn logged(&self) -> Result<Logged> {
        self.held_beyond(&nothing(self.dialect().flavour())).await.map(|held| held.logged)
    }

    /// Archives what this member holds and `leader` does not; `None` when there is nothing. `known` is what a running server
    /// says it holds: its logs may have been purged. Nothing may be written meanwhile: the server is closed and receives
    /// nothing, or is down. Doing it again replaces the archive of the same transactions.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Tool`].
    pub async fn archive_cut_off(&self, known: Option<&Logged>, leader: &Logged, term: Term) -> Result<Option<CutOff>> {
        let held = self.held_beyond(leader).await?;
        let all = known.map_or_else(|| held.logged.clone(), |known| known.with(&held.logged));
        let errant = all.errant(leader);
        if errant.is_empty() {
            return Ok(None);
        }
        let folder = self.cut_off_dir().join(format!("term{term}-{}", errant.name()));
        files::remove_dir(&folder)?;
        make_private(&[&self.member_dir, &self.cut_off_dir(), &folder])?;
        let mut names = Vec::new();
        for path in &held.errant_in {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            copy_durably(path, &folder.join(&name))?;
            names.push(name);
        }
        let archived: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let (statements_whole, did) = self.write_statements(&errant, &archived, &folder.join(STATEMENTS)).await?;
        let (from, to) = all.span(&errant);
        let cut = CutOff {
            member: self.member.to_string(),
            term,
            from,
            to,
            transactions: errant.to_string(),
            whole: held.whole && held.logged.errant(leader) == errant,
            errant,
            did,
            files: names,
            statements_whole,
            archived_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            folder,
        };
        let text = serde_json::to_string_pretty(&cut).unwrap_or_default();
        files::replace(&cut.folder.join("cut-off.json"), &text, true)?;
        Ok(Some(cut))
    }

    /// Archives the whole logs of a member that is down: where it cannot be told what of them its leader lacks.
    ///
    /// # Errors
    /// [`Error::Running`], [`Error::File`].
    pub fn archive_whole_log(&self, term: Term) -> Result<PathBuf> {
        self.require_stopped()?;
        let folder = self.cut_off_dir().join(format!("term{term}-whole-log"));
        files::remove_dir(&folder)?;
        make_private(&[&self.member_dir, &self.cut_off_dir(), &folder])?;
        for path in LOGS
            .iter()
            .map(|log| binlog::files(&self.data_dir, log))
            .collect::<std::result::Result<Vec<_>, _>>()?
            .concat()
        {
            if path.is_file() {
                copy_durably(&path, &folder.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(folder)
    }

    async fn held_beyond(&self, leader: &Logged) -> Result<Held> {
        let (data_dir, flavour, leader) = (self.data_dir.clone(), self.dialect().flavour(), leader.clone());
        let read = tokio::task::spawn_blocking(move || held_beyond(&data_dir, flavour, &leader)).await;
        let lost = |e: tokio::task::JoinError| Error::Answer { doing: "reading the logs", answer: e.to_string() };
        read.map_err(lost)?
    }

    /// Writes the statements of `errant` that the archived files hold; whether those are all, and what they do. What
    /// cannot be read out, as the torn end of a log, is still in the files.
    async fn write_statements(
        &self,
        errant: &Errant,
        archived: &[PathBuf],
        path: &Path,
    ) -> Result<(bool, Vec<String>)> {
        let flavour = self.dialect().flavour();
        let name = match flavour {
            Flavour::Mysql => "mysqlbinlog",
            Flavour::Mariadb => "mariadb-binlog",
        };
        let program = self.bin.program(name)?;
        let mut text = format!("-- {errant}\n").into_bytes();
        let mut whole = true;
        for log in LOGS {
            let files: Vec<&PathBuf> = archived.iter().filter(|path| is_of(path, log)).collect();
            let Some(first) = files.first() else { continue };
            let head = binlog::before(flavour, first)?;
            for options in which(errant, &head) {
                let tool = Tool::of(&program, name, None);
                let tool = tool.args(["--no-defaults", "--verbose", "--base64-output=DECODE-ROWS"]);
                let tool = options.iter().fold(tool, Tool::arg);
                let tool = files.iter().fold(tool, |tool, path| tool.arg(path));
                let most = STATEMENTS_BYTES_MAX.saturating_sub(text.len()) as u64;
                let read = &mut text;
                let body = async |stdin, stdout: tokio::process::ChildStdout| {
                    drop(stdin);
                    let mut stdout = stdout.take(most);
                    stdout.read_to_end(read).await?;
                    // the rest is read and dropped: a tool whose pipe closes fails
                    let left = tokio::io::copy(&mut stdout.into_inner(), &mut tokio::io::sink()).await?;
                    Ok(left == 0)
                };
                match tool.stream(STATEMENTS_LIMIT, body).await {
                    Ok(all) => whole &= all,
                    Err(error) => {
                        text.extend(format!("\n-- {}\n", error.to_string().replace('\n', " ")).into_bytes());
                        whole = false;
                    }
                }
            }
        }
        if !whole {
            text.extend(b"\n-- not all is here; the log files beside this one have the rest\n");
        }
        let text = String::from_utf8_lossy(&text);
        files::replace(path, &text, true)?;
        Ok((whole, did(&text)))
    }
}

/// Options that show exactly the errant transactions in a log before which `head` stood; each list is one run of the tool.
fn which(errant: &Errant, head: &Logged) -> Vec<Vec<String>> {
    let tail = |tail: &Tail| {
        let Tail { domain, server, after, .. } = tail;
        let mut options = vec![format!("--do-domain-ids={domain}"), format!("--do-server-ids={server}")];
        let stood = match head {
            Logged::Mariadb(state) => state.last_of(*domain, *server),
            Logged::Mysql(_) => None,
        };
        // a place before the log's beginning is refused by the tool, and so is that very place where another server wrote
        // since; all that the log has of this one is errant then
        let inside = after.filter(|after| stood.is_none_or(|stood| stood < *after));
        options.extend(inside.map(|after| format!("--start-position={domain}-{server}-{after}")));
        options
    };
    match errant {
        Errant::Mysql(set) => vec![vec![format!("--include-gtids={}", set.on_one_line())]],
        Errant::Mariadb(tails) => tails.iter().map(tail).collect(),
    }
}

fn is_of(path: &Path, log: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{log}.")))
}

fn held_beyond(data_dir: &Path, flavour: Flavour, leader: &Logged) -> Result<Held> {
    let mut held = Held { logged: nothing(flavour), errant_in: Vec::new(), whole: true };
    let own = binlog::files(data_dir, "binlog")?;
    if let Some(last) = own.last() {
        held.logged = binlog::up_to_end_of(flavour, last)?;
    }
    if !held.logged.errant(leader).is_empty() {
        held.whole = false;
        // heads say all that stood before: once that is the leader's too, older files hold nothing of it
        for path in own.iter().rev() {
            held.errant_in.insert(0, path.clone());
            if binlog::before(flavour, path)?.errant(leader).is_empty() {
                held.whole = true;
                break;
            }
        }
    }
    // what was received is in the relay log, until it is applied
    let relay = binlog::files(data_dir, "relay")?;
    let mut received = nothing(flavour);
    for path in relay.iter().filter(|path| path.is_file()) {
        received = received.with(&binlog::up_to_end_of(flavour, path)?);
    }
    let all = held.logged.with(&received);
    if all.errant(leader) != held.logged.errant(leader) {
        held.errant_in.extend(relay.into_iter().filter(|path| path.is_file()));
    }
    held.logged = all;
    Ok(held)
}

/// A copy that a power cut does not take away.
fn copy_durably(from: &Path, to: &Path) -> Result<()> {
    let copy = || {
        std::fs::copy(from, to)?;
        File::open(to)?.sync_all()?;
        files::sync_parent(to)
    };
    copy().map_err(Error::file("archive", from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_asked_for_exactly_what_is_errant() {
        let check = |head: &str, after: Option<u64>, start: Option<&str>| {
            let errant = Errant::Mariadb(vec![Tail { domain: 0, server: 2, after, last: 69 }]);
            let head = Logged::Mariadb(head.parse().expect("a state"));
            let mut expected = vec!["--do-domain-ids=0", "--do-server-ids=2"];
            expected.extend(start);
            assert_eq!(which(&errant, &head), [expected], "{head:?} {after:?}");
        };
        check("0-2-50", Some(62), Some("--start-position=0-2-62"));
        check("", Some(62), Some("--start-position=0-2-62"));
        check("0-1-40", None, None);
        // it led, another one did, and it wrote then: the log begins behind both
        check("0-2-62,0-1-65", Some(62), None);
        check("0-2-64", Some(62), None);
    }
}
