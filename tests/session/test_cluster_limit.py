"""*_cluster_destination_concurrency_limit: never more deliveries at once in the whole cluster."""
import threading

from session import equal, limit

LIMIT = 3
MAIN = {"smtp_cluster_destination_concurrency_limit": str(LIMIT), "node_lease_time": "3s", "node_heartbeat_time": "1s",
        "node_lease_margin": "1s", "initial_destination_concurrency": "10", "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s", "smtp_connection_cache_on_demand": "no"}


class Counted:
    """A sink that counts the deliveries under way: from DATA to the reply to the final dot, or the end of the session."""

    def __init__(self, t):
        self.lock = threading.Lock()
        self.running = []
        self.most = 0
        self.release = threading.Event()
        self.sink = t.sink().on("data", self.begin).on("dot", self.end)

    def begin(self, session, argument):
        with self.lock:
            self.running = [s for s in self.running if not s.ended] + [session]
            self.most = max(self.most, len(self.running))
        # The others come while this one is under way, if they may.
        self.release.wait(0.02)
        return "354 go on"

    def end(self, session, message):
        with self.lock:
            self.running.remove(session)
        return "250 2.0.0 Ok"


@limit(120)
def test_never_above_the_limit(t):
    """Two nodes with much mail for one destination: both deliver, and never more than the limit at once."""
    counted = Counted(t)
    database = t.database()
    nodes = [t.relay(sink=counted.sink, database=database, main=dict(MAIN, node_name="n%d" % i)) for i in range(2)]
    for i in range(60):
        t.send(nodes[i % 2], recipients=["user%d@dest.example" % i])
    equal(len(counted.sink.wait(60, 60)), 60, "messages")
    assert 1 < counted.most <= LIMIT, counted.most
    nodes[0].wait_empty()
    t.wait("blocks given back", lambda: nodes[0].sql("SELECT 1 FROM rowpost.cluster_limit") == [])


@limit(120)
def test_the_slots_of_the_dead(t):
    """A scheduler is killed: its slots go to the other one, and no sooner than its deliveries are over."""
    counted = Counted(t)
    database = t.database()
    nodes = [t.relay(sink=counted.sink, database=database, main=dict(MAIN, node_name="n%d" % i)) for i in range(2)]
    for i in range(30):
        t.send(nodes[i % 2], recipients=["user%d@dest.example" % i])
    counted.sink.wait(5, 30)
    nodes[0].kill("qmgr")
    for i in range(30, 60):
        t.send(nodes[1], recipients=["user%d@dest.example" % i])
    t.wait("all mail", lambda: len({r for m in counted.sink.taken() for r in m.recipients}) == 60, 90)
    assert counted.most <= LIMIT, counted.most


def test_off(t):
    """Without such a limit nothing is asked of the database."""
    sink = t.sink()
    r = t.relay(sink=sink)
    for i in range(5):
        t.send(r, recipients=["user%d@dest.example" % i])
    sink.wait(5)
    equal(r.sql("SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables WHERE relname LIKE 'cluster_limit%'"), [["0"]], "rows")
