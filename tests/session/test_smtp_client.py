"""The SMTP client: which host, what it says to it, and what a reply means."""
import os
import re
import socket
import threading

from relay import free_port
from session import equal, limit
from sink import DROP, Then

BOB = "bob@dest.example"
EIGHT = ("From: <alice@client.example>\r\nTo: <bob@dest.example>\r\nSubject: bits\r\nMessage-ID: <8@client.example>\r\n"
         "Date: Fri, 21 Nov 2025 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
         "Content-Transfer-Encoding: 8bit\r\n\r\nsch\u00f6n\r\n").encode()


def send_8bit(t, r):
    with t.client(r) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<alice@client.example> BODY=8BITMIME", 250)
        c.cmd("RCPT TO:<%s>" % BOB, 250)
        c.cmd("DATA", 354)
        c.send_raw(EIGHT + b".\r\n")
        return re.search(r"queued as (\S+)", c.expect(250).text).group(1)


def test_8bit_is_kept(t):
    """A server with 8BITMIME gets the bytes as they are, and is told."""
    sink = t.sink()
    send_8bit(t, t.relay(sink=sink))
    m = sink.wait(1)[0]
    assert "BODY=8BITMIME" in m.params and "SIZE=" in m.params, m.params
    assert "sch\u00f6n".encode() in m.body, m.body


def test_8bit_becomes_quoted_printable(t):
    """A server without 8BITMIME gets 7 bits, and no size that is not true any more."""
    sink = t.sink(ehlo=["PIPELINING", "SIZE 1000000"])
    send_8bit(t, t.relay(sink=sink))
    m = sink.wait(1)[0]
    equal(m.params, "", "parameters of MAIL")
    equal(m.body, b"sch=C3=B6n\r\n", "body")
    equal(m.header("Content-Transfer-Encoding"), "quoted-printable", "encoding")


def test_conversion_can_be_turned_off(t):
    """disable_mime_output_conversion leaves the bytes alone."""
    sink = t.sink(ehlo=["PIPELINING"])
    send_8bit(t, t.relay(sink=sink, main={"disable_mime_output_conversion": "yes"}))
    assert "sch\u00f6n".encode() in sink.wait(1)[0].body


def test_fallback_relay(t):
    """Hosts that cannot be reached, and recipients that a host defers, go to the fallback relay; bounces do not."""
    first, second = t.sink(), t.sink()
    first.on("rcpt", "450 4.2.0 busy", match="later@").on("rcpt", "550 5.1.1 no", match="never@")
    r = t.relay(sink=first, main={"smtp_fallback_relay": second.nexthop})
    q = t.send(r, recipients=["now@dest.example", "later@dest.example", "never@dest.example"])
    equal(first.wait(1)[0].recipients, ["now@dest.example"], "first host")
    equal(second.wait(1)[0].recipients, ["later@dest.example"], "fallback relay")
    r.log.wait_for(r"%s: to=<never@dest.example>, .*dsn=5.1.1, status=bounced" % q)


def test_relayhost_list(t):
    """A nexthop may be a list of sites, tried in turn."""
    second = t.sink()
    closed = free_port()
    r = t.relay(main={"relayhost": "[127.0.0.1]:%d, %s" % (closed, second.nexthop)})
    t.send(r)
    second.wait(1)
    r.log.wait_for(r"smtp\[\d+\]: connect to 127.0.0.1\[127.0.0.1\]:%d: Connection refused" % closed)


def test_mx_and_cache(t):
    """MX by preference; the answers are kept for the next delivery, and asked for anew after a failure."""
    better = t.sink(host="127.0.0.5", port=25)
    dns = t.dns(rr=["dest.example MX 20 worse.example", "dest.example MX 10 better.example",
                    "better.example A 127.0.0.5", "worse.example A 127.0.0.6"])
    r = t.relay(main={"smtp_dns_support_level": None, "minimal_backoff_time": "1s", "queue_run_delay": "1s",
                      "smtp_connection_cache_on_demand": "no", "smtp_agent_processes": "1"})
    for _ in range(5):
        t.send(r)
    equal(len(better.wait(5)), 5, "at the better host")
    equal(dns.asked("dest.example", "MX"), 1, "questions for MX")
    better.on("rcpt", "450 4.2.0 busy", times=1)
    q = t.send(r)
    r.log.wait_for(r"%s: to=<%s>, .*status=deferred" % (q, BOB))
    r.log.wait_for(r"%s: to=<%s>, .*status=sent" % (q, BOB))
    assert dns.asked("dest.example", "MX") >= 2, "asked again after the failure"


