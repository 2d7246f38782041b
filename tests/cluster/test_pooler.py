"""The queue database behind PgBouncer in transaction mode (queue_database_pooler): no session state, and a pooler that dies."""
import re

from cluster import MAIN, SHORT_LEASE, untold
from deadline import wait_until
from load import Load, mail_sink
from pgbouncer import PgBouncer
from pgtest import run_sql
from session import equal, limit

LOGIN = "relay"


class Pooled:
    """A relay whose every connection goes through a PgBouncer. The login has the rights of the relay's roles, and the settings
    that `rowpost schema` asks for."""

    def __init__(self, t, sink):
        self.t, self.sink = t, sink
        self.pg = t.cluster()
        self.uri = self.pg.create_database("queue")
        self.relay = t.relay(start=False, sink=sink, name="node1", database=self.uri,
                             main=dict(MAIN, **SHORT_LEASE, node_name="node1", queue_database_pooler="yes"))
        advice = self.relay.must_run("rowpost", "schema").stdout
        self.sql("CREATE ROLE %s LOGIN; GRANT rowpost_front, rowpost_scheduler, rowpost_operator TO %s" % (LOGIN, LOGIN))
        options = re.search(r"(?m)^ *scheduler +(-c .*)$", advice).group(1)
        for name, value in re.findall(r"-c (\w+)=(\S+)", options):
            self.sql("ALTER ROLE %s IN DATABASE queue SET %s = '%s'" % (LOGIN, name, value))
        self.bouncer = PgBouncer(self.pg, "queue", LOGIN)
        t.at_end(self.bouncer.close)
        self.relay.write_config(queue_databases=self.bouncer.uri)
        self.relay.start()

    def sql(self, query):
        return run_sql(self.uri, query)

    def waiting(self):
        return int(self.sql("SELECT (SELECT count(*) FROM rowpost.queue WHERE queue <> 'hold') "
                            "+ (SELECT count(*) FROM mailq.notification)")[0][0])

    def drained(self):
        wait_until(lambda: "an empty queue: %d\n%s" % (self.waiting(), self.relay.log.tail(20)),
                   lambda: self.waiting() == 0, 60, step=0.2)

    def account(self):
        account = self.t.ledger.audit(self.uri, [self.sink])
        account.assert_whole()
        equal(untold(self.t.ledger, account, self.sink), [], "senders who were not told")
        print("ledger: %s" % account.summary())
        return account


def pooled(t):
    sink = mail_sink()
    t.at_end(sink.close)
    return Pooled(t, sink)


def direct(p):
    """Sessions of the relay's programs that did not come through the pooler's login."""
    return p.sql("SELECT DISTINCT usename, application_name FROM pg_stat_activity WHERE datname = 'queue' "
                 "AND application_name LIKE 'rowpost%%' AND usename <> '%s'" % LOGIN)


@limit(120)
def test_all_kinds_of_mail(t):
    """Accept, deliver, defer, bounce, large contents and many recipients."""
    p = pooled(t)
    load = Load(t.ledger, [p.relay], threads=4, most=80).start().join()
    p.drained()
    equal(direct(p), [], "sessions around the pooler")
    print(load.summary())
    equal(load.tempfails, 0, "temporary refusals")
    equal(p.account().doubled, [], "second copies")


@limit(120)
def test_orders(t):
    """postqueue, postsuper and orders to a scheduler."""
    p = pooled(t)
    p.sink.on("rcpt", "450 4.2.0 not yet", match="kept")
    kept = t.send(p.relay, recipients=["kept@dest.example"])
    gone = t.send(p.relay, recipients=["kept-too@dest.example"])
    wait_until("two deferred messages", lambda: p.sql("SELECT count(*) FROM mailq.deferred WHERE attempts > 0") == [["2"]])
    equal(sorted(e["queue_id"] for e in p.relay.queue()), sorted([kept, gone]), "listed")
    p.relay.must_run("postsuper", "-h", kept)
    p.relay.must_run("postsuper", "-d", gone)
    wait_until("one message on hold", lambda: p.sql("SELECT queue_id, queue FROM rowpost.queue") == [[kept, "hold"]])
    p.sink.forget_rules()
    p.relay.must_run("postsuper", "-H", kept)
    p.relay.log.wait_for(kept + ": removed")
    equal([m.recipients for m in p.sink.taken()], [["kept@dest.example"]], "delivered")


@limit(500)
def test_pooler_dies(t):
    """PgBouncer is killed in mid-load, and comes back, again and again; then it is away for longer than a lease."""
    p = pooled(t)
    # Longer than queue_database_commit_timeout: a client may wait in a commit in doubt for that minute.
    load = Load(t.ledger, [p.relay], threads=4, kinds=["small", "deferred", "bounced", "large"], patience=150).start()
    for _ in range(4):
        was = load.accepted
        wait_until("30 more accepted", lambda: load.accepted >= was + 30, 120)
        p.bouncer.kill9()
        p.bouncer.start()
    p.bouncer.kill9()
    refused = load.tempfails
    # All clients may wait in one commit in doubt at first: queue_database_commit_timeout, a minute.
    wait_until("refusals while it is away", lambda: load.tempfails >= refused + 100, 120)
    p.bouncer.start()
    was = load.accepted
    wait_until("mail after it is back", lambda: load.accepted >= was + 30, 60)
    load.stop()
    p.drained()
    print(load.summary())
    doubled = p.account().doubled
    equal([d for d in doubled if d[3] != "in doubt"], [], "second copies")
