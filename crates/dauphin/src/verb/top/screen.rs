//! How `top` looks: headline, members with the picture of their lag, alerts, decisions, and a line for keys and answers. Pure.

use super::state::{LAGS_MAX, Mode, State};
use crate::look::dash;
use crate::verb::status;
use dauphin_api::dto::{Cluster, JournalEntry, Member};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};

/// Alerts shown; the rest is counted.
const ALERTS_MAX: usize = 4;
/// Problems shown.
const PROBLEMS_MAX: usize = 3;
/// Bars of the picture of a lag, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Looks in the picture of a lag.
const BARS_SHOWN: usize = 20;
/// A lag, in bytes, that fills the picture's height if none in it is larger: less is nothing to look at.
const FULL_BYTES: u64 = 1 << 20;
const KEYS: &str = "? keys  e explain  w what if  s switchover  r restart  p pause  q quit";

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, state: &State) {
    let Some(cluster) = &state.cluster else {
        let text = state.blind.as_deref().unwrap_or("asking the agents");
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), frame.area());
        return;
    };
    let problems = headlines(state, cluster);
    let alerts = alert_lines(state);
    let height = |lines: usize| u16::try_from(lines).unwrap_or(u16::MAX);
    let [head, members, raised, journal, foot] = Layout::vertical([
        Constraint::Length(height(problems.len())),
        Constraint::Length(height(cluster.members.len()).saturating_add(2)),
        Constraint::Length(if alerts.is_empty() { 0 } else { height(alerts.len()).saturating_add(1) }),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(problems), head);
    draw_members(frame, members, state, cluster);
    if !alerts.is_empty() {
        let block = Block::new().title(Span::styled("alerts", heading(state)));
        frame.render_widget(Paragraph::new(alerts).block(block), raised);
    }
    draw_journal(frame, journal, state);
    frame.render_widget(Paragraph::new(foot_line(state)), foot);
    if let Mode::Reading { title, lines, from } = &state.mode {
        draw_text(frame, state, title, lines, *from);
    }
}

fn colour(state: &State, colour: Color) -> Style {
    if state.colours { Style::new().fg(colour) } else { Style::new() }
}

fn heading(state: &State) -> Style {
    colour(state, Color::Cyan).add_modifier(Modifier::BOLD)
}

fn headlines<'a>(state: &'a State, cluster: &'a Cluster) -> Vec<Line<'a>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let health = match cluster.health.as_str() {
        "healthy" => Color::Green,
        "failover" => Color::Red,
        _ => Color::Yellow,
    };
    let leader = match (&cluster.leader, cluster.open) {
        (Some(leader), true) => Span::raw(format!("leader {leader}")),
        (Some(leader), false) => Span::styled(format!("leader {leader}, not open"), colour(state, Color::Red)),
        (None, _) => Span::styled("no leader", colour(state, Color::Red)),
    };
    let mut line = vec![
        Span::styled(cluster.cluster.as_str(), bold),
        Span::raw("  "),
        Span::styled(cluster.health.as_str(), colour(state, health)),
        Span::raw("  "),
        leader,
        Span::raw(format!("  term {}  {}", dash(cluster.term), cluster.durability)),
    ];
    for (on, word) in
        [(cluster.degraded, "degraded"), (cluster.paused, "paused"), (cluster.commits_wait, "commits wait")]
    {
        if on {
            line.push(Span::styled(format!("  {word}"), colour(state, Color::Yellow).add_modifier(Modifier::BOLD)));
        }
    }
    let mut lines = vec![Line::from(line)];
    if let Some(blind) = &state.blind {
        let text = format!("not live: {blind}");
        lines.push(Line::styled(text, colour(state, Color::Red).add_modifier(Modifier::BOLD)));
    }
    let warn = colour(state, Color::Yellow);
    lines.extend(cluster.problems.iter().take(PROBLEMS_MAX).map(|p| Line::styled(format!("  {p}"), warn)));
    lines.push(Line::default());
    lines
}

