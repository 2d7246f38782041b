"""SMTP from the client's side to the sink: commands, replies, and the message byte for byte."""
from session import equal, match
from smtp_client import queue_id

ALICE, BOB = "alice@client.example", "bob@dest.example"

MESSAGE = (b"From: <alice@client.example>\r\nTo: <bob@dest.example>\r\nSubject: bytes\r\n"
           b"Message-ID: <bytes@client.example>\r\nDate: Fri, 21 Nov 2025 12:00:00 +0000\r\n\r\n")


def without_received(data):
    """The message behind our Received header (folded lines included)."""
    equal(data[:9], b"Received:", "first header")
    lines = data.split(b"\r\n")
    n = 1
    while lines[n][:1] in (b" ", b"\t"):
        n += 1
    return b"\r\n".join(lines[n:])


def test_greeting(t):
    """The banner names the host."""
    r = t.relay()
    with t.client(r, greet=False) as c:
        reply = c.expect(220, r"^relay\.rp\.test ESMTP")
        equal(len(reply.lines), 1, "banner lines")


def test_ehlo_keywords(t):
    """EHLO announces what is there."""
    words = t.client(t.relay(main={"message_size_limit": "123456"})).ehlo()
    for w in ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SIZE"):
        assert w in words, "%s is missing in %s" % (w, words)
    equal(words["SIZE"], "123456", "SIZE")
    assert "STARTTLS" not in words and "AUTH" not in words, words


def test_helo(t):
    """HELO gets one line; EHLO without a name is a syntax error."""
    c = t.client(t.relay())
    equal(c.cmd("HELO client.example", 250).lines, ["relay.rp.test"], "HELO")
    c.cmd("EHLO", 501, "Syntax: EHLO hostname")
    c.cmd("HELO", 501, "Syntax: HELO hostname")


def test_order_of_commands(t):
    """503 for what comes too early or twice; the session goes on."""
    c = t.client(t.relay())
    c.ehlo()
    c.cmd("RCPT TO:<%s>" % BOB, 503, r"^5\.5\.1 ")
    c.cmd("DATA", 503, r"^5\.5\.1 .*need RCPT")
    c.cmd("MAIL FROM:<%s>" % ALICE, 250, r"^2\.1\.0 Ok")
    c.cmd("MAIL FROM:<%s>" % ALICE, 503, r"^5\.5\.1 .*nested MAIL")
    c.cmd("DATA", 554, r"^5\.5\.1 .*no valid recipients")
    c.cmd("RCPT TO:<%s>" % BOB, 250, r"^2\.1\.5 Ok")


def test_rset(t):
    """RSET and EHLO forget the envelope."""
    c = t.client(t.relay())
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("RSET", 250, r"^2\.0\.0 Ok")
    c.cmd("RCPT TO:<%s>" % BOB, 503)
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    c.ehlo()
    c.cmd("RCPT TO:<%s>" % BOB, 503)


def test_noop_vrfy_quit(t):
    """NOOP does nothing, VRFY says 252, QUIT ends the connection."""
    c = t.client(t.relay())
    c.ehlo()
    c.cmd("NOOP", 250, r"^2\.0\.0 Ok")
    c.cmd("NOOP some words", 250, r"^2\.0\.0 Ok")
    c.cmd("VRFY %s" % BOB, 252, r"^2\.0\.0 ")
    c.cmd("VRFY", 501, r"^5\.5\.4 ")
    c.cmd("QUIT", 221, r"^2\.0\.0 Bye")
    c.expect_eof()


def test_unknown_command(t):
    """Nonsense gets 500 5.5.2 and spoils nothing."""
    c = t.client(t.relay(sink=t.sink()))
    c.ehlo()
    c.cmd("FROBNICATE now", 500, r"^5\.5\.2 ")
    c.cmd("", 500, r"^5\.5\.2 ")
    c.message(ALICE, BOB, MESSAGE + b"x\r\n")


def test_address_syntax(t):
    """Bad paths are refused with 501, odd but legal ones are taken."""
    c = t.client(t.relay())
    c.ehlo()
    c.cmd("MAIL", 501, r"^5\.5\.4 ")
    c.cmd("MAIL TO:<a@b.example>", 501, r"^5\.5\.4 ")
    c.cmd("MAIL FROM:<%s> FROB=1" % ALICE, 555, r"^5\.5\.4 ")
    c.cmd("MAIL FROM:<a b@c.example>", 501)
    c.cmd("MAIL FROM:<%s> BODY=8BITMIME" % ALICE, 250)
    c.cmd("RCPT TO:<>", 501)
    c.cmd("RCPT TO:<bob@dest.example", 501)
    c.cmd('RCPT TO:<"b o b"@dest.example>', 250)
    c.cmd("rcpt to:<carol@dest.example>", 250)


