"""sendmail, postdrop, maildrop and pickup: mail that is submitted on this host."""
import os
import shutil
import smtplib
import socket
import stat
import subprocess
import threading

from deadline import STRETCH, wait_until
from relay import free_port
from session import equal, match

MESSAGE = ("From: Alice <alice@client.example>\nTo: bob@dest.example\nSubject: submitted\n"
           "Message-Id: <one@client.example>\nDate: Fri, 21 Nov 2025 12:00:00 +0000\n\nhello\n.\nbye\n")


def maildrop(r):
    return sorted(os.listdir(r.queue_dir + "/maildrop"))


def submit(r, *args, text=MESSAGE):
    return r.must_run("sendmail", "-f", "alice@client.example", *args, stdin=text)


def drop(r, records):
    """postdrop with hand-made records; the finished process."""
    return r.run("postdrop", "-r", stdin=b"".join(
        b"%s%d:%s\n" % (k.encode(), len(v), v) for k, v in records))


GOOD = [("V", b"1"), ("S", b"alice@client.example"), ("R", b"bob@dest.example"), ("M", b""),
        ("L", b"Subject: x\n\nbody\n"), ("Z", b"")]


def test_delivered(t):
    """From the command line to the sink, with our Received: line; maildrop is empty again."""
    sink = t.sink()
    r = t.relay(sink=sink)
    submit(r, "-i", "bob@dest.example")
    m = sink.wait(1)[0]
    match(m.data.decode(), r"\AReceived: by relay\.rp\.test \(\S+, from userid 0\)\r\n\tid \S+; ")
    assert m.data.endswith(b"\r\n\r\nhello\r\n.\r\nbye\r\n"), m.data
    r.log.wait_for(r"postfix/pickup\[\d+\]: \S+: uid=0 from=<alice@client\.example>$")
    t.wait("empty maildrop", lambda: not maildrop(r))


