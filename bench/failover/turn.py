#!/usr/bin/env python3
"""One system's turn in a series: bring it up, run each scenario so many times, append each result, take it down.

  turn.py --system dauphin|patroni|paf --config NAME --plan kill-server:4,switchover:1 --results FILE [--binary B] [--engine mysql] [--pg 15]

Started by series.py, one after the other: only one system lives at a time, so that none disturbs another. Configurations
are named in series.py. A run that fails is a result too.
"""
import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import paf_cluster
from common import WORK, append, commit, end_on_sigterm, find_bin, machine, now_text, say
from measure import one_run
from ours import Lab, build_of
from paf_cluster import PgAutoFailover
from patroni_cluster import Patroni

OURS_PORT = 22000
# series of two engines may run side by side
PORTS_FROM = {"postgres": 0, "mysql": 1000, "mariadb": 1300}


def make(o):
    """The system, not yet up."""
    words = o.config.split("-")
    if o.system == "dauphin":
        name = o.config if o.engine == "postgres" else f"{o.engine}-{o.config}"
        return Lab(o.binary, WORK / f"series-{name}", OURS_PORT + PORTS_FROM[o.engine], words[0], words[1],
                   find_bin(o.engine, o.pg), engine=o.engine)
    if o.system == "patroni":
        return Patroni(words[0], words[1])
    return PgAutoFailover(words[0], int(words[1]))


def versions(o, system):
    if o.system != "dauphin":
        return system.versions()
    said = system.call("--version").stdout.split()
    engine = "postgresql" if o.engine == "postgres" else o.engine
    return {"dauphin": said[-1], "build": build_of(o.binary), engine: system.facts["engine"]["version"]}


def run_all(o, system):
    fixed = dict(system=o.system, config=o.config, engine=o.engine, pg=o.pg, machine=machine(), versions=versions(o, system), commit=commit())
    for part in o.plan.split(","):
        kind, _, times = part.partition(":")
        for _ in range(int(times or 1)):
            line = dict(fixed, scenario=kind, date=now_text(), load=round(os.getloadavg()[0], 2))
            start = time.monotonic()
            try:
                line.update(one_run(system, kind, WORK / "runs" / f"{o.system}-{o.engine}-{o.config}-{kind}.json"))
                gap = f"gap {line['outage_s']:.3f} s, lost {line['lost_acked']}, errors {line['errors']}, healthy {line['healthy_s']} s"
            except Exception as error:  # noqa: BLE001 - the failure is the result
                line["failed"] = gap = str(error)[:500]
            append(o.results, dict(line, took_s=round(time.monotonic() - start, 1)))
            say(f"{o.system} {o.config} {kind}: {gap}")
            if "failed" in line:
                keep_logs(o, system, kind)
                system.heal()


def keep_logs(o, system, kind):
    """A failed run's logs outlive the cluster."""
    place = WORK / "failed" / f"{o.system}-{o.config}-{kind}-{time.strftime('%H%M%S')}"
    for log in [*system.dir.glob("*.log"), *system.dir.glob("*/log/*.log")]:
        target = place / log.relative_to(system.dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, target)
    say(f"logs kept in {place}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--system", choices=["dauphin", "patroni", "paf"], required=True)
    p.add_argument("--config", required=True)
    p.add_argument("--plan", required=True)
    p.add_argument("--results", type=Path, required=True)
    p.add_argument("--binary", type=lambda text: Path(text).absolute(), default=Path("target/release/dauphin").absolute())
    p.add_argument("--engine", choices=list(PORTS_FROM), default="postgres")
    p.add_argument("--pg", default="15", help="the engine's series, whichever it is")
    o = p.parse_args()
    if o.system == "paf":
        paf_cluster.isolate()
    end_on_sigterm()
    system = make(o)
    if o.system != "dauphin" and system.dir.exists():
        shutil.rmtree(system.dir)
    try:
        start = time.monotonic()
        system.up()
        say(f"{o.system} {o.config}: up in {time.monotonic() - start:.1f} s")
        run_all(o, system)
    finally:
        system.down()
        if o.system != "dauphin":
            shutil.rmtree(system.dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
