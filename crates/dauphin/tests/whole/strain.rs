//! What machines and servers suffer from, on real ones: each alert is raised by a real cause, and over when that is gone.

// what was skipped is said
#![allow(clippy::print_stdout)]

use crate::EXPECTED;
use crate::alerts::{SOON, alert, raised, until_measured};
use crate::stage::Stage;
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const DISK_TEST: &str = "a_disk_that_fills_is_told_before_it_is_full";
const CLOCK_TEST: &str = "a_clock_that_is_not_the_others_is_told";

/// The members, the leader first.
fn members(stage: &Stage) -> [String; 3] {
    let leader = stage.leader();
    let mut all = ["m1", "m2", "m3"].map(str::to_owned);
    all.sort_by_key(|name| *name != leader);
    all
}

/// Whether it is raised, and whether it is not.
fn is(kind: &str, member: &str) -> impl Fn(&Value) -> bool {
    let wanted = format!("{kind} {member}");
    move |document| raised(document).contains(&wanted)
}

fn is_not(kind: &str, member: &str) -> impl Fn(&Value) -> bool {
    let is = is(kind, member);
    move |document| !is(document)
}

#[test]
fn a_disk_that_fills_is_told_before_it_is_full() {
    if !dauphin_lab::can_have_disks() {
        println!("skipped: {DISK_TEST} (disks need root, mkfs.ext4, xfs_io and loop devices)");
        return;
    }
    let stage = Stage::up("fills", &["--disks"]);
    // a lab has limits of its own
    let limits = ["alerts.disk=[\"80%\", \"90%\", \"95%\"]"];
    stage.run(&[&["config", "set"][..], &SOON, &limits].concat()).ended(0);
    let [_, replica, other] = members(&stage);
    stage.until_alerts("all is well", |d| raised(d).is_empty());
    let ballast = stage.dir.join(&replica).join("ballast");
    // of somewhat less than 4 GiB
    leaves(&ballast, 600 << 20);
    let seen = stage.until_alerts("a warning", |d| is("disk_fills", &replica)(d));
    let told = alert(&seen, "disk_fills");
    let text = told["text"].as_str().expect("a text");
    assert!(text.starts_with(&format!("{replica}: the disk of /")) && text.contains("are free"), "{told:#}");
    assert!(["warning", "critical"].contains(&told["level"].as_str().expect("a level")), "{told:#}");
    leaves(&ballast, 120 << 20);
    stage.until_alerts("an emergency", |d| {
        is("disk_fills", &replica)(d) && alert(d, "disk_fills")["level"] == "emergency"
    });
    stage.until_said(&["check"], &format!("CRITICAL lab: {replica}: the disk of")).ended(2);
    stage.until_said(&["status"], &format!("{replica}: the disk of"));
    std::fs::remove_file(&ballast).expect("removed");
    stage.until_alerts("it is over", |d| raised(d).is_empty());
    until_measured(&stage, "dauphin_disk_bytes{", "");

    // three members have three disks: only one of them was told of
    assert_ne!(replica, other);
    stage.down_after(EXPECTED);
}

/// Makes a file so large that no more than this is left on its disk.
fn leaves(ballast: &Path, bytes: u64) {
    let folder = ballast.parent().expect("a folder");
    let asked = Command::new("df").args(["-B1", "--output=avail"]).arg(folder).output().expect("it runs");
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let free: u64 = said.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number");
    let there = std::fs::metadata(ballast).map_or(0, |meta| meta.len());
    let size = (there + free).checked_sub(bytes).expect("so much is free").to_string();
    let ran = Command::new("fallocate").args(["-l", &size]).arg(ballast).status().expect("it runs");
    assert!(ran.success(), "fallocate {size}");
}

