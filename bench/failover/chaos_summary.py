#!/usr/bin/env python3
"""Writes bench/results/chaos-loop.md from bench/work/chaos.jsonl: what held in the loops of mixed faults.

Called at the end of chaos_loop.py; may be run at any time. Of each durability, profile and version of PostgreSQL only the
newest build's loop is shown, and only whole legs count.
"""
import collections
import statistics

from common import RESULTS, WORK, lines


def loops(rows):
    """{(durability, profile, pg): (legs, faults)} of the newest key of each."""
    newest = collections.OrderedDict()
    for r in rows:
        k = r["key"]
        newest[(k["durability"], k["profile"], k["pg"])] = k
    found = {}
    for name, key in newest.items():
        mine = [r for r in rows if r["key"] == key]
        legs = {r["last"]: r for r in mine if r["type"] == "leg"}
        # a fault done again after an interruption counts once
        faults = {r["number"]: r for r in mine if r["type"] == "fault"}
        inside = {n: f for n, f in faults.items() if any(g["first"] <= n <= g["last"] for g in legs.values())}
        found[name] = (list(legs.values()), inside)
    return found


def gap_of(legs, number):
    return next((g["gaps"][str(number)] for g in legs if str(number) in g.get("gaps", {})), None)


def both(values, nd=2):
    values = [v for v in values if v is not None]
    return f"{statistics.median(values):.{nd}f} / {max(values):.{nd}f}" if values else "-"


def section(name, legs, faults):
    durability, profile, pg = name
    total = lambda key: sum(g.get(key) or 0 for g in legs)  # noqa: E731
    watch = lambda key: sum(len(v) if isinstance(v := g["watch"][key], list) else v for g in legs if "watch" in g)  # noqa: E731
    late = [f for f in faults.values() if f["healthy_s"] is None]
    newest = max(legs, key=lambda g: g["date"])
    m = newest["machine"]
    out = [f"## {durability}, profile {profile}, PostgreSQL {newest['version']}", "",
           f"{len(faults)} faults, seed {newest['key']['seed']}, commit {newest['commit']}, {newest['date']}, "
           f"{m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}", "",
           "| what must hold | found |", "|---|---|",
           f"| acknowledged writes lost (of {total('acks')} through the proxy) | {total('lost_acked')} |",
           f"| acknowledged writes lost (of {watch('acks')} straight to members) | {watch('lost')} |",
           f"| members that acknowledged beside a later leader ({watch('samples')} samples) | {watch('violations')} |",
           f"| windows of 50 ms in which two members acknowledged | {watch('shared_windows')} |",
           f"| writes sent straight to a member before it was frozen, acknowledged when it thawed, and held by the later leader: "
           f"allowed (I2), and the proxy calls them unknown | {watch('late_but_kept')} |",
           f"| faults after which three members were not healthy within 60 s | {len(late)} |",
           f"| faults after which writes did not flow though healthy | {sum(bool(f.get('no_writes')) for f in faults.values())} |",
           f"| legs that could not be compared | {sum('failed' in g for g in legs)} |", "",
           "| fault | on | times | healthy again, s: median / worst | write gap, s: median / worst |", "|---|---|---|---|---|"]
    grouped = collections.defaultdict(list)
    for f in faults.values():
        grouped[(f["kind"], f["on"])].append(f)
    for (kind, on), fs in sorted(grouped.items()):
        out.append(f"| {kind} | {on} | {len(fs)} | {both([f['healthy_s'] for f in fs])} | {both([gap_of(legs, f['number']) for f in fs])} |")
    out += ["", *(f"- fault {f['number']}, {f['kind']} on the {f['on']}: {f.get('not_healthy', '')}"
                  + (f"; healthy after {f['healthy_late_s']} s" if f.get("healthy_late_s") else "") for f in late)]
    return [*out, ""]


def write():
    found = {k: v for k, v in loops(lines(WORK / "chaos.jsonl")).items() if v[0]}
    if not found:
        return
    text = ["# Mixed faults in a loop", "",
            "Eight clients write through the proxy all the time while a random member, the leader half of the time, is hit by a random",
            "kind of fault; kinds that need it are healed after 0.5 to 8 s. A write is tried on every member every 50 ms, straight to its",
            "server. A gap is the longest time without an acknowledged write from a fault to the next one, its heal included.",
            "`bench/failover/chaos_loop.py` does it again.", ""]
    for name, (legs, faults) in found.items():
        text += section(name, legs, faults)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "chaos-loop.md").write_text("\n".join(text))


if __name__ == "__main__":
    write()
