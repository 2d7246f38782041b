"""LMTP: a reply per recipient, sockets and addresses, real servers."""
import os
import shutil
import socket
import subprocess

from dovecot import Dovecot
from relay import free_port
from session import equal, limit

BOB = "bob@dest.example"
THREE = ["ok@dest.example", "full@dest.example", "gone@dest.example"]


def lmtp_relay(t, nexthop, **main):
    main = dict({"default_transport": "lmtp:" + nexthop, "minimal_backoff_time": "300s"}, **main)
    return t.relay(main=main)


def test_reply_per_recipient(t):
    """Each recipient has the outcome of its own reply after the dot."""
    sink = t.sink(lmtp=True)
    sink.on("dot", "452 4.2.2 mailbox full", match="full@").on("dot", "550 5.1.1 gone", match="gone@")
    r = lmtp_relay(t, "inet:127.0.0.1:%d" % sink.port)
    q = t.send(r, recipients=THREE)
    r.log.wait_for(r"lmtp\[\d+\]: %s: to=<ok@dest.example>, .*dsn=2.1.5, status=sent \(250 2.1.5 Ok: delivered\)" % q)
    r.log.wait_for(r"%s: to=<full@dest.example>, .*dsn=4.2.2, status=deferred \(host 127.0.0.1\[127.0.0.1\] said: "
                   r"452 4.2.2 mailbox full \(in reply to end of DATA command\)\)" % q)
    r.log.wait_for(r"%s: to=<gone@dest.example>, .*dsn=5.1.1, status=bounced" % q)
    equal(sink.sessions[0].commands[0], "LHLO relay.rp.test", "greeting")
    equal(sink.wait(1)[0].recipients, ["ok@dest.example"], "delivered")


def test_reply_lost_between_recipients(t):
    """A connection that ends between two replies: the first recipient is done, the second is tried again."""
    sink = t.sink(lmtp=True)
    sink.on("dot", lambda s, m: s.drop(), match="second@", times=1)
    r = lmtp_relay(t, "inet:127.0.0.1:%d" % sink.port, minimal_backoff_time="1s", queue_run_delay="1s")
    q = t.send(r, recipients=["first@dest.example", "second@dest.example"])
    r.log.wait_for(r"%s: to=<first@dest.example>, .*status=sent" % q)
    r.log.wait_for(r"%s: to=<second@dest.example>, .*status=deferred \(lost connection with .* while sending end of "
                   r"data -- message may be sent more than once\)" % q)
    r.log.wait_for(r"%s: to=<second@dest.example>, .*status=sent" % q)
    equal(len(r.log.find_all(r"to=<first@dest.example>, .*status=sent")), 1, "deliveries of the first")


def test_unix_sockets(t):
    """unix:path below queue_directory, and an absolute path."""
    r = lmtp_relay(t, "unix:private/store")
    elsewhere = t.dir + "/elsewhere"
    for path, name in ((r.queue_dir + "/private/store", "private/store"), (elsewhere, elsewhere)):
        sink = t.sink(lmtp=True, path=path)
        os.chmod(path, 0o666)
        if name == elsewhere:
            r.write_config(default_transport="lmtp:unix:" + elsewhere)
            r.reload()
            r.log.wait_for(r"master\[\d+\]: reload")
        q = t.send(r, recipients=[BOB])
        r.log.wait_for(r"%s: to=<%s>, relay=relay.rp.test\[%s\], .*status=sent" % (q, BOB, name))
        equal(sink.wait(1)[0].recipients, [BOB], name)


def test_missing_socket(t):
    """A socket that is not there defers, and says which."""
    r = lmtp_relay(t, "unix:private/nothing")
    q = t.send(r, recipients=[BOB])
    r.log.wait_for(r"%s: to=<%s>, relay=none, .*dsn=4.4.1, status=deferred \(connect to relay.rp.test"
                   r"\[private/nothing\]: No such file or directory\)" % (q, BOB))


