//! How facts look on a terminal: tables of at most 100 columns, sizes, durations. Pure.

use crate::say::Tone;

/// Widest line, in columns.
pub(crate) const COLUMNS_MAX: usize = 100;

/// A table: the first row is its head.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|word| ((*word).to_owned(), Tone::Dim)).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// The lines of the table. The last column is cut where a line would be too long.
    pub(crate) fn lines(&self, colours: bool) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| one_line(row, &widths, colours)).collect()
    }
}

fn one_line(row: &[(String, Tone)], widths: &[usize], colours: bool) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (i, ((text, tone), width)) in row.iter().zip(widths).enumerate() {
        let room = COLUMNS_MAX.saturating_sub(used);
        let shown = cut(text, room);
        let length = shown.chars().count();
        line.push_str(&tone.paint(&shown, colours));
        if i + 1 < row.len() {
            line.push_str(&" ".repeat(width.saturating_sub(length) + 2));
        }
        used += width + 2;
    }
    line.trim_end().to_owned()
}

/// The text, cut to this many columns.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The text in lines of at most this many columns, broken between words.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map(|l| l.chars().count()).unwrap_or_default();
        if line > 0 && line + 1 + word.chars().count() > columns {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count;
    let mut rest = 0;
    let mut unit = 0;
    while value >= 1024 && unit + 1 < units.len() {
        rest = value % 1024 * 10 / 1024;
        value /= 1024;
        unit += 1;
    }
    if unit == 0 || value >= 100 {
        format!("{value} {}", units[unit])
    } else {
        format!("{value}.{rest} {}", units[unit])
    }
}

/// The value, or a dash.
pub(crate) fn dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec![("x".repeat(40), Tone::Plain), ("é".repeat(90), Tone::Good)]);
        for line in table.lines(false) {
            assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
        }
        assert!(table.lines(true)[1].contains("\x1b[32m"));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [0, 1023, 1024, 1536, 150 << 20, 5 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 kB", "1.5 kB", "150 MB", "5.0 GB"]
        );
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
