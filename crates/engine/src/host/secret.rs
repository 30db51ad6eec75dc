//! A password, which shows nowhere but where it must be written down. Engines' credentials are made of it.
//! It has no `Display`, and its `Debug` says nothing.

use std::fmt;

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A password; printable ASCII without quotes is wise, anything works.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The clear text, for the one place that must write it down.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret");
    }
}
