//! Real servers for the proxy's tests: independent copies of one data directory, so that roles have the same verifiers
//! everywhere, as physical replication would make it. Each test owns its servers and its proxy.

#![allow(dead_code, reason = "each test binary uses a part of it")]
// what cannot be run here is said
#![allow(clippy::print_stderr)]

pub(crate) mod bare;
pub(crate) mod fake;
pub(crate) mod host;

use dauphin_model::{ClusterName, MemberName, Pooling, ReplicaTarget, Route, RouteState, Target, Term};
use dauphin_net::Peer;
use dauphin_net::ca::{CA_FILE, CERT_FILE, Ca, KEY_FILE};
use dauphin_proxy::{Config, Heard, Proxy, ProxyError, Reader, Rules};
use host::Host;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls};

pub(crate) const PASSWORD: &str = "app secret";
const PROXY_PASSWORD: &str = "proxy secret";
const DEADLINE: Duration = Duration::from_secs(30);

/// PostgreSQL's programs.
pub(crate) fn bin() -> PathBuf {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
            places.push(entry.path().join("bin"));
        }
        places
            .into_iter()
            .find(|place| ["initdb", "psql", "postgres"].iter().all(|program| place.join(program).is_file()))
            .expect("PostgreSQL is installed")
    })
    .clone()
}

/// Another version's programs; none where it is not installed, which is said.
pub(crate) fn bin_of(version: u32) -> Option<PathBuf> {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../.engines/postgres-{version}/bin"));
    let bin = bin.canonicalize().ok().filter(|bin| bin.join("postgres").is_file());
    if bin.is_none() {
        eprintln!("not run with PostgreSQL {version}: scripts/engines.sh puts it there");
    }
    bin
}

/// The user that servers run as when we are root.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    static USER: OnceLock<(u32, u32)> = OnceLock::new();
    Some(*USER.get_or_init(|| {
        let find = || {
            let users = fs::read_to_string("/etc/passwd").expect("readable");
            let line = users.lines().find(|line| line.starts_with("dauphin:"))?.to_owned();
            let mut ids = line.split(':').skip(2).map(|id| id.parse().expect("a number"));
            Some((ids.next()?, ids.next()?))
        };
        find().unwrap_or_else(|| {
            let args = ["--system", "--user-group", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"];
            Command::new("useradd").args(args).arg("dauphin").status().expect("useradd runs");
            find().expect("useradd made the user")
        })
    }))
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("dauphin-proxy-").tempdir_in("/tmp").expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    if let Some((uid, gid)) = server_user() {
        chown(folder.path(), Some(uid), Some(gid)).expect("root may");
    }
    folder
}

/// A certificate of a member in a folder that servers can read: the settings that make a server use it.
pub(crate) fn certified(ca: &Ca, member: &str) -> (TempDir, Vec<String>) {
    let folder = folder();
    let peer = Peer::member(&name(member));
    ca.issue_to(folder.path(), &peer, &["127.0.0.1".to_owned()]).expect("issued");
    let path = |file: &str| folder.path().join(file);
    for file in [CERT_FILE, KEY_FILE, CA_FILE] {
        if let Some((uid, gid)) = server_user() {
            chown(path(file), Some(uid), Some(gid)).expect("root may");
        }
    }
    let settings = [("ssl_cert_file", CERT_FILE), ("ssl_key_file", KEY_FILE), ("ssl_ca_file", CA_FILE)];
    let settings = settings.map(|(setting, file)| format!("{setting}={}", path(file).display()));
    (folder, settings.into_iter().chain(["ssl=on".to_owned()]).collect())
}

