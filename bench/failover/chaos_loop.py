#!/usr/bin/env python3
"""A long run of mixed faults on one lab: a random member (the leader half of the time), a random kind, under writers.

  chaos_loop.py [--faults 100] [--durability quorum] [--profile standard] [--pg 15] [--seed 1] [--binary B]

Must hold: no acknowledged write is lost; never do two members acknowledge writes (watch_writes.py looks at every member
every 50 ms); after each fault, and its heal where the kind needs one, three healthy members within 60 s. Every fault and
every leg (some faults, after which what was acknowledged is compared with the leader) is a line of bench/work/chaos.jsonl;
a call continues after the last whole leg of the same build, seed and options. Ends with 1 when something did not hold.
"""
import argparse
import bisect
import json
import random
import shutil
import sys
import time
from pathlib import Path

import chaos_summary
from common import WORK, Probe, append, commit, end_on_sigterm, find_pg_bin, lines, machine, now_text, say
from ours import HEALTHY_WITHIN, NEEDS_HEAL, Lab, build_of
from watch_writes import Watch

RESULTS = WORK / "chaos.jsonl"
KINDS = ["kill-server", "kill-agent", "kill-node", "freeze-agent", "freeze-server", "freeze-node"]
HEAL_AFTER_S = (0.5, 8.0)    # a kind that needs it is healed at a random moment of this span
STARTS_MAX = 5               # legs that may fail to start before the loop gives up
LAST_CHANCE_S = 240          # after this a lab that is not healthy is given up, and a new one made


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--binary", type=lambda text: Path(text).absolute(), default=Path("target/release/dauphin").absolute())
    p.add_argument("--faults", type=int, default=100)
    p.add_argument("--leg", type=int, default=10, help="faults between two comparisons")
    p.add_argument("--kinds", default=",".join(KINDS))
    p.add_argument("--durability", default="quorum")
    p.add_argument("--profile", default="standard")
    p.add_argument("--pg", default="15")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--think-ms", type=float, default=20, help="pause of each of the eight writers")
    p.add_argument("--base-port", type=int, default=22300)
    p.add_argument("--stop-on-trouble", action="store_true", help="end at the first trouble and leave the lab up")
    return p.parse_args()


