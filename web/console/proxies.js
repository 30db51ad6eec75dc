// The proxies that the agent hears, with their pools, and what the agent says of each. Views only.

import { h } from "./dom.js";
import { dot } from "./icons.js";
import { DASH, count, seconds } from "./words.js";

/** How a proxy stands: [tone, sentence], by what the agent says of it. */
export function stands(proxy) {
  if (proxy.note) return [proxy.critical ? "bad" : "watch", proxy.note];
  if (proxy.waiting > 0) return ["watch", `${count(proxy.waiting, "client")} ${proxy.waiting === 1 ? "waits" : "wait"} for a server`];
  return ["good", `sends clients to ${proxy.leader}`];
}

/** The table; nothing where no proxy is heard. */
export function view(document) {
  if (!document) return h("p", { class: "empty" }, "Not heard yet.");
  if (!document.proxies.length) return h("p", { class: "empty" }, "No proxy is heard. Clients may connect straight to the members.");
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Proxies, a table" },
    h("table", null,
      h("thead", null, h("tr", null, ["Proxy", "Clients"].map((name, at) => h("th", { scope: "col", class: at ? "number" : null }, name)), ["How it stands", "Listens on", "For"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, document.proxies.map(row))));
}

function row(proxy) {
  const [tone, text] = stands(proxy);
  return h("tr", { key: `${proxy.name} ${proxy.host} ${proxy.pid}`, class: tone },
    h("th", { scope: "row" }, dot(tone), proxy.name, h("span", { class: "quiet" }, ` ${proxy.host}, process ${proxy.pid}${proxy.zone ? `, zone ${proxy.zone}` : ""}`)),
    h("td", { class: "number" }, `${proxy.clients} of ${proxy.clients_max}`),
    h("td", null, text, proxy.pools.length > 0 && h("details", null, h("summary", null, count(proxy.pools.length + proxy.more_pools, "pool")), pools(proxy))),
    h("td", { class: "mono" }, proxy.listen || DASH),
    h("td", null, seconds(proxy.up_seconds)));
}

const pools = (proxy) => [
  h("table", { class: "pools" },
    h("thead", null, h("tr", null, ["Database", "User"].map((name) => h("th", { scope: "col" }, name)), ["Clients", "Waiting", "Longest wait", "Servers busy", "Free"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", null, proxy.pools.map((p) => h("tr", { key: `${p.database} ${p.user}`, class: p.waiting ? "watch" : "good" },
      h("td", null, p.database), h("td", null, p.user),
      [p.clients, p.waiting, p.waiting ? seconds(p.longest_wait_ms / 1000) : DASH, p.servers_busy, p.servers_idle].map((figure) => h("td", { class: "number" }, String(figure))))))),
  proxy.more_pools > 0 && h("p", { class: "quiet" }, `and ${count(proxy.more_pools, "pool")} more: SHOW POOLS on its console`),
];
