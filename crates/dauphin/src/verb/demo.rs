//! `dauphin demo`: the main job on this machine, told line by line with measured times: a cluster comes up, its leader
//! dies under load, a replica takes over, nothing acknowledged is lost, the old leader rejoins.

mod clients;
mod sql;
mod story;

use crate::cli::Demo;
use crate::failure::{DONE, Failure, Outcome};
use crate::say;
use crate::verb::lab::{absolute, engine, program};
use dauphin_lab::{Lab, Options};
use dauphin_model::{Durability, OnShortage, Profile};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Threads for the eight clients.
const THREADS: usize = 2;

pub(crate) fn run(given: &Demo) -> Outcome {
    let keep = given.keep || std::env::var("KEEP").is_ok_and(|v| v == "1");
    let dir = absolute(&given.dir.clone().unwrap_or_else(|| PathBuf::from(".lab/demo")))?;
    clear(&dir)?;
    let options = options(given, dir.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("no threads to run with: {e}"), ""))?;
    let handle = runtime.handle().clone();
    let told = runtime.block_on(async move {
        let story = tokio::task::spawn_blocking(move || story::tell(&options, &handle));
        tokio::select! {
            told = story => told.unwrap_or_else(|e| Err(Failure::failed(format!("the demo broke off: {e}"), ""))),
            () = interrupted() => Err(Failure::failed("interrupted", "")),
        }
    });
    runtime.shutdown_background();
    if told.is_ok() && keep {
        kept(&dir);
        return Ok(DONE);
    }
    let ended = clear(&dir);
    told?;
    ended?;
    say::line("The cluster is stopped and its folder removed: nothing is left behind.");
    say::line("Keep one running with KEEP=1, or make your own: dauphin lab up --dir DIR");
    Ok(DONE)
}

fn options(given: &Demo, dir: PathBuf) -> Result<Options, Failure> {
    Ok(Options {
        dir,
        engine: engine(&given.engine),
        members: 3,
        durability: Durability::Quorum,
        profile: Profile::Standard,
        on_shortage: OnShortage::Wait,
        store: "raft".into(),
        bin: given.bin.clone(),
        base_port: given.base_port,
        no_proxy: false,
        hosts: false,
        disks: false,
        clocks: false,
        mesh: None,
        witness: false,
        program: program()?,
    })
}

/// Ends a demo that an earlier run left behind, or this one.
fn clear(dir: &Path) -> Result<(), Failure> {
    if Lab::is_in(dir) {
        dauphin_lab::down(&Lab::load(dir)?, false)?;
    }
    Ok(())
}

fn kept(dir: &Path) {
    let config = dir.join("m1/dauphin.toml");
    say::line("The cluster is still running.");
    say::line(&format!("  reach it:  dauphin lab show --dir {} --json", dir.display()));
    say::line(&format!("  watch it:  dauphin status --watch --config {}", config.display()));
    say::line(&format!("  stop it:   dauphin lab down --dir {}", dir.display()));
}

async fn interrupted() {
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}
