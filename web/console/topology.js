// The picture of the cluster: cards on the places that `layout` gives, links with their lag, the crown that can be dragged.
// It draws what the document says; what a drop means is the caller's.

import { h, later } from "./dom.js";
import { crown, dot } from "./icons.js";
import { layout } from "./layout.js";
import { tone } from "./verdict.js";
import { bytes, lag, seconds } from "./words.js";

/** How far a pointer must move before the crown is lifted; less is a click. */
const LIFT = 5;

/** A click so soon after a drag belongs to it, in milliseconds. */
const CLICK_WITHIN = 50;

const CUT = ["unreachable", "stopped", "crashed", "fenced", "cloning", "rewinding"];

/** The picture for this width. Of many cards those that `seen(y, height)` leaves out keep figures that moved meanwhile. */
export function picture(cluster, width, seen = () => true) {
  const shape = layout(cluster, width);
  const by = new Map(cluster.members.map((m) => [m.name, m]));
  const links = shape.links.map((link) => drawn(link, by, cluster, shape.mode));
  const labels = shape.links.filter((link) => link.label).map((link) => figure(link, by, cluster));
  const zones = shape.zones.map((zone) =>
    h("div", { class: "zone", key: zone.name, css: box(zone) }, h("span", null, zone.name)));
  const place = new Map(shape.nodes.map((n) => [n.name, n]));
  // in the document's order for whoever tabs through it, wherever each stands
  const nodes = cluster.members.map((m) => {
    const at = place.get(m.name);
    const make = () => card(m, at, cluster, shape.mode);
    return shape.mode === "grid" ? later("li", m.name, facts(m, at, cluster, seen), make) : make();
  });
  return h("div", { class: `stage ${shape.mode}`, css: { height: `${shape.height}px` } },
    zones,
    h("svg", { class: "links", width, height: shape.height, "aria-hidden": "true" }, links),
    labels,
    h("ul", { class: "nodes", "aria-label": "Members" }, nodes));
}

