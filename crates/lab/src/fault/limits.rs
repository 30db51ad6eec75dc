//! An agent that may open nothing more: its limit of open files is lowered to what it has open.

use crate::error::LabError;
use crate::find;
use crate::process::Process;
use crate::state::{Lab, LabMember};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Below this the limit is ours: nobody runs an agent with so few.
const OURS_BELOW: u64 = 256;

/// Lowers the limit; new connections, new files and new processes fail from now on.
pub(super) fn hit(lab: &Lab, member: &LabMember) -> Result<Vec<Process>, LabError> {
    let agent = find::node(lab, member, &Process::all()).agent;
    let agent = agent.ok_or_else(|| LabError::Failed(format!("{} runs no agent", member.name)))?;
    let open =
        fs::read_dir(format!("/proc/{}/fd", agent.pid)).map_err(LabError::io("cannot read", "/proc".as_ref()))?;
    let open = open.count() as u64;
    if open >= OURS_BELOW {
        return Err(LabError::Failed(format!(
            "the agent of {} has {open} files open: that many cannot be taken back",
            member.name
        )));
    }
    let (_, hard) =
        limits_of(&agent).ok_or_else(|| LabError::Failed(format!("the agent of {} is gone", member.name)))?;
    set(lab, &agent, open, hard)?;
    Ok(vec![agent])
}

/// Gives the agent its limit back. Says whether it was lowered.
pub(super) fn mend(lab: &Lab, member: &LabMember) -> Result<bool, LabError> {
    let Some(agent) = find::node(lab, member, &Process::all()).agent else { return Ok(false) };
    let Some((soft, hard)) = limits_of(&agent) else { return Ok(false) };
    let lowered = soft < OURS_BELOW.min(hard);
    if lowered {
        set(lab, &agent, hard, hard)?;
    }
    Ok(lowered)
}

/// The soft and the hard limit of open files, in `/proc/PID/limits`.
fn limits_of(agent: &Process) -> Option<(u64, u64)> {
    parse(&fs::read_to_string(format!("/proc/{}/limits", agent.pid)).ok()?)
}

fn parse(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_ascii_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// Sets the soft limit, as the agent's own user: root itself may not everywhere.
fn set(lab: &Lab, agent: &Process, soft: u64, hard: u64) -> Result<(), LabError> {
    let mut command = Command::new("prlimit");
    if let Some(user) = &lab.user {
        command.uid(user.uid).gid(user.gid);
    }
    command.args(["--pid", &agent.pid.to_string(), &format!("--nofile={soft}:{hard}")]);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| LabError::Usage(format!("this fault needs `prlimit` (util-linux): {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Failed(format!("the limit of open files of {} cannot be set: {said}", agent.pid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 1048576              files     \n";
        assert_eq!(parse(limits), Some((1_024, 1_048_576)));
        assert_eq!(parse(""), None);
    }
}
