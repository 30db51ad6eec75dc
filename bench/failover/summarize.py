#!/usr/bin/env python3
"""Writes bench/results/failover.md from bench/work/failover.jsonl: the issue's table, all values, and what ran on what; and
failover-mysql.md from failovers-mysql.jsonl, both in bench/results.

Started by run.sh; may be run at any time. Of ours only the newest build on each version of an engine is shown; on MySQL and
MariaDB leaders and losses of all builds are counted.
"""
import collections
import statistics
import sys

from common import RESULTS, lines, results_of

TARGETS = {  # the issue's: median, worst, in seconds
    ("kill-server", "standard-quorum"): (0.5, 1.0), ("kill-server", "fast-quorum"): (0.5, 1.0),
    ("kill-node", "standard-quorum"): (1.2, 2.0), ("freeze-node", "standard-quorum"): (3.0, 4.5),
    ("freeze-node", "fast-quorum"): (1.8, 3.0), ("kill-node", "standard-async"): (4.0, 5.0),
    ("switchover", "standard-quorum"): (0.4, 0.8), ("switchover", "fast-quorum"): (0.4, 0.8),
}
MYSQL_TARGETS = {  # the same, of medians alone
    "kill-server": (1.5, None), "kill-node": (2.5, None), "freeze-node": (4.0, None), "switchover": (0.8, None),
}
TITLES = {"kill-server": "server killed", "kill-node": "node killed", "freeze-node": "node frozen", "switchover": "switchover"}
NAMES = {"dauphin": "Dauphin", "patroni": "Patroni + etcd + HAProxy", "paf": "pg_auto_failover"}
CONFIGS = {
    "standard": "profile standard", "fast": "profile fast", "default": "its defaults", "tight": "every timer at its minimum",
    "quorum": "quorum durability", "async": "asynchronous", "2": "two nodes", "3": "three nodes",
}


def median(values):
    return statistics.median(values) if values else None


def seconds(value):
    return "-" if value is None else f"{value:.2f}"


def newest_builds(rows):
    newest = {}
    for r in rows:
        if r["system"] == "dauphin":
            newest[series(r)] = r["versions"]["build"]
    return [r for r in rows if r["system"] != "dauphin" or r["versions"]["build"] == newest[series(r)]]


def series(row):
    """Of what: PostgreSQL's major version, or another engine and its series."""
    engine = {"mysql": "MySQL", "mariadb": "MariaDB"}.get(row.get("engine"))
    return f"{engine} {row['pg']}" if engine else row["pg"]


def target_of(scenario, system, config, pg):
    if system != "dauphin":
        return None
    return TARGETS.get((scenario, config)) if pg.isdigit() else MYSQL_TARGETS.get(scenario)


def groups(rows):
    found = collections.OrderedDict()
    for r in rows:
        found.setdefault((r["scenario"], r["system"], r["config"], series(r)), []).append(r)
    order = list(TITLES)
    return sorted(found.items(), key=lambda g: (order.index(g[0][0]), g[0][1] != "dauphin", g[0][1:]))


def named(system, config, pg):
    words = ", ".join(CONFIGS.get(w, w) for w in config.split("-"))
    return f"{NAMES[system]}, {words}" + ("" if pg == "15" else f", PostgreSQL {pg}" if pg.isdigit() else f", {pg}")