const ROLES: &str = "\
create role dauphin_proxy login password 'proxy secret';\n\
create role app login password 'app secret';\n\
create role expired login password 'x' valid until '2000-01-01';\n\
create database app owner app;\n\
create schema dauphin;\n\
create function dauphin.scram_verifier(text) returns text language sql security definer set search_path = '' as $$ select rolpassword from pg_catalog.pg_authid where rolname = $1 and rolcanlogin and rolpassword like 'SCRAM-SHA-256$%' and (rolvaliduntil is null or rolvaliduntil > pg_catalog.now()) $$;\n\
revoke execute on function dauphin.scram_verifier(text) from public;\n\
grant usage on schema dauphin to dauphin_proxy;\n\
grant execute on function dauphin.scram_verifier(text) to dauphin_proxy;\n";

const RULES: &str = "local all all trust\nlocal replication all trust\nhost all all samenet scram-sha-256\n";

/// Made once for all runs of this build, copied for every server.
fn template(bin: &Path) -> PathBuf {
    static TEMPLATES: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut made = TEMPLATES.lock().expect("no panic while locked");
    made.entry(bin.to_owned())
        .or_insert_with(|| {
            let mut hash = DefaultHasher::new();
            (ROLES, RULES, bin, server_user()).hash(&mut hash);
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-template-{:x}", hash.finish()));
            if !kept.exists() {
                let folder = folder();
                make_template(bin, &folder.path().join("data"));
                // Renamed when whole, so that an interrupted run leaves nothing that looks done.
                let half = kept.with_extension(std::process::id().to_string());
                copy(&folder.path().join("data"), &half);
                fs::rename(&half, &kept).expect("same folder");
            }
            kept
        })
        .clone()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(copied.success(), "{} could not be copied", from.display());
}

fn make_template(bin: &Path, data: &Path) {
    let args = ["-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"];
    let made = command(&bin.join("initdb")).args(args).arg(data).status().expect("initdb runs");
    assert!(made.success(), "initdb failed");
    fs::write(data.join("pg_hba.conf"), RULES).expect("writable");
    let script = data.join("roles.sql");
    fs::write(&script, ROLES).expect("writable");
    let input = fs::File::open(&script).expect("readable");
    let mut single = command(&bin.join("postgres"));
    single.args(["--single", "-D"]).arg(data).arg("postgres").stdin(input);
    assert!(single.status().expect("postgres runs").success(), "the roles could not be made");
}

/// A running server.
pub(crate) struct Server {
    bin: PathBuf,
    folder: TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Server {
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_from(&bin(), settings)
    }

    /// With these programs.
    pub(crate) fn start_from(bin: &Path, settings: &[&str]) -> Self {
        let template = template(bin);
        let folder = folder();
        copy(&template, &folder.path().join("data"));
        let port = free_port();
        let child = Self::spawn(bin, &folder, port, settings);
        let server = Self { bin: bin.to_owned(), folder, port, child };
        server.await_ready();
        server
    }

    /// On a host of its own.
    pub(crate) fn start_on(host: &Host, settings: &[&str]) -> Self {
        let listen = format!("listen_addresses={}", host.inside);
        let settings: Vec<&str> = settings.iter().copied().chain([listen.as_str()]).collect();
        host.enter(|| Self::start(&settings))
    }

    /// A replica of a leader that was made from the same template.
    pub(crate) fn replica_of(leader: &Self, settings: &[&str]) -> Self {
        let folder = folder();
        copy(&template(&leader.bin), &folder.path().join("data"));
        let signal = folder.path().join("data/standby.signal");
        fs::write(&signal, "").expect("writable");
        if let Some((uid, gid)) = server_user() {
            chown(&signal, Some(uid), Some(gid)).expect("root may");
        }
        let upstream =
            format!("primary_conninfo=host={} port={} user=postgres", leader.folder.path().display(), leader.port);
        // As many connections as the template was made for: a replica may not have fewer.
        let settings: Vec<&str> = settings.iter().copied().chain([upstream.as_str(), "max_connections=100"]).collect();
        let port = free_port();
        let child = Self::spawn(&leader.bin, &folder, port, &settings);
        let server = Self { bin: leader.bin.clone(), folder, port, child };
        server.await_ready();
        server
    }

