//! `dauphin history`: every leadership so far.

use crate::cli::Target;
use crate::failure::{DONE, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto::History;

pub(crate) fn run(target: &Target) -> Outcome {
    let history: History = target::client(target)?.get("/v1/history")?;
    if target.json {
        say::json(&history)?;
        return Ok(DONE);
    }
    let mut table = Table::new(&["TERM", "LEADER", "TL", "AT", "KIND", "POSITION", "WHY"]);
    for entry in &history.history {
        table.row(vec![
            (entry.term.to_string(), Tone::Plain),
            (entry.leader.clone(), Tone::Bold),
            (dash(entry.timeline), Tone::Plain),
            (entry.at.chars().take(19).collect(), Tone::Plain),
            (entry.kind.clone(), Tone::Plain),
            (dash(entry.switch_position.as_ref()), Tone::Plain),
            (entry.reason.clone(), if entry.lost.is_some() { Tone::Bad } else { Tone::Plain }),
        ]);
    }
    table.lines(say::colours_out()).iter().for_each(|line| say::line(line));
    // too long for a column, and not to be cut short
    for entry in &history.history {
        if let Some(lost) = &entry.lost {
            say::line(&Tone::Bad.paint(&format!("lost with term {}: {lost}", entry.term), say::colours_out()));
        }
    }
    Ok(DONE)
}