def test_pipelining(t):
    """A group is answered in order; message, RSET and QUIT may follow in one piece."""
    sink = t.sink()
    c = t.client(t.relay(sink=sink))
    c.ehlo()
    replies = c.pipeline(["MAIL FROM:<%s>" % ALICE, "RCPT TO:<%s>" % BOB, "RCPT TO:<nobody", "RCPT TO:<carol@dest.example>",
                          "DATA"], [250, 250, 501, 250, 354])
    equal([r.enhanced[:1] for r in replies], ["2", "2", "5", "2", ""], "classes")
    c.send_raw(MESSAGE + b"pipelined\r\n.\r\nRSET\r\nQUIT\r\n")
    queue_id(c.expect(250))
    c.expect(250)
    c.expect(221)
    c.expect_eof()
    equal(sorted(r for m in sink.wait(1) for r in m.recipients), [BOB, "carol@dest.example"], "recipients")


def test_size_declared(t):
    """SIZE above the limit is refused at MAIL with 552 5.3.4."""
    c = t.client(t.relay(main={"message_size_limit": "10000"}))
    c.ehlo()
    c.cmd("MAIL FROM:<%s> SIZE=10001" % ALICE, 552, r"^5\.3\.4 Message size exceeds fixed limit")
    c.cmd("MAIL FROM:<%s> SIZE=10000" % ALICE, 250)


def test_size_exceeded(t):
    """A message that grows beyond the limit is refused after the dot, and the session goes on."""
    sink = t.sink()
    c = t.client(t.relay(sink=sink, main={"message_size_limit": "10000"}))
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.content(MESSAGE + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 500, 552, r"^5\.3\.4 ")
    c.message(ALICE, BOB, MESSAGE + b"small\r\n")
    equal(sink.wait(1)[0].body, b"small\r\n", "body")


def test_relay_denied(t):
    """Who is not in mynetworks may not relay; the log has the Postfix line."""
    r = t.relay(main={"mynetworks": "127.0.0.1/32",
                      "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"})
    c = t.client(r, source="127.0.0.2")
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    c.cmd("RCPT TO:<%s>" % BOB, 554, r"^5\.7\.1 <bob@dest\.example>: Relay access denied$")
    c.cmd("DATA", 554, r"^5\.5\.1 .*no valid recipients")
    r.log.wait_for(r"/smtpd\[\d+\]: NOQUEUE: reject: RCPT from \S+\[127\.0\.0\.2\]: 554 5\.7\.1 "
                   r"<bob@dest\.example>: Relay access denied; from=<alice@client\.example> "
                   r"to=<bob@dest\.example> proto=ESMTP helo=<client\.example>$")
    allowed = t.client(r)
    allowed.ehlo()
    allowed.envelope(ALICE, [BOB])


def test_relay_deferred_by_default(t):
    """The default relay restrictions defer what they do not allow."""
    r = t.relay(main={"mynetworks": "127.0.0.1/32"})
    c = t.client(r, source="127.0.0.2")
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    c.cmd("RCPT TO:<%s>" % BOB, 454, r"^4\.7\.1 <bob@dest\.example>: Relay access denied$")


def deliver(t, body, **kw):
    sink = t.sink()
    t.send(t.relay(sink=sink, **kw), message=MESSAGE + body)
    got = sink.wait(1)[0]
    equal(without_received(got.data), MESSAGE + body, "message")
    equal((got.sender, got.recipients), (ALICE, [BOB]), "envelope")


def test_bytes_plain(t):
    """Nothing but Received is added to a complete message."""
    deliver(t, b"Hello.\r\n")


def test_bytes_dots(t):
    """Lines that begin with dots."""
    deliver(t, b".\r\n..\r\n. x\r\n...\r\nend .\r\n.\r\n")


def test_bytes_8bit(t):
    """All bytes but NUL, CR and LF."""
    deliver(t, bytes(b for b in range(1, 256) if b not in (10, 13)) + b"\r\n" + "grüße ☃\r\n".encode())


def test_bytes_empty_lines(t):
    """Blank lines at both ends of the body."""
    deliver(t, b"\r\n\r\n  \r\n\ttext \r\n\r\n\r\n")


def test_bytes_large(t):
    """3 MB: above what travels inline."""
    line = b"0123456789abcdef" * 4
    deliver(t, b"".join(b"%06d " % n + line + b"\r\n" for n in range(42000)))


def test_log_lines(t):
    """One message leaves the lines that log readers know, with one queue id."""
    sink = t.sink()
    r = t.relay(sink=sink)
    q = t.send(r)
    sink.wait(1)
    log = r.log
    log.wait_for(r"/qmgr\[\d+\]: %s: removed$" % q)
    log.wait_for(r"/smtpd\[\d+\]: disconnect from localhost\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 data=1 quit=1 "
                 r"commands=5$")
    for pattern in (r"/smtpd\[\d+\]: connect from localhost\[127\.0\.0\.1\]$",
                    r"/smtpd\[\d+\]: %s: client=localhost\[127\.0\.0\.1\]$",
                    r"/(smtpd|cleanup)\[\d+\]: %s: message-id=<1@client\.example>$",
                    r"/qmgr\[\d+\]: %s: from=<alice@client\.example>, size=\d+, nrcpt=1 \(queue active\)$",
                    r"/smtp\[\d+\]: %s: to=<bob@dest\.example>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:%p, "
                    r"delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, dsn=2\.0\.0, status=sent "
                    r"\(250 2\.0\.0 Ok: taken\)$"):
        match(log.text(), pattern.replace("%s", q).replace("%p", str(sink.port)))


