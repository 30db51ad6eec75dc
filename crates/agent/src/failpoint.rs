//! Places where a test can make this process die or stand still: before and after every kind of step. They exist in debug
//! builds only; a release has none. A test (or the lab) names one in the file `failpoint` of the member's run directory:
//! `before promote crash`, `after commit-record pause 3000`. The first to come by takes the file away, and obeys.

use dauphin_ha::Step;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The file's name.
const FILE: &str = "failpoint";
/// The longest that a test may make it stand still.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The run directory; without one nothing is looked for.
static DIR: OnceLock<PathBuf> = OnceLock::new();

/// On which side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It is asked for, and nothing is done yet.
    Before,
    /// It is done, and nobody knows.
    After,
}

/// From now on the file in this folder is looked for.
pub(crate) fn arm(run_dir: &Path) {
    if cfg!(debug_assertions) {
        let _ = DIR.set(run_dir.to_owned());
    }
}

/// Comes by a place.
pub(crate) fn pass(side: Side, name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    debug_assert!(Step::NAMES.contains(&name), "{name} is missing in Step::NAMES");
    let Some(file) = DIR.get().map(|dir| dir.join(FILE)) else { return };
    let Some(action) = std::fs::read_to_string(&file).ok().and_then(|text| wanted(&text, side, name)) else { return };
    // one of them only
    if std::fs::remove_file(&file).is_err() {
        return;
    }
    tracing::info!(?side, name, ?action, "failpoint");
    match action {
        Action::Crash => std::process::abort(),
        Action::Pause(time) => std::thread::sleep(time),
    }
}

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Crash,
    Pause(Duration),
}

fn wanted(text: &str, side: Side, name: &str) -> Option<Action> {
    let mut words = text.split_whitespace();
    let here = match words.next()? {
        "before" => side == Side::Before,
        "after" => side == Side::After,
        _ => false,
    };
    if !here || words.next()? != name {
        return None;
    }
    match words.next()? {
        "crash" => Some(Action::Crash),
        "pause" => Some(Action::Pause(Duration::from_millis(words.next()?.parse().ok()?).min(PAUSE_MAX))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_place_that_was_named_obeys() {
        let text = "after promote pause 300";
        assert_eq!(wanted(text, Side::After, "promote"), Some(Action::Pause(Duration::from_millis(300))));
        assert_eq!(wanted(text, Side::Before, "promote"), None);
        assert_eq!(wanted(text, Side::After, "freeze"), None);
        assert_eq!(wanted("before save crash", Side::Before, "save"), Some(Action::Crash));
        assert_eq!(wanted("before save dance", Side::Before, "save"), None);
        assert_eq!(wanted("", Side::Before, "save"), None);
    }
}
