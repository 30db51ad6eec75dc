#!/usr/bin/env python3
"""Many clients: what an idle one costs in memory, and how evenly a thousand active ones share twenty servers.

  crowd.py [--idle 9700] [--active 1000] [--seconds 20] [--rounds 3] [--only idle,active]

Ours and PgBouncer stand before one PostgreSQL on this machine. Idle: resident memory of the proxy's process before and after
so many logins that then do nothing. Active: `pgbench -S` by so many clients at once over a pool of twenty; the quantiles are of
single transactions as pgbench's log has them. Needs bench/work/drivers-venv (bench/proxy/drivers.sh makes it).
Writes bench/results/crowd.md.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cost  # noqa: E402

REPORT = cost.ROOT / "bench" / "results" / "crowd.md"


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    sys.exit(f"process {pid} is gone")


def connect(port, count):
    """So many logins, a few at a time."""
    import psycopg

    found, failed, lock = [], [], threading.Lock()

    def some(number):
        for _ in range(number):
            try:
                one = psycopg.connect(host="127.0.0.1", port=port, user="app", dbname="app", password="app secret",
                                      sslmode="disable", gssencmode="disable", autocommit=True)
                with lock:
                    found.append(one)
            except psycopg.Error as error:
                with lock:
                    failed.append(error)
                return

    threads = [threading.Thread(target=some, args=(count // 8,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        sys.exit(f"{len(failed)} logins failed: {failed[0]}")
    return found


def idle(port, pid, count):
    first = connect(port, 200)
    first[0].execute("select 1")
    before = resident(pid)
    more = connect(port, count)
    time.sleep(2)
    after = resident(pid)
    for one in first + more:
        one.close()
    return (after - before) / len(more)


def active(bench, port, a):
    with tempfile.TemporaryDirectory(prefix="dauphin-crowd-") as folder:
        words = [bench.bin / "pgbench", "-n", "-S", "-M", "simple", "-c", a.active, "-j", 2, "-T", a.seconds, "-l", "--log-prefix", f"{folder}/log",
                 "-h", "127.0.0.1", "-p", port]
        ran = subprocess.run([str(w) for w in words], env=bench.env, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"pgbench failed: {ran.stdout}{ran.stderr}")
        took = sorted(int(line.split()[2]) for path in Path(folder).glob("log.*") for line in path.read_text().splitlines())
    at = lambda part: took[int(len(took) * part)] / 1000
    return {"p50": at(0.5), "p99": at(0.99), "worst": took[-1] / 1000, "rate": len(took) / a.seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=9_700)
    parser.add_argument("--active", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="idle,active")
    parser.add_argument("--proxy", default=cost.ROOT / "target" / "release" / "examples" / "fixed")
    a = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bench = cost.Bench(a)
    lines = []
    try:
        bench.server()
        subjects = [("ours", *bench.ours()), ("PgBouncer", *bench.pgbouncer("transaction"))]
        if "idle" in a.only:
            for name, port, pid in subjects:
                each = idle(port, pid, a.idle)
                print(f"{name}: {each:.0f} bytes for each of {a.idle} idle clients", flush=True)
                lines.append(f"| {name} | {each:.0f} |")
        rows = {name: [] for name, *_ in subjects}
        if "active" in a.only:
            for number in range(a.rounds):
                for name, port, _ in subjects if number % 2 == 0 else subjects[::-1]:
                    row = active(bench, port, a)
                    rows[name].append(row)
                    print(f"{name}: p50 {row['p50']:.1f} ms, p99 {row['p99']:.1f} ms, worst {row['worst']:.0f} ms, {row['rate']:.0f}/s", flush=True)
    finally:
        bench.stop()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=cost.ROOT, capture_output=True, text=True).stdout.strip()
    report = f"# A crowd of clients\n\n`bench/proxy/crowd.py`, commit {commit}, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; PgBouncer of Debian 12.\n"
    if lines:
        report += f"\n| {a.idle} idle clients, logged in | resident bytes for each |\n|---|---|\n" + "\n".join(lines) + "\n"
    if a.rounds and "active" in a.only:
        report += f"\n| {a.active} clients of `pgbench -S` over 20 servers | p50, ms | p99, ms | p99 / p50 | worst, ms | a second |\n|---|---|---|---|---|---|\n"
        for name, of in rows.items():
            m = {key: statistics.median(row[key] for row in of) for key in of[0]}
            report += f"| {name} | {m['p50']:.1f} | {m['p99']:.1f} | {m['p99'] / m['p50']:.2f} | {m['worst']:.0f} | {m['rate']:.0f} |\n"
    print(report)
    if set(a.only.split(",")) == {"idle", "active"}:
        REPORT.write_text(report)


if __name__ == "__main__":
    main()
