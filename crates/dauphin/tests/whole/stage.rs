//! A lab of one test: its own folder and ports, ended with the test whatever happens.

// what the agents logged is shown when a test fails
#![allow(clippy::print_stderr)]

use serde_json::Value;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for anything to happen.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often is looked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Base ports of tests lie between these, apart from what people use and the system hands out.
const PORTS: std::ops::Range<u16> = 20_000..31_000;

/// One lab at a time: three servers keep a small machine busy, and ports are looked for only once.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ended(&self, code: i32) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
    }

    /// It ended with this code and said these words.
    #[track_caller]
    pub(crate) fn said(&self, code: i32, words: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        // lines are broken where they are long
        let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(flat.contains(word), "{word:?} is not in: {flat}");
        }
    }
}

fn dauphin(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_dauphin"))
        .args(arguments)
        .env_remove("DAUPHIN_CONFIG")
        .output()
        .expect("the program runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A base port with room above it that nobody uses now.
fn base_port() -> u16 {
    let start = u16::try_from(std::process::id() % 100).expect("small") * 100 + PORTS.start;
    (0..)
        .map(|n: u16| start + n * 300)
        .take_while(|port| PORTS.contains(port))
        .find(|port| [0, 1, 10, 101, 201].iter().all(|n| TcpListener::bind(("127.0.0.1", port + n)).is_ok()))
        .expect("free ports")
}

/// Every member runs, and every replica vouches.
fn well(cluster: &Value) -> bool {
    let well = |m: &Value| m["state"] == "running" && (m["role"] != "replica" || !m["sync_state"].is_null());
    cluster["health"] == "healthy" && cluster["members"].as_array().is_some_and(|m| m.iter().all(well))
}

/// The text without the breaks that a terminal's width makes.
pub(crate) fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Stage {
    pub(crate) fn up(name: &str, more: &[&str]) -> Self {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = Self {
            _alone: alone,
            dir: std::env::temp_dir().join(format!("dauphin-whole-{}-{name}", std::process::id())),
        };
        let (dir, port) = (stage.dir.to_string_lossy().into_owned(), base_port().to_string());
        // the version under test; without a word the one that the lab finds. Another engine's test names its own
        let bin = std::env::var("DAUPHIN_TEST_BIN").unwrap_or_default();
        let named = bin.is_empty() || more.contains(&"--bin");
        let version: &[&str] = if named { &[] } else { &["--bin", &bin] };
        let ran = dauphin(&[&["lab", "up", "--dir", &dir, "--base-port", &port], version, more].concat());
        ran.ended(0);
        stage
    }

    /// Runs a verb on this lab: `lab` verbs with its folder, others with a member's file.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let dir = self.dir.to_string_lossy();
        let config = ["m3", "m1"].map(|m| self.dir.join(m).join("dauphin.toml"));
        let config = config.iter().find(|c| c.exists()).unwrap_or(&config[1]);
        let target = if arguments[0] == "lab" { ["--dir", &dir] } else { ["--config", &config.to_string_lossy()] };
        dauphin(&[arguments, &target].concat())
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        ran.ended(0);
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.out))
    }

    pub(crate) fn show(&self) -> Value {
        self.json(&["lab", "show"])
    }

    pub(crate) fn leader(&self) -> String {
        self.json(&["status"])["leader"].as_str().expect("a leader").to_owned()
    }

    pub(crate) fn write_port(&self) -> u16 {
        u16::try_from(self.show()["proxy"]["write_port"].as_u64().expect("a port")).expect("a port")
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let ran = self.run(&["status", "--json"]);
            let cluster = serde_json::from_str::<Value>(&ran.out).unwrap_or_default();
            if wanted(&cluster) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {cluster:#}{}", ran.err);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    #[track_caller]
    pub(crate) fn until_healthy(&self) {
        self.until("health", well);
    }

    /// Writes straight to this member's server until told otherwise or it ends, whatever becomes of it: rows from a million.
    pub(crate) fn write_alone(&self, member: &str, over: &AtomicBool) {
        let shown = self.show();
        let its = shown["members"].as_array().and_then(|m| m.iter().find(|m| m["name"] == member)).expect("it").clone();
        let port = u16::try_from(its["sql_port"].as_u64().expect("a port")).expect("a port");
        for n in 1_000_000.. {
            if over.load(Ordering::Relaxed)
                || self.try_sql("admin", port, &format!("INSERT INTO t VALUES ({n})")).is_err()
            {
                return;
            }
        }
    }

    /// Starts what is missing, again and again, until all is well: an agent may be on its way down still.
    #[track_caller]
    pub(crate) fn until_healed(&self) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            self.run(&["lab", "heal"]).ended(0);
            let ran = self.run(&["status", "--json"]);
            let cluster = serde_json::from_str::<Value>(&ran.out).unwrap_or_default();
            if well(&cluster) {
                return;
            }
            assert!(Instant::now() < deadline, "it does not heal: {cluster:#}{}", ran.err);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Heals, waits until what the last takeover cost is told, and gives its entry of the history.
    #[track_caller]
    pub(crate) fn healed_with_its_cost(&self) -> Value {
        self.run(&["lab", "heal"]).ended(0);
        self.until_healed();
        self.until_said(&["history"], "kept on");
        self.json(&["history"])["history"].as_array().expect("a list").last().expect("the failover").clone()
    }

    /// Asks again until the alerts are as wanted; the document then.
    #[track_caller]
    pub(crate) fn until_alerts(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let ran = self.run(&["alerts", "--json"]);
            let document = serde_json::from_str::<Value>(&ran.out).unwrap_or_default();
            if document["alerts"].is_array() && wanted(&document) {
                return document;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {document:#}{}", ran.err);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks again until these words are said: agents hear of things one after the other, and any of them may answer.
    #[track_caller]
    pub(crate) fn until_said(&self, arguments: &[&str], words: &str) -> Ran {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let ran = self.run(arguments);
            // wherever the lines are broken
            if ran.out.contains(words) || on_one_line(&ran.out).contains(words) {
                return ran;
            }
            assert!(Instant::now() < deadline, "{arguments:?} never said {words:?}: {}{}", ran.out, ran.err);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    #[track_caller]
    pub(crate) fn until_logged(&self, member: &str, words: &str) {
        self.until_file_says(&format!("{member}/log/agent.log"), words);
    }

    /// Waits until a file of the lab has these words.
    #[track_caller]
    pub(crate) fn until_file_says(&self, file: &str, words: &str) {
        let (path, deadline) = (self.dir.join(file), Instant::now() + WAIT_MAX);
        while !std::fs::read_to_string(&path).unwrap_or_default().contains(words) {
            assert!(Instant::now() < deadline, "{} never said {words:?}", path.display());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Runs statements as the application; the first value of the last one.
    #[track_caller]
    pub(crate) fn sql(&self, port: u16, text: &str) -> String {
        self.sql_as("app", port, text)
    }

    /// Runs a statement on that member's own server, as its superuser.
    #[track_caller]
    pub(crate) fn sql_on(&self, member: &str, text: &str) -> String {
        let shown = self.show();
        let its = shown["members"].as_array().and_then(|m| m.iter().find(|m| m["name"] == member)).expect("it").clone();
        self.sql_as("admin", u16::try_from(its["sql_port"].as_u64().expect("a port")).expect("a port"), text)
    }

    #[track_caller]
    pub(crate) fn sql_as_admin(&self, text: &str) -> String {
        let shown = self.show();
        let leads = |m: &&Value| m["role"] == "leader";
        let leader = shown["members"].as_array().and_then(|m| m.iter().find(leads)).expect("a leader").clone();
        self.sql_as("admin", u16::try_from(leader["sql_port"].as_u64().expect("a port")).expect("a port"), text)
    }

    /// Runs a statement through the write port until it is acknowledged; how often it was tried.
    #[track_caller]
    pub(crate) fn write_until_acknowledged(&self, text: &str) -> u32 {
        let (port, deadline) = (self.write_port(), Instant::now() + WAIT_MAX);
        for tried in 1.. {
            match self.try_sql("app", port, text) {
                Ok(_) => return tried,
                Err(error) => assert!(Instant::now() < deadline, "{text}: {error}"),
            }
            std::thread::sleep(LOOK_EVERY);
        }
        0
    }

    #[track_caller]
    fn sql_as(&self, who: &str, port: u16, text: &str) -> String {
        self.try_sql(who, port, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Where this member's server listens.
    pub(crate) fn sql_port_of(&self, member: &str) -> u16 {
        let shown = self.show();
        let its = shown["members"].as_array().and_then(|m| m.iter().find(|m| m["name"] == member)).expect("it").clone();
        u16::try_from(its["sql_port"].as_u64().expect("a port")).expect("a port")
    }

    pub(crate) fn try_sql(&self, who: &str, port: u16, text: &str) -> Result<String, String> {
        let shown = self.show();
        let login = |key: &str| shown[who][key].as_str().unwrap_or_default().to_owned();
        let mut config = tokio_postgres::Config::new();
        // members may have hosts of their own; the proxy has none
        let its = shown["members"].as_array().and_then(|all| all.iter().find(|m| m["sql_port"] == port));
        let host = its.and_then(|m| m["host"].as_str()).unwrap_or("127.0.0.1");
        config.host(host).port(port).user(login("user")).password(login("password")).dbname("app");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            let answers = tokio::time::timeout(WAIT_MAX, client.simple_query(text)).await;
            let rows = answers.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            let value = |m: &tokio_postgres::SimpleQueryMessage| match m {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            };
            Ok(rows.iter().rev().find_map(value).unwrap_or_default())
        })
    }

    /// What the processes logged that nobody expects: every ERROR, and every WARN without one of these words.
    fn unexpected(&self, warnings: &[&str]) -> Vec<String> {
        let logs = ["m1", "m2", "m3", "m4", "m5"].map(|m| format!("{m}/log/agent.log"));
        let all = logs.into_iter().chain(["proxy/log/proxy.log".to_owned()]).map(|log| {
            let text = std::fs::read_to_string(self.dir.join(&log)).unwrap_or_default();
            let bad = |l: &&str| {
                let warned = l.contains(" WARN ") && !warnings.iter().any(|word| l.contains(word));
                l.contains(" ERROR ") || l.contains("panicked at") || warned
            };
            text.lines().filter(bad).map(|l| format!("{log}: {l}")).collect::<Vec<_>>()
        });
        all.flatten().collect()
    }

    /// Ends the lab and looks that nothing is left, and that nothing was logged but what the faults explain.
    pub(crate) fn down_after(self, warnings: &[&str]) {
        let unexpected = self.unexpected(warnings);
        assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
        self.end();
    }

    /// The same where nothing went wrong.
    pub(crate) fn down(self) {
        self.down_after(&[]);
    }

    fn end(self) {
        self.run(&["lab", "down"]).ended(0);
        assert!(!self.dir.exists(), "{} is left", self.dir.display());
        let ours = |p: &dauphin_lab::Process| p.directory.as_ref().is_some_and(|d| d.starts_with(&self.dir));
        let named = |p: &dauphin_lab::Process| p.arguments.iter().any(|a| a.contains(&*self.dir.to_string_lossy()));
        let left: Vec<_> = dauphin_lab::Process::all().into_iter().filter(|p| ours(p) || named(p)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.dir.exists() {
            if std::thread::panicking() {
                for name in ["m1", "m2", "m3"] {
                    let log = std::fs::read_to_string(self.dir.join(name).join("log/agent.log")).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    eprintln!("{name}:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
                }
            }
            let _ = self.run(&["lab", "down"]);
        }
    }
}
