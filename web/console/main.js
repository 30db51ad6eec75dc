// The console: holds what the page knows, asks for what it lacks, draws when something changed, and does what is pressed.
// Everything that is shown comes from the agents' HTTP interface; the page decides nothing.

import { chart, momentAt } from "./charts.js";
import { h, show } from "./dom.js";
import * as differences from "./differences.js";
import { timeline, why } from "./journal.js";
import { bases, follow } from "./live.js";
import { table } from "./members.js";
import * as panels from "./panels.js";
import * as proxies from "./proxies.js";
import { empty, openness, sample } from "./series.js";
import { get, post, session } from "./session.js";
import { makeSheet } from "./sheet.js";
import { merge } from "./story.js";
import * as top from "./top.js";
import { draggable, picture } from "./topology.js";
import { announcement, verdict } from "./verdict.js";

/** How often what no event tells is asked for, in milliseconds. */
const ASK_EVERY = 4000;
/** Agents share their decisions a moment after they made them. */
const SHARED_AFTER = 2200;
/** Rows of the journal at first, and how many more at a time. */
const ROWS = 40;
/** Entries asked for at once. */
const ENTRIES = 300;
/** How far behind the last entry another agent's may still come, in microseconds. */
const LATE_US = 20_000_000;
const TERMS = 6;
/** Of more members only those are drawn anew whom somebody sees. */
const MANY = 30;
/** How far beyond the window something counts as seen, and how far the page moves before that is looked at again, in pixels. */
const MARGIN = 300;
const STEP = 100;
/** Time that the parts of one frame may take together; the rest is drawn in the next one, in milliseconds. */
const FRAME_MS = 5;
/** Sentences that wait to be read out. */
const SAID_MAX = 6;

const place = (id) => document.getElementById(id);
const start = Date.now();

const world = {
  cluster: null,
  live: { live: false, since: start, through: null, tried: [] },
  journal: [],
  history: null,
  alerts: null,
  store: null,
  pending: null,
  proxies: null,
  series: empty(),
  unit: "seconds",
  hover: null,
  filter: "",
  rows: ROWS,
  terms: TERMS,
  asked: { kind: "last", id: null, member: null },
  explanation: null,
  foretold: null,
  explainError: null,
};

const sheet = makeSheet(place("sheet"), () => world, {
  said: announce,
  changed: () => {
    refresh();
    draw();
  },
  closed: () => draw(),
});

// Drawing: at most once a frame, whatever came in between.

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
}

const widthOf = (id) => Math.max(240, place(id).clientWidth);
const ink = (name) => Math.max(0, world.cluster?.members.findIndex((m) => m.name === name) ?? 0) % 8;

const drawn = new Map();
let begun = 0;
/** Draws a part when one of the things that it shows is another one than last time, and there is time in this frame. */
function part(id, things, make) {
  const before = drawn.get(id);
  if (before && before.every((thing, index) => thing === things[index])) return;
  if (performance.now() - begun > FRAME_MS) return draw();
  drawn.set(id, things);
  show(place(id), make());
}

/** Whether what lies so far down in that part, and is so high, can be seen. */
function sight(id) {
  const top = place(id).getBoundingClientRect().top;
  return (y, height) => top + y < innerHeight + MARGIN && top + y + height > -MARGIN;
}

/** Whether a row of the members' table can be seen. */
function rowSight() {
  const body = place("members").querySelector("tbody");
  if (!body?.rows.length) return () => false;
  const { top, height } = body.getBoundingClientRect();
  const each = height / body.rows.length;
  return (index) => top + index * each < innerHeight + MARGIN && top + (index + 1) * each > -MARGIN;
}

