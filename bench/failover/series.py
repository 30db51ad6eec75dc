#!/usr/bin/env python3
"""The whole comparison: rounds of turns, each system in each round, so that the machine's moods hit all alike.

  series.py [--runs 10] [--peer-runs 3] [--rounds 3] [--only dauphin,patroni-tight] [--engine mysql] [--pg 15] [--binary B]

Started by run.sh. Results are lines of bench/work/failover.jsonl; a call continues where runs are missing: ours count by
the build that made them, the others' by their version of PostgreSQL. On MySQL and MariaDB there are no others, runs of all
builds count, and the lines are in bench/results/failovers-mysql.jsonl. Each turn is turn.py.
"""
import argparse
import math
import subprocess
import sys
from pathlib import Path

from common import HERE, end_on_sigterm, find_bin, lines, results_of, say
from ours import build_of

ALL = ["kill-server", "kill-node", "freeze-node", "switchover"]
# (system, configuration, scenarios): what the table needs of each
PLAN = [
    ("dauphin", "standard-quorum", ALL),
    ("patroni", "tight-quorum", ALL),
    ("dauphin", "fast-quorum", ["kill-server", "freeze-node", "switchover"]),
    ("paf", "tight-3", ALL),
    ("dauphin", "standard-async", ["kill-node"]),
    ("patroni", "tight-async", ["kill-server", "kill-node"]),
    ("paf", "tight-2", ["kill-node", "switchover"]),
    ("patroni", "default-quorum", ALL),
    ("paf", "default-3", ALL),
    ("patroni", "default-async", ["kill-node"]),
]
# MariaDB waits for one replica, and refuses `sync` with two
PLANS = {
    "postgres": PLAN,
    "mysql": [("dauphin", "standard-quorum", ALL), ("dauphin", "standard-sync", ALL)],
    "mariadb": [("dauphin", "standard-quorum", ALL)],
}
VERSIONS = {"postgres": "15", "mysql": "9", "mariadb": "10.11"}
TRIES_MAX = 2        # a failed run is tried again so many times, then stands as failed
TURN_WITHIN = 3600   # seconds


def counts(line, o, build):
    """Whether a result belongs to this series."""
    if line["pg"] != (o.pg if line["system"] == "dauphin" else "15") or line.get("engine", "postgres") != o.engine:
        return False
    return o.engine != "postgres" or line["system"] != "dauphin" or line["versions"].get("build") == build


def missing(o, build, system, config, scenario, wanted):
    mine = [r for r in lines(results_of(o.engine)) if counts(r, o, build) and (r["system"], r["config"], r["scenario"]) == (system, config, scenario)]
    good = sum("failed" not in r for r in mine)
    if len(mine) - good >= TRIES_MAX and o.engine == "postgres":
        return 0
    return max(0, wanted - good)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--runs", type=int, default=10, help="of ours, each")
    p.add_argument("--peer-runs", type=int, default=3, help="of each other system, each")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default="", help="words, separated by commas: a turn is made when SYSTEM-CONFIG begins with one")
    p.add_argument("--binary", type=lambda text: Path(text).absolute(), default=Path("target/release/dauphin").absolute())
    p.add_argument("--engine", choices=list(PLANS), default="postgres")
    p.add_argument("--pg", help="the engine's series for ours; the others' is PostgreSQL 15, what Debian has for them")
    o = p.parse_args()
    end_on_sigterm()
    o.pg = o.pg or VERSIONS[o.engine]
    find_bin(o.engine, o.pg)
    build = build_of(o.binary)
    only = [w for w in o.only.split(",") if w]
    for number in range(1, o.rounds + 1):
        for system, config, scenarios in PLANS[o.engine]:
            if only and not any(f"{system}-{config}".startswith(w) for w in only):
                continue
            total = o.runs if system == "dauphin" else o.peer_runs
            by_now = math.ceil(total * number / o.rounds)
            todo = {s: missing(o, build, system, config, s, by_now) for s in scenarios}
            plan = ",".join(f"{s}:{n}" for s, n in todo.items() if n)
            if plan:
                say(f"round {number} of {o.rounds}: {system} {config}: {plan}")
                turn(o, system, config, plan)
    left = [f"{s} {c} {k}" for s, c, ks in PLANS[o.engine] for k in ks
            if missing(o, build, s, c, k, o.runs if s == "dauphin" else o.peer_runs)]
    if left and not only:
        say("still missing:", *left)
        return 1
    return 0


def turn(o, system, config, plan):
    """One turn; what it could not do is missing, and the next round or the next call tries again."""
    words = [sys.executable, str(HERE / "turn.py"), "--system", system, "--config", config, "--plan", plan,
             "--results", str(results_of(o.engine)), "--binary", str(o.binary), "--engine", o.engine, "--pg", o.pg if system == "dauphin" else "15"]
    process = subprocess.Popen(words)
    try:
        process.wait(TURN_WITHIN)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.terminate()
        process.wait(120)
        raise
    if process.returncode:
        say(f"the turn of {system} {config} ended with {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())
