"""Large things in bounded memory: 50 MB of content, 50,000 recipients; and what is slow to end: expiry, odd replies."""
import hashlib

from cluster import FULL, MAIN, RssWatch, wait_empty
from deadline import wait_until
from load import LINE
from session import equal, limit, match
from sink import Sink
from smtp_client import SmtpClient, dot_stuffed, queue_id

SIZE = 50 << 20
GROWTH = 4 << 20
RECIPIENTS = 50000
ALICE, BOB = "alice@client.example", "bob@dest.example"
HEAD = b"From: <alice@client.example>\r\nSubject: size\r\nMessage-ID: <1@client.example>\r\n" \
       b"Date: Fri, 21 Nov 2025 12:00:00 +0000\r\n\r\n"


def node(t, sink, **main):
    return t.relay(sink=sink, main=dict(MAIN, **main))


def digest_sink(t):
    sink = Sink(keep_data=1 << 18)
    t.at_end(sink.close)
    return sink


def open_set(relay):
    return relay.sql("SELECT part FROM mailq.ring WHERE state = 'open'")[0][0]


def rotated(t, relay, was):
    """Small mail makes the ring turn: an idle set does not rotate."""
    t.send(relay, ALICE, "carol@dest.example")
    return open_set(relay) != was


@limit(150)
def test_50_mb(t):
    """An upload over three rotations of the ring, deferred, then delivered byte for byte; no process grows by 4 MB."""
    sink = digest_sink(t).on("rcpt", "450 4.2.0 not yet", match="bob@")
    relay = node(t, sink, ring_rotate_time="1s")
    warm_up = HEAD + LINE * 30000
    t.send(relay, ALICE, "carol@dest.example", warm_up)
    sink.wait(1, 30)
    wait_empty(relay)
    watch = RssWatch([p for s in ("smtpd", "qmgr", "smtp") for p in relay.pids(s)])
    body = hashlib.sha1()
    with SmtpClient(relay.port, limit=90) as c:
        c.ehlo()
        c.envelope(ALICE, [BOB])
        c.cmd("DATA", 354)
        c.send_raw(HEAD)
        sets = []
        piece = LINE * (SIZE // 4 // len(LINE))
        for n in range(4):
            c.send_raw(piece)
            body.update(piece)
            if n < 3:
                was = open_set(relay)
                wait_until("rotation %d" % (n + 1), lambda: rotated(t, relay, was), 30, step=0.2)
                sets.append(was)
        q = queue_id(end_of(c, body))
    equal(len(set(sets)), 3, "sets of the ring that were open meanwhile")
    relay.log.wait_for(r"%s: to=<bob@dest\.example>.*status=deferred" % q, 60)
    sink.forget_rules()
    got = wait_until("the large message", lambda: [m for m in sink.taken() if m.recipients == [BOB]], 60)
    growth = watch.stop()
    equal(got[0].digest, body.hexdigest(), "digest of the body")
    names = relay.processes()
    print("growth: %s" % ", ".join("%s %.1f MB" % (names.get(p), g / 1048576) for p, g in growth.items()))
    assert max(growth.values()) < GROWTH, "a process grew: %s" % growth
    wait_empty(relay)
    # Housekeeping removes what is dead, by and by.
    wait_until("end of the content", lambda: relay.sql("SELECT 1 FROM mailq.large WHERE state <> 'dead'") == [])
    if FULL:
        wait_until("removal of the chunks", lambda: relay.sql("SELECT 1 FROM mailq.large_chunk LIMIT 1") == [], 90)


def end_of(c, body):
    """The last line and the final dot; the reply."""
    line = b"the end\r\n"
    body.update(line)
    c.send_raw(dot_stuffed(line) + b".\r\n")
    return c.expect(250, limit=60)


@limit(240)
def test_50000_recipients(t):
    """One message to 50,000 recipients, some of whom are refused, some deferred: each ends as it must."""
    sink = Sink(keep_data=1 << 16)
    t.at_end(sink.close)
    sink.on("rcpt", "550 5.1.1 no such user", match=r"<r-\d*77@")
    sink.on("rcpt", "450 4.2.0 not yet", match=r"<r-25000@", times=1)
    relay = node(t, sink, default_destination_recipient_limit="1000")
    watch = RssWatch(relay.pids("qmgr"))
    with SmtpClient(relay.port, limit=120) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        for at in range(0, RECIPIENTS, 500):
            c.pipeline(["RCPT TO:<r-%d@dest.example>" % n for n in range(at, at + 500)], [250] * 500)
        q = queue_id(c.content(HEAD + b"to many\r\n", limit=60))
    refused = RECIPIENTS // 100
    good = RECIPIENTS - refused

    def delivered():
        return sum(len(m.recipients) for m in sink.taken() if m.sender == ALICE)
    wait_until(lambda: "%d of %d deliveries" % (delivered(), good), lambda: delivered() >= good, 180)
    wait_empty(relay, 60)
    copies = [r for m in sink.taken() if m.sender == ALICE for r in m.recipients]
    equal((len(copies), len(set(copies))), (good, good), "deliveries")
    equal(relay.sql("SELECT outcome, count(*) FROM rowpost.history WHERE queue_id = '%s' GROUP BY 1 ORDER BY 1" % q),
          [["bounced", str(refused)], ["sent", str(good)]], "history")
    print("growth of qmgr: %s" % watch.stop())


def bounces(sink):
    return [m for m in sink.taken() if m.sender == ""]


@limit(90)
def test_expiry_behind_dead_destination(t):
    """Mail for a destination that is dead, and is not tried meanwhile, expires in time, and its sender is told once."""
    sink = digest_sink(t)
    dead = t.sink()
    dead.close()
    relay = node(t, sink, relay_domains="dead.example", relay_transport="relay:" + dead.nexthop,
                 maximal_queue_lifetime="4s", minimal_backoff_time="1000s", maximal_backoff_time="1000s")
    ids = [t.send(relay, ALICE, ["bob@dead.example", "carol@dead.example"]) for _ in range(3)]
    for q in ids:
        relay.log.wait_for(r"%s: to=<bob@dead\.example>.*status=deferred" % q, 30)
    for q in ids:
        relay.log.wait_for(r"%s: from=<alice@client\.example>, status=expired, returned to sender" % q, 40)
    wait_until("three bounces", lambda: len(bounces(sink)) >= 3, 20)
    wait_empty(relay)
    equal([b.recipients for b in bounces(sink)], [[ALICE]] * 3, "bounces")
    for b in bounces(sink):
        match(b.data.decode(), r"(?s)Final-Recipient: rfc822; ?bob@dead\.example.*"
              r"Final-Recipient: rfc822; ?carol@dead\.example")
    equal(relay.sql("SELECT outcome, count(*) FROM rowpost.history WHERE recipient LIKE '%@dead.example' GROUP BY 1"),
          [["expired", "6"]], "history")


@limit(60)
def test_8_bit_replies(t):
    """Replies in Latin-1, in UTF-8 and with a NUL are stored and shown; the queue goes on."""
    odd = "caf\udce9 \udcff\udcfe na\u00efve \u0001"
    sink = digest_sink(t)
    sink.on("rcpt", "450 4.2.0 " + odd, match="bob@").on("rcpt", "550 5.1.1 " + odd, match="nobody@")
    sink.on("rcpt", "450 4.2.1 nul\0here", match="nul@")
    relay = node(t, sink, minimal_backoff_time="1000s", maximal_backoff_time="1000s")
    q = t.send(relay, ALICE, [BOB, "nobody@dest.example", "nul@dest.example", "ok@dest.example"])

    def deferred():
        rows = relay.sql("SELECT recipient, reason FROM rowpost.queue WHERE queue_id = '%s' AND queue = 'deferred'" % q)
        return dict(rows) if len(rows) == 2 else None
    reasons = wait_until("two deferred recipients", deferred)
    match(reasons[BOB], "caf")
    match(reasons[BOB], "na\u00efve")
    match(reasons["nul@dest.example"], "nul")
    match(relay.sql("SELECT reason FROM rowpost.history WHERE outcome = 'bounced'")[0][0], "na\u00efve")
    wait_until("the bounce", lambda: bounces(sink))
    match(bounces(sink)[0].data.decode("utf-8", "replace"), r"Final-Recipient: rfc822; ?nobody@dest\.example")
