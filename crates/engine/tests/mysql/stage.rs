//! Members of one cluster in a folder, with real servers; all gone at the end.

use crate::run::{LIMIT, engine, until, whoami};
use dauphin_engine::host::{Secret, ServerCommand, process::all_in};
use dauphin_engine::mysql::{
    Access, Acknowledges, Binaries, Credentials, Flavour, Instance, Mysql, Reached, ServerId, Settings, Source,
    SourceTls, StopMode, Upstream, View, accounts,
};
use dauphin_model::{ClusterName, Held, Incarnation, MemberName, Position, Voter};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the replication account's password is; it must be found nowhere.
pub const PASSWORD: &str = "re'pl\\ica \"tion";

/// The same of the account that copies.
pub const COPY_PASSWORD: &str = "co'py\\ \"all";

pub struct Stage {
    pub dir: tempfile::TempDir,
    pub bin: Binaries,
}

pub struct Member {
    pub sql: Mysql,
    server: Option<Child>,
}

impl Stage {
    pub async fn new(name: &str) -> Option<Self> {
        let prefix = engine(name)?.join("usr");
        let flavour = if name.starts_with("mysql") { Flavour::Mysql } else { Flavour::Mariadb };
        let bin = Binaries::open(flavour, &prefix).await.unwrap();
        eprintln!("on {}", bin.version);
        Some(Self { dir: tempfile::Builder::new().prefix("dauphin-mysql").tempdir_in("/tmp").unwrap(), bin })
    }

    pub fn flavour(&self) -> Flavour {
        self.bin.dialect.flavour()
    }

    pub fn credentials() -> Credentials {
        let secret = |text: &str| Secret::new(text.to_owned());
        Credentials { replication: secret(PASSWORD), monitor: secret("monitor"), copy: secret(COPY_PASSWORD) }
    }

    pub fn settings(name: &str, user: &[(&str, &str)]) -> Settings {
        let voter = Voter::new(MemberName::new(name).unwrap(), Incarnation(1));
        let small = [("innodb_buffer_pool_size", "32M"), ("performance_schema", "OFF"), ("general_log", "ON")];
        let user: BTreeMap<String, String> =
            small.iter().chain(user).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let id = ServerId::of(&ClusterName::new("lab").unwrap(), &voter);
        Settings { voter: Some(voter), ..Settings::new("127.0.0.1", "127.0.0.1", id, user).unwrap() }
    }

    /// A member that is not made yet.
    pub fn blank(&self, name: &str, settings: Settings) -> Member {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let instance = Instance::new(
            self.bin.clone(),
            ClusterName::new("lab").unwrap(),
            MemberName::new(name).unwrap(),
            &self.dir.path().join(name),
            port,
            &whoami(),
        );
        Member { sql: Mysql::new(instance, settings).unwrap(), server: None }
    }

    /// A new member, started.
    pub async fn member(&self, name: &str) -> Member {
        self.member_with(name, &[]).await
    }

    /// The same with settings of the user's.
    pub async fn member_with(&self, name: &str, user: &[(&str, &str)]) -> Member {
        let mut member = self.blank(name, Self::settings(name, user));
        member.sql.initialize(&Self::credentials()).await.unwrap();
        member.start().await;
        member
    }

    /// A new member that is open, with a table and a client's account.
    pub async fn leader(&self, name: &str) -> Member {
        self.leader_with(name, &[]).await
    }

    /// The same with settings of the user's.
    pub async fn leader_with(&self, name: &str, user: &[(&str, &str)]) -> Member {
        let member = self.member_with(name, user).await;
        member.sql.open_writes().await.unwrap();
        let mut root = member.root().await;
        for sql in [
            "CREATE DATABASE app",
            "CREATE TABLE app.t (n int PRIMARY KEY, w text) ENGINE=InnoDB",
            "CREATE USER app@localhost IDENTIFIED BY 'app'",
            "GRANT ALL ON app.* TO app@localhost",
        ] {
            root.query_drop(sql).await.unwrap();
        }
        member
    }
}

impl Member {
    pub async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    /// Starts with more on the command line, as somebody might who knows no better.
    pub async fn start_with(&mut self, more: &[&str]) {
        let mut command = self.sql.prepare_start().await.unwrap();
        command.args.extend(more.iter().map(Into::into));
        self.start_as(command).await;
    }

    /// Starts with this command, and lets clients in.
    pub async fn start_as(&mut self, command: ServerCommand) {
        self.start_closed(command).await;
        self.sql.set_access(Access::Open).await.unwrap();
    }

