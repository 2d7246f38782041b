"""Tables of the cluster (cluster:name): edited on one node or by SQL, seen by all."""
import time

from cluster import Nodes
from deadline import wait_until
from session import equal, limit, match
from smtp_client import SmtpClient

# By design an answer is never older than this (cluster/cluster_table.h), however busy the machine is.
OLDEST = 1.0


def code(node, rcpt, sender="alice@client.example"):
    with SmtpClient(node.port) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % sender, 250)
        return c.cmd("RCPT TO:<%s>" % rcpt).code


def seen(nodes, rcpt, expected, changed):
    """All nodes answer so; an answer that was asked for late enough after the change must be the new one."""
    for node in nodes:
        def answer(node=node):
            asked = time.monotonic()
            got = code(node, rcpt)
            if got != expected and asked > changed + OLDEST:
                raise AssertionError("%s: %s for %s, %.3f s after the change" % (node.name, got, rcpt, asked - changed))
            return got == expected
        wait_until("%s at %s" % (expected, node.name), answer, 40)


def postmap(node, *args, stdin=""):
    return node.must_run("postmap", *args, stdin=stdin)


def tables(t, sink, **main):
    return Nodes(t, 2, sink, start=False, main=dict({
        "mynetworks": "192.0.2.0/24", "relay_domains": "cluster:domains", "smtpd_reject_unlisted_recipient": "no"}, **main))


@limit(120)
def test_changes_are_seen_everywhere(t):
    """By postmap on one node, by SQL, by the replacement of a whole table; the change of one transaction as a whole."""
    nodes = tables(t, t.sink())
    one, two = nodes
    for node in nodes:
        node.start()
    # Before anybody has made it nobody can say what is in it.
    equal(code(one, "x@first.test"), 451, "no such table")
    postmap(one, "cluster:domains", stdin="first.test x\nSecond.Test y\n")
    seen(nodes, "x@first.test", 250, time.monotonic())
    equal(code(two, "x@second.test"), 250, "folded")
    equal(code(two, "x@other.test"), 454, "not in it")
    postmap(two, "-i", "cluster:domains", stdin="other.test z\n")
    seen(nodes, "x@other.test", 250, time.monotonic())
    nodes.sql("SELECT rowpost.table_set('domains', 'by.sql.test', 'x', 'ticket 1')")
    seen(nodes, "x@by.sql.test", 250, time.monotonic())
    nodes.sql("DELETE FROM rowpost.cluster_table WHERE name = 'domains' AND key IN ('by.sql.test', 'other.test')")
    seen(nodes, "x@by.sql.test", 454, time.monotonic())
    equal([code(n, "x@other.test") for n in nodes], [454, 454], "of the same transaction")
    postmap(one, "-d", "first.test", "cluster:domains")
    seen(nodes, "x@first.test", 454, time.monotonic())
    postmap(two, "cluster:domains", stdin="new.test x\n")
    seen(nodes, "x@new.test", 250, time.monotonic())
    equal([code(n, "x@second.test") for n in nodes], [454, 454], "replaced")
    rows = nodes.sql("SELECT verb, key, why FROM rowpost.table_change ORDER BY at")
    equal(rows[0], ["replace", None, ""], "first change")
    assert ["set", "by.sql.test", "ticket 1"] in rows, rows
    nodes.sql("SELECT rowpost.table_drop('domains')")
    seen(nodes, "x@new.test", 451, time.monotonic())


@limit(120)
def test_database_away(t):
    """What is in a table is not known while the database is away: 451, also for what was asked a moment ago."""
    nodes = tables(t, t.sink())
    nodes[0].start()
    postmap(nodes[0], "cluster:domains", stdin="here.test x\n")
    wait_until("the table", lambda: code(nodes[0], "x@here.test") == 250, 30)
    nodes.pg.stop("immediate")
    seen(nodes[:1], "x@here.test", 451, time.monotonic())
    equal(code(nodes[0], "x@there.test"), 451, "nobody knows what is not there")
    nodes.pg.start()
    wait_until("the database", lambda: code(nodes[0], "x@here.test") == 250, 60)
    equal(code(nodes[0], "x@there.test"), 454, "not there")


