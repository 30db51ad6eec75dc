// The panels beside the picture: alerts with what people may do about them, and the history of terms.
// Views only: what is pressed is `main`'s to do.

import { h } from "./dom.js";
import { dot } from "./icons.js";
import { ago, dayAndClock } from "./words.js";

const TONE = { warning: "watch", critical: "bad", emergency: "bad" };

/** The alerts, the silences, and the places that cannot be told. */
export function alerts(document, now) {
  if (!document) return h("p", { class: "empty" }, "Not heard yet.");
  const failing = document.places?.filter((p) => p.failing) ?? [];
  return [
    !document.alerts.length && h("p", { class: "empty calm" }, dot("good"), " Nothing is wrong that anybody should be told of."),
    h("ul", { class: "alerts" }, document.alerts.map((a) => alert(a, now))),
    document.silences.length > 0 && h("ul", { class: "silences" }, document.silences.map((s) => h("li", { key: s.id },
      h("span", null, "Silenced: ", h("strong", null, `${s.member ?? "all"}${s.kind ? ` (${s.kind})` : ""}`), ` until ${dayAndClock(s.until, now)}, by ${s.by || "somebody"}: ${s.because}`),
      h("button", { type: "button", class: "plain", "data-act": "unsilence", "data-id": s.id }, "End")))),
    failing.map((p) => h("p", { class: "notice watch", key: p.name }, `${p.name} (${p.kind}) is not reached: ${p.failing}`)),
    document.alerts.length > 0 && document.places && !document.places.length && h("p", { class: "quiet" }, "Nobody is told: no [[notify]] is configured."),
  ];
}

function alert(a, now) {
  const state = a.silenced ? "silenced" : a.acknowledged_by ? `in hand: ${a.acknowledged_by}` : a.told ? `told ${ago(a.told, now)}` : "not told yet";
  return h("li", { class: `alert ${TONE[a.level] ?? "watch"}`, key: a.id },
    dot(TONE[a.level] ?? "watch"),
    h("div", null,
      h("p", null, h("span", { class: "level" }, a.level), " ", h("strong", null, a.text)),
      h("p", { class: "next" }, a.next),
      h("p", { class: "acts" },
        h("span", { class: "quiet" }, `${ago(a.since, now)} · ${state}`),
        !a.acknowledged_by && h("button", { type: "button", class: "plain", "data-act": "ack", "data-id": a.id, "aria-label": `Acknowledge: ${a.text}` }, "Acknowledge"),
        !a.silenced && h("button", { type: "button", class: "plain", "data-act": "silence", "data-member": a.member, "data-kind": a.kind, "aria-label": `Silence: ${a.text}` }, "Silence…"))));
}

/** Who led when, newest first. */
export function terms(history, shown) {
  if (!history) return h("p", { class: "empty" }, "Not heard yet.");
  const latest = history.slice(-shown).reverse();
  if (!latest.length) return h("p", { class: "empty" }, "Nobody has led yet.");
  return [
    h("ol", { class: "terms", "aria-label": "Terms, newest first" }, latest.map((t) => h("li", { key: t.term, class: t.kind.replace(" ", "-") },
      h("span", { class: "number" }, String(t.term)),
      h("div", null,
        h("p", null, h("strong", null, t.leader), " ", h("span", { class: "kind" }, t.kind), " ", h("time", { class: "quiet", datetime: t.at }, dayAndClock(t.at))),
        h("p", { class: "quiet" }, `${t.timeline == null ? "" : `timeline ${t.timeline}`}${t.switch_position && t.switch_position !== "0/0" ? ` from ${t.timeline == null ? "transaction " : ""}${t.switch_position}` : ""}`),
        h("details", null, h("summary", null, "why"), h("p", { class: "quiet" }, t.reason)),
        t.lost && h("p", { class: "lost" }, `Lost: ${t.lost}`))))),
    history.length > shown && h("button", { type: "button", class: "plain", "data-act": "all-terms" }, `Show all ${history.length}`),
  ];
}
