#!/usr/bin/env python3
"""Ordinary work of drivers through the proxy's shared servers: fewer servers than clients, and every answer checked.

  drivers.py [--proxy PATH]

psycopg 3 (simple, prepared, pipeline), asyncpg, node-postgres, pgjdbc, sqlx and pgbench in its three modes, each pooled by
transaction and by session. `drivers.sh` installs them. Ends with 1 at the first wrong answer; what is not there is said.
"""
import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cost import ROOT, Bench  # noqa: E402

import asyncpg  # noqa: E402
import psycopg  # noqa: E402

HERE = Path(__file__).resolve().parent


def psycopg_work(dsn):
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=1) as one, psycopg.connect(dsn, prepare_threshold=1) as two:
        one.execute("create table if not exists t (a int primary key, b text)")
        one.execute("truncate t")
        one.execute("set timezone = 'Asia/Tokyo'")
        for n in range(40):
            one.execute("insert into t values (%s, %s)", (n, f"row {n}"))
            assert two.execute("select b from t where a = %s", (n,)).fetchone() == (f"row {n}",)
            two.commit()
            assert one.execute("show timezone").fetchone() == ("Asia/Tokyo",)
            assert two.execute("show timezone").fetchone() != ("Asia/Tokyo",)
            two.rollback()
        with two.pipeline():
            cursors = [two.execute("select %s::int + 1", (n,)) for n in range(50)]
        assert [c.fetchone() for c in cursors] == [(n + 1,) for n in range(50)]
        two.commit()
        with two.transaction():
            with two.cursor().copy("copy t from stdin") as copy:
                for n in range(1000, 3000):
                    copy.write_row((n, "x" * 50))
        with two.cursor().copy("copy (select * from t order by a) to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 2040
        two.commit()
        try:
            two.execute("select nonsense")
            raise AssertionError("an error was expected")
        except psycopg.errors.UndefinedColumn:
            two.rollback()
        for n in range(300):
            assert one.execute(f"select %s::int + {n}", (1,)).fetchone() == (n + 1,)
        with two.cursor(name="server_side") as cursor:
            cursor.execute("select a from t order by a")
            assert len(cursor.fetchmany(100)) == 100 and len(cursor.fetchall()) == 1940
        two.commit()
        one.execute("create temp table kept (a int)")
        one.execute("insert into kept values (1)")
        assert two.execute("select count(*) from pg_class where relname = 'kept' and relpersistence = 't'").fetchone() == (1,)
        assert one.execute("select * from kept").fetchall() == [(1,)]


async def asyncpg_work(dsn):
    pool = await asyncpg.create_pool(dsn, min_size=20, max_size=20)

    async def work(number):
        for n in range(30):
            async with pool.acquire() as c:
                assert await c.fetchval("select $1::int * 2", n) == n * 2
                async with c.transaction():
                    await c.execute("select set_config('my.x', $1, true)", str(number))
                    assert await c.fetchval("select current_setting('my.x')") == str(number)
                    async for row in c.cursor("select generate_series(1, 20)"):
                        assert row[0] > 0
                statement = await c.prepare("select $1::text || $2")
                assert await statement.fetchval("a", str(n)) == f"a{n}"
                assert len(await c.fetch("select generate_series(1, $1)", n + 1)) == n + 1

    await asyncio.gather(*(work(number) for number in range(40)))
    await pool.close()


def other(name, needs, command, env):
    """A program that checks its own answers."""
    if not needs.exists():
        print(f"{name}: left out, {needs} is not there", flush=True)
        return
    ran = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True)
    print(f"{name}: {'well' if ran.returncode == 0 else ran.stdout + ran.stderr}", flush=True)
    if ran.returncode:
        sys.exit(1)


def pooled(bench, pooling, level="leader"):
    print(f"pooled by {pooling}" + (", reads sent to a replica" if level != "leader" else ""), flush=True)
    port, _ = bench.ours("postgres", level, pooling)
    dsn = f"postgresql://app:app%20secret@127.0.0.1:{port}/app"
    psycopg_work(dsn)
    print("psycopg: well", flush=True)
    asyncio.run(asyncpg_work(dsn))
    print("asyncpg: well", flush=True)
    work = ROOT / "bench" / "work" / "drivers"
    env = {**bench.env, "PGHOST": "127.0.0.1", "PGPORT": str(port), "DATABASE_URL": dsn, "NODE_PATH": str(work / "node_modules")}
    other("node-postgres", work / "node_modules" / "pg", ["node", HERE / "work.js"], env)
    jar = Path("/usr/share/java/postgresql.jar")
    other("pgjdbc", work / "Work.class", ["java", "-cp", f"{work}:{jar}", "Work", f"jdbc:postgresql://127.0.0.1:{port}/app"], env)
    sqlx = work / "target" / "debug" / "sqlx-work"
    other("sqlx", sqlx, [sqlx], env)
    script = r"""
        \set ON_ERROR_STOP 1
        select 40 + 2 as n \gset
        \d pgbench_accounts
        \copy (select 'copied') to stdout
        \echo :n
        \set ON_ERROR_STOP 0
        \set ON_ERROR_ROLLBACK 1
        begin;
        select nonsense;
        select 1;
        commit;
        """
    ran = subprocess.run([str(bench.bin / "psql"), "-X"], input=script, env=env, capture_output=True, text=True)
    well = ran.returncode == 0 and "\n42\n" in ran.stdout and "abalance" in ran.stdout and ran.stdout.rstrip().endswith("COMMIT")
    print(f"psql: {'well' if well else ran.stdout + ran.stderr}", flush=True)
    if not well:
        sys.exit(1)
    # pgbench prepares one statement after the other and waits for each: with transactions, and more clients than servers,
    # it would wait for itself.
    for mode, clients, more in [
        ("simple", 64, []), ("extended", 64, []), ("prepared", 16, []), ("prepared", 64, ["-S"]),
    ]:
        command = [bench.bin / "pgbench", "-n", "-M", mode, *more, "-c", clients, "-j", 2, "-t", 50, "-h", "127.0.0.1",
                   "-p", port]
        ran = subprocess.run([str(c) for c in command], env=bench.env, capture_output=True, text=True)
        done = f"number of transactions actually processed: {clients * 50}/{clients * 50}"
        well = ran.returncode == 0 and done in ran.stdout
        print(f"pgbench {' '.join([mode, *more])}, {clients} clients: {'well' if well else ran.stdout + ran.stderr}", flush=True)
        if not well:
            sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", default=ROOT / "target" / "release" / "examples" / "fixed")
    bench = Bench(parser.parse_args())
    try:
        bench.server()
        pooled(bench, "transaction")
        pooled(bench, "session")
        # the same server under another name: what is read there is never old
        pooled(bench, "transaction", "any")
    except BaseException:
        for log in bench.dir.glob("ours*.log"):
            print(log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        bench.stop()


if __name__ == "__main__":
    main()
