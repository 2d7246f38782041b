"""postqueue, mailq, postsuper, postcat: what they print and what they do, beside what Postfix 3.7 prints and does."""
import fcntl
import os
import re
import subprocess
import threading

from deadline import STRETCH
from session import equal, limit, match

# Sat Nov 21 10:48:20 2020 UTC
ARRIVAL = 1605955700
REFUSED = "connect to 127.0.0.1[127.0.0.1]:1: Connection refused"
CONTENT = "Received: from x\n\tby y\nSubject: hi\n\nbody\n"


class Stored:
    """A queue that nobody serves, filled by SQL."""

    def __init__(self, t, relay=None, **main):
        self.relay = relay or t.relay(start=False, main=main)
        self.number = 0
        # A scheduler that would obey.
        self.relay.sql("INSERT INTO mailq.node (epoch, name, state) VALUES (77, 'n', 'up')")

    def add(self, place, sender="s@client.example", rcpts=("a@dest.example",), reason="", size=3301, forced=False):
        """One message; its queue id. rcpts: addresses or (address, reason)."""
        self.number += 1
        msg_id = ((ARRIVAL - 1577836800) * 1000000 + self.number) * 4096
        rcpts = [r if isinstance(r, tuple) else (r, reason) for r in rcpts]
        content = "decode('%s', 'hex')" % CONTENT.encode().hex()
        arrival = "to_timestamp(%d)" % ARRIVAL
        if place in ("incoming", "active"):
            table = "batch_0" if place == "incoming" else "active_0"
            sql = """INSERT INTO mailq.incoming_0 (msg_id, part, arrival, size, recipients, sender, attrs, rcpts, content)
                VALUES (%d, 0, %s, %d, %d, '%s', '', '%s', %s);
                INSERT INTO mailq.%s (batch_id, part, msg_ids, recipients, bytes%s)
                VALUES (nextval('mailq.batch_seq'), 0, '{%d}', %d, %d%s);""" % (
                msg_id, arrival, size, len(rcpts), sender, "\n".join(r[0] for r in rcpts), content, table,
                ", owner" if place == "active" else "", msg_id, len(rcpts), size,
                ", 77" if place == "active" else "")
        else:
            sql = """INSERT INTO mailq.deferred_message (msg_id, arrival, size, recipients, expires_at, forced_expire, sender,
                attrs, content) VALUES (%d, %s, %d, %d, 'infinity', %s, '%s', E'client_name\\nlocalhost', %s);""" % (
                msg_id, arrival, size, len(rcpts), str(forced).lower(), sender, content)
            for n, (addr, why) in enumerate(rcpts):
                domain = addr.rpartition("@")[2]
                sql += """INSERT INTO mailq.destination (destination_id, transport, nexthop, next_due, dead_until)
                    VALUES (mailq.destination_id('smtp', '%s'), 'smtp', '%s', now() + interval '1 hour',
                        now() + interval '1 hour') ON CONFLICT DO NOTHING;""" % (domain, domain)
                columns = "msg_id, destination, rcpt_no, attempts, dsn_notify, addr, dsn, reason"
                values = "%d, mailq.destination_id('smtp', '%s'), %d, 3, 0, '%s', '', '%s'" % (
                    msg_id, domain, n, addr, why)
                if place == "hold":
                    sql += "INSERT INTO mailq.held (%s, why) VALUES (%s, '');" % (columns, values)
                else:
                    sql += "INSERT INTO mailq.deferred (%s, next_attempt) VALUES (%s, now() + interval '1 hour');" % (
                        columns, values)
        return self.relay.sql(sql + "SELECT rowpost.queue_id(%d)" % msg_id)[0][0]

    def places(self):
        """{queue id: [queue, ...]}"""
        out = {}
        for q, queue in self.relay.sql("SELECT DISTINCT queue_id, queue FROM rowpost.queue ORDER BY 1, 2"):
            out.setdefault(q, []).append(queue)
        return out

    def due(self):
        """Addresses that are to be tried now."""
        return [r[0] for r in self.relay.sql(
            "SELECT recipient FROM rowpost.queue WHERE next_attempt <= now() ORDER BY 1")]

    def super(self, *args, **kw):
        """postsuper; the lines it says."""
        p = self.relay.must_run("postsuper", *args, **kw)
        equal(p.stdout, "", "standard output")
        return p.stderr.replace("postsuper: ", "").splitlines()


def as_nobody(relay, program, *args):
    p = subprocess.run([os.path.join(relay.bin, program), "-c", relay.conf] + list(args), user=65534, group=65534,
                       extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=relay.environ(), text=True)
    return p.returncode, p.stdout, p.stderr


# ---------------------------------------------------------------- listing

def test_empty(t):
    """An empty queue."""
    r = t.relay(start=False)
    for words, out in ((("postqueue", "-p"), "Mail queue is empty\n"), (("postqueue", "-j"), ""),
                       (("mailq",), "Mail queue is empty\n")):
        p = r.must_run(*words)
        equal((p.stdout, p.stderr), (out, ""), words)


