//! The journal: every decision of this member with its evidence. The newest lie in memory and in the store, where every
//! agent can explain them; all of them are appended to a file beside the data. It never holds up a decision.

use crate::care::Care;
use crate::keys;
use crate::lengths::Lengths;
use crate::phases::{Phase, Phases};
use crate::picture::Picture;
use crate::view;
use dauphin_alerts::Fix;
use dauphin_api::dto::JournalEntry;
use dauphin_guard::boottime;
use dauphin_ha::Reason;
use dauphin_model::{EngineKind, Lsn, MemberName, Position, Term};
use dauphin_store::{Snapshot, Store, Txn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};

/// Decisions kept in memory.
const KEPT_MAX: usize = 1_000;
/// Decisions of one member kept in the store.
const SHARED_MAX: usize = 60;
/// Decisions are shared this long after they were made, together: an election comes first.
const SHARE_AFTER: Duration = Duration::from_millis(1_500);
/// A decision that says what the one before said is not kept within this time of it: a turn that is tried again and
/// again would push out of the store what led to it.
const SAME_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The file is begun anew at this size; one older file is kept.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How often at most those who follow the cluster's state hear that it changed.
const STATE_EVERY: Duration = Duration::from_millis(500);

/// One decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Microseconds of the wall clock: sorts decisions of all members, for people.
    pub(crate) id: u64,
    pub(crate) at: String,
    pub(crate) term: Term,
    pub(crate) member: MemberName,
    pub(crate) reason: Reason,
    /// In whose words it is told.
    #[serde(skip)]
    pub(crate) engine: EngineKind,
}

impl Entry {
    /// What was decided and why, for people.
    pub(crate) fn text(&self) -> String {
        self.reason.told(self.engine).to_string()
    }

    pub(crate) fn dto(&self) -> JournalEntry {
        JournalEntry {
            id: self.id,
            at: self.at.clone(),
            term: self.term.0,
            member: self.member.to_string(),
            reason: self.reason.code().to_owned(),
            text: self.text(),
            evidence: in_words(self.engine, serde_json::to_value(&self.reason).unwrap_or_default()),
        }
    }
}

/// Something that was mended, or was to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Treated {
    pub(crate) id: u64,
    pub(crate) at: String,
    pub(crate) term: Term,
    pub(crate) member: MemberName,
    pub(crate) treated: Fix,
    /// Why that failed.
    pub(crate) failed: Option<String>,
}

/// What such a line is called where decisions have their reasons.
const TREATED: &str = "treated";

impl Treated {
    pub(crate) fn text(&self) -> String {
        let failed = self.failed.as_ref().map(|why| format!("; that failed: {why}"));
        format!("{}{}", self.treated, failed.unwrap_or_default())
    }

    fn dto(&self) -> JournalEntry {
        JournalEntry {
            id: self.id,
            at: self.at.clone(),
            term: self.term.0,
            member: self.member.to_string(),
            reason: TREATED.to_owned(),
            text: self.text(),
            evidence: serde_json::to_value(&self.treated).unwrap_or_default(),
        }
    }
}

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Decided(Entry),
    Treated(Treated),
}

impl Line {
    pub(crate) const fn id(&self) -> u64 {
        match self {
            Self::Decided(entry) => entry.id,
            Self::Treated(treated) => treated.id,
        }
    }

    /// Whether it is the same decision once more.
    fn says_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Decided(one), Self::Decided(other)) => (one.term, &one.reason) == (other.term, &other.reason),
            _ => false,
        }
    }

    pub(crate) fn dto(&self) -> JournalEntry {
        match self {
            Self::Decided(entry) => entry.dto(),
            Self::Treated(treated) => treated.dto(),
        }
    }
}

/// The decisions among them.
pub(crate) fn decisions(lines: &[Line]) -> Vec<Entry> {
    let decided = lines.iter().filter_map(|line| match line {
        Line::Decided(entry) => Some(entry.clone()),
        Line::Treated(_) => None,
    });
    decided.collect()
}