def test_flags(t):
    """flags=DORX of the master.cf line: headers for the mailbox, the loop they tell of, one recipient a time."""
    sink = t.sink(lmtp=True)
    r = t.relay(main={"default_transport": "store:inet:127.0.0.1:%d" % sink.port,
                      "store_destination_recipient_limit": "1"},
                master=["store unix - - n - - lmtp flags=DORX"])
    t.send(r, recipients=[BOB])
    m = sink.wait(1)[0]
    equal(m.data.decode().split("\r\n")[:3], ["Return-Path: <alice@client.example>", "X-Original-To: " + BOB,
                                              "Delivered-To: " + BOB], "first headers")
    q = t.send(r, recipients=[BOB], message="Delivered-To: Bob@dest.example\nFrom: <alice@client.example>\n\nagain\n")
    r.log.wait_for(r"%s: to=<%s>, relay=store, .*dsn=5.4.6, status=bounced \(mail forwarding loop for %s\)" % (q, BOB, BOB))


def test_default_port(t):
    """Without a port it is lmtp_tcp_port."""
    sink = t.sink(lmtp=True)
    r = lmtp_relay(t, "inet:[127.0.0.1]", lmtp_tcp_port=str(sink.port), lmtp_lhlo_name="me.example")
    t.send(r, recipients=[BOB])
    equal(sink.wait(1)[0].recipients, [BOB], "delivered")
    equal(sink.sessions[0].hello, "me.example", "lmtp_lhlo_name")


