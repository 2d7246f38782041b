"""The death of a whole node: its mail moves again, from the other one, within 15 seconds."""
import time

import pgtest
from cluster import Gate, Nodes, Stopped, send
from deadline import wait_until
from session import equal, limit

LIMIT = 15.0
COUNT = 30
WINDOW = 2


def node_with_mail(t):
    """(nodes, gate): both run; node 1 holds COUNT messages that it cannot get rid of."""
    sink = t.sink()
    gate = Gate(sink, "dot", "250 2.0.0 Ok")
    # The lease is the default one.
    nodes = Nodes(t, 2, sink, start=False, main={"initial_destination_concurrency": str(WINDOW),
                                                 "default_destination_concurrency_limit": str(WINDOW)})
    nodes[0].start()
    send(t, nodes[0], COUNT)
    wait_until("claims of node 1", lambda: nodes.leased("node1") == COUNT)
    gate.wait_for(WINDOW)
    nodes[1].start()
    epoch = nodes.living("node2")
    # It must have looked at its neighbour at least once.
    wait_until("a heartbeat of node 2",
               lambda: nodes.sql("SELECT 1 FROM mailq.node WHERE beat > 1 AND epoch = " + epoch))
    return nodes, gate


def moves_from_second(nodes, gate, began):
    """Node 2 delivers what node 1 had claimed; the seconds until the first of it was under way."""
    before = gate.waiting
    wait_until("deliveries by node 2", lambda: gate.waiting > before, LIMIT + 5)
    first = time.monotonic() - began
    gate.opened.set()
    nodes.drained()
    print("moving again after %.1f s, all delivered after %.1f s" % (first, time.monotonic() - began))
    assert first <= LIMIT, "moving again after %.1f s" % first
    return first


@limit(120)
def test_node_dies(t):
    """kill -9 of everything that a node runs: its sessions are gone, which shortens the wait."""
    nodes, gate = node_with_mail(t)
    began = time.monotonic()
    nodes.kill_node(nodes[0])
    first = moves_from_second(nodes, gate, began)
    assert first < 10, "longer than a lease although the sessions are gone: %.1f s" % first
    doubled = nodes.account().doubled
    assert len(doubled) <= WINDOW, doubled
    equal(len({m.header("X-Ledger") for m in nodes.sink.taken()}), COUNT, "messages")


@limit(120)
def test_node_falls_silent(t):
    """A node stands still but its connections stay open (a frozen host): its heartbeat is missed."""
    nodes, gate = node_with_mail(t)
    began = time.monotonic()
    with Stopped(t, list(nodes[0].processes()), "node1"):
        moves_from_second(nodes, gate, began)
    nodes.living("node1")
    nodes.drained()
    doubled = nodes.account().doubled
    assert len(doubled) <= WINDOW, doubled


@limit(90)
def test_takeover_of_what_is_locked(t):
    """A lease that somebody has locked while its node is declared dead is taken over as soon as it is free."""
    nodes, gate = node_with_mail(t)
    old = nodes.living("node1")
    with pgtest.held(nodes.uri, "SELECT FROM mailq.active WHERE owner = %s FOR UPDATE" % old):
        nodes.kill_node(nodes[0])
        nodes[1].log.wait_for(r"dead node\(s\): taking over", 20)
        gate.opened.set()
        wait_until("all but the locked", lambda: nodes.waiting() == {"active": nodes.leased("node1")}, 60)
        assert nodes.leased("node1") > 0
    nodes.drained()
    nodes.account()


@limit(90)
def test_second_node_needs_no_first(t):
    """Mail accepted by one node is delivered by another while the first one has no scheduler at all."""
    sink = t.sink()
    nodes = Nodes(t, 2, sink, start=False)
    with open(nodes[0].conf + "/master.cf") as f:
        lines = [ln for ln in f if not ln.startswith("qmgr")]
    with open(nodes[0].conf + "/master.cf", "w") as f:
        f.writelines(lines)
    nodes[0].start()
    send(t, nodes[0], COUNT)
    equal(nodes.waiting(), {"incoming": COUNT}, "queue")
    nodes[1].start()
    nodes.drained()
    nodes.account()
