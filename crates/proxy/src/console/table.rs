//! An answer of the console: columns and rows, as the protocol has them. Pure.

use dauphin_wire::postgres::message;

/// OIDs and lengths of the types that answers have.
const TEXT: (u32, i16) = (25, -1);
const NUMBER: (u32, i16) = (20, 8);

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Null,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Number(u64::from(truth))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
}

/// Columns and rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// Without rows.
    pub(super) fn new(columns: &[(&'static str, Kind)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One more row, as long as the columns are many.
    pub(super) fn row(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len(), "{:?}", self.columns);
        self.rows.push(row);
    }

    /// Appends it as messages, without the end.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        message::put_parts(out, b'T', |out| {
            out.extend_from_slice(&count(self.columns.len()));
            for (name, kind) in &self.columns {
                let (oid, length) = if *kind == Kind::Text { TEXT } else { NUMBER };
                out.extend_from_slice(name.as_bytes());
                // No table, no column of one; no modifier; as text.
                out.extend_from_slice(&[0; 7]);
                out.extend_from_slice(&oid.to_be_bytes());
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                out.extend_from_slice(&[0; 2]);
            }
        });
        for row in &self.rows {
            message::put_parts(out, b'D', |out| {
                out.extend_from_slice(&count(row.len()));
                for value in row {
                    match value {
                        Value::Null => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                        Value::Text(text) => put(out, text.as_bytes()),
                        Value::Number(number) => put(out, number.to_string().as_bytes()),
                    }
                }
            });
        }
    }
}

fn count(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(bytes);
}
