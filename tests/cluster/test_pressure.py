"""More mail than there is room for: the disk of PostgreSQL full, the quota of the queue reached, commits slow. Clients are told 4xx before
DATA, what was accepted is delivered, everything goes on by itself when the trouble is over, and no process grows."""
import contextlib
import os
import re

import netns
import pgtest
from cluster import Gate, Nodes, RssWatch, full
from deadline import wait_until
from load import Load, mail_sink
from session import equal, limit

# Bytes that a process may grow by; printed beside what it did.
GROWTH = 64 << 20
SERVICES = ("smtpd", "qmgr", "smtp")
BIGGEST = """SELECT relname, pg_total_relation_size(oid), (SELECT count(*) FROM rowpost.queue) FROM pg_class WHERE relkind = 'r'
    ORDER BY 2 DESC LIMIT 5"""


def start(t, pg=None, **main):
    sink = mail_sink()
    t.at_end(sink.close)
    return Nodes(t, 1, sink, pg=pg, proxied=True, main=dict(main))


class Figures:
    """The growth of the node's processes, from the first mail on."""

    def __init__(self, nodes):
        self.of = {pid: s for s in SERVICES for pid in nodes[0].wait_pids(s, 30)}
        self.watch = RssWatch(self.of)

    def show(self, load):
        growth = self.watch.stop()
        print("growth: %s" % ", ".join("%s %.1f MB" % (self.of[p], b / (1 << 20)) for p, b in sorted(growth.items())))
        print("%s; refused before DATA: %d, after: %d" % (load.summary(), load.before_data, load.after_data))
        assert max(growth.values()) < GROWTH, growth


def warm(t, nodes):
    """Load, once some mail has gone all the way; and the figures from now on."""
    load = Load(t.ledger, nodes, threads=8, patience=150).start()
    progress(load, 30)
    return load, Figures(nodes)


def progress(load, count=20):
    before = load.accepted
    wait_until(lambda: "progress; put off: %s" % load.put_off, lambda: load.accepted >= before + count or load.errors, 120)


def refusals(load, count=10):
    before = load.before_data
    wait_until(lambda: "refusals before DATA; put off: %s" % load.put_off,
               lambda: load.before_data >= before + count or load.errors, 90)


def finish(nodes, load, figures):
    load.stop()
    nodes.drained(120)
    nodes.account()
    figures.show(load)


def fill(path, leave):
    """Fill the file system of `path` with a file, up to `leave` bytes."""
    disk = os.statvfs(os.path.dirname(path))
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as f:     # the server writes too
        left = disk.f_bavail * disk.f_frsize - leave
        while left > 0:
            left -= f.write(b"x" * min(left, 1 << 20))


@full
@limit(300)
def test_disk_full(t):
    """PostgreSQL has no room on its disk: 452 before DATA, until there is room again. If PostgreSQL itself gives up, it is started
    anew (as its own service would be); the node is not."""
    base = os.path.join(t.dir, "pgdisk")
    os.mkdir(base)
    netns.small_disk(base, 700 << 20)
    pg = pgtest.Cluster(base=base, settings={"max_wal_size": "'64MB'", "min_wal_size": "'32MB'", "wal_keep_size": "0",
                                             "checkpoint_timeout": "'30s'"})
    t.at_end(pg.destroy)
    pg.init()
    pg.start()
    nodes = start(t, pg)
    load, figures = warm(t, nodes)
    ballast = os.path.join(base, "ballast")
    # Its log must have room, or it ends: then this is what test_database.py is about.
    fill(ballast, 8 << 20)
    t.ledger.incident("full disk")
    refusals(load)
    put_off = list(load.put_off)
    os.unlink(ballast)
    if not pg.running():
        pg.start()
    pg.wait_sql("SELECT 1")
    progress(load, 50)
    t.ledger.incident("end of full disk")
    print("put off, for example: %s" % put_off[-1])
    finish(nodes, load, figures)


@limit(300)
def test_quota(t):
    """database_size_limit: 452 at MAIL while the database is larger, whatever waits in it; mail is taken again when it has gone."""
    # Tables that are no part of the ring shrink when they are vacuumed.
    nodes = start(t, t.cluster(settings={"autovacuum_naptime": "'2s'"}), database_size_limit=str(1 << 40))
    node = nodes[0]
    size = int(nodes.sql("SELECT pg_database_size(current_database())")[0][0])
    gate = Gate(nodes.sink, "dot", "250 2.0.0 Ok: taken at last")
    node.write_config(database_size_limit=str(size + (30 << 20)))
    node.stop()
    node.start()
    load = Load(t.ledger, nodes, threads=8, kinds=["large", "small"], patience=250).start()
    figures = Figures(nodes)
    wait_until(lambda: "a full queue; put off: %s" % load.put_off, lambda: load.before_data >= 10 or load.errors, 120)
    node.log.wait_for(r"database_size_limit is \d+: new mail is refused", 30)
    equal([p for p in load.put_off if "452 4.3.1" not in p], [], "other refusals")
    nodes.sink.forget_rules()
    gate.opened.set()
    wait_until(lambda: "room in the queue; %s" % nodes.sql(BIGGEST),
               lambda: node.log.find(r"database_size_limit is \d+: new mail is taken again"), 120)
    progress(load)
    equal(load.after_data, 0, "refused after DATA")
    finish(nodes, load, figures)


@limit(300)
def test_slow_commits(t):
    """Commits take longer than queue_database_latency_limit: 452 at MAIL; taken again when they are fast."""
    nodes = start(t, queue_database_latency_limit="2s")
    load, figures = warm(t, nodes)
    nodes[0].proxy.delay = 1.5
    refusals(load)
    equal([p for p in load.put_off if not re.search(r"45[12] 4\.3\.[01]", p)], [], "other refusals")
    nodes[0].proxy.delay = 0
    progress(load, 50)
    finish(nodes, load, figures)
