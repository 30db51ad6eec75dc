#!/usr/bin/env python3
"""Many switchovers under clients that notice none: errors, reconnects, and how long they wait beyond the servers' own gap.

  switchovers.py [--count 100] [--clients 64] [--rate 200] [--scale 64] [--seconds 4] [--base-port 27400] [--bin DIR]

Makes a lab cluster of its own, runs `pgbench --max-tries=1` (TPC-B, transactions well under a second) through its proxy at a
fixed rate, and asks for a switchover every few seconds. The gap is the servers' own, as `dauphin switchover` reports it:
from the last moment at which the former leader took a write to the opening of the next. The wait is the slowest
transaction's around it, as pgbench's log has it, from when it was due. Writes bench/results/switchovers.md.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cost import ROOT, bin_dir  # noqa: E402

DAUPHIN = ROOT / "target" / "release" / "dauphin"
REPORT = ROOT / "bench" / "results" / "switchovers.md"


def call(*words, check=True):
    ran = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if check and ran.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def transactions(folder):
    """(when it ended, how long it took from when it was due, in seconds), by when it ended."""
    found = []
    for path in folder.glob("log.*"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[2].isdigit():
                found.append((int(words[4]) + int(words[5]) / 1e6, int(words[2]) / 1e6))
    return sorted(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rate", type=int, default=200)
    # no fewer branches than clients: with fewer, what is let go together waits for the same rows
    parser.add_argument("--scale", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--base-port", type=int, default=27400)
    parser.add_argument("--bin", type=Path, default=bin_dir())
    a = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="dauphin-switchovers-"))
    lab, logs = work / "lab", work / "logs"
    logs.mkdir()
    pgbench, well = None, False
    try:
        call(DAUPHIN, "lab", "up", "--dir", lab, "--base-port", a.base_port, "--bin", a.bin)
        config = ["--config", lab / "m1" / "dauphin.toml"]
        # never in an argument: the password is in the lab's own file
        env = {**os.environ, "PGPASSFILE": str(lab / "pgpass"), "PGUSER": "app", "PGDATABASE": "app", "PGHOST": "127.0.0.1",
               "PGPORT": str(a.base_port)}
        subprocess.run([a.bin / "pgbench", "-i", "-q", "-s", str(a.scale)], env=env, check=True, capture_output=True)
        lasts = int(a.count * (a.seconds + 1.2) + 10)
        words = [a.bin / "pgbench", "-n", "-c", a.clients, "-j", 2, "-R", a.rate, "--max-tries=1", "-T", lasts,
                 "-l", "--log-prefix", logs / "log", "--failures-detailed"]
        out = open(work / "pgbench.out", "w")
        pgbench = subprocess.Popen([str(w) for w in words], env=env, stdout=out, stderr=out)
        time.sleep(3)
        asked = []
        for number in range(a.count):
            begun = time.time()
            told = json.loads(call(DAUPHIN, "switchover", *config, "--json"))
            asked.append((begun, time.time(), told["gap_ms"]))
            print(f"{number + 1}: {told['leader']}, servers' gap {told['gap_ms']} ms", flush=True)
            time.sleep(a.seconds)
            if pgbench.poll() is not None:
                sys.exit(f"pgbench has ended:\n{(work / 'pgbench.out').read_text()[-2000:]}")
        # its log is whole only if it ends by itself
        pgbench.wait(lasts)
        said = (work / "pgbench.out").read_text()
        done = transactions(logs)
        failed = sum(1 for path in logs.glob("log.*") for line in path.read_text().splitlines() if not line.split()[2].isdigit())
        told = re.search(r"number of failed transactions: (\d+)", said)
        if pgbench.returncode or not told or int(told[1]) != failed:
            sys.exit(f"pgbench ended with {pgbench.returncode}:\n{said[-2000:]}")
        broken = len(re.findall(r"aborted|could not connect|server closed", said))
        rows = []
        for begun, ended, gap in asked:
            worst = max((took for at, took in done if begun <= at <= ended + 3), default=0) * 1000
            rows.append((gap, worst, worst - gap))
        gaps, waits, added = ([row[at] for row in rows] for at in range(3))
        middle = lambda of: f"{statistics.median(of):.0f} / {sorted(of)[int(len(of) * 0.95)]:.0f} / {max(of):.0f}"
        commit = call("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip()
        version = call(a.bin / "postgres", "--version").split()[2]
        report = f"""# Switchovers under clients

`bench/proxy/switchovers.py --count {a.count} --clients {a.clients} --rate {a.rate} --scale {a.scale}`, commit {commit}, PostgreSQL {version},
{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; three members, `quorum`, all on this machine.

| | |
|---|---|
| switchovers | {len(rows)} |
| transactions (TPC-B, `--max-tries=1`) | {len(done)} |
| failed | {failed} |
| connections lost or made again | {broken} |
| the servers' own gap, median / 95 % / worst, ms | {middle(gaps)} |
| the slowest transaction around it, from when it was due, ms | {middle(waits)} |
| beyond the gap, ms | {middle(added)} |
"""
        print(report)
        if failed or broken:
            sys.exit(f"clients noticed:\n{said[-2000:]}")
        REPORT.write_text(report)
        well = True
    finally:
        if pgbench and pgbench.poll() is None:
            pgbench.terminate()
            pgbench.wait(30)
        if not well:
            shutil.copytree(lab, work / "kept", ignore=shutil.ignore_patterns("data"), ignore_dangling_symlinks=True)
        call(DAUPHIN, "lab", "down", "--dir", lab, check=False)
        if well:
            shutil.rmtree(work, ignore_errors=True)
        else:
            print(f"what there is to look at is kept in {work}", file=sys.stderr)


if __name__ == "__main__":
    main()
