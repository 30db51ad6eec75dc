//! `make chaos`: legs for so many minutes, over the cells in turn, going on where an earlier call ended.

// it speaks to people
#![allow(clippy::print_stdout, clippy::print_stderr)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use dauphin_chaos::stage::{self, Cell};
use dauphin_chaos::{leg, record, report, schedule};
use dauphin_lab::Engine;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Legs that may not begin before the series is given up.
const FAILED_MAX: u32 = 3;
/// Where the lab is, and the logs of legs that failed when nothing else is said.
const WORK: &str = "bench/work";

/// Random faults on real clusters, and whether what clients saw may be so.
#[derive(Parser)]
struct Arguments {
    /// How long; the leg under way is finished
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which database
    #[arg(long, default_value = "postgres", value_parser = engine)]
    engine: Engine,
    /// Its series: 15, 9, 10.11; left out, all that are tested
    #[arg(long, visible_alias = "pg", value_delimiter = ',')]
    version: Vec<String>,
    /// Durabilities; what the engine cannot do is skipped by name
    #[arg(long, value_delimiter = ',', default_value = "quorum,sync")]
    durability: Vec<String>,
    #[arg(long, default_value = "standard", value_parser = ["standard", "fast"])]
    profile: String,
    /// Only these kinds of fault
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// How many members a cluster has
    #[arg(long, default_value_t = 3)]
    members: u16,
    /// Faults in a leg
    #[arg(long, default_value_t = 10)]
    leg: u64,
    /// Run just this leg again, from its first fault's number; nothing is recorded
    #[arg(long, value_name = "NUMBER")]
    again: Option<u64>,
    /// The program under test
    #[arg(long, default_value = "target/release/dauphin")]
    program: PathBuf,
    #[arg(long, default_value_t = 24_000)]
    base_port: u16,
    /// Where the legs are kept
    #[arg(long, default_value = "bench/results/chaos-legs.jsonl")]
    legs: PathBuf,
    /// Where the report goes
    #[arg(long, default_value = "bench/results")]
    report: PathBuf,
    /// Where logs go when something did not hold
    #[arg(long, default_value = "bench/work/failed")]
    keep: PathBuf,
    /// Only write the report
    #[arg(long)]
    only_report: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(given: &Arguments) -> Result<bool> {
    let (kinds, skipped) = stage::kinds(given.engine, &given.kinds, given.members);
    for (kind, why) in &skipped {
        println!("skipped: {kind} ({why})");
    }
    let mut legs = record::read(&given.legs)?;
    if given.only_report {
        report::write(&given.report, &legs, &skipped, &machine())?;
        return Ok(true);
    }
    if kinds.is_empty() {
        bail!("no kind of fault is left");
    }
    let program = std::path::absolute(&given.program)?;
    if !program.exists() {
        bail!("{} is not there: cargo build --release", program.display());
    }
    let cells = cells(given)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    std::fs::create_dir_all(WORK)?;
    let dir = std::path::absolute(WORK)?.join(format!("lab-{}", given.base_port));
    // two series in one lab end each other's
    let lock = std::fs::File::create(dir.with_extension("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another series runs in {}: end it, or move this one with --base-port", dir.display());
    }
    let commit = commit();
    let until = Instant::now() + Duration::from_secs(given.minutes * 60);
    let mut all_well = true;
    let (mut turn, mut failed) = (0, 0);
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        let cell = &cells[turn % cells.len()];
        turn += 1;
        let first = given.again.unwrap_or_else(|| next(&legs, cell, given.seed));
        let faults: Vec<_> =
            (first..first + given.leg).filter_map(|n| schedule::planned(cell.seed(given.seed), n, &kinds)).collect();
        let about = leg::Given {
            cell,
            seed: given.seed,
            faults: &faults,
            program: &program,
            dir: &dir,
            base_port: given.base_port,
            commit: &commit,
            keep: &given.keep,
            stop: &stop,
        };
        let line = match leg::run(&about, &mut |text| println!("{} {text}", now())) {
            Ok(line) => line,
            Err(error) if failed < FAILED_MAX && given.again.is_none() => {
                println!("{} FOUND this leg did not begin: {error:#}", now());
                (failed, all_well) = (failed + 1, false);
                continue;
            }
            Err(error) => return Err(error),
        };
        let verdict = &line.verdict;
        println!(
            "{} {} inserts acknowledged, {} lost; {} list-append transactions; {} acknowledged by the watch, {} lost, {} beside a \
             later leader",
            now(),
            verdict.acked,
            verdict.lost,
            verdict.lists.0,
            verdict.watch_acked,
            verdict.watch_lost,
            verdict.dual
        );
        for text in verdict.violations.iter().chain(&line.oracles) {
            println!("{} FOUND {text}", now());
        }
        all_well &= line.is_well();
        if given.again.is_some() {
            return Ok(all_well);
        }
        record::append(&given.legs, &line)?;
        legs.push(line);
        report::write(&given.report, &legs, &skipped, &machine())?;
    }
    let place = given.report.join("chaos.md");
    println!("{} the report is {}", if all_well { "all held;" } else { "SOMETHING DID NOT HOLD;" }, place.display());
    Ok(all_well)
}

fn engine(word: &str) -> Result<Engine, String> {
    let all = [Engine::Postgres, Engine::Mysql, Engine::Mariadb];
    all.into_iter()
        .find(|e| e.word() == word)
        .ok_or_else(|| format!("{word:?}: {} it is", all.map(Engine::word).join(", ")))
}

fn cells(given: &Arguments) -> Result<Vec<Cell>> {
    let (engine, name) = (given.engine, given.engine.name());
    let tested = || stage::versions(engine).iter().map(|v| (*v).to_owned()).collect();
    let versions: Vec<String> = if given.version.is_empty() { tested() } else { given.version.clone() };
    let mut cells = Vec::new();
    for version in &versions {
        if stage::binaries(engine, version).is_none() {
            println!("skipped: {name} {version} (not installed: make engines)");
            continue;
        }
        for durability in &given.durability {
            let (profile, members) = (given.profile.clone(), given.members);
            let cell = Cell { engine, version: version.clone(), durability: durability.clone(), profile, members };
            match cell.refused() {
                Some(why) => println!("skipped: {durability} on {name} {version} ({why})"),
                None => cells.push(cell),
            }
        }
    }
    if cells.is_empty() {
        bail!("none of these clusters of {name} can be run here");
    }
    Ok(cells)
}

/// The number of the next fault in this cell with this seed.
fn next(legs: &[record::LegLine], cell: &Cell, seed: u64) -> u64 {
    let mine = legs.iter().filter(|l| l.cell == *cell && l.seed == seed);
    mine.flat_map(|l| &l.faults).map(|f| f.number).max().unwrap_or_default() + 1
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%H:%M:%S").to_string()
}

fn commit() -> String {
    let out = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: f64 = memory.split_whitespace().nth(1).and_then(|w| w.parse().ok()).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel").unwrap_or_default();
    format!("{cores} cores, {:.1} GiB, Linux {}", kilobytes / 1_048_576.0, kernel.trim())
}
