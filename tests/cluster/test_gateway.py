"""Three nodes behind HAProxy, as an operator runs them: random processes die all the time; nodes are replaced one by one."""
import os
import random
import signal
import threading

from cluster import FULL, Nodes, seed
from deadline import wait_until
from haproxy import HaProxy
from load import Load, mail_sink
from session import equal, limit

DEATHS = 200 if FULL else 20
PAUSE = (0.1, 0.6)      # seconds between two deaths
# Whose end can cut a delivery to the sink short. Nobody else's excuses a second copy.
DELIVER = ("qmgr", "smtp", "relay", "master")
SLOTS = 20              # deliveries of a node that can be in flight: default_destination_concurrency_limit, one sink


def gateway(t):
    """(nodes, front)"""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 3, sink)
    front = HaProxy(t.dir, nodes)
    t.at_end(front.close)
    return nodes, front


def victim_of(node, rng):
    """(pid, service): any process of the node. A listener is named by its address in master.cf."""
    found = sorted(node.processes().items())
    pid, service = rng.choice(found) if found else (None, "")
    return pid, "smtpd" if ":" in service else service


def one_death(nodes, rng):
    """kill -9 of a random process of a random node. A node whose master died is started again once its services have
    ended; what it held meanwhile is its own affair or, after a lease, its neighbours'."""
    node = rng.choice(nodes)
    pid, service = victim_of(node, rng)
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    if service in DELIVER:
        nodes.t.ledger.incident("kill of %s of %s" % (service, node.name), node=node.name)
    if service == "master":
        wait_until(lambda: "end of %s" % node.processes(), lambda: not node.processes(), 30)
        node.start()
    return service


@limit(900 if FULL else 150)
def test_random_process_every_few_hundred_ms(t):
    """kill -9 of any process of any node: nothing is lost; second copies are of what was in flight at a death."""
    number = seed()
    print("CLUSTER_SEED=%d" % number)
    rng = random.Random(number)
    nodes, front = gateway(t)
    load = Load(t.ledger, [front], threads=6, seed=number, patience=120).start()
    pause = threading.Event()
    killed = {}
    while sum(killed.values()) < DEATHS:
        service = one_death(nodes, rng)
        if service:
            killed[service] = killed.get(service, 0) + 1
        pause.wait(rng.uniform(*PAUSE))
        assert not load.errors, load.errors[:3]
    before = load.accepted
    wait_until("mail accepted after the last death", lambda: load.accepted > before, 60)
    load.stop()
    nodes.drained(90)
    print("%s; %s" % (", ".join("%d %s" % (n, s) for s, n in sorted(killed.items())), load.summary()))
    account = nodes.account()
    doubled = {ledger_id for ledger_id, _, _, cause in account.doubled if cause != "in doubt"}
    deaths = sum(n for s, n in killed.items() if s in DELIVER)
    print("%d messages came twice by %d deaths of those who deliver" % (len(doubled), deaths))
    assert len(doubled) <= SLOTS * deaths, "more second copies than deliveries in flight"


@limit(180)
def test_nodes_replaced_one_by_one(t):
    """`rowpost drain` and a new start, node after node: no client is refused, nothing comes twice."""
    nodes, front = gateway(t)
    load = Load(t.ledger, [front], threads=6).start()
    for node in nodes:
        before = load.accepted
        wait_until("progress before the drain of " + node.name, lambda: load.accepted >= before + 20, 60)
        node.must_run("rowpost", "drain", limit=90)
        wait_until(lambda: "end of %s" % node.processes(), lambda: not node.processes(), 60)
        wait_until("no leases of " + node.name, lambda: nodes.leased(node.name) == 0, 5)
        node.start()
        wait_until(node.name + " behind HAProxy", lambda: front.up().get(node.name), 30)
    load.stop()
    nodes.drained()
    print(load.summary())
    equal((load.tempfails, load.put_off), (0, []), "messages put off")
    equal(nodes.account().doubled, [], "second copies")
