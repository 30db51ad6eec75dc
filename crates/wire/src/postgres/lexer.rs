//! Cuts SQL text into words, names and symbols, as PostgreSQL's own lexer would, fed in parts of any size.
//! `sql` and `shape` call it. It never allocates and never looks inside strings and comments.

/// Longest word or name that is kept, in bytes; the rest is cut off. PostgreSQL's own limit is 63.
pub const WORD_BYTES_MAX: usize = 64;

/// One piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// A key word or unquoted name, in lower case.
    Word(&'a [u8]),
    /// A quoted name, as it is.
    Name(&'a [u8]),
    /// A string.
    Text,
    /// A number or a parameter.
    Number,
    /// Any other character.
    Symbol(u8),
    /// Something whose end cannot be told for sure.
    Doubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Word,
    Number,
    Name,
    /// A quote within a name or text: doubled, or its end.
    NameQuote,
    Text {
        escapes: bool,
    },
    TextQuote {
        escapes: bool,
    },
    TextEscape,
    Dash,
    Line,
    Slash,
    Block {
        depth: u32,
        last: u8,
    },
    DollarTag,
    DollarBody {
        matched: usize,
    },
    /// After `u&`: a string or name with escapes of its own, or just an operator.
    UnicodePrefix,
}

/// Where in the text the lexer is.
#[derive(Debug, Clone)]
pub struct Lexer {
    state: State,
    /// `standard_conforming_strings` is off: backslashes escape in plain strings.
    backslashes: bool,
    word: [u8; WORD_BYTES_MAX],
    len: usize,
}

/// Goes on with a word.
const IN_WORD: u8 = 1;
/// Goes on with a number.
const IN_NUMBER: u8 = 2;
/// Goes on with a string, whether backslashes escape in it or not.
const IN_TEXT: u8 = 4;
const SPACE: u8 = 8;

/// What each byte may go on with.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' => IN_WORD | IN_NUMBER | IN_TEXT,
            b'$' | 0x80.. => IN_WORD | IN_TEXT,
            b'.' => IN_NUMBER | IN_TEXT,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE | IN_TEXT,
            b'\'' | b'\\' => 0,
            _ => IN_TEXT,
        };
        byte += 1;
    }
    kinds
};

fn is(byte: u8, kind: u8) -> bool {
    KINDS[usize::from(byte)] & kind != 0
}

impl Lexer {
    /// At the beginning of a text; `backslashes` when `standard_conforming_strings` is off.
    #[must_use]
    pub fn new(backslashes: bool) -> Self {
        Self { state: State::Plain, backslashes, word: [0; WORD_BYTES_MAX], len: 0 }
    }

