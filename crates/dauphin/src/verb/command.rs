//! The operator's commands: `switchover`, `failover`, `restart`, `reinit`, `pause`, `resume`. Each is given to one agent
//! and waited for; what is done meanwhile is told on standard error.

use crate::cli::{Failover, Member, Restart, Switchover, Target};
use crate::failure::{DONE, Outcome};
use crate::say::{self, Progress};
use crate::target;
use dauphin_api::dto::{self, Done, NoArguments};
use serde::Serialize;

pub(crate) fn switchover(target: &Target, options: Switchover) -> Outcome {
    give(target, "/v1/switchover", &dto::SwitchoverRequest { to: options.to })
}

pub(crate) fn failover(target: &Target, options: Failover) -> Outcome {
    let request = dto::FailoverRequest { to: options.to, allow_data_loss: options.allow_data_loss };
    give(target, "/v1/failover", &request)
}

pub(crate) fn restart(target: &Target, options: Restart) -> Outcome {
    let request = dto::RestartRequest { member: options.member, if_pending: options.if_pending };
    give(target, "/v1/restart", &request)
}

pub(crate) fn reinit(target: &Target, options: Member) -> Outcome {
    give(target, "/v1/reinit", &dto::ReinitRequest { member: options.member })
}

pub(crate) fn pause(target: &Target) -> Outcome {
    give(target, "/v1/pause", &NoArguments {})
}

pub(crate) fn resume(target: &Target) -> Outcome {
    give(target, "/v1/resume", &NoArguments {})
}

/// Gives a command, waits for its end and says what came of it.
pub(crate) fn give<B: Serialize>(target: &Target, path: &str, body: &B) -> Outcome {
    let client = target::client(target)?;
    let mut progress = Progress::new();
    let done: Done = client.post(path, body, &mut |text| progress.say(text))?;
    drop(progress);
    if target.json {
        say::json(&done)?;
        return Ok(DONE);
    }
    say::line(&done.message);
    if let Some(gap) = done.gap_ms {
        say::line(&format!("clients could not write for at most {gap} ms"));
    }
    if let Some(lost) = &done.lost {
        say::line(&format!("may be lost: {lost}"));
    }
    Ok(DONE)
}
