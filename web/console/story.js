// The journal as a story: entries of several agents put in order once, their tone, how long after each other they came.
// Pure; tested in web/test.

/** Entries that the page keeps. */
const KEPT_MAX = 2000;

const GOOD = new Set(["opened", "reaffirmed"]);
const BAD = new Set([
  "leader_gone", "fencing", "too_few_answers", "held_beside_stray", "range_at_risk", "quarantined", "store_rolled_back", "store_went_on",
  "short_of_replicas", "degraded", "step_failed", "switchover_failed", "diverged", "recloning", "leads_not_yet",
]);
const TURN = new Set(["decided", "switchover_started", "promoted", "asked", "paused", "election_started"]);

/** Both lists as one, oldest first, each decision once. Agents share theirs late: an entry may belong further back. */
export function merge(known, more) {
  const all = new Map();
  for (const entry of [...known, ...more]) all.set(`${entry.id}/${entry.member}`, entry);
  return [...all.values()].sort((a, b) => a.id - b.id || (a.member < b.member ? -1 : 1)).slice(-KEPT_MAX);
}

/** How an entry looks: good, bad, turn (something is changing hands) or calm. */
export function tone(entry) {
  if (GOOD.has(entry.reason)) return "good";
  if (BAD.has(entry.reason)) return "bad";
  return TURN.has(entry.reason) ? "turn" : "calm";
}

/** Entries whose words or member hold what is looked for. */
export function matching(entries, wanted) {
  const words = wanted.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return entries;
  return entries.filter((entry) => {
    const text = `${entry.member} ${entry.reason} ${entry.text} term ${entry.term} #${entry.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** How long after the first one an entry came; ids are microseconds. */
export function since(entry, first) {
  const ms = (entry.id - first.id) / 1000;
  if (ms < 1) return "0 ms";
  if (ms < 1000) return `+${Math.round(ms)} ms`;
  return `+${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

/** The evidence's fields as pairs of words, its tag left out. */
export function evidence(entry) {
  const fields = entry.evidence && typeof entry.evidence === "object" ? Object.entries(entry.evidence) : [];
  return fields.filter(([name]) => name !== "reason").map(([name, value]) => [name.replaceAll("_", " "), plain(value)]);
}

function plain(value) {
  if (value === null) return "unknown";
  if (Array.isArray(value)) return value.length ? value.map(plain).join(", ") : "nobody";
  if (typeof value === "object") {
    if ("name" in value && "incarnation" in value) return `${value.name}#${value.incarnation}`;
    return Object.entries(value).map(([name, inner]) => `${name.replaceAll("_", " ")} ${plain(inner)}`).join(", ");
  }
  return String(value);
}