def test_table(t):
    """The table, mark by mark, with columns for long queue ids."""
    s = Stored(t, enable_long_queue_ids="yes")
    d = s.add("deferred", rcpts=[("a@x.example", REFUSED), ("b@x.example", REFUSED), ("c@y.example", "busy")])
    h = s.add("hold", sender="", rcpts=["odd one@x.example"], forced=True)
    a = s.add("active")
    i = s.add("incoming", size=1234567)
    blocks = {
        d: "%-17s     3301 Sat Nov 21 10:48:20 s@client.example\n"
           "                       (connect to 127.0.0.1[127.0.0.1]:1: Connection refused)\n"
           "                                               a@x.example\n"
           "                                               b@x.example\n"
           "%s(busy)\n"
           "                                               c@y.example\n" % (d, " " * 72),
        h: "%-17s     3301 Sat Nov 21 10:48:20 MAILER-DAEMON\n"
           "                                               \"odd one\"@x.example\n" % (h + "!#"),
        a: "%-17s     3301 Sat Nov 21 10:48:20 s@client.example\n"
           "                                               a@dest.example\n" % (a + "*"),
        i: "%-17s  1234567 Sat Nov 21 10:48:20 s@client.example\n"
           "                                               a@dest.example\n" % i,
    }
    out = s.relay.must_run("postqueue", "-p").stdout
    head, _, rest = out.partition("\n")
    equal(head, "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------", "header")
    got = rest.split("\n\n")
    equal(got.pop(), "-- 1215 Kbytes in 4 Requests.\n", "footer")
    equal(sorted(b + "\n" for b in got), sorted(blocks.values()), "messages")
    equal(s.relay.must_run("mailq").stdout, out, "mailq")


def test_table_short(t):
    """Columns for short queue ids by default."""
    s = Stored(t)
    q = s.add("hold", size=350)
    equal(s.relay.must_run("postqueue", "-p").stdout,
          "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
          "%s!     350 Sat Nov 21 10:48:20  s@client.example\n"
          "                                         a@dest.example\n\n-- 0 Kbytes in 1 Request.\n" % q, "listing")


def test_json(t):
    """One JSON object a message, with the members that Postfix gives it."""
    s = Stored(t)
    d = s.add("deferred", rcpts=[("a@x.example", REFUSED), ("b@x.example", "")])
    equal(s.relay.must_run("postqueue", "-j").stdout,
          '{"queue_name": "deferred", "queue_id": "%s", "arrival_time": %d, "message_size": 3301, '
          '"forced_expire": false, "sender": "s@client.example", "recipients": [{"address": "a@x.example", '
          '"delay_reason": "%s"}, {"address": "b@x.example"}]}\n' % (d, ARRIVAL, REFUSED), "deferred")
    h, a, i = s.add("hold", sender="", forced=True), s.add("active"), s.add("incoming")
    found = {q["queue_id"]: q for q in s.relay.queue()}
    equal({k: v["queue_name"] for k, v in found.items()}, {d: "deferred", h: "hold", a: "active", i: "incoming"}, "queues")
    equal((found[h]["sender"], found[h]["forced_expire"]), ("MAILER-DAEMON", True), "held message")


def test_settled_recipients_are_not_listed(t):
    """Of a message in delivery only what is still to be done."""
    s = Stored(t)
    s.add("active", rcpts=["a@x.example", "b@x.example"])
    s.relay.sql("INSERT INTO mailq.result_0 SELECT batch_id, part, msg_ids[1], 0, 'sent', now() FROM mailq.active_0")
    equal([[r["address"] for r in q["recipients"]] for q in s.relay.queue()], [["b@x.example"]], "recipients")


@limit(120)
def test_listing_streams(t):
    """A long queue is listed in the memory that an empty one takes."""
    s = Stored(t)
    env = s.relay.environ()
    # A sanitizer build keeps what is freed for a while.
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"

    def peak():
        p = subprocess.Popen([os.path.join(s.relay.bin, "postqueue"), "-c", s.relay.conf, "-p"],
                             stdout=subprocess.PIPE, env=env)
        lines = sum(1 for _ in p.stdout)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        equal(p.returncode, 0, "exit status")
        return lines, usage.ru_maxrss

    lines, before = peak()
    equal(lines, 1, "lines of the empty queue")
    s.relay.sql("""INSERT INTO mailq.deferred_message (msg_id, arrival, size, recipients, expires_at, sender, attrs, content)
        SELECT n * 4096, now(), 1000, 1, 'infinity', 's@client.example', '', '' FROM generate_series(1, 30000) n;
        INSERT INTO mailq.deferred (msg_id, destination, next_attempt, rcpt_no, attempts, dsn_notify, addr, dsn, reason)
        SELECT n * 4096, 1, now(), 0, 1, 0, 'a@dest.example', '', repeat('x', 500) FROM generate_series(1, 30000) n;""")
    lines, after = peak()
    equal(lines, 30000 * 4 + 2, "lines")
    assert after < before + 6000, "from %d KB to %d KB" % (before, after)


def test_broken_pipe(t):
    """mailq | head ends quietly."""
    s = Stored(t)
    s.relay.sql("""INSERT INTO mailq.deferred_message (msg_id, arrival, size, recipients, expires_at, sender, attrs, content)
        SELECT n * 4096, now(), 1000, 1, 'infinity', '', '', '' FROM generate_series(1, 3000) n;
        INSERT INTO mailq.deferred (msg_id, destination, next_attempt, rcpt_no, attempts, dsn_notify, addr, dsn, reason)
        SELECT n * 4096, 1, now(), 0, 1, 0, 'a@dest.example', '', repeat('x', 500) FROM generate_series(1, 3000) n;""")
    p = subprocess.run("%s/mailq -C %s | head -1" % (s.relay.bin, s.relay.conf), shell=True, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=s.relay.environ())
    equal((p.stdout[:10], p.stderr), ("-Queue ID-", ""), "output")


# ---------------------------------------------------------------- flushing