/// Evidence as the engine's people write places: elsewhere than on PostgreSQL transactions, of leaderships.
fn in_words(engine: EngineKind, value: Value) -> Value {
    if engine == EngineKind::Postgres {
        return value;
    }
    match value {
        Value::String(text) => text.parse().map_or(Value::String(text), |at: Lsn| engine.place(at).into()),
        Value::Array(items) => items.into_iter().map(|item| in_words(engine, item)).collect(),
        Value::Object(fields) => match serde_json::from_value::<Position>(Value::Object(fields.clone())) {
            Ok(position) => engine.position(&position).into(),
            Err(_) => {
                let name = |key: String| if key == "timeline" { engine.timeline_word().to_owned() } else { key };
                Value::Object(fields.into_iter().map(|(key, inner)| (name(key), in_words(engine, inner))).collect())
            }
        },
        value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
    }
}

/// This member's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    member: MemberName,
    engine: EngineKind,
    path: PathBuf,
    kept: Mutex<VecDeque<Line>>,
    phases: Mutex<Phases>,
    news: Notify,
    pub(crate) events: broadcast::Sender<dauphin_api::dto::Event>,
}

impl Journal {
    pub(crate) fn new(member: MemberName, engine: EngineKind, path: PathBuf) -> Arc<Self> {
        let (events, _) = broadcast::channel(256);
        let (kept, phases, news) = (Mutex::default(), Mutex::default(), Notify::new());
        Arc::new(Self { member, engine, path, kept, phases, news, events })
    }

    /// Keeps a decision.
    pub(crate) fn add(&self, term: Term, reason: Reason) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).note(boottime(), &reason);
        let (member, engine) = (self.member.clone(), self.engine);
        self.keep(|id, at| Line::Decided(Entry { id, at, term, member, reason, engine }));
    }

    /// How long the parts of takeovers took here, since the agent's start.
    pub(crate) fn phases(&self) -> Vec<(Phase, Lengths)> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).lengths()
    }

    /// Keeps what was mended, or was to be.
    pub(crate) fn treated(&self, term: Term, treated: Fix, failed: Option<String>) {
        let member = self.member.clone();
        self.keep(|id, at| Line::Treated(Treated { id, at, term, member, treated, failed }));
    }

    fn keep(&self, line: impl FnOnce(u64, String) -> Line) {
        let now = jiff::Timestamp::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.back().map_or(0, Line::id);
        let id = u64::try_from(now.as_microsecond()).unwrap_or_default().max(last + 1);
        let line = line(id, keys::now_text());
        let lately = u128::from(id - last) < SAME_AGAIN_AFTER.as_micros();
        if lately && kept.back().is_some_and(|before| before.says_like(&line)) {
            return;
        }
        match &line {
            Line::Decided(Entry { term, reason, .. }) => {
                tracing::info!(%term, reason = reason.code(), "{}", reason.told(self.engine));
            }
            Line::Treated(treated) => {
                tracing::info!(term = %treated.term, reason = TREATED, "{}", treated.text());
            }
        }
        let event = dauphin_api::dto::Event {
            kind: "journal".to_owned(),
            data: serde_json::to_value(line.dto()).unwrap_or_default(),
        };
        let _ = self.events.send(event);
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(line);
        self.news.notify_one();
    }

    /// Tells whoever follows the events of each change of the cluster's state.
    pub(crate) async fn tell_state(
        self: Arc<Self>,
        mut picture: watch::Receiver<Arc<Picture>>,
        care: Arc<Care>,
        version: Option<String>,
    ) {
        let mut told = serde_json::Value::Null;
        while picture.changed().await.is_ok() {
            tokio::time::sleep(STATE_EVERY).await;
            if self.events.receiver_count() == 0 {
                continue;
            }
            let (seen, now) = (picture.borrow_and_update().clone(), boottime());
            let mut cluster = view::cluster(&seen, now, version.clone());
            care.tell(&mut cluster, &seen, now, false);
            let data = serde_json::to_value(cluster).unwrap_or_default();
            if data != told {
                told.clone_from(&data);
                let _ = self.events.send(dauphin_api::dto::Event { kind: "cluster".to_owned(), data });
            }
        }
    }

    /// The lines of all members, oldest first: our own from memory, the others' from the store.
    pub(crate) fn all(&self, snapshot: &Snapshot) -> Vec<Line> {
        let own: Vec<Line> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let first_own = own.first().map_or(u64::MAX, Line::id);
        let mine = keys::journal(&self.member);
        let mut all = own;
        for key in snapshot.entries.keys().filter(|k| k.as_str().starts_with("journal/")) {
            let mut shared: Vec<Line> = keys::get(snapshot, key).unwrap_or_default();
            for line in &mut shared {
                if let Line::Decided(entry) = line {
                    entry.engine = self.engine;
                }
            }
            all.extend(shared.into_iter().filter(|line| *key != mine || line.id() < first_own));
        }
        all.sort_by_key(Line::id);
        all
    }

    /// Writes decisions to the file and to the store, some time after they were made. Runs until the agent ends.
    pub(crate) async fn share(self: Arc<Self>, store: Store) {
        let mut written = 0_u64;
        loop {
            self.news.notified().await;
            tokio::time::sleep(SHARE_AFTER).await;
            let kept: Vec<Line> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
            let fresh: Vec<Line> = kept.iter().filter(|line| line.id() > written).cloned().collect();
            let Some(last) = fresh.last().map(Line::id) else { continue };
            written = last;
            let path = self.path.clone();
            let appended = tokio::task::spawn_blocking(move || append(&path, &fresh)).await;
            if let Ok(Err(error)) = appended {
                tracing::warn!(%error, path = %self.path.display(), "the journal's file cannot be written");
            }
            let before: Vec<Line> =
                keys::get(&store.watch().borrow(), &keys::journal(&self.member)).unwrap_or_default();
            let first = kept.first().map_or(u64::MAX, Line::id);
            let mut shared: Vec<Line> = before.into_iter().filter(|line| line.id() < first).chain(kept).collect();
            shared.drain(..shared.len().saturating_sub(SHARED_MAX));
            let value = serde_json::to_vec(&shared).unwrap_or_default();
            let txn = Txn { put: vec![(keys::journal(&self.member), value)], ..Txn::default() };
            if let Err(error) = store.txn(txn, Duration::from_secs(3)).await {
                tracing::debug!(%error, "the journal could not be shared; the next decision tries again");
                written = 0;
            }
        }
    }
}

