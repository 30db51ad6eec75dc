//! The settings that are the proxy's own: how a session reads, and from which replicas. Servers keep them like any other of a name with a dot, so that
//! SHOW, RESET and a rollback do what they always do; what makes no sense is refused before it gets there.

use dauphin_model::{CommitToken, ReadLevel, file::unit};
use std::fmt::Write;
use std::time::Duration;

/// What the names of all of them begin with.
const PREFIX: &str = "dauphin.";
/// How fresh what is read must be.
pub(crate) const READ_LEVEL: &str = "dauphin.read_level";
/// How long a read waits for a replica.
pub(crate) const READ_WAIT: &str = "dauphin.read_wait";
/// Whether it reads for people and analytics: replicas that are there for those come first.
pub(crate) const REPORTING: &str = "dauphin.reporting";
/// A name that connections share: what one of them has written, the others read.
const SESSION: &str = "dauphin.session";
/// What another session committed, and this one is to see.
const MIN_TOKEN: &str = "dauphin.min_token";
/// The names of all that can be set.
const NAMES: &str = "dauphin.read_level, dauphin.read_wait, dauphin.reporting, dauphin.session and dauphin.min_token";

/// What is shown, and cannot be set: a token for all that is committed.
const COMMIT_TOKEN: &str = "dauphin.commit_token";
/// What the leader is asked for it. The file's name tells the timeline.
const TOKEN: &str = "SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(l), 1, 8) OPERATOR(pg_catalog.||) '/' \
     OPERATOR(pg_catalog.||) l AS \"dauphin.commit_token\" FROM pg_catalog.pg_current_wal_insert_lsn() AS l";

/// Asked of every server for whom it has just let in: what the role or the database has set for itself.
pub(crate) const OF_ROLE: &str = "SELECT pg_catalog.format('%s|%s|%s|%s', \
     pg_catalog.current_setting('client_min_messages'), pg_catalog.current_setting('dauphin.read_level', true), \
     pg_catalog.current_setting('dauphin.read_wait', true), pg_catalog.current_setting('dauphin.reporting', true))";
/// What it answers, in this order, behind the level of messages.
const ANSWERED: [&str; 3] = [READ_LEVEL, READ_WAIT, REPORTING];
const SEPARATOR: char = '|';
/// The server's own setting that hides notices.
pub(crate) const MESSAGES: &str = "client_min_messages";

/// Longest name of a session, in bytes.
const SESSION_BYTES_MAX: usize = 128;

/// Longest wait for a replica that a session may ask for.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a session has asked for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    pub(crate) level: Option<ReadLevel>,
    pub(crate) wait: Option<Duration>,
    /// Replicas that are there for people and analytics come first.
    pub(crate) reporting: Option<bool>,
    /// Notices are hidden from it.
    pub(crate) quiet: Option<bool>,
    /// It shares a session with other connections, of this proxy or of others.
    pub(crate) shares: Option<bool>,
    /// It sees at least this.
    pub(crate) token: Option<CommitToken>,
}

/// Whether this is a setting of the proxy's.
pub(crate) fn is_own(key: &[u8]) -> bool {
    key.starts_with(PREFIX.as_bytes())
}

