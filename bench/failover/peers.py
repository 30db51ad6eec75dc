"""What the clusters of the other systems share: processes as the system user, and the way a node is hit as a whole.

Used by patroni_cluster.py and paf_cluster.py; never by ours. It signals only trees of processes that it started.
"""
import os
import signal
import subprocess
import time

from common import IS_ROOT, WORK, alive, find_pg_bin, signal_all, tree, user_ids

USER = "dauphin" if IS_ROOT else os.environ.get("USER", "postgres")


def environment(pg_bin, **extra):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    kept.update(HOME=str(WORK), USER=USER, LOGNAME=USER, LC_ALL="C.UTF-8",
                PATH=f"{pg_bin}{os.pathsep}{kept.get('PATH', '')}")
    kept.update({k: str(v) for k, v in extra.items()})
    return kept


def as_user():
    return user_ids(USER) if IS_ROOT else {}


class Cluster:
    """Folders and processes of one cluster; those of a node are named by it."""

    resume_within = 180
    settle_s = 2

    def __init__(self, name, pg_major="15"):
        self.dir = WORK / "peers" / name
        self.pg_bin = find_pg_bin(pg_major).resolve()
        self.processes = {}
        self.frozen = []

    def folder(self, path):
        path.mkdir(parents=True, exist_ok=True)
        if IS_ROOT:
            ids = user_ids(USER)
            os.chown(path, ids["user"], ids["group"])
        return path

    def run(self, words, seconds=120, check=True, env=None):
        done = subprocess.run([str(w) for w in words], text=True, timeout=seconds, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd=self.dir, env=env or environment(self.pg_bin),
                              stdin=subprocess.DEVNULL, **as_user())
        if check and done.returncode:
            raise RuntimeError(f"{words[0]}: exit {done.returncode}: {done.stdout[-1500:]}")
        return done

    def start(self, name, words, env=None):
        with open(self.dir / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(w) for w in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                env=env or environment(self.pg_bin), start_new_session=True, **as_user())

    def stop(self, name, seconds=20):
        process = self.processes.pop(name, None)
        if process is None:
            return
        pids = tree(process.pid)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        signal_all([p for p in pids if alive(p)], signal.SIGKILL)
        process.wait(10)

    def data_dir(self, name):
        return self.dir / name

    def postmaster(self, name):
        try:
            pid = int((self.data_dir(name) / "postmaster.pid").read_text().split()[0])
            return pid if alive(pid) else None
        except (OSError, ValueError, IndexError):
            return None

    def node_pids(self, name):
        """The node's agent, its server and everything below them, parents first."""
        process, found = self.processes.get(name), []
        if process and process.poll() is None:
            found += tree(process.pid)
        server = self.postmaster(name)
        if server:
            found += [p for p in tree(server) if p not in found]
        return found

    def hit(self, member, kind):
        if kind == "kill-server":
            os.kill(self.postmaster(member), signal.SIGKILL)
        elif kind == "kill-node":
            self.signal_node(member, signal.SIGKILL)
            self.processes[member].wait(10)
        elif kind == "freeze-node":
            self.frozen = self.signal_node(member, signal.SIGSTOP)
        elif kind == "switchover":
            return self.switchover(member)
        return {}

    def signal_node(self, member, sig):
        """Everything at once, and what was born meanwhile."""
        pids = self.node_pids(member)
        signal_all(pids, sig)
        time.sleep(0.02)
        late = [p for p in self.node_pids(member) if p not in pids]
        signal_all(late, sig)
        return pids + late

    def heal(self):
        signal_all(self.frozen, signal.SIGCONT)
        self.frozen = []
        for name in self.nodes():
            if self.processes.get(name) is None or self.processes[name].poll() is not None:
                self.start_node(name)

    def wait_healthy(self, since, within):
        """Seconds from `since`; None and a reason when not `within` seconds."""
        why = "not asked"
        while time.monotonic() - since <= within:
            try:
                why = self.why_not_healthy()
            except Exception as error:  # noqa: BLE001 - asked again
                why = str(error)[:300]
            if why is None:
                return round(time.monotonic() - since, 2), None
            time.sleep(0.25)
        return None, why

    def down(self):
        signal_all(self.frozen, signal.SIGCONT)
        for name in list(self.processes):
            pids = self.node_pids(name) if name in self.nodes() else []
            self.stop(name)
            signal_all([p for p in pids if alive(p)], signal.SIGKILL)

    def probe_options(self, _kind):
        return {}
