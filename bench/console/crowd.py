#!/usr/bin/env python3
"""The console with a cluster of many members: what a change of all of them costs the page, frame by frame.

A small server here gives out the page as it lies in web/ and plays one agent: a document of N members whose figures all
move, twice a second, as often as an agent tells of changes at most. A real Chromium shows it, and its own trace says how
long each task of the page's thread took. `make bench-console` runs it; it decides nothing.
"""

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
TOLD_EVERY = 0.5
FRAME_MS = 16.0
PHASES = {"FunctionCall": "script", "UpdateLayoutTree": "style", "Layout": "layout",
          "PrePaint": "prepaint", "Paint": "paint", "Layerize": "layers", "Commit": "commit"}


class Agent:
    """One agent's view of a cluster whose members all move."""

    def __init__(self, members: int):
        self.dice = random.Random(members)
        self.lsn = 0x5000000
        self.names = [f"m{n}" for n in range(1, members + 1)]

    def member(self, index: int, name: str) -> dict:
        leads = index == 0
        behind = 0 if leads else self.dice.choice([0, 0, 8_192, 131_072, 2_000_000])
        return {
            "name": name, "role": "leader" if leads else "replica", "state": "running", "host": f"10.0.{index // 250}.{index % 250 + 1}",
            "sync_state": "quorum" if 0 < index <= 4 else None if leads else "async", "timeline": 7,
            "position": f"0/{self.lsn - behind:X}", "lag_bytes": behind, "lag_seconds": round(behind / 4e6, 3),
            "unreceived_bytes": behind // 2, "unflushed_bytes": behind // 4, "lag_trend": self.dice.choice([-4096, 512]),
            "alert": "ok", "tags": {"zone": f"z{index % 3}"}, "sql_port": 5432, "api_port": 8008, "pending_restart": False,
            "upstream": None if leads else self.names[0] if index < 60 else self.names[1 + index % 20], "remarks": [],
        }

    def cluster(self) -> dict:
        self.lsn += self.dice.randrange(100_000, 900_000)
        members = [self.member(index, name) for index, name in enumerate(self.names)]
        return {
            "cluster": "crowd", "engine": "postgres", "engine_version": "18.0", "term": 7, "leader": "m1", "open": True,
            "durability": "quorum", "answers": 1, "health": "healthy", "paused": False, "reporter": "m1", "problems": [],
            "profile": "standard", "members": members, "degraded": False, "commits_wait": False, "intent": None,
        }

    def journal(self, after: int) -> dict:
        entry = lambda n: {"id": n, "at": "2026-11-24T00:00:00Z", "term": 7, "member": "m1", "reason": "opened",
                           "text": "term 7 is open", "evidence": {}}
        return {"entries": [entry(n) for n in range(max(1, after + 1), 301)]}

    def answer(self, path: str) -> dict | None:
        entry = {"term": 7, "leader": "m1", "timeline": 7, "kind": "failover", "at": "2026-11-24T00:00:00Z",
                 "switch_position": "0/5000000", "reason": "m2 was gone", "lost": None}
        return {
            "v1/cluster": self.cluster, "v1/journal": lambda: self.journal(0), "v1/history": lambda: {"history": [entry] * 6},
            "v1/alerts": lambda: {"alerts": [], "silences": [], "speaker": "m1"},
            "v1/explain": lambda: {"summary": "term 7 is open", "entries": []},
        }.get(path, lambda: None)()


