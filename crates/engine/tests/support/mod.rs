//! Real servers for the tests: a folder, free ports, members as the system user `dauphin`, all gone at the end.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stderr,
    reason = "each test binary uses a part of it, and says what it measured"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod run;

use dauphin_engine::postgres::client::{Client, Login};
use dauphin_engine::postgres::config::Upstream;
use dauphin_engine::postgres::{
    Access, Binaries, Credentials, Instance, Networks, Postgres, Secret, ServerCommand, Settings, StopMode,
};
use dauphin_model::spec::PostgresSpec;
use dauphin_model::{ClusterName, Incarnation, MemberName, Term, Timeline, Voter};
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use run::{LIMIT, as_dauphin, took, until, whoami};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A cluster in a folder.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub bin: Binaries,
    pub credentials: Credentials,
    pub networks: Networks,
    pub user: BTreeMap<String, String>,
}

/// One member; its server is killed at the end.
pub struct Member {
    pub pg: Postgres,
    pub voter: Voter,
    server: Option<Child>,
}

impl Lab {
    pub async fn new() -> Self {
        let explicit = std::env::var_os("DAUPHIN_TEST_BIN").filter(|v| !v.is_empty()).map(PathBuf::from);
        let secret = |t: &str| Secret::new(format!("pass:{t}\\word"));
        Self {
            dir: tempfile::Builder::new().prefix("dauphin-engine").tempdir_in("/tmp").unwrap(),
            bin: Binaries::find(explicit.as_deref(), &[]).await.unwrap(),
            credentials: Credentials {
                replication: secret("repl"),
                rewind: secret("rewind"),
                monitor: secret("monitor"),
                proxy: secret("proxy"),
            },
            networks: Networks {
                replication: vec!["127.0.0.1/32".to_owned()],
                clients: vec!["127.0.0.1/32".to_owned()],
                require_tls: false,
            },
            user: BTreeMap::from([("shared_buffers".to_owned(), "16MB".to_owned())]),
        }
    }

    pub fn member(&self, name: &str) -> Member {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let member = MemberName::new(name).unwrap();
        let instance = Instance::new(
            self.bin.clone(),
            ClusterName::new("lab").unwrap(),
            member.clone(),
            &self.dir.path().join(name),
            port,
            &whoami(),
        );
        let spec = PostgresSpec { slot_wal_keep_mib: 256, parameters: self.user.clone(), ..PostgresSpec::default() };
        let settings = Settings::new(vec!["127.0.0.1".to_owned()], 3, &spec).unwrap();
        Member {
            pg: Postgres::new(instance, settings).unwrap(),
            voter: Voter::new(member, Incarnation(1)),
            server: None,
        }
    }

    /// A new cluster's first member, leader on timeline 2, open.
    pub async fn leader(&self, name: &str) -> Member {
        let mut member = self.member(name);
        member.pg.instance.initdb("").await.unwrap();
        self.start(&mut member, false).await;
        member.pg.promote(Timeline(2), LIMIT).await.unwrap();
        member.pg.ensure_roles(&self.credentials).await.unwrap();
        let admin = Secret::new("admin".to_owned());
        member.pg.ensure_admin("admin", &admin).await.unwrap();
        member.pg.ensure_app("app", "app", &Secret::new("app".to_owned())).await.unwrap();
        member.pg.set_sync(&Default::default(), dauphin_engine::postgres::SyncMethod::Any).await.unwrap();
        member.pg.set_access(Access::Open, &self.networks).await.unwrap();
        member
    }

    /// Copies a member from a running one.
    pub async fn clone_of(&self, source: &Member, member: &mut Member) {
        let upstream = Upstream { slot: None, ..source.upstream_for(member, false) };
        let settings = member.pg.settings().await;
        let progress = std::sync::Arc::default();
        member.pg.instance.clone_from(&upstream, &settings, &self.credentials, None, progress).await.unwrap();
    }

    /// Starts a member's server as a fenced replica.
    pub async fn start(&self, member: &mut Member, keep_upstream: bool) {
        let command = member.pg.prepare_start(&self.networks, &self.credentials, keep_upstream).await.unwrap();
        member.server = Some(spawn(&command));
        if let Err(error) = member.pg.wait_ready(LIMIT).await {
            panic!("{error}\n{}", member.log());
        }
    }
}

