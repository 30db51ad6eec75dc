//! The guard against real process trees: detached, deaf to signals, orphaned. Each test has a folder of its own and
//! leaves nothing running.

use dauphin_guard::{
    Event, Guard, GuardDeath, GuardError, KILL_LEAD, OnAgentDeath, ServerSignal, StartServer, boottime, orphan,
};
use dauphin_model::Span;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server as nasty as they come: children deaf to signals, in sessions of their own, and one that lost its parent.
const NASTY: &str = r#"
trap '' TERM HUP
sh -c 'trap "" TERM INT; while :; do sleep 1000; done' &
setsid sh -c 'trap "" TERM INT QUIT; sleep 1000 & sleep 1000 & wait' &
(setsid sh -c 'trap "" TERM; sleep 1000 & echo > ready; wait' &)
wait
"#;

/// A server that ends by itself, and leaves a child behind.
const LEAVER: &str = "setsid sleep 1000 & echo > ready; exit 3";

/// A server that ends when it is interrupted.
const POLITE: &str = "trap 'exit 0' INT; echo > ready; while :; do sleep 0.01; done";

/// A server that SIGQUIT does not end.
const DEAF: &str = "trap '' QUIT; echo > ready; while :; do sleep 0.01; done";

/// A server that survives its guard.
const STUBBORN: &str = "trap '' QUIT; setsid sleep 1000 & echo > ready; while :; do sleep 0.01; done";

/// A run directory, a data directory, and whatever runs in them until the end of the test.
struct Field {
    root: tempfile::TempDir,
    guard: Cell<u32>,
}

impl Field {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["run", "data"] {
            fs::create_dir(root.path().join(name)).expect("a folder");
        }
        Self { root, guard: Cell::new(0) }
    }

    fn run_dir(&self) -> PathBuf {
        self.root.path().join("run")
    }

    fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    async fn agent(&self) -> (Guard, Receiver<Event>) {
        self.agent_with(&[]).await
    }

    async fn agent_with(&self, more: &[&str]) -> (Guard, Receiver<Event>) {
        let mut spawn = Command::new(env!("CARGO_BIN_EXE_dauphin-guard-test"));
        spawn.arg("--dir").arg(self.run_dir()).args(more);
        let (guard, events) = Guard::connect_or_spawn(&self.run_dir(), spawn).await.expect("a guard");
        self.guard.set(guard.adopted().guard_pid);
        (guard, events)
    }

    async fn start(&self, guard: &Guard, script: &str) -> u32 {
        let _ = fs::remove_file(self.data_dir().join("ready"));
        let pid = guard.start(self.server(script)).await.expect("started");
        until("the server is up", || self.data_dir().join("ready").exists()).await;
        pid
    }

    fn server(&self, script: &str) -> StartServer {
        StartServer {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            cwd: self.data_dir(),
            stderr_path: self.run_dir().join("server.log"),
            on_guard_death: GuardDeath::Quit,
        }
    }

    /// How many processes work in the data directory. Zombies do not.
    fn alive(&self) -> usize {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let here = |link: &Path| fs::read_link(link).is_ok_and(|cwd| cwd == self.data_dir());
        entries.filter(|entry| here(&entry.path().join("cwd")) && !is_dead(&entry.path())).count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.run_dir().join("guard.log")).unwrap_or_default()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let pid = i32::try_from(self.guard.get()).ok().and_then(Pid::from_raw);
        let name = fs::read_to_string(format!("/proc/{}/comm", self.guard.get())).unwrap_or_default();
        if let Some(pid) = pid.filter(|_| name.starts_with("dauphin-guard")) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = orphan::fence(&self.data_dir(), Path::new("/bin/sh"));
        let _ = orphan::fence(&self.data_dir(), Path::new("/bin/sleep"));
    }
}