def test_loop_by_address(t):
    """A best MX that is this host bounces; as a worse one it and all behind it are left out."""
    sink = t.sink(host="127.0.0.5", port=25)
    t.dns(rr=["self.example MX 10 other-name.example", "other-name.example A 127.0.0.1",
              "backup.example MX 10 real.example", "backup.example MX 20 other-name.example",
              "real.example A 127.0.0.5"])
    r = t.relay(main={"smtp_dns_support_level": None})
    q = t.send(r, recipients=["x@self.example"])
    r.log.wait_for(r"%s: to=<x@self.example>, relay=none, .*dsn=5.4.6, status=bounced "
                   r"\(mail for self.example loops back to myself\)" % q)
    t.send(r, recipients=["x@backup.example"])
    sink.wait(1)


def test_next_host_after_421_and_dropped_dot(t):
    """421 in the greeting, and a connection lost in the message: the next host gets it."""
    one, two, three = (t.sink(host="127.0.0.%d" % n, port=25) for n in (5, 6, 7))
    one.on("connect", Then("421 4.3.2 later", DROP))
    two.on("dot", DROP)
    t.dns(rr=["dest.example MX %d m%d.example" % (n, n) for n in (5, 6, 7)] +
          ["m%d.example A 127.0.0.%d" % (n, n) for n in (5, 6, 7)])
    r = t.relay(main={"smtp_dns_support_level": None})
    q = t.send(r)
    three.wait(1)
    r.log.wait_for(r"%s: to=<%s>, relay=m7.example\[127.0.0.7\]:25, .*status=sent" % (q, BOB))


def test_after_a_refused_transaction(t):
    """A transaction that ended early is closed with RSET, and the connection serves the next mail."""
    sink = t.sink()
    sink.on("data", "554 5.5.0 not this one", times=1)
    r = t.relay(sink=sink, main={"smtp_connection_cache_destinations": sink.nexthop,
                                 "smtp_connection_cache_time_limit": "30s", "smtp_agent_processes": "1"})
    q = t.send(r, sender="")
    r.log.wait_for(r"%s: to=<%s>, .*status=bounced" % (q, BOB))
    t.send(r)
    sink.wait(1)
    equal(len(sink.sessions), 1, "connections")
    assert "RSET" in sink.sessions[0].commands, sink.sessions[0].commands


def test_success_out_of_place(t):
    """"250" to DATA is no success: the mail bounces, and is not taken for delivered."""
    sink = t.sink()
    sink.on("data", "250 2.0.0 fine", times=1)
    r = t.relay(sink=sink)
    q = t.send(r)
    r.log.wait_for(r"%s: to=<%s>, .*dsn=5.5.0, status=bounced \(Protocol error: host .* said: 250 2.0.0 fine "
                   r"\(in reply to DATA command\)\)" % (q, BOB))


def test_reuse_count_limit(t):
    """smtp_connection_reuse_count_limit ends a kept connection."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"smtp_connection_cache_destinations": sink.nexthop,
                                 "smtp_connection_reuse_count_limit": "2", "smtp_agent_processes": "1",
                                 "smtp_connection_cache_time_limit": "30s"})
    for n in range(4):
        t.send(r)
        sink.wait(n + 1)
        r.wait_empty()
    equal(len(sink.sessions), 2, "connections for four mails")


def test_bind_address(t):
    """smtp_bind_address is where connections come from; one that is not ours is ignored, or defers."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"smtp_bind_address": "127.0.0.77"})
    t.send(r)
    sink.wait(1)
    equal(sink.sessions[0].peer[0], "127.0.0.77", "peer")
    r.write_config(smtp_bind_address="192.0.2.1")
    r.reload()
    t.send(r)
    sink.wait(2)
    r.log.wait_for(r"warning: smtp_connect_addr: bind 192.0.2.1: Cannot assign requested address")
    r.write_config(smtp_bind_address_enforce="yes")
    r.reload()
    q = t.send(r)
    r.log.wait_for(r"%s: to=<%s>, relay=none, .*dsn=4.4.0, status=deferred \(server configuration error\)" % (q, BOB))


