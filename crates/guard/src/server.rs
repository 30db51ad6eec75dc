//! Starts the database server as the guard's child, and holds on to exactly that process.
//! The supervisor uses it. It never waits for the server and never judges how it ended.
//!
//! Between guard and server stands, for a moment, this program again ([`become_server`]): it asks the kernel to end
//! the server when the guard dies, then becomes the server. Without that a killed guard would leave a leader behind
//! that nobody stops at the end of its lease.

use crate::protocol::{GuardDeath, ServerSignal, StartServer};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// This very program, whatever file its name stands for by now: an upgrade replaces files under running processes.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Asks this program to become the server.
pub(crate) const EXEC_OPTION: &str = "--exec";

/// A server that was started and not yet reaped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) pid: i32,
    handle: OwnedFd,
}

impl Server {
    /// Starts a server. `verb`: the words that lead from this program's start to the guard.
    pub(crate) fn start(verb: &[OsString], start: &StartServer) -> Result<Self, String> {
        check(start)?;
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&start.stderr_path)
            .map_err(|error| format!("cannot open the server's log {}: {error}", start.stderr_path.display()))?;
        let errors = output.try_clone().map_err(|error| format!("cannot share the server's log: {error}"))?;
        let child = Command::new(THIS_PROGRAM)
            .args(verb)
            .arg(EXEC_OPTION)
            .arg(std::process::id().to_string())
            .arg(word(start.on_guard_death))
            .arg(&start.program)
            .args(&start.args)
            .env_clear()
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&start.cwd)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", start.program.display()))?;
        let pid = i32::try_from(child.id()).map_err(|_| "the kernel gave an impossible process number".to_owned())?;
        // Only this thread reaps, so the number is still the child's.
        let handle = Pid::from_raw(pid)
            .ok_or(io::ErrorKind::InvalidData.into())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from))
            .map_err(|error| format!("cannot hold on to process {pid}: {error}"));
        match handle {
            Ok(handle) => Ok(Self { pid, handle }),
            Err(error) => {
                // It runs and cannot be supervised: the caller kills everything that it has as a child.
                Err(error)
            }
        }
    }

    /// Becomes readable when the process ends.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Sends a signal to the server's first process.
    pub(crate) fn signal(&self, signal: ServerSignal) -> Result<(), String> {
        let signal = match signal {
            ServerSignal::Reload => Signal::HUP,
            ServerSignal::Terminate => Signal::TERM,
            ServerSignal::Interrupt => Signal::INT,
            ServerSignal::Quit => Signal::QUIT,
        };
        pidfd_send_signal(&self.handle, signal).map_err(|error| format!("cannot signal process {}: {error}", self.pid))
    }
}

fn check(start: &StartServer) -> Result<(), String> {
    let wrong = |path: &Path, what: &str| Err(format!("{}: {what}", path.display()));
    if !start.program.is_absolute() {
        return wrong(&start.program, "the server's program must be given as an absolute path");
    }
    if !start.program.is_file() {
        return wrong(&start.program, "no such program; check bin_dir");
    }
    if !start.cwd.is_dir() {
        return wrong(&start.cwd, "no such folder for the server to start in; check data_dir");
    }
    Ok(())
}

/// How the guard tells the program that becomes the server what shall end it.
const fn word(on_guard_death: GuardDeath) -> &'static str {
    match on_guard_death {
        GuardDeath::Quit => "quit",
        GuardDeath::Kill => "kill",
    }
}

/// Turns this process into the server: `arguments` are the guard's process number, what ends the server when it dies, the
/// program, its arguments.
/// Returns only when that failed.
pub(crate) fn become_server(mut arguments: impl Iterator<Item = OsString>) -> String {
    let guard = arguments.next().and_then(|text| text.to_str()?.parse::<i32>().ok());
    let death = arguments.next().and_then(|text| match text.to_str()? {
        "quit" => Some(Signal::QUIT),
        "kill" => Some(Signal::KILL),
        _ => None,
    });
    let (Some(guard), Some(death), Some(program)) = (guard, death, arguments.next()) else {
        return format!("{EXEC_OPTION} needs the guard's process number, quit or kill, and a program");
    };
    if let Err(error) = set_parent_process_death_signal(Some(death)) {
        return format!("cannot tie the server to its guard: {error}");
    }
    if getppid().map(Pid::as_raw_pid) != Some(guard) {
        return "the guard died before its server started; start again".to_owned();
    }
    let error = Command::new(&program).args(arguments).exec();
    format!("cannot run {}: {error}", Path::new(&program).display())
}
