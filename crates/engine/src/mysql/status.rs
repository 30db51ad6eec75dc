//! What a replica says of one channel: its threads, how far it received, its own figure for lag, its errors. Pure: from a
//! row of the server's status to a [`Channel`]; the columns' names differ by flavour and nowhere else.

use crate::mysql::client::Row;
use crate::mysql::{Flavour, Reached};
use dauphin_model::FilePosition;
use dauphin_model::gtid::BadText;
use std::fmt;

/// A thread of replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thread {
    /// It does not run.
    Stopped,
    /// It runs and reaches nobody. It may get through at any moment: stopping it counts.
    Connecting,
    /// It runs.
    Running,
}

impl Thread {
    fn read(word: &str) -> Self {
        match word {
            "Yes" => Self::Running,
            "No" | "" => Self::Stopped,
            // Connecting, and MariaDB's Preparing
            _ => Self::Connecting,
        }
    }
}

/// Why a thread stopped, or cannot connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The server's number: 1236, 1062, 2003…
    pub number: u32,
    /// Its text.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.number, self.text)
    }
}

/// MySQL's coordinator, or a worker behind the one that failed: it stopped because another one did.
const STOPPED_FOR_ANOTHER: u32 = 3_030;

/// Which of MySQL's workers failed first-hand. The channel's own error may be that of one which only stopped because another
/// did, and names no statement then.
pub(crate) fn first_hand(told: Fault, channel: &str, workers: &[Row]) -> Fault {
    let of = |row: &Row| {
        let number = row.parse("number").filter(|n| *n != 0 && row.get("channel") == Some(channel))?;
        Some(Fault { number, text: row.get("message").unwrap_or_default().to_owned() })
    };
    workers.iter().filter_map(of).find(|fault| fault.number != STOPPED_FOR_ANOTHER).unwrap_or(told)
}

/// A channel of replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name; the default one has none.
    pub name: String,
    /// The source's host.
    pub host: String,
    /// The source's port.
    pub port: u16,
    /// The account with which it receives.
    pub user: String,
    /// The source's number, once it was reached.
    pub source_id: u32,
    /// The receiver.
    pub receiver: Thread,
    /// The applier.
    pub applier: Thread,
    /// The receiver's last error.
    pub receiver_fault: Option<Fault>,
    /// The applier's last error.
    pub applier_fault: Option<Fault>,
    /// What was received, as far as this server knows since its start.
    pub retrieved: Reached,
    /// Where in the relay log the applier stands.
    pub relay_at: Option<FilePosition>,
    /// Whether it goes on by GTID, not by file and offset.
    pub by_gtid: bool,
    /// The server's own figure for lag, in seconds. `None` says that a thread is down; 0 may be a receiver that is behind.
    pub seconds_behind: Option<u64>,
    /// How long it waits on purpose, in seconds.
    pub delay_s: u64,
    /// Whether the connection to the source demands TLS.
    pub tls: bool,
}

impl Channel {
    /// From a row of the status.
    ///
    /// # Errors
    /// [`BadText`] when what was received cannot be read.
    pub fn read(flavour: Flavour, row: &Row) -> Result<Self, BadText> {
        let (source, replica) = match flavour {
            Flavour::Mysql => ("Source", "Replica"),
            Flavour::Mariadb => ("Master", "Slave"),
        };
        let text = |name: &str| row.get(name).unwrap_or_default().to_owned();
        let fault = |thread: &str| {
            let number = row.parse(&format!("Last_{thread}_Errno")).filter(|n| *n != 0)?;
            Some(Fault { number, text: text(&format!("Last_{thread}_Error")) })
        };
        let (name, retrieved, by_gtid) = match flavour {
            Flavour::Mysql => {
                let set = text("Retrieved_Gtid_Set").parse()?;
                (text("Channel_Name"), Reached::Mysql(set), row.get("Auto_Position") == Some("1"))
            }
            Flavour::Mariadb => {
                let position = text("Gtid_IO_Pos").parse()?;
                let by_gtid = row.get("Using_Gtid").is_some_and(|using| using != "No");
                (text("Connection_name"), Reached::Mariadb(position), by_gtid)
            }
        };
        let thread = |which: &str| Thread::read(row.get(&format!("{replica}_{which}_Running")).unwrap_or_default());
        Ok(Self {
            name,
            host: text(&format!("{source}_Host")),
            port: row.parse(&format!("{source}_Port")).unwrap_or(0),
            user: text(&format!("{source}_User")),
            source_id: row.parse(&format!("{source}_Server_Id")).unwrap_or(0),
            receiver: thread("IO"),
            applier: thread("SQL"),
            receiver_fault: fault("IO"),
            applier_fault: fault("SQL"),
            retrieved,
            relay_at: FilePosition::new(&text("Relay_Log_File"), row.parse("Relay_Log_Pos").unwrap_or(0)).ok(),
            by_gtid,
            seconds_behind: row.parse(&format!("Seconds_Behind_{source}")),
            delay_s: row.parse("SQL_Delay").unwrap_or(0),
            tls: row.get(&format!("{source}_SSL_Allowed")) == Some("Yes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(&str, &str)]) -> Row {
        columns
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value != "NULL").then(|| (*value).to_owned())))
            .collect()
    }

