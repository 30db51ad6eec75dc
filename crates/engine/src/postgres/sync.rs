//! Sets what commits wait for, and confirms that every process of the server goes by it. A reload is not enforcement:
//! each walsender releases waiting commits by its own copy of the names. Its priority in pg_stat_replication is computed
//! from that copy, so a setting that gives every name another priority shows when each one has it.

use crate::postgres::client::Row;
use crate::postgres::config::{NOBODY, nobody};
use crate::postgres::control::POLL;
use crate::postgres::process::Process;
use crate::postgres::{Error, Postgres, Result};
use dauphin_model::{Attached, Enforced, Voter};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often replicas are made to report after a change of the setting, and the pause after each time.
const HEAR_TIMES: u32 = 2;
const HEAR_PAUSE: Duration = Duration::from_millis(15);
/// How long one look at the walsenders may take.
const LOOK_LIMIT: Duration = Duration::from_millis(1_000);
/// After this long a walsender that has not taken the setting is ended; its replica connects again with the new one.
const CONFIRM_PATIENCE: Duration = Duration::from_millis(500);
/// How long it may take until the last one is gone.
const CONFIRM_LIMIT: Duration = Duration::from_millis(3_000);

/// How the voters are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMethod {
    /// Any `required` of them (`quorum`).
    Any,
    /// The first `required` of those attached (`sync`).
    First,
}

/// `synchronous_standby_names` for this.
#[must_use]
pub fn names(enforced: &Enforced, method: SyncMethod) -> String {
    if enforced.required == 0 {
        return String::new();
    }
    // fewer voters than required: nobody ever answers for the missing ones, and commits wait
    let missing = (enforced.required as usize).saturating_sub(enforced.voters.len());
    let voters = enforced.voters.iter().map(|v| format!("\"{}\"", v.application_name()));
    let nobody = (0..missing).map(|n| format!("\"{NOBODY}{n}\""));
    let list: Vec<String> = voters.chain(nobody).collect();
    let word = match method {
        SyncMethod::Any => "ANY",
        SyncMethod::First => "FIRST",
    };
    format!("{word} {} ({})", enforced.required, list.join(", "))
}

/// The same promise or a stronger one, with `strangers` in front so that priorities begin above them; and what each
/// walsender must show.
fn marked(enforced: &Enforced, strangers: u32) -> (String, BTreeMap<String, u32>) {
    let front = (0..strangers).map(|n| format!("{NOBODY}_{n}"));
    let voters: Vec<String> = enforced.voters.iter().map(Voter::application_name).collect();
    let list: Vec<String> = front.chain(voters.iter().cloned()).map(|n| format!("\"{n}\"")).collect();
    let setting = format!("FIRST {} ({})", enforced.required, list.join(", "));
    (setting, voters.into_iter().zip(strangers + 1..).collect())
}

/// A marked setting under which no walsender may show what it shows now, whatever setting that comes from.
fn newly_marked(enforced: &Enforced, shown: &[Shown]) -> (String, BTreeMap<String, u32>) {
    let highest = shown.iter().map(|s| s.priority).max().unwrap_or(0);
    let fits = |strangers: &u32| {
        let (_, expected) = marked(enforced, *strangers);
        shown.iter().all(|s| expected.get(&s.name) != Some(&s.priority))
    };
    // with more strangers than the highest priority shown, every expected one is new
    let strangers = (1..=highest).find(fits).unwrap_or(highest + 1);
    marked(enforced, strangers)
}

/// What a walsender shows in pg_stat_replication.
struct Shown {
    pid: i32,
    name: String,
    priority: u32,
}

impl Postgres {
    /// Sets what commits wait for, and proves that the postmaster has it. Walsenders and waiting commits may still go
    /// by the setting before: [`Postgres::confirm_sync`] ends that.
    ///
    /// # Errors
    /// Those of [`Postgres::reload`].
    pub async fn set_sync(&self, enforced: &Enforced, method: SyncMethod) -> Result<()> {
        let names = names(enforced, method);
        self.apply_live(|live| live.sync_names = names).await
    }

    /// Makes every commit wait for nobody, which is for ever: what a replica has, so that a promoted server
    /// acknowledges nothing before it is told what to wait for.
    ///
    /// # Errors
    /// Those of [`Postgres::reload`].
    pub async fn block_commits(&self) -> Result<()> {
        self.apply_live(|live| live.sync_names = nobody()).await
    }