class Loop:
    def __init__(self, o):
        self.o = o
        self.key = dict(build=build_of(o.binary), seed=o.seed, durability=o.durability, profile=o.profile, pg=o.pg,
                        kinds=o.kinds, leg_size=o.leg)
        self.lab = Lab(o.binary, WORK / f"chaos-{o.base_port}", o.base_port, o.profile, o.durability, find_pg_bin(o.pg))
        self.trouble, self.keep, self.starts_failed = [], False, 0

    def done(self):
        """Faults in whole legs of earlier calls."""
        mine = [r for r in lines(RESULTS) if r["key"] == self.key and r["type"] == "leg"]
        return max((r["last"] for r in mine), default=0)

    def run(self):
        start = self.done()
        if start >= self.o.faults:
            say(f"all {start} faults are done already")
            return
        self.lab.up()
        say(f"lab up: PostgreSQL {self.lab.facts['engine']['version']}, {self.o.profile}, {self.o.durability}; faults {start + 1} to {self.o.faults}")
        try:
            while start < self.o.faults and not self.keep:
                last = min(start + self.o.leg, self.o.faults)
                if self.leg(start + 1, last):
                    start = last
        finally:
            if self.keep:
                say(f"left up: {self.o.binary} lab down --dir {self.lab.dir}")
            else:
                self.lab.down()

    # ---- a leg

    def leg(self, first, last):
        healthy, why = self.lab.wait_healthy(time.monotonic(), LAST_CHANCE_S)
        if healthy is None:
            self.report("before the leg", f"not healthy: {why}")
            self.renew()
        watch, probe = self.clients()
        if probe is None:
            return False
        faults, broken, whole = [], None, False
        try:
            for number in range(first, last + 1):
                faults.append(self.one_fault(number, probe))
                if self.keep or faults[-1].get("given_up"):
                    broken = faults[-1].get("not_healthy") or "stopped at trouble"
                    break
            whole = broken is None
            time.sleep(1)
        finally:
            watch.stop()
            if sys.exc_info()[0]:
                probe.kill()
        line = self.compare(first, last if whole or not self.keep else faults[-1]["number"], faults, watch, probe)
        append(RESULTS, line)
        if broken and not self.keep:
            self.renew()
        return True

    def clients(self):
        """The watch and the writers, going; None and None when they do not get going on a lab that calls itself healthy."""
        watch = probe = None
        try:
            watch = Watch(self.lab)
            probe = Probe(self.lab.write_dsn(), WORK / f"chaos-{self.o.base_port}-probe.json", table="writers",
                          think_ms=self.o.think_ms)
            probe.warm(100)
            return watch, probe
        except Exception as error:  # noqa: BLE001 - a healthy lab that does not write is a finding
            if watch:
                watch.stop()
            if probe:
                probe.kill()
            self.report("before a leg", f"clients cannot write: {error}")
            self.starts_failed += 1
            if self.starts_failed > STARTS_MAX:
                raise
            if not self.keep:
                self.renew()
            return None, None

    def compare(self, first, last, faults, watch, probe):
        line = dict(type="leg", key=self.key, first=first, last=last, done=len(faults), date=now_text(), commit=commit(),
                    machine=machine(), version=self.lab.facts["engine"]["version"])
        try:
            summary = probe.stop()
            self.lab.wait_healthy(time.monotonic(), LAST_CHANCE_S)
            summary = probe.verify(self.lab.verify_dsn())
            line.update({k: summary[k] for k in ("acks", "errors", "error_kinds", "lost_acked", "unacked_present", "stuck_writers")},
                        lost=summary["lost"], watch=watch.facts(self.lab.verify_dsn()), gaps=self.gaps(faults, probe))
        except Exception as error:  # noqa: BLE001 - what could not be compared is a finding
            line["failed"] = str(error)[:500]
            self.report(f"leg {first}-{last}", f"cannot compare: {line['failed']}")
            return line
        w = line["watch"]
        say(f"leg {first}-{last}: {line['acks']} acknowledged, lost {line['lost_acked']}, of the watch {w['acks']}, lost {w['lost']}; "
            f"violations {len(w['violations'])}, shared windows {w['shared_windows']}, late but kept {w['late_but_kept']}")
        lossless = self.o.durability != "async"
        if line["lost_acked"] and lossless:
            self.report(f"leg {first}-{last}", f"LOST {line['lost_acked']}: {self.blame(line['lost'], faults)}")
        if w["lost"] and lossless:
            self.report(f"leg {first}-{last}", f"LOST by the watch {w['lost']}: {w['lost_ids'][:5]}")
        if w["violations"]:
            self.report(f"leg {first}-{last}", f"TWO LEADERS: {w['violations'][:5]}")
        return line

    def gaps(self, faults, probe):
        """The longest gap between acknowledged writes from each fault to the next."""
        times = sorted(a[2] for a in json.loads(probe.out.read_text())["acks"])
        found = {}
        for fault, following in zip(faults, [*faults[1:], None]):
            a = max(0, bisect.bisect_left(times, fault["at"]) - 1)
            b = bisect.bisect_left(times, following["at"]) if following else len(times)
            found[str(fault["number"])] = round(max((y - x for x, y in zip(times[a:b], times[a + 1:b])), default=-1), 3)
        return found

    def blame(self, lost, faults):
        """After which fault the lost writes were acknowledged."""
        return [(row, [(f["number"], f["kind"], f["member"], round(at - f["at"], 3)) for f in faults if f["at"] - 1 < at][-1:])
                for row, at in lost[:10]]

    # ---- a fault

    def one_fault(self, number, probe):
        rng = random.Random(f"{self.o.seed}:{number}")
        kind, on_leader = rng.choice(self.o.kinds.split(",")), rng.random() < 0.5
        time.sleep(rng.uniform(0.3, 2.0))
        leader = self.lab.leader()
        replicas = [n for n in self.lab.names() if n != leader]
        member = leader if on_leader and leader else rng.choice(replicas)
        dwell = rng.uniform(*HEAL_AFTER_S) if kind in NEEDS_HEAL else 0
        line = dict(type="fault", key=self.key, number=number, kind=kind, member=member, on="leader" if member == leader else "replica",
                    leader=leader, at=time.monotonic(), date=now_text(), healed_after_s=round(dwell, 2))
        try:
            self.lab.fault(member, kind)
            since = time.monotonic()
            if kind in NEEDS_HEAL:
                time.sleep(dwell)
                since = time.monotonic()
                self.lab.heal()
        except RuntimeError as error:
            line["command_failed"], since = str(error)[-500:], time.monotonic()
            self.report(number, line["command_failed"])
        self.await_health(line, since, probe)
        append(RESULTS, line)
        say(f"{number}: {kind} on {member} ({line['on']}): healthy {line['healthy_s']} s, leader {leader} -> {line['new_leader']}, "
            f"acknowledged {probe.live()[0]}, errors {probe.live()[2]}")
        return line

    def await_health(self, line, since, probe):
        line["healthy_s"], why = self.lab.wait_healthy(since)
        if why:
            line["not_healthy"] = why
            self.report(line["number"], f"{line['kind']} on {line['member']} ({line['on']}): not healthy within {HEALTHY_WITHIN} s: {why}")
            if not self.keep:
                late, why = self.lab.wait_healthy(since, LAST_CHANCE_S)
                line.update(healthy_late_s=late) if late else line.update(given_up=why)
        if not self.keep and not line.get("given_up") and not probe.steady(time.monotonic(), 20, 0.5):
            line["no_writes"] = True
            self.report(line["number"], "healthy, but writes do not flow within 20 s")
        line["new_leader"] = self.lab.leader()

    def report(self, where, what):
        """Trouble: said, kept with the logs of the moment, and the loop ends with 1."""
        self.trouble.append(f"{where}: {what}")
        place = WORK / "failed" / f"chaos-{self.o.base_port}-{time.strftime('%H%M%S')}"
        for log in self.lab.dir.glob("*/log/*.log"):
            target = place / log.relative_to(self.lab.dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, target)
        say(f"TROUBLE {where}: {what}\n         logs kept in {place}")
        self.keep = self.keep or self.o.stop_on_trouble

    def renew(self):
        say("making a new lab")
        self.lab.down()
        self.lab.up()


def main():
    o = arguments()
    end_on_sigterm()
    loop = Loop(o)
    try:
        loop.run()
    finally:
        chaos_summary.write()
    for text in loop.trouble:
        say("TROUBLE", text)
    return 1 if loop.trouble else 0


if __name__ == "__main__":
    sys.exit(main())
