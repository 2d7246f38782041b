"""A scheduler dies while agents wait for the reply to the final dot: the next scheduler of the node holds these recipients back
until their agents have told what became of them. Nobody gets a second copy, nothing is lost."""
from cluster import FULL, CALM_LEASE, Gate, Nodes, send
from deadline import wait_until
from load import Load, mail_sink
from session import equal, limit

COUNT = 12
WINDOW = 3
MAIN = dict(CALM_LEASE, initial_destination_concurrency=str(WINDOW), default_destination_concurrency_limit=str(WINDOW),
            smtp_destination_recipient_limit="1")


def killed_at_the_gate(t, nodes, gate):
    """Kill the scheduler of node 1 and wait until its next one has taken over all that is still to be done."""
    one = nodes[0]
    gate.wait_for(WINDOW)
    old = nodes.living("node1")
    due = sum(nodes.waiting().values())
    gone = nodes.kill(one, "qmgr")
    nodes.back(one, "qmgr", gone)
    wait_until("death of epoch " + old, lambda: nodes.epochs()[old][1] == "dead", 30)
    wait_until(lambda: "takeover by node1 of %d: %s" % (due, nodes.stuck()),
               lambda: nodes.leased("node1") == due and nodes.sql(
                   "SELECT leases + retries FROM rowpost.node WHERE epoch = " + old) in ([["0"]], []), 30)


def no_second_copy(nodes, gate, count):
    # The window of the new scheduler is open for others meanwhile.
    gate.wait_for(2 * WINDOW)
    gate.opened.set()
    nodes.drained()
    equal(len(nodes.sink.taken()), count, "messages at the sink")
    equal(nodes.account().doubled, [], "second copies")


@limit(120)
def test_new_mail(t):
    """New mail, and a second node that could take it over as well."""
    sink = t.sink()
    gate = Gate(sink, "dot", "250 2.0.0 Ok")
    nodes = Nodes(t, 2, sink, start=False, main=MAIN)
    nodes[0].start()
    send(t, nodes[0], COUNT)
    wait_until("claims of node 1", lambda: nodes.leased("node1") == COUNT)
    nodes[1].start()
    nodes.living("node2")
    killed_at_the_gate(t, nodes, gate)
    no_second_copy(nodes, gate, COUNT)


def deferred_at_the_gate(t):
    """(nodes, gate): node 1 delivers mail that was deferred before; node 2 could take it over as well."""
    sink = t.sink()
    sink.on("rcpt", "450 4.2.0 later")
    nodes = Nodes(t, 2, sink, start=False, main=MAIN)
    nodes[0].start()
    send(t, nodes[0], COUNT)
    wait_until("deferred mail", lambda: nodes.sql(
        "SELECT count(*) FROM mailq.deferred WHERE attempts > 0") == [[str(COUNT)]], 30)
    sink.forget_rules()
    gate = Gate(sink, "dot", "250 2.0.0 Ok")
    wait_until("claims of node 1", lambda: nodes.leased("node1") == COUNT)
    nodes[1].start()
    nodes.living("node2")
    return nodes, gate


@limit(120)
def test_deferred_mail(t):
    """Mail that was deferred before, whose rows the dead scheduler owns."""
    nodes, gate = deferred_at_the_gate(t)
    killed_at_the_gate(t, nodes, gate)
    no_second_copy(nodes, gate, COUNT)


@limit(120)
def test_deferred_mail_told_before_the_takeover(t):
    """The same, but the agents have their replies before the next scheduler of the node has taken anything over."""
    nodes, gate = deferred_at_the_gate(t)
    gate.wait_for(WINDOW)
    nodes.kill(nodes[0], "qmgr")
    gate.opened.set()
    nodes.drained()
    equal(len(nodes.sink.taken()), COUNT, "messages at the sink")
    equal(nodes.account().doubled, [], "second copies")


@limit(120)
def test_refused_after_all(t):
    """The reply to the final dot is no: the sender is told once, the mail is not tried again."""
    sink = t.sink()
    gate = Gate(sink, "dot", "550 5.7.1 no")
    nodes = Nodes(t, 1, sink, main=MAIN)
    send(t, nodes[0], WINDOW)
    killed_at_the_gate(t, nodes, gate)
    sink.forget_rules()
    gate.opened.set()
    nodes.drained()
    equal(nodes.sql("SELECT outcome, count(*) FROM rowpost.history WHERE sender <> '' GROUP BY 1"),
          [["bounced", str(WINDOW)]], "outcomes")
    nodes.account()


@limit(120)
def test_agent_dies_too(t):
    """The agent that could have told dies as well: the mail is tried again, which may be a second copy."""
    sink = t.sink()
    gate = Gate(sink, "dot", "250 2.0.0 Ok")
    nodes = Nodes(t, 1, sink, main=MAIN)
    send(t, nodes[0], WINDOW)
    killed_at_the_gate(t, nodes, gate)
    nodes.kill(nodes[0], "smtp")
    gate.opened.set()
    nodes.drained()
    nodes.account()


@limit(120)
def test_reported_and_not_recorded(t):
    """The scheduler dies with reports in its hands that it had no time to record: the agents still have them."""
    sink = t.sink()
    nodes = Nodes(t, 2, sink, start=False, main=MAIN)
    one = nodes[0]
    one.start()
    for point in ("record-before", "record-plain-before-commit", "record-plain-after-commit"):
        before = len(sink.taken())
        one.crash.arm(point)
        send(t, one, COUNT)
        wait_until("visit of " + point, lambda p=point: p not in one.crash.armed(), 30)
        t.ledger.incident("crash point " + point)
        nodes.drained()
        equal(len(sink.taken()) - before, COUNT, "messages at the sink")
    equal(nodes.account().doubled, [], "second copies")


KILLS = 40 if FULL else 3


@limit(600 if FULL else 150)
def test_killed_under_load(t):
    """Schedulers die with outcomes that are reported and not recorded: their agents still have them."""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=CALM_LEASE)
    load = Load(t.ledger, nodes, threads=8, pace=0, kinds=["small", "many", "mixed", "slow"]).start()
    for number in range(KILLS):
        node = nodes[number % 2]
        before = load.accepted
        wait_until("progress after %d kills" % number, lambda: load.accepted >= before + 40 or load.errors, 60)
        gone = nodes.kill(node, "qmgr")
        nodes.back(node, "qmgr", gone)
    load.stop()
    nodes.drained()
    print("%d kills; %s" % (KILLS, load.summary()))
    nodes.account()