    /// Goes on with the next part of the text.
    pub fn feed(&mut self, text: &[u8], sink: &mut impl FnMut(Token<'_>)) {
        let mut rest = text;
        loop {
            rest = &rest[self.run(rest)..];
            let Some((byte, behind)) = rest.split_first() else { return };
            // A byte that ends one piece may begin the next: at most two turns.
            while !self.step(*byte, sink) {}
            rest = behind;
        }
    }

    /// Takes at once the bytes that change nothing but the word they are in, as [`Self::step`] would one by one; how many.
    fn run(&mut self, text: &[u8]) -> usize {
        let length = |kind| text.iter().take_while(|byte| is(**byte, kind)).count();
        match self.state {
            State::Word => {
                let mut len = 0;
                while let Some(byte) = text.get(len).filter(|byte| is(**byte, IN_WORD)) {
                    self.push(byte.to_ascii_lowercase());
                    len += 1;
                }
                len
            }
            State::Plain => length(SPACE),
            State::Number => length(IN_NUMBER),
            State::Text { .. } => length(IN_TEXT),
            _ => 0,
        }
    }

    /// The text has ended.
    pub fn finish(&mut self, sink: &mut impl FnMut(Token<'_>)) {
        match self.state {
            State::Word => self.end_word(sink),
            State::NameQuote => sink(Token::Name(&self.word[..self.len])),
            State::TextQuote { .. } => sink(Token::Text),
            State::Number | State::DollarTag => sink(Token::Number),
            State::Dash | State::Slash => sink(Token::Symbol(b'-')),
            State::UnicodePrefix => sink(Token::Symbol(b'&')),
            // Unterminated text is a syntax error for the server, and has no effect.
            State::Plain
            | State::Line
            | State::Name
            | State::Text { .. }
            | State::TextEscape
            | State::Block { .. }
            | State::DollarBody { .. } => {}
        }
        self.state = State::Plain;
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.word.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn end_word(&mut self, sink: &mut impl FnMut(Token<'_>)) {
        sink(Token::Word(&self.word[..self.len]));
    }

    /// Takes one byte; false when it must be given again in the new state.
    fn step(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>)) -> bool {
        match self.state {
            State::Plain => self.plain(byte, sink),
            State::Word => return self.word(byte, sink),
            State::Number => {
                if !is(byte, IN_NUMBER) {
                    sink(Token::Number);
                    self.state = State::Plain;
                    return false;
                }
            }
            State::Name => match byte {
                b'"' => self.state = State::NameQuote,
                _ => self.push(byte),
            },
            State::NameQuote => {
                if byte != b'"' {
                    sink(Token::Name(&self.word[..self.len]));
                    self.state = State::Plain;
                    return false;
                }
                self.push(byte);
                self.state = State::Name;
            }
            State::Text { escapes } => match byte {
                b'\'' => self.state = State::TextQuote { escapes },
                b'\\' if escapes => self.state = State::TextEscape,
                _ => {}
            },
            State::TextQuote { escapes } => {
                if byte != b'\'' {
                    sink(Token::Text);
                    self.state = State::Plain;
                    return false;
                }
                self.state = State::Text { escapes };
            }
            State::TextEscape => self.state = State::Text { escapes: true },
            State::Dash | State::Slash => return self.maybe_comment(byte, sink),
            State::Line => {
                if byte == b'\n' || byte == b'\r' {
                    self.state = State::Plain;
                }
            }
            State::Block { depth, last } => self.block(byte, depth, last),
            State::DollarTag => return self.dollar_tag(byte, sink),
            State::DollarBody { matched } => self.dollar_body(byte, matched, sink),
            State::UnicodePrefix => {
                sink(if byte == b'\'' || byte == b'"' { Token::Doubt } else { Token::Symbol(b'&') });
                self.state = State::Plain;
                return false;
            }
        }
        true
    }

    fn plain(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>)) {
        match byte {
            _ if is(byte, SPACE) => {}
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                self.len = 0;
                self.push(byte.to_ascii_lowercase());
                self.state = State::Word;
            }
            b'0'..=b'9' => self.state = State::Number,
            b'\'' => self.state = State::Text { escapes: self.backslashes },
            b'"' => {
                self.len = 0;
                self.state = State::Name;
            }
            b'-' => self.state = State::Dash,
            b'/' => self.state = State::Slash,
            b'$' => {
                self.len = 0;
                self.state = State::DollarTag;
            }
            _ => sink(Token::Symbol(byte)),
        }
    }

    fn word(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>)) -> bool {
        let word = &self.word[..self.len];
        match byte {
            _ if is(byte, IN_WORD) => {
                self.push(byte.to_ascii_lowercase());
                true
            }
            b'\'' if word == b"e" => {
                self.state = State::Text { escapes: true };
                true
            }
            b'&' if word == b"u" => {
                self.end_word(sink);
                self.state = State::UnicodePrefix;
                true
            }
            _ => {
                self.end_word(sink);
                self.state = State::Plain;
                false
            }
        }
    }

