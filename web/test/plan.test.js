// What an act will do: its words name the members, what destroys must be typed, and the request says what was promised.

import assert from "node:assert/strict";
import { test } from "node:test";
import { candidates, plan, unfit } from "../console/plan.js";
import { cluster, member } from "./cluster.js";

const leader = member("m1", { role: "leader", sync_state: null });

test("a switchover says who gives and who takes", () => {
  const is = plan("switchover", cluster(), { member: "m2" });
  assert.deepEqual(is.request, { path: "v1/switchover", body: { to: "m2" } });
  assert.match(is.steps.join(" "), /m1 takes no new transactions.*m2 is promoted.*m1 comes back as a replica/);
  assert.deepEqual([is.warnings, is.word, is.danger], [[], undefined, undefined]);
  assert.deepEqual(plan("switchover", cluster(), { member: null }).request.body, {});
  assert.match(plan("switchover", cluster({ open: false }), {}).warnings[0], /No leader is open/);
});

test("who cannot take over is told with the reason, and stands last", () => {
  const cases = [
    [member("m2", { role: "witness" }), /witness/], [member("m2", { tags: { never_leader: true } }), /never to lead/],
    [member("m2", { tags: { reporting: true } }), /reports/], [member("m2", { state: "rewinding" }), /rewinding/],
    [member("m2", { lag_bytes: 17 * 2 ** 20 }), /17.0 MiB behind/], [member("m2"), /^null$/],
    [member("m2", { lag_bytes: null, lag_transactions: 9, lag_seconds: 7 }), /7.0 s behind/],
    [member("m2", { lag_bytes: null, lag_transactions: 9, lag_seconds: 0.5 }), /^null$/],
  ];
  for (const [m, words] of cases) assert.match(String(unfit(m)), words);
  const document = cluster({}, [leader, member("m2", { state: "fenced" }), member("m3"), member("m4", { role: "witness" })]);
  assert.deepEqual(candidates(document).map((m) => m.name), ["m3", "m2"]);
  assert.match(plan("switchover", document, { member: "m2" }).warnings[0], /will be refused: it is fenced/);
});

test("what destroys must be typed, and only that", () => {
  const word = (kind, args) => plan(kind, cluster(), args).word ?? null;
  assert.equal(word("reinit", { member: "m3" }), "m3");
  assert.equal(word("failover", { member: "m2", accept: true }), "m2");
  assert.equal(word("failover", { member: "m2", accept: false }), null);
  for (const [kind, args] of [["switchover", { member: "m2" }], ["restart", { member: "m2" }], ["pause"], ["resume"]]) assert.equal(word(kind, args), null);
});

test("a failover with a loss says so, and asks for it only then", () => {
  const without = plan("failover", cluster({ open: false }), { member: "m2", accept: false });
  assert.deepEqual(without.request.body, { to: "m2", allow_data_loss: false });
  assert.equal(without.danger, false);
  const gone = cluster({ open: false }, [member("m1", { role: "leader", state: "unreachable" }), member("m2")]);
  const loss = plan("failover", gone, { member: "m2", accept: true });
  assert.deepEqual(loss.request.body, { to: "m2", allow_data_loss: true });
  assert.match(loss.warnings.join(" "), /gone for good.*whether m1 can be started/);
  assert.match(plan("failover", cluster(), { member: "m2" }).warnings[0], /will be refused/);
});

test("restarts tell whom they touch", () => {
  assert.match(plan("restart", cluster(), { member: "m1" }).steps[0], /hands leadership over first/);
  assert.deepEqual(plan("restart", cluster(), { member: "m2" }).request.body, { member: "m2", if_pending: false });
  assert.deepEqual(plan("restart", cluster(), { ifPending: true }).request.body, { member: null, if_pending: true });
  const pair = cluster({}, [leader, member("m2")]);
  assert.match(plan("restart", pair, { member: "m2" }).warnings[0], /only replica that commits wait for/);
  assert.match(plan("restart", cluster({}, [leader]), { member: "m1" }).warnings[0], /No replica can take over/);
  assert.match(plan("reinit", cluster(), { member: "m1" }).warnings.join(" "), /will be refused/);
});