def main_table(found):
    out = ["| fault | system | runs | write gap, s: median / worst | allowed | lost acknowledged writes | errors of clients, median | "
           "idle clients' errors, median | healthy again, s: median / worst | failed runs |", "|" + "---|" * 10]
    for (scenario, system, config, pg), rows in found:
        good = [r for r in rows if "failed" not in r]
        gaps = [r["outage_s"] for r in good if r["outage_s"] is not None]
        healthy = [r["healthy_s"] for r in good]
        known = [h for h in healthy if h is not None]
        target = target_of(scenario, system, config, pg)
        allowed = f"{target[0]} / {target[1] or '-'}{'' if met(target, gaps) else ' **missed**'}" if target else ""
        idle = [r["idle"].get("errors") for r in good if "idle" in r]
        not_resumed = sum(not r["resumed"] for r in good)
        failed = len(rows) - len(good)
        trouble = ", ".join(filter(None, [f"{failed} failed" if failed else "", f"{not_resumed} not resumed" if not_resumed else "",
                                          f"{healthy.count(None)} not healthy" if None in healthy else "",
                                          f"{n} commands failed" if (n := sum("command_failed" in r for r in good)) else ""])) or "0"
        out.append(f"| {TITLES[scenario]} | {named(system, config, pg)} | {len(good)} | {seconds(median(gaps))} / {seconds(max(gaps, default=None))} "
                   f"| {allowed} | {lost(good)} | {median([r['errors'] for r in good]) or 0:.0f} | "
                   f"{'' if not idle else ('not answered' if None in idle else f'{median(idle):.0f}')} | "
                   f"{seconds(median(known))} / {seconds(max(known, default=None))} | {trouble} |")
    return out


def met(target, gaps):
    return bool(gaps) and median(gaps) <= target[0] and (target[1] is None or max(gaps) <= target[1])


def lost(good):
    values = [r["lost_acked"] for r in good]
    hit = [v for v in values if v]
    return f"{sum(values)} (in {len(hit)} of {len(values)} runs)" if hit else "0"


def ratios(found):
    """Ours against the best of the others in the same scenario (async with async where that is what is compared)."""
    medians = {key: median([r["outage_s"] for r in rows if "failed" not in r and r["outage_s"] is not None]) for key, rows in found}
    out = ["| fault | ours, median s | best other, median s | ours : best | which |", "|" + "---|" * 5]
    for (scenario, system, config, pg), mine in medians.items():
        if system != "dauphin" or mine is None:
            continue
        # a system that may lose writes is compared with ours of the same promise only
        rivals = {k: v for k, v in medians.items() if k[0] == scenario and k[1] != "dauphin" and v is not None
                  and (config.endswith("async") or not k[2].endswith("async"))}
        if rivals:
            best = min(rivals, key=rivals.get)
            out.append(f"| {TITLES[scenario]} ({', '.join(config.split('-'))}{', PostgreSQL ' + pg if pg != '15' else ''}) | {mine:.2f} | "
                       f"{rivals[best]:.2f} | 1 : {rivals[best] / mine:.1f} | {named(*best[1:])} |")
    return out


def each(found):
    out = ["| fault | system | gaps of each run, s |", "|" + "---|" * 3]
    for (scenario, system, config, pg), rows in found:
        gaps = " ".join("failed" if "failed" in r else f"{r['outage_s']:.2f}" for r in rows)
        out.append(f"| {TITLES[scenario]} | {named(system, config, pg)} | {gaps} |")
    return out


def kinds(found):
    out = []
    for (scenario, system, config, pg), rows in found:
        counted = collections.Counter()
        for r in rows:
            counted.update(r.get("error_kinds", {}))
        if system == "dauphin" and counted:
            out += [f"- {TITLES[scenario]}, {config}, {f'PostgreSQL {pg}' if pg.isdigit() else pg}:"] + [f"  - {n} x `{k}`" for k, n in counted.most_common(6)]
    return out


