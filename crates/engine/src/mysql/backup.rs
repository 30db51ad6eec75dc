//! Copies a MariaDB member's data with mariadb-backup. The source's agent reads it over its own socket, without a password, and
//! writes a stream; the other agent takes the stream, prepares the copy and makes it its member's data. What lies between the
//! two is the caller's: a link with mutual TLS.

use crate::host::folders::make_private;
use crate::host::tool::Tool;
use crate::host::{Progress, files};
use crate::mysql::binaries::setting;
use crate::mysql::copying::{COPY, COPY_LIMIT, Copied, Place};
use crate::mysql::offer::{Offer, check_copy};
use crate::mysql::stream::{BLOCK_BYTES_MAX, PULSE, Receiver, Sender};
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Error, Flavour, Mysql, Result, accounts};
use dauphin_model::{BinlogState, MariaPosition, MemberName};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const DOING: &str = "copying the source";
/// Where a backup says how far it reaches: MariaDB 11 and 10.11.
const PLACES: [&str; 2] = ["mariadb_backup_binlog_info", "xtrabackup_binlog_info"];
/// Files that a backup puts beside the data begin with these.
const TRACES: [&str; 3] = ["mariadb_backup_", "xtrabackup_", "backup-my.cnf"];

/// What the source's log held of each server before and after the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    before: BinlogState,
    after: BinlogState,
}

impl Mysql {
    /// Gives a copy of this running member to `taker`: writes it into `into`, and says how many bytes that were. Commits stand
    /// still for the moment in which its end is fixed. No write may wait longer than `quiet`.
    ///
    /// # Errors
    /// [`Error::BackupWaits`]; [`Error::Tool`] with what mariadb-backup said, or that `into` broke; [`Error::Stream`]. The taker is told, if it is there.
    pub async fn give_copy(
        &self,
        taker: &MemberName,
        into: impl AsyncWrite + Unpin,
        progress: &Progress,
        quiet: Duration,
    ) -> Result<u64> {
        let folder = self.instance.member_dir.join(format!("giving-{taker}"));
        let mut sender = Sender::begin(into, quiet).await.map_err(Error::stream(DOING))?;
        let given = self.back_up(&folder, &mut sender, progress).await;
        let tidied = files::remove_dir(&folder);
        match given.and_then(|about| tidied.map(|()| about).map_err(Error::from)) {
            Ok(about) => sender.whole(about).await.map_err(Error::stream(DOING)),
            Err(error) => {
                // whoever takes it may be what failed
                let _ = sender.broke(error.to_string()).await;
                Err(error)
            }
        }
    }

    async fn back_up(
        &self,
        folder: &Path,
        sender: &mut Sender<impl AsyncWrite + Unpin>,
        progress: &Progress,
    ) -> Result<About> {
        files::remove_dir(folder)?;
        make_private(&[&self.instance.member_dir, folder])?;
        let user = accounts::agent(self.dialect().flavour(), &self.instance.os_user);
        let options = folder.join("options.cnf");
        let socket = self.instance.socket();
        files::replace(&options, &format!("[mariadb-backup]\nuser={user}\nsocket={}\n", socket.display()), false)?;
        self.require_acknowledged().await?;
        let before = self.state().await?;
        let tool = Tool::of(&self.instance.bin.program("mariadb-backup")?, "mariadb-backup", None)
            .arg(setting("defaults-file", &options))
            .args(["--backup", "--stream=mbstream"])
            .arg(setting("target-dir", &folder.join("work")))
            .cwd(folder);
        let body = async |stdin, mut stdout: tokio::process::ChildStdout| {
            drop(stdin);
            let mut block = vec![0; BLOCK_BYTES_MAX];
            loop {
                match tokio::time::timeout(PULSE, stdout.read(&mut block)).await {
                    Ok(read) => match block.get(..read?) {
                        Some([]) | None => return Ok(()),
                        Some(bytes) => {
                            sender.send(bytes).await.map_err(std::io::Error::other)?;
                            progress.add(bytes.len() as u64);
                        }
                    },
                    // it looks through its log, or waits for a lock
                    Err(_) => {
                        self.require_acknowledged().await.map_err(std::io::Error::other)?;
                        sender.pulse().await.map_err(std::io::Error::other)?;
                    }
                }
            }
        };
        tool.stream(COPY_LIMIT, body).await?;
        Ok(About { before, after: self.state().await? })
    }

    /// A commit that waits for a replica holds the backup's last lock off, and that lock every other commit: where the copy
    /// is to be the replica, for ever.
    async fn require_acknowledged(&self) -> Result<()> {
        match self.commits_that_stand().await? {
            0 => Ok(()),
            sessions => Err(Error::BackupWaits { sessions }),
        }
    }

    async fn state(&self) -> Result<BinlogState> {
        Ok(self.look(LOOK_LIMIT).await?.state.unwrap_or_default())
    }