impl Asked {
    /// Takes a value in.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let by_default = value.eq_ignore_ascii_case("default");
        match key {
            READ_LEVEL if by_default => self.level = None,
            READ_WAIT if by_default => self.wait = None,
            REPORTING if by_default => self.reporting = None,
            SESSION if by_default => self.shares = None,
            MIN_TOKEN if by_default || value.is_empty() => self.token = None,
            READ_LEVEL => self.level = Some(value.parse()?),
            READ_WAIT => {
                // Without a unit it is milliseconds, as with PostgreSQL's own.
                let whole = value.parse().map(Duration::from_millis).ok();
                let wait = whole.map_or_else(|| unit::duration(value).map(|span| span.duration()), Ok)?;
                if wait > WAIT_MAX {
                    return Err(format!("{READ_WAIT} is at most {} s, not {value:?}", WAIT_MAX.as_secs()));
                }
                self.wait = Some(wait);
            }
            REPORTING => self.reporting = Some(truth(key, value)?),
            SESSION if value.len() > SESSION_BYTES_MAX => {
                return Err(format!("{SESSION} has at most {SESSION_BYTES_MAX} bytes, not {}", value.len()));
            }
            SESSION => self.shares = Some(!value.is_empty()),
            MIN_TOKEN => self.token = Some(value.parse()?),
            COMMIT_TOKEN => {
                return Err(format!("{COMMIT_TOKEN} can only be shown; what it gives is for SET {MIN_TOKEN}"));
            }
            _ => return Err(format!("the proxy has no setting {key}; it has {NAMES}")),
        }
        Ok(())
    }

    /// The same, and what this does not say from the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            level: self.level.or(other.level),
            wait: self.wait.or(other.wait),
            reporting: self.reporting.or(other.reporting),
            quiet: self.quiet.or(other.quiet),
            shares: self.shares.or(other.shares),
            token: self.token.or(other.token),
        }
    }

    /// What a server answered to [`OF_ROLE`]: a level of messages, and the settings. Also what is wrong with it.
    pub(crate) fn of_role(answer: &str) -> (&str, Self, Option<String>) {
        let mut parts = answer.splitn(1 + ANSWERED.len(), SEPARATOR);
        let messages = parts.next().unwrap_or_default();
        let (mut asked, mut wrong) = (Self { quiet: Some(is_quiet(messages)), ..Self::default() }, None);
        for (key, value) in ANSWERED.into_iter().zip(parts) {
            if !value.is_empty()
                && let Err(why) = asked.set(key, value)
            {
                wrong = Some(why);
            }
        }
        (messages, asked, wrong)
    }

    /// Takes in a SET of the level of messages.
    pub(crate) fn hear(&mut self, text: &[u8]) {
        self.quiet = Some(is_quiet(&String::from_utf8_lossy(text)));
    }

    /// It is what it was at login.
    pub(crate) fn reset(&mut self, key: &[u8]) {
        match std::str::from_utf8(key) {
            Ok(READ_LEVEL) => self.level = None,
            Ok(READ_WAIT) => self.wait = None,
            Ok(REPORTING) => self.reporting = None,
            Ok(MESSAGES) => self.quiet = None,
            Ok(SESSION) => self.shares = None,
            Ok(MIN_TOKEN) => self.token = None,
            _ => {}
        }
    }

    /// Takes in what a client says at login: parameters of these names, and `-c NAME=VALUE` among the options.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub(crate) fn at_login(parameters: &[(String, String)]) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in parameters {
            if is_own(name.as_bytes()) {
                asked.set(name, value)?;
            } else if name == MESSAGES {
                asked.quiet = Some(is_quiet(value));
            } else if name == "options" {
                for word in value.split_ascii_whitespace() {
                    let word = word.trim_start_matches("-c").trim_start_matches("--");
                    match word.split_once('=') {
                        Some((MESSAGES, value)) => asked.quiet = Some(is_quiet(value)),
                        Some((name, value)) if is_own(name.as_bytes()) => asked.set(name, value)?,
                        _ => {}
                    }
                }
            }
        }
        Ok(asked)
    }
}

/// Whether notices are hidden by a level of messages, or by a SET of it.
fn is_quiet(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["warning", "error", "fatal", "panic"].iter().any(|level| text.contains(level))
}

/// A value that says yes or no, as PostgreSQL takes them.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{key} is on or off, not {value:?}")),
    }
}

/// The question that a server is asked in place of `SHOW dauphin.commit_token`; none for any other text.
pub(crate) fn token_shown(text: &[u8]) -> Option<&'static str> {
    let (show, name) = text.trim_ascii_start().split_at_checked(4)?;
    if !show.eq_ignore_ascii_case(b"show") || !name.first()?.is_ascii_whitespace() {
        return None;
    }
    let name = name.trim_ascii_end();
    let name = name.strip_suffix(b";").unwrap_or(name).trim_ascii();
    name.eq_ignore_ascii_case(COMMIT_TOKEN.as_bytes()).then_some(TOKEN)
}

/// The value in the text of a SET.
pub(crate) fn value_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let behind = &text[text.to_ascii_lowercase().find(PREFIX)?..];
    let end = behind.find(|c: char| c == '=' || c.is_ascii_whitespace())?;
    let value = behind[end..].trim_start();
    let word = value.get(..2).filter(|word| word.eq_ignore_ascii_case("to"));
    let value = if word.is_some() { &value[2..] } else { value.strip_prefix('=')? };
    let value = value.trim().trim_end_matches(';').trim();
    let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    Some(quoted.unwrap_or(value).to_owned())
}

/// The SET that a server takes: a value may have parentheses.
pub(crate) fn plain(key: &str, value: &str) -> Vec<u8> {
    if value.eq_ignore_ascii_case("default") {
        return format!("SET {key} TO DEFAULT").into_bytes();
    }
    format!("SET {key} TO '{}'", value.replace('\'', "''")).into_bytes()
}

