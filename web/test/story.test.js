// The journal: entries in order once, looked through by words, evidence in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import { evidence, matching, merge, since, tone } from "../console/story.js";

const entry = (id, member = "m1", more = {}) => ({ id, member, term: 3, reason: "opened", text: `decision ${id}`, at: "", evidence: {}, ...more });

test("late entries of others find their place, and none is there twice", () => {
  const known = merge([], [entry(10), entry(30)]);
  const all = merge(known, [entry(20, "m2"), entry(30), entry(30, "m2")]);
  assert.deepEqual(all.map((e) => `${e.id}${e.member}`), ["10m1", "20m2", "30m1", "30m2"]);
  assert.equal(merge([], Array.from({ length: 5000 }, (_, n) => entry(n))).length, 2000);
});

test("all words must be there", () => {
  const all = [entry(1, "m1", { text: "m2 is gone" }), entry(2, "m2", { reason: "fencing", term: 12 })];
  assert.equal(matching(all, "").length, 2);
  assert.deepEqual(matching(all, "m2 GONE").map((e) => e.id), [1]);
  assert.deepEqual(matching(all, "fencing term 12").map((e) => e.id), [2]);
  assert.deepEqual(matching(all, "#2").map((e) => e.id), [2]);
  assert.deepEqual(matching(all, "nothing"), []);
});

test("tones and distances", () => {
  assert.equal(tone(entry(1)), "good");
  assert.equal(tone(entry(1, "m1", { reason: "leader_gone" })), "bad");
  assert.equal(tone(entry(1, "m1", { reason: "decided" })), "turn");
  assert.equal(tone(entry(1, "m1", { reason: "something_new" })), "calm");
  assert.equal(since(entry(1_000_500), entry(1_000_000)), "0 ms");
  assert.equal(since(entry(1_120_000), entry(1_000_000)), "+120 ms");
  assert.equal(since(entry(3_500_000), entry(1_000_000)), "+2.50 s");
});

test("evidence is told in words", () => {
  const told = evidence(entry(1, "m1", { evidence: { reason: "decided", leader: { name: "m1", incarnation: 2 }, others: [], sync_set: { version: 4 }, to: null } }));
  assert.deepEqual(told, [["leader", "m1#2"], ["others", "nobody"], ["sync set", "version 4"], ["to", "unknown"]]);
  assert.deepEqual(evidence(entry(1, "m1", { evidence: null })), []);
});