def test_reply_to_a_connection_that_closes(t):
    """A server that refuses in mid-message and closes: its reply is the reason, not the lost connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    t.at_end(listener.close)

    def serve():
        conn, _ = listener.accept()
        with conn, conn.makefile("rb") as f:
            conn.sendall(b"220 rude.example ESMTP\r\n")
            for reply in (b"250 rude.example\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                f.readline()
                conn.sendall(reply)
            f.read(100000)
            conn.sendall(b"552 5.3.4 too much of it\r\n")
            conn.shutdown(socket.SHUT_WR)
            while f.read(65536):
                pass
    threading.Thread(target=serve, daemon=True).start()
    r = t.relay(main={"relayhost": "[127.0.0.1]:%d" % listener.getsockname()[1], "message_size_limit": "0"})
    big = "From: <alice@client.example>\n\n" + ("x" * 900 + "\n") * 4000
    q = t.send(r, message=big)
    r.log.wait_for(r"%s: to=<%s>, .*dsn=5.3.4, status=bounced \(host .* said: 552 5.3.4 too much of it" % (q, BOB))


def test_xforward(t):
    """XFORWARD names the client that we had the mail from."""
    sink = t.sink(ehlo=["PIPELINING", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"])
    sink.on("xforward", "250 2.0.0 Ok")
    q = t.send(t.relay(sink=sink, main={"smtp_send_xforward_command": "yes"}))
    sink.wait(1)
    said = [c for c in sink.sessions[0].commands if c.startswith("XFORWARD")]
    assert re.match(r"XFORWARD NAME=localhost ADDR=127.0.0.1 PORT=\d+$", said[0]), said
    assert re.match(r"XFORWARD PROTO=ESMTP HELO=\S+ IDENT=%s SOURCE=\w+$" % q, said[1]), said


PARTS = """\
From: <alice@client.example>
To: <bob@dest.example>, "Al" <alice@client.example>
Subject: parts
Message-ID: <p@client.example>
Date: Fri, 21 Nov 2025 12:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

preamble
--b1
Content-Type: text/plain; name="a.exe"

secret line
plain line
--b1
Content-Type: message/rfc822

Subject: inner
X-Inner: alice@client.example

secret inside
--b1--
secret epilogue
"""


def test_checks_on_the_way_out(t):
    """Header, MIME, nested and body checks change what is sent, each where it belongs, and say so."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False)
    tables = {"smtp_header_checks": "/^Subject: parts/ REPLACE Subject: changed\n/^X-Inner:/ IGNORE\n",
              "smtp_mime_header_checks": "/name=/ PREPEND X-Seen: part\n",
              "smtp_nested_header_checks": "/^Subject: inner/ REPLACE Subject: nested\n",
              "smtp_body_checks": "/^secret/ IGNORE\n/^plain/ WARN look at this\n"}
    for name, text in tables.items():
        r.main[name] = "pcre:" + r.write_file(name, text)
    r.write_config()
    r.start()
    q = t.send(r, message=PARTS)
    m = sink.wait(1)[0]
    equal(m.header("Subject"), "changed", "Subject")
    equal(m.body.decode(), """preamble
--b1
X-Seen: part
Content-Type: text/plain; name="a.exe"

plain line
--b1
Content-Type: message/rfc822

Subject: nested
X-Inner: alice@client.example

--b1--
""".replace("\n", "\r\n"), "body")
    r.log.wait_for(r"smtp\[\d+\]: %s: replace: header Subject: parts: Subject: changed" % q)
    r.log.wait_for(r"smtp\[\d+\]: %s: warning: body plain line: look at this" % q)


