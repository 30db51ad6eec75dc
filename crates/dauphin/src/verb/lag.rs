//! `dauphin lag`: how far the members are behind.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::look::{Table, bytes, dash};
use crate::say::{self, Tone};
use crate::target;
use crate::verb::status::behind;
use dauphin_api::dto::Lag;

pub(crate) fn run(target: &Target) -> Outcome {
    let cluster = target::client(target)?.cluster()?;
    if target.json {
        say::json(&Lag { members: cluster.members })?;
        return Ok(DONE);
    }
    let mut table = Table::new(&[
        "MEMBER",
        "ROLE",
        "SYNC",
        "POSITION",
        "BEHIND",
        "SECONDS",
        "NOT RECEIVED",
        "CAUGHT UP IN",
        "ALERT",
    ]);
    for member in &cluster.members {
        let tone = if member.alert == "ok" { Tone::Plain } else { Tone::Warn };
        table.row(vec![
            (member.name.clone(), Tone::Plain),
            (member.role.clone(), Tone::Plain),
            (dash(member.sync_state.as_ref()), Tone::Plain),
            (dash(member.position.as_ref()), Tone::Plain),
            (dash(behind(member)), Tone::Plain),
            (dash(member.lag_seconds.map(|s| format!("{s:.3}"))), Tone::Plain),
            (dash(member.unreceived_bytes.map(bytes)), Tone::Plain),
            (dash(member.catch_up_seconds.map(|s| format!("{s:.0} s"))), Tone::Plain),
            (member.alert.clone(), tone),
        ]);
    }
    table.lines(say::colours_out()).iter().for_each(|line| say::line(line));
    Ok(DONE)
}