    /// Starts with this command. Clients are kept out.
    pub async fn start_closed(&mut self, command: ServerCommand) {
        self.server = Some(spawn(&command));
        if let Err(error) = self.sql.wait_ready(LIMIT).await {
            panic!("{error}\n{}", self.log());
        }
    }

    pub async fn stop(&mut self, mode: StopMode) -> StopMode {
        let used = self.sql.stop(mode, LIMIT).await.unwrap();
        if let Some(mut server) = self.server.take() {
            server.wait().unwrap();
        }
        used
    }

    /// Stops in order; where its log ends, or `None` if it had to be killed.
    pub async fn stop_in_order(&mut self) -> Option<Position> {
        self.stop_in(LIMIT).await
    }

    /// The same, with this much patience.
    pub async fn stop_in(&mut self, patience: Duration) -> Option<Position> {
        let end = self.sql.stop_in_order(patience).await.unwrap();
        if let Some(mut server) = self.server.take() {
            server.wait().unwrap();
        }
        end
    }

    /// Stops its server's process, or lets it go on.
    pub fn signal(&self, signal: &str) {
        for pid in all_in(&self.sql.instance.data_dir) {
            let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
            assert!(sent.unwrap().success());
        }
    }

    /// Waits for the end of a server that was told to.
    pub async fn ended(&mut self) {
        let mut server = self.server.take().unwrap();
        until("the server's end", async || server.try_wait().unwrap().is_some()).await;
        self.sql.forget_connections().await;
    }

    pub fn log(&self) -> String {
        let of = |path| std::fs::read_to_string(path).unwrap_or_default();
        of(self.sql.instance.stderr_path()) + &of(self.sql.instance.log_path())
    }

    pub async fn look(&self) -> View {
        self.sql.look(LIMIT).await.unwrap()
    }

    /// How others reach it.
    pub fn source(&self, tls: Option<SourceTls>) -> Source {
        Source {
            host: "127.0.0.1".to_owned(),
            port: self.sql.instance.port,
            version: Some(self.sql.instance.bin.version.clone()),
            account: accounts::REPLICATION.to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
            tls,
            delay_s: 0,
        }
    }

    /// Who it is.
    pub fn voter(&self) -> Voter {
        Voter::new(self.sql.instance.member.clone(), Incarnation(1))
    }

    /// Follows it as a member of its cluster.
    pub async fn follow_as(&self, leader: &Self, acknowledges: bool) {
        let upstream = Upstream {
            host: "127.0.0.1".to_owned(),
            port: leader.sql.instance.port,
            version: Some(leader.sql.instance.bin.version.clone()),
            voter: self.voter(),
            acknowledges,
            tls: None,
            delay_s: 0,
            secret: Secret::new(PASSWORD.to_owned()),
        };
        self.sql.follow_as(&upstream, LIMIT).await.unwrap();
    }

    pub async fn follow(&self, leader: &Self) {
        self.sql.follow(&leader.source(None), Acknowledges::Yes, LIMIT).await.unwrap();
    }

    /// The agent's own account, whose writes are logged like anybody's.
    pub async fn root(&self) -> Conn {
        let flavour = self.sql.dialect().flavour();
        let user = dauphin_engine::mysql::accounts::agent(flavour, &self.sql.instance.os_user).to_owned();
        self.connect(&user, None).await.unwrap()
    }

    /// A client.
    pub async fn app(&self) -> Conn {
        self.connect("app", Some("app")).await.unwrap()
    }

    pub async fn connect(&self, user: &str, password: Option<&str>) -> Result<Conn, mysql_async::Error> {
        let socket = self.sql.instance.socket().display().to_string();
        Conn::new(OptsBuilder::default().socket(Some(socket)).user(Some(user)).pass(password)).await
    }

    pub async fn insert(&self, n: i32) -> Result<(), mysql_async::Error> {
        self.app().await.query_drop(format!("INSERT INTO app.t VALUES ({n}, 'x')")).await
    }

    /// How many rows there are.
    pub async fn rows(&self) -> i64 {
        let count: Result<Option<i64>, _> = self.root().await.query_first("SELECT count(*) FROM app.t").await;
        count.ok().flatten().unwrap_or(-1)
    }

    /// Waits until it has applied all of that.
    pub async fn executes(&self, reached: &Reached) {
        until("what the leader has", async || self.look().await.applied.holds(reached)).await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        for pid in all_in(&self.sql.instance.data_dir) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = server.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "--- log of {}\n{}",
                self.sql.instance.member,
                lines[lines.len().saturating_sub(15)..].join("\n")
            );
        }
    }
}

fn spawn(command: &ServerCommand) -> Child {
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
