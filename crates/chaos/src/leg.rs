//! One leg: a new lab, clients, faults in their order, healing, and at the end the reads that everything is compared with.

use crate::clients::{self, Histories, Shared, bank};
use crate::db::{Clock, Place, Rows, Session};
use crate::dialect;
use crate::oracles::{self, Size};
use crate::record::{FaultLine, LegLine};
use crate::schedule::{Planned, Whom};
use crate::stage::{Cell, Stage, Wellness};
use crate::verdict::{self, Final, Verdict};
use crate::watch::{self, Watched};
use anyhow::{Context, Result, anyhow, bail};
use dauphin_histories::append::{Op, Txn};
use dauphin_histories::{During, Outcome, set};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long the last reads may take, replicas' catching up included.
const LAST_READS_WITHIN: Duration = Duration::from_secs(60);
/// How long the proxy may take to give the first connection.
const FIRST_SESSION_WITHIN: Duration = Duration::from_secs(30);
/// Clients get going before the first fault, and go on after the last.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the leader is noted.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Kilobytes and descriptors that a process may grow by in a leg.
const GROWTH_MAX: (i64, i64) = (60_000, 60);

/// What a leg is given.
pub struct Given<'a> {
    /// The cluster.
    pub cell: &'a Cell,
    /// The seed, for the record.
    pub seed: u64,
    /// The faults.
    pub faults: &'a [Planned],
    /// The program under test.
    pub program: &'a Path,
    /// The lab's folder.
    pub dir: &'a Path,
    /// Its first port.
    pub base_port: u16,
    /// For the record.
    pub commit: &'a str,
    /// Where logs go when something did not hold.
    pub keep: &'a Path,
    /// Set when the series is to end: the leg stops after the fault under way.
    pub stop: &'a AtomicBool,
}

struct Running {
    runtime: Runtime,
    clock: Clock,
    began: Instant,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    errors: Arc<Mutex<BTreeMap<String, u64>>>,
    clients: tokio::task::JoinHandle<Histories>,
    watch: tokio::task::JoinHandle<Watched>,
    leaders: tokio::task::JoinHandle<Vec<(f64, u64, String)>>,
}

/// Runs a leg; `say` hears how it goes.
///
/// # Errors
/// When the lab cannot be made or the clients do not start.
pub fn run(given: &Given<'_>, say: &mut dyn FnMut(&str)) -> Result<LegLine> {
    let stage = Stage::up(given.cell, given.program, given.dir, given.base_port)?;
    say(&format!(
        "{} {}, {}, {}: {} faults",
        given.cell.engine.name(),
        stage.lab.version,
        given.cell.durability,
        given.cell.profile,
        given.faults.len()
    ));
    let result = on(&stage, given, say);
    let failed = !result.as_ref().is_ok_and(LegLine::is_well);
    if failed {
        let wrong = result.as_ref().is_ok_and(|line| !line.verdict.violations.is_empty());
        let place = keep_logs(&stage, given.keep, wrong)?;
        say(&format!("something did not hold: logs kept in {}", place.display()));
    }
    stage.down()?;
    result
}

