//! Every refusal, by what it says and how it exits: wrong versions, foreign data, unknown keys, too few answers to promote
//! safely, unsafe failovers. Where a refusal takes real servers, they are real.

// the stage has more than these tests need
#[allow(dead_code)]
#[path = "whole/stage.rs"]
mod stage;

use dauphin_lab::Lab;
use serde_json::Value;
use stage::{Ran, Stage};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time an agent that refuses to start may take to say so.
const REFUSE_WITHIN: Duration = Duration::from_secs(20);
/// Longest time an election may take to find out that it cannot be held.
const TOO_FEW_WITHIN: Duration = Duration::from_secs(30);

// --- files ------------------------------------------------------------------------------------------------------------

fn member(n: u16) -> String {
    format!(
        "\n[[member]]\nname = \"m{n}\"\nhost = \"127.0.0.1\"\nsql_port = {}\napi_port = {}\nlink_port = {}\n",
        21_000 + n,
        21_100 + n,
        21_200 + n
    )
}

/// Agent and client refuse this file, name the place, and say what is allowed.
#[track_caller]
fn faulty(text: &str, place: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dauphin.toml");
    let local = "\n[local]\nmember = \"m1\"\ndata_dir = \"data\"\nstate_dir = \"state\"\nrun_dir = \"run\"\n";
    fs::write(&path, format!("{text}{local}")).expect("written");
    let place = format!("dauphin.toml:{place}: ");
    for verb in ["agent", "status"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dauphin"));
        command.args([verb, "--config"]).arg(&path).env_remove("DAUPHIN_CONFIG");
        ends(command).said(2, &[&[place.as_str()], words].concat());
    }
    assert!(!folder.path().join("state").exists(), "nothing is made of a file that is refused");
}

#[test]
fn unknown_keys_wrong_units_and_impossible_promises() {
    let three = [member(1), member(2), member(3)].concat();
    let cluster = |line: &str, members: &str| format!("[cluster]\nname = \"shop\"\n{line}\n{members}");
    faulty(&cluster("durabilty = \"sync\"", &three), "3:1", &["durabilty", "did you mean `durability`?"]);
    faulty(&cluster("durability = \"safe\"", &three), "3:14", &["\"async\"", "\"sync\"", "\"quorum\""]);
    faulty(&cluster("read_lag_max = \"16MB\"", &three), "3:16", &["16MB", "MiB"]);
    faulty(&cluster("required = 3", &three), "3:12", &["`required` is 3, but only 2 replicas can hold a commit"]);
    faulty(&cluster("durability = \"quorum\"", &member(1)), "3:14", &["needs 1 replica", "\"async\""]);
    let two = [member(1), member(2)].concat();
    faulty(&cluster("durability = \"quorum\"", &two), "1:1", &["on_shortage", "\"wait\"", "\"degrade\""]);
    let owned = "[postgres]\nparameters = { fsync = \"off\" }\n";
    faulty(&cluster("", &format!("{owned}{three}")), "5:16", &["`fsync`", "always on"]);
}

// --- data that is not the member's --------------------------------------------------------------------------------------

/// As the members' user, who owns what they make.
fn as_member(lab: &Lab, command: &mut Command) {
    if let Some(user) = &lab.user {
        command.uid(user.uid).gid(user.gid);
    }
    command.current_dir("/");
}

/// Runs a program that must end soon.
#[track_caller]
fn ends(mut command: Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + REFUSE_WITHIN;
    while child.try_wait().expect("its state").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("ended");
            let said = child.wait_with_output().expect("its end");
            panic!("it goes on: {}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = child.wait_with_output().expect("its end");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: said.status.code().unwrap_or(-1), out: text(said.stdout), err: text(said.stderr) }
}

/// One member of a lab whose node was killed, and its folders.
struct Victim<'a> {
    stage: &'a Stage,
    name: String,
}

impl Victim<'_> {
    fn folder(&self) -> PathBuf {
        self.stage.dir.join(&self.name)
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn kill(&self) {
        self.stage.run(&["lab", "fault", "--member", &self.name, "--kind", "kill-node"]).ended(0);
    }

    /// Its agent, started as the lab starts it, refuses.
    #[track_caller]
    fn agent_refuses(&self, words: &[&str]) {
        let lab = Lab::load(&self.stage.dir).expect("a lab");
        let mut command = Command::new(&lab.program);
        command.arg("agent").arg("--config").arg(self.folder().join("dauphin.toml"));
        as_member(&lab, &mut command);
        ends(command).said(3, &[&[&*self.data().to_string_lossy()], words].concat());
    }

    /// Makes another cluster's data where this member's was.
    fn initdb(&self, bin: &Path) {
        let lab = Lab::load(&self.stage.dir).expect("a lab");
        fs::remove_dir_all(self.data()).expect("removed");
        let mut command = Command::new(bin.join("initdb"));
        command.args(["--no-sync", "--auth=reject", "-D"]).arg(self.data());
        as_member(&lab, &mut command);
        assert_eq!(ends(command).code, 0);
    }

    /// Something of a person's stands where the data was.
    fn junk(&self) -> PathBuf {
        fs::remove_dir_all(self.data()).expect("removed");
        fs::create_dir(self.data()).expect("made");
        let file = self.data().join("thesis.txt");
        fs::write(&file, "of great worth").expect("written");
        file
    }
}

