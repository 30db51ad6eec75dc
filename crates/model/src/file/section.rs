//! Reads one table of the file: typed values with their places, and a fault for whatever does not fit.
//! The reader uses it; defaults and known names come from `keys`. It knows nothing of what the values mean together.

use super::keys::{self, Key};
use super::{near::nearest, unit};
use crate::time::Span;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest text shown of a value that does not fit, in characters.
const SHOWN_MAX: usize = 60;

/// Faults found so far, by byte offset.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) list: RefCell<Vec<(usize, String)>>,
}

impl Faults {
    pub(super) fn add(&self, at: usize, message: impl Into<String>) {
        self.list.borrow_mut().push((at, message.into()));
    }

    pub(super) fn count(&self) -> usize {
        self.list.borrow().len()
    }
}

/// A value where it stands, or its default.
pub(super) enum Found<'a, 'i> {
    Given(&'a Spanned<DeValue<'i>>),
    Default(&'static str),
    Missing,
}

/// One table.
pub(super) struct Section<'a, 'i> {
    pub(super) name: &'static str,
    pub(super) at: usize,
    /// Where each key that was given stands.
    pub(super) places: BTreeMap<String, usize>,
    table: &'a DeTable<'i>,
    faults: &'a Faults,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Takes a table on, and refuses keys that it does not have.
    pub(super) fn new(name: &'static str, at: usize, table: &'a DeTable<'i>, faults: &'a Faults) -> Self {
        let mut places = BTreeMap::new();
        for (key, value) in table {
            places.insert(key.get_ref().to_string(), value.span().start);
            if keys::find(name, key.get_ref()).is_none() {
                faults.add(key.span().start, unknown(key.get_ref(), name));
            }
        }
        Self { name, at, places, table, faults }
    }

    pub(super) fn fault(&self, at: usize, message: impl Into<String>) {
        self.faults.add(at, message);
    }

    /// How many faults there are so far, anywhere.
    pub(super) fn faults(&self) -> usize {
        self.faults.count()
    }

    /// Where a key stands, or the table if it was left out.
    pub(super) fn place(&self, key: &str) -> usize {
        self.places.get(key).copied().unwrap_or(self.at)
    }

    fn key(&self, name: &str) -> Key {
        let key = keys::find(self.name, name);
        debug_assert!(key.is_some(), "{name} is not among the keys of {}", self.name);
        key.copied().unwrap_or(Key {
            section: self.name,
            name: "",
            form: "",
            default: None,
            required: false,
            about: "",
            example: "",
        })
    }

    fn find(&self, name: &str) -> Found<'a, 'i> {
        let key = self.key(name);
        match (self.table.get(name), key.default) {
            (Some(value), _) => Found::Given(value),
            (None, Some(default)) => Found::Default(default),
            (None, None) => {
                if key.required {
                    let message = format!("`{name}` is missing: {}, as in {name} = {}", key.form, key.example);
                    self.fault(self.at, message);
                }
                Found::Missing
            }
        }
    }

    /// A value of any form: `parse` says what is wrong with it. The default is read by the same.
    fn value<T>(&self, name: &str, parse: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        match self.find(name) {
            Found::Given(value) => match parse(value.get_ref()) {
                Ok(value) => Some(value),
                Err(message) => {
                    self.fault(value.span().start, message);
                    None
                }
            },
            Found::Default(text) => DeValue::parse(text).ok().and_then(|value| parse(value.get_ref()).ok()),
            Found::Missing => None,
        }
    }

    fn wrong(&self, name: &str, value: &DeValue<'_>) -> String {
        let key = self.key(name);
        format!("`{name}` is {}; allowed: {}, as in {name} = {}", shown(value), key.form, key.example)
    }