def test_flush_all(t):
    """postqueue -f: all deferred mail is due, no destination is dead."""
    s = Stored(t)
    s.add("deferred", rcpts=["a@x.example", "b@y.example"])
    s.add("hold", rcpts=["c@x.example"])
    equal(s.due(), [], "due before")
    p = s.relay.must_run("postqueue", "-f")
    equal((p.stdout, p.stderr), ("", ""), "output")
    equal(s.due(), ["a@x.example", "b@y.example"], "due")


def test_flush_one(t):
    """postqueue -i: one message; one that is not there is no error."""
    s = Stored(t)
    q = s.add("deferred", rcpts=["a@x.example"])
    s.add("deferred", rcpts=["b@y.example"])
    for name in (q, "ABCDEF0123", "4jWpqN5x3gz1bc6x"):
        p = s.relay.must_run("postqueue", "-i", name)
        equal((p.stdout, p.stderr), ("", ""), name)
    equal(s.due(), ["a@x.example"], "due")


def test_flush_site(t):
    """postqueue -s: mail for one domain."""
    s = Stored(t, fast_flush_domains="x.example")
    s.add("deferred", rcpts=["a@x.example", "b@y.example", "c@sub.x.example"])
    p = s.relay.run("postqueue", "-s", "y.example")
    equal((p.returncode, p.stderr),
          (69, 'postqueue: fatal: Flush service is not configured for destination "y.example"\n'), "not eligible")
    s.relay.must_run("postqueue", "-s", "x.example")
    equal(s.due(), ["a@x.example"], "due")


def test_flush_while_down(t):
    """No scheduler anywhere: nothing would come of it."""
    s = Stored(t)
    s.relay.sql("UPDATE mailq.node SET state = 'dead'")
    for words in (["-f"], ["-i", "ABCDEF0123"]):
        p = s.relay.run("postqueue", *words)
        equal((p.returncode, p.stderr), (69, "postqueue: fatal: Cannot flush mail queue - mail system is down\n"), words)


def test_authorized_users(t):
    """authorized_mailq_users and authorized_flush_users; root may in any case."""
    s = Stored(t, authorized_mailq_users="alice, !static:anyone", authorized_flush_users="nobody")
    for d in (s.relay.bin, os.path.dirname(s.relay.conf), s.relay.conf):
        os.chmod(d, 0o755)
    equal(as_nobody(s.relay, "postqueue", "-p"),
          (77, "", "postqueue: fatal: User nobody(65534) is not allowed to view the mail queue\n"), "-p")
    equal(as_nobody(s.relay, "postqueue", "-j")[0], 77, "-j")
    equal(s.relay.must_run("postqueue", "-p").stdout, "Mail queue is empty\n", "root")
    equal(as_nobody(s.relay, "postqueue", "-f"), (0, "", ""), "-f")
    s.relay.write_config(authorized_flush_users="!nobody, static:anyone")
    equal(as_nobody(s.relay, "postqueue", "-f"),
          (77, "", "postqueue: fatal: User nobody(65534) is not allowed to flush the mail queue\n"), "-f")


def test_postqueue_errors(t):
    """Whatever is wrong with the command line is EX_UNAVAILABLE, as with Postfix."""
    r = t.relay(start=False)
    usage = ("usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site")
    for words, text in (
            ([], usage), (["-f", "-p"], usage), (["-p", "extra"], usage),
            (["-i", "bad/id"], 'Cannot flush queue ID - invalid name: "bad/id"'),
            (["-i", ""], 'Cannot flush queue ID - invalid name: ""'),
            (["-s", "bad..site"], 'Cannot flush mail queue - invalid destination: "bad..site"')):
        p = r.run("postqueue", *words)
        equal((p.returncode, p.stderr), (69, "postqueue: fatal: %s\n" % text), words)
    equal(r.run("postqueue", "-z").returncode, 69, "-z")
    p = r.run("mailq", "extra")
    equal((p.returncode, p.stderr), (75, "mailq: fatal: display queue mode requires no recipient\n"), "mailq extra")
    p = subprocess.run([os.path.join(r.bin, "postqueue"), "-c", "/nonexistent", "-p"], stderr=subprocess.PIPE, text=True)
    equal((p.returncode, p.stderr), (69, "postqueue: fatal: open /nonexistent/main.cf: No such file or directory\n"),
          "no configuration")


def test_no_database(t):
    """No server: said in one line, and in the log; no schema: advice."""
    r = t.relay(start=False, database="postgresql:///x?host=/nonexistent")
    p = r.run("postqueue", "-p")
    equal((p.returncode, p.stdout), (69, ""), "postqueue -p")
    match(p.stderr, r"\Apostqueue: fatal: Queue report unavailable - .*/nonexistent.*\n\Z")
    match(r.log.text(), r"postfix/postqueue\[\d+\]: fatal: Queue report unavailable - ")
    p = r.run("postqueue", "-f")
    equal(p.returncode, 69, "postqueue -f")
    match(p.stderr, r"\Apostqueue: fatal: Cannot flush mail queue - ")
    equal(r.run("mailq").returncode, 69, "mailq")
    equal(r.run("postsuper", "-d", "ALL").returncode, 1, "postsuper")
    bare = t.relay(start=False, database=t.database(schema=False))
    p = bare.run("postqueue", "-j")
    equal(p.returncode, 78, "no schema")
    match(p.stderr, "rowpost schema")


