"""Peers that stall: a server or a client that falls silent in each state of SMTP, hosts that vanish without a word, slow links, and
bytes that come in drips. Whoever stalls is given up after the time-out of the step, nobody else waits for it, and the ledger is whole."""
import re
import subprocess
import threading

from session import equal, limit
from sink import STALL, Then
from slowlink import SlowLink
from smtp_client import SmtpClient, dot_stuffed, queue_id

RETRY_SOON = {"queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "2s"}
# Where our client waits, what it says when the server does not answer, and which parameter ends it.
SERVER_STEPS = {
    "connect": ("receiving the initial server greeting", "smtp_helo_timeout"),
    "ehlo": ("performing the EHLO handshake", "smtp_helo_timeout"),
    "mail": ("sending MAIL FROM", "smtp_mail_timeout"),
    "rcpt": ("sending RCPT TO", "smtp_rcpt_timeout"),
    "data": ("sending DATA command", "smtp_data_init_timeout"),
    "dot": ("sending end of data -- message may be sent more than once", "smtp_data_done_timeout"),
}
SHORT = {p: "4s" for p in ("smtp_helo_timeout", "smtp_mail_timeout", "smtp_rcpt_timeout", "smtp_data_init_timeout",
                           "smtp_data_xfer_timeout", "smtp_data_done_timeout", "smtp_quit_timeout", "smtp_rset_timeout")}
LONG = 150000       # lines
# An address that tests can take away again.
ELSEWHERE = "10.99.0.1"


def message(t, name, body=b"Hello.\r\n"):
    """(ledger id, sender, recipient, text)"""
    i = t.ledger.new_id()
    sender, rcpt = i + "@client.example", name + "@dest.example"
    return i, sender, rcpt, t.ledger.message(sender, [rcpt], i, body)


def accepted(t, relay, name, port=None, **kw):
    """A message that is taken; its queue id."""
    i, sender, rcpt, text = message(t, name, **kw)
    with SmtpClient(port or relay.port, limit=60) as c:
        c.ehlo()
        q = c.message(sender, rcpt, text)
    t.ledger.record(i, [rcpt], q)
    return q


def whole(t, relay, sink):
    t.wait("an empty queue", lambda: relay.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], 60, step=0.1)
    account = t.ledger.audit(relay.database, [sink])
    account.assert_whole()
    equal(account.unrecorded, [], "delivered, but in no table")
    equal(account.doubled, [], "second copies")
    print("ledger: %s" % account.summary())


# ---------------------------------------------------------------- servers

@limit(150)
def test_server_stalls_in_each_state(t):
    """A server falls silent at each step, once: the mail is deferred with that reason, and delivered with the next try."""
    sink = t.sink()
    r = t.relay(sink=sink, main=dict(RETRY_SOON, **SHORT))
    for step, (reason, _) in SERVER_STEPS.items():
        sink.on(step, STALL, times=1)
        q = accepted(t, r, "at-" + step)
        r.log.wait_for(r"%s: to=<at-%s@dest\.example>, .*status=deferred \(conversation with 127\.0\.0\.1\[127\.0\.0\.1\] timed "
                       r"out while %s\)" % (q, step, reason), 60)
        r.log.wait_for(r"%s: to=<at-%s@dest\.example>, .*status=sent" % (q, step), 60)
    whole(t, r, sink)


# Steps of sessions that need more than plain mail: what the server offers, where it stalls and how, and the reason.
OTHER_STEPS = {
    "starttls": ("STARTTLS", "starttls", STALL, "timed out while receiving the STARTTLS response"),
    "handshake": ("STARTTLS", "starttls", Then("220 2.0.0 go ahead", STALL), "Cannot start TLS: handshake failure"),
    "auth": ("AUTH PLAIN", "auth", STALL, "timed out while sending AUTH"),
    "xforward": ("XFORWARD NAME ADDR", "xforward", STALL, "timed out while sending XFORWARD name/address"),
    "content": ("PIPELINING", "data", Then("354 go ahead", STALL), "timed out while sending message body"),
}


@limit(150)
def test_server_stalls_in_other_states(t):
    """TLS, AUTH, XFORWARD; and a server that stops to read in the middle of a large content."""
    sink = t.sink(keep_data=1 << 16)
    r = t.relay(sink=sink, main=dict(
        RETRY_SOON, smtp_starttls_timeout="4s", smtp_xforward_timeout="4s", smtp_send_xforward_command="yes",
        smtp_tls_security_level="may", smtp_sasl_auth_enable="yes", smtp_sasl_security_options="noanonymous",
        smtp_sasl_password_maps="inline:{%s=joe:secret}" % sink.nexthop, smtp_connection_cache_on_demand="no",
        message_size_limit="20000000", **SHORT))
    for name, (offer, step, action, reason) in OTHER_STEPS.items():
        sink.forget_rules()
        sink.ehlo = [offer]
        sink.on(step, action, times=1).on("auth", "235 2.7.0 Ok").on("xforward", "250 2.0.0 Ok")
        # A long one is more than the buffers of both ends hold.
        q = accepted(t, r, "in-" + name, body=(b"x" * 70 + b"\r\n") * (LONG if name == "content" else 1))
        r.log.wait_for(r"%s: to=<in-%s@dest\.example>, .*status=deferred \(.*%s" % (q, name, re.escape(reason)), 60)
        r.log.wait_for(r"%s: to=<in-%s@dest\.example>, .*status=sent" % (q, name), 60)
    whole(t, r, sink)