function drawNow() {
  const { cluster, live, store, alerts, history, journal, asked, explanation, foretold, explainError } = world;
  const now = Date.now();
  begun = performance.now();
  const second = Math.floor(now / 1000);
  const signedIn = session.signedIn;
  part("top", [cluster, live, signedIn, isDark(), live.live || second], () => top.bar({ cluster, live, signedIn, dark: isDark(), now }));
  part("verdict", [cluster, live, store, signedIn], () => top.head({ cluster, live, store, signedIn }));
  document.body.classList.toggle("stale", Boolean(cluster) && !live.live);
  if (cluster) {
    const is = verdict(cluster);
    const title = `${live.live ? { good: "", watch: "◐ ", bad: "✕ " }[is.tone] : "⏸ "}${cluster.cluster} · ${cluster.leader ?? "no leader"} · Dauphin`;
    if (document.title !== title) document.title = title;
    const width = widthOf("picture");
    const many = cluster.members.length > MANY;
    const at = many ? Math.floor(scrollY / STEP) : 0;
    part("picture", [cluster, width, at], () => picture(cluster, width, many ? sight("picture") : undefined));
    part("differences", [cluster, world.pending], () => differences.view(cluster, world.pending));
    part("proxies", [world.proxies], () => proxies.view(world.proxies));
    part("members", [cluster, at], () => table(cluster, many ? rowSight() : undefined));
  }
  part("picture-tools", [], () => h("p", { class: "quiet legend-links" },
    h("span", { class: "key voter" }, "commits wait for it"), h("span", { class: "key async" }, "follows, no vote"), h("span", { class: "key cut" }, "not following")));
  part("chart", [second, world.unit, world.hover, widthOf("chart")], () => chart(world.series, { width: widthOf("chart"), now, unit: world.unit, hover: world.hover, ink, start }));
  // an engine that counts transactions has no bytes to show
  part("chart-tools", [world.unit, cluster?.engine], () => (cluster?.engine === "postgres" ? ["seconds", "bytes"] : []).map((unit) =>
    h("button", { type: "button", class: "tab", "data-act": "unit", "data-unit": unit, "aria-pressed": String(world.unit === unit) }, unit)));
  part("alerts", [alerts, Math.floor(second / 5)], () => panels.alerts(alerts, now));
  part("alerts-tools", [alerts], () => alerts?.speaker && h("span", { class: "quiet" }, `told by ${alerts.speaker}`));
  part("terms", [history, world.terms], () => panels.terms(history, world.terms));
  part("journal-tools", [], () => h("label", { class: "filter" }, h("span", { class: "unseen" }, "Filter the journal"), h("input", { type: "search", name: "filter", placeholder: "filter: m2, term 3, fenced…" })));
  part("journal", [journal, world.filter, world.rows, asked], () => timeline(journal, { filter: world.filter, shown: world.rows, chosen: asked.kind === "act" ? asked.id : null }));
  part("explanation", [cluster?.leader, cluster?.open, cluster?.members.length, asked, explanation, foretold, explainError], () => why({ cluster, asked, explanation, foretold, error: explainError }));
  part("foot", [cluster?.reporter, session.base], () => foot(cluster));
  sheet.render();
}

function foot(cluster) {
  const link = (path) => h("a", { href: session.base + path }, path);
  return [h("p", { class: "quiet" }, "The same facts for programs: ", ["v1/cluster", "v1/history", "v1/journal", "v1/alerts", "v1/proxies", "v1/events", "metrics", "openapi.json"].map((path) => [link(path), " "])),
    cluster?.reporter && h("p", { class: "quiet" }, `As ${cluster.reporter}'s agent sees it. On a terminal: dauphin status --watch`)];
}

// What is known.

let later = 0;

function heard(kind, data) {
  if (kind === "cluster") {
    const before = world.cluster;
    world.cluster = data;
    openness(world.series, Date.now(), data.open, data.term);
    const said = announcement(before, data);
    if (said) announce(said);
    if (!before || before.term !== data.term || before.leader !== data.leader || before.open !== data.open || before.health !== data.health || before.paused !== data.paused) refresh();
    if (before && data.open && (before.term !== data.term || !before.open)) setTimeout(whyAgain, SHARED_AFTER);
  }
  if (kind === "journal") {
    world.journal = merge(world.journal, [data]);
    clearTimeout(later);
    later = setTimeout(askJournal, SHARED_AFTER);
  }
  draw();
}

/** The last act's story goes on by itself, and so does how a member stands; what a person asked for otherwise stays. */
function whyAgain() {
  if (world.asked.kind === "last" || world.asked.kind === "member") explain(world.asked);
}

async function keep(name, asked) {
  try {
    world[name] = await asked;
    draw();
  } catch {
    // what is shown stays; that it is not live is said elsewhere
  }
}

async function askJournal() {
  const last = world.journal[world.journal.length - 1];
  const after = last ? `&after=${Math.max(0, last.id - LATE_US)}` : "";
  try {
    const { entries } = await get(`v1/journal?limit=${ENTRIES}${after}`);
    world.journal = merge(world.journal, entries);
    draw();
  } catch {
    // as above
  }
}

function refresh() {
  askJournal();
  keep("history", get("v1/history").then((d) => d.history));
  keep("alerts", get("v1/alerts").then(tellNew));
  keep("store", get("v1/store"));
  keep("proxies", get("v1/proxies"));
  if (world.cluster?.members.some((m) => m.pending_restart)) keep("pending", get("v1/config").then((d) => d.pending_restart));
}

/** Says aloud what was raised since the last look. */
function tellNew(found) {
  const known = new Set(world.alerts?.alerts.map((a) => a.id));
  const raised = world.alerts ? found.alerts.filter((a) => !known.has(a.id)) : [];
  if (raised.length) announce(raised.map((a) => `${a.level}: ${a.text}.`).join(" "));
  return found;
}

async function explain(asked) {
  world.asked = asked;
  const path = asked.kind === "what-if" ? "v1/what-if" : "v1/explain";
  const query = { last: "", "what-if": `?${asked.query}`, act: `?id=${asked.id}`, member: `?member=${encodeURIComponent(asked.member ?? "")}` }[asked.kind];
  try {
    const found = await get(path + query);
    if (world.asked !== asked) return;
    world.explainError = null;
    [world.explanation, world.foretold] = asked.kind === "what-if" ? [null, found] : [found, null];
  } catch (error) {
    if (world.asked !== asked) return;
    [world.explanation, world.foretold, world.explainError] = [null, null, error];
  }
  draw();
}

