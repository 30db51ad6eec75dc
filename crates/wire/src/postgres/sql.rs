//! What a text of SQL leaves behind in its session: nothing, a setting that can be repeated on another server, or
//! something that cannot (a *pin*). The proxy asks before it moves a session. In doubt the answer is a pin: a session
//! that ends with a clear error is better than one that goes on with less than it had.

mod effects;
mod ending;
mod reads;
#[cfg(test)]
mod tests;

use super::lexer::{Lexer, Token};
pub use effects::{CHARACTERISTICS, Control, Effects, Lasting, Pin};
pub use ending::Ending;
use ending::{Begins, begins, ending};
use reads::Reads;

/// Longest name of a setting that is remembered, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// Most changes of one text that are told apart.
const CHANGES_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No word yet.
    Start,
    Other,
    Declare,
    Prepare,
    Rollback,
    /// SET: what comes next is a scope or a name.
    SetScope,
    /// After SET SESSION.
    SetSession,
    /// In the name: a dot may follow.
    SetName,
    /// After a dot in the name.
    SetDot,
    SetValue,
    ResetStart,
    ResetName,
    ResetDot,
    Discard,
    Deallocate,
    Done,
}

/// Reads a text, in parts of any size.
#[derive(Debug, Clone)]
pub struct Scan {
    lexer: Lexer,
    reader: Reader,
}

#[derive(Debug, Clone)]
struct Reader {
    kind: Kind,
    key: Vec<u8>,
    statements: u32,
    /// The statement is a SET.
    setting: bool,
    effects: Effects,
    /// The last word, as far as rules ask for it.
    last: Last,
    depth: u32,
    /// Depth of an open set_config(…) call, and what stands at the end of it so far.
    set_config: Option<(u32, Argument)>,
    reads: Reads,
}

/// The end of a list of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Other,
    Comma,
    /// `, true`: set_config(…) for this transaction only.
    True,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    None,
    /// CREATE, INTO, LOCAL, GLOBAL or REPLACE: TEMP may follow.
    MayBeTemporary,
    With,
}

impl Scan {
    /// At the beginning of a text; `backslashes` when `standard_conforming_strings` is off.
    #[must_use]
    pub fn new(backslashes: bool) -> Self {
        Self {
            lexer: Lexer::new(backslashes),
            reader: Reader {
                kind: Kind::Start,
                key: Vec::new(),
                statements: 0,
                setting: false,
                effects: Effects::default(),
                last: Last::None,
                depth: 0,
                set_config: None,
                reads: Reads::default(),
            },
        }
    }

    /// Goes on with the next part.
    pub fn feed(&mut self, text: &[u8]) {
        let reader = &mut self.reader;
        self.lexer.feed(text, &mut |token| reader.token(token));
    }

    /// The text has ended. Whether it does nothing but begin or end a transaction is told of whole texts only: see [`effects`].
    #[must_use]
    pub fn finish(mut self) -> Effects {
        let reader = &mut self.reader;
        self.lexer.finish(&mut |token| reader.token(token));
        reader.end_statement();
        // What comes behind the end of a transaction in one text is on its own.
        reader.effects.control.may_commit |= reader.effects.control.ends && reader.statements > 1;
        let set = |change: &Lasting| matches!(change, Lasting::Set(_));
        if reader.statements > 1 && reader.effects.changes.iter().any(set) {
            // Which part of the text it would be is not told.
            reader.pin(Pin::Setting);
            reader.effects.changes.clear();
        }
        reader.effects.control.reads = reader.effects.pin.is_none() && reader.reads.finish();
        self.reader.effects
    }
}

/// What a whole text leaves behind.
#[must_use]
pub fn effects(sql: &[u8], backslashes: bool) -> Effects {
    let mut scan = Scan::new(backslashes);
    scan.feed(sql);
    let mut effects = scan.finish();
    let begins = begins(sql, backslashes);
    effects.control.begins = begins.is_some();
    effects.control.reads |= begins == Some(Begins::ReadOnly);
    if effects.control.ends {
        effects.control.ending = ending(sql, backslashes);
    }
    effects
}

impl Reader {
    fn pin(&mut self, pin: Pin) {
        // What code may have done is the least of reasons.
        if matches!(self.effects.pin, None | Some(Pin::Code)) {
            self.effects.pin = Some(pin);
        }
    }

    fn argument(&mut self, end: Argument) {
        if let Some((_, argument)) = &mut self.set_config {
            *argument = end;
        }
    }

