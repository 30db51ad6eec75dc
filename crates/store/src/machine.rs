//! The replicated state machine: a few kilobytes of keys, changed by transactions, the same on every member.
//! Pure and deterministic: no clock, no randomness, no I/O. The log feeds it; it never fails on input.

use crate::types::{ClusterIdentity, Entry, Key, Rev, Txn};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most keys.
pub const KEYS_MAX: usize = 4_096;
/// Most bytes of keys and values together. A snapshot of the state must fit one message.
pub const STATE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the log carries. The order of variants is the stored format: only append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Gives the cluster its identity. The first one counts.
    Found(ClusterIdentity),
    /// A compare-and-set.
    Txn(Txn),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(identity) => write!(f, "found {identity}"),
            Self::Txn(txn) => write!(f, "txn: {} put, {} delete", txn.put.len(), txn.delete.len()),
        }
    }
}

/// What became of a command. Sent between members: only append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// An entry that carries no command.
    Nothing,
    /// The identity that counts.
    Founded(ClusterIdentity),
    /// The transaction happened.
    Committed(Rev),
    /// It did not; the expected keys as they were.
    Conflict(Vec<(Key, Option<Entry>)>),
    /// It would have made the state too large; nothing changed.
    Full(String),
}

/// The state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) identity: Option<ClusterIdentity>,
    pub(crate) entries: BTreeMap<Key, Entry>,
}

impl Machine {
    /// Applies one command at log index `rev`.
    pub(crate) fn apply(&mut self, rev: Rev, command: Command) -> Reply {
        match command {
            Command::Found(identity) => Reply::Founded(self.identity.get_or_insert(identity).clone()),
            Command::Txn(txn) => self.txn(rev, txn),
        }
    }

    fn txn(&mut self, rev: Rev, txn: Txn) -> Reply {
        let holds = |(key, rev): &(Key, Option<Rev>)| self.entries.get(key).map(|e| e.rev) == *rev;
        if !txn.expect.iter().all(holds) {
            let current = txn.expect.into_iter().map(|(key, _)| {
                let entry = self.entries.get(&key).cloned();
                (key, entry)
            });
            return Reply::Conflict(current.collect());
        }
        if let Some(full) = self.too_large(&txn) {
            return Reply::Full(full);
        }
        for key in txn.delete {
            self.entries.remove(&key);
        }
        for (key, value) in txn.put {
            self.entries.insert(key, Entry { rev, value });
        }
        Reply::Committed(rev)
    }

    /// Whether the state would outgrow its limits. Shrinking is always allowed.
    fn too_large(&self, txn: &Txn) -> Option<String> {
        let size = |key: &Key, value: &[u8]| key.as_str().len() + value.len();
        let before: usize = self.entries.iter().map(|(k, e)| size(k, &e.value)).sum();
        let mut after: BTreeMap<&Key, usize> = self.entries.iter().map(|(k, e)| (k, size(k, &e.value))).collect();
        for key in &txn.delete {
            after.remove(key);
        }
        for (key, value) in &txn.put {
            after.insert(key, size(key, value));
        }
        let bytes: usize = after.values().sum();
        if after.len() > KEYS_MAX && after.len() > self.entries.len() {
            Some(format!("more than {KEYS_MAX} keys: remove old history first"))
        } else if bytes > STATE_BYTES_MAX && bytes > before {
            Some(format!("more than {STATE_BYTES_MAX} bytes of state: remove old history first"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).expect("a key")
    }

    fn put(name: &str, expect: Option<Option<u64>>, value: &[u8]) -> Command {
        Command::Txn(Txn {
            expect: expect.into_iter().map(|rev| (key(name), rev.map(Rev))).collect(),
            put: vec![(key(name), value.to_vec())],
            delete: Vec::new(),
        })
    }

    #[test]
    fn a_transaction_happens_only_on_what_it_expects() {
        let mut machine = Machine::default();
        assert_eq!(machine.apply(Rev(1), put("a", Some(None), b"1")), Reply::Committed(Rev(1)));
        let held = Entry { rev: Rev(1), value: b"1".to_vec() };
        let conflict = Reply::Conflict(vec![(key("a"), Some(held))]);
        assert_eq!(machine.apply(Rev(2), put("a", Some(None), b"2")), conflict);
        assert_eq!(machine.apply(Rev(3), put("a", Some(Some(2)), b"2")), conflict);
        assert_eq!(machine.apply(Rev(4), put("a", Some(Some(1)), b"2")), Reply::Committed(Rev(4)));
        let gone = Txn { expect: vec![(key("a"), Some(Rev(4)))], delete: vec![key("a")], ..Txn::default() };
        assert_eq!(machine.apply(Rev(5), Command::Txn(gone)), Reply::Committed(Rev(5)));
        assert_eq!(machine.apply(Rev(6), put("a", Some(None), b"3")), Reply::Committed(Rev(6)));
    }

    #[test]
    fn the_first_identity_counts() {
        let identity = |id: &str| ClusterIdentity { id: id.to_owned(), generation: 1 };
        let mut machine = Machine::default();
        assert_eq!(machine.apply(Rev(1), Command::Found(identity("a"))), Reply::Founded(identity("a")));
        assert_eq!(machine.apply(Rev(2), Command::Found(identity("b"))), Reply::Founded(identity("a")));
    }

    #[test]
    fn the_state_stays_small_and_can_always_shrink() {
        let mut machine = Machine::default();
        for n in 0..KEYS_MAX as u64 {
            assert_eq!(machine.apply(Rev(n), put(&format!("k/{n}"), None, b"")), Reply::Committed(Rev(n)));
        }
        assert!(matches!(machine.apply(Rev(9_000), put("one-more", None, b"")), Reply::Full(_)));
        assert!(matches!(machine.apply(Rev(9_001), put("k/7", None, b"x")), Reply::Committed(_)));
        let swap = Txn { delete: vec![key("k/7")], put: vec![(key("one-more"), vec![])], ..Txn::default() };
        assert!(matches!(machine.apply(Rev(9_002), Command::Txn(swap)), Reply::Committed(_)));
    }
}