def test_waits_for_the_system(t):
    """Nothing runs: the message is on disk, for the mail system only; it goes when there is one."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False)
    r.start()
    r.stop()
    submit(r, "bob@dest.example")
    name, = maildrop(r)
    st = os.stat(r.queue_dir + "/maildrop/" + name)
    equal(stat.S_IMODE(st.st_mode), 0o744, "mode of a finished file")
    r.start()
    sink.wait(1)
    t.wait("empty maildrop", lambda: not maildrop(r))


def test_waits_for_the_database(t):
    """PostgreSQL is away: sendmail says yes all the same, and the mail goes once when it is back."""
    sink = t.sink()
    db = t.cluster()
    r = t.relay(sink=sink, database=db.create_database("queue"), start=False)
    r.must_run("rowpost", "schema")
    r.start()
    db.stop("immediate")
    submit(r, "bob@dest.example")
    equal(len(maildrop(r)), 1, "files")
    db.start()
    sink.wait(1)
    t.wait("empty maildrop", lambda: not maildrop(r))
    equal(len(sink.messages), 1, "copies")


def test_recipients_from_headers(t):
    """-t: To, Cc and Bcc, of which the last is not sent on; with Resent- headers only those."""
    sink = t.sink()
    r = t.relay(sink=sink)
    r.must_run("sendmail", "-t", stdin="From: a@client.example\nTo: \"B, b\" <b@dest.example>,\n c@dest.example\n"
               "Bcc: d@dest.example\nSubject: x\n\nbody\n")
    m = sink.wait(1)[0]
    equal(sorted(m.recipients), ["b@dest.example", "c@dest.example", "d@dest.example"])
    assert b"Bcc" not in m.data, m.data
    r.must_run("sendmail", "-t", stdin="To: b@dest.example\nResent-To: e@dest.example\nSubject: x\n\nbody\n")
    equal(sink.wait(2)[1].recipients, ["e@dest.example"])


def test_refused_input(t):
    """What is no message is refused by postdrop and leaves no file."""
    r = t.relay()
    for what, records, why in [
            ("an attribute of another's", GOOD[:1] + [("T", b"0")] + GOOD[1:], "unexpected record type"),
            ("no version", GOOD[1:], "unexpected record type"),
            ("two senders", GOOD[:2] + GOOD[1:], "unexpected record type"),
            ("content before the sender", GOOD[:1] + GOOD[3:], "unexpected record type"),
            ("an unknown record", GOOD[:1] + [("Q", b"x")] + GOOD[1:], "bad record"),
            ("an address of two lines", GOOD[:2] + [("R", b"a@b\nc@d")] + GOOD[2:], "bad record"),
            ("a huge field", GOOD[:1] + [("F", b"x" * 5000)] + GOOD[1:], "bad record")]:
        p = drop(r, records)
        assert p.returncode != 0, what
        match(p.stderr, why)
        equal(maildrop(r), [], what)
    p = r.run("postdrop", "-r", stdin=b"V1:1\nS99999999999:x")
    match(p.stderr, "malformed input")
    p = r.run("postdrop", "-r", stdin=b"V1:1\nS3:a@b\nR3:c@d\nM0:\nL4:bod")
    assert p.returncode != 0 or p.stdout == "", "a cut-off submission is reported as done"
    equal(maildrop(r), [], "cut off")
    match(drop(r, GOOD).stdout, r"^0 ")


def test_foreign_files(t):
    """What lies in maildrop and is no submission is removed or left alone, and stops nothing."""
    sink = t.sink()
    r = t.relay(sink=sink)
    d = r.queue_dir + "/maildrop/"
    for name, text, mode in [("JUNK1", b"rubbish", 0o744), ("UNFINISHED1", b"V1:1\n", 0o600),
                             ("CUT1", b"V1:1\nS3:a@b\nR3:c@d\nM0:\nL4:body\n", 0o744)]:
        with open(d + name, "wb") as f:
            f.write(text)
        os.chmod(d + name, mode)
    os.symlink("/etc/passwd", d + "LINK1")
    os.mkdir(d + "DIR1")
    submit(r, "bob@dest.example")
    sink.wait(1)
    t.wait("junk is gone", lambda: maildrop(r) == ["DIR1", "LINK1", "UNFINISHED1"])


def test_size_limit(t):
    """A message beyond message_size_limit is refused by sendmail."""
    r = t.relay(main={"message_size_limit": "3000"})
    p = r.run("sendmail", "bob@dest.example", stdin="Subject: x\n\n" + "line\n" * 1000)
    equal(p.returncode, 75)
    match(p.stderr, r"sendmail: fatal: root\(0\): message file too big")
    equal(maildrop(r), [])


def test_who_may_submit(t):
    """authorized_submit_users: names, negation; told by sendmail, enforced by postdrop."""
    r = t.relay(main={"authorized_submit_users": "!root, static:all"})
    p = r.run("sendmail", "bob@dest.example", stdin=MESSAGE)
    equal(p.returncode, 75)
    match(p.stderr, r"User root\(0\) is not allowed to submit mail")
    p = drop(r, GOOD)
    assert p.returncode != 0 and maildrop(r) == [], p
    match(p.stderr, r"User root\(0\) is not allowed to submit mail")


def test_refused_mail_comes_back(t):
    """What header_checks refuse is returned to its sender once."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False)
    r.write_config(header_checks="regexp:" + r.write_file("hc", "/^Subject: sub/ REJECT not here\n"))
    r.start()
    submit(r, "bob@dest.example")
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), ("", ["alice@client.example"]))
    match(m.data.decode(), r"<bob@dest\.example>: not here")
    t.wait("empty maildrop", lambda: not maildrop(r))


def test_reload_and_stop(t):
    """A burst is stored while pickup is told to reload and to stop; each message once."""
    sink = t.sink()
    r = t.relay(sink=sink)
    clients = [threading.Thread(target=submit, args=(r, "u%d@dest.example" % i)) for i in range(40)]
    for c in clients:
        c.start()
    r.reload()
    for c in clients:
        c.join()
    r.stop()
    r.start()
    sink.wait(40)
    t.wait("empty maildrop", lambda: not maildrop(r))
    equal(sorted(m.recipients[0] for m in sink.messages), sorted("u%d@dest.example" % i for i in range(40)))


def test_smtp_clients(t):
    """swaks, msmtp and Python's smtplib deliver by SMTP."""
    sink = t.sink()
    r = t.relay(sink=sink)
    run = dict(check=True, stdout=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "HOME": t.dir})
    subprocess.run(["swaks", "--server", "127.0.0.1:%d" % r.port, "--from", "a@client.example", "--to", "swaks@dest.example"], **run)
    subprocess.run(["msmtp", "--file=/dev/null", "--host=127.0.0.1", "--port=%d" % r.port, "--from=a@client.example", "msmtp@dest.example"],
                   input=b"Subject: msmtp\n\nbody\n", **run)
    with smtplib.SMTP("127.0.0.1", r.port) as c:
        c.sendmail("a@client.example", ["smtplib@dest.example"], "Subject: smtplib\r\n\r\nbody\r\n")
    sink.wait(3)
    equal(sorted(m.recipients[0] for m in sink.messages),
          ["msmtp@dest.example", "smtplib@dest.example", "swaks@dest.example"])


