"""The helpers themselves: a test tool that cannot fail proves nothing."""
import os
import socket

import pgtest
from deadline import Late, wait_until
from ledger import Account, Ledger
from relay import Log
from session import equal, limit, match, refuses
from sink import DROP, TAKE_AND_DROP, Then
from smtp_client import Closed, Unexpected

ALICE, BOB = "alice@client.example", "bob@dest.example"


def test_sink_and_client(t):
    """What the client sends is what the sink has, dots and all."""
    sink = t.sink()
    c = t.client(sink.port)
    equal(c.ehlo()["8BITMIME"], "", "keyword")
    c.envelope(ALICE, [BOB])
    c.content(b"Subject: a\n folded\nX: y\n\n.dot\n..\n")
    c.quit()
    m = sink.wait(1)[0]
    equal(m.data, b"Subject: a\r\n folded\r\nX: y\r\n\r\n.dot\r\n..\r\n", "data")
    equal((m.sender, m.recipients, m.header("subject")), (ALICE, [BOB], "a\r\n folded"), "record")
    refuses(lambda: sink.wait(2, 0.1), Late)


def test_sink_rules(t):
    """Rules by argument and number of times; drops before, after and without a reply."""
    sink = t.sink()
    sink.on("rcpt", "450 4.2.0 busy", match="bob@", times=1)
    sink.on("dot", TAKE_AND_DROP, times=1).on("dot", DROP, times=1)
    sink.on("mail", Then("421 4.3.2 going", DROP), match="last@")
    c = t.client(sink.port)
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    c.cmd("RCPT TO:<%s>" % BOB, 450)
    refuses(lambda: c.cmd("RCPT TO:<%s>" % BOB, 450), Unexpected)
    refuses(lambda: c.content(b"\r\n"), Closed)
    c = t.client(sink.port)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    refuses(lambda: c.content(b"\r\n"), Closed)
    equal([(m.taken, m.replied) for m in sink.messages], [(True, False), (False, False)], "records")
    c = t.client(sink.port)
    c.cmd("MAIL FROM:<last@client.example>", 421)
    c.expect_eof()


def test_log(t):
    """Waiting for lines: found, found later than a mark, not found."""
    path = os.path.join(t.dir, "log")
    with open(path, "w") as f:
        f.write("Nov 21 12:00:00 h postfix/smtpd[1]: one\nNov 21 12:00:01 h postfix/smtpd[1]: two\n")
    log = Log(path)
    equal(log.wait_for(r"smtpd\[1\]: (\w+)$", count=2).group(1), "two", "second line")
    mark = log.mark()
    match(str(refuses(lambda: log.wait_for("two", 0.1, since=mark), Late)), "log line")


def test_dns(t):
    """The resolver of the namespace asks the scripted server."""
    d = t.dns(rr=["mx.example.test A 192.0.2.9"], fail={"broken.test": "servfail"})
    equal(socket.gethostbyname("mx.example.test"), "192.0.2.9", "address")
    refuses(lambda: socket.gethostbyname("broken.test"), OSError)
    refuses(lambda: socket.gethostbyname("absent.test"), OSError)
    assert d.asked("mx.example.test", "A") >= 1
    d.change(rr=["mx.example.test A 192.0.2.10"])
    equal(socket.gethostbyname("mx.example.test"), "192.0.2.10", "new address")


@limit(90)
def test_database_cluster(t):
    """Committed rows survive kill -9 of the server and, with a synchronous standby, of its host."""
    pg = t.cluster()
    uri = pg.create_database("q")
    pgtest.run_sql(uri, "CREATE TABLE t (a text)")
    pgtest.run_sql(uri, "INSERT INTO t VALUES ('one'), (NULL), (E'two\\nlines')")
    pg.kill9()
    refuses(lambda: pgtest.run_sql(uri, "SELECT 1"), pgtest.PgError)
    pg.start()
    equal(pgtest.run_sql(uri, "SELECT a FROM t"), [["one"], [None], ["two\nlines"]], "rows")
    standby = pg.standby()
    pgtest.run_sql(uri, "DELETE FROM t WHERE a IS NULL")
    pg.kill9()
    standby.promote()
    equal(standby.sql("SELECT count(*) FROM t", "q"), [["2"]], "rows of the standby")


class Copy:
    """A sink's record of one message."""

    def __init__(self, replied=True, node="one", at=0.0):
        self.replied, self.node = replied, node
        self.at = self.answered = at


def account(state, copies, tries=1, queue_ids=("Q1",), dead=None):
    """dead: the node that was killed at the beginning of time."""
    book = Ledger()
    if dead:
        book.incidents.append((0.0, 0.0, "death", dead))
    for n in range(tries):
        book.record("L", [BOB], queue_ids[n] if n < len(queue_ids) else None)
    return Account(book.entries, state, {("L", BOB): copies}, incidents=book.incidents)


def test_ledger(t):
    """Loss, contradictions and doubles without a cause are found; what has a cause is listed."""
    account({("Q1", BOB): ["delivered"]}, [Copy()]).assert_whole()
    account({("Q1", BOB): ["queued"]}, []).assert_whole()
    account({("Q1", BOB): ["bounced"]}, []).assert_whole()
    refuses(account({}, []).assert_whole)
    refuses(account({("Q1", BOB): ["delivered"]}, []).assert_whole)
    refuses(account({("Q1", BOB): ["delivered", "queued"]}, [Copy()]).assert_whole)
    refuses(account({("Q1", BOB): ["delivered"]}, [Copy(), Copy()]).assert_whole)
    doubled = account({("Q1", BOB): ["delivered"]}, [Copy(replied=False), Copy()])
    equal(doubled.assert_whole().doubled, [("L", BOB, 2, "reply lost")], "doubles")
    refuses(lambda: doubled.assert_whole(allow_doubles=False))
    twice = [Copy(), Copy(node="two", at=9.0)]
    equal(account({("Q1", BOB): ["delivered"]}, twice, dead="one").assert_whole().doubled[0][3], "death", "cause")
    refuses(account({("Q1", BOB): ["delivered"]}, twice, dead="two").assert_whole)
    in_doubt = account({("Q1", BOB): ["delivered"]}, [Copy(), Copy()], tries=2)
    equal(in_doubt.assert_whole().doubled[0][3], "in doubt", "cause")


def test_deadline(t):
    """wait_until() gives the value, or says what did not come."""
    values = iter([0, None, 7])
    equal(wait_until("seven", lambda: next(values)), 7, "value")
    match(str(refuses(lambda: wait_until("a thing", lambda: False, 0.05), Late)), "a thing")
