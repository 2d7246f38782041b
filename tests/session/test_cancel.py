"""What an operator stops while an agent has it in its hands: before the final dot nothing is sent, after it the outcome counts."""
from cluster import Gate
from deadline import wait_until
from session import equal
from sink import STALL


def stalled(t):
    """(relay, sink, queue id): a delivery that waits for a greeting, which would take minutes."""
    sink = t.sink()
    sink.on("connect", STALL, times=1)
    relay = t.relay(sink=sink)
    queue_id = t.send(relay)
    sink.wait_session()
    return relay, sink, queue_id


def places(relay):
    return [row[0] for row in relay.sql("SELECT queue FROM rowpost.queue")]


def test_deleted_before_the_data(t):
    """postsuper -d of a delivery whose peer does not answer: gone at once, and the slot is free again."""
    relay, sink, queue_id = stalled(t)
    relay.must_run("postsuper", "-d", queue_id)
    relay.wait_empty()
    relay.log.wait_for(queue_id + ": removed")
    equal(relay.log.find_all(queue_id + ": to=<.*status="), [], "delivery lines")
    t.send(relay)
    sink.wait(1)
    relay.wait_empty()
    equal(len(sink.taken()), 1, "messages at the sink")


def test_held_before_the_data(t):
    """postsuper -h of it: on hold at once; released, it is delivered, once."""
    relay, sink, queue_id = stalled(t)
    relay.must_run("postsuper", "-h", queue_id)
    wait_until("a message on hold", lambda: places(relay) == ["hold"])
    equal(relay.log.find_all(queue_id + ": to=<.*status="), [], "delivery lines")
    relay.must_run("postsuper", "-H", queue_id)
    sink.wait(1)
    relay.wait_empty()
    equal(len(sink.taken()), 1, "messages at the sink")


def test_deleted_after_the_dot(t):
    """What was sent was sent: the order comes too late, and the history says so."""
    sink = t.sink()
    gate = Gate(sink, "dot", "250 2.0.0 Ok")
    relay = t.relay(sink=sink)
    queue_id = t.send(relay)
    gate.wait_for(1)
    relay.must_run("postsuper", "-d", queue_id)
    gate.opened.set()
    relay.log.wait_for(queue_id + ": to=<.*status=sent")
    relay.wait_empty()
    equal(relay.sql("SELECT outcome FROM rowpost.history"), [["sent"]], "outcomes")


def test_outcome_does_not_wait_for_the_goodbye(t):
    """A server that never answers RSET does not keep back that the mail is deferred."""
    sink = t.sink()
    sink.on("rcpt", "450 4.2.0 later").on("rset", STALL)
    relay = t.relay(sink=sink, main={"smtp_rset_timeout": "100s", "smtp_connection_cache_destinations": sink.nexthop})
    t.send(relay)
    wait_until("a deferred message", lambda: relay.sql("SELECT attempts FROM rowpost.queue WHERE queue = 'deferred'") == [["1"]])
