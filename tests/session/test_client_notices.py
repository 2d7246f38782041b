"""Notices to the postmaster about sessions of the SMTP and LMTP clients (notify_classes: protocol, data)."""
import os

from session import equal

HERE = "relay.rp.test"
PM = "postmaster@rp.test"
WANTED = {"notify_classes": "protocol, data", "smtp_connection_cache_on_demand": "no"}
NO_PIPELINING = ["8BITMIME"]


def to_sink(sink, *domains, service="smtp"):
    return ", ".join("{%s=%s:%s}" % (d, service, sink.nexthop) for d in domains)


def relay(t, office, maps, **main):
    """Mail for the listed domains goes by `maps`, all other mail, notices among it, to `office`."""
    return t.relay(sink=office, main=dict(WANTED, mydestination="", transport_maps="inline:{%s}" % maps, **main))


def notices(office):
    return [m for m in office.taken() if "errors from" in (m.header("Subject") or "")]


def wait_notice(t, office, count=1):
    t.wait("%d notices" % count, lambda: len(notices(office)) >= count)
    equal(len(notices(office)), count, "notices")
    return notices(office)


def text(notice):
    return notice.body.decode().replace("\r\n", "\n")


def test_protocol_trouble(t):
    """A reply that says our command was wrong is told of, with what was said; a plain refusal is not."""
    office, bad = t.sink(), t.sink(ehlo=NO_PIPELINING)
    bad.on("rcpt", "550 5.1.1 nobody", match="nobody@").on("rcpt", "501 5.5.4 syntax", match="odd@")
    r = relay(t, office, to_sink(bad, "bad.example"), error_notice_recipient="help")
    q = t.send(r, recipients="nobody@bad.example")
    r.log.wait_for(r"%s: to=<nobody@bad.example>, .*status=bounced" % q)
    q = t.send(r, recipients="odd@bad.example")
    m = wait_notice(t, office)[0]
    r.log.wait_for(r"%s: to=<odd@bad.example>, .*dsn=5.5.4, status=bounced" % q)
    equal(m.sender, "double-bounce@" + HERE, "sender")
    equal(m.recipients, ["help@rp.test"], "recipient")
    equal(m.header("From"), "Mail Delivery System <MAILER-DAEMON@%s>" % HERE, "From:")
    equal(m.header("To"), "Postmaster <help@rp.test>", "To:")
    peer = "127.0.0.1[127.0.0.1]:%d" % bad.port
    assert m.header("Subject").endswith(" SMTP client: errors from " + peer), m.header("Subject")
    assert m.header("Message-Id") and m.header("Date") and m.header("Received"), m.data
    equal(text(m), "Unexpected response from %s.\n\nTranscript of session follows.\n\n"
          " In:  220 sink.example ESMTP sink\n Out: EHLO %s\n In:  250-sink.example\n In:  250 8BITMIME\n"
          " Out: MAIL FROM:<alice@client.example>\n In:  250 2.1.0 Ok\n Out: RCPT TO:<odd@bad.example>\n"
          " In:  501 5.5.4 syntax\n Out: RSET\n In:  250 2.0.0 Ok\n Out: QUIT\n\n"
          "For other details, see the local mail logfile\n" % (peer, HERE), "body")
    r.log.wait_for(r"to=<help@rp.test>, orig_to=<help>, .*status=sent")


def test_only_what_is_wanted(t):
    """Without its class there is no notice, whatever the server says."""
    office, bad = t.sink(), t.sink()
    bad.on("rcpt", "500 5.5.1 what?", times=1)
    r = relay(t, office, to_sink(bad, "bad.example"))
    r.write_config(notify_classes="resource, software, data, policy")
    r.reload()
    q = t.send(r, recipients="a@bad.example")
    r.log.wait_for(r"%s: to=<a@bad.example>, .*status=bounced" % q)
    r.wait_empty()
    equal(notices(office), [], "notices")
    bad.on("rcpt", "500 5.5.1 what?")
    r.write_config(notify_classes="protocol")
    r.reload()
    t.send(r, recipients="b@bad.example")
    assert "b@bad.example" in text(wait_notice(t, office)[0])


