"""Tables of the cluster on a node that has its own PostgreSQL: everybody logs in as himself."""
import pgtest
from session import equal, limit


def code(t, relay, rcpt):
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<alice@client.example>", 250)
        return c.cmd("RCPT TO:<%s>" % rcpt).code


@limit(120)
def test_embedded(t):
    """postmap by root, lookups by front end, scheduler and (through proxymap) an agent."""
    sink = t.sink()
    r = t.relay(sink=sink, database=None, start=False)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains="cluster:domains", smtp_generic_maps="cluster:generic",
                   transport_maps="cluster:routes", smtpd_reject_unlisted_recipient="no")
    r.start()
    r.must_run("postmap", "cluster:domains", stdin="here.test x\n")
    r.must_run("postmap", "cluster:generic", stdin="alice@client.example public@client.example\n")
    r.must_run("postmap", "cluster:routes", stdin="other.test error:gone\n")
    t.wait("the table", lambda: code(t, r, "x@here.test") == 250, 40)
    equal(code(t, r, "x@there.test"), 454, "not in it")
    t.send(r, recipients=["x@here.test"])
    equal(sink.wait(1)[0].sender, "public@client.example", "sender")
    equal(r.must_run("postmap", "-s", "cluster:domains").stdout, "here.test\tx\n", "-s")


def test_shards(t):
    """With several queue databases the tables are in the first one."""
    first, second = t.database(), t.database()
    r = t.relay(database=first + ", " + second, start=False)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains="cluster:domains", smtpd_reject_unlisted_recipient="no")
    r.start()
    r.must_run("postmap", "cluster:domains", stdin="here.test x\n")
    for _ in range(4):
        t.wait("the table", lambda: code(t, r, "x@here.test") == 250, 40)
    equal([pgtest.run_sql(uri, "SELECT name FROM rowpost.tables") for uri in (first, second)], [[["domains"]], []],
          "tables")
