//! Three machines as docs/getting-started.md describes them, all of them this one: init's folders, an agent each, a proxy,
//! TLS required on every SQL port, and an agent that is asked to end.

// what the agents logged is shown when the test fails
#![allow(clippy::print_stderr)]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything to happen.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Ports of this test alone: SQL, HTTP and link of the members, then the proxy's two.
const PORT: u16 = 31_400;
const WRITE_PORT: u16 = PORT + 90;
const READ_PORT: u16 = PORT + 91;
/// The password of the application's role.
const SHOP: &str = "of-the-shop";
const NAMES: [&str; 3] = ["m1", "m2", "m3"];

/// The folder of everything; ends what it started.
struct Machines {
    dir: PathBuf,
    running: Vec<(String, Child)>,
}

/// The system user that servers run as when root tests.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let text = fs::read_to_string("/etc/passwd").expect("readable");
    let line = text.lines().find(|l| l.starts_with("dauphin:")).expect("scripts/engines.sh makes the user");
    let number = |n| line.split(':').nth(n).and_then(|f| f.parse().ok()).expect("a number");
    Some((number(2), number(3)))
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

impl Machines {
    fn set_up() -> Self {
        let dir = std::env::temp_dir().join(format!("dauphin-machines-{}", std::process::id()));
        fs::create_dir(&dir).expect("made");
        let machines = Self { dir, running: Vec::new() };
        fs::set_permissions(&machines.dir, fs::Permissions::from_mode(0o755)).expect("set");
        // a checkout may be one that only root can read
        fs::copy(env!("CARGO_BIN_EXE_dauphin"), machines.program()).expect("copied");
        let member = |n: u16| {
            let (sql, api, link) = (PORT + n, PORT + 10 + n, PORT + 20 + n);
            format!(
                "[[member]]\nname = \"m{n}\"\nhost = \"127.0.0.1\"\nsql_port = {sql}\napi_port = {api}\nlink_port = {link}\n"
            )
        };
        let text = format!(
            "[cluster]\nname = \"shop\"\nprofile = \"fast\"\n[postgres]\nclient_networks = [\"127.0.0.0/8\"]\n\
             parameters = {{ shared_buffers = \"32MB\", dynamic_shared_memory_type = \"mmap\" }}\n{}{}{}\
             [proxy]\nlisten_write = \"127.0.0.1:{WRITE_PORT}\"\nlisten_read = \"127.0.0.1:{READ_PORT}\"\n",
            member(1),
            member(2),
            member(3)
        );
        fs::write(machines.dir.join("shop.toml"), text).expect("written");
        let (made, said) =
            output(Command::new(machines.program()).arg("init").arg("--config").arg(machines.dir.join("shop.toml")));
        assert!(made, "{said}");
        for name in NAMES {
            machines.give_a_place(name);
        }
        machines.own(&machines.bundle("proxy"));
        machines
    }

    fn program(&self) -> PathBuf {
        self.dir.join("dauphin")
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.dir.join("shop").join(name)
    }

    /// What would be /var/lib and /run on a machine of its own lies in the test's folder.
    fn give_a_place(&self, name: &str) {
        let (place, file) = (self.dir.join(name), self.bundle(name).join("dauphin.toml"));
        fs::create_dir(&place).expect("made");
        let text = fs::read_to_string(&file).expect("there");
        assert!(text.contains("\"/var/lib/dauphin/data\"") && text.contains("\"/run/dauphin\""), "{text}");
        assert!(!text.contains("sql_tls = \"off\""), "TLS is required unless the file says otherwise: {text}");
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines/postgres-15/bin");
        let bin = fs::canonicalize(bin).expect("scripts/engines.sh puts PostgreSQL there");
        let text = text
            .replace("/var/lib/dauphin", &place.to_string_lossy())
            .replace("/run/dauphin", &place.join("run").to_string_lossy())
            .replace("[local]\n", &format!("[local]\nbin_dir = \"{}\"\n", bin.display()));
        fs::write(&file, text).expect("written");
        self.own(&place);
        self.own(&self.bundle(name));
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = user() {
            let (done, said) = output(Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(path));
            assert!(done, "{said}");
        }
        let shop = self.dir.join("shop");
        fs::set_permissions(shop, fs::Permissions::from_mode(0o755)).expect("set");
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    fn start(&mut self, verb: &str, name: &str) {
        let log = fs::File::options().create(true).append(true).open(self.log(name)).expect("a log");
        let mut command = Command::new(self.program());
        command.arg(verb).arg("--config").arg(self.bundle(name).join("dauphin.toml")).current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("twice")).stderr(log);
        if let Some((uid, gid)) = user() {
            command.uid(uid).gid(gid);
        }
        self.running.push((name.to_owned(), command.spawn().expect("it starts")));
    }

