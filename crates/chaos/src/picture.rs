//! A leg as a picture: who led and in which term, the faults, acknowledged writes in each second, and the gaps. SVG, for the
//! report's page. Pure.

use crate::record::LegLine;
use std::fmt::Write;

const WIDTH: f64 = 1_160.0;
const LEFT: f64 = 70.0;
const LANE: f64 = 18.0;
const BARS: f64 = 90.0;
/// Gaps of at least this many seconds are marked.
const GAP_SHOWN: f64 = 1.0;
const COLOURS: [&str; 7] = ["#2f6fb5", "#d9822b", "#3a9a5f", "#8a5bb0", "#b03a57", "#6b6b6b", "#1c8f9c"];

/// The picture.
#[must_use]
pub fn svg(leg: &LegLine) -> String {
    let x = |at: f64| LEFT + at.clamp(0.0, leg.seconds) / leg.seconds.max(1.0) * (WIDTH - LEFT - 10.0);
    let mut members: Vec<&str> = leg.leaders.iter().map(|(_, _, name)| name.as_str()).collect();
    members.extend(leg.faults.iter().map(|f| f.member.as_str()));
    members.sort_unstable();
    members.dedup();
    let lane_of = |name: &str| members.iter().position(|m| *m == name).unwrap_or_default();
    let y = |name: &str| 24.0 + lane_of(name) as f64 * LANE;
    let top = 34.0 + members.len() as f64 * LANE;
    let height = top + BARS + 24.0;
    let mut out = String::new();
    // writing to a String cannot fail
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"leaders, faults and acknowledged writes\">"
    );
    for name in &members {
        let _ = write!(out, "<text x=\"4\" y=\"{:.1}\">{name}</text>", y(name) + 4.0);
    }
    let ends = leg.leaders.iter().skip(1).map(|(at, _, _)| *at).chain([leg.seconds]);
    for ((from, term, name), to) in leg.leaders.iter().zip(ends) {
        let colour = COLOURS[lane_of(name) % COLOURS.len()];
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"10\" fill=\"{colour}\"><title>{name} leads term {term} \
             from {from:.1} s to {to:.1} s</title></rect>",
            x(*from),
            y(name) - 5.0,
            (x(to) - x(*from)).max(1.0)
        );
    }
    for fault in &leg.faults {
        let title = crate::report::fault_in_words(fault);
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" class=\"fault\"><title>{title}</title></rect>\
             <text x=\"{:.1}\" y=\"12\" class=\"small\">{}</text>",
            x(fault.at),
            y(&fault.member) - 7.0,
            (x(fault.healed_at) - x(fault.at)).max(2.0),
            x(fault.at),
            fault.number
        );
    }
    let most = f64::from(leg.per_second.iter().copied().max().unwrap_or(1).max(1));
    let step = x(1.0) - x(0.0);
    for (second, count) in leg.per_second.iter().enumerate() {
        let high = f64::from(*count) / most * BARS;
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{high:.1}\" class=\"writes\"><title>second {second}: {count} \
             acknowledged</title></rect>",
            x(second as f64),
            top + BARS - high,
            (step - 0.4).max(0.6)
        );
    }
    for fault in leg.faults.iter().filter(|f| f.gap_s >= GAP_SHOWN) {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"small gap\">{:.1} s</text>",
            x(fault.at),
            top + 10.0,
            fault.gap_s
        );
    }
    let _ = write!(
        out,
        "<text x=\"4\" y=\"{:.1}\" class=\"small\">writes/s, up to {most:.0}</text>\
         <text x=\"{LEFT}\" y=\"{:.1}\" class=\"small\">0 s</text><text x=\"{:.1}\" y=\"{:.1}\" class=\"small\" \
         text-anchor=\"end\">{:.0} s</text></svg>",
        top - 2.0,
        top + BARS + 14.0,
        WIDTH - 10.0,
        top + BARS + 14.0,
        leg.seconds
    );
    out
}
