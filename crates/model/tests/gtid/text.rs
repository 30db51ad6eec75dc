//! Texts that are sets, how they print, and texts that are none.

use dauphin_model::gtid::{TEXT_BYTES_MAX, Uuid};
use dauphin_model::{FilePosition, Gtid, GtidSet};

const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

#[track_caller]
fn prints(text: &str, expected: &str) {
    let set: GtidSet = text.replace('U', U).parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(set.on_one_line().replace(U, "U"), expected, "{text}");
    assert_eq!(set.to_string().parse(), Ok(set.clone()), "{text} is read back");
    let json = serde_json::to_string(&set).expect("text");
    assert_eq!(serde_json::from_str::<GtidSet>(&json).expect("the same"), set);
}

#[test]
fn sets_print_as_the_server_prints_them() {
    prints("", "");
    prints(" \n,, ", "");
    prints("U:1", "U:1");
    prints("U:1-3:4-5:7", "U:1-5:7");
    prints("U:7:1-3:2", "U:1-3:7");
    prints("U:5-3:6", "U:6");
    prints("U:001-007", "U:1-7");
    prints("U", "");
    prints(" , U : 1 - 3 : 5 ,,", "U:1-3:5");
    prints("3E11FA4771CA11E19E33C80AA9429562:1", "U:1");
    prints("{U}:1", "U:1");
    prints("U:1-3:5:tagb:7:Taga:1-2,U:taga:4", "U:1-3:5:taga:1-2:4:tagb:7");
    prints("U:tag:tag2:1", "U:tag2:1");
    prints("U:9223372036854775806", "U:9223372036854775806");
    let two = "bbbbbbbb-71ca-11e1-9e33-c80aa9429562:1,aaaaaaaa-71ca-11e1-9e33-c80aa9429562:2";
    let two: GtidSet = two.parse().expect("a set");
    assert_eq!(
        two.to_string(),
        "aaaaaaaa-71ca-11e1-9e33-c80aa9429562:2,\nbbbbbbbb-71ca-11e1-9e33-c80aa9429562:1",
        "a line for each server"
    );
}

#[test]
fn what_is_no_set_is_refused_with_the_place_and_what_is_allowed() {
    let refused = |text: &str, at: usize, words: &str| {
        let error = text.replace('U', U).parse::<GtidSet>().expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    };
    refused("x", 0, "not a GTID set: \"x\" after 0 bytes; allowed there: a server UUID");
    refused("3e11fa47-71ca", 0, "a server UUID");
    refused("3e11fa4771ca-11e1-9e33-c80aa9429562:1", 0, "a server UUID");
    refused("{U:1", 0, "a server UUID");
    refused("U:", 37, "it ends after 37 bytes; allowed there: a transaction number from 1 to");
    refused("U:0", 37, "a transaction number from 1 to");
    refused("U:0-3", 37, "a transaction number");
    refused("U:1-", 39, "the interval's last number");
    refused("U:1-9223372036854775807", 39, "at most 9223372036854775806");
    refused("U:99999999999999999999", 37, "a transaction number");
    refused("U:1 2", 39, "a colon, a comma or the end");
    refused("U:1-3-5", 40, "a colon, a comma or the end");
    refused("U:+1", 37, "\"+1\"");
    refused("U:9tag:1", 38, "a colon, a comma or the end");
    refused("U:ta-g:1", 39, "a colon, a comma or the end");
    refused(&format!("U:{}:1", "t".repeat(33)), 37, "at most 32");
    refused("U:1;", 38, "\";\"");
    refused("U:\u{e9}", 37, "a transaction number");
    let long = " ".repeat(TEXT_BYTES_MAX + 1);
    assert!(long.parse::<GtidSet>().expect_err("too long").to_string().contains("32 MiB"));
}

#[test]
fn a_gtid_and_a_server_are_read_alone() {
    for text in [format!("{U}:7"), format!("{U}:tag:7")] {
        let gtid: Gtid = text.parse().expect("a GTID");
        assert_eq!(gtid.to_string(), text);
        assert_eq!(gtid.alone().to_string(), text);
        assert!(gtid.alone().has(&gtid.source, 7) && !gtid.alone().has(&gtid.source, 8));
    }
    for bad in
        ["", "7", &format!("{U}:"), &format!("{U}:0"), &format!("{U}:1-2"), &format!("{U}:tag"), &format!("{U}:1 ")]
    {
        assert!(bad.parse::<Gtid>().is_err(), "{bad}");
    }
    assert_eq!(U.parse::<Uuid>().expect("a UUID").to_string(), U);
    assert!(format!("{U} ").parse::<Uuid>().is_err());
}

#[test]
fn places_in_a_file_are_ordered_within_one_log() {
    let at = |text: &str| text.parse::<FilePosition>().unwrap_or_else(|e| panic!("{e}"));
    assert!(at("binlog.000009:900") < at("binlog.000010:4"));
    assert!(at("binlog.999999:4") < at("binlog.1000000:4"), "the number, not the text");
    assert!(at("binlog.000009:4") < at("binlog.000009:5"));
    assert_eq!(at("a.000001:4").partial_cmp(&at("b.000001:4")), None, "logs of two servers");
    assert_eq!(at("m.bin.000042:1234").file(), "m.bin.000042");
    assert_eq!(at("m.bin.000042:1234").offset(), 1234);
    assert_eq!(at("m.bin.000042:1234").to_string(), "m.bin.000042:1234");
    for bad in
        ["", "binlog:4", "binlog.000001", "binlog.000001:", "binlog.000001:-4", ".000001:4", "binlog.x1:4", "a\n.1:4"]
    {
        let error = bad.parse::<FilePosition>().expect_err(bad).to_string();
        assert!(error.contains("binlog.000042:1234"), "{error}");
    }
}
