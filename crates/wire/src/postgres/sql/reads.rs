//! Whether a text does nothing but read, as far as it tells: one statement, no lock, no function but those that are known to
//! read only and to say the same on every server. The scan feeds it; the proxy sends such texts to replicas. In doubt it is no
//! read. Operators, views and policies may hide what writes: a replica refuses that before anything is done.

use crate::postgres::lexer::Token;

/// What may stand before an opening parenthesis: words of the language, and functions that only compute. In order.
#[rustfmt::skip]
const BEFORE_PARENTHESIS: [&[u8]; 161] = [
    b"abs", b"age", b"all", b"and", b"any", b"array", b"array_agg", b"array_append", b"array_length",
    b"array_position", b"array_remove", b"array_to_string", b"as", b"ascii", b"avg", b"between", b"bit_length",
    b"bool_and", b"bool_or", b"btrim", b"by", b"cardinality", b"case", b"cast", b"cbrt", b"ceil", b"ceiling", b"char",
    b"char_length", b"character", b"character_length", b"chr", b"clock_timestamp", b"coalesce", b"concat",
    b"concat_ws", b"cos", b"count", b"cube", b"date_part", b"date_trunc", b"decimal", b"decode", b"degrees",
    b"dense_rank", b"distinct", b"div", b"else", b"encode", b"except", b"exists", b"exp", b"extract", b"filter",
    b"first_value", b"float", b"floor", b"format", b"from", b"generate_series", b"greatest", b"grouping", b"having",
    b"ilike", b"in", b"initcap", b"intersect", b"interval", b"is", b"isfinite", b"join", b"json_agg",
    b"json_array_elements", b"json_array_length", b"json_build_array", b"json_build_object", b"json_object_agg",
    b"jsonb_agg", b"jsonb_array_elements", b"jsonb_array_length", b"jsonb_build_array", b"jsonb_build_object",
    b"jsonb_object_agg", b"lag", b"lateral", b"lead", b"least", b"left", b"length", b"like", b"limit",
    b"ln", b"lower", b"lpad", b"ltrim", b"make_date", b"materialized", b"max", b"md5", b"min", b"mod", b"not",
    b"now", b"ntile", b"nullif", b"numeric", b"octet_length", b"offset", b"on", b"or", b"over", b"overlay",
    b"partition", b"position", b"power", b"radians", b"rank", b"regexp_match", b"regexp_replace", b"repeat",
    b"replace", b"reverse", b"right", b"rollup", b"round", b"row", b"row_number", b"row_to_json", b"rpad", b"rtrim",
    b"select", b"sign", b"some", b"split_part", b"sqrt", b"string_agg", b"strpos", b"substr", b"substring", b"sum",
    b"then", b"to_char", b"to_date", b"to_json", b"to_jsonb", b"to_number", b"to_timestamp", b"translate", b"trim",
    b"trunc", b"union", b"unnest", b"upper", b"using", b"values", b"varchar", b"varying", b"when", b"where", b"with",
    b"within",
];

/// Words that make a statement more than a read wherever they stand.
fn does_more(word: &[u8]) -> bool {
    matches!(word, b"into" | b"insert" | b"update" | b"delete" | b"merge" | b"nextval" | b"currval" | b"lastval" | b"tablesample")
        // A sequence's own row is logged ahead of it.
        || matches!(word, b"last_value" | b"log_cnt" | b"is_called")
        || is_of_server(word)
}

/// What the server says of itself is another thing on each.
fn is_of_server(word: &[u8]) -> bool {
    word.starts_with(b"pg_") && word != b"pg_catalog"
}

/// Where in the list the words begin that begin with each letter, and with what follows the last.
const BY_LETTER: [u8; 27] = {
    let mut starts = [0; 27];
    let mut letter = 0;
    let mut at = 0;
    while letter < 27 {
        while at < BEFORE_PARENTHESIS.len() && BEFORE_PARENTHESIS[at][0] < b'a' + letter {
            at += 1;
        }
        starts[letter as usize] = at as u8;
        letter += 1;
    }
    starts
};

fn is_known(word: &[u8]) -> bool {
    let Some(letter) = word.first().map(|first| usize::from(first.wrapping_sub(b'a'))).filter(|letter| *letter < 26)
    else {
        return false;
    };
    let (from, to) = (usize::from(BY_LETTER[letter]), usize::from(BY_LETTER[letter + 1]));
    BEFORE_PARENTHESIS[from..to].contains(&word)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Start,
    /// A word that may stand before a parenthesis.
    Known,
    /// Any other word or name: before a parenthesis it is a function that may do anything.
    Name,
    /// FOR: a lock may follow.
    For,
    /// `pg_catalog`, and the dot behind it.
    Catalog,
    CatalogDot,
    Dot,
    Other,
}