@limit(90)
def test_smtp_sink(t):
    """Postfix's smtp-sink, as SMTP and as LMTP server."""
    for lmtp in (False, True):
        port = free_port()
        p = subprocess.Popen([shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")] + (["-L"] if lmtp else []) +
                             ["-u", "nobody", "127.0.0.1:%d" % port, "100"], cwd=t.dir)
        t.at_end(p.kill)
        t.wait("smtp-sink", lambda: can_connect(port), 10)
        main = {"default_transport": "lmtp:inet:127.0.0.1:%d" % port} if lmtp else {"relayhost": "[127.0.0.1]:%d" % port}
        r = t.relay(main=main)
        ids = [t.send(r, recipients=["r%d@dest.example" % i for i in range(20)]) for _ in range(5)]
        for q in ids:
            r.log.wait_for(r"%s: to=<.*status=sent" % q, count=20)
        r.wait_empty()
        r.stop()


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@limit(120)
def test_dovecot(t):
    """Dovecot's LMTP server: mail is in the mailbox, an unknown user bounces."""
    d = dovecot(t, "dovecot", {"bob": None})
    r = lmtp_relay(t, d.nexthop)
    q = t.send(r, recipients=[BOB, "nobody-here@dest.example"])
    r.log.wait_for(r"%s: to=<%s>, relay=127.0.0.1\[127.0.0.1\]:%d, .*status=sent \(250 2.0.0 .*Saved" % (q, BOB, d.port))
    r.log.wait_for(r"%s: to=<nobody-here@dest.example>, .*dsn=5.1.1, status=bounced" % q)
    mails = d.mails("bob")
    equal(len(mails), 1, "mails in the mailbox")
    assert b"\nHello.\n" in mails[0], mails[0]


def dovecot(t, *args, **kw):
    d = Dovecot(t.dir, *args, **kw)
    t.at_end(d.close)
    return d


@limit(240)
def test_three_dovecots(t):
    """One relay before three Dovecots: each user's mail goes to his server; each recipient has the outcome of his own reply; a server
    that is down holds up its own users only, and nobody gets anything twice."""
    sink = t.sink()
    os.chmod(t.dir, 0o755)
    east = dovecot(t, "east", {"anna": None, "alan": None, "fay": 100}, over_quota="4xx")
    west = dovecot(t, "west", {"bert": None, "finn": 100}, path=t.dir + "/west.lmtp")
    north = dovecot(t, "north", {"cora": None, "carl": None}, path=t.dir + "/north.lmtp")
    where = {east: ["anna", "alan", "fay"], west: ["bert", "finn"], north: ["cora", "carl", "ghost"]}
    r = t.relay(sink=sink, start=False)
    users = [u for names in where.values() for u in names]
    r.write_file("users", "".join("%s@dest.example x\n" % u for u in users))
    r.write_file("transport", "".join("%s@dest.example lmtp:%s\n" % (u, d.nexthop) for d in where for u in where[d]))
    r.write_config(virtual_mailbox_domains="dest.example", virtual_mailbox_maps="hash:%s/users" % r.conf,
                   transport_maps="hash:%s/transport" % r.conf, minimal_backoff_time="1s", maximal_backoff_time="2s", queue_run_delay="1s")
    r.must_run("postmap", "hash:%s/users" % r.conf, "hash:%s/transport" % r.conf)
    r.start()

    q = t.send(r, recipients=["%s@dest.example" % u for u in users])
    for user, server in (("anna", east), ("alan", east), ("bert", west), ("cora", north), ("carl", north)):
        r.log.wait_for(r"%s: to=<%s@dest.example>, .*dsn=2.0.0, status=sent \(250 2.0.0 .*Saved\)" % (q, user), limit=60)
        equal(len(server.mails(user)), 1, user)
    r.log.wait_for(r"%s: to=<fay@dest.example>, .*dsn=4.2.2, status=deferred \(host .* said: 452 4.2.2 <fay@dest.example> Quota exceeded .*"
                   r"\(in reply to end of DATA command\)\)" % q, limit=60)
    r.log.wait_for(r"%s: to=<finn@dest.example>, .*dsn=5.2.2, status=bounced \(host .* said: 552 5.2.2 <finn@dest.example> Quota exceeded .*"
                   r"\(in reply to end of DATA command\)\)" % q, limit=60)
    r.log.wait_for(r"%s: to=<ghost@dest.example>, .*dsn=5.1.1, status=bounced \(host .* said: 550 5.1.1 <ghost@dest.example> User doesn't "
                   r"exist: ghost@dest.example \(in reply to RCPT TO command\)\)" % q, limit=60)
    with t.client(r) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<alice@client.example>", 250)
        c.cmd("RCPT TO:<stranger@dest.example>", 550)

    north.stop()
    held = t.send(r, recipients=["anna@dest.example", "bert@dest.example", "cora@dest.example"])
    for user in ("anna", "bert"):
        r.log.wait_for(r"%s: to=<%s@dest.example>, .*status=sent" % (held, user), limit=60)
    r.log.wait_for(r"%s: to=<cora@dest.example>, relay=none, .*dsn=4.4.1, status=deferred \(connect to .*\[%s\]: "
                   r"(No such file or directory|Connection refused)\)" % (held, north.path), limit=60)
    north.start()
    r.log.wait_for(r"%s: to=<cora@dest.example>, .*status=sent \(250 2.0.0 .*Saved\)" % held, limit=90)
    for user, server, count in (("anna", east, 2), ("alan", east, 1), ("bert", west, 2), ("cora", north, 2), ("carl", north, 1),
                                ("fay", east, 0), ("finn", west, 0)):
        mails = server.mails(user)
        equal(len(mails), count, "mails of " + user)
        for m in mails:
            assert m.endswith(b"\n\nHello.\n"), m
            assert m.startswith(b"Return-Path: <alice@client.example>\n"), m
    # Both refused ones are in bounces to the sender, and fay waits for room.
    t.wait("bounces", lambda: {u for u in ("finn", "ghost") for m in sink.messages if b"<%s@dest.example>" % u.encode() in m.data} ==
           {"finn", "ghost"}, 60)
    equal({(m.sender, tuple(m.recipients)) for m in sink.messages}, {("", ("alice@client.example",))}, "bounces")
    equal(sorted(x["recipients"][0]["address"] for x in r.queue()), ["fay@dest.example"], "in the queue")