@limit(90)
def test_server_stalls_at_rset(t):
    """A server whose kept session does not answer RSET: the next mail goes over a fresh one."""
    sink = t.sink().on("rset", STALL, times=1).on("rcpt", "450 4.2.0 not yet", match="refused", times=1)
    r = t.relay(sink=sink, main=dict(RETRY_SOON, **SHORT))
    for name in ("refused", "after-it"):
        accepted(t, r, name)
    sink.wait(2, 60)
    whole(t, r, sink)


@limit(90)
def test_server_stalls_at_quit(t):
    """A server that does not answer QUIT: its mail is delivered, and its slot is free for others."""
    sink = t.sink().on("quit", STALL)
    r = t.relay(sink=sink, main=dict(RETRY_SOON, smtp_destination_concurrency_limit="1", smtp_connection_cache_on_demand="no",
                                     **SHORT))
    ids = [accepted(t, r, "quit-%d" % n) for n in range(4)]
    for q in ids:
        r.log.wait_for(r"%s: to=<\S+>, .*status=sent" % q, 60)
    whole(t, r, sink)


@limit(90)
def test_one_of_many_servers_stalls(t):
    """While one destination is silent at the dot, the others' mail flows."""
    silent, sink = t.sink().on("dot", STALL), t.sink()
    r = t.relay(sink=sink, main=dict(RETRY_SOON, smtp_data_done_timeout="600s",
                                     transport_maps="inline:{ silent.example=smtp:%s }" % silent.nexthop))
    for n in range(20):
        with t.client(r) as c:
            c.ehlo()
            c.message("a@client.example", "x%d@silent.example" % n, b"Subject: x\r\n\r\nx\r\n")
    t.wait("deliveries that wait", lambda: len(silent.messages) >= 2, 60)
    for n in range(10):
        accepted(t, r, "other-%d" % n)
    sink.wait(10, 60)


# ---------------------------------------------------------------- clients

def stall_in_each_state(relay):
    """{state: client}, each silent from now on. State: what the log calls it."""
    def begun(*lines):
        c = SmtpClient(relay.port, limit=60)
        for line in lines:
            c.cmd(line)
        return c

    clients = {"CONNECT": SmtpClient(relay.port, limit=60), "EHLO": begun("EHLO x"), "MAIL": begun("EHLO x", "MAIL FROM:<a@b.test>"),
               "RCPT": begun("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<lost@dest.example>")}
    half = begun("EHLO x", "NOOP")
    half.send_raw(b"MAIL FROM:<a@b.te")
    clients["NOOP"] = half
    data = begun("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<lost@dest.example>")
    data.cmd("DATA", 354)
    data.send_raw(b"Subject: never ends\r\n\r\nhalf a li")
    clients[r"DATA \(\d+ bytes\)"] = data
    chunk = begun("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<lost@dest.example>")
    chunk.send_raw(b"BDAT 100\r\nSubject: half a ch")
    clients[r"BDAT \(\d+ bytes\)"] = chunk
    return clients


@limit(120)
def test_client_stalls_in_each_state(t):
    """Clients that fall silent in each state, all at once: each is sent away after smtpd_timeout, the mail of others flows meanwhile,
    and nothing of the half messages stays."""
    sink = t.sink()
    r = t.relay(sink=sink, main=dict(RETRY_SOON, smtpd_timeout="10s"))
    clients = stall_in_each_state(r)
    done = SmtpClient(r.port, limit=60)
    done.ehlo()
    i, sender, rcpt, text = message(t, "before-quit")
    t.ledger.record(i, [rcpt], done.message(sender, rcpt, text))
    clients["END-OF-MESSAGE"] = done
    for n in range(5):
        accepted(t, r, "meanwhile-%d" % n)
    for state, c in clients.items():
        c.expect(421, r"^4\.4\.2 relay\.rp\.test Error: timeout exceeded", limit=60)
        c.expect_eof(60)
        r.log.wait_for(r"timeout after %s from localhost\[127\.0\.0\.1\]$" % state, 30)
    sink.wait(6, 60)
    whole(t, r, sink)
    equal([m.recipients for m in sink.messages if m.recipients[0].startswith("lost")], [], "half messages")


