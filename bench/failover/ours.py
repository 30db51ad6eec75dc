"""Dauphin's labs for the benchmarks: up, faults, heal, and the wait for three healthy members.

Used by quick.py, turn.py and chaos_loop.py. It drives the product only through its command line and its HTTP, and
checks health against the servers themselves too, never by the product's word alone.
"""

import hashlib
import json
import shutil
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clients

HEALTHY_WITHIN = 60   # seconds: what the project promises after a fault and its heal
NEEDS_HEAL = {"kill-agent", "kill-node", "freeze-server", "freeze-agent", "freeze-node"}


def build_of(binary):
    """What tells two builds of ours apart."""
    return hashlib.sha256(Path(binary).read_bytes()).hexdigest()[:12]


class Lab:
    """One lab in a folder, made when it is not there yet."""

    resume_within = 60  # seconds until writes must flow again before a run counts as failed
    settle_s = 2        # the fault comes at a random moment within so many seconds

    def __init__(self, binary, folder, base_port, profile="standard", durability="quorum", bin_dir=None, members=3, engine="postgres"):
        self.binary, self.dir, self.members = str(binary), folder, members
        self.options = ["--base-port", str(base_port), "--profile", profile, "--durability", durability,
                        "--members", str(members)]
        if engine != "postgres":
            self.options += ["--engine", engine]
        if bin_dir:
            self.options += ["--bin", str(bin_dir)]
        self.engine = engine
        self.facts = None
        self.pool = ThreadPoolExecutor(max_workers=2 * members)

    def call(self, *words, seconds=240, check=True):
        done = subprocess.run([self.binary, *map(str, words)], text=True, capture_output=True, timeout=seconds,
                              stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise RuntimeError(f"dauphin {' '.join(map(str, words))}: exit {done.returncode}: {done.stderr.strip()[-1500:]}")
        return done

    def up(self, fresh=True):
        """Starts it; a lab that is left from before is taken down first, or used when not `fresh`."""
        if self.dir.exists():
            if not fresh and self.fits():
                self.heal()
                return
            self.call("lab", "down", "--dir", self.dir, check=False)
            if self.dir.exists():
                shutil.rmtree(self.dir)
        self.dir.parent.mkdir(parents=True, exist_ok=True)
        self.call("lab", "up", "--dir", self.dir, *self.options)
        self.stamp().write_text(self.made_with())
        self.show()

    def stamp(self):
        """What the lab was made with; beside it, as its folder is the product's."""
        return self.dir.with_name(self.dir.name + ".build")

    def made_with(self):
        return f"{build_of(self.binary)} {' '.join(self.options)}"

    def fits(self):
        """Whether the lab that is there is the one wanted: same build, same options."""
        try:
            self.show()
            return self.stamp().read_text() == self.made_with()
        except (RuntimeError, OSError, ValueError):
            return False

    def down(self):
        return self.call("lab", "down", "--dir", self.dir, check=False)

    def show(self):
        self.facts = json.loads(self.call("lab", "show", "--dir", self.dir, "--json").stdout)
        return self.facts

    # ---- ways in

    def write_dsn(self):
        app, proxy = self.facts["app"], self.facts["proxy"]
        if self.engine != "postgres":
            return clients.mysql_dsn(proxy["host"], proxy["write_port"], app["user"], app["password"], app["database"])
        return (f"host={proxy['host']} port={proxy['write_port']} user={app['user']} password={app['password']} "
                f"dbname={app['database']} sslmode=disable")

    def verify_dsn(self):
        """Straight to the leader; through the proxy when no agent names one."""
        leader = self.leader()
        return self.member_dsn(leader) if leader else self.write_dsn()

    def probe_options(self, _kind):
        return {}

    def member_dsn(self, name, who="app", timeout=2):
        login, member = self.facts[who], self.member(name)
        if self.engine != "postgres":
            database = self.facts["app"]["database"]
            return clients.mysql_dsn(member["host"], member["sql_port"], login["user"], login["password"], database)
        return (f"host={member['host']} port={member['sql_port']} user={login['user']} password={login['password']} "
                f"dbname={self.facts['app']['database']} connect_timeout={timeout} sslmode=disable")

    def member(self, name):
        return next(m for m in self.facts["members"] if m["name"] == name)

    def names(self):
        return [m["name"] for m in self.facts["members"]]

    # ---- what the agents say

    def view(self, name, seconds=1.0):
        """GET /v1/cluster of this member's agent, or None."""
        m = self.member(name)
        try:
            with urllib.request.urlopen(f"http://{m['host']}:{m['api_port']}/v1/cluster", timeout=seconds) as r:
                return json.load(r)
        except (OSError, ValueError):
            return None

    def views(self):
        names = self.names()
        return dict(zip(names, self.pool.map(self.view, names)))

    def leader(self):
        """The open leader with the highest term that any agent tells of."""
        told = [v for v in self.views().values() if v and v.get("leader") and v.get("open")]
        return max(told, key=lambda v: v["term"])["leader"] if told else None

    def why_not_healthy(self):
        """None when every agent says so and the servers themselves confirm it; else the first reason found."""
        views = self.views()
        for name, v in views.items():
            if v is None:
                return f"{name}: agent silent"
            states = {m["name"]: m["state"] for m in v["members"]}
            odd = [f"{n} {states.get(n)}" for n in self.names() if states.get(n) != "running"]
            if odd or v["health"] != "healthy" or not v["open"] or v.get("degraded"):
                what = ", ".join(odd) or f"health {v['health']}, open {v['open']}, degraded {v.get('degraded')}"
                return f"{name} says: {what}"
        leaders = {(v["leader"], v["term"]) for v in views.values()}
        if len(leaders) != 1:
            return f"agents name different leaders: {sorted(leaders, key=str)}"
        leader = next(iter(leaders))[0]
        roles = dict(zip(self.names(), self.pool.map(self._streams, self.names())))
        for name, (recovery, streaming, replicas) in roles.items():
            if name == leader and (recovery or replicas != self.members - 1):
                return f"leader {name}: in recovery {recovery}, {replicas} streaming replicas"
            if name != leader and not (recovery and streaming):
                return f"replica {name}: in recovery {recovery}, streaming {streaming}"
        return None

    def _streams(self, name):
        try:
            dsn = self.member_dsn(name, "admin")
            with clients.connect(dsn, 2) as c:
                return clients.streams(c, dsn)
        except clients.ERRORS as error:
            return None, clients.kind(error)[:120], None

    def wait_healthy(self, since, within=HEALTHY_WITHIN):
        """Seconds from `since` until healthy; None and the last reason when not `within` seconds."""
        why = "not asked"
        while time.monotonic() - since <= within:
            why = self.why_not_healthy()
            if why is None:
                return round(time.monotonic() - since, 2), None
            time.sleep(0.1)
        return None, why

    # ---- faults

    def fault(self, member, kind):
        return self.call("lab", "fault", "--dir", self.dir, "--member", member, "--kind", kind)

    def hit(self, member, kind):
        """Lets it happen; for a switchover, tells how the command went."""
        if kind == "switchover":
            took, code, said = self.switchover()
            return dict(command_s=took, **({"command_failed": f"exit {code}: {said}"} if code else {}))
        if kind != "none":
            self.fault(member, kind)
        return {}

    def heal(self):
        return self.call("lab", "heal", "--dir", self.dir)

    def switchover(self):
        """The command's (seconds, exit code, messages)."""
        start = time.monotonic()
        done = self.call("switchover", "--config", self.facts["members"][0]["config"], check=False, seconds=120)
        return round(time.monotonic() - start, 3), done.returncode, (done.stdout + done.stderr).strip()[-500:]

    def log_tail(self, name, count=25):
        try:
            return (self.dir / name / "log/agent.log").read_text(errors="replace").splitlines()[-count:]
        except OSError as error:
            return [str(error)]
