"""The lines about a message as a whole: "removed" when nothing of it is left, and notices to its sender."""
from deadline import wait_until
from session import equal

BACKOFF = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s"}


def test_removed_comes_last(t):
    """Two recipients, deferred, of two destinations: the first one's delivery removes nothing."""
    first, second = t.sink(), t.sink()
    for sink in (first, second):
        sink.on("rcpt", "450 4.2.0 later", times=1)
    refusing = second.on("rcpt", "450 4.2.0 later still")
    r = t.relay(sink=first, main=dict(
        BACKOFF, transport_maps="inline:{ two.example=smtp:%s }" % second.nexthop))
    q = t.send(r, recipients=["a@one.example", "b@two.example"])
    first.wait(1)
    r.log.wait_for(q + ": to=<a@one.example>.*status=sent")
    # It has been asked for by the time that a later message, delivered at the second attempt as well, is removed.
    first.on("rcpt", "450 4.2.0 later", times=1)
    other = t.send(r, recipients=["c@one.example"])
    r.log.wait_for(other + ": removed")
    equal(r.log.find_all(q + ": removed"), [], "removed, with a recipient left")
    equal([row[0] for row in r.sql("SELECT recipient FROM rowpost.queue")], ["b@two.example"], "left")
    refusing.forget_rules()
    r.log.wait_for(q + ": removed")
    r.wait_empty()
    equal(len(r.log.find_all(q + ": removed")), 1, "lines")


def test_delay_warning(t):
    """The sender of late mail is told, once, and the log says so."""
    sink = t.sink()
    sink.on("rcpt", "450 4.2.0 later", match="late@")
    r = t.relay(sink=sink, main=dict(BACKOFF, delay_warning_time="2s"))
    q = t.send(r, recipients=["late@dest.example"])
    told = sink.wait(1)[0]
    assert b"Action: delayed" in told.data, told.data
    line = r.log.wait_for(q + ": sender delay notification: ")
    sink.forget_rules()
    r.log.wait_for(q + ": removed")
    r.wait_empty()
    equal(len(r.log.find_all(q + ": sender delay notification")), 1, line)
    wait_until("one notice, one message", lambda: len(sink.taken()) == 2)
