//! Where a member's log stands among its cluster's leaderships: a look at the server and at the rows of its timelines, put
//! together. Nothing is changed here.

use crate::mysql::client::ClientError;
use crate::mysql::timelines::{Began, Place, READ};
use crate::mysql::{Error, Mysql, Result, View};
use std::time::Duration;

const DOING: &str = "reading the timelines";
/// There is no such table, or database.
const NOT_THERE: [u16; 2] = [1146, 1049];

/// A look, and where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The look.
    pub view: View,
    /// The leaderships that it knows of, the oldest first.
    pub began: Vec<Began>,
    /// Where its log is.
    pub place: Place,
}

impl Mysql {
    /// Looks at the server and says where its log is, in at most `limit`. It counts what is applied: what was received and is
    /// not may hold a leadership that nobody can tell before.
    ///
    /// # Errors
    /// Those of [`Mysql::look`].
    pub async fn standing(&self, limit: Duration) -> Result<Standing> {
        let late = || Error::Sql { doing: DOING, source: ClientError::TimedOut(limit) };
        let stand = async {
            let view = self.look(limit).await?;
            // after the log: a row that the log does not reach is told by its place, a log without its row would be stray
            let began = self.began(limit).await?;
            let place = view.log().place(&began);
            Ok(Standing { place, began, view })
        };
        tokio::time::timeout(limit, stand).await.unwrap_or_else(|_| Err(late()))
    }

    async fn began(&self, limit: Duration) -> Result<Vec<Began>> {
        let rows = match self.looks.query(READ, limit).await {
            Err(ClientError::Server { code, .. }) if NOT_THERE.contains(&code) => return Ok(Vec::new()),
            rows => rows.map_err(Error::sql(DOING))?,
        };
        let unclear = || Error::Answer { doing: DOING, answer: format!("{rows:?}") };
        rows.iter().map(|row| Began::read(row).ok_or_else(unclear)).collect()
    }

    /// The cluster's number, which its first leader wrote down: the counterpart of PostgreSQL's system identifier. `None`:
    /// nobody ever led here.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn identity(&self, limit: Duration) -> Result<Option<u64>> {
        Ok(self.began(limit).await?.first().map(|first| first.identity))
    }
}
