# What CONTRACT.md promises under "Make". Each target says what it installs, if anything, and asks no question.

.PHONY: help demo test test-long check web pictures bench bench-failover bench-proxy bench-console drivers proof chaos fuzz engines

help:
	@echo "make demo            a cluster on this machine: its leader dies, a replica takes over (KEEP=1 leaves it up; ENGINE=mysql, mariadb)"
	@echo "make test            the tests that fit 30 minutes; make test-long: all of them"
	@echo "make check           formatting, lints, documentation, dependency rule, licences"
	@echo "make bench           all benchmarks; make bench-failover: takeover times, ours and others' (ENGINE=mysql, mariadb: ours)"
	@echo "make bench-proxy     CPU per transaction, ours beside PgBouncer and HAProxy, which it needs installed"
	@echo "make bench-console   what a cluster of many members costs the console's page, frame by frame, in a real Chromium"
	@echo "make drivers         ordinary work of psycopg, asyncpg, node-postgres, pgjdbc, sqlx and pgbench through the proxy"
	@echo "make proof           many seeds and every pair of turns, MINUTES=60 long; goes on where it was cut off"
	@echo "make chaos           random faults on real clusters, MINUTES=20 SEED=1 ENGINE=postgres; a report in bench/results/chaos.md"
	@echo "make fuzz            bytes of clients and servers, made up: MINUTES=5 for each target; needs nightly Rust"
	@echo "make web             the tests of the console's modules; make pictures: docs/images anew, from a browser on a cluster"
	@echo "make engines         every server that is tested, under .engines/"

web:
	@scripts/web.sh

pictures:
	@scripts/web.sh pictures

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

test-long:
	@scripts/test.sh long

check:
	@scripts/check.sh

bench: bench-failover bench-proxy bench-console

bench-failover:
	@bench/failover/run.sh

bench-proxy:
	@bench/proxy/run.sh

bench-console:
	@scripts/web.sh tools
	@bench/console/crowd.py

drivers:
	@scripts/engines.sh postgres
	@bench/proxy/drivers/drivers.sh

proof:
	@bench/proof/run.sh

chaos:
	@scripts/chaos.sh

fuzz:
	@scripts/fuzz.sh

engines:
	@scripts/engines.sh all
