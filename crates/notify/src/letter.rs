//! A notice with what its readers need besides: which cluster, who says it. It is what lies in the outbox.

use dauphin_alerts::{Change, Item, Notice};
use dauphin_model::Level;
use serde::{Deserialize, Serialize};

/// A notice on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The cluster.
    pub cluster: String,
    /// The member whose agent says it.
    pub reporter: String,
    /// What it says.
    pub notice: Notice,
    /// It is a rehearsal.
    pub test: bool,
}

impl Letter {
    /// A rehearsal: one line that is true.
    #[must_use]
    pub fn rehearsal(cluster: &str, reporter: &str, at_unix: u64) -> Self {
        let notice = Notice { number: 0, at_unix, items: Vec::new() };
        Self { cluster: cluster.to_owned(), reporter: reporter.to_owned(), notice, test: true }
    }

    /// The same notice, told twice, has the same.
    #[must_use]
    pub fn id(&self) -> String {
        match self.test {
            true => format!("{}/test/{}", self.cluster, self.notice.at_unix),
            false => format!("{}/{}", self.cluster, self.notice.number),
        }
    }

    /// What of it a place is told that wants this level and what is worse. `None`: nothing.
    #[must_use]
    pub fn from_level(&self, least: Level) -> Option<Self> {
        let concerns = |item: &&Item| Some(item.level).max(item.before) >= Some(least);
        let items: Vec<Item> = self.notice.items.iter().filter(concerns).cloned().collect();
        let notice = Notice { items, ..self.notice.clone() };
        (self.test || !notice.items.is_empty()).then(|| Self { notice, ..self.clone() })
    }

    /// How much it matters: what is dropped first when there is no room.
    #[must_use]
    pub fn weight(&self) -> u8 {
        self.notice.items.iter().map(|i| i.level.max(i.before.unwrap_or(i.level)).number()).max().unwrap_or(0)
    }

    /// In one line.
    #[must_use]
    pub fn title(&self) -> String {
        if self.test {
            return format!("{}: a test message of Dauphin, sent by {}: all is well", self.cluster, self.reporter);
        }
        let first = self.notice.items.first().map(line).unwrap_or_default();
        let more = match self.notice.items.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        format!("{}: {first}{more}", self.cluster)
    }
}

/// One alert in one line: `CRITICAL m2 is behind: 61.0 s`, `over: m2 is behind: 61.0 s`.
pub(crate) fn line(item: &Item) -> String {
    let level = item.level.word().to_uppercase();
    match item.change {
        Change::Raised => format!("{level} {}", item.text),
        Change::Worse => format!("worse, {level} {}", item.text),
        Change::Better => format!("better, {level} {}", item.text),
        Change::Reminder => format!("still {level} {}", item.text),
        Change::Cleared => format!("over: {}", item.text),
    }
}
