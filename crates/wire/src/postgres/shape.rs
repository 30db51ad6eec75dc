//! The shape of a statement: its words and names without literals and comments, for logs. The proxy calls it. Where it cannot tell
//! for sure what is a literal it shows nothing more.

use super::lexer::{Lexer, Token};

/// What stands for what is left out at the end.
const CUT: &str = "…";

/// The shape of a text, at most about `max` bytes of it. `backslashes` when `standard_conforming_strings` is off.
#[must_use]
pub fn shape(text: &[u8], backslashes: bool, max: usize) -> String {
    let mut shape = Shape { out: String::new(), max, open: true, ended: false };
    let mut lexer = Lexer::new(backslashes);
    lexer.feed(text, &mut |token| shape.take(token));
    lexer.finish(&mut |token| shape.take(token));
    shape.out
}

struct Shape {
    out: String,
    max: usize,
    /// What comes next stands without a space before it.
    open: bool,
    ended: bool,
}

impl Shape {
    fn take(&mut self, token: Token<'_>) {
        if self.ended {
            return;
        }
        if self.out.len() >= self.max {
            return self.cut();
        }
        match token {
            Token::Word(word) => self.put(&printable(word), false),
            Token::Name(name) => self.put(&format!("\"{}\"", printable(name).replace('"', "\"\"")), false),
            Token::Text | Token::Number => self.put("?", false),
            Token::Symbol(symbol) => {
                self.put(&printable(&[symbol]), matches!(symbol, b',' | b'.' | b';' | b')' | b':'))
            }
            Token::Doubt => self.cut(),
        }
        self.open = matches!(token, Token::Symbol(b'.' | b'(' | b':'));
    }

    fn put(&mut self, text: &str, close: bool) {
        if !self.open && !close {
            self.out.push(' ');
        }
        self.out.push_str(text);
    }

    fn cut(&mut self) {
        self.ended = true;
        self.out.push_str(CUT);
    }
}

/// Names may hold anything; a log's lines are to stay lines.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_and_comments_are_left_out() {
        for (text, expected) in [
            ("SELECT a.b, 'secret' FROM t WHERE c = 42 -- why\n", "select a.b, ? from t where c = ?"),
            (
                "/* who: me */ INSERT INTO \"T x\" VALUES ($1, $2::text, E'\\'x')",
                "insert into \"T x\" values (?, ?::text, ?)",
            ),
            ("ALTER ROLE app PASSWORD 'secret'; COMMIT", "alter role app password ?; commit"),
            ("do $$ begin perform 'secret'; end $$", "do ?"),
            ("select u&'secret' , 1", "select u…"),
            ("select 'secret", "select"),
            ("select \"a\nb\"", "select \"a b\""),
            ("", ""),
        ] {
            assert_eq!(shape(text.as_bytes(), false, 100), expected, "{text}");
        }
        assert_eq!(shape(b"select 'a\\' secret' from t", true, 100), "select ? from t");
        assert_eq!(shape(b"select aaaa, bbbb, cccc", false, 12), "select aaaa,…");
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_never_shown(secret in "[a-z]{6}", before in "[a-e(),.;= $]{0,12}", escapes in any::<bool>()) {
            let text = format!("{before} '{secret}' /*{secret}*/ $q${secret}$q$ --{secret}");
            prop_assert!(!shape(text.as_bytes(), escapes, 1_000).contains(&secret), "{}", text);
        }

        #[test]
        fn no_bytes_panic_and_none_make_a_line_longer(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let shape = shape(&text, false, 50);
            // One more token, and what stands for bytes that are no text.
            prop_assert!(shape.len() <= 50 + 4 * 64 + 8 && !shape.contains(char::is_control), "{}", shape);
        }
    }
}
