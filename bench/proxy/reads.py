#!/usr/bin/env python3
"""Sessions that write and read back, while replicas are behind and leadership moves: what they miss, and who serves them.

  reads.py [--sessions 8] [--seconds 30] [--base-port 27600] [--bin DIR]

Makes a lab cluster of its own. Each session makes a counter grow through the proxy's write port at read level `session` and
reads it back twice, with a pause between; what it reads must never be less than what it wrote. Replicas apply what they
receive 0, 5 and 50 ms late; then 50 ms late, where reads wait for them as long as it takes, with a switchover every 5 s. The view that is read tells which server answered. Needs
psycopg 3 (bench/proxy/drivers/drivers.sh makes a place for it). Writes bench/results/reads.md.
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cost import ROOT, bin_dir  # noqa: E402
from switchovers import DAUPHIN, call  # noqa: E402

REPORT = ROOT / "bench" / "results" / "reads.md"
SETUP = """
CREATE TABLE counter(k int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO counter SELECT k, 0 FROM generate_series(0, 63) AS k;
CREATE VIEW told AS SELECT k, n, inet_server_port() AS port FROM counter;
"""


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.replica = self.leader = self.missed = self.errors = 0
        self.took = []


def session(number, lab, end, tally, leader_port, wait):
    count = 0
    connection = None
    while time.monotonic() < end:
        try:
            if connection is None:
                connection = psycopg.connect(
                    host="127.0.0.1", port=lab["proxy"]["write_port"], user="app", password=lab["app"]["password"], dbname="app",
                    autocommit=True, options=f"-c dauphin.read_level=session -c dauphin.read_wait={wait}")
            count += 1
            connection.execute("UPDATE counter SET n = %s WHERE k = %s", (count, number))
            for _ in range(2):
                begun = time.monotonic()
                n, port = connection.execute("SELECT n, port FROM told WHERE k = %s", (number,)).fetchone()
                took = time.monotonic() - begun
                with tally.lock:
                    tally.took.append(took * 1000)
                    tally.missed += n < count
                    if port == leader_port[0]:
                        tally.leader += 1
                    else:
                        tally.replica += 1
            time.sleep(0.01)
        except psycopg.Error as error:
            print(error, file=sys.stderr)
            with tally.lock:
                tally.errors += 1
            if connection is not None:
                connection.close()
            connection = None
            time.sleep(0.05)


def leader(config):
    return json.loads(call(DAUPHIN, "status", *config, "--json"))["leader"]


def ports(lab):
    return {member["name"]: member["sql_port"] for member in lab["members"]}


def delay(lab, a, ms):
    """Has every server apply what it receives so late, should it be a replica."""
    env = {"PGPASSWORD": lab["admin"]["password"], "PATH": "/usr/bin:/bin"}
    for port in ports(lab).values():
        for sql in [f"ALTER SYSTEM SET recovery_min_apply_delay = '{ms}ms'", "SELECT pg_reload_conf()"]:
            words = [a.bin / "psql", "-X", "-q", "-h", "127.0.0.1", "-p", port, "-U", "admin", "-d", "app", "-c", sql]
            subprocess.run([str(w) for w in words], env=env, check=True, capture_output=True)
    time.sleep(1)


def leg(lab, a, config, ms, wait, moves):
    delay(lab, a, ms)
    tally, end = Tally(), time.monotonic() + a.seconds
    leader_port = [ports(lab)[leader(config)]]
    threads = [threading.Thread(target=session, args=(n, lab, end, tally, leader_port, wait)) for n in range(a.sessions)]
    for thread in threads:
        thread.start()
    switched = 0
    while moves and time.monotonic() < end - 6:
        time.sleep(5)
        name = json.loads(call(DAUPHIN, "switchover", *config, "--json"))["leader"]
        leader_port[0] = ports(lab)[name]
        switched += 1
    for thread in threads:
        thread.join()
    reads = tally.replica + tally.leader
    took = sorted(tally.took)
    row = (ms, wait, switched, reads, tally.missed, tally.errors, 100 * tally.replica / reads, statistics.median(took), took[int(len(took) * 0.99)])
    print(row, flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--base-port", type=int, default=27600)
    parser.add_argument("--bin", type=Path, default=bin_dir())
    a = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="dauphin-reads-"))
    place = work / "lab"
    try:
        call(DAUPHIN, "lab", "up", "--dir", place, "--base-port", a.base_port, "--bin", a.bin)
        config = ["--config", place / "m1" / "dauphin.toml"]
        lab = json.loads(call(DAUPHIN, "lab", "show", "--dir", place, "--json"))
        with psycopg.connect(host="127.0.0.1", port=a.base_port, user="app", password=lab["app"]["password"], dbname="app") as c:
            c.execute(SETUP)
        rows = [leg(lab, a, config, *row) for row in [(0, 20, False), (5, 20, False), (50, 20, False), (50, 200, True)]]
    finally:
        subprocess.run([str(DAUPHIN), "lab", "down", "--dir", str(place)], capture_output=True)
        shutil.rmtree(work, ignore_errors=True)
    lines = [
        "# Reads of sessions that write",
        "",
        f"{a.sessions} sessions at read level `session`, {a.seconds:g} s for each row; each writes its counter and reads it back twice. "
        "Written by bench/proxy/reads.py.",
        "",
        f"{call(a.bin / 'postgres', '--version').strip()}; {time.strftime('%Y-%m-%d', time.gmtime())}; "
        f"{call('git', '-C', ROOT, 'rev-parse', '--short', 'HEAD').strip()}; {call('nproc').strip()} processors.",
        "",
        "| replicas apply late by | a read waits up to | switchovers | reads | own write missed | errors | served by replicas | median | 99 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for ms, wait, switched, reads, missed, errors, share, median, p99 in rows:
        lines.append(f"| {ms} ms | {wait} ms | {switched} | {reads} | {missed} | {errors} | {share:.1f} % | {median:.1f} ms | {p99:.1f} ms |")
    REPORT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 1 if any(row[4] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
