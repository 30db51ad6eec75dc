"""How a client of each engine connects: the database's own driver, with one face. The DSN says which.

Used by probe.py and ours.py. PostgreSQL's DSNs are libpq's, MySQL's and MariaDB's are mysql://USER:PASSWORD@HOST:PORT/DATABASE.
It opens connections and knows each dialect's few statements; it never tries again.
"""
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pymysql

SCHEME = "mysql://"
# what a driver raises when the server, or the way to it, is at fault
ERRORS = (OSError, psycopg.Error, pymysql.Error)


class Mysql:
    """A connection with psycopg's face."""

    def __init__(self, dsn, seconds):
        url = urlsplit(dsn)
        self.raw = pymysql.connect(host=url.hostname, port=url.port, user=unquote(url.username), password=unquote(url.password),
                                   database=url.path.lstrip("/"), connect_timeout=seconds, autocommit=True)

    def cursor(self):
        return self.raw.cursor()

    def execute(self, sql, values=None):
        cursor = self.raw.cursor()
        cursor.execute(sql, values)
        return cursor

    def fileno(self):
        return self.raw._sock.fileno()

    def close(self):
        self.raw.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def mysql_dsn(host, port, user, password, database):
    return f"{SCHEME}{quote(user)}:{quote(password, safe='')}@{host}:{port}/{database}"


def is_mysql(dsn):
    return dsn.startswith(SCHEME)


def connect(dsn, seconds=10):
    """A connection, autocommit on, whose statements are prepared by nobody."""
    if is_mysql(dsn):
        return Mysql(dsn, seconds)
    return psycopg.connect(dsn, autocommit=True, connect_timeout=seconds, prepare_threshold=None)


def make_table(connection, dsn, table):
    connection.execute(f"DROP TABLE IF EXISTS {table}")
    at = "timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)" if is_mysql(dsn) else "timestamptz NOT NULL DEFAULT clock_timestamp()"
    connection.execute(f"CREATE TABLE {table}(id bigint PRIMARY KEY, w int NOT NULL, at {at})")


def on_replica(connection, dsn):
    asked = "SELECT @@GLOBAL.read_only" if is_mysql(dsn) else "SELECT pg_is_in_recovery()"
    return bool(connection.execute(asked).fetchone()[0])


def streams(connection, dsn):
    """(follows somebody, receives, replicas that receive from here)"""
    if not is_mysql(dsn):
        return connection.execute(
            "SELECT pg_is_in_recovery(), (SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'), "
            "(SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')").fetchone()
    said = connection.execute("SHOW REPLICA STATUS")
    row = said.fetchone()
    names = [column[0] for column in said.description or ()]
    status = dict(zip(names, row)) if row else {}
    receives = "Yes" in (status.get("Replica_IO_Running"), status.get("Slave_IO_Running"))
    dumps = connection.execute("SELECT count(DISTINCT user) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
    return bool(status), receives, dumps.fetchone()[0]


def kind(error):
    """An error in one line: its state or number, and the first line of its text."""
    if isinstance(error, psycopg.Error):
        first = (str(error).strip().splitlines() or [""])[0]
        return f"{error.sqlstate or ''} {first}".strip()
    return " ".join(str(part) for part in error.args).strip().splitlines()[0][:120] if error.args else type(error).__name__
