#!/usr/bin/env python3
"""Does anybody take over for no reason? pgbench through the proxy keeps both cores busy, beside processes that do nothing
but use CPU and one that walks through memory. Every leadership after the first is a false failover.

  calm.py [--minutes 30] [--profile standard] [--pg 15] [--binary B]

A line of bench/work/calm.jsonl for each run; bench/results/calm.md is made from all of them.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "failover"))
from common import RESULTS, WORK, append, commit, end_on_sigterm, find_pg_bin, lines, machine, now_text, say  # noqa: E402
from ours import Lab  # noqa: E402

KEPT = WORK / "calm.jsonl"
HOG = "while True: pass"
MEMORY_HOG = ("import time\nblock = bytearray(3 << 30)\nwhile True:\n for i in range(0, len(block), 4096): block[i] = (block[i] + 1) & 255\n"
              " time.sleep(0.01)")


def history(lab):
    return json.loads(lab.call("history", "--config", lab.dir / "m1" / "dauphin.toml", "--json").stdout)["history"]


def run(o):
    lab = Lab(o.binary, WORK / "calm", 22800, o.profile, "quorum", find_pg_bin(o.pg))
    lab.up()
    proxy, app = lab.facts["proxy"], lab.facts["app"]
    env = dict(os.environ, PGPASSFILE=str(lab.dir / "pgpass"))
    to = ["-h", proxy["host"], "-p", str(proxy["write_port"]), "-U", app["user"], app["database"]]
    others, sampled = [], []
    try:
        subprocess.run(["pgbench", "-i", "-q", "-s", "10", *to], env=env, check=True, capture_output=True)
        others = [subprocess.Popen([sys.executable, "-c", program]) for program in (HOG, HOG, MEMORY_HOG)]
        seconds = int(o.minutes * 60)
        bench = subprocess.Popen(["pgbench", "-n", "-c", "16", "-j", "2", "-T", str(seconds), *to], env=env, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        began = time.monotonic()
        while bench.poll() is None:
            time.sleep(5)
            sampled.append(os.getloadavg()[0])
            if int(time.monotonic() - began) % 300 < 5:
                say(f"{time.monotonic() - began:.0f} s, load {sampled[-1]:.1f}, leaderships {len(history(lab))}")
        text = bench.stdout.read()
        found = history(lab)
    finally:
        for process in others:
            process.kill()
            process.wait()
        lab.down()
    tps = next((float(line.split()[2]) for line in text.splitlines() if line.startswith("tps = ")), None)
    failed = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("number of failed")), "?")
    line = dict(minutes=round((time.monotonic() - began) / 60, 1), profile=o.profile, pg=lab.facts["engine"]["version"], tps=tps,
                failed=failed, aborted="aborted" in text, false_failovers=[[h["term"], h["kind"], h["reason"]] for h in found[1:]],
                load=round(sum(sampled) / max(1, len(sampled)), 1), date=now_text(), commit=commit(), machine=machine())
    append(KEPT, line)
    return line


def write():
    rows = lines(KEPT)
    m = rows[-1]["machine"]
    text = ["# Takeovers for no reason", "",
            "pgbench (16 clients, through the proxy) saturates both cores beside two processes that only use CPU and one that walks through",
            "3 GiB of memory, all at the same priority. Nothing fails. `bench/proof/calm.py` does it again.", "",
            f"{m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}", "",
            "| profile | PostgreSQL | minutes | mean load | transactions/s | failed | takeovers | commit |", "|---|---|---|---|---|---|---|---|",
            *(f"| {r['profile']} | {r['pg']} | {r['minutes']} | {r['load']} | {r['tps'] or 0:.0f} | {r['failed']} | "
              f"{len(r['false_failovers'])}{'; pgbench gave up' if r['aborted'] else ''} | {r['commit']} |" for r in rows), ""]
    for r in rows:
        text += [f"- {r['profile']}, {r['date']}: term {term}, {kind}: {why}" for term, kind, why in r["false_failovers"]]
    (RESULTS / "calm.md").write_text("\n".join(text) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--binary", type=lambda text: Path(text).absolute(), default=Path("target/release/dauphin").absolute())
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--profile", default="standard")
    p.add_argument("--pg", default="15")
    o = p.parse_args()
    end_on_sigterm()
    line = run(o)
    write()
    say(f"{line['minutes']} min, {line['tps']} transactions/s, load {line['load']}: {len(line['false_failovers'])} takeovers for no reason")
    return 1 if line["false_failovers"] and o.profile == "standard" else 0


if __name__ == "__main__":
    sys.exit(main())
