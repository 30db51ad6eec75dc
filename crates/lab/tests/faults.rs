//! Faults, healing, showing and ending, on processes that stand in for agents, guards and servers: shells that wait.
//! They carry the arguments and working directories by which a lab knows its own.

use dauphin_lab::{Lab, LabMember, Login, Process, ProcessFault, down, fault, heal, show};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A loop that has a child at any moment.
const WAITS: &str = "while :; do sleep 5; done\n";
const WAIT_MAX: Duration = Duration::from_secs(10);

struct Stage {
    lab: Lab,
    dir: PathBuf,
    children: Vec<Child>,
}

impl Stage {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("dauphin-faults-{}-{name}", std::process::id()));
        for folder in ["m1/data", "m1/run", "m2/data", "m2/run"] {
            fs::create_dir_all(dir.join(folder)).expect("folders");
        }
        let dir = fs::canonicalize(&dir).expect("a folder");
        let member = |name: &str| LabMember {
            name: name.into(),
            host: "127.0.0.1".into(),
            sql_port: 1,
            api_port: 1,
            link_port: 1,
            witness: false,
        };
        let login = Login { user: "app".into(), password: "x".into() };
        let lab = Lab {
            cluster: "lab".into(),
            engine: "postgres".into(),
            version: "15.0".into(),
            durability: "quorum".into(),
            profile: "standard".into(),
            dir: dir.clone(),
            members: vec![member("m1"), member("m2")],
            proxy: None,
            token: "t".into(),
            app: login.clone(),
            admin: login,
            program: "/bin/false".into(),
            user: None,
            closed_parent: None,
            engine_home: None,
            network: None,
            disks: false,
            clocks: false,
            made_dir: true,
            made: vec!["m1".into(), "m2".into()],
        };
        lab.save().expect("saved");
        Self { lab, dir, children: Vec::new() }
    }

    /// A shell that runs a script of this name in this folder, with more arguments.
    fn start(&mut self, folder: &Path, script: &str, arguments: &[&str]) -> i32 {
        fs::write(folder.join(script), WAITS).expect("a script");
        let child = Command::new("/bin/sh")
            .arg0("dauphin")
            .arg(script)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .spawn()
            .expect("a shell");
        let pid = i32::try_from(child.id()).expect("a pid");
        self.children.push(child);
        let deadline = Instant::now() + WAIT_MAX;
        while !Process::all().iter().any(|p| p.parent == pid) {
            assert!(Instant::now() < deadline, "no child appeared");
            std::thread::sleep(Duration::from_millis(5));
        }
        pid
    }

    /// Agent, guard and server of a member.
    fn member(&mut self, name: &str) -> [i32; 3] {
        let folder = self.dir.join(name);
        let config = folder.join("dauphin.toml");
        let agent = self.start(&folder, "agent", &["--config", &config.to_string_lossy()]);
        let guard = self.start(&folder, "guard", &["--dir", &folder.join("run").to_string_lossy()]);
        let server = self.start(&folder.join("data"), "postgres", &[]);
        fs::write(folder.join("data/postmaster.pid"), format!("{server}\n/x\n")).expect("a pid file");
        [agent, guard, server]
    }

    fn pids(&self, member: usize) -> [Option<i32>; 3] {
        let shown = show(&self.lab).expect("shown");
        let member = &shown.members[member];
        [member.agent_pid, member.guard_pid, member.server_pid]
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in &mut self.children {
            let pid = i32::try_from(child.id()).unwrap_or(0);
            for process in Process::all().iter().filter(|p| p.parent == pid) {
                if let Some(handle) = process.handle() {
                    handle.signal(rustix::process::Signal::KILL);
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn pids_are_current_and_null_when_dead() {
    let mut stage = Stage::new("pids");
    assert_eq!(stage.pids(0), [None; 3]);
    let first = stage.member("m1");
    assert_eq!(stage.pids(0), first.map(Some));
    assert_eq!(stage.pids(1), [None; 3]);
    fault(&stage.lab, "m1", ProcessFault::KillAgent).expect("hit");
    assert_eq!(stage.pids(0), [None, Some(first[1]), Some(first[2])]);
    // a stale pid file whose number is now somebody else's
    let us = std::process::id();
    fs::write(stage.dir.join("m2/data/postmaster.pid"), format!("{us}\n")).expect("written");
    assert_eq!(stage.pids(1), [None; 3]);
}

#[test]
fn a_killed_server_leaves_nothing_of_its_tree() {
    let mut stage = Stage::new("server");
    let [agent, guard, server] = stage.member("m1");
    let hit = fault(&stage.lab, "m1", ProcessFault::KillServer).expect("hit").processes;
    assert!(hit.len() >= 2 && hit[0].pid == server, "{hit:?}");
    assert_eq!(stage.pids(0), [Some(agent), Some(guard), None]);
    let data = stage.dir.join("m1/data");
    assert!(!Process::all().iter().any(|p| p.directory.as_ref() == Some(&data)));
    let again = fault(&stage.lab, "m1", ProcessFault::KillServer).expect_err("nothing to hit");
    assert!(again.to_string().contains("lab heal"), "{again}");
}

#[test]
fn a_node_dies_whole_and_alone() {
    let mut stage = Stage::new("node");
    stage.member("m1");
    let other = stage.member("m2");
    fault(&stage.lab, "m1", ProcessFault::KillNode).expect("hit");
    assert_eq!(stage.pids(0), [None; 3]);
    assert_eq!(stage.pids(1), other.map(Some));
    let unknown = fault(&stage.lab, "m3", ProcessFault::KillNode).expect_err("no such member");
    assert_eq!(unknown.exit(), 2);
    assert!(unknown.to_string().contains("m1, m2"), "{unknown}");
}

#[test]
fn frozen_processes_thaw() {
    let mut stage = Stage::new("freeze");
    let pids = stage.member("m1");
    stage.member("m2");
    fault(&stage.lab, "m1", ProcessFault::FreezeNode).expect("hit");
    assert_eq!(stage.pids(0), pids.map(Some));
    let stopped = |pid: i32| Process::read(pid).is_some_and(|p| p.is_stopped());
    assert!(pids.iter().all(|pid| stopped(*pid)));
    assert!(show(&stage.lab).expect("shown").members[0].frozen);
    let healed = heal(&stage.lab, Some("m1")).expect("healed");
    assert_eq!((healed.thawed, healed.started), (vec!["m1".to_owned()], Vec::new()));
    let deadline = Instant::now() + WAIT_MAX;
    while pids.iter().any(|pid| stopped(*pid)) {
        assert!(Instant::now() < deadline, "still frozen");
        std::thread::sleep(Duration::from_millis(5));
    }
    fault(&stage.lab, "m2", ProcessFault::FreezeAgent).expect("hit");
    let server = stage.pids(1)[2].expect("a server");
    assert!(!stopped(server));
    assert_eq!(heal(&stage.lab, None).expect("healed").thawed, ["m2"]);
}

#[test]
fn down_ends_everything_frozen_or_not_and_removes_what_was_made() {
    let mut stage = Stage::new("down");
    stage.member("m1");
    stage.member("m2");
    fault(&stage.lab, "m2", ProcessFault::FreezeNode).expect("hit");
    fs::write(stage.dir.join("mine"), "kept").expect("a file of somebody else");
    down(&stage.lab, false).expect("down");
    assert!(!Process::all().iter().any(|p| p.directory.as_ref().is_some_and(|d| d.starts_with(&stage.dir))));
    let left: Vec<_> = fs::read_dir(&stage.dir).expect("still there").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["mine"]);
    assert!(Lab::load(&stage.dir).is_err_and(|e| e.exit() == 2));
}
