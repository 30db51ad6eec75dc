// The members as a table with everything that the document says, and one member's sheet.
// Views only: what is pressed is `main`'s to do.

import { h, later } from "./dom.js";
import { dot } from "./icons.js";
import { unfit } from "./plan.js";
import { trend } from "./topology.js";
import { tone } from "./verdict.js";
import { DASH, amount, bytes, seconds } from "./words.js";

/** The columns; those of figures, and those among them that only an engine with a log of bytes has. */
const COLUMNS = [
  ["Member"], ["Role"], ["State"], ["Sync"], ["Behind", "figure"], ["Not received", "bytes"], ["Not on disk", "bytes"], ["Timeline", "bytes"],
  ["Position"], ["Server"],
];

/** Whether places in the log are bytes on a timeline; MySQL and MariaDB count transactions. */
const inBytes = (cluster) => cluster.engine === "postgres";

/** The table. Of many rows those that `seen(index)` leaves out keep figures that moved meanwhile. */
export function table(cluster, seen = () => true) {
  const each = (m, index) => {
    const leads = m.name === cluster.leader;
    const facts = seen(index) ? [cluster] : [m.role, m.state, m.alert, m.sync_state, m.timeline, leads];
    return later("tr", m.name, facts, () => row(m, cluster));
  };
  const head = COLUMNS.filter(([, of]) => of !== "bytes" || inBytes(cluster));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Members, a table" },
    h("table", null,
      h("thead", null, h("tr", null, head.map(([name, of]) => h("th", { scope: "col", class: of ? "number" : null }, name)))),
      h("tbody", null, cluster.members.map(each))));
}

function row(m, cluster) {
  const leads = m.name === cluster.leader;
  const behind = leads || m.role === "witness" ? DASH : [amount(m), trend(m), m.lag_seconds > 0.0005 && ` · ${seconds(m.lag_seconds)}`];
  const marks = [m.pending_restart && "restart pending", ...(m.remarks ?? []).map((r) => r.code.replaceAll("_", " "))].filter(Boolean);
  return h("tr", { key: m.name, class: tone(m) },
    h("th", { scope: "row" }, h("button", { type: "button", class: "link", "data-act": "member", "data-member": m.name, "aria-haspopup": "dialog" }, dot(tone(m)), m.name)),
    h("td", null, leads ? h("strong", { class: "gold" }, "leader") : m.role),
    h("td", null, m.state, m.detail && h("span", { class: "quiet" }, ` ${m.detail}`), marks.map((mark) => h("span", { class: "chip mark" }, mark))),
    h("td", null, m.sync_state ?? DASH),
    h("td", { class: "number" }, behind),
    inBytes(cluster) && [leads ? DASH : bytes(m.unreceived_bytes), leads ? DASH : bytes(m.unflushed_bytes), m.timeline ?? DASH].map((figure) => h("td", { class: "number" }, figure)),
    h("td", { class: "mono" }, m.position ?? DASH),
    h("td", { class: "mono" }, m.sql_port ? `${m.host}:${m.sql_port}` : DASH));
}

/** Everything of one member, and what may be done with it. */
export function sheet(cluster, name, pending) {
  const m = cluster.members.find((each) => each.name === name);
  if (!m) return [h("h2", { id: "sheet-title" }, name), h("p", null, "This member is not in the cluster any more.")];
  const leads = name === cluster.leader;
  const against = unfit(m);
  const facts = [
    ["Role", leads ? (cluster.open ? "leader, open" : "leader, not open") : m.role],
    ["State", m.detail ? `${m.state}: ${m.detail}` : m.state],
    m.health && ["Health", [m.health, m.health_seconds > 0 && ` for ${seconds(m.health_seconds)}`, m.health_reason && `: ${m.health_reason}`].filter(Boolean).join("")],
    ["Vouches for commits", m.sync_state === "quorum" || m.sync_state === "sync" ? `yes (${m.sync_state})` : leads ? "it is the leader" : `no${m.sync_state ? ` (${m.sync_state})` : ""}`],
    !leads && ["Behind", `${amount(m)} · ${seconds(m.lag_seconds)}`],
    !leads && inBytes(cluster) && ["of it not received · not on disk", `${bytes(m.unreceived_bytes)} · ${bytes(m.unflushed_bytes)}`],
    !leads && m.catch_up_seconds && ["Has all in", seconds(m.catch_up_seconds)],
    ["Log", m.timeline == null && m.lag_transactions != null ? `${m.position ?? DASH} transactions` : `${m.position ?? DASH} on timeline ${m.timeline ?? DASH}`],
    m.upstream && ["Receives from", m.upstream],
    ["Server", m.sql_port ? `${m.host}:${m.sql_port}` : DASH],
    ["Agent", `http://${m.host}:${m.api_port}/`],
    cluster.reporter === name && cluster.engine_version && ["Version", `${cluster.engine} ${cluster.engine_version}`],
    Object.keys(m.tags ?? {}).length > 0 && ["Tags", Object.entries(m.tags).map(([key, value]) => (value === true ? key : `${key} ${value}`)).join(", ")],
    m.pending_restart && ["Waits for a restart", pending?.[name]?.join(", ") ?? "settings"],
  ].filter(Boolean);
  const data = { "data-member": name };
  const act = (kind, label, danger) => h("button", { type: "button", class: danger ? "danger" : "quiet-button", "data-act": kind, ...data }, label);
  return [
    h("h2", { id: "sheet-title" }, dot(tone(m)), name),
    h("dl", { class: "facts" }, facts.map(([key, value]) => [h("dt", null, key), h("dd", null, value)])),
    (m.remarks ?? []).map((r) => h("p", { class: `notice ${r.critical ? "bad" : "watch"}`, key: r.code }, r.text, h("span", { class: "next" }, r.next))),
    !leads && m.role !== "witness" && h("p", { class: "quiet" }, against ? `It could not take over now: ${against}.` : "It could take over now."),
    h("div", { class: "buttons wrap" },
      h("button", { type: "button", class: "quiet-button", "data-act": "explain-member", ...data }, leads ? "Why does it lead?" : "Why is it not leader?"),
      cluster.open && h("button", { type: "button", class: "quiet-button", "data-act": "what-if", "data-query": `kill=${encodeURIComponent(name)}` }, "What if it died?"),
      leads && act("switchover", "Hand leadership over…"),
      !leads && m.role !== "witness" && h("button", { type: "button", class: "quiet-button", "data-act": "switchover-to", ...data }, "Make it leader…"),
      m.role !== "witness" && act("restart", "Restart…"),
      !leads && m.role !== "witness" && act("failover", "Fail over to it…", true),
      !leads && m.role !== "witness" && act("reinit", "Copy again…", true),
      h("button", { type: "button", class: "plain", "data-act": "close" }, "Close")),
  ];
}
