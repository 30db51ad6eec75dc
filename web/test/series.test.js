// What is kept over time: bounds, breaks where nothing was heard, gaps in writes, scales.

import assert from "node:assert/strict";
import { test } from "node:test";
import { KEPT_MS, at, byteCeiling, ceiling, empty, openness, path, peak, sample } from "../console/series.js";
import { cluster, member } from "./cluster.js";

const behind = (value) => cluster({}, [member("m1", { role: "leader" }), member("m2", { lag_seconds: value, lag_bytes: value === null ? null : value * 1000 })]);

test("it keeps a quarter of an hour and no more", () => {
  const store = empty();
  for (let second = 0; second < 2000; second += 1) sample(store, second * 1000, behind(1));
  const points = store.lines.get("m2");
  assert.equal(points.length, KEPT_MS / 1000 + 1);
  assert.equal(points[0].at, 1999_000 - KEPT_MS);
  // who is gone for all that time is forgotten
  for (let second = 2000; second < 3000; second += 1) sample(store, second * 1000, cluster({}, [member("m1")]));
  assert.equal(store.lines.has("m2"), false);
});

test("a line breaks where nothing is known", () => {
  const store = empty();
  sample(store, 0, behind(1));
  sample(store, 1000, behind(1));
  sample(store, 2000, null);
  sample(store, 3000, behind(3));
  const d = path(store.lines.get("m2"), "seconds", { from: 0, to: 4000, top: 4, w: 400, h: 100 });
  assert.equal(d, "M0.0 75.0h0.1L100.0 75.0M300.0 25.0h0.1");
  assert.equal(peak(store.lines, "seconds", 0), 3);
  assert.equal(peak(store.lines, "bytes", 4000), 0);
  assert.deepEqual(at(store.lines, "seconds", 2900), [{ name: "m2", value: 3 }]);
  assert.deepEqual(at(store.lines, "seconds", 60_000), []);
});

test("a gap that was over before anybody told of it is noticed by the term", () => {
  const store = empty();
  openness(store, 10, true, 1);
  openness(store, 20, true, 1);
  openness(store, 25, true, 2);
  assert.deepEqual(store.gaps, [{ from: 20, to: 25 }]);
  // one that was seen is not counted twice
  openness(store, 30, false, 2);
  openness(store, 40, true, 3);
  openness(store, 50, true, 3);
  assert.deepEqual(store.gaps, [{ from: 20, to: 25 }, { from: 30, to: 40 }]);
});

test("a gap lasts from the first word of it to the last", () => {
  const store = empty();
  openness(store, 10, true);
  openness(store, 20, false);
  openness(store, 30, false);
  assert.deepEqual(store.gaps, [{ from: 20, to: null }]);
  openness(store, 45, true);
  openness(store, 50, true);
  assert.deepEqual(store.gaps, [{ from: 20, to: 45 }]);
  openness(store, 60, false);
  assert.equal(store.gaps.length, 2);
  for (let n = 0; n < 500; n += 1) openness(store, 100 + n, n % 2 === 0);
  assert.ok(store.gaps.length <= 51);
});

test("axes end with round numbers", () => {
  for (const [value, top] of [[0, 1], [0.07, 0.1], [0.1, 0.1], [0.3, 0.5], [1.2, 2], [7, 10], [10, 10], [61, 100]]) {
    assert.ok(Math.abs(ceiling(value) - top) < 1e-9, `${value}: ${ceiling(value)}`);
  }
  assert.equal(byteCeiling(5000), 8192);
});
