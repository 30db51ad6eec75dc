// Figures and moments in words, the same everywhere on the page. Pure; tested in web/test.
// Unknown values are a dash: the page never makes up a number.

export const DASH = "–";

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1536 as "1.5 KiB". */
export function bytes(count) {
  if (count === null || count === undefined) return DASH;
  let value = Math.abs(count);
  let size = 0;
  while (value >= 1024 && size < SIZES.length - 1) {
    value /= 1024;
    size += 1;
  }
  const figure = size === 0 || value >= 100 ? Math.round(value) : value.toFixed(1);
  return `${count < 0 ? "−" : ""}${figure} ${SIZES[size]}`;
}

/** 0.25 as "250 ms", 75 as "1 min 15 s". */
export function seconds(value) {
  if (value === null || value === undefined) return DASH;
  if (value < 0.0005) return "0 s";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const whole = Math.round(value);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const words = [];
  let left = whole;
  for (const [size, unit] of parts) {
    if (left >= size && words.length < 2) {
      words.push(`${Math.floor(left / size)} ${unit}`);
      left %= size;
    } else if (words.length) break;
  }
  return words.join(" ");
}

/** How much of its leader's log a member has not replayed: bytes, or transactions where the engine counts those. */
export function amount(member) {
  return member.lag_transactions === null || member.lag_transactions === undefined ? bytes(member.lag_bytes) : `${member.lag_transactions} tx`;
}

/** Two figures of how far a replica is behind, as one. */
export function lag(member) {
  const much = amount(member);
  if (much === DASH) return seconds(member.lag_seconds);
  if (!member.lag_seconds || member.lag_seconds < 0.0005) return much;
  return `${much} · ${seconds(member.lag_seconds)}`;
}

const two = (number) => String(number).padStart(2, "0");

/** A moment (milliseconds, a Date or RFC 3339) as this machine's clock shows it: "14:03:22". */
export function clock(moment) {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return DASH;
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** The same with the day in front, unless it is today. */
export function dayAndClock(moment, now = Date.now()) {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return DASH;
  const today = new Date(now).toDateString() === at.toDateString();
  return today ? clock(at) : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}`;
}

/** How long ago, roughly: "just now", "40 s ago", "3 min ago". */
export function ago(moment, now = Date.now()) {
  const passed = (now - new Date(moment).getTime()) / 1000;
  if (Number.isNaN(passed)) return DASH;
  if (passed < 2) return "just now";
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} d ago`;
}

/** "m1", "m1 and m2", "m1, m2 and m3". */
export function list(names, last = "and") {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} ${last} ${names[names.length - 1]}`;
}

/** "1 replica", "3 replicas". */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