#[test]
fn log_that_grows_and_slots_that_nobody_uses_are_told() {
    // half a gigabyte of log goes to three members
    let stage = Stage::up("slots", &[]);
    let [leader, ..] = members(&stage);
    // little log is kept, so that what the slot keeps is seen
    let limits = [
        "alerts.log_size=[\"400MiB\", \"10GiB\", \"20GiB\"]",
        "postgres.parameters.max_wal_size=96MB",
        "postgres.parameters.min_wal_size=80MB",
    ];
    stage.run(&[&["config", "set"][..], &SOON, &limits].concat()).ended(0);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int)");
    stage.until_alerts("all is well", |d| raised(d).is_empty());
    stage.sql_on(&leader, "SELECT pg_create_physical_replication_slot('feed', true)");
    for _ in 0..26 {
        stage.write_until_acknowledged("INSERT INTO t VALUES (1)");
        stage.sql_on(&leader, "SELECT pg_switch_wal()");
    }
    let both = |d: &Value| is("log_grows", &leader)(d) && is("slot_idle", &leader)(d);
    let seen = stage.until_alerts("both", both);
    let text = alert(&seen, "slot_idle")["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("nobody receives from feed (keeps "), "{text}");
    until_measured(&stage, "dauphin_log_bytes{", "");

    // it may keep no more, and loses what it had
    stage.run(&["config", "set", "postgres.slot_wal_keep=16MiB"]).ended(0);
    stage.until_file_says(&format!("{leader}/data/dauphin.conf"), "max_slot_wal_keep_size = '16MB'");
    let lost = stage.until_alerts("it is lost", |d| {
        stage.sql_on(&leader, "CHECKPOINT");
        is("slot_lost", &leader)(d) && is_not("slot_idle", &leader)(d)
    });
    assert_eq!(alert(&lost, "slot_lost")["level"], "critical");
    stage.sql_on(&leader, "SELECT pg_drop_replication_slot('feed')");
    stage.until_alerts("all of it is over", |d| {
        stage.sql_on(&leader, "CHECKPOINT");
        is_not("slot_lost", &leader)(d) && is_not("log_grows", &leader)(d)
    });
    stage.down_after(EXPECTED);
}

#[test]
fn a_receiver_that_is_down_and_pages_that_are_damaged_are_told() {
    let stage = Stage::up("damage", &[]);
    stage.run(&[&["config", "set"][..], &SOON].concat()).ended(0);
    let [leader, deaf, damaged] = members(&stage);
    stage.sql(stage.write_port(), "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    stage.until_alerts("all is well", |d| raised(d).is_empty());

    // somebody points it elsewhere
    stage.sql_on(&deaf, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'");
    stage.sql_on(&deaf, "SELECT pg_reload_conf()");
    stage.until_alerts("its receiver is down", |d| is("receiver_down", &deaf)(d) && is("set_by_hand", &deaf)(d));
    stage.sql_on(&deaf, "ALTER SYSTEM RESET primary_conninfo");
    stage.sql_on(&deaf, "SELECT pg_reload_conf()");
    stage.until_alerts("it receives again", |d| raised(d).is_empty());
    stage.until_healthy();

    // a page that is not what was written, on the disk of one that has it nowhere else
    let file = stage.sql_on(&leader, "SELECT pg_relation_filepath('t')");
    stage.sql_on(&leader, "CHECKPOINT");
    stage.run(&["restart", &damaged]).ended(0);
    stage.until_healthy();
    let path = stage.dir.join(&damaged).join("data").join(file);
    let page = std::fs::OpenOptions::new().write(true).open(&path).expect("the table's file");
    page.write_all_at(&[0xA5; 64], 4_000).expect("written");
    let read = stage.try_sql("admin", stage.sql_port_of(&damaged), "SELECT count(*) FROM t");
    assert!(read.is_err(), "{read:?}");
    let seen = stage.until_alerts("the damage is noticed", is("checksum_failure", &damaged));
    let told = alert(&seen, "checksum_failure");
    assert_eq!(told["level"], "critical", "{told:#}");
    assert!(told["next"].as_str().is_some_and(|next| next.contains(&format!("dauphin reinit {damaged}"))), "{told:#}");
    stage.run(&["reinit", &damaged]).ended(0);
    stage.until_alerts("a fresh copy has none", |d| raised(d).is_empty());
    assert_eq!(stage.sql_on(&damaged, "SELECT count(*) FROM t"), "1000");
    stage.down_after(EXPECTED);
}

#[test]
fn a_clock_that_is_not_the_others_is_told() {
    if !dauphin_lab::can_have_clocks() {
        println!("skipped: {CLOCK_TEST} (setting clocks needs libfaketime)");
        return;
    }
    let stage = Stage::up("apart", &["--clocks"]);
    stage.run(&[&["config", "set"][..], &SOON].concat()).ended(0);
    let [_, replica, _] = members(&stage);
    stage.until_alerts("all is well", |d| raised(d).is_empty());
    stage.run(&["lab", "fault", "--member", &replica, "--kind", "clock-forward"]).ended(0);
    let seen = stage.until_alerts("its clock is told", is("clock_apart", &replica));
    assert_eq!(raised(&seen), [format!("clock_apart {replica}")], "of three, the one that is alone with its time");
    let text = alert(&seen, "clock_apart")["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("ahead of the others'"), "{text}");
    stage.until_said(&["doctor"], &format!("{replica}: its clock is"));
    stage.run(&["lab", "heal", "--member", &replica]).ended(0);
    stage.until_alerts("it is over", |d| raised(d).is_empty());
    // each look at such a clock reads a file
    stage.down_after(&[EXPECTED, &["a step of the loop took long"]].concat());
}

#[test]
fn a_certificate_and_a_ca_that_end_soon_are_told() {
    let stage = Stage::up("ends", &[]);
    stage.run(&[&["config", "set"][..], &SOON].concat()).ended(0);
    let [_, replica, _] = members(&stage);
    stage.until_alerts("all is well", |d| raised(d).is_empty());
    let identity = stage.dir.join(&replica).join("identity");
    let ca = identity.join("ca.pem");
    let trusted = std::fs::read_to_string(&ca).expect("the CA");
    // a second CA, as while one is changed for another
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let day = std::time::Duration::from_secs(86_400);
    params.not_after = (std::time::SystemTime::now() + 5 * day).into();
    let key = rcgen::KeyPair::generate().expect("a key");
    let second = params.self_signed(&key).expect("a certificate").pem();
    let put = |text: &str| {
        std::fs::write(&ca, text).expect("written");
        let pid = stage.show()["members"]
            .as_array()
            .and_then(|all| all.iter().find(|m| m["name"] == replica.as_str()).and_then(|m| m["agent_pid"].as_i64()));
        let pid = pid.expect("its agent").to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("it runs").success());
    };
    put(&format!("{trusted}\n{second}"));
    let seen = stage.until_alerts("its end is told", is("certificate_ends", &replica));
    let told = alert(&seen, "certificate_ends");
    assert!(told["text"].as_str().is_some_and(|t| t.contains("the cluster's CA ends in ")), "{told:#}");
    assert_eq!(told["level"], "critical");
    put(&trusted);
    stage.until_alerts("it is over", |d| raised(d).is_empty());

    let certificate = stage.dir.join("proxy/identity/cert.pem");
    let lasting = std::fs::read_to_string(&certificate).expect("its certificate");
    let pid = stage.show()["proxy"]["pid"].to_string();
    let put = |text: &str| {
        std::fs::write(&certificate, text).expect("written");
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("it runs").success());
    };
    put(&short_lived(&stage));
    let seen = stage.until_alerts("the end of the proxy's is told", |d| !raised(d).is_empty());
    let told = alert(&seen, "certificate_ends");
    assert!(told["text"].as_str().is_some_and(|t| t.contains("the first, of proxy, in ")), "{told:#}");
    assert_eq!((&told["level"], &told["member"]), (&Value::from("critical"), &Value::Null));
    put(&lasting);
    stage.until_alerts("it is over", |d| raised(d).is_empty());
    stage.down_after(EXPECTED);
}

/// A certificate of the lab's CA for the proxy's key that ends in five days.
fn short_lived(stage: &Stage) -> String {
    let read = |file: &str| std::fs::read_to_string(stage.dir.join(file)).expect("a file of the lab's");
    let key = |file: &str| rcgen::KeyPair::from_pem(&read(file)).expect("a key");
    let cluster = stage.show()["cluster"].as_str().expect("a name").to_owned();
    let named = format!("proxy.proxy.{cluster}.dauphin");
    let mut params = rcgen::CertificateParams::new([named.clone(), "127.0.0.1".to_owned()]).expect("names");
    params.distinguished_name.push(rcgen::DnType::CommonName, named);
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = (std::time::SystemTime::now() + 5 * std::time::Duration::from_secs(86_400)).into();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca/ca.pem"), key("ca/ca.key")).expect("a CA");
    params.signed_by(&key("proxy/identity/key.pem"), &issuer).expect("signed").pem()
}
