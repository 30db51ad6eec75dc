// Where each member stands in the picture and how its link runs: leader on top, replicas below whom they receive from,
// zones side by side. Pure: a document and a width in, numbers out; tested in web/test.

const NARROW = 600;
/** Beyond so many members cards are small and links carry no figures. */
const LARGE_MAX = 12;
const LARGE = { w: 196, h: 92, gapX: 20, gapY: 78, gapRow: 18, pad: 16 };
const SMALL = { w: 118, h: 50, gapX: 8, gapY: 40, gapRow: 8, pad: 10 };
const ROW = { h: 84, gap: 12, indent: 26 };
const ZONE_HEAD = 30;

const names = (cluster) => new Set(cluster.members.map((m) => m.name));

/** Whom a member receives from, as far as the document tells; the leader and witnesses receive from nobody. */
export function parent(cluster, member, known = names(cluster)) {
  if (member.name === cluster.leader || member.role === "witness") return null;
  if (member.upstream && known.has(member.upstream)) return member.upstream;
  return cluster.leader && known.has(cluster.leader) ? cluster.leader : null;
}

function depths(cluster) {
  const known = names(cluster);
  const above = new Map(cluster.members.map((m) => [m.name, parent(cluster, m, known)]));
  const depth = new Map();
  for (const member of cluster.members) {
    let steps = 0;
    const met = new Set();
    // a ring of members is no cascade, but an agent that is behind may tell of one
    for (let at = member.name; above.get(at) && !met.has(at); at = above.get(at)) {
      met.add(at);
      steps += 1;
    }
    depth.set(member.name, member.role === "witness" && cluster.leader ? 1 : steps);
  }
  return { above, depth };
}

/** The picture. */
export function layout(cluster, width) {
  const { above, depth } = depths(cluster);
  const picture = width < NARROW ? asList(cluster, width, above, depth) : asRows(cluster, width, depth);
  const place = new Map(picture.nodes.map((n) => [n.name, n]));
  const links = [];
  for (const member of cluster.members) {
    const from = place.get(above.get(member.name));
    const to = place.get(member.name);
    // a hundred lines behind cards tell nothing: those are drawn on which commits rest
    if (picture.mode === "grid" && member.sync_state !== "quorum" && member.sync_state !== "sync") continue;
    if (from) links.push(picture.mode === "list" ? elbow(from, to) : curve(from, to, picture.mode === "rows"));
  }
  return { ...picture, links };
}

function asRows(cluster, width, depth) {
  const mode = cluster.members.length > LARGE_MAX ? "grid" : "rows";
  const size = mode === "grid" ? SMALL : LARGE;
  const zoneOf = (m) => m.tags?.zone ?? "";
  const zones = [...new Set(cluster.members.map(zoneOf))];
  const zoned = zones.length > 1;
  const deepest = Math.max(0, ...depth.values());
  const at = (zone, level) => cluster.members.filter((m) => zoneOf(m) === zone && depth.get(m.name) === level);
  // a zone is as wide as its fullest level asks for
  const share = zones.map((zone) => {
    const fullest = Math.max(...Array.from({ length: deepest + 1 }, (_, level) => at(zone, level).length));
    return Math.max(1, Math.sqrt(fullest));
  });
  const whole = share.reduce((a, b) => a + b, 0);
  const gutter = zoned ? 12 : 0;
  const room = width - gutter * (zones.length - 1);
  const columns = [];
  let x = 0;
  zones.forEach((zone, index) => {
    const w = (room * share[index]) / whole;
    columns.push({ zone, x, w });
    x += w + gutter;
  });

  const nodes = [];
  let y = zoned ? ZONE_HEAD : 4;
  for (let level = 0; level <= deepest; level += 1) {
    let tallest = 0;
    for (const column of columns) {
      const members = at(column.zone, level);
      const inner = column.w - 2 * (zoned ? size.pad : 0);
      const fit = Math.max(1, Math.floor((inner + size.gapX) / (size.w + size.gapX)));
      const rows = Math.ceil(members.length / fit);
      members.forEach((member, index) => {
        const row = Math.floor(index / fit);
        const inRow = row === rows - 1 ? members.length - row * fit : fit;
        const w = Math.min(size.w, inner);
        const step = Math.min(inner / inRow, w + size.gapX * 3);
        const centre = column.x + column.w / 2 + (index % fit - (inRow - 1) / 2) * step;
        nodes.push({ name: member.name, x: round(centre - w / 2), y: y + row * (size.h + size.gapRow), w: round(w), h: size.h });
      });
      tallest = Math.max(tallest, rows * size.h + Math.max(0, rows - 1) * size.gapRow);
    }
    y += tallest + size.gapY;
  }
  const height = y - size.gapY + (zoned ? size.pad : 6);
  const bands = zoned ? columns.map((c) => ({ name: c.zone || "no zone", x: round(c.x), y: 0, w: round(c.w), h: height })) : [];
  return { mode, height, nodes, zones: bands };
}

function asList(cluster, width, above, depth) {
  const nodes = [];
  let y = 4;
  const add = (member) => {
    const x = Math.min(depth.get(member.name), 4) * ROW.indent;
    nodes.push({ name: member.name, x, y, w: width - x, h: ROW.h });
    y += ROW.h + ROW.gap;
    for (const below of cluster.members) if (above.get(below.name) === member.name && !has(below)) add(below);
  };
  const has = (member) => nodes.some((n) => n.name === member.name);
  for (const member of cluster.members) if (!above.get(member.name) && member.role !== "witness") add(member);
  for (const member of cluster.members) if (!has(member)) add(member);
  return { mode: "list", height: y - ROW.gap + 4, nodes, zones: [] };
}

function curve(from, to, labelled) {
  const [x0, y0] = [from.x + from.w / 2, from.y + from.h];
  const [x1, y1] = [to.x + to.w / 2, to.y];
  const bend = Math.max(24, (y1 - y0) / 2);
  const d = `M${round(x0)} ${round(y0)}C${round(x0)} ${round(y0 + bend)} ${round(x1)} ${round(y1 - bend)} ${round(x1)} ${round(y1)}`;
  // where the curve has come nearly to its member, so that figures of neighbours stay apart
  const t = 0.62;
  const along = (a, b, c, e) => (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t * t * c + t ** 3 * e;
  const label = { x: round(along(x0, x0, x1, x1)), y: round(along(y0, y0 + bend, y1 - bend, y1)) };
  return { from: from.name, to: to.name, d, label: labelled ? label : null };
}

function elbow(from, to) {
  const x = from.x + ROW.indent / 2;
  const y = to.y + to.h / 2;
  return { from: from.name, to: to.name, d: `M${x} ${from.y + from.h}V${y - 8}q0 8 8 8H${to.x}`, label: null };
}

function round(value) {
  return Math.round(value * 10) / 10;
}
