//! Bytes that are sets, as real servers wrote them, and bytes that are none.

use crate::set;
use dauphin_model::gtid::{BadBytes, INTERVALS_MAX};
use dauphin_model::{Gtid, GtidSet};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const A: &str = "aaaaaaaa71ca11e19e33c80aa9429562";

#[test]
fn sets_without_tags_have_the_old_form() {
    let old = bytes(&format!(
        "0100000000000000 {A} 0200000000000000 0100000000000000 0400000000000000 \
                              0700000000000000 0800000000000000"
    ));
    assert_eq!(set("a:1-3:7").to_bytes(), old);
    assert_eq!(GtidSet::from_bytes(&old), Ok(set("a:1-3:7")));
    assert_eq!(set("").to_bytes(), [0; 8]);
}

#[test]
fn sets_with_tags_have_the_new_form() {
    let new = bytes(&format!(
        "0102000000000001 {A} 00 0100000000000000 0100000000000000 0400000000000000 \
                              {A} 06 746167 0100000000000000 0700000000000000 0800000000000000"
    ));
    assert_eq!(set("a:1-3:tag:7").to_bytes(), new);
    assert_eq!(GtidSet::from_bytes(&new), Ok(set("a:1-3:tag:7")));
}

#[test]
fn what_is_no_set_is_refused_with_the_place() {
    let refused = |hex: &str, words: &str| {
        let error = GtidSet::from_bytes(&bytes(hex)).expect_err(hex).to_string();
        assert!(error.contains(words), "{hex}: {error}");
    };
    refused("", "8 bytes are missing at byte 0, in the number of sources");
    refused("0100000000000000", "16 bytes are missing at byte 8, in a UUID");
    refused("0000000000000000 00", "1 at byte 8, in what follows the last source; allowed there: no more bytes");
    refused("0100000000000002", "2 at byte 7, in the form");
    refused("0001000000000001", "1 at byte 7, in the form");
    refused(
        &format!("0100000000000000 {A} ffffffffffffffff"),
        "18446744073709551615 at byte 24, in the number of intervals",
    );
    let one = |first: &str, end: &str| format!("0100000000000000 {A} 0100000000000000 {first} {end}");
    refused(
        &one("0000000000000000", "0100000000000000"),
        "0 at byte 32, in an interval; allowed there: 1 to 9223372036854775806",
    );
    refused(&one("0500000000000000", "0500000000000000"), "5 at byte 32");
    refused(&one("0100000000000000", "ffffffffffffffff"), "1 at byte 32");
    let adjacent = format!(
        "0100000000000000 {A} 0200000000000000 0100000000000000 0400000000000000 \
                            0400000000000000 0500000000000000"
    );
    refused(&adjacent, "4 at byte 48");
    refused(&format!("0101000000000001 {A} 42"), "33 at byte 24, in a tag's length; allowed there: 0 to 32");
    refused(&format!("0101000000000001 {A} 02 2d"), "45 at byte 25, in a tag");
    refused(&format!("0101000000000001 {A} 02 54"), "84 at byte 25, in a tag");
    let most = INTERVALS_MAX as u64 + 1;
    let mut many = bytes(&format!("0100000000000000 {A}"));
    many.extend(most.to_le_bytes());
    many.extend((0..most).flat_map(|n| [2 * n + 1, 2 * n + 2]).flat_map(u64::to_le_bytes));
    assert!(matches!(GtidSet::from_bytes(&many), Err(BadBytes::TooLarge { .. })));
}

#[test]
fn one_transaction_is_read_from_its_event() {
    let untagged = bytes(&format!("01 {A} 2a00000000000000 02 0000"));
    assert_eq!(
        Gtid::from_event(&untagged).map(|g| g.to_string()).as_deref(),
        Ok("aaaaaaaa-71ca-11e1-9e33-c80aa9429562:42")
    );
    let zero = bytes(&format!("01 {A} 0000000000000000"));
    assert!(Gtid::from_event(&zero).is_err());
    assert!(Gtid::from_event(&untagged[..20]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(junk in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..90_usize, flip in 0..90_usize) {
        let _ = GtidSet::from_bytes(&junk);
        let _ = Gtid::from_event(&junk);
        let _ = Gtid::from_tagged_event(&junk);
        let mut real = set("a:1-3:7:tag:9-12 b:5").to_bytes();
        real.truncate(cut.max(8));
        if let Some(byte) = real.get_mut(flip) {
            *byte ^= junk.first().copied().unwrap_or(1);
        }
        if let Ok(found) = GtidSet::from_bytes(&real) {
            prop_assert_eq!(GtidSet::from_bytes(&found.to_bytes()), Ok(found));
        }
    }
}
