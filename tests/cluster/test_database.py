"""PostgreSQL restarts, loses connections in COMMIT, loses its standby, fails over: nothing is lost, nobody is declared
dead by it, nothing is accepted twice."""
import threading

import pgtest
from cluster import BEYOND_LEASE, CALM_LEASE, FULL, Nodes
from deadline import wait_until
from load import Load, Mail, mail_sink
from session import equal, limit, match
from smtp_client import SmtpClient, dot_stuffed, queue_id


def loaded(t, nodes, **kw):
    return Load(t.ledger, nodes, **kw).start()


@limit(150)
def test_restart_declares_nobody_dead(t):
    """Restarts of every kind, one of them longer than a lease: the epochs live on (rule 5a.8)."""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=CALM_LEASE)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    load = loaded(t, nodes)
    for mode in ("fast", "immediate"):
        load.progress()
        nodes.pg.restart(mode)
    load.progress()
    nodes.pg.kill9()
    # Longer than a lease: clients see it go by.
    refused = load.tempfails
    wait_until("temporary refusals", lambda: load.tempfails > refused + 5, 30)
    clock = threading.Event()
    assert not clock.wait(BEYOND_LEASE)
    nodes.pg.start()
    load.progress()
    load.stop()
    nodes.drained()
    equal({n.name: nodes.living(n.name) for n in nodes}, epochs, "epochs")
    equal([n.log.find(r"dead node") for n in nodes], [None, None], "declarations of death")
    # Nobody was killed who delivers: so there is no excuse for a second copy but a commit in doubt.
    doubled = nodes.account().doubled
    equal([d for d in doubled if d[3] != "in doubt"], [], "second copies")


@limit(120)
def test_stall_declares_nobody_dead(t):
    """All connections of all nodes stand still for longer than a lease and go on: nobody is dead, nothing is sent twice."""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=CALM_LEASE, proxied=True)
    epochs = {n.name: nodes.living(n.name) for n in nodes}
    load = loaded(t, nodes)
    for seconds in (1, BEYOND_LEASE):
        load.progress()
        for node in nodes:
            node.proxy.freeze()
        # The lease is over by the clock; there is nothing to be seen meanwhile.
        assert not threading.Event().wait(seconds)
        for node in nodes:
            node.proxy.thaw()
    load.progress()
    load.ends_as_begun(nodes, epochs)


# Whose commits are cut off: (program, a statement of the transaction).
TRANSACTIONS = [("rowpost/smtpd", "store_"), ("rowpost/smtpd", "large_queue"), ("rowpost/smtpd", "process_renew"),
                ("rowpost/qmgr", "claim_"), ("rowpost/qmgr", "deferred_take"), ("rowpost/qmgr", "record_"),
                ("rowpost/qmgr", "settle_"), ("rowpost/qmgr", "node_renew")]


@limit(900 if FULL else 180)
def test_commit_in_doubt(t):
    """Connections lost in COMMIT, before the server got it and after: found out; nothing is lost or accepted twice."""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, proxied=True)
    load = loaded(t, nodes)
    cuts = [(node, program, side, statement) for node in nodes for program, statement in TRANSACTIONS
            for side in ("answer", "request")] * (5 if FULL else 1)
    for node, program, side, statement in cuts:
        node.proxy.cut(program, side, statement)
        wait_until("cut of %s %s of %s (%s)" % (program, statement, node.name, side),
                   lambda: not node.proxy.pending_cuts(), 30)
    load.stop()
    nodes.drained()
    print(load.summary())
    equal(nodes.account().doubled, [], "second copies")
    stored = int(nodes.sql("SELECT count(DISTINCT msg_id) FROM mailq.history WHERE sender <> '' AND sender NOT LIKE 'double-bounce@%'")[0][0])
    equal(stored, load.accepted, "messages in the history, and messages accepted")


def in_flight(t, relay, result):
    """Send one message in a thread; result gets its reply to the final dot."""
    mail = Mail(t.ledger, "small", 1)

    def run():
        with SmtpClient(relay.port, limit=90) as c:
            c.ehlo()
            c.envelope(mail.sender, mail.recipients)
            c.cmd("DATA", 354)
            c.send_raw(dot_stuffed(mail.text) + b".\r\n")
            reply = c.expect(None)
            t.ledger.record(mail.id, mail.recipients, queue_id(reply) if reply.code == 250 else None)
            result.append(reply)
    th = threading.Thread(target=run, daemon=True)
    th.start()
    return mail, th


@limit(120)
def test_synchronous_wait_cancelled(t):
    """The standby is away and somebody cancels the wait for it: 451, for the message may be on one disk only."""
    pg = t.cluster()
    uri = pg.create_database("queue")
    sink = t.sink()
    nodes = Nodes(t, 1, sink, pg=pg, uri=uri)
    relay = nodes[0]
    t.send(relay)
    sink.wait(1)
    standby = pg.standby()
    t.send(relay)
    sink.wait(2)
    standby.stop("immediate")
    replies = []
    mail, sender = in_flight(t, relay, replies)
    waiting = pg.wait_sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'rowpost/smtpd' "
                          "AND wait_event = 'SyncRep'")
    equal(replies, [], "replies before the standby has it")
    pg.sql("SELECT pg_cancel_backend(%s)" % waiting[0][0])
    sender.join()
    equal([r.code for r in replies], [451], "reply")
    match(replies[0].text, r"^4\.3\.0 ")
    standby.start()
    # The client comes again, as clients do; the first try may be delivered too.
    wait_until("250 for the second try", lambda: again(t, relay, mail), 45)
    nodes.drained()
    account = nodes.account()
    assert not account.lost
    for _, _, copies, cause in account.doubled:
        assert copies == 2 and "in doubt" in cause


def again(t, relay, mail):
    try:
        with SmtpClient(relay.port, limit=90) as c:
            c.ehlo()
            c.envelope(mail.sender, mail.recipients)
            q = queue_id(c.content(mail.text))
    except AssertionError:
        return False
    t.ledger.record(mail.id, mail.recipients, q)
    return True


@limit(180)
def test_failover(t):
    """The primary's host dies, the synchronous standby is promoted: nodes with a multi-host connection string follow,
    and what got 250 is there."""
    pg = t.cluster()
    pg.create_database("queue")
    # The standby's directory is known before it runs.
    standby = pg.standby()
    uri = "postgresql:///queue?host=%s,%s&user=%s&target_session_attrs=read-write" % (
        pg.base, standby.base, pgtest.SUPERUSER)
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, pg=pg, uri=uri)
    load = loaded(t, nodes)
    load.progress(50)
    pg.kill9()
    t.ledger.incident("end of the primary")
    standby.promote()
    standby.sql("ALTER SYSTEM RESET synchronous_standby_names")
    load.progress(50)
    load.stop()
    nodes.drained()
    print(load.summary())
    nodes.account()