    /// New certificates from the CA that `init` made, taken while everything runs.
    fn renew(&self) {
        let shop = self.dir.join("shop.toml");
        let (done, said) = output(Command::new(self.program()).args(["init", "--renew", "--config"]).arg(shop));
        assert!(done && said.contains("m2/identity") && said.contains("SIGHUP"), "{said}");
        for (name, child) in &self.running {
            self.own(&self.bundle(name));
            if name != "proxy" {
                let pid = rustix::process::Pid::from_child(child);
                rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("sent");
            }
        }
        let deadline = Instant::now() + WAIT_MAX;
        let taken = |name: &str| {
            fs::read_to_string(self.log(name)).is_ok_and(|log| log.contains("certificates were read again"))
        };
        while !NAMES.iter().all(|name| taken(name)) {
            assert!(Instant::now() < deadline, "the certificates are not taken");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks it to end, as a service manager does, and waits until it did.
    fn end(&mut self, name: &str) {
        let at = self.running.iter().position(|(n, _)| n == name).expect("it runs");
        let (_, mut child) = self.running.remove(at);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
            .expect("sent");
        let deadline = Instant::now() + WAIT_MAX;
        let status = loop {
            if let Some(status) = child.try_wait().expect("its state") {
                break status;
            }
            assert!(Instant::now() < deadline, "{name} does not end");
            std::thread::sleep(LOOK_EVERY);
        };
        assert!(status.success(), "{name}: {status}");
    }

    fn status(&self) -> Value {
        let operator = self.bundle("operator").join("dauphin.toml");
        let (_, said) = output(Command::new(self.program()).args(["status", "--json", "--config"]).arg(operator));
        serde_json::from_str(&said).unwrap_or(Value::String(said))
    }

    #[track_caller]
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {status:#}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn until_healthy(&self) -> String {
        let voters =
            |c: &Value| c["members"].as_array().map(|m| m.iter().filter(|m| m["sync_state"] == "quorum").count());
        let status = self.until("health", |c| c["health"] == "healthy" && voters(c) == Some(2));
        status["leader"].as_str().expect("a leader").to_owned()
    }

    /// psql as `user` in the database of the same name (`admin`: in postgres); whether it went well, and what it said.
    fn psql(&self, user: &str, port: u16, tls: &str, sql: &str) -> (bool, String) {
        let secrets = fs::read_to_string(self.bundle("m1").join("secrets.toml")).expect("there");
        let secrets: toml::Table = secrets.parse().expect("TOML");
        let passfile = self.dir.join("passfile");
        fs::write(
            &passfile,
            format!("*:*:*:admin:{}\n*:*:*:shop:{SHOP}\n", secrets["admin"].as_str().expect("a password")),
        )
        .expect("written");
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).expect("set");
        let database = if user == "admin" { "postgres" } else { user };
        let ca = self.bundle("operator").join("identity/ca.pem");
        let to = format!(
            "host=127.0.0.1 port={port} user={user} dbname={database} sslmode={tls} sslrootcert={}",
            ca.display()
        );
        let psql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines/postgres-15/bin/psql");
        output(Command::new(psql).args(["-XAtc", sql, &to]).env("PGPASSFILE", passfile).current_dir("/"))
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in NAMES.into_iter().chain(["proxy"]) {
                let log = fs::read_to_string(self.log(name)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("{name}:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
        for (_, child) in &mut self.running {
            // ended as a crash would: guards end servers of leaders, and what is left is found by its folder
            let _ = child.kill();
            let _ = child.wait();
        }
        for process in dauphin_lab::Process::all() {
            let named = process.arguments.iter().any(|a| a.contains(&*self.dir.to_string_lossy()));
            if named && let Some(pid) = rustix::process::Pid::from_raw(process.pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn three_machines_with_tls_from_init_to_an_orderly_end() {
    let mut machines = Machines::set_up();
    for name in NAMES {
        machines.start("agent", name);
    }
    machines.start("proxy", "proxy");
    let leader = machines.until_healthy();

    let number = leader.trim_start_matches('m').parse::<u16>().expect("a number");
    for sql in [format!("CREATE ROLE shop LOGIN PASSWORD '{SHOP}'"), "CREATE DATABASE shop OWNER shop".to_owned()] {
        let (done, said) = machines.psql("admin", PORT + number, "verify-ca", &sql);
        assert!(done, "{said}");
    }
    let (done, said) =
        machines.psql("shop", WRITE_PORT, "verify-ca", "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
    assert!(done, "{said}");
    assert!(!machines.psql("admin", WRITE_PORT, "verify-ca", "SELECT 1").0, "no superuser comes in through the proxy");
    let encrypted = "SELECT count(*), bool_and(ssl) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) \
                     WHERE client_addr IS NOT NULL";
    assert_eq!(machines.psql("admin", PORT + number, "verify-ca", encrypted), (true, "2|t\n".to_owned()));
    for port in [WRITE_PORT, PORT + 1, PORT + 2, PORT + 3] {
        let (done, said) = machines.psql("shop", port, "disable", "SELECT 1");
        assert!(!done, "port {port} takes a connection without TLS: {said}");
    }

    machines.renew();
    assert!(machines.psql("shop", WRITE_PORT, "verify-ca", "SELECT 1").0, "nobody notices");
    assert_eq!(machines.status()["health"], "healthy");

    // an agent that is asked to end hands over first: nobody waits for anything to be found out
    machines.end(&leader);
    let next = machines.until("a successor", |c| c["open"] == true && c["leader"] != leader.as_str());
    assert_eq!(
        machines.psql("shop", WRITE_PORT, "verify-ca", "INSERT INTO t VALUES (2) RETURNING i").1.lines().next(),
        Some("2")
    );
    let history = fs::read_to_string(machines.log(&leader)).expect("a log");
    assert!(history.contains("the agent has ended") && !history.contains("ERROR"), "{history}");
    assert_eq!(next["term"], 2);
    machines.start("agent", &leader);
    machines.until_healthy();
    assert_eq!(machines.psql("shop", READ_PORT, "verify-ca", "SELECT count(*) FROM t"), (true, "2\n".to_owned()));

    machines.end("proxy");
    for name in NAMES {
        machines.end(name);
    }
    let left: Vec<_> = dauphin_lab::Process::all()
        .into_iter()
        .filter(|p| p.arguments.iter().any(|a| a.contains(&*machines.dir.to_string_lossy())))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
