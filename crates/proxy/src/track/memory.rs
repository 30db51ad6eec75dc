//! What is remembered of a session so that it can go on with another server: settings, prepared statements, reported
//! parameters, and the reasons why it cannot. Only the tracker changes it; the backend's restoring reads it.

use dauphin_wire::postgres::sql::{CHARACTERISTICS, Pin, Sole};
use std::collections::BTreeMap;

/// Longest SET that is remembered, in bytes.
pub(crate) const SETTING_BYTES_MAX: usize = 1024;

/// Most settings remembered.
pub(crate) const SETTINGS_MAX: usize = 64;

/// Most bytes of prepared statements kept for one session.
const STATEMENTS_BYTES_MAX: usize = 512 * 1024;

/// Longest unnamed statement kept, in bytes: a client that prepares it, pauses over a change of leader and then binds
/// it is told that it does not exist if it was longer.
const UNNAMED_BYTES_MAX: usize = 8 * 1024;

/// Parameters that a server reports and a client may set: carried along when they differ.
const SETTABLE: [&str; 7] = [
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "application_name",
    "standard_conforming_strings",
    "search_path",
];

/// Encodings whose characters may contain a byte that looks like a backslash.
const TREACHEROUS: [&str; 7] = ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"];

/// A set of reasons why a session cannot move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pins(u32);

const ALL: [Pin; 14] = [
    Pin::Temporary,
    Pin::AdvisoryLock,
    Pin::Listen,
    Pin::Prepare,
    Pin::HoldCursor,
    Pin::Role,
    Pin::Setting,
    Pin::Load,
    Pin::Code,
    Pin::Unknown,
    Pin::Doubt,
    Pin::TooMuch,
    Pin::Replication,
    Pin::Copy,
];

/// What DISCARD ALL undoes.
const DISCARDED: [Pin; 7] =
    [Pin::Temporary, Pin::AdvisoryLock, Pin::Listen, Pin::Prepare, Pin::HoldCursor, Pin::Role, Pin::Setting];

impl Pins {
    fn bit(pin: Pin) -> u32 {
        1 << (pin as u32)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// For people.
    pub(crate) fn text(self) -> String {
        let names: Vec<String> =
            ALL.into_iter().filter(|pin| self.0 & Self::bit(*pin) != 0).map(|pin| pin.to_string()).collect();
        names.join(", ")
    }
}

/// A setting that the session has made.
#[derive(Debug)]
struct Setting {
    key: Box<[u8]>,
    /// The SET as the client sent it.
    text: Box<[u8]>,
}

impl Setting {
    /// SET SESSION CHARACTERISTICS has its text for a key.
    fn is_of_several(&self) -> bool {
        self.key == self.text
    }
}

/// What goes along with a session.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pins: Pins,
    backslashes: bool,
    /// In the order of their last change.
    settings: Vec<Setting>,
    /// Name to whole Parse message; the unnamed statement has the empty name.
    statements: BTreeMap<Box<[u8]>, Box<[u8]>>,
    statements_bytes: usize,
    /// Reported parameters as the client has seen them: name, zero byte, value, zero byte, and so on. One block of
    /// text costs a tenth of a map in an idle session.
    reported: Box<str>,
}

impl Memory {
    /// Why the session cannot move.
    pub(crate) fn pins(&self) -> Pins {
        self.pins
    }

    /// Adds a reason.
    pub(crate) fn pin(&mut self, pin: Pin) {
        self.pins.0 |= Pins::bit(pin);
    }

    /// Whether backslashes escape in plain strings.
    pub(crate) fn backslashes(&self) -> bool {
        self.backslashes
    }

    /// SET statements to repeat, in order.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &[u8]> {
        self.settings.iter().map(|setting| &*setting.text)
    }

    /// Parse messages to repeat.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &[u8]> {
        self.statements.values().map(|frame| &**frame)
    }

    /// Reported parameters as the client has seen them.
    pub(crate) fn reported(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.reported.split('\0');
        std::iter::from_fn(move || Some((parts.next().filter(|name| !name.is_empty())?, parts.next()?)))
    }

    /// Whether a reported parameter may be set by the session.
    pub(crate) fn is_settable(name: &str) -> bool {
        SETTABLE.contains(&name)
    }

    /// A parameter was reported to the client.
    pub(crate) fn report(&mut self, name: &str, value: &str) {
        match name {
            "standard_conforming_strings" => self.backslashes = value == "off",
            "client_encoding" if TREACHEROUS.contains(&value.to_ascii_uppercase().as_str()) => self.pin(Pin::Doubt),
            _ => {}
        }
        let mut text = String::with_capacity(self.reported.len() + name.len() + value.len() + 2);
        for (other, old) in self.reported().filter(|(other, _)| *other != name) {
            text.extend([other, "\0", old, "\0"]);
        }
        text.extend([name, "\0", value, "\0"]);
        self.reported = text.into_boxed_str();
    }

    /// A statement was prepared.
    pub(crate) fn keep_statement(&mut self, name: Box<[u8]>, frame: Box<[u8]>) {
        self.forget_statement(&name);
        if name.is_empty() && frame.len() > UNNAMED_BYTES_MAX {
            return;
        }
        if self.statements_bytes + frame.len() > STATEMENTS_BYTES_MAX {
            return self.pin(Pin::TooMuch);
        }
        self.statements_bytes += frame.len();
        self.statements.insert(name, frame);
    }

    /// A statement is gone.
    pub(crate) fn forget_statement(&mut self, name: &[u8]) {
        if let Some(frame) = self.statements.remove(name) {
            self.statements_bytes -= frame.len();
        }
    }

    /// A SET, RESET, DISCARD or DEALLOCATE was done for good.
    pub(crate) fn change(&mut self, sole: &Sole, text: &[u8]) {
        match sole {
            Sole::Set(key) => {
                // These set more than one thing: each text is kept, in the order of its last use.
                let key = if key == CHARACTERISTICS { text } else { canonical(key) };
                self.settings.retain(|setting| *setting.key != *key);
                if self.settings.len() >= SETTINGS_MAX {
                    return self.pin(Pin::Setting);
                }
                self.settings.push(Setting { key: key.into(), text: text.into() });
            }
            Sole::Reset(key) => {
                let key = canonical(key);
                self.settings.retain(|setting| *setting.key != *key);
                if key.starts_with(b"default_transaction") && self.settings.iter().any(Setting::is_of_several) {
                    self.pin(Pin::Setting);
                }
            }
            Sole::ResetAll => self.settings.clear(),
            Sole::Deallocate(name) => self.forget_statement(name),
            Sole::DeallocateAll => self.forget_statements(),
            Sole::DiscardAll => {
                self.settings.clear();
                self.forget_statements();
                for pin in DISCARDED {
                    self.pins.0 &= !Pins::bit(pin);
                }
            }
        }
    }

    fn forget_statements(&mut self) {
        self.statements.clear();
        self.statements_bytes = 0;
    }
}

/// SET has other spellings for some settings.
fn canonical(key: &[u8]) -> &[u8] {
    match key {
        b"time" => b"timezone",
        b"names" => b"client_encoding",
        b"schema" => b"search_path",
        b"xml" => b"xmloption",
        _ => key,
    }
}
