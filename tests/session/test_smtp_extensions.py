"""Service extensions of the SMTP server: DSN, CHUNKING, SMTPUTF8, ETRN; and what a client must not get away with."""
from session import equal
from smtp_client import queue_id

ALICE, BOB = "alice@client.example", "bob@dest.example"
HEAD = (b"From: <alice@client.example>\r\nTo: <bob@dest.example>\r\nSubject: chunks\r\n"
        b"Message-ID: <chunks@client.example>\r\nDate: Fri, 21 Nov 2025 12:00:00 +0000\r\n\r\n")


def bdat(c, data, last=False, code=250, pattern=None):
    """One BDAT command with its chunk."""
    c.send_raw(b"BDAT %d%s\r\n" % (len(data), b" LAST" if last else b"") + data)
    return c.expect(code, pattern)


def received(sink):
    """The body of the one message that the sink got."""
    return sink.wait(1)[0].body


def test_bdat(t):
    """Chunks cut anywhere make one message; dots mean nothing in them."""
    sink = t.sink()
    c = t.client(t.relay(sink=sink))
    assert "CHUNKING" in c.ehlo()
    c.envelope(ALICE, [BOB])
    message = HEAD + b".\r\n..\r\nend\r\n"
    bdat(c, message[:60], pattern=r"^2\.0\.0 Ok: 60 bytes$")
    bdat(c, message[60:-1])
    bdat(c, message[-1:], last=True, pattern=r"^2\.0\.0 Ok: %d bytes queued as " % len(message))
    equal(received(sink), b".\r\n..\r\nend\r\n", "body")


def test_bdat_order(t):
    """What may not come between chunks; RSET forgets them."""
    sink = t.sink()
    c = t.client(t.relay(sink=sink))
    c.ehlo()
    bdat(c, b"NOOP\r\n", code=503)
    c.envelope(ALICE, [BOB])
    bdat(c, HEAD)
    c.cmd("RCPT TO:<%s>" % BOB, 503, "RCPT after BDAT")
    c.cmd("DATA", 503, "DATA after BDAT")
    c.cmd("MAIL FROM:<%s>" % ALICE, 503, "nested MAIL")
    c.cmd("RSET", 250)
    c.envelope(ALICE, [BOB])
    bdat(c, HEAD + b"second\r\n", last=True)
    equal(received(sink), b"second\r\n", "body")


def test_bdat_too_large(t):
    """The chunks after a refused message are read and dropped, never run as commands."""
    c = t.client(t.relay(main={"message_size_limit": "5000"}))
    c.ehlo()
    c.envelope(ALICE, [BOB])
    bdat(c, HEAD)
    bdat(c, b"QUIT\r\n" * 2000, last=True, code=552)
    c.cmd("NOOP", 250)
    c.cmd("RCPT TO:<%s>" % BOB, 503)


def test_bdat_bad_size(t):
    """Where the chunk ends is not known: the session ends."""
    c = t.client(t.relay())
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("BDAT many", 521, r"^5\.5\.4 ")
    c.expect_eof()


def test_dsn_parameters(t):
    """RET, ENVID, NOTIFY and ORCPT reach a server that offers DSN; bad ones are refused."""
    sink = t.sink(ehlo=["PIPELINING", "DSN"])
    sink.on("rcpt", "550 5.5.4 no", match=r"^(?!.*ORCPT=rfc822;Old\+2BName@c\.example NOTIFY=FAILURE,DELAY)")
    c = t.client(t.relay(sink=sink))
    c.ehlo()
    c.cmd("MAIL FROM:<%s> RET=SOME" % ALICE, 501)
    c.cmd("MAIL FROM:<%s> RET=HDRS ENVID=one+2Btwo" % ALICE, 250)
    c.cmd("RCPT TO:<x@dest.example> ORCPT=rfc822;a+0Ab@c.example", 501, "Bad ORCPT")
    c.cmd("RCPT TO:<%s> NOTIFY=FAILURE,DELAY ORCPT=rfc822;Old+2BName@c.example" % BOB, 250)
    c.content(HEAD + b"dsn\r\n")
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), (ALICE, [BOB]), "envelope")
    equal(m.params, "ENVID=one+2Btwo RET=HDRS", "parameters of MAIL")


def test_bare_lf_rejected(t):
    """smtpd_forbid_bare_newline = reject holds although message and final dot come in one piece."""
    r = t.relay(main={"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": ""})
    c = t.client(r)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("DATA", 354)
    c.send_raw(HEAD + b"one\n.\nMAIL FROM:<evil@client.example>\r\n.\r\n")
    c.expect(550, r"^5\.5\.2 .*bare <LF>")
    c.cmd("NOOP", 250)
    c.send_raw(b"NOOP\n")
    c.expect(550, r"^5\.5\.2 .*bare <LF>")
    c.expect_eof()


def test_long_command(t):
    """The rest of an over-long line is no command of its own."""
    c = t.client(t.relay())
    c.ehlo()
    c.send_raw(b"NOOP " + b"x" * 2043 + b"QUIT\r\n")
    c.expect(250, r"^2\.0\.0 Ok")
    c.cmd("RSET", 250)


def test_client_refused_at_connect(t):
    """smtpd_delay_reject = no: refused with the greeting; nothing but QUIT is served."""
    r = t.relay(main={"smtpd_client_restrictions": "reject", "smtpd_delay_reject": "no"})
    c = t.client(r, greet=False)
    c.expect(554, r"^5\.7\.1 .*Client host rejected: Access denied")
    c.cmd("EHLO client.example", 503, r"^5\.7\.0 Error: access denied for ")
    c.cmd("QUIT", 221)


def test_etrn(t):
    """Deferred mail for a domain goes out when its host asks; other domains are not served."""
    sink = t.sink().on("rcpt", "450 4.2.0 away", match="bob@")
    r = t.relay(sink=sink, main={"fast_flush_domains": "dest.example"})
    qid = t.send(r)
    r.wait_queue(lambda e: len(e) == 1 and e[0]["queue_name"] == "deferred")
    sink.forget_rules()
    c = t.client(r)
    c.ehlo()
    c.cmd("ETRN other.example", 459, r"^<other\.example>: service unavailable")
    c.cmd("ETRN", 500, "Syntax: ETRN domain")
    c.cmd("ETRN dest.example", 250, r"^Queuing started")
    # Cut to a line: the domain then stands in the same memory as the command.
    c.cmd("ETRN " + "a" * 3000, 501, "Error: invalid parameter syntax")
    r.log.wait_for(r"%s: to=<bob@dest\.example>.*status=sent" % qid)


def test_smtputf8(t):
    """A non-ASCII address goes to a server with SMTPUTF8, and comes back from one without."""
    sink = t.sink()
    r = t.relay(sink=sink)
    c = t.client(r)
    assert "SMTPUTF8" in c.ehlo()
    c.cmd("MAIL FROM:<%s> SMTPUTF8" % ALICE, 250)
    c.cmd("RCPT TO:<j\u00f6@dest.example>", 250)
    qid = queue_id(c.content(HEAD + b"utf8\r\n"))
    r.log.wait_for(r"%s: .*dsn=5\.6\.7, status=bounced \(SMTPUTF8 is required, but was not offered by host" % qid)
    equal([m for m in sink.messages if m.sender == ALICE], [], "messages")
