//! The report of a series: what held, by kind of cluster, and how long each kind of fault took; as Markdown, and as a page
//! with a picture of each of the last legs. Pure but for the two files that it writes.

use crate::picture;
use crate::record::{FaultLine, LegLine};
use crate::stage::Cell;
use anyhow::{Context, Result};
use dauphin_lab::Engine;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Legs that are drawn.
const DRAWN_MAX: usize = 12;

/// Writes `chaos.md` and `chaos.html` into `folder`.
///
/// # Errors
/// I/O errors.
pub fn write(folder: &Path, legs: &[LegLine], skipped: &[(String, String)], machine: &str) -> Result<()> {
    let place = |name: &str| folder.join(name);
    std::fs::create_dir_all(folder)?;
    let text = markdown(legs, skipped, machine);
    std::fs::write(place("chaos.md"), text).with_context(|| format!("cannot write into {}", folder.display()))?;
    std::fs::write(place("chaos.html"), page(legs, skipped, machine))?;
    Ok(())
}

/// A fault in a line.
#[must_use]
pub fn fault_in_words(fault: &FaultLine) -> String {
    let also = fault.also.as_ref().map(|(kind, member)| format!(" and {kind} on {member}")).unwrap_or_default();
    let well = fault.well_s.map_or_else(|| "not well in time".to_owned(), |s| format!("well {s:.1} s after its heal"));
    format!(
        "{}: {} on {} ({}){also}, {:.1} s to {:.1} s, {well}, longest gap {:.2} s",
        fault.number, fault.kind, fault.member, fault.on, fault.at, fault.healed_at, fault.gap_s
    )
}

struct Sum {
    legs: usize,
    faults: usize,
    leaderships: u64,
    acked: u64,
    watched: u64,
    samples: u64,
    lost: u64,
    dual: u64,
    late: usize,
    lists: u64,
    bank: u64,
    reads: u64,
    recovered: u64,
    violations: usize,
    oracles: usize,
}

fn sum<'a>(legs: impl Iterator<Item = &'a LegLine>) -> Sum {
    let mut s = Sum {
        legs: 0,
        faults: 0,
        leaderships: 0,
        acked: 0,
        watched: 0,
        samples: 0,
        lost: 0,
        dual: 0,
        late: 0,
        lists: 0,
        bank: 0,
        reads: 0,
        recovered: 0,
        violations: 0,
        oracles: 0,
    };
    for leg in legs {
        let v = &leg.verdict;
        s.legs += 1;
        s.faults += made(leg).map(|f| 1 + usize::from(f.also.is_some())).sum::<usize>();
        s.leaderships += leg.leaders.len().saturating_sub(1) as u64;
        s.acked += v.acked;
        s.watched += v.watch_acked;
        s.samples += v.samples;
        s.lost += v.lost + v.watch_lost;
        s.dual += v.dual;
        s.late += leg.faults.iter().filter(|f| f.late.is_some()).count();
        s.lists += v.lists.0;
        s.bank += v.bank.0 + v.bank.1;
        s.reads += v.reads;
        s.recovered += v.recovered;
        s.violations += v.violations.len();
        s.oracles += leg.oracles.len();
    }
    s
}

fn made(leg: &LegLine) -> impl Iterator<Item = &FaultLine> {
    leg.faults.iter().filter(|f| f.failed.is_none())
}

fn both(values: &mut Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => "-".to_owned(),
        [.., worst] => {
            let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
            format!("{:.2} / {worst:.2}", f64::midpoint(low, high))
        }
    }
}

/// A cluster in words: `quorum on PostgreSQL 15.18`, with the newest version that ran.
fn name(legs: &[LegLine], cell: &Cell) -> String {
    let newest = legs.iter().rev().find(|l| l.cell == *cell).map_or("", |l| l.version.as_str());
    let profile = if cell.profile == "standard" { String::new() } else { format!(", {}", cell.profile) };
    let members = if cell.members == 3 { String::new() } else { format!(", {} members", cell.members) };
    format!("{} on {} {newest}{profile}{members}", cell.durability, cell.engine.name())
}

