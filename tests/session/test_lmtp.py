"""LMTP: a reply per recipient, sockets and addresses, real servers."""
import os
import pwd
import shutil
import socket
import subprocess

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
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
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


DOVECOT = """\
base_dir = %(dir)s/run
state_dir = %(dir)s/state
log_path = %(dir)s/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
default_internal_user = %(user)s
default_login_user = %(user)s
default_internal_group = %(group)s
mail_location = maildir:%(dir)s/mail/%%n
first_valid_uid = 1
postmaster_address = postmaster@rp.test
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = passwd-file
  args = username_format=%%n %(dir)s/users
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %(port)d
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
"""


@limit(90)
def test_dovecot(t):
    """Dovecot's LMTP server: mail is in the mailbox, an unknown user bounces."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    d = t.dir + "/dovecot"
    mail = pwd.getpwnam("nobody")
    os.makedirs(d + "/mail")
    os.chown(d + "/mail", mail.pw_uid, mail.pw_gid)
    with open(d + "/users", "w") as f:
        f.write("bob:{PLAIN}x:%d:%d::%s/mail/bob::\n" % (mail.pw_uid, mail.pw_gid, d))
    with open(d + "/dovecot.conf", "w") as f:
        f.write(DOVECOT % {"dir": d, "port": port, "user": "nobody", "group": "nogroup"})
    p = subprocess.Popen([shutil.which("dovecot", path="/usr/sbin:/usr/bin"), "-F", "-c", d + "/dovecot.conf"])
    t.at_end(lambda: (p.terminate(), p.wait()))
    t.wait("dovecot", lambda: can_connect(port), 20)
    r = lmtp_relay(t, "inet:127.0.0.1:%d" % port)
    q = t.send(r, recipients=[BOB, "nobody-here@dest.example"])
    r.log.wait_for(r"%s: to=<%s>, relay=127.0.0.1\[127.0.0.1\]:%d, .*status=sent \(250 2.0.0 .*Saved" % (q, BOB, port))
    r.log.wait_for(r"%s: to=<nobody-here@dest.example>, .*dsn=5.1.1, status=bounced" % q)
    new = os.listdir(d + "/mail/bob/new")
    equal(len(new), 1, "mails in the mailbox")
    with open(d + "/mail/bob/new/" + new[0], "rb") as f:
        assert b"\nHello.\n" in f.read()
