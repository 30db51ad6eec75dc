//! What archived transactions did, in a few words for people: read out of what the servers' own tools print of a log. The file of
//! statements has all of it. Pure.

use std::collections::BTreeMap;

/// Most kinds of acts that are named.
const NAMED_MAX: usize = 10;
/// Most characters of a statement that is named.
const STATEMENT_CHARS_MAX: usize = 80;
/// What a line of rows begins with, in the words of the tools.
const ROWS: [&str; 3] = ["### INSERT INTO ", "### UPDATE ", "### DELETE FROM "];
/// What a statement begins with that changes more than rows.
const WORDS: [&str; 8] = ["CREATE ", "ALTER ", "DROP ", "TRUNCATE ", "RENAME ", "GRANT ", "REVOKE ", "SET PASSWORD "];

/// Each act and how often it was done: `INSERT INTO app.t (2)`. Dauphin's own rows come last.
#[must_use]
pub(crate) fn did(statements: &str) -> Vec<String> {
    let mut counts: BTreeMap<(bool, String), u64> = BTreeMap::new();
    for line in statements.lines() {
        let act = if ROWS.iter().any(|begin| line.starts_with(begin)) {
            line.trim_start_matches("### ").replace('`', "")
        } else if WORDS.iter().any(|begin| line.get(..begin.len()).is_some_and(|is| is.eq_ignore_ascii_case(begin))) {
            // who has which password is nobody's to read, its hash neither
            let named = line.split(" IDENTIFIED ").next().unwrap_or(line);
            named.chars().take(STATEMENT_CHARS_MAX).collect()
        } else {
            continue;
        };
        *counts.entry((act.contains(" dauphin."), act.trim_end().to_owned())).or_default() += 1;
    }
    let more = counts.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> =
        counts.into_iter().take(NAMED_MAX).map(|((_, act), count)| format!("{act} ({count})")).collect();
    if more > 0 {
        named.push(format!("and {more} more kinds"));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_counted_and_passwords_are_not_told() {
        let text = "BEGIN\n### INSERT INTO `app`.`t`\n### SET\n###   @1=1\n### INSERT INTO `app`.`t`\n### SET\n### UPDATE \
                    `dauphin`.`heartbeat`\n### WHERE\n### DELETE FROM `app`.`old`\ncreate table x (n int)\n/*!*/;\n# CREATE TABLE no\n\
                    CREATE USER 'a'@'%' IDENTIFIED VIA mysql_native_password USING '*AB'\nSET TIMESTAMP=1/*!*/;\n";
        assert_eq!(
            did(text),
            [
                "CREATE USER 'a'@'%' (1)",
                "DELETE FROM app.old (1)",
                "INSERT INTO app.t (2)",
                "create table x (n int) (1)",
                "UPDATE dauphin.heartbeat (1)",
            ]
        );
        let many: String = (0..12).map(|n| format!("### INSERT INTO `t{n}`.`t`\n")).collect();
        assert_eq!(did(&many).len(), NAMED_MAX + 1);
        assert_eq!(did("").len(), 0);
    }
}
