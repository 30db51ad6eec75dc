// How proxies stand to the cluster, and in what members differ.

import assert from "node:assert/strict";
import { test } from "node:test";
import { differences } from "../console/differences.js";
import { stands } from "../console/proxies.js";
import { cluster, member } from "./cluster.js";

const proxy = (more = {}) => ({ name: "web", host: "web1", pid: 7, leader: "m1", drains: false, clients: 3, clients_max: 100, waiting: 0, note: null, critical: false, pools: [], more_pools: 0, ...more });

test("what the agent says of a proxy comes before its waiting clients", () => {
  assert.deepEqual(stands(proxy()), ["good", "sends clients to m1"]);
  assert.deepEqual(stands(proxy({ waiting: 1 })), ["watch", "1 client waits for a server"]);
  assert.deepEqual(stands(proxy({ waiting: 2 })), ["watch", "2 clients wait for a server"]);
  assert.deepEqual(stands(proxy({ waiting: 2, note: "sends clients to m2, and m1 leads", critical: true })), ["bad", "sends clients to m2, and m1 leads"]);
  assert.deepEqual(stands(proxy({ note: "its certificate ends in 3 days" })), ["watch", "its certificate ends in 3 days"]);
});

test("what a member has of its own is told from what is to be put right", () => {
  assert.deepEqual(differences(cluster(), null), []);
  const remark = { code: "set_by_hand", text: "ALTER SYSTEM goes before the shared configuration: work_mem", next: "", critical: false };
  const members = [
    member("m1", { role: "leader" }),
    member("m2", { pending_restart: true, remarks: [remark, { code: "replay_paused", text: "paused" }] }),
    member("m3", { tags: { delay: "1h", never_leader: true } }),
  ];
  assert.deepEqual(differences(cluster({}, members), { m2: ["max_connections"] }), [
    { member: "m2", waits: ["max_connections"], byHand: [remark.text], own: [] },
    { member: "m3", waits: [], byHand: [], own: ["applies late by 1h", "never leads"] },
  ]);
  assert.deepEqual(differences(cluster({}, members), null)[0].waits, ["some of its settings"]);
});
