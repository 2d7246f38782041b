"""The operators' SQL: each function of schema rowpost by any WHERE, on a running relay; who ordered it, and why."""
import os
import re

from session import equal, limit

WHERE = "FROM rowpost.queue WHERE recipient LIKE '%%@dest.example'"


def deferring(t, **main):
    """A relay whose mail is all deferred for an hour."""
    sink = t.sink().on("rcpt", "450 4.2.0 busy", match="tmp@")
    return sink, t.relay(sink=sink, main=dict({"minimal_backoff_time": "1h", "maximal_backoff_time": "1h"}, **main))


def deferred(t, r, *recipients):
    """One message, deferred; its queue id."""
    q = t.send(r, recipients=list(recipients) or ["tmp@dest.example"])
    r.wait_queue(lambda entries: [e for e in entries if e["queue_id"] == q and e["queue_name"] == "deferred"])
    return q


def order(r, call, answer=("1", "0", "0")):
    """rowpost.CALL about the mail for dest.example."""
    equal(r.sql("SELECT (x).* FROM (SELECT rowpost.%s AS x %s) o" % (call, WHERE.replace("%%", "%"))), [list(answer)], call)


def check_record(r, q, verb, why):
    rows = r.sql("SELECT queue_id, verb, done IS NOT NULL, who = session_user, why FROM rowpost.queue_order "
                 "ORDER BY order_id DESC LIMIT 1")
    equal(rows, [[q, verb, "t", "t", why]], "order")


def places(r):
    return [e["queue_name"] for e in r.queue()]


def test_hold_and_release(t):
    sink, r = deferring(t)
    q = deferred(t, r)
    order(r, "hold(array_agg(DISTINCT msg_id), 'spam?')")
    check_record(r, q, "hold", "spam?")
    equal(places(r), ["hold"], "queue")
    sink.forget_rules()
    order(r, "release(array_agg(DISTINCT msg_id), 'it is not')")
    check_record(r, q, "release", "it is not")
    equal(sink.wait(1)[0].recipients, ["tmp@dest.example"], "delivered")
    r.wait_empty()


def test_requeue_and_flush(t):
    sink, r = deferring(t)
    q = deferred(t, r)
    order(r, "requeue(array_agg(DISTINCT msg_id), 'try anew')")
    check_record(r, q, "requeue", "try anew")
    t.wait("second attempt", lambda: r.log.text().count("status=deferred") == 2)
    r.wait_queue(lambda entries: [e["queue_name"] for e in entries] == ["deferred"])
    equal(r.sql("SELECT attempts FROM rowpost.queue"), [["1"]], "attempts")
    sink.forget_rules()
    order(r, "flush(array_agg(DISTINCT msg_id), 'fixed')")
    check_record(r, q, "flush", "fixed")
    equal(sink.wait(1)[0].recipients, ["tmp@dest.example"], "delivered")
    r.wait_empty()


def test_delete(t):
    sink, r = deferring(t)
    q = deferred(t, r)
    order(r, "delete(array_agg(DISTINCT msg_id), 'asked by the owner')")
    check_record(r, q, "delete", "asked by the owner")
    equal(r.queue(), [], "queue")
    equal(r.sql("SELECT outcome, reason LIKE '%: asked by the owner' FROM rowpost.history"), [["deleted", "t"]], "history")
    equal(sink.messages, [], "messages")


def test_expire(t):
    """Returned instead of the next attempt."""
    sink, r = deferring(t)
    q = deferred(t, r)
    order(r, "expire(array_agg(DISTINCT msg_id), 'too old')")
    check_record(r, q, "expire", "too old")
    equal(places(r), ["deferred"], "queue")
    order(r, "flush(array_agg(DISTINCT msg_id))")
    equal((sink.wait(1)[0].sender, sink.messages[0].recipients), ("", ["alice@client.example"]), "bounce")
    r.wait_empty()


def test_bounce(t):
    """Returned at once, also from hold."""
    sink, r = deferring(t)
    q = deferred(t, r)
    order(r, "hold(array_agg(DISTINCT msg_id))")
    order(r, "bounce(array_agg(DISTINCT msg_id), 'wrong list')")
    check_record(r, q, "bounce", "wrong list")
    equal((sink.wait(1)[0].sender, sink.messages[0].recipients), ("", ["alice@client.example"]), "bounce")
    r.wait_empty()
    equal(r.log.text().count("%s: from=<alice@client.example>, status=force-expired, returned to sender" % q), 1, "lines")