def test_two_databases(t):
    """Messages of all queue databases are one queue; one that is away is not hidden."""
    first, second = t.database(), t.database()
    s = Stored(t, relay=t.relay(start=False, database=first))
    other = Stored(t, relay=t.relay(start=False, database=second))
    other.number = 100
    a, b = s.add("deferred", rcpts=["a@x.example"]), other.add("deferred", rcpts=["b@x.example"])
    s.relay.write_config(queue_databases="%s, %s" % (first, second))
    equal(sorted(q["queue_id"] for q in s.relay.queue()), sorted([a, b]), "both")
    s.relay.must_run("postqueue", "-i", b)
    equal((s.due(), other.due()), ([], ["b@x.example"]), "due")
    equal(s.super("-h", a, "-h", b), [a + ": placed on hold", b + ": placed on hold", "Placed on hold: 2 messages"], "-h")
    equal(s.super("-H", "ALL"), ["Released from hold: 2 messages"], "-H ALL")
    match(s.relay.must_run("postcat", "-q", b).stdout, "^recipient: b@x.example$")
    s.relay.write_config(queue_databases="%s, postgresql:///x?host=/nonexistent" % first)
    p = s.relay.run("postqueue", "-j")
    equal(p.returncode, 69, "exit status with one away")
    match(p.stdout, a)
    match(p.stderr, "/nonexistent")


@limit(120)
def test_embedded_database(t):
    """root may use the embedded database, and whoever has a role there, nobody else."""
    r = t.relay(database=None)
    equal(r.must_run("postqueue", "-p").stdout, "Mail queue is empty\n", "root")
    equal(r.must_run("postsuper", "-d", "ALL").stderr, "postsuper: Deleted: 0 messages\n", "postsuper")
    status, out, said = as_nobody(r, "postqueue", "-p")
    equal((status, out), (69, ""), "nobody")
    match(said, "user nobody has no role in the queue database")
    r.must_run("rowpost", "sql", "-qc", "CREATE ROLE daemon LOGIN; GRANT rowpost_monitor TO daemon")
    look = ["psql", "-qAtX", "-h", r.dir + "/d/run", "-U", "daemon", "rowpost", "-c"]
    p = subprocess.run(look + ["SELECT count(*) FROM rowpost.queue"], user="daemon", extra_groups=[], stdout=subprocess.PIPE)
    equal((p.returncode, p.stdout), (0, b"0\n"), "who only looks")
    r.must_run("rowpost", "sql", "-qc", "CREATE ROLE nobody LOGIN; GRANT rowpost_operator TO nobody")
    equal(as_nobody(r, "postqueue", "-p")[:2], (0, "Mail queue is empty\n"), "with a role")


# ---------------------------------------------------------------- postsuper

def test_super_by_id(t):
    """-h, -H, -r, -d with one id: line, total, log, and where the message is."""
    s = Stored(t)
    q = s.add("deferred")
    for words, line, total, places in (
            (["-h", q], "placed on hold", "Placed on hold", {q: ["hold"]}),
            (["-H", q], "released from hold", "Released from hold", {q: ["deferred"]}),
            (["-h", q], "placed on hold", "Placed on hold", {q: ["hold"]}),
            (["-r", q], "requeued", "Requeued", {q: ["deferred"]}),
            (["-d", q], "removed", "Deleted", {})):
        mark = s.relay.log.mark()
        equal(s.super(*words), ["%s: %s" % (q, line), "%s: 1 message" % total], words)
        equal(s.places(), places, words)
        match(s.relay.log.text()[mark:], r"postfix/postsuper\[\d+\]: %s: %s$" % (q, line))
        match(s.relay.log.text()[mark:], r"postfix/postsuper\[\d+\]: %s: 1 message$" % total)


def test_super_what_does_not_apply(t):
    """Unknown ids, messages in another queue, bad ids."""
    s = Stored(t)
    d, h = s.add("deferred"), s.add("hold")
    equal(s.super("-d", "ABCDEF0123", "-h", h, "-H", d), [
        "Deleted: 0 messages", "Placed on hold: 0 messages", "Released from hold: 0 messages"], "nothing")
    equal(s.super("-d", d, "hold"), ["Deleted: 0 messages"], "-d in hold")
    equal(s.super("-d", "bad/id"), ["warning: invalid mail queue id: bad/id", "Deleted: 0 messages"], "bad id")
    equal(s.super("-d", "all"), ["Deleted: 0 messages"], "all in lower case")
    equal(s.super("-d", "ALL", "bounce"), ["Deleted: 0 messages"], "a queue without messages")
    equal(s.places(), {d: ["deferred"], h: ["hold"]}, "places")


def test_super_expire(t):
    """-e marks, -f also releases; what was marked before does not count."""
    s = Stored(t)
    d, h = s.add("deferred"), s.add("hold")
    equal(s.super("-e", d), [d + ": expired", "Force-expired: 1 message"], "-e")
    equal(s.super("-e", d), ["Force-expired: 0 messages"], "-e again")
    equal(s.super("-e", h), [h + ": expired", "Force-expired: 1 message"], "-e on hold")
    equal(s.super("-f", h), [h + ": released from hold", "Force-expired: 0 messages", "Released from hold: 1 message"], "-f")
    equal({q["queue_id"]: (q["queue_name"], q["forced_expire"]) for q in s.relay.queue()},
          {d: ("deferred", True), h: ("deferred", True)}, "queue")


