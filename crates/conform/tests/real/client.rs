//! Clients: each writes one value through psql, and knows afterwards what a client knows.

use super::Real;
use crate::support::{LIMIT, until};
use dauphin_conform::{Commit, Who};
use dauphin_model::{Lsn, Position};
use std::process::Stdio;
use tokio::task::JoinHandle;

/// A client that writes one value.
pub(super) struct Writer {
    at: Who,
    session: String,
    task: JoinHandle<Commit>,
    ended: Option<Commit>,
    /// Whoever holds this holds the commit.
    pub(super) written: Option<Position>,
}

impl Real {
    pub(super) async fn write(&mut self, at: Who, value: u32) {
        let instance = &self.of(at).pg.instance;
        let session = format!("value_{value}");
        let mut psql = tokio::process::Command::new(instance.bin.program("psql"));
        let to = format!("host=127.0.0.1 port={} user=app dbname=app application_name={session}", instance.port);
        psql.args(["-d", &to, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", &format!("INSERT INTO t VALUES ({value})")]);
        psql.env("PGPASSWORD", "app").env("HOME", "/nonexistent").stdin(Stdio::null()).kill_on_drop(true);
        psql.stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(path) = &instance.bin.library_path {
            psql.env("LD_LIBRARY_PATH", path);
        }
        let client = psql.spawn().unwrap();
        let task = tokio::spawn(async move {
            let output = client.wait_with_output().await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("ERROR"), "{said}");
            match (output.status.success(), said.contains("WARNING")) {
                (true, false) => Commit::Acknowledged,
                (true, true) => Commit::Warned,
                (false, _) => Commit::Unknown,
            }
        });
        self.writers.insert(value, Writer { at, session, task, ended: None, written: None });
        until("a commit that ends or waits", async || {
            self.waits(value).await || self.writers[&value].task.is_finished()
        })
        .await;
        // its record lies before this; what else may lie there is nobody's commit
        let end = self.sql(at, "SELECT pg_current_wal_flush_lsn()").await;
        let end: Lsn = end[0].parse().unwrap();
        let position = self.of(at).pg.look(LIMIT).await.position.unwrap();
        self.writers.get_mut(&value).unwrap().written = Some(Position { lsn: end, ..position });
    }

    /// Whether the server says that the commit waits for replicas.
    async fn waits(&self, value: u32) -> bool {
        let writer = &self.writers[&value];
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND wait_event = 'SyncRep'",
            writer.session
        );
        self.up[writer.at.index()] && self.sql(writer.at, &waiting).await == ["1"]
    }

    pub(super) async fn cancel(&mut self, value: u32) {
        let writer = &self.writers[&value];
        let sql = format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
            writer.session
        );
        assert_eq!(self.sql(writer.at, &sql).await, ["t"]);
    }

    /// What the client of this value knows.
    pub(super) async fn commit(&mut self, value: u32) -> Commit {
        if self.waits(value).await {
            return Commit::Waits;
        }
        let writer = self.writers.get_mut(&value).unwrap();
        let ended = match writer.ended {
            Some(ended) => ended,
            // it need not wait any more: it hears so
            None => tokio::time::timeout(LIMIT, &mut writer.task).await.expect("the client hears").unwrap(),
        };
        writer.ended = Some(ended);
        ended
    }
}
