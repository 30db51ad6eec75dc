"""Who acknowledges writes? A probe on every member, all the time, straight to its server and not through the proxy.

Used by chaos_loop.py. Each member has two lanes, threads with a connection of their own: `quick` gives a write up after
half a second and connects again; `patient` leaves it hanging, for a leader that is frozen in the middle of a commit and
may answer when it wakes. A lane never cancels a write, only cuts its own socket: cancelling would make the server report
"committed" without its replicas. Each acknowledged write tells the timeline it went to, which no two leaderships share.
"""
import collections
import os
import socket
import threading
import time

import psycopg

TABLE = "member_probe"
EVERY_S = 0.05                                 # each lane writes this often
LANES = {"quick": 0.5, "patient": 25.0}        # seconds until a write that hangs is cut off
TABLE_WITHIN_S = 20                            # seconds until making the table counts as hung
AGAIN_S = 0.02                                 # pause before connecting again
IDS_PER_LANE = 10_000_000


class Lane(threading.Thread):
    def __init__(self, number, member, name, dsn):
        super().__init__(daemon=True)
        self.member, self.limit, self.dsn = member, LANES[name], dsn
        self.next_id = number * IDS_PER_LANE
        self.acks = []                         # (id, sent, acknowledged, timeline)
        self.samples, self.refused = 0, collections.Counter()
        self.connection, self.since, self.stop = None, None, threading.Event()

    def run(self):
        sql = (f"INSERT INTO {TABLE}(id, member) VALUES (%s, %s) "
               "RETURNING ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int")
        while not self.stop.is_set():
            try:
                self.connection = psycopg.connect(self.dsn, autocommit=True, connect_timeout=2, prepare_threshold=None)
                while not self.stop.is_set():
                    self.write(sql)
            except psycopg.Error as error:
                self.since = None
                self.samples += 1
                first = (str(error).strip().splitlines() or [""])[0]
                self.refused[f"{error.sqlstate or ''} {first[-90:]}".strip()] += 1
            finally:
                self.close()
            self.stop.wait(AGAIN_S)

    def write(self, sql):
        start = self.since = time.monotonic()
        row, self.next_id = self.next_id, self.next_id + 1
        try:
            timeline = self.connection.execute(sql, (row, self.member)).fetchone()[0]
            self.acks.append((row, start, time.monotonic(), timeline))
        except psycopg.errors.ReadOnlySqlTransaction:
            # a replica: the connection is good for the next sample
            self.refused["25006 read-only"] += 1
        finally:
            self.since = None
        self.samples += 1
        self.stop.wait(max(0.0, EVERY_S - (time.monotonic() - start)))

    def close(self):
        if self.connection is not None:
            try:
                self.connection.close()
            except Exception:  # noqa: BLE001 - it is gone either way
                pass
            self.connection = None

    def cut(self):
        cut(self.connection)


def cut(connection):
    """Breaks a connection from outside; the server hears of no cancel."""
    try:
        s = socket.socket(fileno=os.dup(connection.fileno()))
        s.shutdown(socket.SHUT_RDWR)
        s.close()
    except Exception:  # noqa: BLE001 - already closed
        pass