def test_super_all(t):
    """ALL, with and without names of queues: totals only."""
    s = Stored(t)
    d, e, h, i = s.add("deferred"), s.add("deferred"), s.add("hold"), s.add("incoming")
    equal(s.super("-d", "ALL", "hold"), ["Deleted: 1 message"], "-d ALL hold")
    equal(sorted(s.places()), sorted([d, e, i]), "left")
    equal(s.super("-h", "ALL", "deferred"), ["Placed on hold: 2 messages"], "-h ALL deferred")
    equal(s.places(), {d: ["hold"], e: ["hold"], i: ["incoming"]}, "places")
    equal(s.super("-h", "ALL"), ["Placed on hold: 1 message"], "-h ALL")
    equal(s.super("-H", "ALL"), ["Released from hold: 3 messages"], "-H ALL")
    equal(s.super("-r", "ALL"), ["Requeued: 3 messages"], "-r ALL")
    equal(s.super("-d", "ALL"), ["Deleted: 3 messages"], "-d ALL")
    equal((s.places(), h in s.places()), ({}, False), "left")


def test_super_from_stdin(t):
    """Ids on standard input, more than fit into one order."""
    s = Stored(t)
    s.relay.sql("""INSERT INTO mailq.deferred_message (msg_id, arrival, size, recipients, expires_at, sender, attrs, content)
        SELECT n * 4096, now(), 1, 1, 'infinity', '', '', '' FROM generate_series(1, 1100) n;
        INSERT INTO mailq.deferred (msg_id, destination, next_attempt, rcpt_no, attempts, dsn_notify, addr, dsn, reason)
        SELECT n * 4096, 1, now(), 0, 1, 0, 'a@dest.example', '', '' FROM generate_series(1, 1100) n;""")
    keep = s.add("deferred")
    ids = [q["queue_id"] for q in s.relay.queue() if q["queue_id"] != keep]
    said = s.super("-h", "-", stdin="\n".join(ids[:20] + ["NOTHERE1", "b/ad"]) + "\n")
    equal(said, ["warning: invalid mail queue id: b/ad"] + [q + ": placed on hold" for q in ids[:20]] +
          ["Placed on hold: 20 messages"], "-h -")
    said = s.super("-d", "-", stdin="\n".join(ids) + "\n")
    equal(said[-1], "Deleted: 1100 messages", "total")
    equal(sorted(said[:-1]), sorted(q + ": removed" for q in ids), "lines")
    equal(s.places(), {keep: ["deferred"]}, "left")


def test_super_in_delivery(t):
    """A message in a scheduler's hands: the order is kept for it."""
    s = Stored(t)
    q = s.add("active")
    equal(s.super("-h", q), [q + ": placed on hold", "Placed on hold: 1 message", "Pending, being delivered now: 1 message"],
          "-h")
    equal(s.relay.sql("SELECT queue_id, verb, done IS NULL, who, why FROM rowpost.queue_order"),
          [[q, "hold", "t", "root", "postsuper -h"]], "order")


def test_super_expire_in_delivery(t):
    """A message in a scheduler's hands is marked at once, and marked once."""
    s = Stored(t)
    q = s.add("active")
    equal(s.super("-e", q)[:2], [q + ": expired", "Force-expired: 1 message"], "-e")
    equal([(e["queue_name"], e["forced_expire"]) for e in s.relay.queue()], [("active", True)], "queue")
    equal(s.relay.sql("SELECT forced_expire FROM rowpost.queue"), [["t"]], "view")
    equal(s.super("-e", q), ["Force-expired: 0 messages"], "-e again")


def test_super_errors(t):
    """Command line, rights."""
    s = Stored(t)
    p = s.relay.run("postsuper", "-d", "ALL", "corrupt")
    equal((p.returncode, p.stderr), (1, "postsuper: fatal: invalid directory name: corrupt\n"), "queue")
    p = s.relay.run("postsuper", "-z")
    equal(p.returncode, 1, "-z")
    match(p.stderr, r"^postsuper: fatal: usage: postsuper \[-c config_dir\] \[-d queue_id \(delete\)\] ")
    equal(s.relay.must_run("postsuper", "-psS").stderr, "", "-psS")
    os.chmod(s.relay.bin, 0o755)
    equal(as_nobody(s.relay, "postsuper", "-d", "ALL"),
          (1, "", "postsuper: fatal: use of this command is reserved for the superuser\n"), "not root")


# ---------------------------------------------------------------- qshape

def shape(s, *args):
    """The table without its heading: [[name, all, age, ...]]."""
    p = s.relay.must_run("qshape", "-b", "3", *args)
    return [ln.split() for ln in p.stdout.splitlines()[1:]]


def test_qshape(t):
    """Which queues are looked into, and whose domains are counted."""
    s = Stored(t)
    s.add("deferred", rcpts=["a@x.example", "b@x.example", "c@y.example"])
    s.add("deferred", sender="")
    s.add("hold", sender="s@other.example")
    s.add("active", rcpts=["d@z.example"])
    s.add("incoming", rcpts=["e@z.example"])
    drop(s, "f@w.example")
    age = ["1", "0", "0", "1"]
    equal(shape(s), [["TOTAL", "2", "0", "0", "2"], ["z.example", "2", "0", "0", "2"]], "incoming and active")
    equal(shape(s, "deferred"), [["TOTAL", "4", "0", "0", "4"], ["x.example", "2", "0", "0", "2"],
                                 ["y.example"] + age, ["dest.example"] + age], "deferred")
    equal(shape(s, "-s", "deferred", "hold"), [["TOTAL", "3", "0", "0", "3"], ["MAILER-DAEMON"] + age,
                                              ["other.example"] + age, ["client.example"] + age], "senders")
    equal(shape(s, s.relay.queue_dir + "/maildrop"), [["TOTAL"] + age, ["w.example"] + age], "maildrop")
    s.relay.sql("UPDATE mailq.deferred_message SET arrival = now() - interval '1 day'")
    equal(shape(s, "-t", "1000000", "-p", "-m", "1", "hold"),
          [["TOTAL", "1", "1", "0", "0"], ["dest.example", "1", "1", "0", "0"]], "options")
    p = s.relay.run("qshape", "nosuch")
    equal((p.returncode, p.stderr), (0, "Can't stat nosuch: No such file or directory\n"), "no such queue")
    p = s.relay.run("qshape", "-h")
    equal((p.returncode, p.stdout, p.stderr[:14]), (255, "", "Usage: qshape "), "-h")


