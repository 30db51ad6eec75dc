#!/usr/bin/env python3
"""Neutral probe of write availability: the same clients for every system that is compared.

N writers insert ever new ids through a DSN (a proxy, or a libpq host list with target_session_attrs=read-write). On any
error a writer closes its connection, waits --backoff-ms and connects again. Every acknowledged insert is kept with its
monotonic start and end; `verify` compares the acknowledged ids with the table on the final leader.

  probe.py run    --out run.json [--writers 8] [--think-ms 5] [--op-timeout 0]    until SIGTERM
  probe.py verify --out run.json        adds lost_acked and unacked_present to run.json
  probe.py idle   --clients 8           connects, says "ready", waits for a line on standard input, then one query each

The DSN comes in the environment (PROBE_DSN), as it may hold a password. While `run` runs, OUT.live holds "<acknowledged>
<monotonic time of the last one> <errors>", written anew every 50 ms. The drivers are those of clients.py.
"""
import argparse
import collections
import json
import os
import signal
import socket
import sys
import threading
import time

import clients

STOP = threading.Event()


class Writer(threading.Thread):
    def __init__(self, index, options, dsn):
        super().__init__(daemon=True)
        self.index, self.options, self.dsn = index, options, dsn
        self.acks, self.errors = [], []  # (id, start, end); (time, phase, message, id, start)
        self.attempts = 0
        self.connection, self.since = None, None

    def run(self):
        o, n = self.options, 0
        insert = f"INSERT INTO {o.table}(id, w) VALUES (%s, %s)"
        while not STOP.is_set():
            phase, row, start = "connect", None, time.monotonic()
            try:
                self.connection = clients.connect(self.dsn, o.connect_timeout)
                phase = "write"
                cursor = self.connection.cursor()
                while not STOP.is_set():
                    row = n * o.writers + self.index
                    n += 1
                    self.attempts += 1
                    start = self.since = time.monotonic()
                    cursor.execute(insert, (row, self.index))
                    end = time.monotonic()
                    self.since = None
                    self.acks.append((row, start, end))
                    if o.think_ms:
                        time.sleep(o.think_ms / 1000)
            except clients.ERRORS as error:
                self.since = None
                self.errors.append((time.monotonic(), phase, clients.kind(error), row, start))
            finally:
                self.close()
            time.sleep(o.backoff_ms / 1000)

    def close(self):
        if self.connection is not None:
            try:
                self.connection.close()
            except Exception:  # noqa: BLE001 - it is gone either way
                pass
            self.connection = None

    def cut(self):
        """Breaks a hung connection from outside."""
        try:
            s = socket.socket(fileno=os.dup(self.connection.fileno()))
            s.shutdown(socket.SHUT_RDWR)
            s.close()
        except Exception:  # noqa: BLE001 - already closed
            pass


def percentile(values, p):
    return round(1e3 * values[min(len(values) - 1, int(p * len(values)))], 3) if values else None


def run(o, dsn):
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    with clients.connect(dsn) as c:
        clients.make_table(c, dsn, o.table)
    start = time.monotonic()
    writers = [Writer(i, o, dsn) for i in range(o.writers)]
    for w in writers:
        w.start()
    while not STOP.is_set():
        show_live(o, writers)
        now = time.monotonic()
        for w in writers:
            since = w.since
            if o.op_timeout and since is not None and now - since > o.op_timeout:
                w.cut()
        time.sleep(0.05)
    for _ in range(2):
        for w in writers:
            w.join(timeout=3)
            if w.is_alive():
                w.cut()
    finish(o, writers, start, time.monotonic())


def show_live(o, writers):
    last = max((w.acks[-1][2] for w in writers if w.acks), default=0)
    with open(o.out + ".live.new", "w") as f:
        f.write(f"{sum(len(w.acks) for w in writers)} {last:.6f} {sum(len(w.errors) for w in writers)}\n")
    os.replace(o.out + ".live.new", o.out + ".live")


def finish(o, writers, start, end):
    acks = sorted((t1, t0, i) for w in writers for i, t0, t1 in list(w.acks))
    gaps = sorted(((b[0] - a[0], a[0]) for a, b in zip(acks, acks[1:])), reverse=True)
    if acks:  # a run that ends within a gap must not hide it
        gaps = sorted([*gaps[:5], (end - acks[-1][0], acks[-1][0])], reverse=True)
    worst = max((b[2] - a[2] for w in writers for a, b in zip(list(w.acks), list(w.acks)[1:])), default=None)
    latency = sorted(t1 - t0 for t1, t0, _ in acks)
    errors = sorted((e for w in writers for e in list(w.errors)), key=lambda e: e[0])
    kinds = collections.Counter(f"{e[1]}: {e[2][:100]}" for e in errors)
    summary = dict(
        writers=o.writers, think_ms=o.think_ms, seconds=end - start, start=start, end=end, acks=len(acks),
        attempts=sum(w.attempts for w in writers), outage_s=gaps[0][0] if gaps else None,
        outage_at=gaps[0][1] if gaps else None, next_gaps=[[round(g, 3), round(at, 3)] for g, at in gaps[1:4]],
        worst_writer_gap_s=worst, errors=len(errors), errors_write=sum(e[1] == "write" for e in errors),
        errors_connect=sum(e[1] == "connect" for e in errors), error_kinds=dict(kinds),
        p50_ms=percentile(latency, .5), p99_ms=percentile(latency, .99), stuck_writers=sum(w.is_alive() for w in writers))
    with open(o.out + ".new", "w") as f:
        json.dump(dict(summary=summary, table=o.table, acks=[(i, t0, t1) for t1, t0, i in acks], errors=errors), f)
    os.replace(o.out + ".new", o.out)
    print(json.dumps(summary))


def verify(o, dsn):
    done = json.load(open(o.out))
    with clients.connect(dsn) as c:
        have = {r[0] for r in c.execute(f"SELECT id FROM {done['table']}")}
    acked = {x[0]: x[2] for x in done["acks"]}
    lost = sorted(set(acked) - have)
    done["summary"].update(lost_acked=len(lost), unacked_present=len(have - set(acked)),
                           lost=[(i, acked[i]) for i in lost[:50]])
    json.dump(done, open(o.out, "w"))
    print(json.dumps(dict(lost_acked=len(lost), unacked_present=len(have - set(acked)))))


def idle(o, dsn):
    """Clients that do nothing at the time of the fault: each must answer one query after it."""
    held = [clients.connect(dsn) for _ in range(o.clients)]
    for c in held:
        c.execute("SELECT 1").fetchone()
    print("ready", flush=True)
    sys.stdin.readline()
    errors = []
    for c in held:
        try:
            if clients.on_replica(c, dsn):
                errors.append("on a replica")
        except clients.ERRORS as error:
            errors.append(clients.kind(error))
    print(json.dumps(dict(clients=o.clients, errors=len(errors), kinds=dict(collections.Counter(errors)))), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("command", choices=["run", "verify", "idle"])
    p.add_argument("--out")
    p.add_argument("--table", default="probe")
    p.add_argument("--writers", type=int, default=8)
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--think-ms", type=float, default=5)
    p.add_argument("--backoff-ms", type=float, default=10)
    p.add_argument("--connect-timeout", type=int, default=2)
    p.add_argument("--op-timeout", type=float, default=0, help="break a statement after this many seconds (0: never)")
    o = p.parse_args()
    dsn = os.environ.get("PROBE_DSN") or sys.exit("PROBE_DSN is not set")
    {"run": run, "verify": verify, "idle": idle}[o.command](o, dsn)


if __name__ == "__main__":
    main()