def test_table_trouble(t):
    """Class data: a table on the way out cannot tell what to send."""
    office, good = t.sink(), t.sink()
    r = t.relay(sink=office, main=dict(WANTED, mydestination="", transport_maps="inline:{{good.example=broken:%s}}"
                                       % good.nexthop),
                master=["broken unix - - n - - smtp -o smtp_header_checks=fail:broken"])
    q = t.send(r, recipients="a@good.example")
    r.log.wait_for(r"%s: to=<a@good.example>, .*dsn=4.3.0, status=deferred \(local data error while talking to" % q)
    body = text(wait_notice(t, office)[0])
    assert "\n In:  354 go ahead\n\nFor other" in body, body


def test_no_passwords(t):
    """Of AUTH only the mechanism is in the transcript."""
    office, bad = t.sink(), t.sink(ehlo=["AUTH PLAIN"])
    bad.on("auth", "235 2.7.0 Ok").on("rcpt", "500 5.5.1 what?")
    r = relay(t, office, to_sink(bad, "bad.example"), smtp_sasl_auth_enable="yes",
              smtp_sasl_security_options="noanonymous",
              smtp_sasl_password_maps="inline:{{%s=joe:secret}}" % bad.nexthop)
    t.send(r, recipients="a@bad.example")
    body = text(wait_notice(t, office)[0])
    assert " Out: AUTH PLAIN\n In:  235 2.7.0 Ok\n" in body, body
    assert [c for s in bad.sessions for c in s.commands if c.startswith("AUTH PLAIN AGpvZQBzZWNyZXQ=")]


def test_no_loop(t):
    """Trouble with a notice, or with a bounce, makes no further notice."""
    bad = t.sink().on("rcpt", "500 5.5.1 what?")
    r = t.relay(sink=bad, main=dict(WANTED, mydestination=""))
    q = t.send(r, recipients="a@bad.example")
    r.log.wait_for(r"%s: to=<a@bad.example>, .*status=bounced" % q)
    r.log.wait_for(r"from=<double-bounce@%s>" % HERE)
    r.log.wait_for(r"undeliverable postmaster notification discarded")
    r.wait_empty()
    equal(len(r.log.find_all(r"from=<double-bounce@")), 1, "notices")


def test_each_mail_of_a_kept_connection(t):
    """A notice has what was said about one mail, not about those before it on the same connection."""
    office, bad = t.sink(), t.sink(ehlo=NO_PIPELINING)
    bad.on("rcpt", "501 5.5.4 syntax", match="odd@")
    r = relay(t, office, to_sink(bad, "bad.example"), smtp_connection_cache_destinations=bad.nexthop)
    t.send(r, recipients="fine@bad.example")
    bad.wait(1)
    q = t.send(r, recipients="odd@bad.example")
    r.log.wait_for(r"%s: to=<odd@bad.example>, .*conn_use=2, .*status=bounced" % q)
    body = text(wait_notice(t, office)[0])
    assert "follows.\n\n Out: MAIL FROM:<alice@client.example>\n" in body and "fine@" not in body, body


def test_lmtp(t):
    """The LMTP client too, over a UNIX socket; one recipient of several is enough."""
    path = t.dir + "/lmtp"
    office, bad = t.sink(), t.sink(lmtp=True, path=path, ehlo=NO_PIPELINING)
    os.chmod(path, 0o666)
    bad.on("dot", "500 5.5.1 what?", match="odd@")
    r = relay(t, office, "{bad.example=lmtp:unix:%s}" % path)
    t.send(r, recipients=["fine@bad.example", "odd@bad.example"])
    m = wait_notice(t, office)[0]
    peer = "%s[%s]" % (HERE, path)
    assert m.header("Subject").endswith(" LMTP client: errors from " + peer), m.header("Subject")
    body = text(m)
    assert body.startswith("Unexpected response from %s.\n" % peer), body
    assert " Out: .\n In:  250 2.1.5 Ok: delivered\n In:  500 5.5.1 what?\n Out: QUIT\n" in body, body