/** Says it to screen readers. What came shortly before stays: it may not have been read out yet. */
function announce(text) {
  const said = place("said");
  said.append(h("p", null, text));
  while (said.childElementCount > SAID_MAX) said.firstChild.remove();
}

// What is pressed.

const act = (name, args = {}) => sheet.open({ kind: "act", act: name, args });

const ACTS = {
  switchover: () => act("switchover", { member: null }),
  "switchover-to": ({ member }) => act("switchover", { member }),
  failover: ({ member }) => act("failover", { member, accept: false }),
  restart: ({ member }) => act("restart", { member }),
  "restart-all": () => act("restart", {}),
  "restart-pending": () => act("restart", { ifPending: true }),
  reinit: ({ member }) => act("reinit", { member }),
  pause: () => act("pause"),
  resume: () => act("resume"),
  member: ({ member }) => sheet.open({ kind: "member", member }),
  close: () => sheet.close(),
  "sign-in": () => sheet.open({ kind: "sign-in", token: "", then: sheet.kind === "act" ? { kind: "act", act: sheet.current.act, args: sheet.current.args } : null }),
  "sign-out": () => {
    session.signOut();
    announce("Signed out: this page is a viewer.");
  },
  theme: () => setTheme(!isDark()),
  unit: ({ unit }) => (world.unit = unit),
  older: () => (world.rows += ROWS),
  "all-terms": () => (world.terms = Infinity),
  explain: ({ id }) => {
    explain(id ? { kind: "act", id: Number(id), member: null } : { kind: "last", id: null, member: null });
    lookAtWhy();
  },
  "explain-member": ({ member }) => {
    sheet.close();
    explain({ kind: "member", id: null, member });
    lookAtWhy();
  },
  "what-if": ({ query }) => {
    sheet.close();
    explain({ kind: "what-if", id: null, member: null, query });
    lookAtWhy();
  },
  ack: ({ id }) => quietly("v1/alerts/ack", { id: Number(id) }),
  unsilence: ({ id }) => quietly("v1/alerts/unsilence", { id: Number(id) }),
  silence: ({ member, kind }) => sheet.open({ kind: "silence", member, what: kind, seconds: "7200" }),
};

/** Where the answer is not in sight, the page goes there. */
function lookAtWhy() {
  const box = place("why").getBoundingClientRect();
  if (box.top > innerHeight * 0.8 || box.bottom < 0) place("why").scrollIntoView({ block: "start" });
}

/** A small command without a dialog: only a refusal opens one. */
async function quietly(path, body) {
  try {
    announce((await post(path, body)).message);
  } catch (error) {
    announce(`Not done: ${error.message}`);
    sheet.open({ kind: error.status === 401 || error.status === 403 ? "sign-in" : "told", token: "", error });
  }
  refresh();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-act]");
  if (!button) return;
  if (!world.cluster && !["theme", "sign-in", "sign-out", "close"].includes(button.dataset.act)) return;
  ACTS[button.dataset.act]?.({ ...button.dataset });
  draw();
});

document.addEventListener("input", (event) => {
  if (event.target.name !== "filter") return;
  world.filter = event.target.value;
  world.rows = ROWS;
  draw();
});

draggable(place("picture"), (name) => act("switchover", { member: name }));

place("chart").addEventListener("pointermove", (event) => {
  const plot = place("chart").querySelector("[data-plot]");
  if (!plot) return;
  const left = plot.getBoundingClientRect().left;
  world.hover = momentAt(event.clientX - left, { width: widthOf("chart"), now: Date.now(), start });
  draw();
});
place("chart").addEventListener("pointerleave", () => {
  world.hover = null;
  draw();
});

// Light and dark: as the system says, unless a person said otherwise.

function isDark() {
  const said = document.documentElement.dataset.theme;
  return said ? said === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  try {
    localStorage.setItem("dauphin.theme", dark ? "dark" : "light");
  } catch {
    // it lasts as long as the page
  }
}

try {
  const said = localStorage.getItem("dauphin.theme");
  if (said === "dark" || said === "light") document.documentElement.dataset.theme = said;
} catch {
  // as the system says
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

// Going on.

addEventListener("scroll", () => world.cluster?.members.length > MANY && draw(), { passive: true });
new ResizeObserver(draw).observe(place("picture"));
setInterval(() => {
  sample(world.series, Date.now(), world.live.live ? world.cluster : null);
  draw();
}, 1000);
setInterval(() => world.live.live && refresh(), ASK_EVERY);

let first = true;
follow(() => bases(world.cluster, location.origin), {
  event: heard,
  state: (state) => {
    const was = world.live;
    world.live = state;
    if (was.live && !state.live) announce("Not live any more: what is shown may be old.");
    if (!was.live && state.live) {
      if (!first) announce("Live again.");
      first = false;
      refresh();
      explain(world.asked);
    }
    draw();
  },
});
draw();