fn append(path: &std::path::Path, lines: &[Line]) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > FILE_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("old"))?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    for line in lines {
        let mut line = serde_json::to_vec(line).unwrap_or_default();
        line.push(b'\n');
        file.write_all(&line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen of a leader that reaffirmed itself each turn: nine lines of sixty that the store keeps.
    #[test]
    fn what_was_just_said_is_not_kept_again() {
        let path = std::env::temp_dir().join(format!("dauphin-journal-{}", std::process::id()));
        let journal = Journal::new(MemberName::new("m1").expect("a name"), EngineKind::Mysql, path);
        let again = || Reason::Reaffirmed { term: Term(5), pledge: Term(4) };
        journal.add(Term(3), again());
        journal.add(Term(3), again());
        journal.add(Term(3), Reason::Degraded { term: Term(3) });
        journal.add(Term(3), again());
        journal.add(Term(4), again());
        let term = |line: &Line| match line {
            Line::Decided(entry) => entry.term.0,
            Line::Treated(treated) => treated.term.0,
        };
        let kept: Vec<u64> = journal.kept.lock().expect("whole").iter().map(term).collect();
        assert_eq!(kept, [3, 3, 3, 4]);
    }

    #[test]
    fn decisions_are_told_in_the_engines_words() {
        let at = Position::new(dauphin_model::Timeline(2), Lsn(0x1A));
        let reason = Reason::FrozenHere { term: Term(3), position: at };
        let member = MemberName::new("m1").expect("a name");
        let told = |engine| {
            Entry { id: 1, at: String::new(), term: Term(2), member: member.clone(), reason: reason.clone(), engine }
                .dto()
        };
        let (postgres, mysql) = (told(EngineKind::Postgres), told(EngineKind::Mysql));
        assert_eq!(postgres.text, "pledged to term 3 at 0/1A on timeline 2: receives nothing of an older term");
        assert_eq!(postgres.evidence["position"]["lsn"], "0/1A");
        assert_eq!(
            mysql.text,
            "pledged to term 3 at transaction 26 of leadership 2: receives nothing of an older term"
        );
        assert_eq!(mysql.evidence["position"], "transaction 26 of leadership 2");
        let reason = Reason::Promoted { term: Term(3), timeline: dauphin_model::Timeline(3), at: Lsn(26) };
        let entry = Entry { id: 1, at: String::new(), term: Term(3), member, reason, engine: EngineKind::Mariadb };
        assert_eq!(
            (&entry.dto().evidence["leadership"], &entry.dto().evidence["at"]),
            (&3.into(), &"transaction 26".into())
        );
    }
}