/// A text at which the server says this, in whatever state the session is.
pub(crate) fn refusal(why: &str) -> Vec<u8> {
    let mut text = String::from("DO $dauphin$BEGIN RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = '");
    let _ = write!(text, "{}", why.replace('\'', "''").replace('$', ""));
    text.push_str("'; END$dauphin$");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::Span;

    #[test]
    fn values_are_found_in_all_spellings() {
        for (text, value) in [
            ("SET dauphin.read_level = session", Some("session")),
            ("set session Dauphin.Read_Level to 'any' ;", Some("any")),
            ("SET dauphin.read_level=bounded(100)", Some("bounded(100)")),
            ("SET dauphin.read_level TO\n'bounded(100)'", Some("bounded(100)")),
            ("SET dauphin.read_wait TO DEFAULT", Some("DEFAULT")),
            ("SET dauphin.read_level", None),
            ("SET dauphin.read_level session", None),
        ] {
            assert_eq!(value_of(text.as_bytes()).as_deref(), value, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let mut asked = Asked::default();
        asked.set(READ_LEVEL, "bounded(5)").expect("taken");
        asked.set(READ_WAIT, "7").expect("taken");
        let before = asked;
        assert_eq!(before.level, Some(ReadLevel::Bounded(Span::ms(5))));
        assert_eq!(before.wait, Some(Duration::from_millis(7)));
        for (key, value) in [
            (READ_LEVEL, "x"),
            (READ_WAIT, "2min"),
            (REPORTING, "2"),
            (MIN_TOKEN, "7"),
            (COMMIT_TOKEN, "x"),
            ("dauphin.x", "a"),
        ] {
            asked.set(key, value).expect_err(value);
        }
        assert_eq!(asked, before);
        asked.reset(READ_LEVEL.as_bytes());
        asked.set(READ_WAIT, "default").expect("taken");
        assert_eq!(asked, Asked::default());
    }

    #[test]
    fn what_a_role_has_set_counts_where_nothing_else_is_said() {
        let of = |answer: &'static str| Asked::of_role(answer);
        assert_eq!(of("notice||"), ("notice", Asked { quiet: Some(false), ..Asked::default() }, None));
        assert_eq!(of("notice|||on").1.reporting, Some(true));
        let (_, its, wrong) = of("warning|any|7|perhaps");
        assert_eq!((its.quiet, its.reporting, wrong.is_some()), (Some(true), None, true));
        let (messages, its, wrong) = of("error|bounded( 5 )|7");
        assert_eq!((messages, its.level, wrong), ("error", Some(ReadLevel::Bounded(Span::ms(5))), None));
        let said = Asked { level: Some(ReadLevel::Any), ..Asked::default() };
        let both = said.or(its);
        assert_eq!((both.level, both.wait), (Some(ReadLevel::Any), Some(Duration::from_millis(7))));
        let (_, its, wrong) = of("notice|never|7");
        assert!(its.level.is_none() && its.wait.is_some() && wrong.is_some_and(|why| why.contains("never")));
        assert_eq!(of("").0, "");
    }

    #[test]
    fn a_token_is_shown_however_it_is_spelled() {
        for (text, shown) in [
            ("SHOW dauphin.commit_token", true),
            (" show  Dauphin.Commit_Token ; ", true),
            ("SHOW\ndauphin.commit_token;", true),
            ("SHOW dauphin.commit_tokens", false),
            ("SHOWdauphin.commit_token", false),
            ("SHOW", false),
            ("", false),
        ] {
            assert_eq!(token_shown(text.as_bytes()).is_some(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_said_at_login_counts() {
        let said = |name: &str, value: &str| Asked::at_login(&[(name.to_owned(), value.to_owned())]);
        let level = |asked: Result<Asked, String>| asked.expect("taken").level;
        assert_eq!(level(said(READ_LEVEL, "session")), Some(ReadLevel::Session));
        assert_eq!(level(said("options", "-c work_mem=4MB -c dauphin.read_level=any")), Some(ReadLevel::Any));
        assert_eq!(level(said("options", "-cdauphin.read_level=any --jit=off")), Some(ReadLevel::Any));
        assert_eq!(level(said("application_name", "x")), None);
        let people = said("options", "-c dauphin.reporting=Yes -c client_min_messages=warning").expect("taken");
        assert_eq!((people.reporting, people.quiet), (Some(true), Some(true)));
        assert_eq!(said(MESSAGES, "notice").expect("taken").quiet, Some(false));
        said("options", "-c dauphin.read_level=never").expect_err("refused");
    }
}
