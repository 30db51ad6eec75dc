//! Sizes and durations as people write them: a whole number and its unit. The reader and the writer use it.
//! It never guesses a unit: a bare number is refused.

use crate::time::Span;

const SIZES: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DURATIONS: &[(&str, u64)] =
    &[("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];

/// Reads a size in bytes.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn size(text: &str) -> Result<u64, String> {
    read(text, SIZES, "size", "16MiB")
}

/// Reads a duration.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn duration(text: &str) -> Result<Span, String> {
    read(text, DURATIONS, "duration", "30s").map(Span)
}

/// Reads a percentage: a whole number from 1 to 99.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).filter(|n| (1..=99).contains(n));
    number.ok_or_else(|| format!("{text:?} is not a percentage: 1% to 99%, as in \"80%\""))
}

/// Writes a size with the largest unit that keeps it whole.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    write(bytes, SIZES)
}

/// Writes a duration with the largest unit that keeps it whole; microseconds beyond milliseconds are cut off.
#[must_use]
pub fn duration_text(span: Span) -> String {
    write(span.0 / 1_000 * 1_000, DURATIONS)
}

fn read(text: &str, units: &[(&str, u64)], what: &str, example: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let names: Vec<&str> = units.iter().rev().map(|(name, _)| *name).collect();
    let allowed = format!("a {what} is a whole number and one of {}, as in \"{example}\"", names.join(", "));
    let unit = unit.trim_start();
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let meant = units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit) || name.replace('i', "").eq_ignore_ascii_case(unit));
        let meant = meant.map(|(name, _)| format!("; did you mean \"{digits}{name}\"?")).unwrap_or_default();
        return Err(format!(
            "{text:?} has {}: {allowed}{meant}",
            if unit.is_empty() { "no unit" } else { "no known unit" }
        ));
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a {what}: {allowed}"))?;
    number.checked_mul(*factor).ok_or_else(|| format!("{text:?} is too large"))
}

fn write(value: u64, units: &[(&str, u64)]) -> String {
    let fit = units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let (name, factor) = fit.or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written() {
        for (text, bytes) in [("0B", 0), ("4GiB", 4 << 30), ("16MiB", 16 << 20), ("1000B", 1000), ("2 KiB", 2048)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&size_text(bytes)), Ok(bytes), "{text}");
        }
        for (text, ms) in [("1500ms", 1_500), ("30s", 30_000), ("2min", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Span::ms(ms)), "{text}");
            assert_eq!(duration_text(Span::ms(ms)), text);
        }
    }

    #[test]
    fn what_is_no_unit_is_refused_with_what_is() {
        for (text, expected) in [
            ("16", "no unit"),
            ("16MB", "did you mean \"16MiB\"?"),
            ("4gib", "did you mean \"4GiB\"?"),
            ("4 parsecs", "no known unit"),
            ("-1MiB", "no known unit"),
            ("MiB", "is not a size"),
            ("1.5GiB", "no known unit"),
            ("99999999999TiB", "too large"),
            ("", "no unit"),
        ] {
            let error = size(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(duration("10").expect_err("no unit").contains("one of ms, s, min, h, d"));
        assert!(duration("10S").expect_err("no unit").contains("did you mean \"10s\"?"));
    }
}