fn is_dead(proc: &Path) -> bool {
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn next(events: &mut Receiver<Event>) -> Event {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("an event")
}

#[tokio::test]
async fn a_kill_leaves_nothing_of_a_nasty_tree() {
    let field = Field::new();
    let (guard, mut events) = field.agent().await;
    let pid = field.start(&guard, NASTY).await;
    assert!(field.alive() >= 6, "{} processes", field.alive());
    let killed = guard.kill().await.expect("killed");
    assert_eq!(field.alive(), 0, "{killed:?}");
    assert_eq!(killed.stuck, 0);
    assert!(killed.processes >= 5, "{killed:?}");
    // Ended, they still wait for a processor to be cleared away: on a machine busy with builds that takes its time.
    assert!(killed.signalled_us < 50_000 && killed.took_us < 1_000_000, "{killed:?}");
    let Event::Exited(exit) = next(&mut events).await else { panic!("the end of the server") };
    assert_eq!((exit.pid, exit.signal, exit.code), (pid, Some(9), None));
    assert_eq!(guard.status().await.expect("answers").last_exit, Some(exit));
    assert_eq!(guard.kill().await.expect("nothing to do").processes, 0);
    guard.shutdown().await.expect("no server runs");
    until("the socket is gone", || !field.run_dir().join("guard.sock").exists()).await;
}

#[tokio::test]
async fn the_end_of_the_server_is_told_at_once_and_leaves_no_backend() {
    let field = Field::new();
    let (guard, mut events) = field.agent().await;
    guard.start(field.server(LEAVER)).await.expect("started");
    let Event::Exited(exit) = next(&mut events).await else { panic!("the end of the server") };
    assert_eq!(exit.code, Some(3));
    assert_eq!(exit.left_behind, 1, "the child that it left was killed first");
    assert_eq!(field.alive(), 0);

    field.start(&guard, NASTY).await;
    let server = guard.status().await.expect("answers").server_pid.expect("a server");
    let pid = Pid::from_raw(i32::try_from(server).expect("a number")).expect("not zero");
    let shot = boottime();
    kill_process(pid, Signal::KILL).expect("killed");
    let Event::Exited(exit) = next(&mut events).await else { panic!("the end of the server") };
    assert_eq!(exit.signal, Some(9));
    assert_eq!(field.alive(), 0, "no backend outlives its server");
    assert!(exit.at.since(shot) < Span::ms(500), "seen after {}", exit.at.since(shot));
}

#[tokio::test]
async fn a_deadline_that_is_not_moved_kills_before_it_passes() {
    let field = Field::new();
    let (guard, mut events) = field.agent().await;
    field.start(&guard, NASTY).await;
    // Moved a few times, as by a leader that renews; then the agent falls silent.
    let mut last = boottime();
    for _ in 0..5 {
        last = boottime() + Span::ms(300);
        guard.deadline(Some(last), OnAgentDeath::KillNow).expect("sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(field.alive() > 0);
    let Event::Exited(exit) = next(&mut events).await else { panic!("the end of the server") };
    let Event::DeadlinePassed { deadline, killed, at } = next(&mut events).await else { panic!("the reason") };
    assert_eq!(deadline, last);
    let began = at - Span(killed.took_us);
    assert!(exit.at <= at && began + Span(killed.signalled_us) <= last, "alive at its deadline: {killed:?}");
    assert!(last.since(began) <= KILL_LEAD, "not killed before its time: {}", last.since(began));
    assert!(killed.processes >= 5 && field.alive() == 0, "{killed:?}");

    let refused = guard.start(field.server(NASTY)).await.expect_err("the deadline lies behind");
    assert!(refused.to_string().contains("deadline has passed"), "{refused}");
    guard.arm(None, OnAgentDeath::Keep).await.expect("a replica has no lease");
    field.start(&guard, POLITE).await;
}

#[tokio::test]
async fn an_agent_that_dies_takes_a_leaders_server_with_it() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    field.start(&guard, NASTY).await;
    guard.arm(Some(boottime() + Span::ms(60_000)), OnAgentDeath::KillNow).await.expect("armed");
    drop(guard);
    let dropped = Instant::now();
    until("the server is dead", || field.alive() == 0).await;
    assert!(dropped.elapsed() < Duration::from_secs(1), "{:?}", dropped.elapsed());
    let (guard, _events) = field.agent().await;
    assert_eq!(guard.adopted().server_pid, None);
    assert_eq!(guard.adopted().last_exit.as_ref().and_then(|exit| exit.signal), Some(9));
}

#[tokio::test]
async fn a_new_agent_adopts_a_replicas_server() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    let server = field.start(&guard, NASTY).await;
    guard.arm(None, OnAgentDeath::Keep).await.expect("armed");
    let first = guard.adopted().guard_pid;

    // A second agent has to wait until the first is gone.
    let busy = Guard::connect(&field.run_dir()).await.expect_err("one agent at a time");
    assert!(busy.to_string().contains("another agent is connected"), "{busy}");
    drop(guard);

    let mut adopted = Guard::connect(&field.run_dir()).await;
    let deadline = Instant::now() + PATIENCE;
    while adopted.is_err() && Instant::now() < deadline {
        adopted = Guard::connect(&field.run_dir()).await;
    }
    let (guard, mut events) = adopted.expect("adopted");
    assert_eq!((guard.adopted().guard_pid, guard.adopted().server_pid), (first, Some(server)));
    assert!(field.alive() >= 6);
    assert!(guard.ping().await.expect("answers") < Span::ms(1_000));
    guard.kill().await.expect("killed");
    assert!(matches!(next(&mut events).await, Event::Exited(exit) if exit.pid == server));
}

#[tokio::test]
async fn a_kept_server_still_dies_at_its_deadline() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    field.start(&guard, NASTY).await;
    let deadline = boottime() + Span::ms(250);
    guard.arm(Some(deadline), OnAgentDeath::Keep).await.expect("armed");
    drop(guard);
    until("the server is dead", || field.alive() == 0).await;
    assert!(boottime() < deadline + Span::ms(500));
    assert!(boottime() > deadline - KILL_LEAD - Span::ms(1), "kept until then");
}

