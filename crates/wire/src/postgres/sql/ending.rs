//! Whether a text does nothing but begin or end a transaction. The proxy answers the one itself when the transaction is
//! lost, and knows that nothing was lost with the other.

use crate::postgres::lexer::{Lexer, Token};

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// COMMIT or END.
    Commit,
    /// ROLLBACK or ABORT.
    Rollback,
}

/// How this text ends a transaction, if that is all it does; `backslashes` when `standard_conforming_strings` is off.
pub(super) fn ending(sql: &[u8], backslashes: bool) -> Option<Ending> {
    let (mut found, mut words, mut over, mut other) = (None, 0, false, false);
    let mut lexer = Lexer::new(backslashes);
    let mut take = |token: Token<'_>| {
        words += 1;
        match token {
            Token::Symbol(b';') => over = words > 1,
            _ if over => other = true,
            Token::Word(b"commit" | b"end") if words == 1 => found = Some(Ending::Commit),
            Token::Word(b"rollback" | b"abort") if words == 1 => found = Some(Ending::Rollback),
            Token::Word(b"work" | b"transaction") if words == 2 => {}
            _ => other = true,
        }
    };
    lexer.feed(sql, &mut take);
    lexer.finish(&mut take);
    found.filter(|_| !other)
}

/// What kind of transaction a text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// One that may write.
    Any,
    /// One that says that it only reads, and that a standby can run.
    ReadOnly,
}

/// What this text begins, if it does nothing else.
pub(super) fn begins(sql: &[u8], backslashes: bool) -> Option<Begins> {
    let text = sql.trim_ascii_start();
    let word = text.get(..5).unwrap_or_default();
    if !word.eq_ignore_ascii_case(b"begin") && !word.eq_ignore_ascii_case(b"start") {
        return None;
    }
    let (mut first, mut over, mut other) = (true, false, false);
    let (mut read_only, mut leaders, mut read) = (false, false, false);
    let mut lexer = Lexer::new(backslashes);
    let mut take = |token: Token<'_>| {
        match token {
            Token::Symbol(b';') => over = true,
            Token::Word(b"begin" | b"start") if first => {}
            // ISOLATION LEVEL …, READ ONLY, DEFERRABLE and commas
            Token::Word(word) if !first && !over => {
                read_only |= read && word == b"only";
                // A standby has no SERIALIZABLE.
                leaders |= (read && word == b"write") || word == b"serializable";
                read = word == b"read";
            }
            Token::Symbol(b',') if !first && !over => read = false,
            _ => other = true,
        }
        first = false;
    };
    lexer.feed(text, &mut take);
    lexer.finish(&mut take);
    let kind = if read_only && !leaders { Begins::ReadOnly } else { Begins::Any };
    (!other).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_a_transaction_and_does_nothing_else() {
        for (text, expected) in [
            ("BEGIN", Begins::Any),
            ("begin;", Begins::Any),
            ("BEGIN READ ONLY", Begins::ReadOnly),
            (" start transaction isolation level repeatable read, read only;", Begins::ReadOnly),
            ("begin isolation level read committed read only", Begins::ReadOnly),
            ("begin isolation level serializable, read only, deferrable", Begins::Any),
            ("begin read write", Begins::Any),
            ("begin read only, read write", Begins::Any),
            ("begin isolation level read committed", Begins::Any),
        ] {
            assert_eq!(begins(text.as_bytes(), false), Some(expected), "{text}");
        }
        for text in ["begin; insert", "beginning", "select", "", "start 'x'", "begin; commit"] {
            assert_eq!(begins(text.as_bytes(), false), None, "{text}");
        }
    }

    #[test]
    fn only_what_ends_a_transaction_and_does_nothing_else() {
        for (text, expected) in [
            ("COMMIT", Some(Ending::Commit)),
            ("  end work ;; ", Some(Ending::Commit)),
            ("rollback transaction -- please", Some(Ending::Rollback)),
            ("ABORT", Some(Ending::Rollback)),
            ("rollback to a", None),
            ("commit and chain", None),
            ("commit prepared 'x'", None),
            ("commit; select 1", None),
            ("rollback; begin", None),
            ("select 1", None),
            ("\"commit\"", None),
            ("; commit", None),
            ("", None),
        ] {
            assert_eq!(ending(text.as_bytes(), false), expected, "{text}");
        }
    }
}
