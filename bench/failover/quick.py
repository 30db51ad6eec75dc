#!/usr/bin/env python3
"""N runs of one fault on a lab of one's own, for engineers: the write gap of each run, as it happens, and a summary.

  bench/work/venv/bin/python bench/failover/quick.py --binary target/debug/dauphin --fault kill-server --runs 5

Each run is a line on standard error; the summary is on standard output (--json: the raw facts). The lab is made and
taken down again unless --keep; it never touches another lab.
"""
import argparse
import collections
import fcntl
import json
import statistics
import sys
import time
from pathlib import Path

from common import WORK, end_on_sigterm, find_bin, say
from measure import one_run
from ours import Lab


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--binary", type=Path, default=Path("target/release/dauphin"))
    p.add_argument("--fault", default="kill-server",
                   help="kill-server kill-agent kill-node freeze-server freeze-agent freeze-node switchover none")
    p.add_argument("--member", help="the member that is hit; otherwise the leader ('replica': any replica)")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--profile", default="standard")
    p.add_argument("--durability", default="quorum")
    p.add_argument("--members", type=int, default=3)
    p.add_argument("--writers", type=int, default=8)
    p.add_argument("--engine", choices=["postgres", "mysql", "mariadb"], default="postgres")
    p.add_argument("--pg", default="15", help="the engine's series: 15, 9, 10.11")
    p.add_argument("--bin", type=Path, help="the engine's bin directory, instead of --pg")
    p.add_argument("--base-port", type=int, default=22900)
    p.add_argument("--dir", type=Path, help="the lab's folder (default: below bench/work)")
    p.add_argument("--seed", type=int)
    p.add_argument("--keep", action="store_true", help="leave the lab up; a lab that is up is used again")
    p.add_argument("--stop-on-trouble", action="store_true", help="end, with the lab left up, at the first trouble")
    p.add_argument("--json", action="store_true")
    return p.parse_args()


def line(n, r):
    after = f"{r['gap_starts_after_fault_s']:+.2f}"
    text = (f"run {n}: gap {r['outage_s']:.3f} s (from {after} s)  next {r['next_gaps'][:2]}  {r['member']} -> {r['new_leader']}  "
            f"errors {r['errors']} ({r['errors_write']} write, {r['errors_connect']} connect)  lost {r['lost_acked']}  "
            f"unknown kept {r['unacked_present']}  healthy {r['healthy_s']} s  p50 {r['p50_ms']} ms")
    if "command_s" in r:
        text += f"  command {r['command_s']} s  idle errors {r['idle'].get('errors')}"
    for key in ("command_failed", "not_healthy"):
        if key in r:
            text += f"  {key.upper()}: {r[key]}"
    return text + ("" if r["resumed"] else "  WRITES DID NOT RESUME") + (f"  LOST {r['lost']}" if r["lost_acked"] else "")


def in_trouble(r):
    return bool(r["lost_acked"] or not r["resumed"] or r["healthy_s"] is None or "command_failed" in r)


def only_one(folder):
    """Keeps a second quick.py out of this lab."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = open(folder.with_name(folder.name + ".lock"), "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"another quick.py works with {folder}: give this one another --base-port")
    return held


def main():
    o = arguments()
    end_on_sigterm()
    folder = (o.dir or WORK / f"quick-{o.base_port}").absolute()
    lab = Lab(o.binary.absolute(), folder, o.base_port, o.profile, o.durability, o.bin or find_bin(o.engine, o.pg),
              o.members, o.engine)
    held = only_one(folder)  # noqa: F841 - held until the end
    start = time.monotonic()
    lab.up(fresh=not o.keep)
    say(f"lab {folder} up in {time.monotonic() - start:.1f} s: {o.engine} {lab.facts['engine']['version']}, {o.profile}, "
        f"{o.durability}, leader {lab.leader()}")
    runs, failed, keep = [], 0, o.keep
    try:
        for n in range(1, o.runs + 1):
            try:
                member = o.member
                if member == "replica":
                    leader = lab.leader()
                    member = next(m for m in lab.names() if m != leader)
                r = one_run(lab, o.fault, folder.parent / f"{folder.name}-probe.json",
                            None if o.seed is None else o.seed + n, o.writers, member)
            except Exception as error:  # noqa: BLE001 - a failed run is a result
                failed += 1
                say(f"run {n}: FAILED: {error}")
                for name in lab.names():
                    print(f"--- {name}/log/agent.log", *lab.log_tail(name, 12), sep="\n", file=sys.stderr)
                if o.stop_on_trouble:
                    keep = True
                    break
                lab.heal()
                continue
            runs.append(r)
            say(line(n, r))
            if in_trouble(r) and o.stop_on_trouble:
                keep = True
                break
    finally:
        if keep:
            say(f"left up: {o.binary} lab down --dir {folder}")
        else:
            done = lab.down()
            if done.returncode:
                say(f"lab down: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    report(o, runs, failed)
    return 1 if failed or any(map(in_trouble, runs)) else 0


def report(o, runs, failed):
    if o.json:
        print(json.dumps(runs))
        return
    print(f"{o.fault}, {o.profile}, {o.durability}: {len(runs)} runs, {failed} failed")
    if not runs:
        return
    gaps = sorted(r["outage_s"] for r in runs)
    healthy = [r["healthy_s"] for r in runs]
    known = [h for h in healthy if h is not None]
    print(f"  gap      median {statistics.median(gaps):.3f} s, worst {gaps[-1]:.3f} s: {' '.join(f'{g:.3f}' for g in gaps)}")
    print(f"  lost     {sum(r['lost_acked'] for r in runs)}")
    print(f"  healthy  median {statistics.median(known) if known else '-'} s, worst {max(known) if known else '-'} s, "
          f"never {healthy.count(None)}")
    kinds = collections.Counter()
    for r in runs:
        kinds.update(r["error_kinds"])
    print(f"  errors   {sum(kinds.values())}")
    for kind, count in kinds.most_common():
        print(f"    {count:6} {kind}")
    if o.fault == "switchover":
        print(f"  idle     errors {[r['idle'].get('errors') for r in runs]} {[r['idle'].get('kinds') for r in runs if r['idle'].get('errors') != 0]}")


if __name__ == "__main__":
    sys.exit(main())
