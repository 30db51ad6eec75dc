"""Patroni with etcd (API v3) and HAProxy (health checks on Patroni's REST interface): three nodes on this machine.

Used by turn.py. Clients go through HAProxy. `default` is Patroni's and its documentation's HAProxy settings; `tight` the
lowest timers that Patroni accepts, fail over at once when the server crashed, and HAProxy at its quickest.
"""
import json
import time
import urllib.request

from common import HERE, WORK, wait_for
from peers import Cluster, environment

BASE = 6000
HAPROXY_PORT, ETCD, ETCD_PEER = BASE + 200, BASE + 379, BASE + 380
NODES = ["n1", "n2", "n3"]
VENV = WORK / "patroni-venv/bin"
PROFILES = {
    "default": dict(dcs=dict(ttl=30, loop_wait=10, retry_timeout=10), check="inter 3s fall 3 rise 2",
                    timeouts="timeout connect 4s\n    timeout check 5s", retries=2),
    "tight": dict(dcs=dict(ttl=20, loop_wait=1, retry_timeout=3, primary_start_timeout=0),
                  check="inter 250ms fall 1 rise 1", timeouts="timeout connect 1s\n    timeout check 1s", retries=0),
}


def sql_port(name):
    return BASE + int(name[1:])


def rest_port(name):
    return BASE + 100 + int(name[1:])


class Patroni(Cluster):
    def __init__(self, profile, durability):
        super().__init__(f"patroni-{profile}-{durability}")
        self.profile, self.durability = PROFILES[profile], durability
        # a fault may come at any moment of the loop
        self.settle_s = self.profile["dcs"]["loop_wait"]

    def nodes(self):
        return NODES

    def versions(self):
        first = lambda *words: self.run(words).stdout.split("\n")[0].strip()  # noqa: E731
        return dict(patroni=first(VENV / "patroni", "--version").split()[-1], etcd=first("etcd", "--version").split()[-1],
                    haproxy=first("haproxy", "-v").split()[2], postgresql=first(self.pg_bin / "postgres", "--version").split()[2])

    def up(self):
        self.folder(self.dir)
        url, peer = f"http://127.0.0.1:{ETCD}", f"http://127.0.0.1:{ETCD_PEER}"
        self.start("etcd", ["etcd", "--name", "e1", "--data-dir", self.dir / "etcd", "--listen-client-urls", url,
                            "--advertise-client-urls", url, "--listen-peer-urls", peer,
                            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"e1={peer}"])
        time.sleep(1.5)
        for name in NODES:
            (self.dir / f"{name}.yml").write_text(self.node_file(name))
            self.start_node(name)
        (self.dir / "haproxy.cfg").write_text(self.haproxy_file())
        self.start("haproxy", ["haproxy", "-db", "-f", self.dir / "haproxy.cfg"])
        took, why = self.wait_healthy(time.monotonic(), 240)
        if took is None:
            raise RuntimeError(f"Patroni did not come up: {why}")

    def start_node(self, name):
        self.start(name, [VENV / "python", HERE / "reaper.py",
                          VENV / "patroni", self.dir / f"{name}.yml"], environment(self.pg_bin, PYTHONUNBUFFERED=1))

    def node_file(self, name):
        dcs = "".join(f"    {k}: {v}\n" for k, v in self.profile["dcs"].items())
        mode = {"quorum": "quorum", "sync": "true", "async": "false"}[self.durability]
        return f"""scope: bench
name: {name}
restapi:
  listen: 127.0.0.1:{rest_port(name)}
  connect_address: 127.0.0.1:{rest_port(name)}
etcd3:
  host: 127.0.0.1:{ETCD}
bootstrap:
  dcs:
{dcs}    synchronous_mode: {mode}
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 100
  initdb:
  - encoding: UTF8
  - data-checksums
postgresql:
  listen: 127.0.0.1:{sql_port(name)}
  connect_address: 127.0.0.1:{sql_port(name)}
  data_dir: {self.dir}/{name}
  bin_dir: {self.pg_bin}
  pgpass: {self.dir}/pgpass-{name}
  authentication:
    superuser: {{username: postgres, password: bench}}
    replication: {{username: replicator, password: bench}}
    rewind: {{username: rewinder, password: bench}}
  pg_hba:
  - local all all trust
  - host all all 127.0.0.1/32 trust
  - host replication all 127.0.0.1/32 trust
  parameters:
    unix_socket_directories: {self.dir}
watchdog: {{mode: 'off'}}
"""

    def haproxy_file(self):
        servers = "".join(f"    server {n} 127.0.0.1:{sql_port(n)} maxconn 100 check port {rest_port(n)}\n" for n in NODES)
        return f"""global
    maxconn 500
defaults
    mode tcp
    retries {self.profile['retries']}
    timeout client 30m
    timeout server 30m
    {self.profile['timeouts']}
listen primary
    bind 127.0.0.1:{HAPROXY_PORT}
    option httpchk
    http-check expect status 200
    default-server {self.profile['check']} on-marked-down shutdown-sessions
{servers}"""

    def members(self):
        """GET /cluster of the first node that answers and is not frozen."""
        for name in NODES:
            process = self.processes.get(name)
            if process is None or process.poll() is not None or process.pid in self.frozen:
                continue
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{rest_port(name)}/cluster", timeout=2) as r:
                    return json.load(r)["members"]
            except (OSError, ValueError):
                continue
        return []

    def leader(self):
        frozen = [n for n in NODES if self.processes.get(n) and self.processes[n].pid in self.frozen]
        return next((m["name"] for m in self.members()
                     if m["role"] == "leader" and m["state"] == "running" and m["name"] not in frozen), None)

    def why_not_healthy(self):
        members = self.members()
        said = ", ".join(f"{m['name']} {m['role']} {m['state']} lag {m.get('lag')} timeline {m.get('timeline')}" for m in members)
        leads = sum(m["role"] == "leader" and m["state"] == "running" for m in members)
        follow = sum(m["state"] == "streaming" and m.get("lag") in (0, "0") for m in members)
        if (len(members), leads, follow) != (3, 1, 2) or len({m["timeline"] for m in members}) != 1:
            return said or "no answer"
        wanted = {"quorum": "quorum_standby", "sync": "sync_standby"}.get(self.durability)
        if wanted and not any(m["role"] == wanted for m in members):
            return f"nobody vouches: {said}"
        # the way in follows too: HAProxy believes in a leader only after its checks
        self.run([self.pg_bin / "psql", "-XAtc", "select 1", self.write_dsn() + " connect_timeout=2"], 10)
        return None

    def switchover(self, member):
        start = time.monotonic()
        done = self.run([VENV / "patronictl", "-c", self.dir / "n1.yml", "switchover", "bench", "--leader", member, "--force"],
                        check=False)
        failed = {"command_failed": done.stdout[-300:]} if done.returncode else {}
        return dict(command_s=round(time.monotonic() - start, 3), **failed)

    def write_dsn(self):
        return f"host=127.0.0.1 port={HAPROXY_PORT} user=postgres password=bench dbname=postgres"

    def verify_dsn(self):
        leader = wait_for(self.leader, 60, "Patroni's leader")
        return f"host=127.0.0.1 port={sql_port(leader)} user=postgres password=bench dbname=postgres"