    /// A text, read by `parse`.
    pub(super) fn text<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.value(name, |value| match value.as_str() {
            Some(text) => parse(text).map_err(|message| format!("`{name}`: {message}")),
            None => Err(self.wrong(name, value)),
        })
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Option<T> {
        self.value(name, |value| {
            let given = value.as_str();
            let found = words.iter().find(|(word, _)| Some(*word) == given);
            found.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let meant = given.and_then(|given| nearest(given, words.iter().map(|(word, _)| *word)));
                let meant = meant.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
                format!("`{name}` is {}; allowed: {}{meant}", shown(value), self.key(name).form)
            })
        })
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, name: &str, bounds: Range<u64>) -> Option<u64> {
        self.value(name, |value| {
            let number = value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
            number
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| format!("`{name}` is {}; allowed: {}", shown(value), self.key(name).form))
        })
    }

    pub(super) fn port(&self, name: &str) -> Option<u16> {
        self.number(name, 1..65_536).and_then(|port| u16::try_from(port).ok())
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.value(name, |value| value.as_bool().ok_or_else(|| self.wrong(name, value)))
    }

    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.text(name, unit::size)
    }

    pub(super) fn duration(&self, name: &str) -> Option<Span> {
        self.text(name, unit::duration)
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name, |text| if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(PathBuf::from(text)) })
    }

    /// Three texts, each read by `parse`, that grow: warning, critical, emergency.
    pub(super) fn three<T: Ord + Copy>(&self, name: &str, parse: fn(&str) -> Result<T, String>) -> Option<[T; 3]> {
        self.value(name, |value| {
            let texts: Option<Vec<&str>> =
                value.as_array().map(|a| a.iter().filter_map(|v| v.get_ref().as_str()).collect());
            let Some([warning, critical, emergency]) =
                texts.as_deref().filter(|_| value.as_array().map(|a| a.len()) == Some(3))
            else {
                return Err(self.wrong(name, value));
            };
            let read = |text: &str| parse(text).map_err(|message| format!("`{name}`: {message}"));
            let three = [read(warning)?, read(critical)?, read(emergency)?];
            if three[0] < three[1] && three[1] < three[2] {
                return Ok(three);
            }
            Err(format!(
                "`{name}` is \"{warning}\", \"{critical}\", \"{emergency}\"; each must be worse than the one before: {}",
                self.key(name).form
            ))
        })
    }

    /// A duration within bounds.
    pub(super) fn duration_within(&self, name: &str, least: Span, most: Span) -> Option<Span> {
        let given = self.duration(name)?;
        if (least..=most).contains(&given) {
            return Some(given);
        }
        let text = unit::duration_text(given);
        self.fault(self.place(name), format!("`{name}` is {text}; allowed: {}", self.key(name).form));
        None
    }

    /// A list of texts, each read by `parse`; those that do not fit are left out, with a fault each.
    pub(super) fn list<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Found::Given(value) = self.find(name) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.fault(value.span().start, self.wrong(name, value.get_ref()));
            return Vec::new();
        };
        array.iter().filter_map(|item| self.item(name, item, &parse)).collect()
    }

    fn item<T>(
        &self,
        name: &str,
        item: &Spanned<DeValue<'_>>,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = match item.get_ref().as_str() {
            Some(text) => parse(text).map_err(|message| format!("`{name}`: {message}")),
            None => Err(self.wrong(name, item.get_ref())),
        };
        read.map_err(|message| self.fault(item.span().start, message)).ok()
    }

    /// A table of free names; `parse` gets each name and its value.
    pub(super) fn table<T>(
        &self,
        name: &str,
        parse: impl Fn(&str, &DeValue<'_>) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let Found::Given(value) = self.find(name) else { return BTreeMap::new() };
        let Some(table) = value.get_ref().as_table() else {
            self.fault(value.span().start, self.wrong(name, value.get_ref()));
            return BTreeMap::new();
        };
        let mut read = BTreeMap::new();
        for (key, value) in table {
            match parse(key.get_ref(), value.get_ref()) {
                Ok(value) => drop(read.insert(key.get_ref().to_string(), value)),
                Err(message) => self.fault(key.span().start, message),
            }
        }
        read
    }
}

/// A value as people wrote it, short.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    if let Some(text) = value.as_str() {
        return format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>());
    }
    if let Some(number) = value.as_integer() {
        return number.to_string();
    }
    if let Some(number) = value.as_float() {
        return number.to_string();
    }
    value.as_bool().map_or_else(|| format!("a {}", value.type_str()), |flag| flag.to_string())
}

/// What to say of a key that no table, or another table, has.
fn unknown(key: &str, section: &str) -> String {
    let other = keys::KEYS.iter().find(|known| known.name == key);
    let near = nearest(key, keys::keys_of(section).map(|known| known.name));
    match (near, other) {
        (Some(near), _) => format!("unknown key `{key}`; did you mean `{near}`?"),
        (None, Some(other)) => format!("unknown key `{key}` here; it belongs under [{}]", other.section),
        (None, None) => {
            let known: Vec<&str> = keys::keys_of(section).map(|known| known.name).collect();
            format!("unknown key `{key}`; this table has: {}", known.join(", "))
        }
    }
}