    /// Takes a copy that [`Mysql::give_copy`] writes on a member that offered `offer`, and makes it this member's data.
    /// Whatever an earlier copy left in the staging folder is thrown away first. Nothing may come for at most `quiet`.
    ///
    /// # Errors
    /// [`Refusal::Copy`](crate::mysql::Refusal::Copy), [`Refusal::NotEmpty`](crate::mysql::Refusal::NotEmpty),
    /// [`Refusal::Room`](crate::mysql::Refusal::Room), [`Error::Running`] before anything is done. [`Error::Tool`], [`Error::Stream`] when it breaks off: try again.
    pub async fn take_copy(
        &self,
        offer: &Offer,
        from: impl AsyncRead + Unpin,
        progress: &Progress,
        quiet: Duration,
    ) -> Result<Copied> {
        check_copy(&self.instance.bin.version, offer)?;
        if self.dialect().flavour() == Flavour::Mysql {
            let why = "MySQL is copied by its CLONE plugin; use clone_from".to_owned();
            return Err(Error::Setting { key: "copy".to_owned(), why });
        }
        self.begin_copy(offer.bytes).await?;
        progress.set(0, offer.bytes);
        let copy = self.beside(COPY).await?;
        copy.instance.make_dirs()?;
        let data_dir = &copy.instance.data_dir;
        make_private(&[&copy.instance.member_dir, data_dir])?;
        let about = self.unpack(data_dir, from, progress, quiet).await?;
        let prepare = Tool::of(&self.instance.bin.program("mariadb-backup")?, "mariadb-backup", None);
        // the backup's own note of the source's page size and the like
        let prepare = prepare.arg(setting("defaults-file", &data_dir.join("backup-my.cnf")));
        let prepare = prepare.arg("--prepare").cwd(data_dir);
        prepare.arg(setting("target-dir", data_dir)).run(COPY_LIMIT).await?;
        let position = position_of(data_dir)?;
        let state = state_at(&about.before, &about.after, &position);
        remove_traces(data_dir)?;
        self.settle(copy, None, &Place { position, state }).await
    }

    async fn unpack(
        &self,
        data_dir: &Path,
        from: impl AsyncRead + Unpin,
        progress: &Progress,
        quiet: Duration,
    ) -> Result<About> {
        let mut receiver = Receiver::begin(from, quiet).await.map_err(Error::stream(DOING))?;
        let tool = Tool::of(&self.instance.bin.program("mbstream")?, "mbstream", None).arg("-x").cwd(data_dir);
        let body = async |mut stdin: tokio::process::ChildStdin, _stdout| {
            while let Some(block) = receiver.next().await? {
                stdin.write_all(block).await?;
                progress.add(block.len() as u64);
            }
            receiver.end().await
        };
        Ok(tool.stream(COPY_LIMIT, body).await?)
    }
}

/// How far a backup reaches: file, offset and GTIDs, with tabs between them.
fn position_of(data_dir: &Path) -> Result<MariaPosition> {
    let mut text = None;
    for name in PLACES {
        let path = data_dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(found) => text = Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", &path)(error)),
        }
    }
    let unclear = |answer: &str| Error::Answer { doing: "reading how far the copy reaches", answer: answer.to_owned() };
    let text = text.ok_or_else(|| unclear("no file says it"))?;
    let gtids: String = text.split('\t').skip(2).flat_map(|part| part.split_whitespace()).collect();
    gtids.parse().map_err(|_| unclear(&text))
}

fn remove_traces(data_dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(data_dir).map_err(Error::file("look into", data_dir))?.flatten() {
        if TRACES.iter().any(|trace| entry.file_name().to_string_lossy().starts_with(trace)) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// What a log held of each server at `position`, from what it held before and after. In a domain numbers only grow: what
/// `after` has up to the position was there by then, and what it has beyond came later.
fn state_at(before: &BinlogState, after: &BinlogState, position: &MariaPosition) -> BinlogState {
    let mut state = BinlogState::default();
    for gtid in after.gtids() {
        let Some(last) = position.of(gtid.domain) else { continue };
        let known = if gtid.sequence <= last.sequence {
            Some(gtid.sequence)
        } else {
            before.last_of(gtid.domain, gtid.server).filter(|known| *known <= last.sequence)
        };
        if let Some(sequence) = known {
            state.log(dauphin_model::gtid::MariaGtid { sequence, ..gtid });
        }
    }
    // logged last: the end of its domain
    position.gtids().for_each(|gtid| state.log(gtid));
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str, position: &str, expected: &str) {
        let state = |text: &str| text.parse::<BinlogState>().expect("a state");
        let position: MariaPosition = position.parse().expect("a position");
        assert_eq!(state_at(&state(before), &state(after), &position), state(expected), "{before} {after} {position}");
    }

    #[test]
    fn the_log_at_the_copys_place_lies_between_two_looks() {
        check("", "", "", "");
        // the leader wrote on, before and after the moment of the copy
        check("0-1-10", "0-1-30", "0-1-20", "0-1-20");
        check("0-1-10,0-2-15", "0-1-10,0-2-40", "0-2-20", "0-1-10,0-2-20");
        // another leader took over after the moment, or before it
        check("0-1-10", "0-1-25,0-2-30", "0-1-20", "0-1-20");
        check("0-1-10", "0-1-12,0-2-30", "0-2-20", "0-1-12,0-2-20");
        // domains stand apart
        check("0-1-10,1-1-5", "0-1-30,1-1-5", "0-1-20,1-1-5", "0-1-20,1-1-5");
        check("", "0-1-3", "", "");
    }

    #[test]
    fn a_backup_says_how_far_it_reaches() {
        let of = |name: &str, text: &str| {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::write(dir.path().join(name), text).expect("written");
            position_of(dir.path()).map(|p| p.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(of(PLACES[0], "binlog.000001\t1167\t0-1-5\n"), Ok("0-1-5".to_owned()));
        assert_eq!(of(PLACES[1], "binlog.000001\t1167\t0-1-5,1-1-2\n"), Ok("0-1-5,1-1-2".to_owned()));
        assert_eq!(of(PLACES[1], "binlog.000001\t330\t\n"), Ok(String::new()));
        assert!(of(PLACES[1], "binlog.000001\t330\tnonsense\n").is_err());
        assert!(of("other", "").expect_err("nothing").contains("no file says it"));
    }
}
