#!/usr/bin/env python3
"""What a member costs while nothing happens: CPU and memory of its agent (with its store) and guard, over a minute.

  idle.py [--binary B] [--seconds 60] [--profile standard] [--pg 15]

Started by run.sh; writes bench/results/idle.md.
"""
import argparse
import os
import sys
import time
from pathlib import Path

from common import RESULTS, WORK, commit, find_pg_bin, machine, now_text, say
from ours import Lab

LIMITS = (2.0, 40.0)    # percent of a core, MB resident


def cpu_s(pid):
    """Seconds of CPU that a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    line = next(l for l in Path(f"/proc/{pid}/status").read_text().splitlines() if l.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--binary", type=lambda text: Path(text).absolute(), default=Path("target/release/dauphin").absolute())
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--profile", default="standard")
    p.add_argument("--pg", default="15")
    o = p.parse_args()
    lab = Lab(o.binary, WORK / "idle", 22600, o.profile, "quorum", find_pg_bin(o.pg))
    lab.up()
    try:
        time.sleep(5)    # what starting left to do
        members = {m["name"]: (m["agent_pid"], m["guard_pid"], m["role"]) for m in lab.show()["members"]}
        before = {name: cpu_s(agent) + cpu_s(guard) for name, (agent, guard, _) in members.items()}
        since = time.monotonic()
        time.sleep(o.seconds)
        span = time.monotonic() - since
        rows = [(name, role, 100 * (cpu_s(agent) + cpu_s(guard) - before[name]) / span, resident_mb(agent) + resident_mb(guard))
                for name, (agent, guard, role) in members.items()]
    finally:
        lab.down()
    m = machine()
    text = ["# Idle cost of a member", "",
            f"Agent with its store, and guard, over {span:.0f} s in which nobody connects; profile {o.profile}, PostgreSQL "
            f"{lab.facts['engine']['version']}, commit {commit()}, {now_text()},", f"{m['cores']} cores, {m['memory_gib']} GiB, "
            f"{m['cpu']}, Linux {m['kernel']}. Allowed: {LIMITS[0]} % of a core, {LIMITS[1]:.0f} MB. `bench/failover/idle.py` does it again.", "",
            "| member | role | CPU, % of one core | resident, MB |", "|---|---|---|---|",
            *(f"| {name} | {role} | {cpu:.2f} | {mb:.1f} |" for name, role, cpu, mb in rows), ""]
    (RESULTS / "idle.md").write_text("\n".join(text))
    say("\n".join(text))
    return 0 if all(cpu <= LIMITS[0] and mb <= LIMITS[1] for *_, cpu, mb in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
