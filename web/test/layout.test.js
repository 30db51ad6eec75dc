// The picture: every member has a place inside it, no two share one, links lead down from whom they receive from.

import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, parent } from "../console/layout.js";
import { cluster, member } from "./cluster.js";

const leader = member("m1", { role: "leader" });
const apart = (a, b) => a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;

function sound(document, width) {
  const picture = layout(document, width);
  assert.deepEqual(picture.nodes.map((n) => n.name).sort(), document.members.map((m) => m.name).sort());
  for (const node of picture.nodes) {
    assert.ok(node.x >= -0.1 && node.x + node.w <= width + 0.1, `${node.name} is outside: ${JSON.stringify(node)} of ${width}`);
    assert.ok(node.y >= 0 && node.y + node.h <= picture.height, `${node.name} is below: ${JSON.stringify(node)} of ${picture.height}`);
    for (const other of picture.nodes) assert.ok(other === node || apart(node, other), `${node.name} on ${other.name} at ${width}`);
  }
  return picture;
}

test("no two cards lie on each other, at any width and number", () => {
  for (const width of [280, 359, 600, 720, 900, 1300]) {
    for (const number of [1, 2, 3, 5, 9, 12, 13, 40, 200]) {
      const members = Array.from({ length: number }, (_, index) => (index ? member(`m${index + 1}`) : leader));
      sound(cluster({}, members), width);
      const zoned = members.map((m, index) => ({ ...m, tags: { zone: `z${index % 3}` } }));
      const picture = sound(cluster({}, zoned), width);
      if (width >= 600 && number >= 3) assert.equal(picture.zones.length, 3);
    }
  }
});

test("the leader stands above its replicas, a cascade below its source", () => {
  const document = cluster({}, [member("m3", { upstream: "m2" }), member("m2"), leader]);
  for (const width of [320, 1000]) {
    const picture = sound(document, width);
    const at = (name) => picture.nodes.find((n) => n.name === name);
    assert.ok(at("m1").y < at("m2").y && at("m2").y < at("m3").y);
    assert.deepEqual(picture.links.map((l) => `${l.from}-${l.to}`).sort(), ["m1-m2", "m2-m3"]);
  }
});

test("links carry figures where there is room for them", () => {
  assert.ok(layout(cluster(), 1000).links.every((l) => l.label));
  assert.ok(layout(cluster(), 320).links.every((l) => l.label === null));
  const many = Array.from({ length: 30 }, (_, index) => (index ? member(`m${index + 1}`) : leader));
  assert.ok(layout(cluster({}, many), 1000).links.every((l) => l.label === null));
  // of many members only those that commits wait for have lines at all
  const few = many.map((m, index) => (index > 3 ? { ...m, sync_state: "async" } : m));
  assert.deepEqual(layout(cluster({}, few), 1000).links.map((l) => l.to), few.slice(1, 4).map((m) => m.name));
});

test("who receives from nobody has no link", () => {
  const witness = member("m3", { role: "witness" });
  assert.equal(parent(cluster({}, [leader, witness]), witness), null);
  assert.equal(parent(cluster(), leader), null);
  assert.equal(parent(cluster({ leader: null }), member("m2")), null);
  assert.equal(parent(cluster(), member("m2", { upstream: "gone" })), "m1");
});

test("a ring of members ends", () => {
  sound(cluster({}, [leader, member("m2", { upstream: "m3" }), member("m3", { upstream: "m2" })]), 1000);
  sound(cluster({}, [leader, member("m2", { upstream: "m3" }), member("m3", { upstream: "m2" })]), 320);
});
