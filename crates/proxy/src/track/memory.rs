//! What is remembered of a session so that it can go on with another server: settings, prepared statements, reported
//! parameters, and the reasons why it cannot. Only the tracker changes it; the backend's restoring reads it.

use super::own::{self, Asked};
use super::reported::Reported;
use super::statements::Names;
use dauphin_wire::postgres::sql::{CHARACTERISTICS, Lasting, Pin};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The state of a server of which nobody knows what is set.
pub(crate) const DIRTY: u64 = u64::MAX;

/// Longest SET that is remembered, in bytes.
pub(crate) const SETTING_BYTES_MAX: usize = 1024;

/// Most settings remembered.
pub(crate) const SETTINGS_MAX: usize = 64;

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

const ALL: [Pin; 15] = [
    Pin::Temporary,
    Pin::AdvisoryLock,
    Pin::Listen,
    Pin::Prepare,
    Pin::HoldCursor,
    Pin::Role,
    Pin::Setting,
    Pin::Load,
    Pin::Code,
    Pin::Connection,
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

    /// Whether nothing is left but what code may have done: a server may be taken away then.
    pub(crate) fn let_go(self) -> bool {
        self.0 & !Self::bit(Pin::Code) == 0
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
    state: u64,
    /// The client's names of prepared statements.
    pub(crate) names: Names,
    /// Reported parameters as the client has seen them.
    reported: Reported,
    /// How it asked to read.
    asked: Asked,
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

    /// Tells what is set: the same number, the same settings; 0: as after login.
    pub(crate) fn state(&self) -> u64 {
        self.state
    }

    /// How the session asked to read.
    pub(crate) fn asked(&self) -> Asked {
        self.asked
    }

    /// Reported parameters as the client has seen them.
    pub(crate) fn reported(&self) -> &Reported {
        &self.reported
    }

    /// The client is shown these.
    pub(crate) fn show(&mut self, reported: Reported) {
        if self.reported != reported {
            for (name, value) in reported.iter() {
                self.notice(name, value);
            }
        }
        self.reported = reported;
    }

    /// Whether a reported parameter may be set by the session.
    pub(crate) fn is_settable(name: &str) -> bool {
        SETTABLE.contains(&name)
    }

    /// A parameter was reported to the client.
    pub(crate) fn report(&mut self, name: &str, value: &str) {
        self.notice(name, value);
        self.reported = self.reported.with(name, value);
    }

    fn notice(&mut self, name: &str, value: &str) {
        match name {
            "standard_conforming_strings" => self.backslashes = value == "off",
            "client_encoding" if TREACHEROUS.contains(&value.to_ascii_uppercase().as_str()) => self.pin(Pin::Doubt),
            _ => {}
        }
    }

    /// A SET, RESET, DISCARD or DEALLOCATE was done for good.
    pub(crate) fn change(&mut self, what: &Lasting, text: &[u8]) {
        match what {
            Lasting::Set(key) => {
                if own::is_own(key)
                    && let (Some(value), Ok(name)) = (own::value_of(text), std::str::from_utf8(key))
                {
                    // What the server took was looked at before.
                    let _ = self.asked.set(name, &value);
                }
                if *key == *own::MESSAGES.as_bytes() {
                    self.asked.hear(text);
                }
                // These set more than one thing: each text is kept, in the order of its last use.
                let key = if key == CHARACTERISTICS { text } else { canonical(key) };
                self.settings.retain(|setting| *setting.key != *key);
                if self.settings.len() >= SETTINGS_MAX {
                    return self.pin(Pin::Setting);
                }
                self.settings.push(Setting { key: key.into(), text: text.into() });
            }
            Lasting::Reset(key) => {
                let key = canonical(key);
                self.asked.reset(key);
                self.settings.retain(|setting| *setting.key != *key);
                if key.starts_with(b"default_transaction") && self.settings.iter().any(Setting::is_of_several) {
                    self.pin(Pin::Setting);
                }
            }
            Lasting::ResetAll => {
                self.settings.clear();
                self.asked = Asked::default();
            }
            Lasting::Deallocate(name) => drop(self.names.remove(name)),
            Lasting::DeallocateAll => self.names.clear(),
            Lasting::DiscardAll => {
                self.settings.clear();
                self.asked = Asked::default();
                self.names.clear();
                for pin in DISCARDED {
                    self.pins.0 &= !Pins::bit(pin);
                }
            }
        }
        self.state = 0;
        if !self.settings.is_empty() {
            let mut hash = DefaultHasher::new();
            self.settings.iter().for_each(|setting| setting.text.hash(&mut hash));
            self.state = hash.finish().clamp(1, DIRTY - 1);
        }
    }

    /// Whether code ran that may have left something behind. Asked when the server goes to another client, which is told
    /// nothing of it.
    pub(crate) fn take_code(&mut self) -> bool {
        let ran = self.pins.0 & Pins::bit(Pin::Code) != 0;
        self.pins.0 &= !Pins::bit(Pin::Code);
        ran
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