/// Reads along.
#[derive(Debug, Clone)]
pub(super) struct Reads {
    last: Last,
    /// The statement has ended.
    over: bool,
    more: bool,
}

impl Default for Reads {
    fn default() -> Self {
        Self { last: Last::Start, over: false, more: false }
    }
}

impl Reads {
    pub(super) fn token(&mut self, token: Token<'_>) {
        if self.more {
            return;
        }
        if self.last == Last::Start {
            match token {
                Token::Symbol(b'(') => {}
                Token::Word(b"select" | b"with" | b"values") => self.last = Last::Known,
                Token::Word(b"table") => self.last = Last::Other,
                _ => self.more = true,
            }
            return;
        }
        match token {
            Token::Symbol(b';') => self.over = true,
            _ if self.over => self.more = true,
            Token::Word(word) => self.word(word),
            Token::Name(name) => {
                self.more = is_of_server(name);
                self.last = Last::Name;
            }
            Token::Symbol(b'(') => {
                self.more = self.last == Last::Name;
                self.last = Last::Other;
            }
            Token::Symbol(b'.') => {
                self.last = if self.last == Last::Catalog { Last::CatalogDot } else { Last::Dot };
            }
            Token::Symbol(_) | Token::Text | Token::Number => self.last = Last::Other,
            Token::Doubt => self.more = true,
        }
    }

    fn word(&mut self, word: &[u8]) {
        let locks = self.last == Last::For && matches!(word, b"update" | b"share" | b"no" | b"key");
        self.more = locks || does_more(word);
        self.last = match (self.last, word) {
            (_, b"for") => Last::For,
            (_, b"pg_catalog") => Last::Catalog,
            // In another schema it is another function.
            (Last::Dot, _) => Last::Name,
            (_, word) if is_known(word) => Last::Known,
            _ => Last::Name,
        };
    }

    /// Whether it was a read.
    pub(super) fn finish(&self) -> bool {
        !self.more && self.last != Last::Start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::sql::effects;

    #[test]
    fn the_list_is_in_order() {
        assert!(BEFORE_PARENTHESIS.is_sorted());
        assert!(BEFORE_PARENTHESIS.iter().all(|word| is_known(word)));
        assert!(["", "_x", "é", "zz", "ab"].iter().all(|word| !is_known(word.as_bytes())));
    }

    #[test]
    fn reads_are_told_from_what_may_do_more() {
        for text in [
            "SELECT abalance FROM pgbench_accounts WHERE aid = 1;",
            "select 1",
            "  (select a from t) union all (select b from u) -- both",
            "WITH x AS (SELECT count(*) FROM t), y AS MATERIALIZED (SELECT 1) SELECT * FROM x, y",
            "VALUES (1, 'a'), (2, 'b')",
            "TABLE t",
            "SELECT substring(name for 3), upper(pg_catalog.lower(name)) FROM a.t ORDER BY 1 LIMIT 10",
            "SELECT \"update\", 'insert into t', $$delete$$ FROM t WHERE i IN (1, 2) AND EXISTS (SELECT 1)",
            "SELECT * FROM t WHERE at > now() - interval '1 day' AND x = ANY($1)",
            "SELECT sum(x) OVER (PARTITION BY y) FROM t",
        ] {
            assert!(effects(text.as_bytes(), false).control.reads, "{text}");
        }
        for text in [
            "",
            "INSERT INTO t VALUES (1)",
            "SELECT * INTO u FROM t",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR NO KEY UPDATE",
            "SELECT * FROM t for share skip locked",
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "SELECT pay(1)",
            "SELECT \"lower\"('x')",
            "SELECT mine.lower('x')",
            "SELECT nextval('s')",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_is_in_recovery()",
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM \"pg_stat_activity\"",
            "SELECT last_value, is_called FROM s",
            "SELECT set_config('a.b', 'c', false)",
            "SELECT 1; SELECT 2",
            "SELECT 1; DELETE FROM t",
            "SHOW transaction_read_only",
            "EXPLAIN ANALYZE DELETE FROM t",
            "BEGIN",
            "COPY t TO STDOUT",
            "FETCH 1 FROM c",
        ] {
            assert!(!effects(text.as_bytes(), false).control.reads, "{text}");
        }
    }
}
