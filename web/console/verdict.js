// The cluster's document as the sentences that a person reads first. Pure; tested in web/test.
// It says again what the agent says and decides nothing: the document's own words go before any of these.

import { list } from "./words.js";

const AWAY = ["unreachable", "stopped", "crashed"];
const BACK = ["rejoining", "rewinding", "cloning", "starting"];

/** Members that hold commits before these are acknowledged. */
export function voters(cluster) {
  return cluster.members.filter((m) => m.sync_state === "quorum" || m.sync_state === "sync");
}

/** How it stands, in one sentence, with its tone: good, watch or bad. */
export function verdict(cluster) {
  const { leader, open, term } = cluster;
  if (!leader) return { tone: "bad", text: "No leader yet: nothing takes writes" };
  if (!open && cluster.intent) {
    const to = cluster.intent.to ? ` to ${cluster.intent.to}` : "";
    return { tone: "watch", text: `Leadership is being handed over${to}: writes wait for a moment` };
  }
  if (!open) return { tone: "bad", text: `No leader is open: writes wait. ${leader} led last, in term ${term}` };
  if (cluster.commits_wait) return { tone: "bad", text: `${leader} leads, but commits wait for replicas that are not there` };
  const rest = cluster.members.filter((m) => m.name !== leader);
  const away = rest.filter((m) => AWAY.includes(m.state)).map((m) => m.name);
  const fenced = rest.filter((m) => m.state === "fenced").map((m) => m.name);
  const back = rest.filter((m) => BACK.includes(m.state));
  if (away.length) return { tone: "watch", text: `${leader} leads and takes writes, without ${list(away)}` };
  if (fenced.length) {
    return { tone: "watch", text: `${leader} leads and takes writes; ${list(fenced)} ${fenced.length > 1 ? "are" : "is"} fenced` };
  }
  if (back.length) {
    const each = back.map((m) => `${m.name} is ${m.state}`);
    return { tone: "watch", text: `${leader} leads and takes writes; ${list(each)}` };
  }
  if (cluster.degraded) return { tone: "watch", text: `${leader} leads, with fewer copies of each commit than promised` };
  const behind = rest.filter((m) => m.alert && m.alert !== "ok").map((m) => m.name);
  if (behind.length) {
    return { tone: "watch", text: `${leader} leads and takes writes; ${list(behind)} ${behind.length > 1 ? "lag" : "lags"} behind` };
  }
  if (cluster.paused) return { tone: "watch", text: `${leader} leads and takes writes; nobody would take over: failover is paused` };
  if (cluster.health !== "healthy") {
    return { tone: "watch", text: `${leader} leads and takes writes; ${cluster.health_reason ?? "something wants a look"}` };
  }
  return { tone: "good", text: `All is well: ${leader} leads and takes writes` };
}

/** What an acknowledged commit rests on just now. */
export function promise(cluster) {
  const names = voters(cluster).map((m) => m.name);
  if (!cluster.open) return "No commit is acknowledged until a leader is open.";
  if (cluster.durability === "async") return "Commits wait for no replica: a failover may lose the last moment.";
  if (cluster.degraded) return "Commits are acknowledged with fewer copies than the durability promises.";
  if (!names.length) return "No replica holds commits just now.";
  if (cluster.durability === "sync") return `Each commit is also on ${list(names)} before it is acknowledged.`;
  // an election must hear so many of them that it meets whoever holds the commit
  const needed = cluster.answers ? Math.max(1, names.length - cluster.answers + 1) : 1;
  if (needed === names.length) return `Each commit is also on ${list(names)} before it is acknowledged.`;
  return `Each commit is also on ${needed === 1 ? "" : `${needed} of `}${list(names, "or")} before it is acknowledged.`;
}

/** A member's place in the picture: how its card is toned. */
export function tone(member) {
  if (AWAY.includes(member.state)) return "bad";
  if (member.state !== "running") return "watch";
  if (member.remarks?.some((r) => r.critical)) return "bad";
  if (member.alert === "critical" || member.alert === "emergency") return "bad";
  if (member.alert === "warning" || member.remarks?.length) return "watch";
  return "good";
}

/** What of a change should be said aloud; null when nothing of it should. */
export function announcement(before, after) {
  if (!before) return null;
  if (after.open && after.leader && (before.leader !== after.leader || before.term !== after.term || !before.open)) {
    return `${after.leader} leads in term ${after.term} and takes writes.`;
  }
  if (before.open && !after.open) return "No leader is open: writes wait.";
  if (before.health !== after.health) return `The cluster is in ${after.health}. ${verdict(after).text}.`;
  if (before.paused !== after.paused) return after.paused ? "Automatic failover is paused." : "Automatic failover is on.";
  return null;
}
