// What is foretold, in sentences: who leads, for how long nobody does, what is lost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { grave, questions, sentence } from "../console/foretold.js";
import { cluster, member } from "./cluster.js";

const end = (more = {}) => ({ leader: "m2", draws: 20, gap_ms: 180, gap_ms_max: 310, lost_ms_max: 0, because: null, ...more });
const foretold = (...ends) => ({ suppose: "m1 died", draws: 20, ends, notes: [] });

test("an end is told with its leader, its gap and its loss", () => {
  const tell = (more) => sentence(foretold(), end(more));
  assert.equal(tell({}), "If m1 died now, m2 would lead. Writes would stop for 180 ms (310 ms at most). No acknowledged commit would be lost.");
  assert.match(tell({ draws: 15 }), /m2 would lead in 15 of 20 draws\./);
  assert.match(tell({ gap_ms: 0, gap_ms_max: 0 }), /Writes would go on\./);
  assert.match(tell({ lost_ms_max: 40 }), /of the last 40 ms before it could be lost/);
  assert.match(tell({ leader: null, gap_ms: null, because: "too few answer" }), /nobody would lead, and writes would stop.*The members would say: too few answer\./);
});

test("a loss is grave, and so is nobody", () => {
  assert.equal(grave(foretold(end())), false);
  assert.equal(grave(foretold(end(), end({ leader: null }))), true);
  assert.equal(grave(foretold(end({ lost_ms_max: 1 }))), true);
});

test("the leader and the zones can be asked about while somebody leads", () => {
  assert.deepEqual(questions(cluster()).map((q) => q.query), ["kill=m1"]);
  const zoned = cluster({}, [member("m1", { role: "leader", tags: { zone: "a b" } }), member("m2", { tags: { zone: "c" } })]);
  assert.deepEqual(questions(zoned).map((q) => q.query), ["kill=m1", "zone=a%20b", "zone=c"]);
  assert.deepEqual(questions(cluster({ open: false })), []);
  assert.deepEqual(questions(null), []);
});
