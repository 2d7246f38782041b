"""The network between a node and PostgreSQL: cut for a short and for a long time, half-open connections, a slow link."""
import threading
import time

import pgtest
from cluster import BEYOND_LEASE, CALM_LEASE, SHORT_LEASE, Nodes, send
from deadline import STRETCH, wait_until
from load import Load, mail_sink
from session import equal, limit

# The server, too, must notice that a client is gone without a word.
KEEPALIVE = {"tcp_keepalives_idle": 2, "tcp_keepalives_interval": 1, "tcp_keepalives_count": 2, "tcp_user_timeout": 4000}


def two_nodes(t, lease=None, **kw):
    sink = mail_sink()
    t.at_end(sink.close)
    return Nodes(t, 2, sink, main=dict(lease or CALM_LEASE, queue_database_commit_timeout="5s"), **kw)


def passes(seconds):
    """What is tested is that time goes by."""
    assert not threading.Event().wait(seconds)


@limit(150)
def test_node_cut_off(t):
    """The link of one node is down for longer than a lease, without a word to any connection: it takes no mail and starts
    no delivery; the other one does its work. When the link is back so is the node, under a new epoch."""
    nodes = two_nodes(t, SHORT_LEASE, cabled=True)
    nodes.pg.configure(**KEEPALIVE)
    nodes.pg.restart()
    one = nodes[0]
    load = Load(t.ledger, nodes, patience=120).start()
    load.progress()
    old = nodes.living("node1")
    began = time.time()
    one.cable.pull()
    wait_until("death of epoch " + old, lambda: nodes.epochs()[old][1] == "dead", 40)
    mark = one.log.mark()
    load.progress()
    equal(one.log.find_all(r"qmgr\[\d+\]: \S+: from=.*queue active", mark), [], "mail that node 1 has claimed meanwhile")
    one.cable.plug()
    t.ledger.incident("cut of node1", began, node="node1")
    wait_until("a new epoch of node 1", lambda: nodes.living("node1") != old, 60)
    load.progress()
    load.stop()
    nodes.drained()
    print(load.summary())
    nodes.account()


@limit(150)
def test_cut_off_with_mail_in_hand(t):
    """A node is cut off with much mail that it has claimed: it soon begins no delivery that it could not record, long before
    its lease is over. Second copies are what was in flight at the cut, and what was begun in a tenth of the lease."""
    count, window, reply, lease = 120, 5, 0.2, 6.0
    sink = t.sink()
    claimed = threading.Event()

    def slowly(*_):
        claimed.wait(60 * STRETCH)
        sink.closing.wait(reply)
        return "250 2.0.0 Ok"
    sink.on("dot", slowly)
    nodes = Nodes(t, 2, sink, start=False, cabled=True, main=dict(
        SHORT_LEASE, node_lease_time="%gs" % lease, default_destination_concurrency_limit=str(window),
        initial_destination_concurrency=str(window)))
    nodes[0].start()
    send(t, nodes[0], count)
    wait_until("claims of node 1", lambda: nodes.leased("node1") == count)
    nodes[1].start()
    nodes.living("node2")
    old = nodes.living("node1")
    claimed.set()
    wait_until("progress", lambda: len(sink.taken()) >= window, 60)
    began = time.time()
    nodes[0].cable.pull()
    wait_until("death of epoch " + old, lambda: nodes.epochs()[old][1] == "dead", 60)
    t.ledger.incident("cut of node1", began, node="node1")
    nodes.drained()
    nodes[0].cable.plug()
    wait_until("a new epoch of node 1", lambda: nodes.living("node1") != old, 60)
    # A slot is busy for `reply` at least; one delivery each at the cut, and one each that the first outcome finds begun.
    most = window * (round(lease / 10 / reply) + 3)
    doubled = len(t.ledger.audit(nodes.uri, [sink]).doubled)
    print("%d second copies of %d messages, %d at most" % (doubled, count, most))
    assert doubled <= most, "%d second copies" % doubled
    nodes.account()


@limit(120)
def test_short_cut(t):
    """Shorter than a lease: TCP repairs it. Nobody dies; only a commit in doubt excuses a second copy."""
    nodes = two_nodes(t, cabled=True)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    load = Load(t.ledger, nodes).start()
    for _ in range(3):
        load.progress()
        for node in nodes:
            node.cable.pull()
        passes(1)
        for node in nodes:
            node.cable.plug()
    load.progress()
    load.ends_as_begun(nodes, epochs)


@limit(150)
def test_cut_for_all(t):
    """No node reaches PostgreSQL for longer than a lease: 451 to everybody; then all goes on, and nobody was declared dead."""
    nodes = two_nodes(t, cabled=True)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    load = Load(t.ledger, nodes, patience=120).start()
    load.progress()
    for node in nodes:
        node.cable.pull()
    put_off = load.tempfails
    wait_until("temporary refusals", lambda: load.tempfails > put_off + 5, 60)
    passes(BEYOND_LEASE)
    for node in nodes:
        node.cable.plug()
    load.progress()
    load.ends_as_begun(nodes, epochs)


@limit(150)
def test_slow_link(t):
    """20 ms each way to PostgreSQL: mail flows, in larger batches; nobody is late with his heartbeat."""
    nodes = two_nodes(t, proxied=True)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    for node in nodes:
        node.proxy.delay = 0.02
    load = Load(t.ledger, nodes, threads=8).start()
    load.progress(200)
    load.ends_as_begun(nodes, epochs, 90)
    equal(pgtest.run_sql(nodes.uri, "SELECT count(*) FROM mailq.node WHERE state = 'dead'"), [["0"]], "dead nodes")


@limit(180)
def test_narrow_link(t):
    """The kernel lets 8 Mbit a second through between the nodes and PostgreSQL (and 20 ms each way, where it has netem): mail waits
    for its turn, heartbeats are not starved by contents, nobody is dead."""
    nodes = two_nodes(t, cabled=True)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    print("; ".join("%s: %s" % (n.name, n.cable.slow()) for n in nodes))
    load = Load(t.ledger, nodes, threads=6).start()
    load.progress(200)
    load.ends_as_begun(nodes, epochs, 90)


@limit(180)
def test_half_open(t):
    """PostgreSQL is ended and started while no node can hear it: the nodes' connections are half open when packets pass again. They
    learn it with the next thing they say; nobody was dead, and the mail goes on."""
    nodes = two_nodes(t, cabled=True)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    load = Load(t.ledger, nodes, patience=120).start()
    for _ in range(2):
        load.progress()
        for node in nodes:
            node.cable.pull()
        nodes.pg.restart("immediate")
        for node in nodes:
            node.cable.plug()
    load.progress()
    load.ends_as_begun(nodes, epochs)