impl Member {
    pub fn upstream_for(&self, follower: &Member, slot: bool) -> Upstream {
        let name = follower.voter.application_name();
        Upstream {
            host: "127.0.0.1".to_owned(),
            port: self.pg.instance.port,
            slot: slot.then(|| name.clone()),
            application_name: name,
            tls: false,
        }
    }

    /// A superuser's connection over the private socket.
    pub async fn connect(&self) -> Client {
        let login = Login {
            user: "dauphin".to_owned(),
            database: "postgres".to_owned(),
            application: "test".to_owned(),
            replication: false,
            options: String::new(),
        };
        Client::connect(&self.pg.instance.socket(), &login, LIMIT).await.unwrap()
    }

    /// Runs one statement and gives the first column of the first row.
    pub async fn sql(&self, sql: &str) -> String {
        let answer = self.connect().await.query(sql, LIMIT).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        answer.rows.first().and_then(|r| r.get(0)).unwrap_or_default().to_owned()
    }

    pub fn log(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(&self.pg.instance.log_dir).into_iter().flatten().flatten() {
            all += &std::fs::read_to_string(entry.path()).unwrap_or_default();
        }
        all
    }

    pub async fn stop(&mut self, mode: StopMode) -> StopMode {
        let used = self.pg.instance.stop(mode, Duration::from_secs(10)).await.unwrap();
        if let Some(mut server) = self.server.take() {
            server.wait().unwrap();
        }
        self.pg.forget_connections().await;
        used
    }

    /// A client's attempt over TCP as `app`; whether it got in.
    pub async fn app_can_connect(&self, sql: &str) -> bool {
        self.psql("app", sql).await.is_ok()
    }

    /// Runs psql over TCP as an ordinary user.
    pub async fn psql(&self, user: &str, sql: &str) -> Result<String, String> {
        self.psql_with(user, "", sql).await
    }

    /// The same with more connection options.
    pub async fn psql_with(&self, user: &str, options: &str, sql: &str) -> Result<String, String> {
        let mut command = tokio::process::Command::new(self.pg.instance.bin.program("psql"));
        let port = self.pg.instance.port;
        command.args(["-d", &format!("host=127.0.0.1 port={port} user={user} dbname=app {options}")]);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGPASSWORD", user).kill_on_drop(true);
        command.env("PGCONNECT_TIMEOUT", "10").env("HOME", "/nonexistent");
        if let Some(path) = &self.pg.instance.bin.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        let run = command.stdin(Stdio::null()).output();
        let output = tokio::time::timeout(LIMIT, run).await.expect("psql ends in time").unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Member {
    /// A killed server leaves a memory segment in the system, which only a start in the same folder would take away: some
    /// thousands, and no server starts any more.
    fn forget_memory(&self) {
        let file = std::fs::read_to_string(self.pg.instance.data_dir.join("postmaster.pid")).unwrap_or_default();
        if let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let _ = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            for pid in dauphin_engine::postgres::process::all_in(&self.pg.instance.data_dir) {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
            }
            let _ = server.wait();
            self.forget_memory();
            if std::thread::panicking() {
                let log = self.log();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- log of {}\n{}", self.voter, lines[lines.len().saturating_sub(25)..].join("\n"));
            }
        }
    }
}

pub fn spawn(command: &ServerCommand) -> Child {
    let open = || std::fs::OpenOptions::new().create(true).append(true).open(&command.stderr_path).unwrap();
    Command::new(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&command.cwd)
        .stdin(Stdio::null())
        .stdout(open())
        .stderr(open())
        .spawn()
        .unwrap()
}

pub fn term(n: u64) -> Term {
    Term(n)
}

/// A leader with one replica that streams.
pub async fn pair(lab: &Lab) -> (Member, Member) {
    let one = lab.leader("m1").await;
    let mut two = lab.member("m2");
    lab.clone_of(&one, &mut two).await;
    one.pg.ensure_slots(std::slice::from_ref(&two.voter)).await.unwrap();
    lab.start(&mut two, false).await;
    two.pg.follow(&one.upstream_for(&two, true)).await.unwrap();
    two.pg.wait_streaming(Timeline(2), LIMIT).await.unwrap();
    one.psql("app", "CREATE TABLE t (n int)").await.unwrap();
    (one, two)
}

/// Where its log ends.
pub async fn look(member: &Member) -> dauphin_model::Position {
    member.pg.look(LIMIT).await.position.unwrap()
}