def circumstances(rows):
    machines = collections.Counter((f"{m['cores']} cores, {m['memory_gib']} GiB, {m['cpu']}, Linux {m['kernel']}")
                                   for m in (r["machine"] for r in rows))
    versions = sorted({", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in rows})
    commits = sorted({r["commit"] for r in rows if r["system"] == "dauphin"})
    dates = sorted(r["date"] for r in rows)
    return [*(f"- machine: {m} ({n} runs)" for m, n in machines.items()), f"- from {dates[0]} to {dates[-1]}",
            f"- commit of ours: {', '.join(commits)} (+: with changes)", *(f"- {v}" for v in versions)]


NODES = "- *Node killed*: agent, guard and server at once; *node frozen*: the same processes stopped, thawed once another leader works."


def failovers(found):
    """How often leadership moved, engine by engine, and what of it was lost."""
    moved, lost_of = collections.Counter(), collections.Counter()
    for (_, _, _, pg), rows in found:
        good = [r for r in rows if "failed" not in r]
        moved[pg] += sum(r["new_leader"] not in (None, r["leader"]) for r in good)
        lost_of[pg] += sum(r["lost_acked"] for r in good)
    return [f"- {pg}: leadership moved {count} times, {lost_of[pg]} acknowledged writes lost" for pg, count in sorted(moved.items())]


def mysql():
    rows = lines(results_of("mysql"))
    if not rows:
        return
    found = groups(newest_builds(rows))
    text = ["# Failover on MySQL and MariaDB: the write gap that clients see", "",
            "Measured as in [failover.md](failover.md): eight clients that insert without pause, three members on one machine. The figures are the",
            "newest build's; leaders and losses are those of all builds and machines. `make bench-failover ENGINE=mysql` or `mariadb` goes on.", "",
            *main_table(found), "", "## Leaders in all", "", *failovers(groups(rows)), "", "## Notes", "", NODES,
            "- Clients' sessions end with a leadership here, on a switchover too: the proxy goes by port and holds no statement.",
            "- Gaps of over 5 s in builds before 2da24c3: a replica that had just come back received with a flush for each transaction, fell behind",
            "  a leader under load for good, and then the next winner's barrier waited for it. Since then who acknowledges nothing does not flush.",
            "- Pauses of 0.5 to 1.3 s some 2 s behind a switchover with sync, in builds before 201557a: a replica that had just come to count held",
            "  what waited, and acknowledges only what comes after; the row that releases it was written once a second.",
            "- MariaDB's receivers take a second more to let go of a frozen leader: they connect to it to end its thread",
            "  (`rpl_semi_sync_slave_kill_conn_timeout`).", "",
            "## Every run", "", *each(found), "", "## What our clients were told", "", *kinds(found), "", "## Circumstances", "",
            "- The machine did nothing else during the newest build's runs; during most of the earlier ones it ran tests, a build, a series on the",
            "  other engine. Each line of `failovers-mysql.jsonl` has the load as it began.", *circumstances(rows), ""]
    (RESULTS / "failover-mysql.md").write_text("\n".join(text))
    print("\n".join([*main_table(found), *failovers(groups(rows))]))


def main():
    mysql()
    rows = newest_builds(lines(results_of("postgres")))
    if not rows:
        sys.exit(None if lines(results_of("mysql")) else "no results yet: make bench-failover")
    found = groups(rows)
    text = ["# Failover: the write gap that clients see", "",
            "Eight clients insert without pause through the write port and connect again 10 ms after an error. The gap is the longest time",
            "between two acknowledged inserts of any of them, over the whole run. Three members (or as said) on one machine; only one system",
            "runs at a time, and they take turns. Lost: acknowledged, but missing on the final leader. `make bench-failover` does it again.", "",
            *main_table(found), "", "## Against the best of the others in this series", "", *ratios(found), "", "## Notes", "",
            NODES,
            "- *Healthy again*: from the fault, or from the start of the missing agent or the thaw where the fault needs it. It is asked for only",
            "  after writes have flowed for three seconds.",
            "- Patroni at its minimum: ttl 20, loop_wait 1, retry_timeout 3, primary_start_timeout 0; HAProxy inter 250 ms, fall 1, no retries.",
            "- pg_auto_failover: clients use the host list that it hands out, and for frozen nodes a limit of 2 s of their own for a statement,",
            "  without which they would wait for the thaw. At its minimum: the monitor's timers at 0.5 to 1 s.", "",
            "## Every run", "", *each(found), "", "## What our clients were told", "", *kinds(found), "", "## Circumstances", "",
            *circumstances(rows), ""]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "failover.md").write_text("\n".join(text))
    print("\n".join(main_table(found)))


if __name__ == "__main__":
    main()