    fn token(&mut self, token: Token<'_>) {
        self.reads.token(token);
        match token {
            Token::Word(word) => self.word(word, false),
            Token::Name(name) => self.word(name, true),
            Token::Symbol(symbol) => self.symbol(symbol),
            Token::Doubt => self.pin(Pin::Doubt),
            Token::Text | Token::Number => {
                self.last = Last::None;
                self.argument(Argument::Other);
            }
        }
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b';' => return self.end_statement(),
            b'(' => self.depth += 1,
            b')' => {
                if let Some((depth, end)) = self.set_config
                    && depth + 1 == self.depth
                {
                    self.set_config = None;
                    if end != Argument::True {
                        self.pin(Pin::Setting);
                    }
                }
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
        self.argument(if symbol == b',' { Argument::Comma } else { Argument::Other });
        self.last = Last::None;
        self.kind = match (self.kind, symbol) {
            (Kind::SetName, b'.') => Kind::SetDot,
            (Kind::SetName, _) => Kind::SetValue,
            (Kind::ResetName, b'.') => Kind::ResetDot,
            (Kind::SetSession, _) => {
                self.pin(Pin::Setting);
                Kind::Done
            }
            (kind, _) => kind,
        };
    }

    fn word(&mut self, word: &[u8], quoted: bool) {
        let after_comma = self.set_config.is_some_and(|(_, end)| end == Argument::Comma);
        self.argument(if after_comma && word == b"true" && !quoted { Argument::True } else { Argument::Other });
        self.anywhere(word, quoted);
        self.kind = match self.kind {
            Kind::Start => self.first(word, quoted),
            Kind::Declare => {
                if word == b"hold" && self.last == Last::With {
                    self.pin(Pin::HoldCursor);
                }
                Kind::Declare
            }
            Kind::Prepare => {
                if word != b"transaction" {
                    self.pin(Pin::Prepare);
                }
                Kind::Done
            }
            Kind::Rollback => {
                self.effects.savepoint |= word == b"to";
                Kind::Rollback
            }
            Kind::SetScope | Kind::SetSession => self.set_scope(word, quoted),
            Kind::SetDot | Kind::ResetDot => {
                self.key.push(b'.');
                self.name(word);
                if self.kind == Kind::SetDot { Kind::SetName } else { Kind::ResetName }
            }
            Kind::SetName => Kind::SetValue,
            Kind::ResetStart => self.reset(word, quoted),
            Kind::Discard => {
                if word == b"all" {
                    self.remember(Lasting::DiscardAll);
                }
                Kind::Done
            }
            Kind::Deallocate => self.deallocate(word, quoted),
            kind @ (Kind::Other | Kind::SetValue | Kind::ResetName | Kind::Done) => kind,
        };
        self.last = match word {
            _ if quoted => Last::None,
            b"create" | b"into" | b"local" | b"global" | b"replace" => Last::MayBeTemporary,
            b"with" => Last::With,
            _ => Last::None,
        };
    }

    /// Words that matter wherever they stand.
    fn anywhere(&mut self, word: &[u8], quoted: bool) {
        match word {
            b"temp" | b"temporary" if !quoted && self.last == Last::MayBeTemporary => self.pin(Pin::Temporary),
            // One call within another: which argument belongs to which is not worth telling.
            b"set_config" if self.set_config.is_some() => self.pin(Pin::Setting),
            b"set_config" => {
                self.effects.messages = true;
                self.set_config = Some((self.depth, Argument::Other));
            }
            b"client_min_messages" if self.setting => self.effects.messages = true,
            b"dblink_connect" | b"dblink_connect_u" => self.pin(Pin::Connection),
            _ if word.starts_with(b"pg_temp") => self.pin(Pin::Temporary),
            _ if word.starts_with(b"pg_advisory_lock") || word.starts_with(b"pg_try_advisory_lock") => {
                self.pin(Pin::AdvisoryLock);
            }
            _ => {}
        }
    }

    fn first(&mut self, word: &[u8], quoted: bool) -> Kind {
        if quoted {
            self.pin(Pin::Unknown);
            return Kind::Done;
        }
        match word {
            b"select" | b"insert" | b"update" | b"delete" | b"merge" | b"with" | b"values" | b"table" | b"begin"
            | b"start" | b"explain" | b"copy" | b"truncate" | b"vacuum" | b"analyze" | b"analyse" | b"cluster"
            | b"reindex" | b"checkpoint" | b"lock" | b"refresh" | b"grant" | b"revoke" | b"alter" | b"drop"
            | b"comment" | b"notify" | b"show" | b"fetch" | b"move" | b"close" | b"security" | b"reassign"
            | b"import" | b"create" | b"unlisten" => Kind::Other,
            b"execute" => {
                self.effects.control.may_commit = true;
                Kind::Other
            }
            b"commit" | b"end" => {
                self.effects.control.may_commit = true;
                self.effects.control.ends = true;
                Kind::Other
            }
            b"abort" => {
                self.effects.control.ends = true;
                Kind::Other
            }
            b"savepoint" | b"release" => {
                self.effects.savepoint = true;
                Kind::Other
            }
            b"rollback" => {
                // ROLLBACK PREPARED is fine; COMMIT PREPARED has its own word above.
                self.effects.control.ends = true;
                Kind::Rollback
            }
            b"declare" => Kind::Declare,
            b"prepare" => {
                self.effects.control.may_commit = true;
                Kind::Prepare
            }
            b"set" => {
                self.setting = true;
                Kind::SetScope
            }
            b"reset" => Kind::ResetStart,
            b"discard" => Kind::Discard,
            b"deallocate" => Kind::Deallocate,
            b"listen" => self.pinned(Pin::Listen),
            b"load" => self.pinned(Pin::Load),
            b"do" | b"call" => {
                self.effects.messages = true;
                self.pinned(Pin::Code)
            }
            _ => self.pinned(Pin::Unknown),
        }
    }

    fn pinned(&mut self, pin: Pin) -> Kind {
        self.effects.control.may_commit = true;
        self.pin(pin);
        Kind::Done
    }

    fn set_scope(&mut self, word: &[u8], quoted: bool) -> Kind {
        if !quoted {
            match (self.kind, word) {
                (Kind::SetScope, b"local" | b"transaction" | b"constraints") => return Kind::Done,
                (Kind::SetScope, b"session") => return Kind::SetSession,
                (Kind::SetSession, b"authorization") => return self.pinned(Pin::Role),
                (Kind::SetSession, b"characteristics") => {
                    self.key = CHARACTERISTICS.to_vec();
                    return Kind::SetValue;
                }
                _ => {}
            }
        }
        self.key.clear();
        self.name(word);
        match self.key.as_slice() {
            b"role" | b"session_authorization" => self.pinned(Pin::Role),
            b"seed" => self.pinned(Pin::Setting),
            _ => Kind::SetName,
        }
    }

    fn reset(&mut self, word: &[u8], quoted: bool) -> Kind {
        self.key.clear();
        self.name(word);
        match self.key.as_slice() {
            b"all" if !quoted => {
                self.remember(Lasting::ResetAll);
                Kind::Done
            }
            b"role" | b"session" | b"session_authorization" => self.pinned(Pin::Role),
            _ => Kind::ResetName,
        }
    }

    fn deallocate(&mut self, word: &[u8], quoted: bool) -> Kind {
        match word {
            b"prepare" if !quoted => Kind::Deallocate,
            b"all" if !quoted => {
                self.remember(Lasting::DeallocateAll);
                Kind::Done
            }
            name => {
                self.remember(Lasting::Deallocate(name.to_vec()));
                Kind::Done
            }
        }
    }

    /// Adds to the name of a setting; such names know no case.
    fn name(&mut self, word: &[u8]) {
        if self.key.len() + word.len() > KEY_BYTES_MAX {
            self.pin(Pin::Setting);
        } else {
            self.key.extend(word.iter().map(u8::to_ascii_lowercase));
        }
    }

    fn remember(&mut self, change: Lasting) {
        self.effects.changes.push(change);
        if self.effects.changes.len() > CHANGES_MAX {
            self.pin(Pin::Setting);
            self.effects.changes.clear();
        }
    }

    fn end_statement(&mut self) {
        match self.kind {
            Kind::SetName | Kind::SetValue => {
                let key = std::mem::take(&mut self.key);
                self.remember(Lasting::Set(key));
            }
            Kind::ResetName => {
                let key = std::mem::take(&mut self.key);
                self.remember(Lasting::Reset(key));
            }
            Kind::Start
            | Kind::Other
            | Kind::Declare
            | Kind::Prepare
            | Kind::Rollback
            | Kind::SetScope
            | Kind::SetSession
            | Kind::SetDot
            | Kind::ResetStart
            | Kind::ResetDot
            | Kind::Discard
            | Kind::Deallocate
            | Kind::Done => {}
        }
        if self.kind != Kind::Start {
            self.statements = self.statements.saturating_add(1);
        }
        // Every statement but the last of a text may be anything; what is open at its end is a syntax error.
        if self.set_config.take().is_some() {
            self.pin(Pin::Setting);
        }
        self.kind = Kind::Start;
        self.setting = false;
        self.last = Last::None;
        self.depth = 0;
    }
}
