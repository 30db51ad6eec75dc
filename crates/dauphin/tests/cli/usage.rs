//! Wrong usage: exit 2, what is wrong, what is allowed.

use crate::{cluster_file, dauphin};

#[test]
fn wrong_words_end_with_2_and_help_with_0() {
    dauphin(&["--help"]).ended(0, "switchover");
    dauphin(&["--version"]).ended(0, "dauphin");
    dauphin(&["frobnicate"]).ended(2, "unrecognized");
    dauphin(&["failover"]).ended(2, "--to");
    dauphin(&["restart"]).ended(2, "MEMBER");
    dauphin(&["status"]).ended(2, "--config FILE");
    dauphin(&["status", "--api", "ftp//x"]).ended(2, "http://HOST:PORT");
    dauphin(&["status", "--config", "/nowhere/x.toml"]).ended(2, "there is no such file");
}

#[test]
fn a_faulty_file_is_told_with_line_and_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dauphin.toml");
    std::fs::write(&path, "[cluster]\nname = \"shop\"\ndurabilty = \"quorum\"\n").expect("written");
    let ran = dauphin(&["status", "--config", &path.to_string_lossy()]);
    ran.ended(2, "dauphin.toml:3:1").ended(2, "durability");
}

#[test]
fn services_need_their_part_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = cluster_file(folder.path(), 1);
    dauphin(&["agent", "--config", &file.to_string_lossy()]).ended(2, "[local]");
    dauphin(&["proxy", "--config", &file.to_string_lossy()]).ended(2, "[proxy]");
    dauphin(&["agent"]).ended(2, "--config FILE");
}

#[test]
fn labs_that_cannot_be_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("lab");
    let dir_text = dir.to_string_lossy();
    let up = |more: &[&str]| dauphin(&[&["lab", "up", "--dir", &dir_text], more].concat());
    up(&["--engine", "mysql", "--bin", "/etc"]).ended(2, "`mysqld`");
    up(&["--engine", "mariadb", "--bin", "/etc"]).ended(2, "`mariadbd`");
    up(&["--engine", "oracle"]).ended(2, "possible values");
    up(&["--store", "etcd"]).ended(2, "--store raft");
    up(&["--store", "consul"]).ended(2, "--store raft");
    up(&["--store", "zookeeper"]).ended(2, "--store raft");
    up(&["--mesh", "3"]).ended(2, "not built yet");
    up(&["--members", "9"]).ended(2, "1 to 7");
    up(&["--base-port", "80"]).ended(2, "--base-port");
    up(&["--members", "1", "--durability", "quorum"]).ended(2, "there are 0 that can");
    up(&["--durability", "maybe"]).ended(2, "possible values");
    up(&["--bin", "/etc"]).ended(2, "postgres");
    assert!(!dir.exists());
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::write(dir.join("mine"), "").expect("a file");
    up(&[]).ended(2, "is not empty");
}

#[test]
fn verbs_without_a_lab_say_how_to_make_one() {
    for verb in ["show", "down", "heal"] {
        dauphin(&["lab", verb, "--dir", "/nowhere/lab"]).ended(2, "dauphin lab up --dir /nowhere/lab");
    }
    let fault = |kind: &str| dauphin(&["lab", "fault", "--dir", "/nowhere", "--member", "m1", "--kind", kind]);
    fault("kill-node").ended(2, "there is no lab");
    fault("partition").ended(2, "there is no lab");
    fault("earthquake").ended(2, "kill-server, kill-agent");
}

#[test]
fn who_is_to_take_over_needs_a_place_to_meet() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = cluster_file(folder.path(), 1);
    let text = std::fs::read_to_string(&file).expect("readable") + "\n[proxy]\nlisten_write = \"127.0.0.1:1\"\n";
    std::fs::write(&file, text).expect("writable");
    let ran = dauphin(&["proxy", "--takeover", "--config", &file.to_string_lossy()]);
    ran.ended(2, "has no run_dir in [proxy]").ended(2, "add run_dir");
}