fn on(stage: &Stage, given: &Given<'_>, say: &mut dyn FnMut(&str)) -> Result<LegLine> {
    let before = oracles::sizes(&stage.lab);
    let running = start(stage)?;
    std::thread::sleep(SETTLE);
    let mut faults = Vec::new();
    for planned in given.faults {
        if given.stop.load(Ordering::Relaxed) {
            break;
        }
        let line = one(stage, &running, planned);
        say(&in_words(&line));
        let lost = line.late.as_ref().is_some_and(|(_, after)| after.is_none());
        faults.push(line);
        if lost {
            break;
        }
    }
    std::thread::sleep(SETTLE);
    running.stop.store(true, Ordering::Relaxed);
    let seconds = running.began.elapsed().as_secs_f64();
    let histories = running.runtime.block_on(running.clients)?;
    let watched = running.runtime.block_on(running.watch)?;
    let leaders = running.runtime.block_on(running.leaders)?;

    dauphin_lab::heal(&stage.lab, None)?;
    // one that was given up had its time
    let lost = faults.last().and_then(|f| f.late.clone()).filter(|(_, after)| after.is_none());
    let well = match lost {
        Some((why, _)) => Wellness::Late(why, None),
        None => stage.wait_well(Instant::now(), &|| true),
    };
    let mut oracles = oracles::leaks(&stage.lab);
    let history = stage.history();
    oracles.extend(oracles::history(&history));
    if let Wellness::Late(why, _) = &well {
        oracles.push(format!("not well after the clients had stopped: {why}"));
    }
    let growth = growth(&before, &oracles::sizes(&stage.lab));
    let grown = growth.iter().filter(|(_, kb, fds)| *kb > GROWTH_MAX.0 || *fds > GROWTH_MAX.1);
    oracles.extend(grown.map(|(what, kb, fds)| format!("{what} grew by {kb} kB and {fds} descriptors")));
    let (promises, level) = (given.cell.promises(), dialect::of(given.cell.engine).level());
    let verdict = match running.runtime.block_on(read_all(stage, running.clock)) {
        Ok(last) => verdict::check(promises, level, given.cell.durability != "async", &histories, &last, &watched),
        Err(error) => {
            // nothing can be said of what the clients saw, and that is a finding
            oracles.push(format!("the last reads could not be done: {error:#}"));
            Verdict::default()
        }
    };

    let acks: Vec<f64> = {
        let ok = histories.adds.iter().filter(|a| a.outcome == Outcome::Ok);
        let mut acks: Vec<f64> = ok.map(|a| a.during.to as f64 / 1e6).collect();
        acks.sort_by(f64::total_cmp);
        acks
    };
    let ends: Vec<f64> = faults.iter().skip(1).map(|f| f.at).chain([seconds]).collect();
    for (fault, end) in faults.iter_mut().zip(ends) {
        fault.gap_s = gap(&acks, fault.at, fault.healed_at, end);
        let led = |at: f64| at >= fault.at && at < end;
        fault.leaderships = leaders.iter().filter(|(at, _, _)| led(*at)).count() as u64;
    }
    let errors = running.errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(LegLine {
        cell: given.cell.clone(),
        seed: given.seed,
        commit: given.commit.to_owned(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        version: stage.lab.version.clone(),
        seconds,
        faults,
        verdict,
        oracles,
        growth,
        errors,
        leaders,
        per_second: per_second(&acks, seconds),
    })
}

fn start(stage: &Stage) -> Result<Running> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock = Clock::start();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = stage.proxy();
    runtime.block_on(async {
        let session = first_session(&writing).await?;
        let made = clients::prepare(&session, dialect::of(writing.engine)).await;
        made.map_err(|e| anyhow!("making tables: {e:?}"))
    })?;
    let reading = stage.reading();
    let shared = Shared {
        writing,
        reading,
        clock,
        stop: Arc::clone(&stop),
        next: Arc::new(AtomicU64::new(1)),
        errors: Arc::default(),
        acked: Arc::default(),
    };
    let (errors, acked) = (Arc::clone(&shared.errors), Arc::clone(&shared.acked));
    let began = Instant::now();
    let clients = runtime.spawn(clients::run(shared));
    let watch = runtime.spawn(watch::run(stage.members(), clock, Arc::clone(&stop)));
    let leaders = runtime.spawn(note_leaders(stage.lab.endpoints(), began, Arc::clone(&stop)));
    Ok(Running { runtime, clock, began, stop, acked, errors, clients, watch, leaders })
}

