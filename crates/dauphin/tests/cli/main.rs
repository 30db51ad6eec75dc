//! The program as its callers see it: exit codes, documents, messages. Agents are stand-ins with canned answers.

mod agent;
mod facts;
mod files;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run of the program gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn dauphin(arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_dauphin"))
        .args(arguments)
        .env_remove("DAUPHIN_CONFIG")
        .output()
        .expect("the program runs");
    Ran {
        code: status.code().expect("an exit code"),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

impl Ran {
    #[track_caller]
    fn ended(&self, code: i32, word: &str) -> &Self {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        assert!(all.contains(word), "{word:?} is not in: {all}");
        self
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// A file of a cluster with one member, whose agent is at this port.
fn cluster_file(folder: &Path, api_port: u16) -> PathBuf {
    let path = folder.join("dauphin.toml");
    let text = format!(
        "[cluster]\nname = \"shop\"\ndurability = \"async\"\n\n[[member]]\nname = \"m1\"\nhost = \"127.0.0.1\"\nsql_port = 5432\n\
         api_port = {api_port}\nlink_port = 8009\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}
