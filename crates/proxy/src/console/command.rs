//! What is said to the console: text in, commands out, or what is wrong and what is meant instead. Pure.

use dauphin_model::file::nearest;
use dauphin_wire::postgres::lexer::{Lexer, Token};

/// Most commands in one text.
const COMMANDS_MAX: usize = 64;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Clients,
    Config,
    Databases,
    Former,
    Help,
    Lists,
    Pools,
    Route,
    Servers,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Totals,
    Users,
    Version,
}

/// The word behind SHOW for each, and what it shows.
pub(super) const SHOWN: [(&str, Shown, &str); 16] = [
    ("clients", Shown::Clients, "every client: who, from where, what it does, on which server"),
    ("config", Shown::Config, "the settings of [proxy] in dauphin.toml, and which of them RELOAD changes"),
    ("databases", Shown::Databases, "databases that clients came for, and whether they are paused"),
    ("former", Shown::Former, "processes that this one took over from, while they still have clients"),
    ("help", Shown::Help, "this"),
    ("lists", Shown::Lists, "how many of everything"),
    ("pools", Shown::Pools, "clients and connections for each database and user"),
    ("route", Shown::Route, "where clients go: the leader, its term, the replicas and how far they are behind"),
    ("servers", Shown::Servers, "every connection to a server, and which client has it"),
    ("state", Shown::State, "whether everything is paused"),
    ("stats", Shown::Stats, "transactions, queries, bytes and times for each database: totals and averages"),
    ("stats_averages", Shown::StatsAverages, "the averages alone"),
    ("stats_totals", Shown::StatsTotals, "the totals alone"),
    ("totals", Shown::Totals, "the totals of all databases together, and what happened to clients"),
    ("users", Shown::Users, "users that clients logged in as"),
    ("version", Shown::Version, "the program's version"),
];

/// Commands that do something, and what.
pub(super) const DONE: [(&str, &str); 4] = [
    ("PAUSE [database]", "hold new transactions, wait for running ones to end, close free connections"),
    ("RESUME [database]", "let transactions begin again"),
    ("RECONNECT [database]", "close each connection to a server once it is free; new ones are made as needed"),
    ("RELOAD", "read dauphin.toml again"),
];

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Show(Shown),
    /// For all databases without a name.
    Pause(Option<String>),
    Resume(Option<String>),
    Reconnect(Option<String>),
    Reload,
    /// A setting that drivers make without being asked to; it means nothing here.
    Set,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) hint: String,
}

const HINT: &str = "SHOW HELP lists what the console does.";

/// A word, in lower case unless it was quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    quoted: bool,
}

/// The commands in a text.
///
/// # Errors
/// [`Wrong`], of the first one that makes no sense; none is done then.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Command>, Wrong> {
    let mut statements = vec![Vec::new()];
    let mut odd = None;
    let mut take = |token: Token<'_>| {
        let word = |bytes: &[u8], quoted| Word { text: String::from_utf8_lossy(bytes).into_owned(), quoted };
        let now = match token {
            Token::Symbol(b';') => return statements.push(Vec::new()),
            Token::Word(bytes) => Some(word(bytes, false)),
            Token::Name(bytes) => Some(word(bytes, true)),
            // What a SET has behind its name.
            Token::Symbol(b'=' | b'-') | Token::Text | Token::Number => None,
            Token::Symbol(symbol) => {
                odd.get_or_insert(char::from(symbol));
                None
            }
            Token::Doubt => None,
        };
        if let (Some(now), Some(last)) = (now, statements.last_mut()) {
            last.push(now);
        }
    };
    let mut lexer = Lexer::new(false);
    lexer.feed(text, &mut take);
    lexer.finish(&mut take);
    statements.retain(|words| !words.is_empty());
    if statements.len() > COMMANDS_MAX {
        return Err(wrong(format!("{} commands at once; at most {COMMANDS_MAX}", statements.len())));
    }
    match (statements.is_empty(), odd) {
        (true, Some(symbol)) => Err(wrong(format!("the console does not know what \"{symbol}\" means"))),
        _ => statements.into_iter().map(command).collect(),
    }
}