    fn maybe_comment(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>)) -> bool {
        match (self.state, byte) {
            (State::Dash, b'-') => self.state = State::Line,
            (State::Slash, b'*') => self.state = State::Block { depth: 1, last: 0 },
            (state, _) => {
                sink(Token::Symbol(if state == State::Dash { b'-' } else { b'/' }));
                self.state = State::Plain;
                return false;
            }
        }
        true
    }

    fn block(&mut self, byte: u8, depth: u32, last: u8) {
        self.state = match (last, byte) {
            (b'*', b'/') if depth <= 1 => State::Plain,
            (b'*', b'/') => State::Block { depth: depth - 1, last: 0 },
            (b'/', b'*') => State::Block { depth: depth.saturating_add(1), last: 0 },
            _ => State::Block { depth, last: byte },
        };
    }

    fn dollar_tag(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>)) -> bool {
        match byte {
            b'$' => {
                if self.len == WORD_BYTES_MAX {
                    sink(Token::Doubt);
                }
                self.state = State::DollarBody { matched: 0 };
                true
            }
            b'0'..=b'9' if self.len == 0 => {
                self.state = State::Number;
                true
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' | 0x80.. => {
                self.push(byte);
                true
            }
            _ => {
                // No dollar quote: the server takes `$` as a symbol and what follows as a word.
                sink(Token::Symbol(b'$'));
                if self.len > 0 {
                    sink(Token::Doubt);
                }
                self.state = State::Plain;
                false
            }
        }
    }

    /// Looks for `$tag$`; `matched` bytes of it stand right before this one.
    fn dollar_body(&mut self, byte: u8, matched: usize, sink: &mut impl FnMut(Token<'_>)) {
        let expected = match matched {
            0 => b'$',
            n if n <= self.len => self.word[n - 1],
            _ => b'$',
        };
        self.state = if byte == expected && matched == self.len + 1 {
            sink(Token::Text);
            State::Plain
        } else if byte == expected {
            State::DollarBody { matched: matched + 1 }
        } else {
            State::DollarBody { matched: usize::from(byte == b'$') }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lex(parts: &[&[u8]], backslashes: bool) -> String {
        lex_by(parts, backslashes, |lexer, part, mut sink| lexer.feed(part, &mut sink))
    }

    fn lex_by(
        parts: &[&[u8]],
        backslashes: bool,
        feed: impl Fn(&mut Lexer, &[u8], &mut dyn FnMut(Token<'_>)),
    ) -> String {
        let mut lexer = Lexer::new(backslashes);
        let mut out = Vec::new();
        let mut sink = |token: Token<'_>| {
            out.push(match token {
                Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
                Token::Name(name) => format!("\"{}\"", String::from_utf8_lossy(name)),
                Token::Text => "'".into(),
                Token::Number => "#".into(),
                Token::Symbol(byte) => char::from(byte).to_string(),
                Token::Doubt => "?".into(),
            });
        };
        for part in parts {
            feed(&mut lexer, part, &mut sink);
        }
        lexer.finish(&mut sink);
        out.join(" ")
    }

    #[test]
    fn pieces_are_what_postgresql_would_see() {
        for (sql, expected) in [
            ("SELECT a.b, 1.5e3 FROM \"T\"\"x\" WHERE c='it''s'", "select a . b , # from \"T\"x\" where c = '"),
            ("select $1, $tag$ ; $x$ listen $tag$;x", "select # , ' ; x"),
            ("select $$ a $ b $$", "select '"),
            ("a--b\nc/* d /* e */ f */g", "a c g"),
            ("a - b / c", "a - b / c"),
            ("E'a\\'b' 'c\\' d", "' ' d"),
            ("u&\"d\\0061t\"", "u ? \"d\\0061t\""),
            ("$ a", "$ a"),
            ("é1$ x", "é1$ x"),
        ] {
            assert_eq!(lex(&[sql.as_bytes()], false), expected, "{sql}");
        }
        assert_eq!(lex(&[b"'a\\' listen' b"], true), "' b");
    }

    proptest! {
        #[test]
        fn cut_anywhere_the_pieces_are_the_same(sql in "[a-e$'\"\\-/*; \n\\\\u&(1]{0,40}", cut in 0_usize..40, backslashes: bool) {
            let cut = cut.min(sql.len());
            let (left, right) = sql.as_bytes().split_at(cut);
            prop_assert_eq!(lex(&[sql.as_bytes()], backslashes), lex(&[left, right], backslashes));
        }

        #[test]
        fn runs_are_what_bytes_one_by_one_are(sql in "([A-Fa-e_.$0-9é'\"\\\\*/; \n-]|E'|u&|[a-z_é]{60,70}){0,30}", backslashes: bool) {
            let slowly = lex_by(&[sql.as_bytes()], backslashes, |lexer, part, mut sink| {
                for byte in part {
                    while !lexer.step(*byte, &mut sink) {}
                }
            });
            prop_assert_eq!(lex(&[sql.as_bytes()], backslashes), slowly);
        }

        #[test]
        fn no_bytes_panic(sql in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = lex(&[&sql], false);
        }
    }
}
