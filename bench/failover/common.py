"""What the failover benchmarks share: where things lie, processes, waiting, result lines.

Used by every script of this folder; starts nothing by itself. It never signals a process that its caller did not name
by pid.
"""

import json
import os
import platform
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = Path(os.environ.get("BENCH_WORK", ROOT / "bench" / "work"))
RESULTS = ROOT / "bench" / "results"
IS_ROOT = os.geteuid() == 0
PROBE = HERE / "probe.py"


def say(*words):
    """One line for the person who watches."""
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def find_pg_bin(major):
    """The bin directory of this major version of PostgreSQL: .engines first, then the system's folders."""
    for place in (ROOT / f".engines/postgres-{major}/bin", Path(f"/usr/lib/postgresql/{major}/bin"),
                  Path(f"/usr/pgsql-{major}/bin"), Path(f"/opt/postgresql/{major}/bin")):
        if (place / "postgres").exists():
            return place
    sys.exit(f"PostgreSQL {major} is nowhere to be found: run `make engines`")


def results_of(engine):
    """Where the lines of an engine's runs are. Those of MySQL and MariaDB add up over machines and builds: they are kept."""
    return WORK / "failover.jsonl" if engine == "postgres" else RESULTS / "failovers-mysql.jsonl"


def find_bin(engine, version):
    """Where the programs of this series of an engine are, for `dauphin lab up --bin`."""
    if engine == "postgres":
        return find_pg_bin(version)
    place = ROOT / f".engines/{engine}-{version}/usr"
    return place if place.is_dir() else sys.exit(f"{engine} {version} is nowhere to be found: run `make engines`")


def wait_for(check, seconds, what, every=0.1):
    """The first true answer of `check`, asked again and again; errors count as 'not yet'."""
    end, last = time.monotonic() + seconds, None
    while True:
        try:
            answer = check()
            if answer:
                return answer
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            last = error
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s" + (f" (last: {last})" if last else ""))
        time.sleep(every)


# ---- processes

def stat(pid):
    """The fields of /proc/PID/stat after the name: state, parent, ..."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2:].split()


def alive(pid):
    try:
        return stat(pid)[0] not in ("Z", "X")
    except (OSError, ValueError):
        return False


def tree(pid):
    """This process and all its descendants, parents first."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(stat(name)[1]), []).append(int(name))
            except (OSError, ValueError):
                pass
    found, todo = [], [pid]
    while todo:
        one = todo.pop(0)
        found.append(one)
        todo += children.get(one, [])
    return found


def signal_all(pids, sig):
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


def end_on_sigterm():
    """SIGTERM and SIGINT become an exception, so that what was started is stopped on the way out."""
    def stop(*_):
        # a second one must not cut the way out short
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


# ---- the writers, in a process of their own

class Probe:
    """probe.py with its writers, running until `stop`."""

    def __init__(self, dsn, out, writers=8, log=None, table="probe", **options):
        self.out, self.dsn = Path(out), dsn
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.live_file = Path(f"{out}.live")
        self.live_file.unlink(missing_ok=True)
        self.out.unlink(missing_ok=True)
        words = [sys.executable, str(PROBE), "run", "--out", str(out), "--writers", str(writers), "--table", table]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        self.log = open(log or self.out.with_suffix(".log"), "ab")
        # the DSN holds a password: by the environment, as arguments are for all to see
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=probe_env(dsn), start_new_session=True)

    def live(self):
        """(acknowledged, time of the last one, errors) so far."""
        try:
            acks, last, errors = self.live_file.read_text().split()
            return int(acks), float(last), int(errors)
        except (OSError, ValueError):
            return 0, 0.0, 0

    def warm(self, acks=200, seconds=60):
        def check():
            if self.process.poll() is not None:
                raise RuntimeError(f"the writers ended: see {self.log.name}")
            return self.live()[0] > acks
        wait_for(check, seconds, "writers get going")

    def steady(self, since, seconds, hold=2.0):
        """Waits until acknowledgements later than `since` flow without a pause of half a second for `hold` seconds;
        says whether they did within `seconds`."""
        end, start, before = time.monotonic() + seconds, None, -1
        while time.monotonic() < end:
            acks, last, _ = self.live()
            now = time.monotonic()
            flows = acks > before and last > since and now - last < 0.5
            start = (start or now) if flows else None
            before = acks
            if start and now - start >= hold:
                return True
            time.sleep(0.1)
        return False

    def stop(self):
        """Ends the writers and returns their summary."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        return json.loads(self.out.read_text())["summary"]

    def kill(self):
        """Ends the writers, whatever state they are in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def verify(self, dsn):
        """Compares what was acknowledged with what the server at `dsn` holds; returns the completed summary."""
        done = subprocess.run([sys.executable, str(PROBE), "verify", "--out", str(self.out)], env=probe_env(dsn),
                              text=True, capture_output=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"verify: {done.stderr.strip()[-500:]}")
        return json.loads(self.out.read_text())["summary"]


def probe_env(dsn):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**kept, "PROBE_DSN": dsn}


# ---- results

def machine():
    """What a number is worth only together with."""
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return dict(cores=os.cpu_count(), memory_gib=round(memory / 2**20, 1), cpu=model, kernel=platform.release())


def commit():
    """The checkout's commit, with a plus sign when the product differs from it."""
    def git(*words):
        return subprocess.run(["git", "-C", str(ROOT), *words], text=True, capture_output=True).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "crates", "Cargo.lock") else "")


def now_text():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append(path, line):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as f:
        f.write(json.dumps(line) + "\n")


def lines(path):
    return [json.loads(x) for x in path.read_text().splitlines() if x.strip()] if path.exists() else []


def user_ids(name):
    entry = pwd.getpwnam(name)
    return dict(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