def test_several_recipients(t):
    """Recipients of one destination travel in one transaction."""
    sink = t.sink()
    rcpts = ["r%d@dest.example" % n for n in range(20)]
    t.send(t.relay(sink=sink), recipients=rcpts)
    equal(sorted(sink.wait(1)[0].recipients), sorted(rcpts), "recipients")
    equal(len(sink.messages), 1, "transactions")


def test_deferred(t):
    """A 4xx keeps the recipient in the queue, with the reason."""
    sink = t.sink().on("rcpt", "450 4.2.0 mailbox busy", match="bob@")
    r = t.relay(sink=sink)
    q = t.send(r, recipients=[BOB, "carol@dest.example"])
    queue = r.wait_queue(lambda e: len(e) == 1 and e[0]["queue_name"] == "deferred")
    equal(queue[0]["queue_id"], q, "queue id")
    equal([x["address"] for x in queue[0]["recipients"]], [BOB], "queued recipients")
    match(queue[0]["recipients"][0]["delay_reason"],
          r"host 127\.0\.0\.1\[127\.0\.0\.1\] said: 450 4\.2\.0 mailbox busy \(in reply to RCPT TO command\)")
    equal(sink.wait(1)[0].recipients, ["carol@dest.example"], "delivered")
    r.log.wait_for(r"%s: to=<bob@dest\.example>, .*dsn=4\.2\.0, status=deferred \(host " % q)


def test_flush_revives_destination(t):
    """postqueue -f tries at once, also what waits behind a destination that was found dead."""
    sink = t.sink().on("connect", "421 4.3.2 not now")
    r = t.relay(sink=sink, main={"default_destination_concurrency_failed_cohort_limit": "1"})
    for n in range(3):
        t.send(r, recipients="r%d@dest.example" % n)
    r.wait_queue(lambda e: len(e) == 3 and all(m["queue_name"] == "deferred" for m in e))
    sink.forget_rules()
    r.must_run("postqueue", "-f")
    sink.wait(3)
    r.wait_empty()


def test_bounced(t):
    """A 5xx goes back to the sender as one delivery status notification."""
    sink = t.sink().on("rcpt", "550 5.1.1 no such user", match="bob@")
    r = t.relay(sink=sink)
    q = t.send(r)
    bounce = sink.wait(1)[0]
    equal((bounce.sender, bounce.recipients), ("", [ALICE]), "envelope")
    text = bounce.data.decode()
    match(bounce.header("Content-Type"), r"multipart/report; report-type=delivery-status")
    match(text, r"(?m)^Final-Recipient: rfc822; ?bob@dest\.example\r$")
    match(text, r"(?m)^Status: 5\.1\.1\r$")
    match(text, r"(?m)^Diagnostic-Code: smtp; 550 5\.1\.1 no such user\r$")
    r.wait_empty()
    r.log.wait_for(r"%s: to=<bob@dest\.example>, .*dsn=5\.1\.1, status=bounced \(host " % q)
    r.log.wait_for(r"%s: sender non-delivery notification: \w+$" % q)


def test_missing_headers(t):
    """From, Date and Message-ID are added to a local client's message that lacks them."""
    sink = t.sink()
    t.send(t.relay(sink=sink), message=b"Subject: bare\r\n\r\nx\r\n")
    m = sink.wait(1)[0]
    match(m.header("From"), r"alice@client\.example")
    match(m.header("Message-ID"), r"^<\S+@relay\.rp\.test>$")
    match(m.header("Date"), r"^\w{3}, +\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
    match(m.header("Received"), r"(?s)^from client\.example \(localhost \[127\.0\.0\.1\]\)\s+by relay\.rp\.test "
          r".*with ESMTP id \w+\s+for <bob@dest\.example>; ")


def test_reload(t):
    """Reload takes the new configuration and drops no session."""
    sink = t.sink()
    r = t.relay(sink=sink)
    c = t.client(r)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    r.write_config(message_size_limit="4321")
    r.reload()
    t.wait("the new size limit", lambda: t.client(r).ehlo()["SIZE"] == "4321")
    c.content(MESSAGE + b"after reload\r\n")
    equal(sink.wait(1)[0].body, b"after reload\r\n", "body")


def test_restart_keeps_queue(t):
    """What is deferred is there after stop and start, and goes out when the next hop is back."""
    sink = t.sink().on("connect", "421 4.3.2 not now")
    r = t.relay(sink=sink)
    q = t.send(r)
    r.wait_queue(lambda e: len(e) == 1 and e[0]["queue_name"] == "deferred")
    r.stop()
    equal(r.processes(), {}, "processes after stop")
    sink.forget_rules()
    r.start()
    equal([e["queue_id"] for e in r.queue()], [q], "queue")
    r.must_run("postqueue", "-f")
    equal(sink.wait(1)[0].recipients, [BOB], "recipients")
    r.wait_empty()