class Watch:
    """All lanes of all members, from `start` to `stop`."""

    def __init__(self, lab):
        with psycopg.connect(lab.write_dsn(), autocommit=True, connect_timeout=10) as c:
            limit = threading.Timer(TABLE_WITHIN_S, cut, [c])
            limit.start()
            try:
                c.execute(f"DROP TABLE IF EXISTS {TABLE}")
                c.execute(f"CREATE TABLE {TABLE}(id bigint PRIMARY KEY, member text NOT NULL)")
            finally:
                limit.cancel()
        names = [(member, lane) for member in lab.names() for lane in LANES]
        self.lanes = [Lane(n, member, lane, lab.member_dsn(member, "admin")) for n, (member, lane) in enumerate(names)]
        self.ended = threading.Event()
        self.cutter = threading.Thread(target=self.cut_hanging, daemon=True)
        for thread in [*self.lanes, self.cutter]:
            thread.start()

    def cut_hanging(self):
        while not self.ended.wait(0.05):
            now = time.monotonic()
            for lane in self.lanes:
                since = lane.since
                if since is not None and now - since > lane.limit:
                    lane.cut()

    def stop(self):
        for lane in self.lanes:
            lane.stop.set()
        for lane in self.lanes:
            lane.join(1)
            if lane.is_alive():
                lane.cut()
        for lane in self.lanes:
            lane.join(3)
        self.ended.set()

    def acks(self):
        """(id, sent, acknowledged, timeline, member) of every acknowledged write, by time of acknowledgement."""
        return sorted(((*ack, lane.member) for lane in self.lanes for ack in list(lane.acks)), key=lambda a: a[2])

    def facts(self, leader_dsn):
        """What a leg's line says of the watch."""
        acks = self.acks()
        with psycopg.connect(leader_dsn, autocommit=True, connect_timeout=10) as c:
            have = {r[0] for r in c.execute(f"SELECT id FROM {TABLE}")}
        refused = collections.Counter()
        for lane in self.lanes:
            refused.update(lane.refused)
        lost = [a for a in acks if a[0] not in have]
        return dict(samples=sum(lane.samples for lane in self.lanes), acks=len(acks), periods=periods(acks),
                    violations=violations(acks, have)[:50], late_but_kept=late_but_kept(acks, have),
                    shared_windows=shared_windows(acks), lost=len(lost), lost_ids=[[a[0], a[4], a[3], a[2]] for a in lost[:50]],
                    refused=dict(refused.most_common(12)))


def periods(acks):
    """From when to when each (member, timeline) acknowledged: [member, timeline, first sent, last acknowledged, writes]."""
    found = {}
    for _, sent, acked, timeline, member in acks:
        p = found.setdefault((member, timeline), [member, timeline, sent, acked, 0])
        p[2], p[3], p[4] = min(p[2], sent), max(p[3], acked), p[4] + 1
    return sorted(found.values(), key=lambda p: p[2])


def first_acks_of_later(acks):
    """For each timeline, when any later one first acknowledged, and who."""
    firsts = {}
    for _, _, acked, timeline, member in acks:
        if timeline not in firsts or acked < firsts[timeline][0]:
            firsts[timeline] = (acked, member)
    return {t: min((f for u, f in firsts.items() if u > t), default=None) for t in firsts}


def violations(acks, have):
    """Each write that a member acknowledged though a later leadership had acknowledged already: one sent after that, or
    one that the final leader does not hold. And two members that share a timeline."""
    later, owner, found = first_acks_of_later(acks), {}, []
    for row, sent, acked, timeline, member in acks:
        if owner.setdefault(timeline, member) != member:
            found.append(f"timeline {timeline}: {owner[timeline]} and {member} both acknowledged on it ({acked:.3f})")
        first = later[timeline]
        if first and acked > first[0] and (sent > first[0] or row not in have):
            found.append(f"{member} (timeline {timeline}) acknowledged {row}, sent {sent:.3f}, at {acked:.3f}, after "
                         f"{first[1]} of a later timeline had at {first[0]:.3f}; {'held' if row in have else 'not held'}")
    return found


def late_but_kept(acks, have):
    """Writes sent before and acknowledged after a later leadership's first acknowledgement, and held by it: allowed."""
    later = first_acks_of_later(acks)
    return sum(1 for row, sent, acked, timeline, _ in acks
               if later[timeline] and sent <= later[timeline][0] < acked and row in have)


def shared_windows(acks):
    """Windows of 50 ms in which two members acknowledged."""
    seen = {}
    for _, _, acked, _, member in acks:
        seen.setdefault(int(acked / EVERY_S), set()).add(member)
    return sum(len(members) > 1 for members in seen.values())
