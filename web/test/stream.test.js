// Events out of a stream of text, however it is cut, and the order in which members are asked.

import assert from "node:assert/strict";
import { test } from "node:test";
import { reader } from "../console/sse.js";
import { cluster, member } from "./cluster.js";

const TEXT = 'event: cluster\ndata: {"a":1}\n\n:\n\nevent: journal\r\ndata: x\r\ndata:y\r\n\r\ndata: bare\n\n';
const WANTED = [["cluster", '{"a":1}'], ["journal", "x\ny"], ["message", "bare"]];

test("events are the same wherever the stream is cut", () => {
  for (let size = 1; size <= TEXT.length; size += 1) {
    const found = [];
    const read = reader((kind, data) => found.push([kind, data]));
    for (let at = 0; at < TEXT.length; at += size) read(TEXT.slice(at, at + size));
    assert.deepEqual(found, WANTED, `in pieces of ${size}`);
  }
});

test("a stream that ends in the middle of an event tells nothing of it", () => {
  const found = [];
  reader((kind, data) => found.push([kind, data]))("event: cluster\ndata: half\n");
  assert.deepEqual(found, []);
});

test("the page's own agent is asked first, the other members after it", async () => {
  // what session.js looks for when it is loaded
  globalThis.sessionStorage = { getItem: () => null };
  const { bases } = await import("../console/live.js");
  assert.deepEqual(bases(cluster(), "http://127.0.0.1:15102"), [
    { name: "m2", url: "" },
    { name: "m1", url: "http://127.0.0.1:15101/" },
    { name: "m3", url: "http://127.0.0.1:15103/" },
  ]);
  assert.equal(bases(cluster(), "https://console.example")[0].name, null);
  assert.deepEqual(bases(null, "http://x"), [{ name: null, url: "" }]);
  const six = cluster({}, [member("m1", { host: "fd00::1" })]);
  assert.equal(bases(six, "http://x")[1].url, "http://[fd00::1]:15101/");
});
