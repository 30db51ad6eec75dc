// The head of the page: cluster, live or not, who the person is; below it the verdict and the few facts behind it.
// Views only: what is pressed is `main`'s to do.

import { h } from "./dom.js";
import { crown, dot, theme } from "./icons.js";
import { promise, verdict } from "./verdict.js";
import { clock, seconds } from "./words.js";

/** The bar on top. */
export function bar({ cluster, live, signedIn, dark, now }) {
  return [
    h("p", { class: "brand" }, h("span", { class: "mark" }, crown(20)), h("strong", null, cluster?.cluster ?? "Dauphin"),
      cluster && h("span", { class: "quiet engine" }, `${cluster.engine}${cluster.engine_version ? ` ${cluster.engine_version}` : ""}`)),
    livePart(live, cluster, now),
    h("div", { class: "who" },
      h("span", { class: "role" }, signedIn ? "operator" : "viewer"),
      signedIn
        ? h("button", { type: "button", class: "quiet-button", "data-act": "sign-out" }, "Sign out")
        : h("button", { type: "button", class: "quiet-button", "data-act": "sign-in", title: "Paste the cluster's token" }, "Sign in…"),
      h("button", { type: "button", class: "icon-button", "data-act": "theme", "aria-label": dark ? "Use light colours" : "Use dark colours", title: dark ? "Light" : "Dark" }, theme(dark))),
  ];
}

function livePart(live, cluster, now) {
  if (live.live) {
    const elsewhere = live.through?.url ? `, through ${live.through.name}` : "";
    const reporter = !elsewhere && cluster?.reporter ? `, from ${cluster.reporter}` : "";
    return h("p", { class: "live on" }, h("span", { class: "pulse", "aria-hidden": "true" }), `Live${elsewhere}${reporter}`);
  }
  return h("p", { class: "live off" }, h("span", { class: "pulse", "aria-hidden": "true" }),
    cluster ? `Not live since ${clock(live.since)} (${seconds((now - live.since) / 1000)})` : "Connecting…");
}

/** The verdict, its facts, and what is wrong. */
export function head({ cluster, live, store, signedIn }) {
  if (!cluster) return [h("h1", null, live.tried.length ? "No agent answers" : "Asking the agent…")];
  const is = verdict(cluster);
  const stale = !live.live;
  const facts = [
    ["Term", cluster.term ?? "–"],
    ["Leader", cluster.leader ? `${cluster.leader}${cluster.open ? "" : ", not open"}` : "none"],
    ["Health", cluster.health_seconds > 0 ? `${cluster.health} for ${seconds(cluster.health_seconds)}` : cluster.health],
    ["Durability", `${cluster.durability}${cluster.degraded ? ", degraded" : ""}`],
    ["Automatic failover", cluster.paused ? "paused" : "on"],
    cluster.profile && ["Profile", cluster.profile],
    store && ["Store", `${store.leader ? `${store.leader} leads` : "no leader"}, ${store.members.filter((m) => m.role !== "learner").length} votes`],
    cluster.intent && ["Under way", `${cluster.intent.kind}${cluster.intent.to ? ` to ${cluster.intent.to}` : ""} since ${clock(cluster.intent.since)}`],
  ].filter(Boolean);
  return [
    stale && h("div", { class: "notice bad stale", role: "alert" },
      h("strong", null, `Not live since ${clock(live.since)}. `), "What is shown is how it was then. Asked again and again: ",
      live.tried.map((base, index) => [index > 0 && ", ", h("a", { href: base.url || location.href }, base.name ?? location.host)]), "."),
    h("h1", { class: is.tone }, dot(is.tone), is.text),
    h("p", { class: "promise" }, promise(cluster)),
    h("dl", { class: "facts-line" }, facts.map(([name, value]) => h("div", { key: name, class: name === "Automatic failover" && cluster.paused ? "warn" : "" }, h("dt", null, name), h("dd", null, String(value))))),
    cluster.problems.length > 0 && h("ul", { class: "problems", "aria-label": "Problems" }, cluster.problems.map((text) => h("li", { key: text }, text))),
    h("div", { class: "buttons wrap main-acts", role: "group", "aria-label": "Acts on the cluster" },
      h("button", { type: "button", class: "solid", "data-act": "switchover" }, "Hand over…"),
      cluster.paused
        ? h("button", { type: "button", class: "quiet-button", "data-act": "resume" }, "Resume failover…")
        : h("button", { type: "button", class: "quiet-button", "data-act": "pause" }, "Pause failover…"),
      h("button", { type: "button", class: "quiet-button", "data-act": "restart-all" }, "Restart all…"),
      cluster.members.some((m) => m.pending_restart) && h("button", { type: "button", class: "quiet-button", "data-act": "restart-pending" }, "Restart where pending…"),
      !signedIn && h("span", { class: "quiet" }, "You are a viewer: acts need the token.")),
  ];
}
