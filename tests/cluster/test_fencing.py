"""A node that lost its lease starts no delivery and moves no message: its processes are stopped, or its database
connections stand still, beyond the lease; then they go on."""
import os
import signal
import time

from cluster import CALM_LEASE, SHORT_LEASE, Gate, Nodes, Stopped, send, stopped
from deadline import wait_until
from load import Load, mail_sink
from session import equal, limit

COUNT = 30
WINDOW = 2
# Few slots, so that most of what node 1 has claimed waits in its memory.
MAIN = dict(SHORT_LEASE, initial_destination_concurrency=str(WINDOW), default_destination_concurrency_limit=str(WINDOW))


def claimed_by_first(t, step="dot", reply="250 2.0.0 Ok", lease=None, **kw):
    """(nodes, gate, queue ids): node 1 runs and holds COUNT messages, WINDOW of them at the gate; node 2 is down."""
    sink = t.sink()
    gate = Gate(sink, step, reply)
    nodes = Nodes(t, 2, sink, start=False, main=dict(MAIN, **(lease or {})), **kw)
    nodes[0].start()
    ids = send(t, nodes[0], COUNT)
    wait_until("claims of node 1", lambda: nodes.leased("node1") == COUNT)
    gate.wait_for(WINDOW)
    return nodes, gate, ids


def taken_over(nodes, epoch, limit=20.0):
    """Start node 2, and wait until it has declared the epoch of node 1 dead."""
    nodes[1].start()
    wait_until("death of epoch " + epoch, lambda: nodes.epochs()[epoch][1] == "dead", limit)


def assert_fenced(t, nodes, old, log_mark, copies, ids):
    """Node 1 goes on now, and must have learned that it is fenced; nothing of the old epoch may happen."""
    one = nodes[0]
    assert nodes.living("node1") != old
    one.log.wait_for(r"another node has taken over the mail of epoch", since=log_mark)
    # It takes part again, under its new epoch.
    send(t, one, 10)
    nodes.drained()
    equal(len(nodes.sink.taken()) - 10, copies, "messages at the sink after the end of the stop")
    equal(one.log.find_all(r"(%s): to=.*status=" % "|".join(ids), log_mark), [], "delivery lines of the old epoch")
    equal(nodes.sql("SELECT count(*) FROM rowpost.queue"), [["0"]], "rows of the queue")


@limit(120)
def test_scheduler_stopped(t):
    """SIGSTOP of a scheduler beyond its lease: the other node delivers; continued, it starts and moves nothing."""
    nodes, gate, ids = claimed_by_first(t)
    old = nodes.living("node1")
    with Stopped(t, nodes[0].pids("qmgr"), "qmgr of node1"):
        taken_over(nodes, old)
        gate.opened.set()
        nodes.drained()
        wait_until("end of the deliveries of node 1",
                   lambda: len(nodes[0].log.find_all(r"/smtp\[.*status=sent")) == WINDOW)
        mark, copies = nodes[0].log.mark(), len(nodes.sink.taken())
        equal(copies, COUNT + WINDOW, "messages at the sink")
    assert_fenced(t, nodes, old, mark, copies, ids)
    # Facts: what the agent had sent before is in the history, beside what the other node did.
    doubled = nodes.account().doubled
    assert len(doubled) <= WINDOW, doubled


@limit(120)
def test_scheduler_stopped_in_transaction(t):
    """SIGSTOP of a scheduler that has locked a destination: the server ends its transaction, and the other node records
    its own outcomes for the same destination meanwhile."""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, start=False, main=SHORT_LEASE)
    one, two = nodes
    one.start()
    one.crash.arm("record-before-commit", "stop")
    Load(t.ledger, [one], threads=2, most=10, kinds=["deferred"]).start().join()
    began = time.time()
    asleep = wait_until("a stopped scheduler", lambda: stopped(one))
    two.start()
    Load(t.ledger, [two], threads=2, most=20, kinds=["deferred"]).start().join()
    nodes.drained(30)
    for pid in asleep:
        os.kill(pid, signal.SIGCONT)
    t.ledger.incident("stop of qmgr of node1", began, node="node1")
    nodes.living("node1")
    nodes.drained()
    nodes.account()


@limit(120)
def test_node_stopped_before_the_dot(t):
    """A whole node stands still between DATA and the final dot, beyond its lease: it never sends the dot."""
    nodes, gate, ids = claimed_by_first(t, "data", "354 go ahead")
    old = nodes.living("node1")
    with Stopped(t, list(nodes[0].processes()), "node1"):
        gate.opened.set()
        taken_over(nodes, old)
        nodes.drained()
        mark, copies = nodes[0].log.mark(), len(nodes.sink.taken())
        equal(copies, COUNT, "messages at the sink")
    assert_fenced(t, nodes, old, mark, copies, ids)
    equal(nodes.account().doubled, [], "second copies")


@limit(120)
def test_scheduler_stopped_before_the_dot(t):
    """SIGSTOP of a scheduler alone: its agents know until when the lease holds, and send no final dot after it."""
    nodes, gate, ids = claimed_by_first(t, "data", "354 go ahead")
    old = nodes.living("node1")
    with Stopped(t, nodes[0].pids("qmgr"), "qmgr of node1"):
        taken_over(nodes, old)
        gate.opened.set()
        nodes.drained()
        mark, copies = nodes[0].log.mark(), len(nodes.sink.taken())
        equal(copies, COUNT, "messages at the sink")
    assert_fenced(t, nodes, old, mark, copies, ids)
    equal(nodes.account().doubled, [], "second copies")


@limit(120)
def test_agent_stopped(t):
    """SIGSTOP of a delivery agent for longer than a lease: its scheduler keeps the lease, nobody takes over, nothing
    is sent twice."""
    nodes, gate, _ = claimed_by_first(t, lease=CALM_LEASE)
    old = nodes.living("node1")
    with Stopped(t, nodes[0].pids("smtp"), "smtp of node1"):
        nodes[1].start()
        nodes.living("node2")
        beat = int(nodes.sql("SELECT beat FROM mailq.node WHERE epoch = " + old)[0][0])
        # Longer than a lease, by node 1's own heartbeats of a second.
        wait_until("heartbeats of node 1", lambda: int(nodes.sql(
            "SELECT beat FROM mailq.node WHERE epoch = " + old)[0][0]) > beat + 12, 40)
        equal(nodes.epochs()[old][1], "up", "node 1")
    gate.opened.set()
    nodes.drained()
    equal(nodes.account().doubled, [], "second copies")
    equal(nodes.living("node1"), old, "epoch of node 1")


@limit(120)
def test_scheduler_cut_off(t):
    """A node whose database connections stand still beyond the lease hands out nothing more; what it had sent is
    recorded as a fact when they move again."""
    nodes, gate, ids = claimed_by_first(t, proxied=True)
    one = nodes[0]
    old = nodes.living("node1")
    began = time.time()
    one.proxy.freeze()
    taken_over(nodes, old)
    gate.opened.set()
    nodes.drained()
    wait_until("end of the deliveries of node 1", lambda: len(one.log.find_all(r"/smtp\[.*status=sent")) == WINDOW)
    mark, copies = one.log.mark(), len(nodes.sink.taken())
    equal(copies, COUNT + WINDOW, "messages at the sink")
    one.proxy.thaw()
    t.ledger.incident("node1 cut off", began, node="node1")
    assert_fenced(t, nodes, old, mark, copies, ids)
    doubled = nodes.account().doubled
    assert len(doubled) <= WINDOW, doubled