def serve(agent: Agent) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *_):
            pass

        def do_GET(self):
            path = self.path.split("?")[0].strip("/")
            if path == "v1/events":
                return self.events()
            file = ROOT / "web" / (path or "index.html")
            if not path.startswith("v1") and file.is_file():
                return self.give(file.read_bytes(), TYPES[file.suffix])
            document = agent.answer(path)
            if document is None:
                return self.send_error(404)
            self.give(json.dumps(document).encode(), "application/json")

        def give(self, body: bytes, kind: str):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def events(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(f"event: cluster\ndata: {json.dumps(agent.cluster())}\n\n".encode())
                    self.wfile.flush()
                    time.sleep(TOLD_EVERY)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Chromium:
    """One page, driven over the browser's debugging pipe."""

    def __init__(self, width: int, height: int):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (its_in, ours_out), (ours_in, its_out) = os.pipe(), os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage",
                 "--disable-extensions", "--disable-background-networking", "--no-proxy-server",
                 f"--user-data-dir={self.profile.name}", f"--window-size={width},{height}", "about:blank"]
        # the browser wants the pipe's ends as its descriptors 3 and 4, wherever ours are
        script = f'exec "$@" 3<&{its_in} 4>&{its_out} </dev/null >/dev/null 2>&1'
        program = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])))
        self.child = subprocess.Popen(["bash", "-c", script, "bash", program, *flags], pass_fds=(its_in, its_out))
        os.close(its_in)
        os.close(its_out)
        self.to, self.of = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self.last, self.session, self.rest, self.events = 0, None, bytearray(), []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def heard(self) -> dict:
        searched = 0
        while (end := self.rest.find(b"\0", searched)) < 0:
            searched = len(self.rest)
            self.rest += self.of.read1(1 << 20)
        message = bytes(self.rest[:end])
        del self.rest[: end + 1]
        return json.loads(message)

    def call(self, method: str, **parameters) -> dict:
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while True:
            said = self.heard()
            if said.get("id") == self.last:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def until(self, method: str) -> dict:
        while True:
            for said in self.events:
                if said.get("method") == method:
                    self.events.remove(said)
                    return said["params"]
            self.events.append(self.heard())

    def eval(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def trace(self, seconds: float) -> list:
        self.call("Tracing.start", categories="devtools.timeline,disabled-by-default-devtools.timeline,toplevel", transferMode="ReturnAsStream")
        time.sleep(seconds)
        self.events.clear()
        self.call("Tracing.end")
        stream, text = self.until("Tracing.tracingComplete")["stream"], ""
        while True:
            piece = self.call("IO.read", handle=stream)
            text += piece["data"]
            if piece["eof"]:
                return json.loads(text)["traceEvents"]

    def end(self):
        self.child.kill()
        self.child.wait()


def page_thread(events: list):
    """The thread of the renderer that ran the page: the one that fired most animation frames."""
    fired = [(e["pid"], e["tid"]) for e in events if e["name"] == "FireAnimationFrame"]
    return max(set(fired), key=fired.count)


def measured(events: list, seconds: float) -> dict:
    mine = [e for e in events if (e["pid"], e["tid"]) == page_thread(events) and e.get("ph") == "X"]
    # the thread's own time where the browser tells it: what others do on this machine is not the page's
    cost = lambda e: e.get("tdur", e["dur"]) / 1000
    tasks = [(e["ts"], e["dur"], cost(e)) for e in mine if e["name"] in ("RunTask", "ThreadControllerImpl::RunTask")]
    frames = [e["ts"] for e in mine if e["name"] == "FireAnimationFrame"]
    drawn = sorted(ms for ts, lasted, ms in tasks if any(ts <= f <= ts + lasted for f in frames))
    phases = dict.fromkeys(PHASES.values(), 0.0)
    for e in mine:
        if e["name"] in PHASES:
            phases[PHASES[e["name"]]] += cost(e)
    busy = sum(ms for _, _, ms in tasks)
    at = lambda share: round(drawn[min(len(drawn) - 1, int(len(drawn) * share))], 1)
    return {
        "frames": len(drawn), "p50_ms": at(0.5), "p95_ms": at(0.95), "worst_ms": at(1.0), "worst_task_ms": round(max(ms for _, _, ms in tasks), 1),
        "over_a_frame": sum(d > FRAME_MS for d in drawn), "busy_share": round(busy / seconds / 1000, 3),
        "ms_an_update": {name: round(ms / (seconds / TOLD_EVERY), 1) for name, ms in phases.items()},
    }


def main():
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--members", type=int, default=200)
    ask.add_argument("--seconds", type=float, default=10)
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--picture", help="a file for a picture of the page")
    asked = ask.parse_args()
    server = serve(Agent(asked.members))
    browser = Chromium(1440, 900)
    try:
        browser.call("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/")
        deadline = time.monotonic() + 20
        while browser.eval("document.querySelectorAll('[data-node]').length") != asked.members:
            assert time.monotonic() < deadline, "the page does not show all members"
            time.sleep(0.1)
        version = browser.call("Browser.getVersion")["product"]
        out = {"machine": platform.machine(), "cpus": os.cpu_count(), "browser": version, "members": asked.members, "load": os.getloadavg()[0]}
        for place, script in {"top": "scrollTo(0, 0)", "table": "document.getElementById('members').scrollIntoView()"}.items():
            browser.eval(script)
            time.sleep(2)
            rounds = [measured(browser.trace(asked.seconds), asked.seconds) for _ in range(asked.rounds)]
            out[place] = sorted(rounds, key=lambda r: r["p95_ms"])[len(rounds) // 2]
        if asked.picture:
            import base64
            browser.eval("scrollTo(0, 0)")
            pathlib.Path(asked.picture).write_bytes(base64.b64decode(browser.call("Page.captureScreenshot")["data"]))
        print(json.dumps(out, indent=1))
    finally:
        browser.end()
        server.shutdown()


if __name__ == "__main__":
    main()