def test_odd_times(t):
    """A file that says it came in 1970 or at the end of all time is delivered, and leaves the queue."""
    sink = t.sink()
    r = t.relay(sink=sink)
    for n, at in enumerate((b"0", b"9223372036854775807", b"99999999999999999999", b"1700000000000000")):
        name = "%s/maildrop/5D4F5D1A0000%d" % (r.queue_dir, n)
        with open(name, "wb") as f:
            f.write(b"".join(b"%s%d:%s\n" % (k.encode(), len(v), v) for k, v in [GOOD[0], ("T", at)] + GOOD[1:]))
        os.chmod(name, 0o744)
    submit(r, "bob@dest.example")
    # One is no number.
    sink.wait(4)
    r.wait_empty()
    t.wait("empty maildrop", lambda: not maildrop(r))


# ---- QMQP ------------------------------------------------------------------------------------------------------------

def netstring(b):
    return b"%d:%s," % (len(b), b)


def qmqp(port, packet):
    """The reply, without its netstring frame; b"" when there is none."""
    with socket.create_connection(("127.0.0.1", port), 20 * STRETCH) as s:
        s.sendall(packet)
        s.shutdown(socket.SHUT_WR)
        data = b""
        while True:
            piece = s.recv(4096)
            if not piece:
                break
            data += piece
    return data.partition(b":")[2][:-1]


def qmqp_relay(t, sink=None, **main):
    port = free_port()
    main = dict({"qmqpd_authorized_clients": "127.0.0.0/8", "qmqpd_error_delay": "0s"}, **main)
    r = t.relay(sink=sink, main=main, master=["127.0.0.1:%d inet n - n - - qmqpd" % port])
    # It answers before it has reached the database, and then with "Z".
    wait_until("qmqpd takes mail", lambda: not qmqp(port, b"x").startswith(b"Z"), limit=60)
    return r, port


def test_qmqp(t):
    """A message by QMQP, its replies K and D, and what breaks the format."""
    sink = t.sink()
    r, port = qmqp_relay(t, sink)
    inner = netstring(b"Subject: q\n\nbody\n") + netstring(b"a@client.example") + netstring(b"b@dest.example")
    match(qmqp(port, netstring(inner)).decode(), r"^KOk: queued as \w+$")
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), ("a@client.example", ["b@dest.example"]))
    match(m.data.decode(), r"with QMQP id \w+")
    # No CR may look like a line end to the next server.
    inner = netstring(b"Subject: q\n\na\r.\rb\r\n") + netstring(b"") + netstring(b"b@dest.example")
    match(qmqp(port, netstring(inner)).decode(), r"^KOk: queued as \w+$")
    equal(sink.wait(2)[1].body, b"a . b \r\n")
    no_rcpt = netstring(netstring(b"x\n") + netstring(b"a@client.example"))
    equal(qmqp(port, no_rcpt), b"DError: no recipients specified")
    match(qmqp(port, b"x").decode(), r"^Dnetstring format error while receiving QMQP packet header$")
    match(qmqp(port, b"9999999999:").decode(), r"^Dnetstring length exceeds storage limit while ")
    match(qmqp(port, b"20:99:abc,").decode(), r"^Dnetstring format error while receiving message content$")
    equal(qmqp(port, b"20:5:ab"), b"", "a client that leaves")
    r.log.wait_for(r"lost connection while receiving message content")


def test_qmqp_strangers(t):
    """Nobody is a client unless he is named."""
    r, port = qmqp_relay(t, qmqpd_authorized_clients="10.0.0.0/8")
    match(qmqp(port, netstring(b"x")).decode(),
          r"^DError: \S+\[127\.0\.0\.1\] is not authorized to use this service$")


