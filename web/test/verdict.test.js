// What a person reads first, for each way that a cluster can be.

import assert from "node:assert/strict";
import { test } from "node:test";
import { announcement, promise, tone, verdict } from "../console/verdict.js";
import { cluster, member } from "./cluster.js";

const leader = member("m1", { role: "leader", sync_state: null });

test("the worst comes first", () => {
  const check = (document, toned, words) => {
    const is = verdict(document);
    assert.equal(is.tone, toned, is.text);
    assert.match(is.text, words);
  };
  check(cluster(), "good", /^All is well: m1 leads/);
  check(cluster({ leader: null, open: false, term: null }), "bad", /^No leader yet/);
  check(cluster({ open: false }), "bad", /No leader is open: writes wait\. m1 led last, in term 7/);
  check(cluster({ open: false, intent: { kind: "switchover", to: "m2", since: "" } }), "watch", /handed over to m2/);
  check(cluster({ commits_wait: true }), "bad", /commits wait/);
  check(cluster({}, [leader, member("m2", { state: "unreachable" }), member("m3")]), "watch", /without m2$/);
  check(cluster({}, [leader, member("m2", { state: "unreachable" }), member("m3", { state: "crashed" })]), "watch", /without m2 and m3$/);
  check(cluster({}, [leader, member("m2", { state: "fenced" }), member("m3")]), "watch", /m2 is fenced$/);
  check(cluster({}, [leader, member("m2", { state: "rewinding" }), member("m3")]), "watch", /m2 is rewinding$/);
  check(cluster({}, [leader, member("m2", { alert: "warning" }), member("m3")]), "watch", /m2 lags behind$/);
  check(cluster({ degraded: true }), "watch", /fewer copies/);
  check(cluster({ paused: true }), "watch", /failover is paused/);
  check(cluster({ health: "investigate" }), "watch", /wants a look/);
  check(cluster({ health: "investigate", health_reason: "m2: its replay is paused by hand" }), "watch", /takes writes; m2: its replay is paused by hand$/);
});

test("the promise is counted from what an election must hear", () => {
  // two voters, an election hears two of them: any one holds each commit
  assert.equal(promise(cluster()), "Each commit is also on m2 or m3 before it is acknowledged.");
  // it need hear one only, because both hold each commit
  assert.equal(promise(cluster({ answers: 1 })), "Each commit is also on m2 and m3 before it is acknowledged.");
  const four = ["m2", "m3", "m4", "m5"].map((name) => member(name));
  assert.equal(promise(cluster({ answers: 3 }, [leader, ...four])), "Each commit is also on 2 of m2, m3, m4 or m5 before it is acknowledged.");
  assert.equal(promise(cluster({ durability: "sync" }, [leader, member("m2", { sync_state: "sync" }), member("m3", { sync_state: "potential" })])), "Each commit is also on m2 before it is acknowledged.");
  assert.match(promise(cluster({ open: false })), /No commit is acknowledged/);
  assert.match(promise(cluster({ durability: "async" })), /may lose the last moment/);
  assert.match(promise(cluster({ degraded: true })), /fewer copies/);
  assert.match(promise(cluster({}, [leader])), /No replica holds/);
});

test("a card is toned by state, alert and remarks", () => {
  assert.equal(tone(member("m2")), "good");
  assert.equal(tone(member("m2", { state: "unreachable" })), "bad");
  assert.equal(tone(member("m2", { state: "cloning" })), "watch");
  assert.equal(tone(member("m2", { alert: "warning" })), "watch");
  assert.equal(tone(member("m2", { alert: "emergency" })), "bad");
  assert.equal(tone(member("m2", { remarks: [{ critical: true }] })), "bad");
  assert.equal(tone(member("m2", { remarks: [{ critical: false }] })), "watch");
});

test("a screen reader hears of what changes hands, once", () => {
  assert.equal(announcement(null, cluster()), null);
  assert.equal(announcement(cluster(), cluster()), null);
  assert.match(announcement(cluster(), cluster({ open: false })), /writes wait/);
  assert.match(announcement(cluster({ open: false }), cluster({ leader: "m2", term: 8 })), /m2 leads in term 8/);
  assert.match(announcement(cluster(), cluster({ paused: true })), /paused/);
  assert.match(announcement(cluster({ health: "repair" }), cluster()), /healthy/);
});
