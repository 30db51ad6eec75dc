//! `dauphin lab`: clusters in a folder of this machine, and faults for them.

use crate::cli::{Lab as Verb, LabDir, LabDown, LabFault, LabHeal, LabRelay, LabUp, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Progress, Tone};
use dauphin_lab::{Engine, FaultKind, Healed, Lab, Options, Shown, Treatment};
use dauphin_model::{Durability, OnShortage, Profile};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn run(target: &Target, verb: Verb) -> Outcome {
    match verb {
        Verb::Up(options) => up(target, &options),
        Verb::Show(options) => show(target, &options),
        Verb::Down(options) => down(target, &options),
        Verb::Fault(options) => fault(target, &options),
        Verb::Heal(options) => heal(target, &options),
        Verb::Relay(options) => relay(&options),
    }
}

fn relay(given: &LabRelay) -> Outcome {
    let [a, b] = given.devices.as_slice() else {
        return Err(Failure::usage("lab relay takes two devices".to_owned(), ""));
    };
    let (delay, jitter) = (Duration::from_millis(given.delay_ms), Duration::from_millis(given.jitter_ms));
    dauphin_lab::relay([a, b], Treatment { delay, jitter, lost: given.lost })?;
    Ok(DONE)
}

fn up(target: &Target, given: &LabUp) -> Outcome {
    let options = options(given)?;
    let mut progress = Progress::new();
    let lab = dauphin_lab::up(&options, &mut |text| progress.say(text))?;
    drop(progress);
    let shown = dauphin_lab::show(&lab)?;
    if target.json {
        say::json(&shown)?;
    } else {
        summary(&shown);
    }
    Ok(DONE)
}

/// The engine of that name; the command line takes no other ones.
pub(crate) fn engine(word: &str) -> Engine {
    match word {
        "mysql" => Engine::Mysql,
        "mariadb" => Engine::Mariadb,
        _ => Engine::Postgres,
    }
}

fn options(given: &LabUp) -> Result<Options, Failure> {
    Ok(Options {
        dir: absolute(&given.dir)?,
        engine: engine(&given.engine),
        members: given.members,
        durability: durability(given),
        profile: match given.profile.as_str() {
            "fast" => Profile::Fast,
            "wan" => Profile::Wan,
            _ => Profile::Standard,
        },
        on_shortage: if given.on_shortage == "degrade" { OnShortage::Degrade } else { OnShortage::Wait },
        store: given.store.clone(),
        bin: given.bin.clone(),
        base_port: given.base_port,
        no_proxy: given.no_proxy,
        hosts: given.hosts,
        disks: given.disks,
        clocks: given.clocks,
        mesh: given.mesh,
        witness: given.witness,
        program: program()?,
    })
}

/// As asked for; without a replica nothing but `async` can ever acknowledge a commit.
fn durability(given: &LabUp) -> Durability {
    match given.durability.as_deref() {
        Some("async") => Durability::Async,
        Some("sync") => Durability::Sync,
        Some(_) => Durability::Quorum,
        None if given.members <= 1 + u16::from(given.witness) => {
            say::note("one data member: durability async, as there is no replica to hold a commit");
            Durability::Async
        }
        None => Durability::Quorum,
    }
}

/// This program.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::failed(format!("this program cannot find itself: {e}"), ""))
}

/// The path from the root.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display()), ""))
}

/// What to do with a new lab.
fn summary(shown: &Shown) {
    let dir = shown.dir.display();
    let config = shown.members.first().map(|m| m.config.display().to_string()).unwrap_or_default();
    table(shown);
    say::line("");
    if let Some(proxy) = &shown.proxy {
        let (host, write, read) = (&proxy.proxy.host, proxy.proxy.write_port, proxy.proxy.read_port);
        let (user, database) = (&shown.app.login.user, &shown.app.database);
        say::line(&format!("write:  PGPASSFILE={dir}/pgpass psql -h {host} -p {write} -U {user} {database}"));
        say::line(&format!("read:   the same with port {read}"));
    } else if let Some(leader) = shown.members.iter().find(|m| m.role.as_deref() == Some("leader"))
        && shown.engine.kind != Engine::Postgres.word()
    {
        let (host, port, database) = (&leader.host, leader.sql_port, &shown.app.database);
        say::line(&format!(
            "write:  {} --defaults-extra-file={dir}/client.cnf -h {host} -P {port} {database}   (the leader now is {})",
            if shown.engine.kind == Engine::Mysql.word() { "mysql" } else { "mariadb" },
            leader.name
        ));
        say::line("read:   the same with a replica's port");
    }
    say::line(&format!("watch:  dauphin status --watch --config {config}"));
    say::line(&format!("fault:  dauphin lab fault --dir {dir} --member m1 --kind kill-node"));
    say::line(&format!("heal:   dauphin lab heal --dir {dir}"));
    say::line(&format!("why:    dauphin explain --config {config}"));
    say::line(&format!("end:    dauphin lab down --dir {dir}"));
}