/// The report as Markdown.
#[must_use]
pub fn markdown(legs: &[LegLine], skipped: &[(String, String)], machine: &str) -> String {
    let mut out = String::from(
        "# Random faults on real clusters\n\nClients write and read through the proxy (unique inserts, list-append as strongly as the \
         engine can, transfers, counting\nsessions, reads that look for long forks), and a write is tried on every member every 50 ms, \
         while a random member is hit by a\nrandom fault; a fifth of the faults come in pairs. After the heal the cluster has 60 s to be \
         whole. Then everything is read\non every member and checked. `make chaos MINUTES=20 SEED=1` does it again, with ENGINE=mysql or \
         mariadb on those; `sync` and\n`quorum` may lose nothing.\n\n",
    );
    let _ = writeln!(out, "{machine}");
    for engine in [Engine::Postgres, Engine::Mysql, Engine::Mariadb] {
        let mine: Vec<&LegLine> = legs.iter().filter(|l| l.cell.engine == engine).collect();
        if !mine.is_empty() {
            of_engine(&mut out, engine, legs, &mine);
        }
    }
    out.push_str("\n## What was skipped in the last call\n\n");
    if skipped.is_empty() {
        out.push_str("Nothing: this machine can make every kind.\n");
    }
    for (kind, why) in skipped {
        let _ = writeln!(out, "- {kind}: {why}");
    }
    let _ =
        writeln!(out, "\n## Legs\n\n| ended | cluster | seed | faults | commit | found |\n|---|---|---|---|---|---|");
    for leg in legs {
        let numbers = match (leg.faults.first(), leg.faults.last()) {
            (Some(a), Some(b)) => format!("{} to {}", a.number, b.number),
            _ => "none".to_owned(),
        };
        let found = if leg.is_well() { "all held".to_owned() } else { findings(leg).join("; ").replace('|', "/") };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {numbers} | {} | {found} |",
            leg.date,
            name(legs, &leg.cell),
            leg.seed,
            leg.commit
        );
    }
    out
}

/// What held on one engine, and how long each kind of fault took there.
fn of_engine(out: &mut String, engine: Engine, legs: &[LegLine], mine: &[&LegLine]) {
    let mut cells: Vec<&Cell> = Vec::new();
    for leg in mine {
        if !cells.contains(&&leg.cell) {
            cells.push(&leg.cell);
        }
    }
    cells.sort_by_key(|c| (c.version.clone(), c.durability.clone(), c.profile.clone(), c.members));
    let names: Vec<String> = cells.iter().map(|c| name(legs, c)).collect();
    let _ = writeln!(out, "\n## {}\n\n| | {} | all |", engine.name(), names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(cells.len() + 1));
    let of = |cell: &Cell| sum(mine.iter().copied().filter(|l| l.cell == *cell));
    let sums: Vec<Sum> = cells.iter().map(|c| of(c)).chain([sum(mine.iter().copied())]).collect();
    let mut row = |what: &str, of: &dyn Fn(&Sum) -> u64| {
        let _ =
            writeln!(out, "| {what} | {} |", sums.iter().map(|s| of(s).to_string()).collect::<Vec<_>>().join(" | "));
    };
    row("legs", &|s| s.legs as u64);
    row("faults", &|s| s.faults as u64);
    row("leaderships that began", &|s| s.leaderships);
    row("acknowledged inserts through the proxy", &|s| s.acked);
    row("acknowledged writes straight to members", &|s| s.watched);
    row("**of both, lost**", &|s| s.lost);
    row("tries of a write on each member", &|s| s.samples);
    row("**acknowledged beside a later leader**", &|s| s.dual);
    row("list-append transactions checked", &|s| s.lists);
    row("transfers and reads of accounts", &|s| s.bank);
    row("reads on replicas", &|s| s.reads);
    row("unknown to the client, and there", &|s| s.recovered);
    row("**findings of the checkers**", &|s| s.violations as u64);
    row("**findings of the oracles** (terms, reasons, panics, secrets, growth)", &|s| s.oracles as u64);
    row("**not whole within 60 s of the heal**", &|s| s.late as u64);
    by_kind(out, engine, mine);
}

fn by_kind(out: &mut String, engine: Engine, legs: &[&LegLine]) {
    let _ = writeln!(
        out,
        "\n### {} by kind of fault\n\nSingle faults only; seconds, median / worst. The gap is the longest time without an \
         acknowledged insert until the next fault.\n\n| fault | on | times | whole again after the heal | write gap | new leaders \
         |\n|---|---|---|---|---|---|",
        engine.name()
    );
    let mut kinds: BTreeMap<(&str, &str), Vec<&FaultLine>> = BTreeMap::new();
    for fault in legs.iter().flat_map(|l| made(l)).filter(|f| f.also.is_none()) {
        kinds.entry((&fault.kind, &fault.on)).or_default().push(fault);
    }
    let times = |faults: &[&FaultLine]| {
        let mut well: Vec<f64> = faults.iter().filter_map(|f| f.well_s).collect();
        let mut gaps: Vec<f64> = faults.iter().map(|f| f.gap_s).collect();
        (both(&mut well), both(&mut gaps))
    };
    for ((kind, on), faults) in &kinds {
        let (well, gaps) = times(faults);
        let led: u64 = faults.iter().map(|f| f.leaderships).sum();
        let _ = writeln!(out, "| {kind} | {on} | {} | {well} | {gaps} | {led} |", faults.len());
    }
    let pairs: Vec<&FaultLine> = legs.iter().flat_map(|l| made(l)).filter(|f| f.also.is_some()).collect();
    let (well, gaps) = times(&pairs);
    let _ = writeln!(out, "| pairs | any | {} | {well} | {gaps} | |", pairs.len());
}

