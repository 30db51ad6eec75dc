#!/usr/bin/env bash
# Checks monitoring/: Prometheus's own promtool reads the rules and runs their tests, and every question that the board asks is
# one that Prometheus understands about a metric that docs/metrics.md names. Fetches promtool into .tools/ once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

promtool=.tools/prometheus/usr/bin/promtool
if [ ! -x $promtool ]; then
    command -v apt-get >/dev/null || fail "promtool checks the rules, and there is no apt-get to fetch it with: put it at $promtool"
    say "fetching promtool (Debian's package prometheus, unpacked, not installed) into .tools/"
    work=.tools/prometheus.new
    rm -rf $work
    mkdir -p $work
    (cd $work && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; }) >&2
    for package in $work/*.deb; do dpkg -x "$package" $work; done
    rm $work/*.deb
    rm -rf .tools/prometheus
    mv $work .tools/prometheus
fi
$promtool check rules monitoring/rules.yml >&2
$promtool test rules monitoring/rules-test.yml >&2
python3 - "$promtool" <<'PYTHON'
import json, re, subprocess, sys, tempfile

board = json.load(open("monitoring/grafana.json"))
rules = open("monitoring/rules.yml").read()
asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
if len(asked) < 10:
    sys.exit("monitoring/grafana.json: the board asks for less than it did")
lines = ["groups:", "  - name: board", "    rules:"]
for number, expr in enumerate(asked):
    lines += [f"      - record: board:question:{number}", "        expr: " + json.dumps(expr.replace("$cluster", ".*"))]
with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
    file.write("\n".join(lines) + "\n")
    file.flush()
    said = subprocess.run([sys.argv[1], "check", "rules", file.name], capture_output=True, text=True)
if said.returncode:
    sys.exit(f"monitoring/grafana.json: {said.stderr}")
documented = set(re.findall(r"`((?:dauphin|patroni)_\w+)`", open("docs/metrics.md").read()))
used = set(re.findall(r"\bdauphin_\w+", rules + " ".join(asked)))
unknown = {name for name in used if re.sub(r"_bucket$", "", name) not in documented}
if unknown:
    sys.exit(f"docs/metrics.md does not name {', '.join(sorted(unknown))}, which monitoring/ asks for")
PYTHON