fn table(shown: &Shown) {
    say::line(&format!(
        "{}: {} {}, durability {}, profile {}, in {}",
        Tone::Bold.paint(&shown.cluster, say::colours_out()),
        shown.engine.kind,
        shown.engine.version,
        shown.durability,
        shown.profile,
        shown.dir.display()
    ));
    let mut table = Table::new(&["MEMBER", "ROLE", "STATE", "SQL", "API", "AGENT", "GUARD", "SERVER"]);
    for member in &shown.members {
        let leads = member.role.as_deref() == Some("leader");
        let state = if member.frozen { Some("frozen".to_owned()) } else { member.state.clone() };
        table.row(vec![
            (member.name.clone(), if leads { Tone::Bold } else { Tone::Plain }),
            (dash(member.role.as_ref()), if leads { Tone::Bold } else { Tone::Plain }),
            (dash(state), Tone::Plain),
            (format!("{}:{}", member.host, member.sql_port), Tone::Plain),
            (format!("{}:{}", member.host, member.api_port), Tone::Plain),
            (dash(member.agent_pid), Tone::Plain),
            (dash(member.guard_pid), Tone::Plain),
            (dash(member.server_pid), Tone::Plain),
        ]);
    }
    table.lines(say::colours_out()).iter().for_each(|line| say::line(line));
}

fn show(target: &Target, options: &LabDir) -> Outcome {
    let shown = dauphin_lab::show(&Lab::load(&options.dir)?)?;
    if target.json {
        say::json(&shown)?;
    } else {
        table(&shown);
        if let Some(proxy) = &shown.proxy {
            let place = &proxy.proxy;
            say::line(&format!(
                "proxy {}:{} (write), {} (read), pid {}",
                place.host,
                place.write_port,
                place.read_port,
                dash(proxy.pid)
            ));
        }
        say::line("passwords and the token: --json");
    }
    Ok(DONE)
}

fn down(target: &Target, options: &LabDown) -> Outcome {
    let lab = Lab::load(&options.dir)?;
    dauphin_lab::down(&lab, options.keep_data)?;
    if target.json {
        say::json(&json!({"stopped": true, "removed": !options.keep_data, "dir": lab.dir}))?;
    } else if options.keep_data {
        say::line(&format!("stopped; the files stay in {}", lab.dir.display()));
    } else {
        say::line(&format!("stopped, and {} is as it was before", lab.dir.display()));
    }
    Ok(DONE)
}

fn fault(target: &Target, options: &LabFault) -> Outcome {
    let kind: FaultKind = options.kind.parse()?;
    let lab = Lab::load(&options.dir)?;
    let hit = dauphin_lab::fault(&lab, &options.member, kind)?;
    if target.json {
        let pids: Vec<i32> = hit.processes.iter().map(|p| p.pid).collect();
        say::json(&json!({"member": options.member, "kind": options.kind, "pids": pids}))?;
    } else {
        say::line(&format!("{} on {}: {}", options.kind, options.member, hit.text));
    }
    Ok(DONE)
}

fn heal(target: &Target, options: &LabHeal) -> Outcome {
    let lab = Lab::load(&options.dir)?;
    let healed = dauphin_lab::heal(&lab, options.member.as_deref())?;
    if target.json {
        say::json(&json!({"thawed": healed.thawed, "started": healed.started, "mended": healed.mended}))?;
        return Ok(DONE);
    }
    if healed == Healed::default() {
        say::line("nothing was cut, broken, frozen or missing");
    }
    if !healed.mended.is_empty() {
        say::line(&format!("whole again: {}", healed.mended.join(", ")));
    }
    if !healed.thawed.is_empty() {
        say::line(&format!("thawed: {}", healed.thawed.join(", ")));
    }
    if !healed.started.is_empty() {
        say::line(&format!("started: {}", healed.started.join(", ")));
    }
    Ok(DONE)
}
