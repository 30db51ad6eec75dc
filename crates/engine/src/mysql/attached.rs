//! Who is attached to a leader: replicas say who they are when they come, and the account shows whether they acknowledge. The
//! server does not tell how far each of them is; they tell it themselves.

use crate::mysql::client::Row;
use crate::mysql::{Error, Mysql, Result, View, accounts};
use dauphin_model::{Attached, Voter};
use std::collections::BTreeSet;
use std::time::Duration;

const DOING: &str = "looking at who is attached";

impl Mysql {
    /// The replicas that stream from here, by what they say of themselves.
    pub(crate) async fn attached(&self, view: &View, limit: Duration) -> Result<Vec<Attached>> {
        let ask = async |sql: &str| self.looks.query(sql, limit).await.map_err(Error::sql(DOING));
        let said = ask(self.dialect().attached()).await?;
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let streams = "SELECT USER FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
        let rows = ask(streams).await?;
        let streams: BTreeSet<&str> = rows.iter().filter_map(|row| row.at(0)).collect();
        Ok(said.iter().map(|row| attached(row, &streams, view.semi_sync.waits)).collect())
    }
}

/// A replica, from what it said; `streams` are the accounts under which anybody streams now.
fn attached(row: &Row, streams: &BTreeSet<&str>, waits: bool) -> Attached {
    let name = row.get("User").unwrap_or_default();
    let voter = Voter::from_application_name(name);
    let counts = waits && voter.as_ref().is_some_and(|voter| streams.contains(&*accounts::voter(&voter.name)));
    let unnamed = || format!("server_{}", row.get("Server_Id").unwrap_or("?"));
    Attached {
        application_name: if name.is_empty() { unnamed() } else { name.to_owned() },
        voter,
        client_addr: row.get("Host").filter(|host| !host.is_empty()).map(str::to_owned),
        state: "streaming".to_owned(),
        sync_state: if counts { "quorum" } else { "async" }.to_owned(),
        write: None,
        flush: None,
        replay: None,
        lag: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_who_it_says_and_counts_by_its_account() {
        let of = |user: &str, streams: &[&str], waits| {
            let columns = [("Server_id", "7"), ("Host", "10.0.0.2"), ("User", user), ("Port", "3306")];
            let row = columns.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
            let found = attached(&row, &streams.iter().copied().collect(), waits);
            (found.application_name, found.voter.map(|v| v.to_string()), found.sync_state)
        };
        let is = |name: &str, voter: Option<&str>, state: &str| {
            (name.to_owned(), voter.map(str::to_owned), state.to_owned())
        };
        assert_eq!(of("dauphin_m2_3", &["dauphin_voter_m2"], true), is("dauphin_m2_3", Some("m2#3"), "quorum"));
        assert_eq!(of("dauphin_m2_3", &["dauphin_replication"], true), is("dauphin_m2_3", Some("m2#3"), "async"));
        assert_eq!(of("dauphin_m2_3", &["dauphin_voter_m2"], false).2, "async", "nothing waits");
        assert_eq!(of("", &[], true), is("server_7", None, "async"));
    }
}
