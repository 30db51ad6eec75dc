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

/// Whether this text begins a transaction and does nothing else.
pub(super) fn begins(sql: &[u8], backslashes: bool) -> bool {
    let text = sql.trim_ascii_start();
    let word = text.get(..5).unwrap_or_default();
    if !word.eq_ignore_ascii_case(b"begin") && !word.eq_ignore_ascii_case(b"start") {
        return false;
    }
    let (mut first, mut over, mut other) = (true, false, false);
    let mut lexer = Lexer::new(backslashes);
    let mut take = |token: Token<'_>| {
        match token {
            Token::Symbol(b';') => over = true,
            Token::Word(b"begin" | b"start") if first => {}
            // ISOLATION LEVEL …, READ ONLY, DEFERRABLE and commas
            Token::Word(_) | Token::Symbol(b',') if !first && !over => {}
            _ => other = true,
        }
        first = false;
    };
    lexer.feed(text, &mut take);
    lexer.finish(&mut take);
    !other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_a_transaction_and_does_nothing_else() {
        for text in ["BEGIN", "begin;", " start transaction isolation level repeatable read, read only;"] {
            assert!(begins(text.as_bytes(), false), "{text}");
        }
        for text in ["begin; insert", "beginning", "select", "", "start 'x'", "begin; commit"] {
            assert!(!begins(text.as_bytes(), false), "{text}");
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
