//! What is Dauphin's on a running server and somebody changed by hand: found, and set back, because acknowledged commits rest on
//! it. The agent calls it every few seconds, where no act is under way. Who may write on a replica is seen by every look.

use crate::mysql::semi_sync::waits_by;
use crate::mysql::server::is_in_force;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Acknowledges, Error, Flavour, Mysql, Result, SemiSync, Thread, View};
use dauphin_model::Remark;
use std::sync::atomic::Ordering;

const DOING: &str = "setting back what somebody changed by hand";

/// What is the same on every member at all times.
const ALWAYS: [(&str, &str); 2] = [("sync_binlog", "1"), ("innodb_flush_log_at_trx_commit", "1")];

impl Mysql {
    /// Sets back what of Dauphin's settings is not as it should be, and names it. `required`: how many replicas commits wait
    /// for, on a leader that was told so.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::NotTaken`].
    pub async fn set_back(&self, required: Option<u32>) -> Result<Vec<String>> {
        let mut wanted: Vec<(String, String)> = ALWAYS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        if self.acknowledges().await? == Acknowledges::Yes {
            wanted.push(("sync_relay_log".to_owned(), "1".to_owned()));
        }
        if self.dialect().flavour() == Flavour::Mariadb {
            wanted.push(("gtid_strict_mode".to_owned(), "ON".to_owned()));
        }
        if let Some(required) = required.filter(|required| *required > 0) {
            wanted.extend(waits_by(self.dialect(), SemiSync::Wait { required }));
        }
        let names: Vec<String> = wanted.iter().map(|(key, _)| format!("@@GLOBAL.{key}")).collect();
        let rows = self.looks.query(&format!("SELECT {}", names.join(", ")), LOOK_LIMIT).await;
        let row = rows.map_err(Error::sql(DOING))?.into_iter().next().unwrap_or_default();
        let mut changed = Vec::new();
        for (n, (key, value)) in wanted.into_iter().enumerate() {
            if !row.at(n).is_some_and(|found| is_in_force(&value, found)) {
                self.set_global(DOING, &key, &value).await?;
                changed.push(key);
            }
        }
        if required.is_some_and(|required| required > 0) && !self.look(LOOK_LIMIT).await?.semi_sync.waits {
            // fallen back, it would let every commit through until a replica comes
            let prefix = self.dialect().semi_sync_leader();
            for value in ["OFF", "ON"] {
                self.set_global(DOING, &format!("{prefix}_enabled"), value).await?;
            }
            changed.push(format!("{prefix}_status"));
        }
        Ok(changed)
    }

    /// The remark on a replica that somebody opened to writes: it will be closed again.
    pub(crate) fn opened_by_hand(&self, view: &View) -> Option<Remark> {
        let receives = view.channels.iter().any(|channel| channel.receiver != Thread::Stopped);
        let open = receives && view.writes != self.closed();
        self.opened.store(open, Ordering::Release);
        let settings = vec![self.dialect().closed_setting().to_owned()];
        open.then_some(Remark::SetBack { settings })
    }

    /// Whether the last look found a replica that takes writes.
    #[must_use]
    pub fn is_open_by_hand(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }
}
