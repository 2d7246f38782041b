"""Lookup tables under a running relay: changed, rebuilt and broken ones, and where mail goes because of them."""
import os

from session import equal

ALICE = "alice@client.example"


def code(t, relay, rcpt):
    """The code of RCPT TO in a session of its own."""
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        return c.cmd("RCPT TO:<%s>" % rcpt).code


def test_change_is_seen(t):
    """A text table and an indexed one are read again when they change, without a restart."""
    r = t.relay(start=False)
    r.write_file("text", "here.test x\n")
    r.write_file("index", "there.test x\n")
    r.write_config(relay_domains="texthash:%s/text, hash:%s/index" % (r.conf, r.conf),
                   mynetworks="192.0.2.0/24")
    r.must_run("postmap", os.path.join(r.conf, "index"))
    r.start()
    equal(code(t, r, "a@here.test"), 250, "in the text table")
    equal(code(t, r, "a@there.test"), 250, "in the index")
    equal(code(t, r, "a@new.test"), 454, "not known yet")
    r.write_file("index", "new.test x\n")
    r.must_run("postmap", os.path.join(r.conf, "index"))
    t.wait("the index", lambda: code(t, r, "a@new.test") == 250)
    t.wait("the old entry", lambda: code(t, r, "a@there.test") == 454)
    r.write_file("text", "newer.test x\n")
    t.wait("the text table", lambda: code(t, r, "a@newer.test") == 250)
    t.wait("the old line", lambda: code(t, r, "a@here.test") == 454)


def test_broken_table_defers(t):
    """A table that cannot be read answers 451 wherever it decides, until it is back."""
    r = t.relay(start=False)
    path = r.write_file("domains", "here.test x\n")
    r.write_config(relay_domains="texthash:" + path, mynetworks="192.0.2.0/24")
    r.start()
    equal(code(t, r, "a@here.test"), 250, "whole")
    os.rename(path, path + ".away")
    t.wait("the loss", lambda: code(t, r, "a@here.test") == 451)
    t.wait("no rejection while nobody can tell", lambda: code(t, r, "a@elsewhere.test") == 451)
    os.rename(path + ".away", path)
    t.wait("the return", lambda: code(t, r, "a@here.test") == 250)


def test_routes(t):
    """transport_maps decides anew at each attempt; a table that fails makes mail wait, not bounce."""
    sink, other = t.sink(), t.sink()
    r = t.relay(sink=sink, start=False)
    path = r.write_file("transport", "moved.test smtp:%s\n" % other.nexthop)
    r.write_config(transport_maps="texthash:" + path, smtpd_reject_unlisted_recipient="no",
                   minimal_backoff_time="1s", queue_run_delay="1s")
    r.start()
    t.send(r, recipients=["a@moved.test"])
    equal(len(other.wait(1)), 1, "messages over the other way")
    os.rename(path, path + ".away")
    sent = ["a@moved.test"]

    def deferred():
        sent.append("b%d@moved.test" % len(sent))
        t.send(r, recipients=sent[-1:])
        return r.log.find_all(r"status=deferred \(address resolver failure\)")
    t.wait("a deferral", deferred, step=0.1)
    os.rename(path + ".away", path)
    got = other.wait(len(sent))
    equal(sorted(rcpt for m in got for rcpt in m.recipients), sorted(sent), "recipients once the table is back")
    equal(len(sink.messages), 0, "messages over the usual way, bounces among them")


def test_aliases(t):
    """One recipient that becomes several, with copies; the sender hears of no copy."""
    sink = t.sink()
    r = t.relay(sink=sink, main={
        "virtual_alias_domains": "v.test",
        "virtual_alias_maps": "inline:{{all@v.test = a@dest.test, b@dest.test}}",
        "canonical_maps": "inline:{alice@client.example=public@client.example}",
        "recipient_bcc_maps": "inline:{all@v.test=watch@dest.test}"})
    t.send(r, recipients=["all@v.test"])
    got = sink.wait(1)
    equal(sorted(rcpt for m in got for rcpt in m.recipients), ["a@dest.test", "b@dest.test", "watch@dest.test"], "recipients")
    equal(got[0].sender, "public@client.example", "sender")
    r.wait_empty()