/// PostgreSQL's programs that the lab runs.
fn bin_dir(victim: &Victim<'_>) -> PathBuf {
    let text = fs::read_to_string(victim.folder().join("dauphin.toml")).expect("its file");
    let line = text.lines().find_map(|l| l.strip_prefix("bin_dir = \"")).expect("bin_dir");
    PathBuf::from(line.trim_end_matches('"'))
}

fn other_version(victim: &Victim<'_>) {
    let mark = victim.data().join("PG_VERSION");
    let was = fs::read_to_string(&mark).expect("a version");
    fs::write(&mark, "14\n").expect("written");
    victim.agent_refuses(&["made by PostgreSQL 14", &format!("programs are {}", was.trim()), "`bin_dir`"]);
    fs::write(&mark, was).expect("written");
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines/postgres-18/bin");
    if newer.join("initdb").exists() && fs::canonicalize(&newer).ok() != fs::canonicalize(bin_dir(victim)).ok() {
        victim.initdb(&newer);
        victim.agent_refuses(&["made by PostgreSQL 18", "`bin_dir`"]);
    }
}

#[test]
fn data_that_is_not_the_members_is_refused_and_left_alone() {
    let stage = Stage::up("foreign", &["--profile", "fast"]);
    let leader = stage.leader();
    let name = ["m3", "m2"].into_iter().find(|n| *n != leader).expect("a replica").to_owned();
    let victim = Victim { stage: &stage, name };
    victim.kill();
    other_version(&victim);

    victim.initdb(&bin_dir(&victim));
    let control = fs::read(victim.data().join("global/pg_control")).expect("there");
    victim.agent_refuses(&["belongs to another cluster", "system identifier", "`data_dir`", "copies the data"]);
    assert_eq!(fs::read(victim.data().join("global/pg_control")).expect("there"), control);

    let thesis = victim.junk();
    victim.agent_refuses(&["is not empty (it holds thesis.txt)", "Move it away"]);
    assert_eq!(fs::read_to_string(&thesis).expect("there"), "of great worth");

    // nothing at all: perhaps the disk is not mounted; only a person knows that it is gone for good
    fs::remove_dir_all(victim.data()).expect("removed");
    stage.run(&["lab", "heal", "--member", &victim.name]).ended(0);
    let waits = |c: &Value| c["members"].as_array().is_some_and(|m| m.iter().any(|m| m["state"] == "crashed"));
    stage.until("a refusal", waits);
    stage
        .run(&["explain"])
        .said(0, &["holds nothing though this member had data", "is the disk mounted?", "dauphin reinit"]);
    assert!(!victim.data().join("PG_VERSION").exists(), "nothing is copied onto what may be a mount point");
    // refused until it has heard from the leader since its start
    let deadline = Instant::now() + REFUSE_WITHIN;
    let mut reinit = stage.run(&["reinit", &victim.name]);
    while reinit.code == 3 && Instant::now() < deadline {
        reinit.said(3, &["no open leader is heard"]);
        reinit = stage.run(&["reinit", &victim.name]);
    }
    reinit.said(0, &["holds a fresh copy"]);
    stage.until_healthy();
    let copy = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'dauphin_{}_2'", victim.name);
    assert_eq!(stage.sql_as_admin(&copy), "1");

    new_member_finds_something(&victim);
    stage.down_after(&["failed", "cannot", "not", "gone"]);
}

/// The member has no notes of any data of its own, and its folder holds something.
fn new_member_finds_something(victim: &Victim<'_>) {
    let stage = victim.stage;
    victim.kill();
    fs::remove_file(victim.folder().join("state/member.json")).expect("removed");
    let thesis = victim.junk();
    stage.run(&["lab", "heal", "--member", &victim.name]).ended(0);
    // its own agent says so first, and the one that is asked next hears of it a moment later
    stage.until_said(&["status"], "is crashed (needs a person: dauphin explain)");
    stage.until_said(&["explain"], "is not empty and is not known to this cluster");
    stage.until_said(&["check"], "crashed").ended(1);
    assert_eq!(fs::read_to_string(&thesis).expect("there"), "of great worth");
}

// --- commands -----------------------------------------------------------------------------------------------------------