#[tokio::test]
async fn orders_are_refused_with_what_to_do() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    let missing = StartServer { program: "/nowhere/postgres".into(), ..field.server("") };
    let cases = [
        (guard.start(missing).await.map(|_| ()), "no such program; check bin_dir"),
        (guard.start(StartServer { cwd: "/nowhere".into(), ..field.server("") }).await.map(|_| ()), "check data_dir"),
        (guard.start(StartServer { program: "sh".into(), ..field.server("") }).await.map(|_| ()), "absolute path"),
        (guard.signal(ServerSignal::Reload).await, "no server runs"),
    ];
    for (result, expected) in cases {
        let error = result.expect_err(expected);
        assert!(matches!(&error, GuardError::Refused { why, .. } if why.contains(expected)), "{error}");
    }
    field.start(&guard, POLITE).await;
    let twice = guard.start(field.server(POLITE)).await.expect_err("one server at a time");
    assert!(twice.to_string().contains("a server runs already"), "{twice}");
    let early = guard.shutdown().await.expect_err("a server runs");
    assert!(early.to_string().contains("stop or kill it first"), "{early}");
}

#[tokio::test]
async fn a_server_stops_by_itself_when_asked() {
    let field = Field::new();
    let (guard, mut events) = field.agent().await;
    field.start(&guard, POLITE).await;
    guard.signal(ServerSignal::Interrupt).await.expect("sent");
    let Event::Exited(exit) = next(&mut events).await else { panic!("the end of the server") };
    assert_eq!((exit.code, exit.left_behind), (Some(0), 0));
}

#[tokio::test]
async fn a_guard_asked_to_end_shuts_the_server_down_first() {
    let field = Field::new();
    let dog = field.run_dir().join("watchdog");
    fs::write(&dog, "").expect("a file");
    let (guard, mut events) = field.agent_with(&["--watchdog", dog.to_str().expect("text")]).await;
    assert!(guard.adopted().watchdog);
    field.start(&guard, POLITE).await;
    until("the watchdog is fed", || fs::read(&dog).is_ok_and(|fed| fed.contains(&0))).await;
    let pid = Pid::from_raw(i32::try_from(guard.adopted().guard_pid).expect("a number")).expect("not zero");
    kill_process(pid, Signal::HUP).expect("sent, and ignored");
    kill_process(pid, Signal::INT).expect("sent, and ignored");
    guard.ping().await.expect("unmoved");
    kill_process(pid, Signal::TERM).expect("sent");
    assert!(matches!(next(&mut events).await, Event::Exited(exit) if exit.code == Some(0)));
    assert_eq!(next(&mut events).await, Event::Gone);
    until("the watchdog is disarmed", || fs::read(&dog).is_ok_and(|fed| fed.ends_with(b"V"))).await;
    assert!(matches!(guard.ping().await, Err(GuardError::Gone)));
    until("the log is written", || field.log().contains("guard ends")).await;
}

#[tokio::test]
async fn a_watchdog_that_cannot_be_opened_is_a_refusal() {
    let field = Field::new();
    let mut spawn = Command::new(env!("CARGO_BIN_EXE_dauphin-guard-test"));
    spawn.arg("--dir").arg(field.run_dir()).args(["--watchdog", "/nowhere/watchdog"]);
    let error = Guard::connect_or_spawn(&field.run_dir(), spawn).await.expect_err("no such device");
    assert!(error.to_string().contains("guard.log"), "{error}");
    assert!(field.log().contains("cannot open the watchdog /nowhere/watchdog"), "{}", field.log());
}

#[tokio::test]
async fn a_killed_guard_takes_its_server_along() {
    let field = Field::new();
    let (guard, mut events) = field.agent().await;
    field.start(&guard, POLITE).await;
    kill_process(
        Pid::from_raw(i32::try_from(guard.adopted().guard_pid).expect("a number")).expect("not zero"),
        Signal::KILL,
    )
    .expect("killed");
    assert_eq!(next(&mut events).await, Event::Gone);
    until("the server has quit", || field.alive() == 0).await;
}

