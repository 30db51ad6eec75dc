"""pg_auto_failover: one monitor and two or three data nodes on this machine; replication is synchronous by its default.

Used by turn.py, which puts it into a network namespace of its own: pg_autoctl lets servers listen on every address.
Clients use the connection string that it hands out: all nodes, target_session_attrs=read-write. `tight` is the lowest
useful setting of the monitor's timers.
"""
import os
import shutil
import sys
import time

from common import IS_ROOT, wait_for
from peers import USER, Cluster, environment

BASE = 6800
TIGHT = dict(health_check_period=1000, health_check_timeout=1000, health_check_max_retries=1, health_check_retry_delay=500,
             node_considered_unhealthy_timeout=1000, startup_grace_period=1000, primary_demote_timeout=1000)
MONITOR = f"postgres://autoctl_node@127.0.0.1:{BASE}/pg_auto_failover?sslmode=disable"
# A client cannot see that a frozen server is one: without a limit of its own it would wait for the thaw.
CLIENT_LIMIT_S = 2


def isolate():
    """Starts this program anew in a network namespace that has only loopback."""
    if IS_ROOT and not os.environ.get("BENCH_NETNS"):
        os.execvpe("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv],
                   {**os.environ, "BENCH_NETNS": "1"})


class PgAutoFailover(Cluster):
    def __init__(self, profile, nodes=3):
        super().__init__(f"paf-{profile}-{nodes}")
        self.tight, self.count = profile == "tight", nodes
        self.program = shutil.which("pg_autoctl") or "pg_autoctl"
        self.settle_s = 1 if self.tight else 5  # the period of the monitor's checks

    def nodes(self):
        return [f"n{i}" for i in range(1, self.count + 1)]

    def env(self):
        return environment(self.pg_bin, XDG_CONFIG_HOME=self.dir / "cfg", XDG_DATA_HOME=self.dir / "share",
                           XDG_RUNTIME_DIR=self.dir / "run", PG_REGRESS_SOCK_DIR=self.dir / "sock")

    def versions(self):
        return dict(pg_auto_failover=self.run([self.program, "version"]).stdout.split("\n")[0].split()[-1],
                    postgresql=self.run([self.pg_bin / "postgres", "--version"]).stdout.split()[2])

    def up(self):
        self.folder(self.dir)
        for name in ("cfg", "share", "run", "sock"):
            self.folder(self.dir / name)
        common = ["--pgctl", self.pg_bin / "pg_ctl", "--hostname", "127.0.0.1", "--auth", "trust", "--no-ssl"]
        self.run([self.program, "create", "monitor", "--pgdata", self.dir / "monitor", "--pgport", BASE, *common], env=self.env())
        self.start("monitor", [self.program, "run", "--pgdata", self.dir / "monitor"], self.env())
        wait_for(lambda: self.ask("SELECT 1") == "1", 60, "the monitor")
        if self.tight:
            for key, value in TIGHT.items():
                self.ask(f"ALTER SYSTEM SET pgautofailover.{key} = {value}")
            self.ask("SELECT pg_reload_conf()")
        for number, name in enumerate(self.nodes(), 1):
            self.run([self.program, "create", "postgres", "--pgdata", self.dir / name, "--pgport", BASE + number,
                      "--listen", "127.0.0.1", "--pghost", self.dir / "sock", "--name", name, "--username", USER,
                      "--dbname", "postgres", "--monitor", MONITOR, *common], env=self.env())
            self.start_node(name)
            wait_for(lambda n=number: len(self.states()) == n and all(s[1] == s[2] for s in self.states()), 180, name, 0.5)
        took, why = self.wait_healthy(time.monotonic(), 180)
        if took is None:
            raise RuntimeError(f"pg_auto_failover did not come up: {why}")

    def start_node(self, name):
        self.start(name, [self.program, "run", "--pgdata", self.dir / name], self.env())

    def ask(self, query):
        dsn = f"host=127.0.0.1 port={BASE} user={USER} dbname=pg_auto_failover connect_timeout=3"
        return self.run([self.pg_bin / "psql", "-XqAt", "-d", dsn, "-c", query], 20).stdout.strip()

    def states(self):
        """(name, reported state, goal state) of every node."""
        said = self.ask("SELECT nodename, reportedstate, goalstate FROM pgautofailover.node ORDER BY nodeid")
        return [line.split("|") for line in said.splitlines()]

    def why_not_healthy(self):
        states = self.states()
        wanted = sorted(["primary"] + ["secondary"] * (self.count - 1))
        if sorted(s[1] for s in states) == wanted and all(s[1] == s[2] for s in states):
            return None
        return ", ".join("/".join(s) for s in states)

    def leader(self):
        """The node that the monitor has made the writable one, once it says so itself."""
        writable = ("primary", "wait_primary", "single", "join_primary", "apply_settings")
        return next((s[0] for s in self.states() if s[1] in writable and s[2] in writable), None)

    def switchover(self, _member):
        start = time.monotonic()
        done = self.run([self.program, "perform", "switchover", "--pgdata", self.dir / "monitor"], 180, False, self.env())
        failed = {"command_failed": done.stdout[-300:]} if done.returncode else {}
        return dict(command_s=round(time.monotonic() - start, 3), **failed)

    def write_dsn(self):
        ports = ",".join(str(BASE + i) for i in range(1, self.count + 1))
        return (f"host={','.join(['127.0.0.1'] * self.count)} port={ports} user={USER} dbname=postgres "
                "target_session_attrs=read-write")

    def verify_dsn(self):
        leader = wait_for(self.leader, 60, "pg_auto_failover's primary")
        return f"host=127.0.0.1 port={BASE + int(leader[1:])} user={USER} dbname=postgres"

    def probe_options(self, kind):
        return {"op_timeout": CLIENT_LIMIT_S} if kind == "freeze-node" else {}
