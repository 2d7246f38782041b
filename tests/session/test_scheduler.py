"""What the scheduler decides: dead destinations and transports, flushes, rate delays, limits by recipient."""
import time

from relay import free_port
from session import equal, limit, match
from sink import STALL

REFUSED = r"connect to 127\.0\.0\.1\[127\.0\.0\.1\]:%d: Connection refused"


def routes(**domains):
    """transport_maps: {"one": 2525} sends one.example to port 2525."""
    return "inline:{%s}" % ", ".join(
        "{%s.example=%s}" % (d, to if isinstance(to, str) else "smtp:[127.0.0.1]:%d" % to) for d, to in domains.items())


def send(t, r, recipient):
    return t.send(r, recipients=[recipient])


def die(t, r, domain, port):
    """Connections are refused until the destination counts as dead: three times from a window of five."""
    for n in range(3):
        q = send(t, r, "a%d@%s" % (n, domain))
        r.log.wait_for(r"%s: to=<a%d@.*status=deferred \(%s\)" % (q, n, REFUSED % port))
    t.wait("a dead destination", lambda: dead(r, port) == [["t"]])
    wait_deferred(r)


def wait_deferred(r):
    """What was logged as deferred is stored too: a flush finds it."""
    r.wait_queue(lambda found: all(m["queue_name"] == "deferred" for m in found))


def dead(r, port):
    return r.sql("SELECT coalesce(dead_until > now(), false) FROM rowpost.destination WHERE nexthop = '[127.0.0.1]:%d'" % port)


def suspended(port):
    return r"status=deferred \(delivery temporarily suspended: %s\)" % (REFUSED % port)


def test_dead_destination(t):
    """Three failed connections from a window of five: the destination is dead; mail for it is deferred at once, others' is not."""
    sink, gone = t.sink(), free_port()
    r = t.relay(main={"transport_maps": routes(dead=gone, fine=sink.port)})
    die(t, r, "dead.example", gone)
    q = send(t, r, "late@dead.example")
    line = r.log.wait_for(r"postfix/error\[\d+\]: %s: to=<late@dead.example>.*" % q).group(0)
    match(line, r"relay=none, .*dsn=4\.4\.1, " + suspended(gone))
    send(t, r, "bob@fine.example")
    sink.wait(1)


def test_flush_of_a_site(t):
    """postqueue -s: that destination lives again, another dead one does not."""
    one, two = free_port(), free_port()
    r = t.relay(main={"transport_maps": routes(one=one, two=two), "fast_flush_domains": "one.example"})
    die(t, r, "one.example", one)
    die(t, r, "two.example", two)
    mark = r.log.mark()
    r.must_run("postqueue", "-s", "one.example")
    for n in range(3):
        r.log.wait_for(r"to=<a%d@one.example>.*status=deferred \(%s\)" % (n, REFUSED % one), since=mark)
    q = send(t, r, "late@two.example")
    r.log.wait_for(r"%s: to=<late@two.example>.*%s" % (q, suspended(two)))
    assert not r.log.find(r"@two.example>.*\(connect to", since=mark)
    equal(dead(r, two), [["t"]])


def test_flush_of_all(t):
    """postqueue -f: every dead destination lives again, also one that nothing waits for."""
    one, two = free_port(), free_port()
    r = t.relay(main={"transport_maps": routes(one=one, two=two)})
    die(t, r, "one.example", one)
    die(t, r, "two.example", two)
    r.must_run("postsuper", "-d", "ALL", "deferred")
    send(t, r, "b@one.example")
    r.log.wait_for(r"to=<b@one.example>.*%s" % suspended(one))
    wait_deferred(r)
    mark = r.log.mark()
    r.must_run("postqueue", "-f")
    r.log.wait_for(r"to=<b@one.example>.*status=deferred \(%s\)" % (REFUSED % one), since=mark)
    t.wait("a living destination", lambda: dead(r, two) == [["f"]])
    q = send(t, r, "late@two.example")
    r.log.wait_for(r"%s: to=<late@two.example>.*status=deferred \(%s\)" % (q, REFUSED % two))


def test_dead_destination_of_another_node(t):
    """A destination that one node has found dead is left alone by the others; what waits for it stays deferred."""
    gone = free_port()
    database = t.database()
    main = {"transport_maps": routes(dead=gone), "minimal_backoff_time": "200s", "queue_run_delay": "1s"}
    one = t.relay(main=dict(main, node_name="one"), database=database, name="one")
    die(t, one, "dead.example", gone)
    two = t.relay(main=dict(main, node_name="two"), database=database, name="two")
    equal(dead(two, gone), [["t"]])
    rows = two.sql("SELECT next_attempt >= d.dead_until FROM rowpost.queue, rowpost.destination d WHERE d.nexthop = '[127.0.0.1]:%d'"
                   % gone)
    equal(rows, [["t"]] * 3)


