#!/usr/bin/env python3
"""The long runs of the proof: many seeds of the simulator, and every pair of turns of the model check. Resumable.

  long.py [--seeds 100000] [--states 10000000] [--minutes 60] [--jobs 2]

Started by run.sh. Each block of seeds and each walk is a line of bench/results/proof.jsonl, with the build that made it; a call
goes on where lines are missing. Writes bench/results/proof.md. Ends with 1 when an invariant broke.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LINES = ROOT / "bench" / "results" / "proof.jsonl"
REPORT = ROOT / "bench" / "results" / "proof.md"
BLOCK = 1_000
STARTS = ["quorum", "sync", "async", "witness", "degrade"]


def commit():
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain", "crates"], cwd=ROOT, capture_output=True, text=True).stdout
    return head + ("+" if dirty.strip() else "")


def lines():
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


class Proof:
    def __init__(self, xtask):
        self.xtask = xtask
        self.build = hashlib.sha256(Path(xtask).read_bytes()).hexdigest()[:12]
        self.commit = commit()
        self.done = {tuple(line["unit"]) for line in lines() if line["build"] == self.build}

    def call(self, *words):
        begun = time.monotonic()
        ran = subprocess.run([self.xtask, *words], cwd=ROOT, capture_output=True, text=True)
        return ran, time.monotonic() - begun

    def keep(self, unit, **facts):
        facts.update(unit=list(unit), build=self.build, commit=self.commit, date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        with LINES.open("a") as file:
            file.write(json.dumps(facts) + "\n")

    def seeds(self, unit):
        _, first, last = unit
        ran, took = self.call("sim", "--from", str(first), "--to", str(last))
        said = ran.stdout + ran.stderr
        whole = re.search(r"(\d+) seeds, (\d+) failed", said)
        if not whole:
            sys.exit(f"xtask sim said: {said[-500:]}")
        bad = [line for line in said.splitlines() if line.startswith("seed ")]
        self.keep(unit, kind="seeds", seeds=int(whole[1]), bad=bad, took_s=round(took, 1))
        return bad

    def walk(self, unit):
        _, start, first = unit
        ran, took = self.call("explore", "--start", start, "--first", first, "--turns", "2", "--threads", "1")
        said = re.search(r"(\d+) states \((.*?)\), longest run (\d+).*?: (.*)", ran.stdout)
        if not said:
            sys.exit(f"xtask explore said: {(ran.stdout + ran.stderr)[-500:]}")
        bad = [] if "every invariant holds" in said[4] else [f"{start}, {first}: {said[4]}"]
        whole = said[2] == "all of them"
        self.keep(unit, kind="walk", states=int(said[1]), depth=int(said[3]), whole=whole, bad=bad, took_s=round(took, 1))
        return bad

    def units(self, seeds):
        blocks = [("seeds", first, first + BLOCK - 1) for first in range(1, seeds + 1, BLOCK)]
        walks = []
        for start in STARTS:
            firsts = self.call("explore", "--start", start, "--firsts")[0].stdout.splitlines()
            walks += [("walk", start, first) for first in firsts]
        # one of each kind in turn, so that a run that is cut off has something of both
        mixed = []
        for at in range(max(len(blocks), len(walks))):
            mixed += blocks[at:at + 1] + walks[at:at + 1]
        return [unit for unit in mixed if unit not in self.done]


def report():
    rows = lines()
    builds = {}
    for row in rows:
        builds.setdefault(row["build"], []).append(row)
    out = ["# The long runs of the proof", "",
           "Made by `make proof`, which goes on where it was cut off. One line a build; only whole walks count.", "",
           "| build | commit | seeds | walks of two turns | states | longest run | violations | hours of one core |",
           "|---|---|---|---|---|---|---|---|"]
    for build, of in builds.items():
        seeds = sum(row.get("seeds", 0) for row in of)
        walks = [row for row in of if row["kind"] == "walk" and row["whole"]]
        bad = [text for row in of for text in row["bad"]]
        hours = sum(row["took_s"] for row in of) / 3600
        out.append(f"| {build} | {of[-1]['commit']} | {seeds:,} | {len(walks)} | {sum(w['states'] for w in walks):,} | "
                   f"{max((w['depth'] for w in walks), default=0)} | {len(bad)} | {hours:.1f} |")
        out += [f"- {text}" for text in bad]
    REPORT.write_text("\n".join(out) + "\n")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=100_000)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options.add_argument("--xtask", default=str(ROOT / "target" / "release" / "xtask"))
    given = options.parse_args()
    LINES.parent.mkdir(parents=True, exist_ok=True)
    proof = Proof(given.xtask)
    end = time.monotonic() + given.minutes * 60
    units, bad = proof.units(given.seeds), []
    print(f"build {proof.build}: {len(units)} blocks and walks are missing", flush=True)

    def one(unit):
        if time.monotonic() >= end:
            return None
        return proof.seeds(unit) if unit[0] == "seeds" else proof.walk(unit)

    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        for unit, found in zip(units, pool.map(one, units)):
            if found is None:
                break
            bad += found
            print(time.strftime("%H:%M:%S"), *unit, "well" if not found else found, flush=True)
    report()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
