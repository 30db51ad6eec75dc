"""One measured run, the same for every system: clients write, a fault happens, clients write again; what was lost?

Used by quick.py and turn.py. A system has: write_dsn(), verify_dsn(), leader(), hit(member, kind), heal(),
wait_healthy(since, within), and the attributes resume_within and settle_s; see ours.py for the meaning of each. This
file knows nothing of any system.
"""
import json
import random
import subprocess
import sys
import time

from common import PROBE, Probe, probe_env, wait_for

LEADERSHIP_MOVES = {"kill-node", "freeze-node", "switchover"}
HEALED_UNDER_LOAD = {"freeze-node", "freeze-agent", "freeze-server", "kill-agent"}
STEADY_S = 3.0        # writes must flow this long to count as flowing again
PEOPLE_WAIT_S = 60    # what the project promises from the heal to three healthy members


class IdleClients:
    """Clients through the write port that do nothing until asked: one query each after the fault."""

    def __init__(self, dsn, clients=8):
        self.process = subprocess.Popen([sys.executable, str(PROBE), "idle", "--clients", str(clients)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=probe_env(dsn))
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"idle clients: {self.process.communicate()[1][-500:]}")

    def ask(self):
        try:
            said, wrong = self.process.communicate("now\n", timeout=60)
            return json.loads(said) if said.strip() else dict(errors=None, kinds={wrong.strip()[-200:]: 1})
        except subprocess.TimeoutExpired:
            self.kill()
            return dict(errors=None, kinds={"no answer within 60 s": 1})

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def one_run(system, kind, out, seed=None, writers=8, member=None, idle_clients=8):
    """One fault on the leader (or `member`) under writers; returns the measured facts as a dictionary.

    Writers go on while frozen processes are thawed (a leader that wakes up is the dangerous moment) and end before a
    killed node is started again. Raises when the system was not healthy before the run."""
    rng = random.Random(seed)
    healthy, why = system.wait_healthy(time.monotonic(), 4 * PEOPLE_WAIT_S)
    if healthy is None:
        raise RuntimeError(f"not healthy before the run: {why}")
    leader = wait_for(system.leader, 30, "a leader")
    facts = dict(member=member or leader, leader=leader)
    idle = IdleClients(system.write_dsn(), idle_clients) if kind == "switchover" else None
    probe = Probe(system.write_dsn(), out, writers, **system.probe_options(kind))
    try:
        probe.warm()
        time.sleep(1 + rng.uniform(0, system.settle_s))
        t0 = time.monotonic()
        facts.update(system.hit(facts["member"], kind) or {})
        facts["fault_took_s"] = round(time.monotonic() - t0, 3)
        facts.update(wait_resumed(system, probe, kind, facts["member"], leader, t0))
        healed_at = t0
        if kind in HEALED_UNDER_LOAD:
            healed_at = time.monotonic()
            system.heal()
            facts["resumed_after_heal"] = probe.steady(healed_at, system.resume_within, STEADY_S)
        if idle:
            facts["idle"] = idle.ask()
        probe.stop()
        if kind == "kill-node":
            healed_at = time.monotonic()
            system.heal()
        facts["healthy_s"], why = system.wait_healthy(healed_at, max(PEOPLE_WAIT_S, system.resume_within))
        if why:
            facts["not_healthy"] = why
        facts["final_leader"] = system.leader()
        facts.update(figures(probe.verify(system.verify_dsn()), t0))
    finally:
        probe.kill()
        if idle:
            idle.kill()
    return facts


def wait_resumed(system, probe, kind, member, leader, t0):
    """Waits for steady writes, and for another leader where there must be one."""
    moves = kind in LEADERSHIP_MOVES and member == leader
    new = None
    try:
        new = wait_for(lambda: (lambda now: now if now and (not moves or now != leader) else None)(system.leader()),
                       system.resume_within, "a leader that lives", 0.1)
    except TimeoutError:
        pass
    # a fault that takes hold late must not be missed
    left = max(1.0, system.resume_within - (time.monotonic() - t0))
    resumed = probe.steady(t0 + 0.3, left, STEADY_S)
    return dict(resumed=resumed and (new is not None), new_leader=system.leader() or new)


def figures(summary, t0):
    """What a result line keeps of the writers' summary; times relative to the fault."""
    kept = {key: None if summary[key] is None else round(summary[key], 3) for key in ("outage_s", "worst_writer_gap_s")}
    kept["gap_starts_after_fault_s"] = round(summary["outage_at"] - t0, 3)
    kept["next_gaps"] = [[gap, round(at - t0, 3)] for gap, at in summary["next_gaps"]]
    for key in ("lost_acked", "unacked_present", "acks", "errors", "errors_write", "errors_connect", "error_kinds",
                "p50_ms", "p99_ms", "stuck_writers"):
        kept[key] = summary[key]
    if summary["lost_acked"]:
        kept["lost"] = [(i, round(at - t0, 3)) for i, at in summary["lost"]]
    return kept