def test_generic_maps(t):
    """smtp_generic_maps change the envelope and the addresses of the header, nothing else."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"smtp_generic_maps": "inline:{alice@client.example=al@world.example}"})
    t.send(r, message=PARTS)
    m = sink.wait(1)[0]
    equal(m.sender, "al@world.example", "sender")
    equal(m.recipients, [BOB], "recipients")
    equal(m.header("From"), "<al@world.example>", "From")
    equal(m.header("To"), '<bob@dest.example>, "Al" <al@world.example>', "To")
    assert b"X-Inner: alice@client.example" in m.body, m.body


def test_auth(t):
    """AUTH with the password for the destination; one that is refused defers, and is never sent where it is not allowed."""
    sink = t.sink(ehlo=["PIPELINING", "AUTH PLAIN"])
    sink.on("auth", "235 2.7.0 Ok", match="AGpvZQBzZWNyZXQ=").on("auth", "535 5.7.8 wrong")
    r = t.relay(sink=sink, main={"smtp_sasl_auth_enable": "yes", "smtp_sasl_security_options": "noanonymous",
                                 "smtp_sasl_password_maps": "inline:{%s=joe:secret}" % sink.nexthop,
                                 "smtp_connection_cache_on_demand": "no"})
    t.send(r)
    sink.wait(1)
    r.write_config(smtp_sasl_password_maps="inline:{%s=joe:wrong}" % sink.nexthop)
    r.reload()
    q = t.send(r)
    r.log.wait_for(r"%s: to=<%s>, .*dsn=4.7.8, status=deferred \(SASL authentication failed; server "
                   r"127.0.0.1\[127.0.0.1\] said: 535 5.7.8 wrong\)" % (q, BOB))
    r.write_config(smtp_sasl_security_options="noplaintext, noanonymous")
    r.reload()
    before = len([c for s in sink.sessions for c in s.commands if c.startswith("AUTH")])
    q = t.send(r)
    r.log.wait_for(r"%s: to=<%s>, .*dsn=4.7.0, status=deferred \(SASL authentication failed; cannot authenticate" % (q, BOB))
    equal(len([c for s in sink.sessions for c in s.commands if c.startswith("AUTH")]), before, "passwords sent")


# ---- one large content to many slots ------------------------------------------------------------------------------

SLOTS = 100
SIZE = 50 << 20
READ_EACH = 1 << 20
MOST_GROWTH_KB = 16 << 10


class SlowPeer:
    """Takes envelopes at once, then reads a part of each message and stops reading."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.sock.getsockname()[1]
        self.stalled = 0
        self.lock = threading.Lock()
        self.go = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        replies = {b"EHLO": b"250-slow.example\r\n250 8BITMIME\r\n", b"DATA": b"354 go\r\n"}
        try:
            with conn, conn.makefile("rb") as f:
                conn.sendall(b"220 slow.example ESMTP\r\n")
                while True:
                    verb = f.readline()[:4]
                    conn.sendall(replies.get(verb, b"250 ok\r\n"))
                    if verb == b"DATA":
                        break
                assert len(f.read(READ_EACH)) == READ_EACH
                with self.lock:
                    self.stalled += 1
                self.go.wait()
        except OSError:
            pass


def peak_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))


def reset_peak(pid):
    """The peak begins anew at what is resident now."""
    with open("/proc/%d/clear_refs" % pid, "w") as f:
        f.write("5")


def own_pids(r):
    """All processes of the relay, but PostgreSQL's."""
    return {pid: name for pid, name in r.processes().items() if not name.startswith("postgres")}


@limit(180)
def test_large_content_to_many_slots(t):
    """50 MB to 100 slots of a slow peer: no process grows by more than 16 MB."""
    if os.environ.get("BUILD", "").endswith("-san"):
        return      # the sanitizer's own memory says nothing about ours
    peer = SlowPeer()
    t.at_end(peer.sock.close)
    r = t.relay(main={"relayhost": "[127.0.0.1]:%d" % peer.port, "message_size_limit": "0", "mailbox_size_limit": "0",
                      "smtp_destination_recipient_limit": "1", "smtp_destination_concurrency_limit": str(SLOTS),
                      "initial_destination_concurrency": str(SLOTS), "default_process_limit": str(SLOTS),
                      "smtp_agent_processes": "1"})
    pids = own_pids(r)
    before = {}
    for pid in pids:
        reset_peak(pid)
        before[pid] = peak_kb(pid)
    line = "y" * 997 + "\n"
    t.send(r, recipients=["r%d@dest.example" % i for i in range(SLOTS)],
           message="From: <alice@client.example>\n\n" + line * (SIZE // len(line)))
    t.wait("100 slots that wait for their peer", lambda: peer.stalled >= SLOTS, 120)
    grown = {name: peak_kb(pid) - before[pid] for pid, name in pids.items()}
    print("grown by (KB):", grown)
    peer.go.set()
    assert max(grown.values()) <= MOST_GROWTH_KB, grown
    r.must_run("postsuper", "-d", "ALL")
