// Figures in words: units, roundings, what is unknown.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, clock, dayAndClock, lag, list, seconds } from "../console/words.js";

test("sizes have one figure behind the point at most", () => {
  for (const [count, text] of [[0, "0 B"], [1023, "1023 B"], [1536, "1.5 KiB"], [200 * 1024, "200 KiB"], [16 * 2 ** 20, "16.0 MiB"], [3 * 2 ** 40, "3.0 TiB"], [-2048, "−2.0 KiB"], [null, "–"], [undefined, "–"]]) {
    assert.equal(bytes(count), text);
  }
});

test("durations have two units at most", () => {
  for (const [value, text] of [[0, "0 s"], [0.0004, "0 s"], [0.25, "250 ms"], [1.44, "1.4 s"], [59.4, "59 s"], [75, "1 min 15 s"], [3600, "1 h"], [3660, "1 h 1 min"], [3605, "1 h"], [90000, "1 d 1 h"], [null, "–"]]) {
    assert.equal(seconds(value), text);
  }
});

test("a lag of no age is told by its size", () => {
  assert.equal(lag({ lag_bytes: 0, lag_seconds: 0 }), "0 B");
  assert.equal(lag({ lag_bytes: 2048, lag_seconds: 1.5 }), "2.0 KiB · 1.5 s");
  assert.equal(lag({ lag_bytes: null, lag_seconds: 3 }), "3.0 s");
  assert.equal(lag({}), "–");
  // an engine that counts transactions
  assert.equal(lag({ lag_bytes: null, lag_transactions: 0, lag_seconds: 0 }), "0 tx");
  assert.equal(lag({ lag_bytes: null, lag_transactions: 12034, lag_seconds: 61.9 }), "12034 tx · 1 min 2 s");
});

test("moments are local, with the day unless it is today", () => {
  const at = new Date(2026, 10, 7, 4, 5, 6);
  assert.equal(clock(at), "04:05:06");
  assert.equal(dayAndClock(at, new Date(2026, 10, 7, 9).getTime()), "04:05:06");
  assert.equal(dayAndClock(at, new Date(2026, 10, 8, 9).getTime()), "2026-11-07 04:05:06");
  assert.equal(clock("no moment"), "–");
  assert.equal(ago(1000, 1500), "just now");
  assert.equal(ago(0, 40_000), "40 s ago");
  assert.equal(ago(0, 7_200_000), "2 h ago");
  assert.equal(ago("never"), "–");
});

test("names are listed as one says them", () => {
  assert.equal(list([]), "");
  assert.equal(list(["m1"]), "m1");
  assert.equal(list(["m1", "m2", "m3"]), "m1, m2 and m3");
  assert.equal(list(["m1", "m2"], "or"), "m1 or m2");
});