# ---------------------------------------------------------------- maildrop

def drop(s, *rcpts):
    """A finished file in maildrop, as postdrop leaves it; its name."""
    path = os.path.join(s.relay.queue_dir, "maildrop")
    os.makedirs(path, exist_ok=True)
    name = "D%07d" % len(os.listdir(path))
    records = [("V", "1"), ("T", "%d" % (ARRIVAL * 1000000)), ("S", "s@client.example")] + [("R", r) for r in rcpts] + [
        ("M", ""), ("L", "Subject: hi\n\nbody\n"), ("Z", "")]
    with open(os.path.join(path, name), "w") as f:
        f.write("".join("%s%d:%s\n" % (t, len(v), v) for t, v in records))
    os.utime(os.path.join(path, name), (ARRIVAL, ARRIVAL))
    os.chmod(os.path.join(path, name), 0o744)
    return name


def test_maildrop_is_listed(t):
    """What pickup has not taken yet, before all else; unfinished files are nobody's."""
    s = Stored(t)
    name = drop(s, "a@dest.example", "b@dest.example")
    os.chmod(os.path.join(s.relay.queue_dir, "maildrop", drop(s, "x@dest.example")), 0o600)
    size = os.stat(os.path.join(s.relay.queue_dir, "maildrop", name)).st_size
    equal(s.relay.must_run("postqueue", "-p").stdout,
          "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
          "%-11s %7d Sat Nov 21 10:48:20  s@client.example\n"
          "                                         a@dest.example\n"
          "                                         b@dest.example\n\n-- 0 Kbytes in 1 Request.\n" % (name, size), "table")
    s.add("deferred", rcpts=["c@dest.example"])
    equal([(q["queue_name"], [r["address"] for r in q["recipients"]]) for q in s.relay.queue()],
          [("maildrop", ["a@dest.example", "b@dest.example"]), ("deferred", ["c@dest.example"])], "JSON")


def test_maildrop_is_deleted(t):
    """By name, and with ALL, unless other queues are named."""
    s = Stored(t)
    a, b, c = drop(s, "a@dest.example"), drop(s, "b@dest.example"), drop(s, "c@dest.example")
    q = s.add("deferred")
    equal(s.super("-d", a), [a + ": removed", "Deleted: 1 message"], "by name")
    equal(s.super("-d", b, "deferred"), ["Deleted: 0 messages"], "elsewhere")
    equal(s.super("-d", "ALL", "deferred"), ["Deleted: 1 message"], "ALL elsewhere")
    equal(s.super("-d", b, "maildrop"), [b + ": removed", "Deleted: 1 message"], "by name there")
    s.add("hold")
    equal(s.super("-d", "ALL", "maildrop"), ["Deleted: 1 message"], "ALL there")
    drop(s, "d@dest.example")
    equal(s.super("-d", "ALL"), ["Deleted: 2 messages"], "ALL")
    equal(s.relay.queue(), [], "left")
    assert q and c


def test_requeued_into_maildrop(t):
    """-r: a file for pickup, with all that the message has, and the message itself is gone."""
    s = Stored(t)
    os.makedirs(os.path.join(s.relay.queue_dir, "maildrop"), exist_ok=True)
    d, h = s.add("deferred", rcpts=["a@dest.example", "b@dest.example"]), s.add("hold", sender="")
    s.relay.sql("""UPDATE mailq.deferred SET orig_addr = 'alias@dest.example', dsn_orcpt = 'rfc822;x@y.example', dsn_notify = 6
        WHERE addr = 'b@dest.example'; UPDATE mailq.deferred_message SET attrs = E'envid\\nE+1\\nret\\nHDRS\\nencoding\\n8bit'""")
    equal(s.super("-r", d, "-r", "NOTTHERE1"), [d + ": requeued", "Requeued: 1 message"], "-r")
    with open(os.path.join(s.relay.queue_dir, "maildrop", d)) as f:
        text = f.read()
    match(text, r"\AV1:1\nT16:\d+\nI\d+:%s\nE3:E\+1\nD4:HDRS\nB8:8BITMIME\nS16:s@client.example\n"
                r"R14:a@dest.example\nN1:6\nG18:alias@dest.example\nO18:rfc822;x@y.example\nR14:b@dest.example\nM0:\n" % d)
    assert text.endswith("L%d:%s\nZ0:\n" % (len(CONTENT), CONTENT)), text
    equal(s.super("-r", "ALL"), ["Requeued: 1 message"], "-r ALL")
    equal({q["queue_id"]: q["queue_name"] for q in s.relay.queue()}, {d: "maildrop", h: "maildrop"}, "queue")
    equal(s.places(), {}, "in the database")


def test_requeued_by_two(t):
    """-r twice at once: who comes second leaves the first one's file alone, and what was cut off is begun anew."""
    s = Stored(t)
    path = os.path.join(s.relay.queue_dir, "maildrop")
    os.makedirs(path, exist_ok=True)
    q = s.add("deferred", rcpts=["a@dest.example"])
    path = os.path.join(path, q)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        inode = os.stat(path).st_ino
        match(s.relay.run("postsuper", "-r", q).stderr, "it stays where it is")
        equal(os.stat(path).st_ino, inode, "the file of the first")
        equal(len(s.places()), 1, "the message is there")
    s.super("-r", q)
    assert os.stat(path).st_mode & 0o100, "not finished"
    match(open(path).read(), r"R14:a@dest.example\n")
    equal(s.places(), {}, "in the database")