    fn spawn(bin: &Path, folder: &TempDir, port: u16, settings: &[&str]) -> Child {
        let mut command = command(&bin.join("postgres"));
        command.arg("-D").arg(folder.path().join("data")).arg("-k").arg(folder.path()).args(["-p", &port.to_string()]);
        let small = ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=60"];
        for setting in small.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        command.spawn().expect("postgres runs")
    }

    pub(crate) fn restart(&mut self, settings: &[&str]) {
        self.stop(rustix::process::Signal::QUIT);
        self.child = Self::spawn(&self.bin, &self.folder, self.port, settings);
        self.await_ready();
    }

    fn await_ready(&self) {
        let by = Instant::now() + DEADLINE;
        while !self.sql_ok("select 1") {
            assert!(Instant::now() < by, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        Command::new(self.bin.join("psql"))
            .args(["-X", "-A", "-t", "-U", "postgres", "-d", database, "-p", &self.port.to_string(), "-h"])
            .arg(self.folder.path())
            .args(["-c", sql])
            .output()
            .expect("psql runs")
    }

    fn sql_ok(&self, sql: &str) -> bool {
        self.psql("postgres", sql).status.success()
    }

    /// Runs SQL as superuser in the database `app`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let output = self.psql("app", sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn until(&self, sql: &str, expected: &str) {
        let by = Instant::now() + DEADLINE;
        while self.sql(sql) != expected {
            assert!(Instant::now() < by, "{sql} never gives {expected}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Signals every process of the server but the first.
    pub(crate) fn freeze_backends(&self, signal: rustix::process::Signal) {
        let parent = format!("PPid:\t{}\n", self.child.id());
        for entry in fs::read_dir("/proc").expect("there").flatten() {
            let its = fs::read_to_string(entry.path().join("status")).is_ok_and(|status| status.contains(&parent));
            let pid = entry.file_name().to_str().and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
            if let (true, Some(pid)) = (its, pid) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    pub(crate) fn stop(&mut self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, signal);
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(rustix::process::Signal::QUIT);
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("bound").port()
}

pub(crate) fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

/// A proxy, and the word of the agents.
pub(crate) struct Lab {
    pub(crate) proxy: Option<Proxy>,
    heard: mpsc::Sender<Heard>,
    pub(crate) route: Route,
    /// As it was started, with the ports that it has.
    pub(crate) config: Config,
    folder: Arc<TempDir>,
}

pub(crate) fn config(folder: &Path) -> Config {
    let password_file = folder.join("password");
    fs::write(&password_file, PROXY_PASSWORD).expect("writable");
    fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600)).expect("ours");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        cluster: ClusterName::new("lab").expect("a name"),
        listen_write: vec![any],
        listen_read: vec![any],
        listen_metrics: None,
        agents: Vec::new(),
        identity: folder.join("identity"),
        password_file,
        auth_database: "postgres".into(),
        tls: None,
        server_tls: None,
        run_dir: None,
        shards: 2,
        rules: Rules { pooling: Pooling::Session, ..Rules::default() },
    }
}

impl Lab {
    pub(crate) fn start(change: impl FnOnce(&mut Config, &Path)) -> Self {
        Self::start_reading(None, change)
    }

    /// A proxy that reads its configuration again with this.
    pub(crate) fn start_reading(reader: Option<Reader>, change: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        change(&mut config, folder.path());
        let (heard, receiver) = mpsc::channel(16);
        let proxy = Proxy::start(&config, receiver, reader).expect("the proxy starts");
        config.listen_write = proxy.write_addresses().to_vec();
        config.listen_read = proxy.read_addresses().to_vec();
        let route = Route {
            cluster: config.cluster.clone(),
            from: name("m1"),
            term: Term(0),
            state: RouteState::Closed,
            leader: None,
            replicas: Vec::new(),
            draining: false,
            fences: Vec::new(),
            generation: 0,
        };
        Self { proxy: Some(proxy), heard, route, config, folder: Arc::new(folder) }
    }

    /// A proxy that takes over from this one, and knows where clients go.
    pub(crate) async fn heir(&self, change: impl FnOnce(&mut Config)) -> Result<Self, ProxyError> {
        let mut config = self.config.clone();
        change(&mut config);
        let (heard, receiver) = mpsc::channel(16);
        heard.send(Heard::Route(Box::new(self.route.clone()))).await.expect("room");
        let proxy = Proxy::take_over(&config, Some(receiver), None).await?;
        Ok(Self { proxy: Some(proxy), heard, route: self.route.clone(), config, folder: Arc::clone(&self.folder) })
    }

    /// Publishes a change of the route and waits until the proxy has it.
    pub(crate) async fn route(&mut self, change: impl FnOnce(&mut Route)) {
        change(&mut self.route);
        self.route.generation += 1;
        self.heard.send(Heard::Route(Box::new(self.route.clone()))).await.expect("the proxy listens");
        let by = Instant::now() + DEADLINE;
        loop {
            let view = self.proxy().view();
            let same = (view.term, view.open, view.draining) == (self.route.term, self.open(), self.route.draining);
            if same && view.leader == self.route.leader && view.replicas == self.route.replicas {
                return;
            }
            assert!(Instant::now() < by, "the proxy does not take the route");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn open(&self) -> bool {
        self.route.state == RouteState::Open
    }

    /// `server` leads as `member` in a new term.
    pub(crate) async fn lead(&mut self, member: &str, server: &Server) {
        self.elect(member, server.port).await;
        self.route(|route| route.state = RouteState::Open).await;
    }

    /// A new term has a leader, which is not open yet.
    pub(crate) async fn elect(&mut self, member: &str, port: u16) {
        self.route(|route| {
            route.from = name(member);
            route.term = route.term.next();
            route.state = RouteState::Closed;
            route.draining = false;
            route.leader = Some(target(member, port));
        })
        .await;
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("running")
    }

    pub(crate) fn write_port(&self) -> u16 {
        self.proxy().write_addresses()[0].port()
    }

    pub(crate) fn read_port(&self) -> u16 {
        self.proxy().read_addresses()[0].port()
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(self.write_port(), "app", PASSWORD).await.expect("the proxy takes the client")
    }

    /// Waits until the counters say so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(dauphin_proxy::Snapshot) -> bool) {
        let by = Instant::now() + DEADLINE;
        while !holds(self.proxy().stats()) {
            assert!(Instant::now() < by, "{what} never happens: {:?}", self.proxy().stats());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(crate) fn target(member: &str, port: u16) -> Target {
    Target { member: name(member), host: "127.0.0.1".into(), port, zone: None }
}

pub(crate) fn replica(member: &str, server: &Server, usable: bool) -> ReplicaTarget {
    ReplicaTarget { target: target(member, server.port), lag_bytes: Some(0), usable, reporting: false }
}

pub(crate) fn login(port: u16, user: &str, password: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).password(password).dbname("app");
    config
}

pub(crate) async fn connect(port: u16, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    connect_with(&login(port, user, password)).await
}

pub(crate) async fn connect_with(config: &tokio_postgres::Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // The client's own calls show the error.
        let _ = connection.await;
    });
    Ok(client)
}

/// The one value of a query's one row.
pub(crate) async fn one(client: &Client, sql: &str) -> String {
    let rows = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut found = None;
    for message in rows {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            found = row.get(0).map(str::to_owned);
        }
    }
    found.unwrap_or_default()
}

/// SQLSTATE and message of an error from the server's side.
pub(crate) fn told(error: &tokio_postgres::Error) -> (String, String) {
    match error.as_db_error() {
        Some(db) => (db.code().code().to_owned(), db.message().to_owned()),
        None => (String::new(), error.to_string()),
    }
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("there");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

pub(crate) fn raw(port: u16) -> TcpStream {
    raw_to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

pub(crate) fn raw_to(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("the proxy listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("settable");
    stream
}