@limit(120)
def test_slow_drip_of_content(t):
    """With smtpd_per_request_deadline a client cannot keep its session by a byte now and then."""
    sink = t.sink()
    r = t.relay(sink=sink, main=dict(RETRY_SOON, smtpd_timeout="8s", smtpd_per_request_deadline="yes", smtpd_min_data_rate="100000"))
    c = SmtpClient(r.port, limit=60)
    c.ehlo()
    c.envelope("a@client.example", ["dripped@dest.example"])
    c.cmd("DATA", 354)
    ended = threading.Event()

    def drip():
        try:
            while not ended.wait(0.2):
                c.send_raw(b"x\r\n")
        except OSError:
            pass
    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    r.log.wait_for(r"timeout after DATA \(\d+ bytes\) from localhost\[127\.0\.0\.1\]$", 60)
    ended.set()
    thread.join()
    c.close()
    accepted(t, r, "after")
    whole(t, r, sink)
    equal(len(sink.messages), 1, "messages")


# ---------------------------------------------------------------- links

@limit(150)
def test_slow_links_on_both_sides(t):
    """A few bytes at a time, from clients and to the server: slow, and that is all."""
    sink = t.sink()
    there = SlowLink(sink.port, piece=16, pause=0.01)
    t.at_end(there.close)
    r = t.relay(main=dict(RETRY_SOON, relayhost="[127.0.0.1]:%d" % there.port))
    here = SlowLink(r.port, piece=16, pause=0.01)
    t.at_end(here.close)
    failed = []

    def send(number):
        try:
            i, sender, rcpt, text = message(t, "slow-%d" % number)
            with SmtpClient(here.port, limit=90) as c:
                c.ehlo()
                c.envelope(sender, [rcpt])
                c.cmd("DATA", 354)
                c.send_raw(dot_stuffed(text + b"another line\r\n" * 20) + b".\r\n")
                t.ledger.digests.pop(i)
                t.ledger.record(i, [rcpt], queue_id(c.expect(250)))
        except Exception as e:  # noqa: BLE001 - shown below
            failed.append(repr(e))
    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for th in threads:
        th.start()
    for th in threads:
        th.join()
    equal(failed, [], "clients")
    sink.wait(8, 90)
    whole(t, r, sink)


def address(verb):
    subprocess.run(["ip", "address", verb, ELSEWHERE + "/32", "dev", "lo"], check=True)


def vanish():
    """The host at ELSEWHERE is gone: packets to it vanish, nobody is told."""
    address("del")
    subprocess.run(["ip", "route", "add", "blackhole", ELSEWHERE + "/32"], check=True)


def come_back():
    subprocess.run(["ip", "route", "del", "blackhole", ELSEWHERE + "/32"], check=True)
    address("add")


@limit(120)
def test_server_vanishes(t):
    """The host of the server is gone in mid-session (half-open connection): given up after the time-out, delivered when it is back."""
    address("add")
    sink = t.sink(host=ELSEWHERE)
    gone = threading.Event()

    def cut(*_):
        if not gone.is_set():
            vanish()
            gone.set()
        return "250 2.1.5 Ok"
    sink.on("rcpt", cut, times=1)
    r = t.relay(sink=sink, main=dict(RETRY_SOON, smtp_connect_timeout="4s", **SHORT))
    q = accepted(t, r, "gone")
    r.log.wait_for(r"%s: to=<gone@dest\.example>, .*status=deferred" % q, 60)
    come_back()
    r.log.wait_for(r"%s: to=<gone@dest\.example>, .*status=sent" % q, 60)
    whole(t, r, sink)


@limit(120)
def test_clients_vanish(t):
    """The host of the clients is gone in mid-session, in each state: their sessions end, with replies that nobody took."""
    address("add")
    sink = t.sink()
    r = t.relay(sink=sink, main=dict(RETRY_SOON, smtpd_timeout="10s"))
    clients = []
    for lines in ([], ["EHLO x"], ["EHLO x", "MAIL FROM:<a@b.test>"], ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<lost@dest.example>"],
                  ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<lost@dest.example>", "DATA"]):
        c = SmtpClient(r.port, source=ELSEWHERE, limit=60)
        for line in lines:
            c.cmd(line)
        clients.append(c)
    vanish()
    for n in range(3):
        accepted(t, r, "meanwhile-%d" % n)
    r.log.wait_for(r"(timeout|lost connection) after \S+.* from \S+\[%s\]$" % re.escape(ELSEWHERE), 60, count=len(clients))
    r.log.wait_for(r"disconnect from \S+\[%s\]" % re.escape(ELSEWHERE), 60, count=len(clients))
    sink.wait(3, 60)
    whole(t, r, sink)
    for c in clients:
        c.close()