def test_requeued_comes_back(t):
    """A requeued message comes in again: with a new id, a line more, and what its recipients asked for."""
    sink, r = deferring(t)
    with t.client(r) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<alice@client.example> RET=HDRS ENVID=QQ", 250)
        c.cmd("RCPT TO:<tmp@dest.example> NOTIFY=FAILURE ORCPT=rfc822;bob@dest.example", 250)
        q = re.search(r"queued as (\w+)", c.content(b"Subject: x\r\n\r\nbody\r\n").text).group(1)
    deferred(r, q)
    r.must_run("postsuper", "-r", q)
    m = sink.wait(1)[0]
    equal(m.recipients, ["tmp@dest.example"], "recipients")
    equal(m.data.count(b"Received: "), 2, "trace lines")
    r.wait_empty()
    new = re.search(r"pickup\[\d+\]: (\w+): uid=\d+ from=<alice@client.example> orig_id=%s$" % q, r.log.text(), re.M)
    assert new and new.group(1) != q, r.log.text()
    equal(r.sql("SELECT outcome FROM rowpost.history WHERE queue_id = '%s' AND outcome = 'sent'" % new.group(1)), [["sent"]], "sent")


# ---------------------------------------------------------------- postcat

def test_postcat(t):
    """Envelope records and content of a message, and its parts."""
    s = Stored(t)
    q = s.add("deferred", rcpts=["a b@x.example", "c@x.example"], size=len(CONTENT))
    out = s.relay.must_run("postcat", "-q", q).stdout
    # A record is a type, a length and its data.
    at = sum(2 + len(r) for r in ("x" * 95, "1605955700 0", "create_time=1605955700", "log_ident=" + q, "s@client.example",
                                  "client_name=localhost", "a b@x.example", "a b@x.example", "c@x.example", "c@x.example", ""))
    equal(out, (
        "*** ENVELOPE RECORDS deferred/{q} ***\n"
        "message_size: {size:15d}             {at}               2               0 {size:15d}               0\n"
        "message_arrival_time: Sat Nov 21 10:48:20 2020\n"
        "create_time: Sat Nov 21 10:48:20 2020\n"
        "named_attribute: log_ident={q}\n"
        "sender: s@client.example\n"
        "named_attribute: client_name=localhost\n"
        "original_recipient: a b@x.example\nrecipient: a b@x.example\n"
        "original_recipient: c@x.example\nrecipient: c@x.example\n"
        "*** MESSAGE CONTENTS deferred/{q} ***\n" + CONTENT +
        "*** HEADER EXTRACTED deferred/{q} ***\n"
        "*** MESSAGE FILE END deferred/{q} ***\n").format(q=q, size=len(CONTENT), at=at), "postcat -q")
    match(s.relay.must_run("postcat", "-qo", q).stdout, "^ +%d Received: from x$" % at)
    header, _, body = CONTENT.partition("\n\n")
    equal(s.relay.must_run("postcat", "-hq", q).stdout, header + "\n", "-h")
    equal(s.relay.must_run("postcat", "-bq", q).stdout, "\n" + body, "-b")
    for place in ("incoming", "active", "hold"):
        match(s.relay.must_run("postcat", "-q", s.add(place)).stdout, r"\A\*\*\* ENVELOPE RECORDS %s/" % place)


def test_postcat_errors(t):
    """No such message, no id, no -q."""
    s = Stored(t)
    for words, text in ((["-q", "ABCDEF0123"], "open queue file ABCDEF0123: No such file or directory"),
                        (["-q", "4jWpqN5x3gz1"], "open queue file 4jWpqN5x3gz1: No such file or directory"),
                        (["-q", "bad/id"], "bad mail queue ID: bad/id")):
        p = s.relay.run("postcat", *words)
        equal((p.returncode, p.stdout, p.stderr), (1, "", "postcat: fatal: %s\n" % text), words)
    p = s.relay.run("postcat", "/nonexistent")
    equal((p.returncode, p.stderr), (1, "postcat: fatal: open /nonexistent: No such file or directory\n"), "no such file")
    p = s.relay.run("postcat", "/etc/passwd")
    equal((p.returncode, p.stdout, p.stderr), (1, "", "postcat: fatal: /etc/passwd: input is not a valid queue file\n"), "other file")
    equal(s.relay.run("postcat", "-q").returncode, 0, "nothing asked")


def test_postcat_maildrop(t):
    """A file in maildrop, by its name and as a file."""
    s = Stored(t)
    name = drop(s, "a@dest.example", "b@dest.example")
    want = ("*** ENVELOPE RECORDS {n} ***\nmessage_arrival_time: Sat Nov 21 10:48:20 2020\nsender: s@client.example\n"
            "recipient: a@dest.example\nrecipient: b@dest.example\n*** MESSAGE CONTENTS {n} ***\nSubject: hi\n\nbody\n"
            "*** HEADER EXTRACTED {n} ***\n*** MESSAGE FILE END {n} ***\n")
    equal(s.relay.must_run("postcat", "-q", name).stdout, want.format(n="maildrop/" + name), "-q")
    path = os.path.join(s.relay.queue_dir, "maildrop", name)
    equal(s.relay.must_run("postcat", path).stdout, want.format(n=path), "file")
    equal(s.relay.must_run("postcat", "-bhvq", name).stdout,
          "regular_text: Subject: hi\nregular_text: \nregular_text: body\n", "-v")


