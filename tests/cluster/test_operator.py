"""An operator works on the queue by SQL while schedulers deliver from it, and while they die: nothing is lost or in two
states (rule 5a.13)."""
import itertools
import random
import threading

import pgtest
from cluster import FULL, SHORT_LEASE, Nodes
from deadline import wait_until
from load import Load, mail_sink
from session import limit

VERBS = ["hold", "hold", "release", "requeue", "flush", "delete", "expire"]


class Operator:
    """Gives orders about messages taken at random from the queue until stop()."""

    def __init__(self, uri, seed):
        self.uri, self.rng = uri, random.Random(seed)
        self.given = {}
        self.errors = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ending.wait(0.05):
            verb = self.rng.choice(VERBS)
            try:
                rows = pgtest.run_sql(self.uri, (
                    "SELECT done, pending FROM rowpost.%s(ARRAY(SELECT DISTINCT msg_id FROM rowpost.queue "
                    "WHERE sender <> '' AND random() < 0.3 LIMIT 5), 'test')") % verb)
                self.given[verb] = self.given.get(verb, 0) + sum(map(int, rows[0]))
            except pgtest.PgError as e:
                # The order is void; the operator sees why and may give it again.
                if "lock timeout" not in str(e) and "deadlock" not in str(e):
                    self.errors.append(str(e))

    def stop(self):
        self.ending.set()
        self.thread.join()
        if self.errors:
            raise AssertionError("%d orders failed: %s" % (len(self.errors), self.errors[0]))
        print("orders: %s" % ", ".join("%d %s" % (n, v) for v, n in sorted(self.given.items())))


def work(t, deaths):
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=SHORT_LEASE)
    load = Load(t.ledger, nodes).start()
    operator = Operator(nodes.uri, 7)
    rng = random.Random(7)
    # Mail goes to and fro until the operator, who takes it at random, has found some to hold and some to delete.
    for turn in itertools.count():
        if turn >= (15 if FULL else 5) and operator.given.get("hold") and operator.given.get("delete"):
            break
        before = load.accepted
        wait_until("progress", lambda: load.accepted >= before + 50 or load.errors, 60)
        assert not load.errors, load.errors[:3]
        if deaths:
            node = rng.choice(nodes)
            nodes.back(node, "qmgr", nodes.kill(node, "qmgr"))
    load.stop()
    operator.stop()
    # Orders that wait for a scheduler's hands are carried out too.
    nodes.drained()
    wait_until("end of all orders", lambda: nodes.sql("SELECT 1 FROM rowpost.queue_order WHERE done IS NULL") == [], 30)
    nodes.account()
    nodes.sql("SELECT rowpost.release(array_agg(DISTINCT msg_id)) FROM rowpost.queue")
    nodes.drained()
    assert "hold" not in nodes.account().counts


@limit(300 if FULL else 120)
def test_orders_under_load(t):
    """Hold, release, requeue, flush, delete and expire mail that is being delivered."""
    work(t, deaths=False)


@limit(300 if FULL else 120)
def test_orders_and_deaths(t):
    """The same while schedulers are killed."""
    work(t, deaths=True)
