"""The death of a whole node: its mail moves again, from the other one, within 15 seconds."""
import statistics
import time

import pgtest
from cluster import FULL, Gate, Nodes, Stopped, send
from deadline import wait_until
from session import equal, limit

LIMIT = 15.0
HEARTBEAT = 2.0     # seconds, by default
COUNT = 30
WINDOW = 2
RUNS = 20 if FULL else 1


def two_nodes(t, **main):
    """(nodes, gate): neither runs. The lease is the default one."""
    sink = t.sink()
    gate = Gate(sink, "dot", "250 2.0.0 Ok")
    main = dict(main, initial_destination_concurrency=str(WINDOW), default_destination_concurrency_limit=str(WINDOW))
    return Nodes(t, 2, sink, start=False, main=main), gate


def holds_mail(nodes, gate, holder, other):
    """`holder`, which runs alone, gets COUNT messages that it cannot get rid of; then the other one is started."""
    gate.close()
    send(nodes.t, holder, COUNT)
    wait_until("claims of " + holder.name, lambda: nodes.leased(holder.name) == COUNT, 60)
    gate.wait_for(WINDOW)
    other.start()
    epoch = nodes.living(other.name)
    # It must have looked at its neighbour at least once.
    wait_until("a heartbeat of " + other.name,
               lambda: nodes.sql("SELECT 1 FROM mailq.node WHERE beat > 1 AND epoch = " + epoch), 60)


def node_with_mail(t, **main):
    nodes, gate = two_nodes(t, **main)
    nodes[0].start()
    holds_mail(nodes, gate, *nodes)
    return nodes, gate


class Handover:
    """From the end of one node to the other one's deliveries. The time is that of the other node, by its own heartbeats: on a busy machine
    it beats late, and a second of the clock says nothing."""

    def __init__(self, nodes, gate, one, other):
        self.nodes, self.gate, self.began = nodes, gate, time.monotonic()
        self.waiting = gate.waiting
        self.query = "SELECT (SELECT state FROM mailq.node WHERE epoch = %s), (SELECT beat FROM mailq.node WHERE epoch = %s)" % (
            nodes.living(one.name), nodes.living(other.name))
        self.beat = int(nodes.sql(self.query)[0][1])

    def dead(self):
        state, beat = self.nodes.sql(self.query)[0]
        return int(beat) - self.beat if state == "dead" else None

    def happens(self):
        """The other node delivers what one had claimed; the seconds until the first of it was under way."""
        beats = wait_until("death of the node", lambda: self.dead() is not None and [self.dead()], LIMIT + 30)[0]
        wait_until("deliveries by the other node", lambda: self.gate.waiting > self.waiting, 60)
        first = time.monotonic() - self.began
        self.gate.opened.set()
        self.nodes.drained()
        print("dead after %d heartbeats, moving again after %.1f s, all delivered after %.1f s" % (
            beats, first, time.monotonic() - self.began))
        # Some come between two looks of ours.
        assert beats <= LIMIT / HEARTBEAT + 3, "dead after %d heartbeats" % beats
        return first


@limit(1200 if FULL else 150)
def test_node_dies(t):
    """kill -9 of everything that a node runs, of each of the two in turn."""
    nodes, gate = two_nodes(t)
    holder, other = nodes
    holder.start()
    seconds = []
    for _ in range(RUNS):
        holds_mail(nodes, gate, holder, other)
        handover = Handover(nodes, gate, holder, other)
        nodes.kill_node(holder)
        seconds.append(handover.happens())
        holder, other = other, holder
    # So few that the 99th percentile is the longest.
    print("%d deaths, moving again after %.1f s (p50), %.1f s (p99)" % (RUNS, statistics.median(seconds), max(seconds)))
    doubled = nodes.account().doubled
    assert len(doubled) <= WINDOW * RUNS, doubled
    equal(len({m.header("X-Ledger") for m in nodes.sink.taken()}), COUNT * RUNS, "messages")


@limit(120)
def test_node_falls_silent(t):
    """A node stands still but its connections stay open (a frozen host): its heartbeat is missed."""
    nodes, gate = node_with_mail(t)
    handover = Handover(nodes, gate, *nodes)
    with Stopped(t, list(nodes[0].processes()), "node1"):
        handover.happens()
    nodes.living("node1")
    nodes.drained()
    doubled = nodes.account().doubled
    assert len(doubled) <= WINDOW, doubled


def locked_meanwhile(t, table, **main):
    """Somebody has locked all that node 1 owns in the table while the node is declared dead; then it is free."""
    nodes, gate = node_with_mail(t, **main)
    old = nodes.living("node1")
    owned = "SELECT count(*) FROM mailq.%s WHERE owner = %s" % (table, old)
    other = "SELECT count(*) FROM mailq.%s WHERE owner = %s" % ("active" if table == "deferred" else "deferred", old)
    wait_until("all of it in " + table, lambda: nodes.sql(owned) != [["0"]] and nodes.sql(other) == [["0"]], 60)
    with pgtest.held(nodes.uri, "SELECT FROM mailq.%s WHERE owner = %s FOR UPDATE" % (table, old)):
        nodes.kill_node(nodes[0])
        nodes[1].log.wait_for(r"dead node\(s\): taking over", 60)
        gate.opened.set()
        # It has tried, and looks again.
        beat = int(nodes.sql("SELECT beat FROM mailq.node WHERE epoch = " + nodes.living("node2"))[0][0])
        wait_until("another heartbeat", lambda: nodes.sql("SELECT 1 FROM mailq.node WHERE beat > %d + 1" % beat), 60)
        equal(nodes.leased("node1"), COUNT, "leases of node 1")
        equal([m for m in nodes.sink.taken() if m.node == "node2"], [], "deliveries of node 2")
    nodes.drained()
    nodes.account()


@limit(240)
def test_takeover_of_new_mail_that_is_locked(t):
    """A lease that somebody has locked while its node is declared dead is taken over as soon as it is free."""
    locked_meanwhile(t, "active", ring_rotate_time="1h")


@limit(240)
def test_takeover_of_retries_that_are_locked(t):
    """The same for mail that was moved out of the ring."""
    locked_meanwhile(t, "deferred", ring_rotate_time="1s")


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
