"""Two queue databases: mail of one flows while the other is away, and nothing is lost when it comes back."""
from cluster import MAIN, SHORT_LEASE, send, untold
from deadline import wait_until
from load import Load, mail_sink
from pgtest import run_sql
from session import equal, limit


class Shards:
    """A relay with two queue databases, each a server of its own."""

    def __init__(self, t):
        self.t = t
        self.sink = mail_sink()
        t.at_end(self.sink.close)
        self.servers = [t.cluster(), t.cluster()]
        self.uris = [pg.create_database("queue") for pg in self.servers]
        self.relay = t.relay(start=False, sink=self.sink, name="node1", database=", ".join(self.uris),
                             main=dict(MAIN, **SHORT_LEASE, node_name="node1"))
        self.relay.must_run("rowpost", "schema")
        self.relay.start()

    def sql(self, shard, query):
        return run_sql(self.uris[shard], query)

    def told(self, shard):
        return int(self.sql(shard, "SELECT count(*) FROM rowpost.history")[0][0])

    def waiting(self):
        query = ("SELECT (SELECT count(*) FROM rowpost.queue WHERE queue <> 'hold') "
                 "+ (SELECT count(*) FROM mailq.notification)")
        return [int(run_sql(uri, query)[0][0]) for uri in self.uris]

    def drained(self):
        wait_until(lambda: "empty queues: %s" % self.waiting(), lambda: not any(self.waiting()), 60, step=0.2)

    def account(self):
        account = self.t.ledger.audit(self.uris, [self.sink])
        account.assert_whole()
        equal(untold(self.t.ledger, account, self.sink), [], "senders who were not told")
        print("ledger: %s" % account.summary())
        return account


def loaded(s):
    return Load(s.t.ledger, [s.relay], threads=3, kinds=["small", "deferred", "bounced"]).start()


def grows(what, count, more, seconds=30):
    was = count()
    wait_until(lambda: "%s: %d, from %d on" % (what, count(), was), lambda: count() >= was + more, seconds)


@limit(90)
def test_messages_go_to_them_in_turn(t):
    """One front end fills both, and the node's scheduler empties both."""
    s = Shards(t)
    wait_until("both ready", lambda: all(s.sql(n, "SELECT count(*) FROM mailq.process WHERE program = 'smtpd'") == [["1"]] for n in (0, 1)))
    # The first few go where the front end was ready first.
    wait_until("mail through both", lambda: send(t, s.relay, 1) and s.told(0) and s.told(1), 60)
    before = [s.told(0), s.told(1)]
    send(t, s.relay, 40)
    s.drained()
    equal(s.account().doubled, [], "second copies")
    ends = [s.told(n) - before[n] for n in (0, 1)]
    assert min(ends) >= 15, "ends in each: %s" % ends


@limit(180)
def test_one_dies_and_returns(t):
    """Each in turn is killed under load: the other's mail is accepted and delivered meanwhile."""
    s = Shards(t)
    loads = [loaded(s)]
    for dead in (0, 1):
        alive = 1 - dead
        grows("accepted", lambda: loads[-1].accepted, 30)
        s.servers[dead].kill9()
        # Clients whose message was in a commit at that moment wait for its outcome; others are served.
        loads.append(loaded(s))
        grows("accepted without shard %d" % dead, lambda: loads[-1].accepted, 60)
        grows("ends in shard %d" % alive, lambda: s.told(alive), 60)
        s.servers[dead].start()
        grows("accepted", lambda: loads[-1].accepted, 30)
        wait_until("a lease in shard %d" % dead, lambda: s.sql(
            dead, "SELECT count(*) FROM mailq.node WHERE state = 'up'") == [["1"]], 30)
    for load in loads:
        load.stop()
        print(load.summary())
    s.drained()
    assert s.told(0) and s.told(1), "both were used"
    doubled = s.account().doubled
    equal([d for d in doubled if d[3] != "in doubt"], [], "second copies")


@limit(120)
def test_absent_at_start(t):
    """A node starts while one of its databases is away: mail flows through the other, and through both when it is there."""
    s = Shards(t)
    s.relay.stop()
    s.servers[0].kill9()
    s.relay.start()
    Load(t.ledger, [s.relay], threads=2, most=20, kinds=["small"]).start().join()
    s.sink.wait(20)
    s.servers[0].start()
    wait_until("mail through shard 0", lambda: t.send(s.relay) and s.told(0) > 0, 30)
    s.drained()


@limit(180)
def test_pickup_takes_the_other(t):
    """What is submitted with sendmail goes through the database that is there, whichever is away."""
    s = Shards(t)
    submitted = []

    def submit():
        s.relay.must_run("sendmail", "-f", "s@client.test", "x@dest.test", stdin="Subject: s\n\nb\n")
        submitted.append(1)

    for dead in (0, 1):
        alive = 1 - dead
        s.servers[dead].kill9()
        before = s.told(alive)
        # A message that was on its way into the dead one waits for it; those behind it do not.
        wait_until("mail through shard %d" % alive, lambda: submit() or s.told(alive) >= before + 2, 60, step=0.2)
        s.servers[dead].start()
    wait_until("all that was submitted", lambda: s.told(0) + s.told(1) >= len(submitted), 60, step=0.2)
    s.drained()
    equal(s.told(0) + s.told(1), len(submitted), "messages")


@limit(120)
def test_operators_see_both(t):
    """postqueue lists, and postsuper deletes, the mail of both; orders reach the scheduler of each."""
    s = Shards(t)
    Load(t.ledger, [s.relay], threads=2, most=6, kinds=["never"]).start().join()
    s.servers[0].kill9()
    Load(t.ledger, [s.relay], threads=2, most=6, kinds=["never"]).start().join()
    s.servers[0].start()
    wait_until("a whole queue", lambda: s.relay.run("postqueue", "-j").stdout.count("\n") == 12, 30)
    s.relay.must_run("postsuper", "-d", "ALL")
    s.drained()
    # The postmaster was told of the sessions that the death of one cut short.
    ends = "SELECT DISTINCT outcome FROM rowpost.history WHERE recipient LIKE 'never%'"
    equal([s.sql(i, ends) for i in (0, 1)], [[["deleted"]]] * 2, "outcomes")
