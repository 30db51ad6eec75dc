//! Positions of MySQL and MariaDB: tables of cases, and the laws of their algebra against a set that lists every transaction.
//! What the real servers say to the same texts is asked in the engine's tests.

mod algebra;
mod bytes;
mod mariadb;
mod members;
mod text;

/// Sources of the tests: two servers, by their first digit.
pub(crate) const A: &str = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562";
pub(crate) const B: &str = "bbbbbbbb-71ca-11e1-9e33-c80aa9429562";

/// `a:1-5 b:7` with the servers written out.
pub(crate) fn set(short: &str) -> dauphin_model::GtidSet {
    let parts = short.split_whitespace().map(|part| match part.split_once(':') {
        Some(("a", rest)) => format!("{A}:{rest}"),
        Some(("b", rest)) => format!("{B}:{rest}"),
        other => panic!("{other:?} is of no server"),
    });
    parts.collect::<Vec<_>>().join(",").parse().expect("a set")
}