    /// Sets what commits wait for, and returns when no process releases a commit by any earlier setting.
    ///
    /// # Errors
    /// Those of [`Postgres::reload`]; [`Error::TimedOut`] when a walsender neither takes the setting nor ends.
    pub async fn confirm_sync(&self, enforced: &Enforced, method: SyncMethod) -> Result<()> {
        if enforced.required == 0 {
            return self.set_sync(enforced, method).await;
        }
        let plain = names(enforced, method);
        if enforced.voters.len() < enforced.required as usize {
            // commits wait for ever under the plain setting: no walsender can release one once it has it, and none of
            // the strangers in it gives a priority to compare
            self.apply_live(|live| live.sync_names = nobody()).await?;
            self.wait_priorities(&BTreeMap::new()).await?;
            return self.apply_live(|live| live.sync_names = plain).await;
        }
        // the marked setting releases nobody, and what replicas report meanwhile is not heard twice
        let (marked, expected) = newly_marked(enforced, &self.shown().await?);
        self.apply_live(|live| live.sync_names = marked).await?;
        self.wait_priorities(&expected).await?;
        self.apply_live(|live| live.sync_names = plain).await?;
        self.hear_replicas_again().await
    }

    /// Commits that wait are released when a replica reports, by the setting that its walsender has then. With a new
    /// setting and no new log the next report is a whole `wal_receiver_status_interval` away: a little log makes them
    /// report at once. Twice, because a walsender takes a setting a moment after the postmaster.
    pub(crate) async fn hear_replicas_again(&self) -> Result<()> {
        if self.shown().await?.is_empty() {
            return Ok(());
        }
        let sql = "BEGIN; SET LOCAL synchronous_commit = local; \
                   SELECT pg_logical_emit_message(true, 'dauphin', 'heard?'); COMMIT";
        for _ in 0..HEAR_TIMES {
            self.acts.query(sql, LOOK_LIMIT).await.map_err(Error::sql("hearing the replicas again"))?;
            tokio::time::sleep(HEAR_PAUSE).await;
        }
        Ok(())
    }

    async fn shown(&self) -> Result<Vec<Shown>> {
        let sql = "SELECT pid, application_name, sync_priority FROM pg_stat_replication WHERE state <> 'startup' \
                   AND state <> 'backup'";
        let rows = self.acts.query(sql, LOOK_LIMIT).await.map_err(Error::sql("looking at the walsenders"))?.rows;
        let shown = |r: &Row| Some(Shown { pid: r.parse(0)?, name: r.get(1)?.to_owned(), priority: r.parse(2)? });
        Ok(rows.iter().filter_map(shown).collect())
    }

    /// Waits until every walsender shows the priority that the setting gives its name. One that shows 0 releases
    /// nothing, so 0 is right for a name that is not in the setting.
    async fn wait_priorities(&self, expected: &BTreeMap<String, u32>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut shown = self.shown().await?;
            shown.retain(|s| s.priority != expected.get(&s.name).copied().unwrap_or(0));
            if shown.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= CONFIRM_PATIENCE {
                for process in shown.iter().filter_map(|s| Process::in_dir(s.pid, &self.instance.data_dir)) {
                    process.signal(Signal::TERM)?;
                }
            }
            if begun.elapsed() >= CONFIRM_LIMIT {
                let doing = "waiting for walsenders to take the setting";
                let hint = "; a walsender hangs: the setting before may still release commits";
                return Err(Error::TimedOut { doing, limit: CONFIRM_LIMIT, hint });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Names under which more than one replica is attached: each would count for the other. An alarm.
#[must_use]
pub fn duplicates(attached: &[Attached]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for replica in attached.iter().filter(|a| a.state != "startup" && a.state != "backup") {
        *seen.entry(&replica.application_name).or_default() += 1;
    }
    seen.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::{Incarnation, MemberName, Voter};

    fn enforced(voters: &[&str], required: u32) -> Enforced {
        let voter = |n: &&str| Voter::new(MemberName::new(n).expect("a name"), Incarnation(1));
        Enforced { voters: voters.iter().map(voter).collect(), required }
    }

    #[test]
    fn names_are_rendered_for_each_durability() {
        let two = enforced(&["m2", "m3"], 1);
        assert_eq!(names(&two, SyncMethod::Any), r#"ANY 1 ("dauphin_m2_1", "dauphin_m3_1")"#);
        assert_eq!(names(&two, SyncMethod::First), r#"FIRST 1 ("dauphin_m2_1", "dauphin_m3_1")"#);
        assert_eq!(names(&enforced(&["m2"], 0), SyncMethod::Any), "");
        assert_eq!(names(&enforced(&[], 1), SyncMethod::Any), r#"ANY 1 ("dauphin_nobody0")"#);
    }

    #[test]
    fn a_marked_setting_never_shows_what_an_earlier_one_did() {
        let set = enforced(&["m2", "m3"], 1);
        let shown = |name: &str, priority| Shown { pid: 1, name: name.to_owned(), priority };
        for (first, second) in [(1, 1), (2, 3), (1, 2), (3, 2), (0, 0), (9, 2)] {
            let now = [shown("dauphin_m2_1", first), shown("dauphin_m3_1", second)];
            let (setting, expected) = newly_marked(&set, &now);
            assert!(setting.starts_with("FIRST 1 (\"dauphin_nobody_0\""), "{setting}");
            assert_ne!(expected["dauphin_m2_1"], first);
            assert_ne!(expected["dauphin_m3_1"], second);
        }
    }
}
