// The stream of events, kept alive: when the agent that the page came from goes silent, another member's is asked.
// It says at any moment whether what the page shows is live, through whom, and since when not.

import { headers, session } from "./session.js";
import { reader } from "./sse.js";

/** An agent says at least every 2 s that it lives; silence for longer means that it does not. */
const SILENCE_MAX = 5000;
/** Longest wait for a stream to begin. */
const CONNECT_MAX = 2500;
/** Rest after all were asked in vain, and after a stream that lived. */
const REST = 700;
const REST_AFTER_LIFE = 50;

/** The members' addresses, the page's own origin first; "" stands for that. Pure. */
export function bases(cluster, origin) {
  const own = { name: null, url: "" };
  const others = [];
  for (const member of cluster?.members ?? []) {
    if (!member.host || !member.api_port) continue;
    const host = member.host.includes(":") ? `[${member.host}]` : member.host;
    const url = `http://${host}:${member.api_port}`;
    if (url === origin) own.name = member.name;
    else others.push({ name: member.name, url: `${url}/` });
  }
  return [own, ...others];
}

/**
 * Follows the cluster until the page is closed. `known()` gives the addresses, `on.event(kind, data)` hears what happens,
 * `on.state({ live, since, through, tried })` whether it is live.
 */
export async function follow(known, on) {
  let failed = null;
  let since = Date.now();
  for (;;) {
    const all = known();
    // who went silent is asked last: it may stand still, and would let the page wait
    const order = [...all.filter((b) => b.url !== failed), ...all.filter((b) => b.url === failed)];
    let lived = false;
    for (const base of order) {
      await listen(base.url, (kind, data) => {
        if (!lived) {
          lived = true;
          since = Date.now();
          session.base = base.url;
          on.state({ live: true, since, through: base, tried: [] });
        }
        on.event(kind, data);
      });
      failed = base.url;
      if (lived) since = Date.now();
      on.state({ live: false, since, through: base, tried: all });
      if (lived) break;
    }
    await new Promise((wake) => setTimeout(wake, lived ? REST_AFTER_LIFE : REST));
  }
}

/** Reads one stream to its end, however it ends. `heard` is called for each event. */
async function listen(url, heard) {
  const control = new AbortController();
  let watch = setTimeout(() => control.abort(), CONNECT_MAX);
  try {
    const answer = await fetch(`${url}v1/events`, {
      headers: headers({ Accept: "text/event-stream" }),
      signal: control.signal,
      cache: "no-store",
    });
    if (!answer.ok || !answer.body) return;
    const read = reader((kind, data) => heard(kind, JSON.parse(data)));
    const decoder = new TextDecoder();
    const stream = answer.body.getReader();
    for (;;) {
      const { value, done } = await stream.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => control.abort(), SILENCE_MAX);
      read(decoder.decode(value, { stream: true }));
    }
  } catch {
    // whatever it was, the stream is over, and the caller says so
  } finally {
    clearTimeout(watch);
    control.abort();
  }
}
