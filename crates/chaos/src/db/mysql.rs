//! A client of MySQL or MariaDB. Which errors say that nothing was done is one table here; every other one leaves the outcome
//! unknown, and the connection is given up.

use super::{Broken, DATABASE, Place, Rows};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;

/// `--read-only`, `--super-read-only`: a replica, or a leader that closes.
const READ_ONLY: u16 = 1290;

/// Errors with which the server says that the statement, or the COMMIT, did nothing, and why that is so. What is not here may have
/// been done: a session that is killed, or runs out of its time, in the wait for an acknowledgement has its commit in the log
/// (1317, 3024, 1969; MariaDB was seen to report such a commit as done), a server that stops or closes may be past it (1053,
/// 1927, 3032, 3169), and so may one whose disk fails (1021, 1026, 1030, 1114, 1598, 3100).
const FAILED: [(u16, &str); 16] = [
    (1020, "the row has changed since the transaction's snapshot; rolled back (MariaDB, innodb_snapshot_isolation)"),
    (1040, "no room: said in place of the greeting, nothing was asked yet"),
    (1044, "no right to the database: before execution"),
    (1045, "no such login: before anything was asked"),
    (1046, "no database is chosen: before execution"),
    (1049, "no such database: before execution"),
    (1062, "the key is there already: the statement is rolled back"),
    (1064, "not SQL: before execution"),
    (1142, "no right to the table: before execution"),
    (1146, "no such table: before execution"),
    (1203, "the account has too many sessions: said at the login"),
    (1205, "a lock was not had in time: the statement is rolled back, and COMMIT takes no such lock"),
    (1213, "a deadlock: the whole transaction is rolled back"),
    (READ_ONLY, "the server is closed to writes: before execution, at COMMIT before anything is logged"),
    (1690, "a value out of range: the statement is rolled back"),
    (1792, "the transaction only reads: before execution"),
];

/// Largest message, in bytes: half of what the servers take by themselves.
const PACKET_BYTES_MAX: usize = 8 << 20;
/// How long a connection may be idle, in seconds.
const IDLE_S_MAX: usize = 3_600;

pub(super) struct Session {
    conn: Mutex<Option<Conn>>,
    closed: AtomicBool,
}

impl Session {
    pub(super) async fn open(place: &Place) -> Result<Self, Broken> {
        let opts = OptsBuilder::default()
            .ip_or_hostname(&place.host)
            .tcp_port(place.port)
            .prefer_socket(false)
            .user(Some(&place.user))
            .pass(Some(&place.password))
            .db_name(Some(DATABASE))
            // told, so that nothing is asked first
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(IDLE_S_MAX));
        let conn = Conn::new(opts).await.map_err(|e| broken(&e))?;
        Ok(Self { conn: Mutex::new(Some(conn)), closed: AtomicBool::new(false) })
    }

    pub(super) async fn rows(&self, sql: &str) -> Result<Rows, Broken> {
        let mut kept = self.conn.lock().await;
        // given up in the middle, it goes with this future: its socket closes, and nothing is cancelled
        let Some(mut conn) = kept.take() else { return Err(Broken::Lost) };
        let answer = ask(&mut conn, sql).await.map_err(|e| broken(&e));
        match &answer {
            Err(Broken::Said { failed: true, .. }) | Ok(_) => *kept = Some(conn),
            Err(_) => self.closed.store(true, Ordering::Release),
        }
        answer
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

async fn ask(conn: &mut Conn, sql: &str) -> mysql_async::Result<Rows> {
    let mut result = conn.query_iter(sql).await?;
    let mut rows = Vec::new();
    // one set of rows for each statement; after the last there is none
    while !result.is_empty() {
        rows.extend(result.collect::<Row>().await?.into_iter().map(texts));
    }
    // a statement behind the first one that fails is told by this alone
    result.drop_result().await?;
    Ok(rows)
}

fn texts(row: Row) -> Vec<Option<String>> {
    let text = |value: Option<Value>| match value {
        None | Some(Value::NULL) => None,
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // the text protocol sends nothing else
        Some(other) => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    };
    row.unwrap_raw().into_iter().map(text).collect()
}

fn broken(error: &Error) -> Broken {
    match error {
        Error::Server(error) => said(error.code),
        _ => Broken::Lost,
    }
}

fn said(code: u16) -> Broken {
    let failed = FAILED.iter().any(|(known, _)| *known == code);
    Broken::Said { code: code.to_string(), failed, read_only: code == READ_ONLY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_histories::Outcome;

    #[test]
    fn only_what_certainly_failed_has_failed() {
        assert!(FAILED.windows(2).all(|two| two[0].0 < two[1].0), "in order, each once");
        for code in [1290, 1040, 1213, 1062] {
            assert_eq!(said(code).outcome(), Outcome::Failed, "{code}");
        }
        // killed, out of time, a server that goes or closes, its disk: the commit may be in the log
        for code in [1317, 3024, 1969, 1053, 1927, 3032, 3169, 1184, 1021, 1026, 1030, 1180, 1598, 3100] {
            assert_eq!(said(code).outcome(), Outcome::Unknown, "{code}");
        }
        assert!(said(1290).is_read_only() && !said(1213).is_read_only());
    }
}