fn draw_members(frame: &mut Frame, area: Rect, state: &State, cluster: &Cluster) {
    let rows = cluster.members.iter().enumerate().map(|(at, member)| {
        let row = member_row(state, member);
        if at == state.selected { row.style(Style::new().add_modifier(Modifier::REVERSED)) } else { row }
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(9),
        Constraint::Length(14),
        Constraint::Length(17),
        Constraint::Length(u16::try_from(BARS_SHOWN).unwrap_or(u16::MAX)),
        Constraint::Fill(1),
    ];
    let head = ["MEMBER", "ROLE", "STATE", "SYNC", "POSITION", "LAG", "OVER TIME", "NOTE"];
    let table = Table::new(rows, widths).header(Row::new(head).style(heading(state)));
    frame.render_widget(table, area);
}

fn member_row<'a>(state: &State, member: &'a Member) -> Row<'a> {
    let tone = match member.state.as_str() {
        "running" => Color::Green,
        "crashed" | "unreachable" | "fenced" => Color::Red,
        _ => Color::Yellow,
    };
    let alert = match member.alert.as_str() {
        "ok" => Style::new(),
        "warning" => colour(state, Color::Yellow),
        _ => colour(state, Color::Red),
    };
    let bold = if member.role == "leader" { Modifier::BOLD } else { Modifier::empty() };
    let pending = member.pending_restart.then_some("restart pending");
    let note: Vec<&str> = pending.into_iter().chain(member.detail.as_deref()).collect();
    Row::new([
        Cell::new(member.name.as_str()).style(Style::new().add_modifier(bold)),
        Cell::new(member.role.as_str()).style(Style::new().add_modifier(bold)),
        Cell::new(member.state.as_str()).style(colour(state, tone)),
        Cell::new(dash(member.sync_state.as_ref())),
        Cell::new(dash(member.position.as_ref())),
        Cell::new(status::lag(member)).style(alert),
        Cell::new(if member.role == "replica" { bars(state, &member.name) } else { String::new() }),
        Cell::new(note.join("; ")),
    ])
}

/// The lag of the last looks, newest last; nothing behind is a blank.
fn bars(state: &State, member: &str) -> String {
    let Some(lags) = state.lags.get(member) else { return String::new() };
    const { assert!(BARS_SHOWN <= LAGS_MAX, "no more than is kept") };
    let shown: Vec<u64> = lags.iter().rev().take(BARS_SHOWN).rev().copied().collect();
    let full = shown.iter().copied().max().unwrap_or_default().max(FULL_BYTES);
    let bar = |bytes: &u64| match bytes {
        0 => ' ',
        bytes => {
            let step = bytes.saturating_mul(BARS.len() as u64 - 1) / full;
            BARS[usize::try_from(step).unwrap_or_default().min(BARS.len() - 1)]
        }
    };
    shown.iter().map(bar).collect()
}

fn alert_lines(state: &State) -> Vec<Line<'_>> {
    let mut lines: Vec<Line> = state
        .alerts
        .iter()
        .take(ALERTS_MAX)
        .map(|alert| {
            let tone = if alert.level == "warning" { Color::Yellow } else { Color::Red };
            Line::from(vec![
                Span::styled(format!("{:<10} ", alert.level), colour(state, tone)),
                Span::raw(alert.text.as_str()),
            ])
        })
        .collect();
    let more = state.alerts.len().saturating_sub(ALERTS_MAX);
    if more > 0 {
        lines.push(Line::raw(format!("and {more} more: dauphin alerts")));
    }
    lines
}

fn draw_journal(frame: &mut Frame, area: Rect, state: &State) {
    let room = usize::from(area.height.saturating_sub(1));
    let newest = state.journal.iter().rev().take(room).map(journal_line);
    let block = Block::new().title(Span::styled("decisions, newest first", heading(state)));
    frame.render_widget(Paragraph::new(newest.collect::<Vec<_>>()).block(block), area);
}

fn journal_line(entry: &JournalEntry) -> Line<'_> {
    let clock = entry.at.split_once('T').map_or(entry.at.as_str(), |(_, time)| time);
    let clock: String = clock.trim_end_matches('Z').chars().take(12).collect();
    let dim = Style::new().add_modifier(Modifier::DIM);
    Line::from(vec![
        Span::styled(format!("{clock} "), dim),
        Span::raw(format!("{:<4} ", entry.member)),
        Span::raw(entry.text.as_str()),
    ])
}

