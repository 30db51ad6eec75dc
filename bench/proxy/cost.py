#!/usr/bin/env python3
"""What a proxy costs: CPU seconds (user and system) of its process per 100,000 transactions, at a fixed rate.

  cost.py [--rounds 5] [--seconds 8] [--rate 3000] [--clients 16] [--proxy PATH] [--only simple,prepared] [--forwarder]

Ours, PgBouncer and HAProxy stand before one PostgreSQL on this machine; each round measures each of them once, in an order
that turns, so that whatever else the machine does hits all alike. Prints medians and ratios to PgBouncer; `--json FILE`
keeps every measurement. PgBouncer pools by transaction for simple and extended queries, and by session for prepared ones,
which its version before 1.21 cannot do otherwise. Ours is measured with reads sent to a replica, too. `--forwarder` builds and measures what passes bytes on and reads none, by
epoll and by io_uring: less than that no proxy costs. Started by `make bench-proxy`.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
USER = "dauphin"
FORWARDER = ROOT / "bench" / "proxy" / "forwarder"
ROLES = """
create role dauphin_proxy login password 'proxy secret';
create role app login password 'app secret';
create database app owner app;
create schema dauphin;
create function dauphin.scram_verifier(text) returns text language sql security definer set search_path = '' as
  $$ select rolpassword from pg_catalog.pg_authid where rolname = $1 $$;
