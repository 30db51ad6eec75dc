//! Parameters that a server reports by itself, as one block of shared text: sessions that have seen the same share it.

use std::rc::Rc;

/// Name, zero byte, value, zero byte, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported(Rc<str>);

impl Default for Reported {
    fn default() -> Self {
        Self("".into())
    }
}

impl Reported {
    /// Of these.
    pub(crate) fn of(parameters: &[(String, String)]) -> Self {
        let mut text = String::new();
        for (name, value) in parameters {
            text.extend([name, "\0", value, "\0"]);
        }
        Self(text.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split('\0');
        std::iter::from_fn(move || Some((parts.next().filter(|name| !name.is_empty())?, parts.next()?)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// With one changed or added.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut text = String::with_capacity(self.0.len() + name.len() + value.len() + 2);
        for (other, old) in self.iter().filter(|(other, _)| *other != name) {
            text.extend([other, "\0", old, "\0"]);
        }
        text.extend([name, "\0", value, "\0"]);
        Self(text.into())
    }

    /// Whether both are one block of text: certainly the same, without a look at it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// This, or the other one if that says the same: those who share it know so at a glance.
    pub(crate) fn shared_with(self, other: Option<&Self>) -> Self {
        other.filter(|other| **other == self).cloned().unwrap_or(self)
    }
}
