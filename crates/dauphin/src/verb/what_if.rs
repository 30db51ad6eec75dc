//! `dauphin what-if`: who would take over, how long writes would stop and what would be lost, simulated from the cluster as it is.

use crate::cli::{Target, WhatIf};
use crate::failure::{DONE, Outcome};
use crate::look::{Table, dash, wrap};
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto;

/// Width of running text, in columns.
const TEXT_COLUMNS: usize = 96;

pub(crate) fn run(target: &Target, wish: &WhatIf) -> Outcome {
    let foretold: dto::WhatIf = target::client(target)?.get(&path(wish))?;
    if target.json {
        say::json(&foretold)?;
        return Ok(DONE);
    }
    lines(&foretold, say::colours_out()).iter().for_each(|line| say::line(line));
    Ok(DONE)
}

/// Names hold nothing that a query would have to hide; anything else is refused there, by its own name.
fn path(wish: &WhatIf) -> String {
    let query = match wish {
        WhatIf::Kill { member } => format!("kill={}", safe(member)),
        WhatIf::Freeze { member } => format!("freeze={}", safe(member)),
        WhatIf::Zone { zone } => format!("zone={}", safe(zone)),
        WhatIf::CutOff { members } => {
            format!("cut_off={}", members.iter().map(|m| safe(m)).collect::<Vec<_>>().join(","))
        }
    };
    format!("/v1/what-if?{query}")
}

fn safe(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The answer in lines.
pub(crate) fn lines(foretold: &dto::WhatIf, colours: bool) -> Vec<String> {
    let mut lines = wrap(&sentence(foretold), TEXT_COLUMNS);
    lines.iter_mut().for_each(|line| *line = Tone::Bold.paint(line, colours));
    if foretold.ends.len() > 1 {
        let mut table = Table::new(&["LEADER", "DRAWS", "WRITES STOP", "AT MOST", "LOST"]);
        for end in &foretold.ends {
            table.row(vec![
                (dash(end.leader.clone()), Tone::Plain),
                (format!("{} of {}", end.draws, foretold.draws), Tone::Plain),
                (dash(end.gap_ms.map(seconds)), Tone::Plain),
                (dash(end.gap_ms_max.map(seconds)), Tone::Plain),
                (lost(end), if end.lost_ms_max > 0 { Tone::Bad } else { Tone::Plain }),
            ]);
        }
        lines.extend(table.lines(colours));
    }
    for note in &foretold.notes {
        let text = wrap(note, TEXT_COLUMNS - 2);
        let first = |at| if at == 0 { "- " } else { "  " };
        lines.extend(text.iter().enumerate().map(|(at, l)| Tone::Dim.paint(&format!("{}{l}", first(at)), colours)));
    }
    lines
}

/// The most frequent end.
fn sentence(foretold: &dto::WhatIf) -> String {
    let Some(end) = foretold.ends.first() else { return "Nothing was simulated.".to_owned() };
    let often = if end.draws == foretold.draws {
        String::new()
    } else {
        format!(" in {} of {} draws", end.draws, foretold.draws)
    };
    let suppose = &foretold.suppose;
    match (&end.leader, end.gap_ms, end.gap_ms_max) {
        (Some(leader), Some(gap), Some(most)) => {
            let leads = if *leader == foretold.leader { "would go on leading" } else { "would lead" };
            let most = if most > gap { format!(" ({} at most)", seconds(most)) } else { String::new() };
            format!(
                "If {suppose} now, {leader} {leads}{often}. Writes would stop for {}{most}. {}.",
                seconds(gap),
                sums(end)
            )
        }
        (_, _, _) => {
            let why = end.because.as_ref().map(|b| format!(" The members would say: {b}.")).unwrap_or_default();
            format!("If {suppose} now, nobody would lead{often}, and writes would stop until one of them is back.{why}")
        }
    }
}

fn sums(end: &dto::Foretold) -> String {
    match end.lost_ms_max {
        0 => "No acknowledged commit would be lost".to_owned(),
        ms => format!("Acknowledged commits of the last {ms} ms before it could be lost"),
    }
}

fn lost(end: &dto::Foretold) -> String {
    match (end.lost_ms_max, &end.leader) {
        (_, None) => "-".to_owned(),
        (0, Some(_)) => "nothing".to_owned(),
        (ms, Some(_)) => format!("last {ms} ms"),
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.2} s", ms as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(leader: Option<&str>, draws: u32) -> dto::Foretold {
        let gap = leader.map(|_| 900);
        dto::Foretold {
            leader: leader.map(str::to_owned),
            draws,
            gap_ms: gap,
            gap_ms_max: gap.map(|g| g + 250),
            because: leader.is_none().then(|| "too few".to_owned()),
            ..dto::Foretold::default()
        }
    }

    #[test]
    fn it_reads_as_a_sentence() {
        let sure = dto::WhatIf {
            suppose: "m1 were killed".into(),
            leader: "m1".into(),
            draws: 20,
            ends: vec![end(Some("m2"), 20)],
            notes: vec!["m3 is unreachable and takes no part".into()],
        };
        let said = lines(&sure, false);
        assert_eq!(
            said,
            [
                "If m1 were killed now, m2 would lead. Writes would stop for 0.90 s (1.15 s at most). No",
                "acknowledged commit would be lost.",
                "- m3 is unreachable and takes no part"
            ]
        );
        let goes_on = dto::WhatIf { leader: "m2".into(), ..sure.clone() };
        assert!(lines(&goes_on, false)[0].contains("m2 would go on leading."));
        let mixed = dto::WhatIf { ends: vec![end(None, 15), end(Some("m2"), 5)], ..sure };
        let said = lines(&mixed, false).join("\n");
        for part in ["nobody would lead in 15 of 20 draws", "would say: too few", "m2", "5 of 20", "nothing"] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    }

    #[test]
    fn what_is_no_name_reaches_the_agent_as_it_is() {
        assert_eq!(path(&WhatIf::Zone { zone: "a b&c=d".into() }), "/v1/what-if?zone=a%20b%26c%3Dd");
        let cut = WhatIf::CutOff { members: vec!["m1".into(), "m2".into()] };
        assert_eq!(path(&cut), "/v1/what-if?cut_off=m1,m2");
    }
}