/// Everything that did not hold.
fn findings(leg: &LegLine) -> Vec<String> {
    let late = leg.faults.iter().filter_map(|f| {
        let (why, after) = f.late.as_ref()?;
        let after = after.map_or_else(String::new, |a| format!(", but after {a:.0} s"));
        Some(format!("fault {} ({}): {why} 60 s after the heal{after}", f.number, f.kind))
    });
    leg.verdict.violations.iter().chain(&leg.oracles).cloned().chain(late).collect()
}

/// The report as a page.
#[must_use]
pub fn page(legs: &[LegLine], skipped: &[(String, String)], machine: &str) -> String {
    let s = sum(legs.iter());
    let verdict = if legs.iter().all(LegLine::is_well) { "All held" } else { "Something did not hold" };
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Dauphin under random faults</title><style>{STYLE}</style></head><body><h1>{verdict}</h1><p>{} faults in {} legs, \
         {} new leaders. Of {} acknowledged writes {} were lost; {} were acknowledged beside a later leader; {} times a cluster was \
         not whole within 60 s of the heal.</p><p class=\"small\">{}</p>",
        s.faults,
        s.legs,
        s.leaderships,
        s.acked + s.watched,
        s.lost,
        s.dual,
        s.late,
        escape(machine)
    );
    for (kind, why) in skipped {
        let _ = write!(out, "<p class=\"small\">Skipped: {} ({})</p>", escape(kind), escape(why));
    }
    for leg in legs.iter().rev().take(DRAWN_MAX) {
        let cell = &leg.cell;
        let _ = write!(
            out,
            "<section><h2>{} on {} {}, seed {}</h2><p class=\"small\">{} · commit {} · {} acknowledged inserts, {} \
             list-append transactions</p>{}",
            cell.durability,
            cell.engine.name(),
            escape(&leg.version),
            leg.seed,
            leg.date,
            escape(&leg.commit),
            leg.verdict.acked,
            leg.verdict.lists.0,
            picture::svg(leg)
        );
        for text in findings(leg) {
            let _ = write!(out, "<p class=\"bad\">{}</p>", escape(&text));
        }
        out.push_str("<details><summary>faults</summary><ol class=\"small\">");
        for fault in &leg.faults {
            let _ = write!(out, "<li value=\"{}\">{}</li>", fault.number, escape(&fault_in_words(fault)));
        }
        out.push_str("</ol></details></section>");
    }
    out.push_str("</body></html>\n");
    out
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1200px;margin:24px auto;padding:0 16px;color:#1b1f24;\
background:#fff}h1{font-size:24px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 0}.small{font-size:12px;fill:#57606a;color:#57606a}\
svg{width:100%;height:auto;border:1px solid #d8dee4;border-radius:6px;margin:6px 0}svg text{font:11px system-ui,sans-serif}\
.fault{fill:#c0392b;fill-opacity:.28;stroke:#c0392b;stroke-width:1}.writes{fill:#7d8fa3}.gap{fill:#c0392b}\
.bad{color:#a40e26;font-weight:600}@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}.small{color:#9aa4af;\
fill:#9aa4af}svg{border-color:#30363d}svg text{fill:#e6edf3}}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first legs were written, before there was an engine to name.
    const OLD: &str = r#"{"cell":{"pg":"15","durability":"quorum","profile":"standard","members":3},"seed":22,"commit":"25d1177",
        "date":"2026-11-27T11:35:12Z","version":"15.18","seconds":8.0,"faults":[{"number":1,"kind":"slow","member":"m2",
        "on":"replica","at":4.3,"healed_at":7.9,"also":null,"well_s":1.8,"late":null,"failed":null,"gap_s":1.3,"leaderships":1}],
        "verdict":{"acked":17860,"lost":0,"recovered":5,"watch_acked":2557,"watch_lost":0,"samples":10910,"dual":0,"lists":[1,2],
        "bank":[1,2],"steps":3,"forks":4,"violations":[],"permitted":[]},"oracles":[],"growth":[],"errors":{},
        "leaders":[[0.0,1,"m1"],[8.9,2,"m3"]],"per_second":[1,2]}"#;

    #[test]
    fn old_legs_are_read_and_engines_are_told_apart() {
        let old: LegLine = serde_json::from_str(OLD).expect("read");
        assert_eq!((old.cell.engine, old.cell.version.as_str()), (Engine::Postgres, "15"));
        let mut new = old.clone();
        new.cell = Cell { engine: Engine::Mariadb, version: "11".into(), ..new.cell };
        new.version = "11.8.9".into();
        let again: LegLine = serde_json::from_str(&serde_json::to_string(&new).expect("written")).expect("read");
        assert_eq!(again, new);
        let text = markdown(&[old, new], &[], "");
        for part in
            ["| quorum on PostgreSQL 15.18 | all |", "| quorum on MariaDB 11.8.9 | all |", "### MariaDB by kind"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("MySQL by kind"), "{text}");
    }
}