def test_qmqp_source(t):
    """Postfix's qmqp-source, several sessions at once."""
    sink = t.sink()
    _r, port = qmqp_relay(t, sink)
    subprocess.run(["/usr/sbin/qmqp-source", "-m", "20", "-s", "4", "-f", "a@client.example", "-t", "b@dest.example",
                    "127.0.0.1:%d" % port], check=True)
    sink.wait(20)


def test_standalone_session(t):
    """sendmail -bs: an SMTP session on standard input; the mail system need not run."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False)
    r.start()
    r.stop()
    p = r.must_run("sendmail", "-bs", stdin="EHLO me.test\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@dest.example>\r\n"
                   "ETRN dest.example\r\nDATA\r\nSubject: bs\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
    match(p.stdout, r"\A220 relay\.rp\.test ESMTP")
    match(p.stdout, r"^354 [^\n]*\n250 2\.0\.0 Ok: queued as \w+\r\n221 2\.0\.0 Bye\r\n\Z")
    equal(len(maildrop(r)), 1)
    r.start()
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), ("a@client.example", ["b@dest.example"]))
    assert m.data.endswith(b"\r\n..dot\r\n") or m.data.endswith(b"\r\n.dot\r\n"), m.data


def test_verp(t):
    """-XV: each recipient gets the mail from a sender address that names him."""
    sink = t.sink()
    r = t.relay(sink=sink)
    r.must_run("sendmail", "-XV+=", "-f", "list@client.example", "a@dest.example", "b@dest.example", stdin=MESSAGE)
    sink.wait(2)
    equal(sorted((m.sender, m.recipients) for m in sink.messages),
          [("list+a=dest.example@client.example", ["a@dest.example"]),
           ("list+b=dest.example@client.example", ["b@dest.example"])])


def test_ordinary_user(t):
    """A user without rights submits through the set-gid postdrop, and cannot choose its configuration."""
    os.chmod(t.dir, 0o755)
    sink = t.sink()
    r = t.relay(sink=sink)
    with open(r.bin + "/postdrop", "rb") as f:
        if b"libasan" in f.read():
            return      # LeakSanitizer cannot look into a set-gid process
    r.must_run("rowpost", "set-permissions")
    # /etc of this test alone.
    for d in ("upper", "work"):
        os.mkdir(t.dir + "/" + d)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", "lowerdir=/etc,upperdir=%s/upper,workdir=%s/work" % (t.dir, t.dir),
                    "/etc"], check=True)
    shutil.rmtree("/etc/rowpost", ignore_errors=True)
    shutil.copytree(r.conf, "/etc/rowpost")
    bin_dir = t.dir + "/programs"
    os.mkdir(bin_dir)
    for name in ("sendmail", "postdrop"):
        shutil.copy2(r.bin + "/" + name, bin_dir)
    st = os.stat(r.bin + "/postdrop")
    os.chown(bin_dir + "/postdrop", 0, st.st_gid)
    os.chmod(bin_dir + "/postdrop", stat.S_IMODE(st.st_mode))
    equal("%o" % stat.S_IMODE(st.st_mode), "2755", "mode of postdrop")

    def as_nobody(*argv):
        return subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] + list(argv), input=MESSAGE.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={"PATH": "/usr/bin:/bin"})
    p = as_nobody(bin_dir + "/sendmail", "-f", "alice@client.example", "bob@dest.example")
    equal(p.returncode, 0, p.stdout)
    match(sink.wait(1)[0].data.decode(), r"from userid 65534\)")
    p = as_nobody(bin_dir + "/postdrop", "-c", r.conf)
    match(p.stdout.decode(), r"unauthorized configuration directory name")
    p = as_nobody("ls", r.queue_dir + "/maildrop")
    assert p.returncode != 0, "maildrop can be read by everybody"


def test_own_senders(t):
    """local_login_sender_maps: a user's own addresses and no others."""
    r = t.relay(main={"local_login_sender_maps": "inline:{ {root = root@rp.test, @mine.example} }"})
    equal(r.run("sendmail", "-f", "any@mine.example", "bob@dest.example", stdin=MESSAGE).returncode, 0)
    p = r.run("sendmail", "-f", "alice@client.example", "bob@dest.example", stdin=MESSAGE)
    equal(p.returncode, 75)
    match(p.stderr, r"postdrop: fatal: uid=0: Sender address <alice@client\.example> not owned by user root")
    equal(r.run("sendmail", "-f", "", "bob@dest.example", stdin=MESSAGE).returncode, 75)