grant usage on schema dauphin to dauphin_proxy;
"""


def bin_dir():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) + sorted((ROOT / ".engines").glob("postgres-*/bin"))
    for place in found:
        if (place / "initdb").is_file() and (place / "pgbench").is_file():
            return place
    sys.exit("no PostgreSQL with pgbench is installed: scripts/engines.sh postgres")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def as_user(command):
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command] if os.geteuid() == 0 else command


def until(what, holds, seconds=20):
    by = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > by:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.bin = bin_dir()
        self.dir = Path(tempfile.mkdtemp(prefix="dauphin-cost-"))
        self.processes = []
        os.chmod(self.dir, 0o755)

    def start(self, name, command, user=False, **more):
        log = open(self.dir / f"{name}.log", "w")
        command = as_user([str(c) for c in command]) if user else [str(c) for c in command]
        process = subprocess.Popen(command, stdout=log, stderr=log, **more)
        self.processes.append(process)
        return process

    def folder(self, name):
        data = self.dir / name
        os.makedirs(data)
        if os.geteuid() == 0:
            shutil.chown(data, USER, USER)
        os.chmod(data, 0o700)
        return data

    def server(self):
        data, self.port = self.folder("data"), free_port()
        call = lambda command: subprocess.run(as_user([str(c) for c in command]), check=True, capture_output=True, cwd="/")
        call([self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"])
        (data / "pg_hba.conf").write_text("local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        sockets = self.dir / "s"
        sockets.mkdir()
        os.chmod(sockets, 0o777)
        options = ["-c", f"port={self.port}", "-c", f"unix_socket_directories={sockets}", "-c", "fsync=off",
                   "-c", "max_connections=200", "-c", "shared_buffers=256MB"]
        self.start("server", [self.bin / "postgres", "-D", data, *options], user=True, cwd="/")
        until("the server starts", lambda: listens(self.port))
        time.sleep(0.5)
        psql = [self.bin / "psql", "-h", sockets, "-p", self.port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-q"]
        subprocess.run([str(c) for c in psql], input=ROLES, text=True, check=True)
        self.env = {**os.environ, "PGPASSWORD": "app secret", "PGUSER": "app", "PGDATABASE": "app"}
        init = [self.bin / "pgbench", "-i", "-q", "-s", "5", "-h", "127.0.0.1", "-p", self.port]
        subprocess.run([str(c) for c in init], env=self.env, check=True, capture_output=True)
        data, self.replica_port = self.folder("replica"), free_port()
        call([self.bin / "pg_basebackup", "-h", sockets, "-p", self.port, "-U", "postgres", "-D", data, "-R", "-c", "fast"])
        options[1] = f"port={self.replica_port}"
        self.start("replica", [self.bin / "postgres", "-D", data, *options], user=True, cwd="/")
        until("the replica starts", lambda: listens(self.replica_port))

    def ours(self, *more):
        port, password = free_port(), self.dir / "password"
        password.write_text("proxy secret\n")
        os.chmod(password, 0o600)
        process = self.start("-".join(["ours", *map(str, more)]), [self.arguments.proxy, port, self.port, password, *more], stdin=subprocess.PIPE)
        until("our proxy starts", lambda: listens(port))
        return port, process.pid

    def pgbouncer(self, mode):
        port, folder = free_port(), self.dir / f"pgbouncer-{mode}"
        folder.mkdir()
        (folder / "users").write_text('"app" "app secret"\n')
        (folder / "ini").write_text(
            f"[databases]\napp = host=127.0.0.1 port={self.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = {mode}\ndefault_pool_size = 20\n"
            f"max_client_conn = 12000\nunix_socket_dir =\nlogfile = {folder}/log\n")
        for path in (folder, folder / "users", folder / "ini"):
            if os.geteuid() == 0:
                shutil.chown(path, USER, USER)
        process = self.start(f"pgbouncer-{mode}", ["pgbouncer", folder / "ini"], user=True)
        until("PgBouncer starts", lambda: listens(port))
        return port, process.pid

    def haproxy(self):
        port, path = free_port(), self.dir / "haproxy.cfg"
        path.write_text(f"defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
                        f"listen db\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{self.port}\nglobal\n  nbthread 1\n")
        process = self.start("haproxy", ["haproxy", "-db", "-f", path])
        until("HAProxy starts", lambda: listens(port))
        return port, process.pid

    def forwarder(self, by):
        port = free_port()
        process = self.start(by, [ROOT / "target" / "forwarder" / "release" / "forwarder", by, f"127.0.0.1:{port}", f"127.0.0.1:{self.port}"])
        until("the forwarder starts", lambda: listens(port))
        return port, process.pid

    def measure(self, port, pid, mode):
        a = self.arguments
        command = [self.bin / "pgbench", "-n", "-S", "-M", mode, "-c", a.clients, "-j", 1, "-R", a.rate, "-T", a.seconds,
                   "-h", "127.0.0.1", "-p", port]
        before = cpu(pid)
        ran = subprocess.run([str(c) for c in command], env=self.env, capture_output=True, text=True)
        used = cpu(pid) - before
        done = re.search(r"transactions actually processed: (\d+)", ran.stdout)
        failed = re.search(r"number of failed transactions: (\d+)", ran.stdout)
        if ran.returncode or not done or (failed and int(failed[1])):
            sys.exit(f"pgbench failed: {ran.stdout}{ran.stderr}")
        latency = re.search(r"latency average = ([\d.]+)", ran.stdout)
        return {"cpu": used / int(done[1]) * 100_000, "latency_ms": float(latency[1]) if latency else None, "done": int(done[1])}

    def stop(self):
        for process in reversed(self.processes):
            if process.stdin:
                process.stdin.close()
            process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rate", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--proxy", default=ROOT / "target" / "release" / "examples" / "fixed")
    parser.add_argument("--only", default="simple,extended,prepared")
    parser.add_argument("--forwarder", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if arguments.forwarder:
        subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", ROOT / "target" / "forwarder"], cwd=FORWARDER, check=True)
    bench = Bench(arguments)
    rows = []
    try:
        bench.server()
        ours, split, haproxy = bench.ours(), bench.ours("postgres", "session", bench.replica_port), bench.haproxy()
        transaction, session = bench.pgbouncer("transaction"), bench.pgbouncer("session")
        forwarders = [(by, bench.forwarder(by)) for by in ("epoll", "uring") if arguments.forwarder]
        for mode in arguments.only.split(","):
            subjects = [("ours", ours), ("split", split), ("pgbouncer", session if mode == "prepared" else transaction), ("haproxy", haproxy)]
            subjects += forwarders
            for number in range(arguments.rounds):
                for name, (port, pid) in subjects if number % 2 == 0 else subjects[::-1]:
                    row = {"mode": mode, "round": number, "name": name, **bench.measure(port, pid, mode)}
                    rows.append(row)
                    print(f"{mode:9} {name:10} {row['cpu']:6.2f} CPU s per 100,000 at {row['latency_ms']:.2f} ms", flush=True)
    finally:
        bench.stop()
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(rows))
    print(f"\n{'':9} {'ours':>8} {'PgBouncer':>10} {'HAProxy':>8}   ours / PgBouncer (median of {arguments.rounds} rounds)")
    for mode in arguments.only.split(","):
        of = lambda name: [row["cpu"] for row in rows if (row["mode"], row["name"]) == (mode, name)]
        middle = {name: statistics.median(of(name)) for name in ("ours", "pgbouncer", "haproxy")}
        ratios = [a / b for a, b in zip(of("ours"), of("pgbouncer"))]
        print(f"{mode:9} {middle['ours']:8.2f} {middle['pgbouncer']:10.2f} {middle['haproxy']:8.2f}   "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        ratios = [a / b for a, b in zip(of("split"), of("ours"))]
        for by, _ in forwarders:
            shares = [a / b for a, b in zip(of(by), of("pgbouncer"))]
            print(f"{'':9} bytes passed on by {by}, to PgBouncer: {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})")
        print(f"{'':9} with statements that read sent to a replica, to ours without: {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