#[test]
fn commands_that_would_hurt_are_refused() {
    let stage = Stage::up("commands", &["--profile", "fast"]);
    let leader = stage.leader();
    let replica = if leader == "m2" { "m1" } else { "m2" };
    let well = format!("{leader} leads and is well");
    let instead = format!("dauphin switchover --to {replica}");
    stage.run(&["failover", "--to", replica]).said(3, &[&well, &instead]);
    stage.run(&["failover", "--to", &leader]).said(1, &["it leads already"]);
    stage.run(&["reinit", &leader]).said(3, &["a leader's data is not thrown away", "dauphin switchover"]);
    stage.run(&["switchover", "--to", "m7"]).said(2, &["no member \"m7\"", "m1, m2, m3"]);
    stage.run(&["switchover", "--to", &leader]).said(1, &["it leads already"]);
    stage.run(&["config", "set", &format!("member.{replica}.never_leader=true")]).ended(0);
    stage.until("the change", |c| {
        c["members"]
            .as_array()
            .is_some_and(|m| m.iter().any(|m| m["name"] == replica && m["tags"]["never_leader"] == true))
    });
    stage.run(&["switchover", "--to", replica]).said(1, &["never leads", "never_leader"]);
    stage.run(&["config", "set", "cluster.durabilty=sync"]).said(2, &["did you mean `durability`?"]);
    stage.run(&["config", "set", "postgres.parameters.fsync=off"]).said(2, &["fsync", "always on"]);
    stage.run(&["config", "set", "postgres.parameters.work_mem=8XB"]).said(2, &["work_mem", "8XB"]);
    stage.run(&["config", "set", "postgres.parameters.wrok_mem=8MB"]).said(2, &["unrecognized", "wrok_mem"]);
    stage.run(&["config", "set", "work_mem=8MB"]).said(2, &["no section", "postgres.parameters.work_mem"]);
    stage.run(&["store", "remove", replica]).said(3, &["alive", &format!("stop the agent of {replica}")]);
    stage.run(&["config", "set", "cluster.required=7"]).said(2, &["only", "can hold a commit"]);
    let wrong = stage.dir.join("wrong-token");
    fs::write(&wrong, "open-sesame").expect("written");
    stage.run(&["pause", "--token-file", &wrong.to_string_lossy()]).said(1, &["token"]);
    assert_eq!(stage.leader(), leader, "nothing of this changed anything");
    fs::remove_file(wrong).expect("removed");
    stage.down();
}

// --- too few answers ------------------------------------------------------------------------------------------------------

/// The leader dies together with a voter that may be the only one to hold the last commits.
fn leader_and_a_voter_go(stage: &Stage) -> (String, String, String) {
    let leader = stage.leader();
    let mut rest = ["m1", "m2", "m3", "m4"].into_iter().filter(|n| *n != leader);
    let (silent, left) = (rest.next().expect("a replica").to_owned(), rest.next().expect("a replica").to_owned());
    stage.run(&["lab", "fault", "--member", &silent, "--kind", "freeze-node"]).ended(0);
    stage.run(&["lab", "fault", "--member", &leader, "--kind", "kill-node"]).ended(0);
    (leader, silent, left)
}

#[track_caller]
fn until_too_few(stage: &Stage, silent: &str) {
    let deadline = Instant::now() + TOO_FEW_WITHIN;
    loop {
        let ran = stage.run(&["explain"]);
        let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        if said.contains("of the sync set are needed; waiting for") {
            assert!(said.contains(&format!("{silent}#")), "{said}");
            return;
        }
        assert!(Instant::now() < deadline, "{}{}", ran.out, ran.err);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Four members with data and a witness; every commit is held by one replica, so an election needs all three.
#[test]
fn too_few_answers_promote_nobody() {
    let stage = Stage::up("answers", &["--members", "5", "--witness"]);
    stage.run(&["config", "set", "cluster.required=1"]).ended(0);
    stage.until("the wider election", |c| c["answers"] == 3);
    stage.sql(stage.write_port(), "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");

    let (old, silent, left) = leader_and_a_voter_go(&stage);
    until_too_few(&stage, &silent);
    let cluster = stage.json(&["status"]);
    assert!(cluster["open"] == false && cluster["leader"] == *old, "{cluster}");
    stage.run(&["failover", "--to", &left]).said(3, &["could be lost", &silent, "--allow-data-loss"]);
    assert_eq!(stage.json(&["status"])["open"], false);

    stage.run(&["lab", "heal", "--member", &silent]).ended(0);
    stage.until("an election", |c| c["open"] == true && c["leader"] != *old);
    assert_eq!(stage.sql(stage.write_port(), "SELECT count(*) FROM t"), "1");
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    stage.until("the wider election", |c| c["answers"] == 3);

    let (_, silent, left) = leader_and_a_voter_go(&stage);
    until_too_few(&stage, &silent);
    let forced = stage.run(&["failover", "--to", &left, "--allow-data-loss"]);
    forced.said(0, &[&format!("{left} leads"), "may be lost: ", &silent, "are given up"]);
    assert_eq!(stage.write_until_acknowledged("INSERT INTO t VALUES (2)"), 1);
    stage.run(&["history"]).said(0, &["forced failover"]);
    stage.run(&["lab", "heal"]).ended(0);
    stage.until_healthy();
    stage.down_after(&["failed", "cannot", "not", "gone"]);
}