def test_unknown_transport(t):
    """A transport that master.cf does not have: deferred at once, tried again when it has it."""
    sink = t.sink()
    r = t.relay(main={"transport_maps": routes(x="nosuch:[127.0.0.1]:%d" % sink.port)})
    q = send(t, r, "bob@x.example")
    r.log.wait_for(r"warning: connect to transport private/nosuch: No such file or directory")
    line = r.log.wait_for(r"%s: to=<bob@x.example>.*" % q).group(0)
    match(line, r"relay=none, .*dsn=4\.3\.0, status=deferred \(mail transport unavailable\)")
    r.master.append("nosuch unix - - n - - smtp")
    r.write_config()
    r.reload()
    # Until the scheduler has read it too.
    t.wait("the mail", lambda: r.must_run("postqueue", "-f") and sink.taken(), 30, step=0.5)


def test_deferred_transports(t):
    """defer_transports: delivered when somebody flushes the queue, and only then."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"defer_transports": "smtp"})
    q = send(t, r, "bob@dest.example")
    line = r.log.wait_for(r"%s: to=<bob@dest.example>.*" % q).group(0)
    match(line, r"relay=none, .*dsn=4\.3\.2, status=deferred \(deferred transport\)")
    r.wait_queue(lambda found: [m["queue_name"] for m in found] == ["deferred"])
    r.must_run("postqueue", "-f")
    sink.wait(1)
    q = send(t, r, "new@dest.example")
    r.log.wait_for(r"%s: .*status=deferred \(deferred transport\)" % q)


@limit(90)
def test_destination_rate_delay(t):
    """Five seconds after each delivery to a destination; another destination does not wait."""
    slow, fast = t.sink(), t.sink()
    r = t.relay(main={"transport_maps": routes(slow="calm:[127.0.0.1]:%d" % slow.port, fast=fast.port),
                      "calm_destination_rate_delay": "5s", "calm_destination_concurrency_failed_cohort_limit": "10"},
                master=["calm unix - - n - - smtp"])
    start = time.monotonic()
    for n in range(2):
        send(t, r, "a%d@slow.example" % n)
    for n in range(20):
        send(t, r, "b%d@fast.example" % n)
    fast.wait(20)
    there, so_far = len(slow.messages), time.monotonic() - start
    assert there <= 1 + so_far / 5, "%d in %.1f s" % (there, so_far)
    slow.wait(2, 30)
    assert time.monotonic() - start >= 5


@limit(90)
def test_transport_rate_delay(t):
    """A second between any two deliveries of the transport, whatever the destination."""
    one, two = t.sink(), t.sink()
    r = t.relay(main={"transport_maps": routes(one=one.port, two=two.port), "smtp_transport_rate_delay": "1s"})
    start = time.monotonic()
    for n in range(2):
        send(t, r, "a%d@one.example" % n)
        send(t, r, "b%d@two.example" % n)
    one.wait(2, 20)
    two.wait(2, 20)
    assert time.monotonic() - start >= 3


@limit(90)
def test_clog_warning(t):
    """Mail for one destination that takes more than a fifth of the active queue: a warning, once, with advice."""
    sink = t.sink().on("connect", STALL)
    r = t.relay(sink=sink, main={"qmgr_message_active_limit": "50"})
    for n in range(40):
        send(t, r, "a%d@dest.example" % n)
    r.log.wait_for(r"qmgr\[\d+\]: warning: mail for \[127\.0\.0\.1\]:%d is using up \d+ of \d+ active queue entries" % sink.port)
    r.log.wait_for(r"warning: you may need to increase the main.cf smtp_destination_concurrency_limit from 20")
    equal(len(r.log.find_all(r"is using up")), 1)


def test_recipient_is_the_destination(t):
    """With one recipient a delivery, a limit of one counts by recipient."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"smtp_destination_recipient_limit": "1", "smtp_destination_concurrency_limit": "1",
                                 "destination_concurrency_feedback_debug": "yes"})
    t.send(r, recipients=["one@dest.example", "two@dest.example"])
    sink.wait(2)
    r.log.wait_for(r"smtp: queue one@\[127\.0\.0\.1\]:%d: limit 1 window 1 success " % sink.port)
    r.log.wait_for(r"smtp: queue two@\[127\.0\.0\.1\]:%d: limit 1 window 1 success " % sink.port)