const box = ({ x, y, w, h: height }) => ({ left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${height}px` });

/** Whether nothing comes along the link: by its member's fault, or because there is nobody at its other end. */
const sourceGone = (source, cluster) => CUT.includes(source.state) || (source.name === cluster.leader && !cluster.open);

function linkKind(member, source, cluster) {
  if (CUT.includes(member.state)) return "cut";
  if (sourceGone(source, cluster)) return "idle";
  return member.sync_state === "quorum" || member.sync_state === "sync" ? "voter" : "async";
}

function drawn(link, by, cluster, mode) {
  const member = by.get(link.to);
  const kind = linkKind(member, by.get(link.from), cluster);
  const late = member.alert && member.alert !== "ok" ? `late ${member.alert}` : "";
  return h("g", { class: `link ${kind} ${late}`, key: `${link.from}-${link.to}` },
    h("path", { class: "rail", d: link.d }),
    (kind === "voter" || kind === "async") && mode !== "grid" && h("path", { class: "flow", d: link.d }));
}

function figure(link, by, cluster) {
  const member = by.get(link.to);
  const waits = sourceGone(by.get(link.from), cluster);
  const cut = CUT.includes(member.state);
  const late = member.alert && member.alert !== "ok" ? member.alert : "";
  return h("div", { class: `figure ${late} ${cut ? "cut" : ""}`, key: link.to, css: { left: `${link.label.x}px`, top: `${link.label.y}px` }, "aria-hidden": "true" },
    waits && !cut ? "waits" : cut ? `not following${member.lag_seconds ? ` · ${seconds(member.lag_seconds)}` : ""}` : lag(member), !waits && trend(member));
}

/** Whether it comes closer, as an arrow with words behind it. */
export function trend(member) {
  if (!member.lag_bytes || !member.lag_trend) return null;
  const closer = member.lag_trend < 0;
  const text = closer
    ? `comes closer${member.catch_up_seconds ? `, has all in ${seconds(member.catch_up_seconds)}` : ""}`
    : `falls behind by ${bytes(member.lag_trend)} a second`;
  return h("span", { class: closer ? "closer" : "farther", title: text }, closer ? " ↓" : " ↑");
}

/** What a small card shows. */
function facts(member, place, cluster, seen) {
  const leads = member.name === cluster.leader;
  const whole = [place.x, place.y, place.w, member.role, member.state, member.alert, member.sync_state, leads, leads && cluster.open];
  return [...whole, seen(place.y, place.h) ? lag(member) : null];
}

function card(member, place, cluster, mode) {
  const leads = member.name === cluster.leader;
  const open = leads && cluster.open;
  const how = tone(member);
  const role = leads ? (open ? "leader" : "leader, not open") : member.role;
  const well = member.state === "running";
  // there is room for what is not as usual
  const state = mode === "grid" && !leads ? (!well ? member.state : role === "replica" ? "" : role) : well ? role : `${role}, ${member.state}`;
  const sync = member.sync_state;
  const busy = ["cloning", "rewinding", "rejoining", "starting"].includes(member.state);
  const behind = member.role === "replica" && (mode === "list" || mode === "grid");
  return h("li", { class: `node ${how} ${leads ? "leads" : ""} ${busy ? "busy" : ""}`, key: member.name, "data-node": member.name, css: box(place) },
    leads && h("button", {
      class: `crown ${open ? "open" : ""}`, type: "button", "data-act": "switchover", "data-crown": true,
      "aria-label": `${member.name} wears the crown: hand leadership over`,
      title: "Drag the crown to a replica, or press it, to hand leadership over",
    }, crown(mode === "grid" ? 18 : 24)),
    h("button", { class: "name", type: "button", "data-act": "member", "data-member": member.name, "aria-haspopup": "dialog" },
      dot(how), h("strong", null, member.name), h("span", { class: "state" }, state)),
    mode !== "grid" && h("p", { class: "line" },
      sync && h("span", { class: `chip ${sync}` }, sync),
      !sync && member.role === "replica" && h("span", { class: "chip none" }, "no vote"),
      member.role === "witness" ? h("span", { class: "chip none" }, "a vote, no data") : h("span", { class: "mono" }, member.position ?? "–"),
      mode === "list" && member.tags?.zone && h("span", { class: "chip zone-chip" }, member.tags.zone)),
    mode !== "grid" && h("p", { class: "line quiet" }, note(member, cluster, behind)),
    mode === "grid" && member.role === "replica" && h("p", { class: "line quiet" }, lag(member), (sync === "quorum" || sync === "sync") && ` · ${sync}`),
    busy && h("span", { class: "bar", "aria-hidden": "true" }));
}

function note(member, cluster, behind) {
  if (member.detail) return member.detail;
  if (member.remarks?.length) return member.remarks[0].text;
  if (member.pending_restart) return "a setting waits for a restart";
  if (behind) return [`behind ${lag(member)}`, trend(member)];
  if (member.name === cluster.leader) return `${member.timeline == null ? "" : `timeline ${member.timeline} · `}term ${cluster.term ?? "–"}`;
  return member.timeline ? `timeline ${member.timeline}` : "";
}

/** Lets the crown be dragged from its leader to a replica's card. `onDrop(name)` hears where it was let go. */
export function draggable(root, onDrop) {
  let held = null;
  let ended = -Infinity;
  const over = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest?.("[data-node]");
  const mark = (node) => {
    for (const each of root.querySelectorAll(".heir")) if (each !== node) each.classList.remove("heir");
    node?.classList.add("heir");
  };
  const fits = (node) => node && !node.classList.contains("leads");
  const drop = () => {
    held?.ghost?.remove();
    document.body.classList.remove("dragging");
    mark(null);
    held = null;
  };
  root.addEventListener("pointerdown", (event) => {
    const from = event.target.closest?.("[data-crown]");
    if (!from || event.button !== 0) return;
    held = { from, x: event.clientX, y: event.clientY, id: event.pointerId, ghost: null };
  });
  window.addEventListener("pointermove", (event) => {
    if (!held || event.pointerId !== held.id) return;
    if (!held.ghost) {
      if (Math.hypot(event.clientX - held.x, event.clientY - held.y) < LIFT) return;
      held.ghost = h("div", { class: "ghost", "aria-hidden": "true" }, crown(30));
      document.body.append(held.ghost);
      document.body.classList.add("dragging");
    }
    held.ghost.style.setProperty("left", `${event.clientX}px`);
    held.ghost.style.setProperty("top", `${event.clientY}px`);
    const node = over(event);
    mark(fits(node) ? node : null);
  });
  window.addEventListener("pointerup", (event) => {
    if (!held || event.pointerId !== held.id) return;
    const dragged = held.ghost !== null;
    const node = dragged ? over(event) : null;
    drop();
    if (!dragged) return;
    ended = event.timeStamp;
    if (fits(node)) onDrop(node.dataset.node);
  });
  // the click that a browser makes of the end of a drag is none
  window.addEventListener("click", (event) => event.timeStamp - ended < CLICK_WITHIN && event.stopPropagation(), true);
  window.addEventListener("pointercancel", drop);
  window.addEventListener("keydown", (event) => event.key === "Escape" && held && drop());
}
