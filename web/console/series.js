// What the page has seen over time: each replica's lag, second by second, and the gaps in which nobody took writes.
// Pure: moments come as arguments; tested in web/test. Nothing is kept beyond the page.

/** How far back it is kept, in milliseconds. */
export const KEPT_MS = 15 * 60 * 1000;
/** Gaps that are kept. */
const GAPS_MAX = 50;

export function empty() {
  return { lines: new Map(), gaps: [], term: null, heard: null };
}

/** Notes how things stand at `now`; a null document says that nothing was heard. */
export function sample(store, now, cluster) {
  const replicas = cluster?.members.filter((m) => m.role === "replica") ?? [];
  const by = new Map(replicas.map((m) => [m.name, m]));
  for (const name of new Set([...store.lines.keys(), ...by.keys()])) {
    const member = by.get(name);
    const points = store.lines.get(name) ?? [];
    points.push({ at: now, seconds: member?.lag_seconds ?? null, bytes: member?.lag_bytes ?? null });
    while (points.length && points[0].at < now - KEPT_MS) points.shift();
    if (points.some((p) => p.seconds !== null || p.bytes !== null)) store.lines.set(name, points);
    else store.lines.delete(name);
  }
}

/**
 * Notes at `now` whether somebody takes writes, and in which term. A gap begins with the first word that nobody does; one that
 * was over before that word came, as another term is open, began after the last word before.
 */
export function openness(store, now, open, term = null) {
  const last = store.gaps[store.gaps.length - 1];
  const lasting = last && last.to === null;
  const passed = open && term !== null && store.term !== null && term > store.term;
  if (!open && !lasting) store.gaps.push({ from: now, to: null });
  if (open && lasting) last.to = now;
  else if (passed) store.gaps.push({ from: store.heard, to: now });
  if (open && term !== null) store.term = term;
  store.heard = now;
  if (store.gaps.length > GAPS_MAX) store.gaps.shift();
}

/** The round number above `value` that an axis ends with. */
export function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value * (1 - 1e-9));
}

/** The same for sizes: powers of two of a byte. */
export function byteCeiling(value) {
  let size = 1024;
  while (size < value) size *= 2;
  return size;
}

/** The points of one line as a path over `w` × `h`; breaks where nothing is known. At most one point for each pixel. */
export function path(points, unit, { from, to, top, w, h }) {
  let d = "";
  let drawn = -2;
  let pen = false;
  for (const point of points) {
    const value = point[unit];
    if (value === null) {
      pen = false;
      continue;
    }
    const x = ((point.at - from) / (to - from)) * w;
    if (x < 0) continue;
    if (pen && x - drawn < 1) continue;
    const y = h - (Math.min(value, top) / top) * h;
    d += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    // a point alone would not be seen
    if (!pen) d += "h0.1";
    pen = true;
    drawn = x;
  }
  return d;
}

/** The largest value in view. */
export function peak(lines, unit, from) {
  let top = 0;
  for (const points of lines.values()) {
    for (const point of points) if (point.at >= from && point[unit] !== null) top = Math.max(top, point[unit]);
  }
  return top;
}

/** What each line showed at about that moment. */
export function at(lines, unit, moment) {
  const found = [];
  for (const [name, points] of lines) {
    let nearest = null;
    for (const p of points) if (!nearest || Math.abs(p.at - moment) < Math.abs(nearest.at - moment)) nearest = p;
    if (nearest && Math.abs(nearest.at - moment) < 3000) found.push({ name, value: nearest[unit] });
  }
  return found;
}
