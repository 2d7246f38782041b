"""Contents that agents take from the memory of the node: they arrive byte for byte, also when newer mail has displaced them, and without
such memory."""
from session import equal, limit
from sink import STALL
from smtp_client import SmtpClient

LINES = 900     # of 66 bytes: below what comes with a claim
MESSAGES = 40   # more than 1 MB


def send(t, relay, count):
    with SmtpClient(relay.port, limit=60) as c:
        c.ehlo()
        for n in range(count):
            i = t.ledger.new_id()
            rcpt = "n%d@dest.example" % n
            body = b"".join(b"%08d %s\r\n" % (line * count + n, b"x" * 55) for line in range(LINES))
            q = c.message(i + "@client.example", rcpt, t.ledger.message(i + "@client.example", [rcpt], i, body))
            t.ledger.record(i, [rcpt], q)


def whole(t, relay, sink):
    t.wait("an empty queue", lambda: relay.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], 60, step=0.1)
    account = t.ledger.audit(relay.database, [sink])
    account.assert_whole()
    equal(account.doubled, [], "second copies")


@limit(120)
def test_displaced_while_they_wait(t):
    """One delivery at a time, and the first one stalls: what is claimed behind it is displaced before its turn comes."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"content_shelf_size": "1048576", "default_destination_concurrency_limit": "1",
                                 "initial_destination_concurrency": "1", "smtp_data_init_timeout": "10s",
                                 "queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s",
                                 "smtp_connection_cache_on_demand": "no"})
    sink.on("data", STALL, times=1)
    send(t, r, MESSAGES)
    whole(t, r, sink)


@limit(60)
def test_without_a_shelf(t):
    sink = t.sink()
    r = t.relay(sink=sink, main={"content_shelf_size": "0"})
    send(t, r, 3)
    whole(t, r, sink)


@limit(60)
def test_too_small_a_shelf(t):
    """It is said in the log, and mail flows."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"content_shelf_size": "1000"})
    r.log.wait_for(r"warning: content_shelf_size = 1000: Invalid argument; contents are read from the database", 10)
    send(t, r, 3)
    whole(t, r, sink)
