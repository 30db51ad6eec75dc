//! Verbs that write files: `init`, `completions`, `man`.

use crate::{cluster_file, dauphin};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn private(path: &Path) {
    let mode = fs::symlink_metadata(path).expect("there").mode() & 0o777;
    assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    if path.is_dir() {
        fs::read_dir(path).expect("readable").flatten().for_each(|entry| private(&entry.path()));
    }
}

#[test]
fn init_makes_private_bundles_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = cluster_file(folder.path(), 8_008);
    let config = file.to_string_lossy();
    let ran = dauphin(&["init", "--config", &config]);
    ran.ended(0, "copy to each machine");
    let out = folder.path().join("shop");
    private(&out);
    for name in ["m1/dauphin.toml", "m1/identity/key.pem", "m1/secrets.toml", "m1/token", "ca/ca.key", "proxy/password"]
    {
        assert!(out.join(name).exists(), "{name}");
    }
    assert!(!out.join("m1/identity/ca.key").exists());
    let token = fs::read_to_string(out.join("m1/token")).expect("a token");
    assert!(!ran.out.contains(&token) && !ran.err.contains(&token));
    let again = dauphin(&["init", "--config", &config]);
    again.ended(2, "exists already").ended(2, "--out");
    assert_eq!(fs::read_to_string(out.join("m1/token")).expect("a token"), token);
    // the member's file is whole, and points at files beside it
    dauphin(&["check", "--config", &out.join("m1/dauphin.toml").to_string_lossy()]).ended(3, "8008");
    let other = folder.path().join("other");
    let ran = dauphin(&["init", "--json", "--config", &config, "--out", &other.to_string_lossy()]);
    assert_eq!(ran.ended(0, "").json()["cluster"], "shop");
    assert_ne!(fs::read_to_string(other.join("m1/token")).expect("a token"), token);
}

/// Three members of another engine, with these keys of `[cluster]` and this behind.
fn init_of(engine: &str, cluster: &str, rest: &str) -> crate::Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = format!("[cluster]\nname = \"shop\"\nengine = \"{engine}\"\n{cluster}\n{rest}\n");
    for n in 1..=3 {
        text += &format!(
            "[[member]]\nname = \"m{n}\"\nhost = \"10.0.0.{n}\"\nsql_port = 3306\napi_port = 8008\nlink_port = 8009\n"
        );
    }
    let file = folder.path().join("dauphin.toml");
    fs::write(&file, text).expect("written");
    let ran = dauphin(&["init", "--config", &file.to_string_lossy()]);
    let out = folder.path().join("shop");
    assert_eq!(out.exists(), ran.code == 0, "{}", ran.err);
    if ran.code == 0 {
        let read = |name: &str| fs::read_to_string(out.join(name)).expect("readable");
        assert!(read("m1/dauphin.toml").contains(&format!("engine = \"{engine}\"")));
        assert!(read("m1/secrets.toml").contains("copy = "), "the account that copies has a password");
        assert!(out.join("proxy/identity/key.pem").exists() && !out.join("proxy/password").exists());
    }
    ran
}

#[test]
fn init_makes_clusters_of_mysql_and_mariadb_and_refuses_what_they_cannot_be() {
    init_of("mysql", "", "").ended(0, "copy to each machine");
    init_of("mysql", "durability = \"sync\"", "[mysql]\nsql_tls = \"off\"").ended(0, "");
    init_of("mariadb", "", "").ended(0, "");
    init_of("mariadb", "durability = \"sync\"", "").ended(2, "dauphin.toml:4:14").ended(2, "`required` = 1");
    init_of("mariadb", "required = 2", "").ended(2, "dauphin.toml:4:12").ended(2, "set `required` = 1");
    init_of("mysql", "", "[postgres]").ended(2, "[mysql]");
    init_of("mysql", "", "[proxy]\nlisten_write = \"0.0.0.0:6432\"").ended(0, "");
    init_of("mysql", "", "[proxy]\nlisten_write = \"0.0.0.0:6432\"\npool_size = 5")
        .ended(2, "`pool_size` means nothing");
}

#[test]
fn completions_and_manual_pages_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = dauphin(&["completions", shell]);
        assert!(ran.ended(0, "switchover").out.len() > 1_000);
    }
    dauphin(&["completions", "dos"]).ended(2, "possible values");
    let folder = tempfile::tempdir().expect("a folder");
    let man = folder.path().join("man");
    dauphin(&["man", &man.to_string_lossy()]).ended(0, "");
    assert!(man.join("dauphin-switchover.1").exists());
}
