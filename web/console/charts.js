// Lag over time, drawn from what the page has seen, with the gaps in which nobody took writes as bands behind it.
// It draws; `series` keeps and scales.

import { h } from "./dom.js";
import { KEPT_MS, at, byteCeiling, ceiling, path, peak } from "./series.js";
import { bytes, clock, seconds } from "./words.js";

const HEIGHT = 168;
const LEFT = 64;
const BOTTOM = 22;
const TOP = 8;
/** The narrowest stretch of time that is shown, so that the first minute is no caricature. */
const SPAN_MIN = 2 * 60 * 1000;
/** Lines beyond so many cannot be told apart; the worst are drawn. */
const LINES_MAX = 8;

const UNITS = {
  seconds: { top: (value) => ceiling(Math.max(value, 0.1)), text: seconds },
  bytes: { top: (value) => byteCeiling(Math.max(value, 1024)), text: bytes },
};

/** The chart: `unit` is seconds or bytes, `hover` a moment or null. */
export function chart(store, { width, now, unit, hover, ink, start }) {
  const w = Math.max(120, width - LEFT);
  const to = now;
  const from = Math.max(now - KEPT_MS, Math.min(start, now - SPAN_MIN));
  const lines = worst(store.lines, unit);
  const top = UNITS[unit].top(peak(lines, unit, from));
  const scale = { from, to, top, w, h: HEIGHT };
  const x = (moment) => ((moment - from) / (to - from)) * w;
  const gaps = store.gaps.filter((g) => (g.to ?? now) >= from);
  const steps = [0, 0.5, 1];
  const summary = lines.size
    ? `Lag of ${[...lines.keys()].join(", ")} over the last ${seconds((to - from) / 1000)}; at most ${UNITS[unit].text(peak(lines, unit, from))}.`
    : "No replica has been seen yet.";
  return h("div", { class: "plot" },
    h("svg", { width: width, height: HEIGHT + BOTTOM + TOP, role: "img", "aria-label": summary, "data-plot": true },
      h("g", { transform: `translate(${LEFT} ${TOP})` },
        gaps.map((gap) => band(gap, x, from, now)),
        steps.map((step) => [
          h("line", { class: step ? "rule" : "axis", x1: 0, x2: w, y1: HEIGHT * (1 - step), y2: HEIGHT * (1 - step) }),
          h("text", { class: "tick", x: -10, y: HEIGHT * (1 - step) + 4, "text-anchor": "end" }, step ? UNITS[unit].text(top * step) : "0"),
        ]),
        moments(from, to, w).map(([moment, place]) => h("text", { class: "tick", x: place, y: HEIGHT + 17, "text-anchor": "middle" }, clock(moment).slice(0, 5))),
        [...lines].map(([name, points]) => h("path", { class: `series ink-${ink(name)}`, key: name, d: path(points, unit, scale) })),
        hover !== null && hover >= from && h("line", { class: "hair", x1: x(hover), x2: x(hover), y1: 0, y2: HEIGHT }))),
    legend(store, lines, unit, hover, ink),
    gapList(store.gaps, now));
}

function worst(lines, unit) {
  if (lines.size <= LINES_MAX) return lines;
  const high = (points) => points.reduce((a, p) => Math.max(a, p[unit] ?? 0), 0);
  const ranked = [...lines].map((line) => ({ line, high: high(line[1]) })).sort((a, b) => b.high - a.high);
  return new Map(ranked.slice(0, LINES_MAX).map(({ line }) => line));
}

function band(gap, x, from, now) {
  const left = Math.max(0, x(Math.max(gap.from, from)));
  const right = x(gap.to ?? now);
  return h("rect", { class: "gap", key: gap.from, x: left, y: 0, width: Math.max(2, right - left), height: HEIGHT });
}

/** Whole minutes along the axis, as many as have room. */
function moments(from, to, w) {
  const room = Math.max(1, Math.floor(w / 90));
  const step = [1, 2, 5].map((n) => n * 60000).find((n) => (to - from) / n <= room) ?? 5 * 60000;
  const found = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const place = ((t - from) / (to - from)) * w;
    if (place > 14 && place < w - 14) found.push([t, place]);
  }
  return found;
}

function legend(store, lines, unit, hover, ink) {
  const moment = hover ?? Number.MAX_SAFE_INTEGER;
  const shown = hover === null
    ? [...lines].map(([name, points]) => ({ name, value: points[points.length - 1][unit] }))
    : at(lines, unit, moment);
  return h("p", { class: "legend" },
    hover !== null && h("span", { class: "quiet" }, clock(hover)),
    shown.map(({ name, value }) => h("span", { key: name }, h("i", { class: `swatch ink-${ink(name)}` }), `${name} `, h("b", null, UNITS[unit].text(value)))));
}

function gapList(gaps, now) {
  const latest = gaps.slice(-3).reverse();
  if (!latest.length) return h("p", { class: "quiet gaps" }, "No gap in writes since this page was opened.");
  return h("p", { class: "gaps" },
    h("i", { class: "swatch gap" }), `${gaps.length === 1 ? "Gap" : `${gaps.length} gaps`} in writes seen here: `,
    latest.map((g, index) => [index > 0 && ", ", `${clock(g.from)} for ${g.to === null ? `${seconds((now - g.from) / 1000)} and on` : `about ${seconds((g.to - g.from) / 1000)}`}`]));
}

/** The moment under a pointer at `x` pixels from the chart's left edge; null beside it. */
export function momentAt(x, { width, now, start }) {
  const w = Math.max(120, width - LEFT);
  const from = Math.max(now - KEPT_MS, Math.min(start, now - SPAN_MIN));
  const part = (x - LEFT) / w;
  return part < 0 || part > 1 ? null : from + part * (now - from);
}