fn command(words: Vec<Word>) -> Result<Command, Wrong> {
    let mut words = words.into_iter();
    let first = words.next().map(|word| word.text).unwrap_or_default();
    let rest: Vec<Word> = words.collect();
    let named = |make: fn(Option<String>) -> Command| match rest.as_slice() {
        [] => Ok(make(None)),
        [name] => Ok(make(Some(name.text.clone()))),
        [_, more, ..] => {
            let upper = first.to_uppercase();
            Err(wrong(format!("{upper} takes the name of one database or nothing, and here is \"{}\", too", more.text)))
        }
    };
    match (first.as_str(), rest.as_slice()) {
        ("show", [what]) => shown(&what.text),
        ("show", []) => Err(wrong("SHOW what?".to_owned())),
        ("help", []) => Ok(Command::Show(Shown::Help)),
        ("pause", _) => named(Command::Pause),
        ("resume", _) => named(Command::Resume),
        ("reconnect", _) => named(Command::Reconnect),
        ("reload", []) => Ok(Command::Reload),
        ("set", [_, ..]) => Ok(Command::Set),
        _ => {
            let known = ["show", "pause", "resume", "reconnect", "reload", "help"];
            let meant = nearest(&first, known);
            let meant =
                meant.filter(|meant| *meant != first).map(|meant| format!("; did you mean {}?", meant.to_uppercase()));
            let text = format!("the console has no command {}", first.to_uppercase());
            Err(wrong(text + &meant.unwrap_or_else(|| ": it is not a database".to_owned())))
        }
    }
}

fn shown(what: &str) -> Result<Command, Wrong> {
    if let Some((_, shown, _)) = SHOWN.iter().find(|(name, ..)| *name == what) {
        return Ok(Command::Show(*shown));
    }
    let meant = nearest(what, SHOWN.iter().map(|(name, ..)| *name));
    let meant = meant.map(|meant| format!("; did you mean {}?", meant.to_uppercase())).unwrap_or_default();
    Err(wrong(format!("the console has no {} to show{meant}", what.to_uppercase())))
}

fn wrong(message: String) -> Wrong {
    Wrong { message, hint: HINT.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<Command> {
        parse(text.as_bytes()).unwrap_or_else(|wrong| panic!("{text}: {}", wrong.message))
    }

    #[test]
    fn commands_are_understood_however_they_are_written() {
        for (text, expected) in [
            ("SHOW POOLS;", vec![Command::Show(Shown::Pools)]),
            ("  show\n stats_totals -- now\n", vec![Command::Show(Shown::StatsTotals)]),
            ("pause", vec![Command::Pause(None)]),
            ("PAUSE Shop", vec![Command::Pause(Some("shop".into()))]),
            (
                "RESUME \"Shop\"; reconnect x;",
                vec![Command::Resume(Some("Shop".into())), Command::Reconnect(Some("x".into()))],
            ),
            ("SET extra_float_digits = 3", vec![Command::Set]),
            ("SET application_name = 'x; PAUSE'", vec![Command::Set]),
            ("help", vec![Command::Show(Shown::Help)]),
            ("", Vec::new()),
            (" ; ;", Vec::new()),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_may_be_meant() {
        for (text, expected) in [
            ("SHOW POLS", "the console has no POLS to show; did you mean POOLS?"),
            ("SHOW", "SHOW what?"),
            ("PAUS", "the console has no command PAUS; did you mean PAUSE?"),
            ("SELECT 1", "the console has no command SELECT: it is not a database"),
            ("PAUSE a b", "PAUSE takes the name of one database or nothing, and here is \"b\", too"),
            ("?", "the console does not know what \"?\" means"),
        ] {
            assert_eq!(parse(text.as_bytes()).expect_err(text).message, expected);
        }
        assert!(parse("pause;".repeat(65).as_bytes()).is_err());
        // Nothing of a text with a fault is done.
        assert!(parse(b"PAUSE; SHOW nonsense").is_err());
    }

    #[test]
    fn every_view_has_a_name_of_its_own() {
        for (name, shown, _) in SHOWN {
            assert_eq!(said(&format!("show {name}")), [Command::Show(shown)]);
        }
    }
}