/// The first connection: a cluster that is just whole may have another leader in the same moment.
async fn first_session(place: &Place) -> Result<Session> {
    let deadline = Instant::now() + FIRST_SESSION_WITHIN;
    loop {
        match Session::open(place).await {
            Ok(session) => return Ok(session),
            Err(broken) if Instant::now() > deadline => bail!("the proxy: {broken:?}"),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// When who began to lead.
async fn note_leaders(endpoints: Vec<String>, began: Instant, stop: Arc<AtomicBool>) -> Vec<(f64, u64, String)> {
    let mut seen: Vec<(f64, u64, String)> = Vec::new();
    let client = Arc::new(dauphin_api::Client::new(endpoints, None));
    while !stop.load(Ordering::Relaxed) {
        let asked = Arc::clone(&client);
        let view = tokio::task::spawn_blocking(move || asked.cluster().ok()).await.ok().flatten();
        if let Some((term, leader)) = view.filter(|v| v.open).and_then(|v| Some((v.term?, v.leader?)))
            && seen.last().is_none_or(|(_, last, _)| *last < term)
        {
            seen.push((began.elapsed().as_secs_f64(), term, leader));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    seen
}

/// Makes one fault (or a pair), heals it, and waits until all is well.
fn one(stage: &Stage, running: &Running, planned: &Planned) -> FaultLine {
    std::thread::sleep(Duration::from_millis(planned.pause_ms));
    let (leader, others) = stage.roles();
    let whom = |whom: Whom| match (whom, &leader) {
        (Whom::Leader, Some(leader)) => leader.clone(),
        (Whom::Replica(n), _) if !others.is_empty() => {
            others[usize::try_from(n).unwrap_or_default() % others.len()].clone()
        }
        _ => stage.lab.members.first().map(|m| m.name.clone()).unwrap_or_default(),
    };
    let member = whom(planned.whom);
    let at = running.began.elapsed().as_secs_f64();
    let mut failed = dauphin_lab::fault(&stage.lab, &member, planned.fault).err().map(|e| e.to_string());
    let mut also = None;
    if let Some((kind, fault, to, after_ms)) = planned.also {
        std::thread::sleep(Duration::from_millis(after_ms));
        let member = whom(to);
        match dauphin_lab::fault(&stage.lab, &member, fault) {
            Ok(_) => also = Some((kind.to_owned(), member)),
            // the first may have left nothing to hit
            Err(error) if failed.is_some() => failed = Some(error.to_string()),
            Err(_) => {}
        }
    }
    std::thread::sleep(Duration::from_millis(planned.lasts_ms));
    if let Err(error) = dauphin_lab::heal(&stage.lab, None) {
        failed = Some(format!("heal: {error}"));
    }
    let healed_at = running.began.elapsed().as_secs_f64();
    let acked = running.acked.load(Ordering::Relaxed);
    let (well_s, late) = match stage.wait_well(Instant::now(), &|| running.acked.load(Ordering::Relaxed) > acked) {
        Wellness::Well(took) => (Some(took.as_secs_f64()), None),
        Wellness::Late(why, after) => (None, Some((why, after.map(|a| a.as_secs_f64())))),
    };
    FaultLine {
        number: planned.number,
        kind: planned.kind.to_owned(),
        on: if Some(&member) == leader.as_ref() { "leader" } else { "replica" }.to_owned(),
        member,
        at,
        healed_at,
        also,
        well_s,
        late,
        failed,
        gap_s: 0.0,
        leaderships: 0,
    }
}

fn in_words(line: &FaultLine) -> String {
    let also = line.also.as_ref().map(|(kind, member)| format!(" and {kind} on {member}")).unwrap_or_default();
    let end = match (&line.well_s, &line.late, &line.failed) {
        (_, _, Some(why)) => format!("could not be made: {why}"),
        (Some(s), _, _) => format!("well {s:.2} s after its heal"),
        (None, Some((why, Some(after))), _) => format!("NOT WELL within 60 s ({why}), but after {after:.0} s"),
        (None, Some((why, None)), _) => format!("NOT WELL ({why})"),
        (None, None, None) => String::new(),
    };
    let lasted = line.healed_at - line.at;
    format!("{}: {} on {} ({}){also}, {lasted:.1} s long: {end}", line.number, line.kind, line.member, line.on)
}

/// The last reads, tried again while the time lasts: a machine at its limit may have another takeover just then.
async fn read_all(stage: &Stage, clock: Clock) -> Result<Final> {
    let deadline = Instant::now() + LAST_READS_WITHIN;
    loop {
        match last_reads(stage, clock).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            ended => return ended,
        }
    }
}

/// Reads everything on every member, once replicas have replayed what the leader holds.
async fn last_reads(stage: &Stage, clock: Clock) -> Result<Final> {
    let deadline = Instant::now() + LAST_READS_WITHIN;
    let (places, dialect) = (stage.members(), dialect::of(stage.engine));
    let (leader, _) = stage.roles();
    let leader = leader.and_then(|l| stage.lab.members.iter().position(|m| m.name == l)).context("no leader")?;
    let end = rows(&places[leader], dialect.log_end()).await?;
    let end = end.first().and_then(|r| r.first().cloned().flatten()).context("the leader's position")?;
    let mut last = Final::default();
    for (n, place) in places.iter().enumerate() {
        if n != leader {
            let sql = dialect.has(&end);
            while rows(place, &sql).await?.first().and_then(|r| r.first()?.clone()).as_deref() != Some("1") {
                if Instant::now() > deadline {
                    bail!("m{} has not replayed {end}", n + 1);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let from = clock.now();
        let text = rows(place, "SELECT v FROM chaos_set").await?;
        let values = text.iter().filter_map(|r| r.first()?.as_deref()?.parse().ok()).collect();
        last.sets.push(set::Read { values, during: During { from, to: clock.now() }, may_lag: false });
        let text = rows(place, bank::READ).await?;
        last.balances.push(text.iter().filter_map(|r| r.first()?.as_deref()?.parse().ok()).collect());
        let text = rows(place, dialect.all_lists()).await?;
        let op = |r: &Vec<Option<String>>| {
            Some(Op::Read { key: r.first()?.as_deref()?.parse().ok()?, values: dialect::list(r.get(1)?.as_deref()?) })
        };
        let ops = text.iter().filter_map(op).collect();
        let during = During { from, to: clock.now() };
        last.lists.push(Txn { session: 1_000 + u32::try_from(n)?, during, outcome: Outcome::Ok, ops });
        if n == leader {
            let text = rows(place, "SELECT v FROM chaos_watch").await?;
            last.watch = text.iter().filter_map(|r| r.first()?.as_deref()?.parse().ok()).collect::<BTreeSet<u64>>();
        }
    }
    Ok(last)
}

async fn rows(place: &Place, sql: &str) -> Result<Rows> {
    let session = Session::open(place).await.map_err(|e| anyhow!("{e:?}"))?;
    session.rows(sql, LAST_READS_WITHIN).await.map_err(|e| anyhow!("{sql}: {e:?}"))
}

/// The longest time without an acknowledgement, from the last one before `from` to the last one before `to`; to the first one
/// after `to` if none came since `healed`.
fn gap(acks: &[f64], from: f64, healed: f64, to: f64) -> f64 {
    let before = |moment: f64| acks.partition_point(|at| *at < moment);
    let (first, end) = (before(from).saturating_sub(1), before(to));
    let end = if before(healed) == end { end + 1 } else { end }.min(acks.len());
    acks.get(first..end).unwrap_or_default().windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max)
}

fn per_second(acks: &[f64], seconds: f64) -> Vec<u32> {
    let mut counts = vec![0; seconds.ceil() as usize];
    for at in acks {
        if let Some(count) = counts.get_mut(*at as usize) {
            *count += 1;
        }
    }
    counts
}

/// How much each process grew that lived all the time.
fn growth(before: &BTreeMap<(String, i32), Size>, after: &BTreeMap<(String, i32), Size>) -> Vec<(String, i64, i64)> {
    let grown = |((name, pid), now): (&(String, i32), &Size)| {
        let then = before.get(&(name.clone(), *pid))?;
        Some((
            name.clone(),
            now.kilobytes as i64 - then.kilobytes as i64,
            now.descriptors as i64 - then.descriptors as i64,
        ))
    };
    after.iter().filter_map(grown).collect()
}

/// Keeps the logs of all processes; where what clients saw may not be, what servers have of binary and relay logs too.
fn keep_logs(stage: &Stage, keep: &Path, with_data: bool) -> Result<PathBuf> {
    let place = keep.join(jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string());
    let data = if with_data { oracles::data_logs(&stage.lab) } else { Vec::new() };
    for log in oracles::logs(&stage.lab).into_iter().chain(data) {
        let to = place.join(log.strip_prefix(&stage.lab.dir).unwrap_or(&log));
        std::fs::create_dir_all(to.parent().unwrap_or(&place))?;
        std::fs::copy(&log, &to)?;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_may_begin_before_and_end_after() {
        let acks = [0.0, 1.0, 1.1, 4.0, 4.1];
        assert!((gap(&acks, 0.9, 1.05, 3.0) - 1.0).abs() < 1e-9, "the long one is the next fault's");
        assert!((gap(&acks, 1.05, 2.0, 3.0) - 2.9).abs() < 1e-9, "none came after the heal: it is this one's");
        assert!((gap(&acks, 1.05, 2.0, 5.0) - 2.9).abs() < 1e-9);
        assert!(gap(&[], 0.0, 0.5, 1.0).abs() < 1e-9);
        assert_eq!(per_second(&acks, 4.5), [1, 2, 0, 0, 2]);
    }
}
