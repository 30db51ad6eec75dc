//! "Did you mean": the known word that is nearest to one that is not. Only messages use it.

/// Most letters that may differ.
const DISTANCE_MAX: usize = 3;

/// The word among `known` that was most likely meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = DISTANCE_MAX.min(word.chars().count() / 2);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit || (word.len() > 3 && candidate.starts_with(word)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, taken away or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
            diagonal = above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_and_nonsense_none() {
        let known = ["durability", "on_shortage", "profile", "data_dir"];
        for (word, meant) in [
            ("durabilty", Some("durability")),
            ("on-shortage", Some("on_shortage")),
            ("dura", Some("durability")),
            ("datadir", Some("data_dir")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