def test_reroute(t):
    """By another transport to another host, whatever the tables say, and so again at the next attempt."""
    sink, r = deferring(t)
    other = t.sink().on("rcpt", "450 4.2.0 busy too", match="tmp@", times=1)
    q = deferred(t, r)
    order(r, "reroute(array_agg(DISTINCT msg_id), 'smtp', '%s', 'relay is down')" % other.nexthop)
    t.wait("an attempt there", lambda: "busy too" in r.log.text())
    check_record(r, q, "reroute", "relay is down")
    r.wait_queue(lambda entries: [e["queue_name"] for e in entries] == ["deferred"])
    equal(r.sql("SELECT transport, nexthop FROM rowpost.queue"), [["smtp", other.nexthop]], "where to")
    equal(r.sql("SELECT attributes->>'content_filter' FROM rowpost.message"), [["smtp:" + other.nexthop]], "attribute")
    order(r, "reroute(array_agg(DISTINCT msg_id), 'smtp', '%s', 'once more')" % other.nexthop)
    equal(other.wait(1)[0].recipients, ["tmp@dest.example"], "delivered")
    r.wait_empty()
    equal(sink.messages, [], "at the old place")


def test_by_any_where(t):
    """Only what the WHERE says; a transaction that is rolled back orders nothing; unknown messages are counted."""
    sink, r = deferring(t)
    q = deferred(t, r)
    other = t.send(r, recipients=["tmp@other.example"])
    r.wait_queue(lambda entries: len(entries) == 2 and {e["queue_name"] for e in entries} == {"deferred"})
    order(r, "hold(array_agg(DISTINCT msg_id))")
    equal(sorted((e["queue_id"], e["queue_name"]) for e in r.queue()), sorted([(q, "hold"), (other, "deferred")]), "queue")
    r.sql("BEGIN; SELECT rowpost.delete(array_agg(msg_id)) FROM rowpost.queue; ROLLBACK")
    equal(len(r.queue()), 2, "messages")
    equal(r.sql("SELECT (rowpost.hold(ARRAY[12345::int8])).*"), [["0", "0", "1"]], "unknown")
    equal(r.sql("SELECT (rowpost.hold(array_agg(msg_id))).* FROM rowpost.queue WHERE false"), [["0", "0", "0"]], "nothing")


@limit(120)
def test_by_domain(t):
    """The mail of a domain is found by an index, also what is flushed of it; letters of either case are equal."""
    _, r = deferring(t)
    r.sql("""INSERT INTO mailq.deferred_message (msg_id, arrival, size, recipients, expires_at, sender, attrs, content)
        SELECT n * 4096, now(), 1000, 1, 'infinity', 's@client.example', '', '' FROM generate_series(1, 20000) n;
        INSERT INTO mailq.deferred (msg_id, destination, next_attempt, rcpt_no, attempts, dsn_notify, addr, dsn, reason)
        SELECT n * 4096, 1, now() + interval '1 hour', 0, 1, 0, 'a@D' || n % 1000 || '.example', '', 'later'
        FROM generate_series(1, 20000) n; ANALYZE mailq.deferred; ANALYZE mailq.deferred_message""")
    equal(r.sql("SELECT count(*), min(recipient) FROM rowpost.queue WHERE domain = 'd7.example'"), [["20", "a@D7.example"]], "found")
    plan = "\n".join(row[0] for row in r.sql("EXPLAIN SELECT * FROM rowpost.queue WHERE domain = 'd7.example'"))
    for index in ("deferred_domain", "held_domain"):
        assert index in plan, plan
    assert "Seq Scan on deferred" not in plan, plan
    equal(r.sql("BEGIN; SELECT mailq.flush_site('d7.EXAMPLE'); SELECT seq_scan, idx_scan > 0 FROM pg_stat_xact_user_tables "
                "WHERE relname = 'deferred'; COMMIT"), [["20\n0", "t"]], "flushed")


def test_statements_of_the_docs(t):
    """Every statement that docs/queue.md shows runs as the operators' role, and every column that it names is there."""
    r = t.relay()
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "docs", "queue.md")) as f:
        page = f.read()
    blocks = re.findall(r"^```sql\n(.*?)^```", page, re.S | re.M)
    assert sum(b.count(";") for b in blocks) > 15, blocks
    for block in blocks:
        r.sql("BEGIN; SET LOCAL ROLE rowpost_operator; %s ROLLBACK" % block)
    for view, columns in re.findall(r"^\| `(rowpost\.\w+)` \| [^|]+\| ([^|]+) \|$", page, re.M):
        names = re.sub(r"\([^)]*\)", "", columns)
        r.sql("SELECT %s FROM %s" % (names, view))


@limit(90)
def test_rights(t):
    """rowpost_operator orders; rowpost_monitor only looks."""
    _, r = deferring(t)
    deferred(t, r)
    for role, may in (("rowpost_monitor", False), ("rowpost_operator", True)):
        equal(r.sql("SET ROLE %s; SELECT count(*) FROM rowpost.queue" % role)[-1], ["1"], role)
        for verb in ("hold", "release", "requeue", "delete", "expire", "bounce", "flush"):
            equal(r.sql("SELECT has_function_privilege('%s', 'rowpost.%s(int8[], text)', 'EXECUTE')" % (role, verb)),
                  [["t" if may else "f"]], (role, verb))
    equal(r.sql("SELECT has_function_privilege('rowpost_operator', 'mailq.order_apply(text, int8[], text, text, text, text)', "
                "'EXECUTE')"), [["f"]], "what lies below")
