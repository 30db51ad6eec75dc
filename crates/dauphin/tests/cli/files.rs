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
