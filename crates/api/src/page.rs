//! The page at `/`: the cluster as a table, made on the server, without scripts. It stands in for the console.
//! Pure: text in, text out; everything that comes from outside is escaped.

use crate::dto::{Cluster, Member};
use std::fmt::Write;

/// The page for this cluster.
pub(crate) fn page(cluster: &Cluster) -> String {
    let mut html = String::with_capacity(4096);
    let name = escape(&cluster.cluster);
    let leader = cluster.leader.as_deref().map_or_else(|| "none".to_owned(), escape);
    let term = cluster.term.map_or_else(|| "unknown".to_owned(), |t| t.to_string());
    let _ = write!(html, "{HEAD}<title>{name} · Dauphin</title></head><body><h1>{name}</h1><p>");
    let _ = write!(html, "<b class=\"{0}\">{0}</b> · leader <b>{leader}</b>", escape(&cluster.health));
    let _ = write!(
        html,
        "{} · term {term} · {} · durability {}",
        if cluster.open { "" } else { " (not open)" },
        escape(&cluster.engine),
        escape(&cluster.durability)
    );
    html.push_str(if cluster.degraded { " · <b>degraded</b>" } else { "" });
    html.push_str(if cluster.paused { " · <b>paused</b>" } else { "" });
    html.push_str("</p>");
    for problem in &cluster.problems {
        let _ = write!(html, "<p class=\"problem\">{}</p>", escape(problem));
    }
    html.push_str("<table><tr><th>member<th>role<th>state<th>sync<th>timeline<th>position<th>lag<th>address</tr>");
    for member in &cluster.members {
        row(&mut html, member);
    }
    html.push_str("</table><p>");
    for path in ["/v1/cluster", "/v1/history", "/v1/journal", "/v1/events", "/metrics", "/openapi.json"] {
        let _ = write!(html, "<a href=\"{path}\">{path}</a> ");
    }
    html.push_str("</p></body></html>\n");
    html
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"2\"><style>\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}\
.healthy,.ok{color:#27803b}.problem,.failover,.critical,.emergency{color:#c0392b}a{margin-right:1rem}</style>";

fn row(html: &mut String, member: &Member) {
    let dash = |text: Option<String>| text.map_or_else(|| "–".to_owned(), |t| escape(&t));
    let address = member.host.as_ref().zip(member.sql_port).map(|(host, port)| format!("{host}:{port}"));
    let lag = member.lag_bytes.map(|bytes| format!("{bytes} B"));
    let state = match &member.detail {
        Some(detail) => format!("{} ({})", member.state, detail),
        None => member.state.clone(),
    };
    let cells = [
        escape(&member.name),
        escape(&member.role),
        escape(&state),
        dash(member.sync_state.clone()),
        dash(member.timeline.map(|t| t.to_string())),
        dash(member.position.clone()),
        dash(lag),
        dash(address),
    ];
    let _ = write!(html, "<tr class=\"{}\"><td>{}</tr>", escape(&member.alert), cells.join("<td>"));
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let member = Member { name: "<script>".into(), detail: Some("a\"b".into()), ..Member::default() };
        let html = page(&Cluster { cluster: "x&y".into(), members: vec![member], ..Cluster::default() });
        assert!(!html.contains("<script>") && !html.contains("a\"b") && html.contains("x&amp;y"), "{html}");
    }
}