fn foot_line(state: &State) -> Line<'_> {
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    match (&state.mode, &state.told) {
        (Mode::Sure { command, typed }, _) => Line::styled(format!("{} {typed}", command.question()), reversed),
        (Mode::Reading { .. }, _) => Line::raw("up, down: scroll   any other key: back"),
        (Mode::Watching, Some(Ok(told))) => Line::from(vec![
            Span::raw(told.as_str()),
            Span::styled(format!("   {KEYS}"), Style::new().add_modifier(Modifier::DIM)),
        ]),
        (Mode::Watching, Some(Err(error))) => Line::styled(error.as_str(), colour(state, Color::Red)),
        (Mode::Watching, None) => Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM)),
    }
}

fn draw_text(frame: &mut Frame, state: &State, title: &str, lines: &[String], from: u16) {
    let area = frame.area().inner(ratatui::layout::Margin { horizontal: 0, vertical: 1 });
    let text: Vec<Line> = lines.iter().map(|line| Line::raw(line.as_str())).collect();
    let block = Block::bordered().title(Span::styled(format!(" {title} "), heading(state)));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(block).wrap(Wrap { trim: false }).scroll((from, 0)), area);
}

#[cfg(test)]
mod tests {
    use super::super::state::Update;
    use super::*;
    use dauphin_api::dto::Alert;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown(state: &State) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 24)).expect("a terminal");
        terminal.draw(|frame| draw(frame, state)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(width).map(|row| row.concat().trim_end().to_owned() + "\n").collect()
    }

    fn state() -> State {
        let member = |name: &str, role: &str, lag| Member {
            name: name.into(),
            role: role.into(),
            state: "running".into(),
            alert: "ok".into(),
            position: Some("0/5000060".into()),
            lag_bytes: Some(lag),
            ..Member::default()
        };
        let members = vec![member("m1", "leader", 0), member("m2", "replica", 3 << 20)];
        let cluster = Cluster {
            cluster: "shop".into(),
            health: "repair".into(),
            leader: Some("m1".into()),
            open: true,
            term: Some(7),
            durability: "quorum".into(),
            paused: true,
            problems: vec!["m3 is unreachable".into()],
            members,
            ..Cluster::default()
        };
        let mut state = State::new(true);
        state.take(Update::Cluster(Ok(Box::new(cluster))));
        state
    }

    #[test]
    fn all_that_matters_is_on_one_screen() {
        let mut state = state();
        let entry = JournalEntry {
            id: 1,
            at: "2026-11-27T14:06:52.893Z".into(),
            term: 7,
            member: "m1".into(),
            reason: "opened".into(),
            text: "term 7 is open".into(),
            evidence: serde_json::Value::Null,
        };
        state.take(Update::Journal(vec![entry]));
        let alert = |n: u64| Alert { id: n, level: "critical".into(), text: format!("alert {n}"), ..Alert::default() };
        state.take(Update::Alerts((1..=6).map(alert).collect()));
        let screen = shown(&state);
        for part in [
            "shop  repair  leader m1  term 7  quorum  paused",
            "m3 is unreachable",
            "MEMBER",
            "3.0 MB",
            "█",
            "critical   alert 4",
            "and 2 more",
            "14:06:52.893 m1   term 7 is open",
            "q quit",
        ] {
            assert!(screen.contains(part), "{part:?} is not in\n{screen}");
        }
    }

    #[test]
    fn a_screen_that_is_not_live_says_so() {
        let mut state = state();
        state.take(Update::Cluster(Err("no agent answers".into())));
        let screen = shown(&state);
        assert!(screen.contains("not live: no agent answers") && screen.contains("m2"), "{screen}");
        assert!(shown(&State::new(false)).contains("asking the agents"));
    }

    #[test]
    fn a_text_lies_over_it_and_small_terminals_do_no_harm() {
        let mut state = state();
        state.take(Update::Text { title: "why".into(), lines: vec!["because".into()] });
        assert!(shown(&state).contains("because"));
        for (width, height) in [(1, 1), (20, 3), (300, 80)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
            terminal.draw(|frame| draw(frame, &state)).expect("drawn");
        }
    }
}
