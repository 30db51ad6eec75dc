//! Begins a leadership on a timeline that we choose: a replica that was elected, or a new server at the first start. The
//! election decided before; what is proved here is that the timeline's row is the first transaction after everything that the
//! log held. The server takes writes then; clients are let in by an act of its own, behind the barrier.

use crate::mysql::access::Access;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::timelines::Began;
use crate::mysql::{Error, Flavour, Mysql, Result, SemiSync};
use dauphin_model::{Lsn, SwitchPoint, Timeline};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DOING: &str = "beginning a leadership";
/// A new cluster's number: 64 bits of a hash of what is unique. 0 would look like none.
const IDENTITY: &str =
    "SELECT GREATEST(1, CAST(CONV(LEFT(SHA2(CONCAT(UUID(), RAND(), NOW(6)), 256), 16), 16, 10) AS unsigned))";

impl Mysql {
    /// Leads on `timeline`: applies everything received, forgets the source, and writes the timeline's row. Clients must be kept
    /// out. Can be repeated: a server that leads on that timeline already just says where it began.
    ///
    /// # Errors
    /// [`Error::Timeline`] when the number is too low, clients are let in or somebody else wrote; [`Error::Stray`] for a log that
    /// is in no chain; [`Error::Unapplied`] when something received cannot be applied: nothing is changed then. [`Error::Sql`].
    pub async fn begin_timeline(&self, timeline: Timeline, limit: Duration) -> Result<SwitchPoint> {
        let refuse = |why: String| Err(Error::Timeline { wanted: timeline.0, why });
        let before = self.standing(LOOK_LIMIT).await?;
        if let Some(row) = before.began.last().filter(|row| row.timeline >= timeline) {
            if row.timeline > timeline || Some(row.writer) != before.view.writer() || !before.view.channels.is_empty() {
                return refuse(format!("leadership {} began already; choose a higher one", row.timeline));
            }
            self.open_writes().await?;
            return Ok(SwitchPoint { from: row.parent, lsn: row.end, next_xid: 0 });
        }
        if self.access().await? == Access::Open {
            return refuse("clients are let in, and one of them could write first; keep them out".to_owned());
        }
        self.promote(limit).await?;
        // whose acknowledgements count is set behind this, and until then there is nobody to wait for
        self.set_semi_sync(SemiSync::Off).await?;
        if self.dialect().flavour() == Flavour::Mysql {
            // nobody but administrators: the agent is one
            self.act(DOING, "SET GLOBAL read_only = ON, super_read_only = OFF").await?;
        }
        let standing = self.standing(LOOK_LIMIT).await?;
        let (position, view) = (standing.place.position, standing.view);
        if let Some(stray) = standing.place.stray {
            return Err(Error::Stray { stray });
        }
        if timeline <= position.timeline {
            return refuse(format!("the log is on leadership {} already; choose a higher one", position.timeline));
        }
        let writer = view.writer().ok_or_else(|| Error::Answer { doing: DOING, answer: format!("{:?}", view.uuid) })?;
        let identity = match standing.began.first() {
            Some(first) => first.identity,
            None => self.new_identity().await?,
        };
        let row = Began { timeline, parent: position.timeline, end: position.lsn, writer, identity };
        let beginning = Beginning::of(&self.beginning);
        self.writes.query(&row.insert(), limit).await.map_err(Error::sql(DOING))?;
        drop(beginning);
        let after = self.standing(LOOK_LIMIT).await?.place;
        let (found, first) = (after.position.timeline, Lsn(row.end.0 + 1));
        if found != timeline || after.position.lsn != first || after.stray.is_some() {
            return refuse(format!(
                "somebody wrote meanwhile: the log is at transaction {} of leadership {}, {:?}",
                after.position.lsn.0, after.position.timeline, after.stray
            ));
        }
        self.open_writes().await?;
        Ok(SwitchPoint { from: row.parent, lsn: row.end, next_xid: 0 })
    }

    async fn new_identity(&self) -> Result<u64> {
        let text = self.value(DOING, IDENTITY).await?;
        text.parse().map_err(|_| Error::Answer { doing: DOING, answer: text })
    }
}

/// While it lives, a look cannot say where the log is: MariaDB counts the row a moment before anybody sees it.
struct Beginning<'a>(&'a AtomicBool);

impl<'a> Beginning<'a> {
    fn of(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Release);
        Self(flag)
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
