// In what the members' configuration differs from the shared one, and from each other's. Judgement and a view; it asks for nothing.

import { h } from "./dom.js";
import { list } from "./words.js";

/** What a member has of its own by the specification, as opposed to what somebody or a restart has to put right. */
const OWN = { priority: "priority", never_leader: "never leads", zone: "zone", reporting: "for reporting", follow: "receives from", delay: "applies late by" };

/** For each member that differs: `waits` for a restart with these settings, `byHand` those set on its server, `own` what the specification says of it alone. */
export function differences(cluster, pending) {
  return cluster.members.flatMap((m) => {
    const waits = m.pending_restart ? pending?.[m.name] ?? ["some of its settings"] : [];
    const byHand = (m.remarks ?? []).filter((r) => r.code === "set_by_hand" || r.code === "set_back").map((r) => r.text);
    const own = Object.entries(m.tags ?? {}).map(([key, value]) => (value === true ? OWN[key] ?? key : `${OWN[key] ?? key} ${value}`));
    return waits.length || byHand.length || own.length ? [{ member: m.name, waits, byHand, own }] : [];
  });
}

/** Below the members' table. */
export function view(cluster, pending) {
  const all = differences(cluster, pending);
  const wrong = all.filter((d) => d.waits.length || d.byHand.length);
  const head = !all.length ? "Configuration: every member has the shared one, and nothing of its own" : wrong.length ? `Configuration: ${list(wrong.map((d) => d.member))} ${wrong.length === 1 ? "differs" : "differ"} from the shared one` : "Configuration: as shared, with what is a member's own";
  if (!all.length) return h("p", { class: "quiet" }, `${head}.`);
  return h("details", { class: "differences", open: wrong.length > 0 }, h("summary", null, head),
    h("ul", null, all.map((d) => h("li", { key: d.member }, h("strong", null, d.member), ": ", [
      d.waits.length > 0 && `waits for a restart for ${list(d.waits)}`,
      ...d.byHand,
      d.own.length > 0 && `of its own: ${d.own.join(", ")}`,
    ].filter(Boolean).join("; ")))),
    wrong.some((d) => d.waits.length) && h("p", { class: "quiet" }, "dauphin restart --all --if-pending restarts those that wait, one after the other, the leader last."));
}
