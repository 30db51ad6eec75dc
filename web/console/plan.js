// What an act will do, told before it is done: the words, what to mind, what must be typed, and the request. Pure; tested
// in web/test. The cluster's own checks decide; what is said here only spares a person the way to a refusal.

import { amount, bytes, list, seconds } from "./words.js";

/** The core refuses to hand over to a replica that is further behind. */
const BEHIND_MAX = 16 * 1024 * 1024;
/** The same of MySQL and MariaDB, which apply while clients wait: in seconds. */
const APPLIES_MAX = 2;

/** Why this member could not take over just now, in words; null when nothing speaks against it. */
export function unfit(member) {
  if (member.role === "witness") return "it is a witness, without data";
  if (member.tags?.never_leader) return "it is configured never to lead";
  if (member.tags?.reporting) return "it is there for reports";
  if (member.state !== "running") return `it is ${member.state}`;
  if (member.lag_bytes > BEHIND_MAX) return `it is ${bytes(member.lag_bytes)} behind`;
  if (member.lag_transactions > 0 && member.lag_seconds > APPLIES_MAX) return `it is ${seconds(member.lag_seconds)} behind`;
  return null;
}

/** Members that leadership could be handed to, the fit ones first. */
export function candidates(cluster) {
  const others = cluster.members.filter((m) => m.name !== cluster.leader && m.role !== "witness");
  return others.sort((a, b) => (unfit(a) !== null) - (unfit(b) !== null));
}

/** The plan of an act; `args` as its kind needs them: `{ member, accept, ifPending }`. */
export function plan(kind, cluster, args = {}) {
  return PLANS[kind](cluster, args);
}

const member = (cluster, name) => cluster.members.find((m) => m.name === name);

const PLANS = {
  switchover(cluster, { member: to }) {
    const target = to && member(cluster, to);
    const warnings = [];
    if (!cluster.open) warnings.push("No leader is open just now: it waits 5 s for one and then gives up.");
    const against = target && unfit(target);
    if (against) warnings.push(`${to} will be refused: ${against}.`);
    else if (target && !target.sync_state) warnings.push(`${to} vouches for no commit yet; it is made to catch up first.`);
    else if (target?.lag_bytes > 0 || target?.lag_transactions > 0) warnings.push(`${to} has ${amount(target)} to catch up; writes wait meanwhile.`);
    const heir = to ?? "the replica that is placed best";
    return {
      title: to ? `Hand leadership to ${to}` : "Hand leadership over",
      steps: [
        `${cluster.leader ?? "The leader"} takes no new transactions; running ones get a moment to end.`,
        `It stops in order, so that nothing is missing in its log, and ${heir} receives all of it.`,
        `${to ?? "That replica"} is promoted in a new term and opens. Clients of the proxy wait for it and notice a pause.`,
        `${cluster.leader ?? "The old leader"} comes back as a replica. Nothing acknowledged is lost.`,
      ],
      warnings,
      button: to ? `Hand over to ${to}` : "Hand over",
      request: { path: "v1/switchover", body: to ? { to } : {} },
    };
  },

  failover(cluster, { member: to, accept }) {
    const target = member(cluster, to);
    const warnings = [];
    if (cluster.open) warnings.push(`${cluster.leader} leads and takes writes: this will be refused. A switchover loses nothing.`);
    const away = cluster.members.filter((m) => m.state === "unreachable").map((m) => m.name);
    if (accept) {
      warnings.push("Commits that were acknowledged to clients may be gone for good. What is given up is said, and stands in the journal.");
      if (away.length) warnings.push(`Look first whether ${list(away, "or")} can be started: with its log nothing is lost.`);
    }
    return {
      title: `Fail over to ${to}`,
      steps: [
        `For when the leader is gone and the cluster does not elect by itself: the same election, for ${to}.`,
        accept
          ? `${to} is promoted even if too few members answer to rule out a loss.`
          : "It is refused when too few members answer to rule out a loss.",
        `${to} opens in a new term${target?.position ? `, from ${target.position}` : ""}.`,
      ],
      warnings,
      word: accept ? to : null,
      danger: Boolean(accept),
      mayAccept: true,
      button: accept ? `Fail over to ${to}, losing what must be lost` : `Fail over to ${to}`,
      request: { path: "v1/failover", body: { to, allow_data_loss: Boolean(accept) } },
    };
  },

  restart(cluster, { member: name, ifPending }) {
    const leads = name === cluster.leader;
    const steps = name
      ? [leads
        ? `${name} leads: it hands leadership over first, and restarts as a replica. Writes wait for that moment.`
        : `${name}'s server is stopped in order and started. Its readers are cut off meanwhile.`]
      : [
        ifPending ? "Every member where a setting waits for it is restarted." : "Every member's server is restarted.",
        "Replicas first, one after the other, each until it follows again.",
        `${cluster.leader ?? "The leader"} last: it hands leadership over before.`,
      ];
    const warnings = [];
    const target = name && member(cluster, name);
    const others = cluster.members.filter((m) => m.sync_state === "quorum" || m.sync_state === "sync");
    if (target && !leads && others.length === 1 && others[0].name === name) {
      warnings.push(`${name} is the only replica that commits wait for: they wait until it is back.`);
    }
    if (leads && cluster.members.filter((m) => m.role === "replica" && !unfit(m)).length === 0) {
      warnings.push("No replica can take over: it is restarted in place if it stands alone, else refused.");
    }
    return {
      title: name ? `Restart ${name}` : ifPending ? "Restart where a setting waits" : "Restart all members",
      steps,
      warnings,
      button: name ? `Restart ${name}` : "Restart them",
      request: { path: "v1/restart", body: { member: name ?? null, if_pending: Boolean(ifPending) } },
    };
  },

  reinit(cluster, { member: name }) {
    const target = member(cluster, name);
    const warnings = [`All data on ${name} is thrown away.`];
    if (name === cluster.leader) warnings.push(`${name} leads: this will be refused.`);
    if (!cluster.open) warnings.push("No leader is open: this copy may be the last one, and it will be refused.");
    return {
      title: `Copy ${name} again`,
      steps: [
        `${name} leaves the sync set before anything is wiped${target?.sync_state ? ", so that no commit rests on it" : ""}.`,
        `Its data is wiped and copied from ${cluster.leader ?? "the leader"}: as long as the data is large.`,
        `${name} follows again, and vouches once it has caught up.`,
      ],
      warnings,
      word: name,
      danger: true,
      button: `Wipe and copy ${name}`,
      request: { path: "v1/reinit", body: { member: name } },
    };
  },

  pause(cluster) {
    return {
      title: "Pause automatic failover",
      steps: [
        "Nobody stands for an election by himself until it is resumed; switchover and failover by hand still work.",
        `Safety is not paused: if ${cluster.leader ?? "the leader"} loses its server, its disk or its lease it fences itself, and then nobody takes over.`,
      ],
      warnings: [],
      button: "Pause",
      request: { path: "v1/pause", body: {} },
    };
  },

  resume() {
    return {
      title: "Resume automatic failover",
      steps: ["The cluster elects by itself again when its leader is gone. If it is gone now, an election begins."],
      warnings: [],
      button: "Resume",
      request: { path: "v1/resume", body: {} },
    };
  },
};
