//! `dauphin status`: the cluster as a table, once or (`--watch`) again and again.

use crate::cli::{Status, Target};
use crate::failure::{DONE, Outcome};
use crate::look::{Table, bytes, dash};
use crate::say::{self, Tone};
use crate::target;
use dauphin_api::dto::{Cluster, Member};
use std::io::IsTerminal;
use std::time::Duration;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(target: &Target, options: &Status) -> Outcome {
    let client = target::client(target)?;
    if options.watch {
        return watch(target, &client);
    }
    let cluster = client.cluster()?;
    if target.json {
        say::json(&cluster)?;
    } else {
        lines(&cluster, say::colours_out()).iter().for_each(|line| say::line(line));
    }
    Ok(DONE)
}

/// Shows the cluster until the reader goes away or the person interrupts. On a terminal the screen is kept to one
/// picture; elsewhere each change is printed below the last.
fn watch(target: &Target, client: &dauphin_api::Client) -> Outcome {
    let terminal = std::io::stdout().is_terminal();
    let mut last = String::new();
    loop {
        let text = match client.cluster() {
            Ok(cluster) if target.json => serde_json::to_string(&cluster).unwrap_or_default(),
            Ok(cluster) => lines(&cluster, say::colours_out()).join("\n"),
            Err(error) => format!("{error}"),
        };
        // the clock of `explain` and `history`
        let clock = jiff::Timestamp::now().strftime("%H:%M:%S UTC").to_string();
        if terminal && !target.json {
            say::line(&format!("\x1b[H\x1b[2J{text}\n\n{}", Tone::Dim.paint(&clock, say::colours_out())));
        } else if text != last {
            let heading = if target.json { String::new() } else { format!("{clock}\n") };
            say::line(&format!("{heading}{text}"));
        }
        last = text;
        std::thread::sleep(WATCH_EVERY);
    }
}

/// The cluster in lines.
pub(crate) fn lines(cluster: &Cluster, colours: bool) -> Vec<String> {
    let mut lines = vec![headline(cluster, colours)];
    let reason = cluster.health_reason.as_ref().filter(|_| cluster.health != "healthy");
    lines.extend(
        reason.map(|reason| format!("  {}", Tone::Warn.paint(&format!("{}: {reason}", cluster.health), colours))),
    );
    lines.extend(cluster.problems.iter().map(|p| format!("  {}", Tone::Warn.paint(p, colours))));
    if let Some(intent) = &cluster.intent {
        let to = intent.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        lines.push(format!("  under way: {}{to}, since {}", intent.kind, intent.since));
    }
    lines.push(String::new());
    let mut table =
        Table::new(&["MEMBER", "ROLE", "STATE", "SYNC", "TL", "POSITION", "LAG", "ALERT", "ADDRESS", "NOTE"]);
    cluster.members.iter().for_each(|member| table.row(row(member)));
    lines.extend(table.lines(colours));
    lines
}

fn headline(cluster: &Cluster, colours: bool) -> String {
    let tone = match cluster.health.as_str() {
        "healthy" => Tone::Good,
        "failover" => Tone::Bad,
        _ => Tone::Warn,
    };
    let leader = match (&cluster.leader, cluster.open) {
        (Some(leader), true) => format!("leader {leader}, open"),
        (Some(leader), false) => format!("leader {leader}, {}", Tone::Bad.paint("not open", colours)),
        (None, _) => Tone::Bad.paint("no leader", colours),
    };
    let mut parts = vec![
        Tone::Bold.paint(&cluster.cluster, colours),
        format!("{}{}", tone.paint(&cluster.health, colours), aged(cluster.health_seconds)),
        leader,
        format!("term {}", dash(cluster.term)),
        format!("{} {}", cluster.engine, cluster.engine_version.as_deref().unwrap_or_default()).trim().to_owned(),
        format!("durability {}", cluster.durability),
    ];
    if cluster.degraded {
        parts.push(Tone::Warn.paint("degraded", colours));
    }
    if cluster.paused {
        parts.push(Tone::Warn.paint("paused", colours));
    }
    parts.join(" · ")
}

fn row(member: &Member) -> Vec<(String, Tone)> {
    let state = match member.state.as_str() {
        "running" => Tone::Good,
        "crashed" | "unreachable" | "fenced" => Tone::Bad,
        _ => Tone::Warn,
    };
    let alert = match member.alert.as_str() {
        "ok" => Tone::Plain,
        "warning" => Tone::Warn,
        _ => Tone::Bad,
    };
    let role = if member.role == "leader" { Tone::Bold } else { Tone::Plain };
    let address = member.host.as_ref().zip(member.sql_port).map(|(host, port)| format!("{host}:{port}"));
    let pending = member.pending_restart.then_some("restart pending");
    let unwell = !member.health.is_empty() && member.health != "healthy";
    let health = member.health_reason.as_ref().filter(|_| unwell);
    let health = health.map(|why| format!("{}{}: {why}", member.health, aged(member.health_seconds)));
    let note: Vec<&str> = pending.into_iter().chain(member.detail.as_deref()).chain(health.as_deref()).collect();
    vec![
        (member.name.clone(), role),
        (member.role.clone(), role),
        (member.state.clone(), state),
        (dash(member.sync_state.as_ref()), Tone::Plain),
        (dash(member.timeline), Tone::Plain),
        (dash(member.position.as_ref()), Tone::Plain),
        (lag(member), Tone::Plain),
        (member.alert.clone(), alert),
        (dash(address), Tone::Plain),
        (note.join("; "), Tone::Dim),
    ]
}

/// For how long something has been so.
fn aged(seconds: Option<u64>) -> String {
    match seconds {
        None => String::new(),
        Some(seconds @ 0..120) => format!(" for {seconds} s"),
        Some(seconds @ 120..7_200) => format!(" for {} min", seconds / 60),
        Some(seconds @ 7_200..172_800) => format!(" for {} h", seconds / 3_600),
        Some(seconds) => format!(" for {} d", seconds / 86_400),
    }
}

/// How far a member is behind, in bytes or transactions and, where that is known, seconds.
pub(crate) fn lag(member: &Member) -> String {
    match (behind(member), member.lag_seconds) {
        _ if member.role == "leader" => "-".to_owned(),
        (Some(count), Some(seconds)) if seconds >= 0.05 => format!("{count} {seconds:.1} s"),
        (Some(count), _) => count,
        (None, _) => "-".to_owned(),
    }
}

/// How far a member is behind, as its engine counts.
pub(crate) fn behind(member: &Member) -> Option<String> {
    member.lag_bytes.map(bytes).or_else(|| member.lag_transactions.map(|count| format!("{count} tx")))
}