# ---------------------------------------------------------------- with a running relay

def deferring(t, **main):
    sink = t.sink().on("rcpt", "450 4.2.0 mailbox busy", match="tmp@", times=1)
    return sink, t.relay(sink=sink, main=dict({"minimal_backoff_time": "1h", "maximal_backoff_time": "1h"}, **main))


def deferred(r, q):
    return r.wait_queue(lambda entries: [e for e in entries if e["queue_id"] == q and e["queue_name"] == "deferred"])


def test_flush_delivers(t):
    """A deferred message, listed with its reason, goes when it is flushed."""
    sink, r = deferring(t)
    q = t.send(r, recipients=["tmp@dest.example"])
    equal(deferred(r, q)[0]["recipients"], [{
        "address": "tmp@dest.example", "delay_reason": "host 127.0.0.1[127.0.0.1] said: 450 4.2.0 mailbox busy "
        "(in reply to RCPT TO command)"}], "recipients")
    r.must_run("postqueue", "-i", q)
    equal(sink.wait(1)[0].recipients, ["tmp@dest.example"], "delivered")
    r.wait_empty()


def test_hold_and_release_delivers(t):
    """Held mail is not flushed; released mail goes."""
    sink, r = deferring(t)
    q = t.send(r, recipients=["tmp@dest.example"])
    deferred(r, q)
    r.must_run("postsuper", "-h", q)
    r.must_run("postqueue", "-f")
    other = t.send(r, recipients=["other@dest.example"])
    r.log.wait_for(r"%s: removed" % other)
    equal([(e["queue_id"], e["queue_name"]) for e in r.queue()], [(q, "hold")], "queue")
    r.must_run("postsuper", "-H", q)
    r.wait_empty()
    equal([m.recipients for m in sink.wait(2)], [["other@dest.example"], ["tmp@dest.example"]], "delivered")


def test_deleted_is_gone(t):
    """A deleted message is neither delivered nor bounced."""
    sink, r = deferring(t)
    q = t.send(r, recipients=["tmp@dest.example"])
    deferred(r, q)
    r.must_run("postsuper", "-d", q)
    equal(r.queue(), [], "queue")
    r.must_run("postqueue", "-f")
    other = t.send(r, recipients=["other@dest.example"])
    r.log.wait_for(r"%s: removed" % other)
    equal([m.recipients for m in sink.messages], [["other@dest.example"]], "delivered")


def test_expired_bounces(t):
    """A force-expired message stays until it would be tried again, and then returns to its sender with the reason for its delay."""
    sink, r = deferring(t)
    q = t.send(r, recipients=["tmp@dest.example"])
    deferred(r, q)
    r.must_run("postsuper", "-e", q)
    equal([(e["queue_name"], e["forced_expire"]) for e in deferred(r, q)], [("deferred", True)], "queue")
    # The sink takes the recipient now: it must not be tried again.
    r.must_run("postqueue", "-f")
    bounce = sink.wait(1)[0]
    equal((bounce.sender, bounce.recipients), ("", ["alice@client.example"]), "bounce")
    for text in (b"450 4.2.0 mailbox busy", b"\nRemote-MTA: dns; 127.0.0.1", b"\nDiagnostic-Code: smtp; 450 4.2.0 mailbox busy",
                 b"\nStatus: 4.2.0"):
        assert text in bounce.data.replace(b"\r\n", b"\n"), (text, bounce.data)
    r.wait_empty()
    r.log.wait_for(r"%s: removed" % q)
    equal(r.log.text().count("%s: from=<alice@client.example>, status=force-expired, returned to sender" % q), 1, "lines")


def test_expired_while_under_way(t):
    """An attempt under way ends as it ends; what it defers is not tried again, and there is one bounce for all recipients."""
    asked, answer = threading.Event(), threading.Event()

    def slow(session, argument):
        asked.set()
        assert answer.wait(30 * STRETCH)
        return "450 4.2.0 slow"

    sink = t.sink().on("rcpt", "450 4.2.0 mailbox busy", match="tmp@", times=1).on("rcpt", slow, match="slow@", times=1)
    r = t.relay(sink=sink, main={"minimal_backoff_time": "1h", "maximal_backoff_time": "1h",
                                 "smtp_destination_recipient_limit": "1"})
    q = t.send(r, recipients=["tmp@dest.example", "slow@dest.example"])
    assert asked.wait(30 * STRETCH)
    r.log.wait_for(r"%s: to=<tmp@dest.example>.*status=deferred" % q)
    equal(r.must_run("postsuper", "-f", q).stderr.splitlines()[0], "postsuper: %s: expired" % q, "postsuper")
    r.must_run("postqueue", "-f")
    answer.set()
    r.log.wait_for(r"%s: to=<slow@dest.example>.*status=deferred" % q)
    t.wait("end of the order", lambda: r.sql("SELECT 1 FROM rowpost.queue_order WHERE done IS NULL") == [])
    r.must_run("postqueue", "-f")
    bounce = sink.wait(1)[0]
    equal((bounce.sender, bounce.recipients), ("", ["alice@client.example"]), "bounce")
    for name in (b"tmp@dest.example", b"slow@dest.example"):
        assert b"Final-Recipient: rfc822; " + name in bounce.data, bounce.data
    r.wait_empty()
    equal(r.log.text().count("status=force-expired, returned to sender"), 1, "lines")
    equal(len(sink.messages), 1, "messages")
