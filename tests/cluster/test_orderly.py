"""What is done on purpose costs nothing: nodes that are stopped, started, drained and reloaded under load lose nothing and
send nothing twice."""
from cluster import FULL, CALM_LEASE, Nodes
from deadline import wait_until
from load import Load, mail_sink
from session import equal, limit


def loaded(t, **kw):
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=CALM_LEASE, **kw)
    return nodes, Load(t.ledger, nodes).start()


def finish(nodes, load):
    load.stop()
    nodes.drained()
    print(load.summary())
    equal(nodes.account().doubled, [], "second copies")


@limit(300 if FULL else 120)
def test_rolling_restart(t):
    """One node after the other is stopped and started again: the rolling upgrade."""
    nodes, load = loaded(t)
    for _ in range(4 if FULL else 1):
        for node in nodes:
            load.progress(30)
            epoch = nodes.living(node.name)
            node.stop()
            equal(nodes.epochs()[epoch][1], "dead", "the epoch of a node that said goodbye")
            load.progress(30)
            node.start()
            nodes.living(node.name)
    finish(nodes, load)


@limit(120)
def test_reload(t):
    """Reloads drop no session and no delivery: the clients see no refusal at all."""
    nodes, load = loaded(t)
    for n in range(10 if FULL else 4):
        load.progress(20)
        node = nodes[n % 2]
        node.write_config(smtpd_banner="$myhostname ESMTP turn %d" % n)
        node.reload()
    refused = load.tempfails
    finish(nodes, load)
    equal(refused, 0, "refusals")


@limit(120)
def test_drain(t):
    """A node that is to be drained takes nothing new and finishes what it has; taken back, it takes part again."""
    nodes, load = loaded(t)
    one = nodes[0]
    load.progress(30)
    nodes.sql("SELECT rowpost.drain('node1')")
    wait_until("node1 drained", lambda: nodes.sql("SELECT state FROM rowpost.node WHERE name = 'node1'") == [["draining"]])
    wait_until("end of its deliveries", lambda: nodes.leased("node1") == 0, 30)
    mark = one.log.mark()
    load.progress(30)
    equal(nodes.leased("node1"), 0, "claims of a draining node")
    equal(one.log.find_all(r"\(queue active\)", mark), [], "claims in its log")
    nodes.sql("SELECT rowpost.drain('node1', false)")
    one.log.wait_for(r"\(queue active\)", 30, since=mark)
    finish(nodes, load)
