"""Deaths in random order, under load: any process of two nodes, whole nodes, PostgreSQL's processes and PostgreSQL."""
import os
import random
import signal

import pgtest
from cluster import FULL, SERVICES, Nodes, seed
from deadline import wait_until
from load import Load, mail_sink
from session import limit

DEATHS = 100 if FULL else 15
# Each death is drawn from here; the seed is in the output, so that a failure can be played again.
KINDS = ["smtpd", "qmgr", "smtp"] * 3 + ["master", "node", "backend", "backend", "postmaster", "immediate"]
PROGRESS = 5


def kill_backend(nodes, rng):
    """kill -9 of one of the nodes' backends: PostgreSQL ends all others and recovers from its log."""
    rows = nodes.sql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rowpost/%'")
    if rows:
        os.kill(int(rng.choice(rows)[0]), signal.SIGKILL)
    nodes.t.ledger.incident("kill of a backend")
    nodes.pg.wait_sql("SELECT 1")


def one_death(nodes, kind, rng):
    node = rng.choice(nodes)
    if kind in SERVICES:
        gone = nodes.kill(node, kind)
        nodes.back(node, kind, gone)
    elif kind == "master":
        nodes.kill_master(node)
        node.start()
    elif kind == "node":
        nodes.kill_node(node)
        node.start()
    elif kind == "backend":
        kill_backend(nodes, rng)
    else:
        if kind == "postmaster":
            nodes.pg.kill9()
        else:
            nodes.pg.stop("immediate")
        nodes.t.ledger.incident("end of PostgreSQL")
        nodes.pg.start()


def schedule(rng):
    """Every kind of death at least once, the rest at random."""
    some = sorted(set(KINDS))
    deaths = some + rng.choices(KINDS, k=DEATHS - len(some))
    rng.shuffle(deaths)
    return deaths


@limit(1200 if FULL else 150)
def test_random_deaths(t):
    """kill -9 of anything, again and again: nothing is lost."""
    number = seed()
    print("CLUSTER_SEED=%d" % number)
    rng = random.Random(number)
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink)
    load = Load(t.ledger, nodes, seed=number).start()
    for deaths, kind in enumerate(schedule(rng)):
        before = load.accepted
        wait_until("progress after %d deaths, the next is of %s" % (deaths, kind),
                   lambda: load.accepted >= before + PROGRESS or load.errors, 60)
        one_death(nodes, kind, rng)
    load.stop()
    nodes.drained()
    print("%d deaths; %s" % (DEATHS, load.summary()))
    nodes.account()
    assert pgtest.run_sql(nodes.uri, "SELECT count(*) FROM mailq.node WHERE state <> 'dead'") == [["2"]]