    #[test]
    fn the_worker_that_failed_is_told_not_one_that_stopped_for_it() {
        let worker = |channel, number, message| row(&[("channel", channel), ("number", number), ("message", message)]);
        let told = || Fault { number: 3030, text: "another worker stopped".to_owned() };
        let workers = [
            worker("", "0", ""),
            worker("", "3030", "another worker stopped"),
            worker("other", "1032", "a row is not there"),
            worker("", "1062", "a row is there already"),
        ];
        assert_eq!(first_hand(told(), "", &workers).to_string(), "error 1062: a row is there already");
        assert_eq!(first_hand(told(), "other", &workers).number, 1032);
        assert_eq!(first_hand(told(), "", &workers[..2]), told(), "what the channel says is all there is");
    }

    #[test]
    fn both_families_say_the_same_in_other_words() {
        let mysql = row(&[
            ("Source_Host", "10.0.0.1"),
            ("Source_Port", "3306"),
            ("Replica_IO_Running", "Connecting"),
            ("Replica_SQL_Running", "No"),
            ("Last_IO_Errno", "2003"),
            ("Last_IO_Error", "cannot connect"),
            ("Last_SQL_Errno", "0"),
            ("Seconds_Behind_Source", "NULL"),
            ("SQL_Delay", "60"),
            ("Source_Server_Id", "7"),
            ("Retrieved_Gtid_Set", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3"),
            ("Auto_Position", "1"),
            ("Channel_Name", ""),
            ("Source_SSL_Allowed", "Yes"),
        ]);
        let mariadb = row(&[
            ("Connection_name", ""),
            ("Master_Host", "10.0.0.1"),
            ("Master_Port", "3306"),
            ("Slave_IO_Running", "Connecting"),
            ("Slave_SQL_Running", "No"),
            ("Last_IO_Errno", "2003"),
            ("Last_IO_Error", "cannot connect"),
            ("Last_SQL_Errno", "0"),
            ("Seconds_Behind_Master", "NULL"),
            ("SQL_Delay", "60"),
            ("Master_Server_Id", "7"),
            ("Gtid_IO_Pos", "0-1-3"),
            ("Using_Gtid", "Slave_Pos"),
            ("Master_SSL_Allowed", "Yes"),
        ]);
        let one = Channel::read(Flavour::Mysql, &mysql).expect("a channel");
        let other = Channel::read(Flavour::Mariadb, &mariadb).expect("a channel");
        assert_eq!(Channel { retrieved: other.retrieved.clone(), ..one.clone() }, other);
        assert_eq!(
            (one.receiver, one.applier, one.seconds_behind, one.delay_s),
            (Thread::Connecting, Thread::Stopped, None, 60)
        );
        assert_eq!(one.receiver_fault.as_ref().map(ToString::to_string).as_deref(), Some("error 2003: cannot connect"));
        assert!(one.by_gtid && one.tls && one.applier_fault.is_none());
        assert!(Channel::read(Flavour::Mysql, &row(&[("Retrieved_Gtid_Set", "nonsense")])).is_err());
    }
}