@limit(120)
def test_every_process_asks(t):
    """The scheduler itself, the agents through proxymap: routes, aliases, generic addresses."""
    sink, other = t.sink(), t.sink()
    nodes = tables(t, sink, mydestination="local.test", mailbox_size_limit="0", alias_maps="cluster:aliases", local_recipient_maps="$alias_maps",
                   transport_maps="cluster:transport", smtp_generic_maps="cluster:generic", virtual_alias_domains="v.test",
                   virtual_alias_maps="proxy:cluster:virtual")
    one = nodes[0]
    one.must_run("postalias", "cluster:aliases", stdin="list: a@dest.test,\n\tb@dest.test\n")
    postmap(one, "cluster:transport", stdin="moved.test smtp:%s\n" % other.nexthop)
    postmap(one, "cluster:generic", stdin="alice@client.example public@client.example\n")
    postmap(one, "cluster:virtual", stdin="all@v.test c@dest.test\n")
    postmap(one, "cluster:domains", stdin="moved.test x\n")
    for node in nodes:
        node.start()
    for node, n in ((one, 1), (nodes[1], 2)):
        t.send(node, recipients=["list@local.test", "all@v.test", "x@moved.test"])
        wait_until("mail over %s" % node.name,
                   lambda n=n: sum(len(m.recipients) for m in sink.messages) >= 3 * n and len(other.messages) >= n, 40)
    equal(sorted(set(r for m in sink.messages for r in m.recipients)), ["a@dest.test", "b@dest.test", "c@dest.test"],
          "recipients")
    equal(set(m.sender for m in list(sink.messages) + list(other.messages)), {"public@client.example"}, "senders")
    nodes.drained()
    for node in nodes:
        equal(node.log.find_all(r"lookup error|not configured|unapproved"), [], "trouble at " + node.name)


def test_postmap(t):
    """All that postmap does to a file it does to a table of the cluster."""
    one, two = nodes = tables(t, t.sink())
    p = postmap(one, "cluster:t", stdin="# a comment\nB two\nA one\n  and more\nb again\n")
    match(p.stderr, r"warning: cluster:t: duplicate entry: \"b\"")
    equal(postmap(two, "-s", "cluster:t").stdout, "a\tone  and more\nb\ttwo\n", "-s")
    equal(postmap(two, "-q", "A", "cluster:t").stdout, "one  and more\n", "-q")
    equal(two.run("postmap", "-q", "none", "cluster:t").returncode, 1, "-q of nothing")
    equal(postmap(two, "-q", "-", "cluster:t", stdin="b\nx\na\n").stdout, "b\ttwo\na\tone  and more\n", "-q -")
    p = postmap(one, "-i", "cluster:t", stdin="b other\nc three\n")
    match(p.stderr, r"warning: cluster:t: duplicate entry: \"b\"")
    equal(postmap(one, "-q", "b", "cluster:t").stdout, "two\n", "-i leaves what is there")
    equal(postmap(one, "-w", "-i", "cluster:t", stdin="b other\n").stderr, "", "-w")
    postmap(one, "-r", "-i", "cluster:t", stdin="b other\n")
    equal(postmap(one, "-q", "b", "cluster:t").stdout, "other\n", "-r")
    postmap(one, "-f", "-i", "cluster:t", stdin="Big letters\n")
    equal(postmap(one, "-f", "-q", "Big", "cluster:t").stdout, "letters\n", "-f")
    equal(one.run("postmap", "-q", "Big", "cluster:t").returncode, 1, "folded")
    postmap(one, "-d", "-", "cluster:t", stdin="a\nc\n")
    equal(postmap(one, "-s", "cluster:t").stdout, "Big\tletters\nb\tother\n", "-d -")
    equal(one.run("postmap", "-d", "a", "cluster:t").returncode, 1, "-d of nothing")
    file = one.write_file("content", "a text\n")
    postmap(one, "-F", "cluster:files", stdin="k %s\n" % file)
    equal(postmap(one, "-F", "-q", "k", "cluster:files").stdout, "a text\n\n", "-F")
    for args in (("-q", "a", "cluster:none"), ("-s", "cluster:none"), ("-q", "a", "cluster:bad/name"), ("cluster:bad name",)):
        p = one.run("postmap", *args)
        equal(p.returncode, 1, str(args))
        match(p.stderr, "fatal: .*(none|bad)")
    equal(nodes.sql("SELECT name, entries FROM rowpost.tables ORDER BY 1"), [["files", "1"], ["t", "2"]], "tables")
    one.write_config(relay_domains="cluster:bad/name")
    match(one.check().stdout + one.check().stderr, "bad/name")