#[tokio::test]
async fn a_server_that_takes_a_quit_for_an_orderly_stop_is_killed_with_its_guard() {
    let field = Field::new();
    let (guard, mut events) = field.agent().await;
    guard.start(StartServer { on_guard_death: GuardDeath::Kill, ..field.server(DEAF) }).await.expect("started");
    until("the server is up", || field.data_dir().join("ready").exists()).await;
    let guard_pid = Pid::from_raw(i32::try_from(guard.adopted().guard_pid).expect("a number")).expect("not zero");
    kill_process(guard_pid, Signal::KILL).expect("killed");
    assert_eq!(next(&mut events).await, Event::Gone);
    until("nothing of the server is left", || field.alive() == 0).await;
}

#[tokio::test]
async fn an_orphaned_server_is_found_by_its_folder_and_fenced() {
    let field = Field::new();
    let shell = fs::canonicalize("/bin/sh").expect("a shell");
    assert_eq!(orphan::find(&field.data_dir(), &shell).expect("readable"), None);
    let (guard, mut events) = field.agent().await;
    let server = field.start(&guard, STUBBORN).await;
    let guard_pid = Pid::from_raw(i32::try_from(guard.adopted().guard_pid).expect("a number")).expect("not zero");
    kill_process(guard_pid, Signal::KILL).expect("killed");
    assert_eq!(next(&mut events).await, Event::Gone);

    // Another process that happens to work there, and a pid file that names a stranger: neither is touched.
    let mut visitor = Command::new("/bin/sleep").arg("1000").current_dir(field.data_dir()).spawn().expect("a visitor");
    fs::write(field.data_dir().join("postmaster.pid"), "1\n").expect("a stale file");
    let found = orphan::find(&field.data_dir(), &shell).expect("readable").expect("an orphan");
    assert!(found.processes >= 1, "{found:?}");
    assert_ne!(found.postmaster, Some(1));
    fs::write(field.data_dir().join("postmaster.pid"), format!("{server}\n/data\n")).expect("a file");
    let found = orphan::find(&field.data_dir(), &shell).expect("readable").expect("an orphan");
    assert_eq!(found.postmaster, Some(server));

    let fenced = orphan::fence(&field.data_dir(), &shell).expect("fenced");
    assert!(fenced >= 2, "the server and its detached child: {fenced}");
    assert_eq!(orphan::find(&field.data_dir(), &shell).expect("readable"), None);
    assert!(visitor.try_wait().expect("its child").is_none(), "the visitor lives");
    visitor.kill().expect("killed");
    visitor.wait().expect("ended");
    assert_eq!(field.alive(), 0);
    assert_eq!(orphan::fence(&field.data_dir(), &shell).expect("nothing to do"), 0);
}

#[tokio::test]
async fn there_is_one_guard_and_only_its_user_reaches_it() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    let mode = fs::metadata(field.run_dir().join("guard.sock")).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Command::new(env!("CARGO_BIN_EXE_dauphin-guard-test"))
        .arg("--dir")
        .arg(field.run_dir())
        .output()
        .expect("it ran");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another guard watches"), "{second:?}");
    guard.ping().await.expect("the first is unmoved");
}

#[tokio::test]
async fn a_stranger_who_hangs_up_harms_nobody() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    field.start(&guard, POLITE).await;
    for _ in 0..20 {
        let mut stranger =
            std::os::unix::net::UnixStream::connect(field.run_dir().join("guard.sock")).expect("reached");
        std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.0\r\n\r\n").expect("written");
    }
    guard.ping().await.expect("unmoved");
    assert!(field.alive() >= 1);
}

#[tokio::test]
async fn a_run_directory_may_have_a_path_of_any_length() {
    let root = tempfile::tempdir().expect("a folder");
    let run_dir = root.path().join("d".repeat(120));
    fs::create_dir(&run_dir).expect("a folder");
    let mut spawn = Command::new(env!("CARGO_BIN_EXE_dauphin-guard-test"));
    spawn.arg("--dir").arg(&run_dir);
    let (guard, _events) = Guard::connect_or_spawn(&run_dir, spawn).await.expect("a guard");
    guard.shutdown().await.expect("ended");
}

#[tokio::test]
async fn an_idle_guard_is_small_and_sleeps() {
    let field = Field::new();
    let (guard, _events) = field.agent().await;
    field.start(&guard, "echo > ready; exec sleep 1000").await;
    let proc = PathBuf::from(format!("/proc/{}", guard.adopted().guard_pid));
    let ticks = || -> u64 {
        let stat = fs::read_to_string(proc.join("stat")).expect("it runs");
        let fields: Vec<u64> =
            stat.split_ascii_whitespace().skip(13).take(2).map(|n| n.parse().expect("a number")).collect();
        fields.iter().sum()
    };
    let before = ticks();
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        guard.deadline(Some(boottime() + Span::ms(5_000)), OnAgentDeath::KillNow).expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ticks() - before <= 1, "{} ticks of 10 ms in half a second", ticks() - before);
    let status = fs::read_to_string(proc.join("status")).expect("it runs");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 12_000, "{kib} KiB");
}
