"""Clients and files that mean no good, made up from a fixed seed: no process falls over them, and what was accepted arrives."""
import os
import random
import socket

from deadline import STRETCH
from session import equal, limit

ADDRESSES = ["<a@dest.example>"] * 6 + [
    "a@dest.example", "<>", "<@x,@y:a@dest.example>", '<"a b"@dest.example>', '<"\\\r"@dest.example>', "<a@[127.0.0.1]>",
    "<a@>", "<@>", "<@@>", '<""@dest.example>', "<a%b@c@dest.example>", "<!a@dest.example>", "<\xc3\xa4@dest.example>",
    "<\xff@dest.example>", "<" + "x" * 1000 + "@dest.example>", "<<a@b>>", "<a@dest.example> <b@c>", "<(c)a@dest.example>",
    "<-a@dest.example>", "<a@" + "b." * 120 + "c>", "<a\0b@dest.example>", "<|x@dest.example>", "<a@.dest.example>"]
OPTIONS = ["SIZE=10", "SIZE=" + "9" * 30, "SIZE=", "BODY=8BITMIME", "BODY=x", "SMTPUTF8", "RET=FULL", "RET=x", "ENVID=a+0Ab",
           "ENVID=\xff", "AUTH=+0A", "XVERP", "NOTIFY=NEVER", "NOTIFY=SUCCESS,DELAY", "NOTIFY=", "ORCPT=rfc822;a+0Ab",
           "ORCPT=utf-8;\\x{D800}", "ORCPT=;", "FOO", "<\r>"]
OTHERS = ["EHLO c.example", "HELO \xff", "RSET", "NOOP", "VRFY <<>>", "EXPN", "STARTTLS", "AUTH PLAIN AGEAYg==", "",
          "ETRN dest.example", "ETRN " + "a" * 3000, "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:::1", "XCLIENT LOGIN=+00+0A+FF",
          "XCLIENT HELO=" + "h" * 300, "XFORWARD IDENT=+0A SOURCE=LOCAL", "\xff\xff\0"]
LINES = ["From: a@b", "To: <(<(<(", 'From: "', "Cc: undisclosed:;", "Subject: \xff\xfe", "Received: x", " cont", "X : y",
         "Content-Type: multipart/mixed; boundary=x", 'Content-Type: multipart/digest; boundary="x', "Content-Type: message/rfc822",
         "Content-Transfer-Encoding: 8bit", "Resent-From: a", "Return-Path: <x>", "X:" + "y" * 5000, "--x", "--x--", "From a",
         "", ".", "..", "\xff\xe4" * 40, "z" * 2049, "=20 "]
ENDS = ["\r\n"] * 12 + ["\n", "\r", "\r\r\n", "\n\r", "\0\r\n"]


def content(rnd):
    return "".join(rnd.choice(LINES) + rnd.choice(ENDS) for _ in range(rnd.randrange(25))).encode("latin-1")


def options(rnd):
    return "".join(" " + rnd.choice(OPTIONS) for _ in range(rnd.choice([0, 0, 0, 1, 2])))


def command(rnd):
    kind = rnd.random()
    if kind < 0.35:
        text = "MAIL FROM:" + rnd.choice(ADDRESSES) + options(rnd)
    elif kind < 0.75:
        text = "RCPT TO:" + rnd.choice(ADDRESSES) + options(rnd)
    else:
        text = rnd.choice(OTHERS)
    return (text + rnd.choice(ENDS)).encode("latin-1")


def message(rnd):
    """An envelope that is good, mostly, and something for content."""
    out = ("MAIL FROM:<s@client.example>%s\r\nRCPT TO:<a@dest.example>%s\r\n" % (options(rnd), options(rnd))).encode("latin-1")
    data = content(rnd)
    if rnd.random() < 0.6:
        return out + b"DATA\r\n" + data + rnd.choice([b"\r\n.\r\n"] * 6 + [b"\n.\n", b"\n.\r\n", b"\r.\r"])
    return out + b"BDAT %d\r\n" % (len(data) + rnd.choice([0] * 8 + [1])) + data + b"BDAT 0 LAST\r\n"


def bent(rnd, data):
    data = bytearray(data)
    for _ in range(rnd.randrange(1, 4)):
        at = rnd.randrange(len(data))
        if rnd.random() < 0.5:
            data[at] = rnd.randrange(256)
        else:
            data[at:at + rnd.randrange(4)] = rnd.choice([b"\r", b"\n", b"\0", b"<", b'"', b"\\", b"("])
    return bytes(data)


def session(rnd):
    parts = [b"EHLO c.example\r\n"] if rnd.random() < 0.9 else []
    for _ in range(rnd.randrange(1, 10)):
        part = message(rnd) if rnd.random() < 0.5 else command(rnd)
        parts.append(bent(rnd, part) if rnd.random() < 0.2 else part)
    return b"".join(parts)


def talk(port, data):
    """All at once, then our side is closed; waits for the server's end."""
    with socket.create_connection(("127.0.0.1", port), 60 * STRETCH) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except socket.timeout:
            raise AssertionError("no end after %r" % data[-200:])
        except OSError:
            pass    # it had enough of us


@limit(180)
def test_smtp(t):
    """Commands and contents, whole, cut and bent; extensions that only friends may use."""
    rnd = random.Random(5321)
    nets = "127.0.0.0/8"
    sink = t.sink()
    r = t.relay(sink=sink, main={
        "smtpd_authorized_xclient_hosts": nets, "smtpd_authorized_xforward_hosts": nets, "smtpd_authorized_verp_clients": nets,
        "smtpd_relay_restrictions": "check_client_access static:OK, reject_unauth_destination",
        "smtpd_error_sleep_time": "0", "smtpd_hard_error_limit": "100", "notify_classes": "",
        "smtpd_client_connection_rate_limit": "0", "fast_flush_domains": "dest.example"})
    t.send(r)
    pids = {service: r.pids(service) for service in ("smtpd", "qmgr")}
    for _ in range(150):
        talk(r.port, session(rnd))
    t.send(r)
    r.wait_empty(120)
    good = [m for m in sink.taken() if m.sender == "s@client.example"]
    assert len(good) > 20, "only %d messages were good enough" % len(good)
    equal({service: r.pids(service) for service in pids}, pids, "processes")


RECORDS = {"V": [b"1"], "T": [b"0", b"9223372036854775807", b"x"], "F": [b'J"oe (x', b"\xff"], "S": [b"a@client.example", b""],
           "E": [b"id", b"\xff"], "D": [b"FULL", b"X"], "B": [b"8BITMIME"], "W": [b"remote"], "X": [b"+=", b"\xff\xfe"],
           "P": [b"x"], "N": [b"2", b"-1"], "R": [b"b@dest.example", b"x y@dest.example", b"a\nb@c", b"\xff@x", b"-x@dest.example"],
           "M": [b""], "L": [b"Subject: x\n\nbody\n", b"", b" x\n", b"\r\n.\r\n", b"\xff\0", b"y" * 65536], "Z": [b""],
           "I": [b"ABCDEF", b"x"], "G": [b"a@b"], "O": [b"rfc822;a@b", b"x"]}


def dropped(rnd):
    if rnd.random() < 0.6:
        order = "V" + "".join(rnd.sample("TFEDBWXN", 2)) + "S" + "NR" * rnd.randrange(3) + "M" + "L" * rnd.randrange(4) + "Z"
    else:
        order = "".join(rnd.choice("VTFSEDBWXPNRMLZIGO") for _ in range(rnd.randrange(1, 15)))
    data = b"".join(b"%s%d:%s\n" % (k.encode(), len(v), v) for k in order for v in [rnd.choice(RECORDS[k])])
    return bent(rnd, data) if rnd.random() < 0.3 else data


@limit(120)
def test_maildrop(t):
    """Files in maildrop: of good and bad records, half ones, pipes and links. Mail beside them flows, finished files do not stay."""
    rnd = random.Random(822)
    sink = t.sink()
    r = t.relay(sink=sink)
    drop = r.queue_dir + "/maildrop/"
    t.send(r)
    r.wait_pids("pickup")
    pids = r.pids("pickup")
    for n in range(300):
        path = "%s5D4F5D1A%08X" % (drop, n)
        if n % 50 == 1:
            os.mkfifo(path)
        elif n % 50 == 2:
            os.symlink("/etc/passwd", path)
        else:
            with open(path, "wb") as f:
                f.write(dropped(rnd))
        if not os.path.islink(path):
            os.chmod(path, 0o744)
    r.must_run("sendmail", "-f", "alice@client.example", "good@dest.example", stdin="Subject: x\n\nx\n")
    t.wait("the files", lambda: not [e for e in os.scandir(drop) if e.is_file(follow_symlinks=False)], 60)
    t.wait("the good one", lambda: any("good@dest.example" in m.recipients for m in sink.taken()), 30)
    r.wait_empty(60)
    equal(r.pids("pickup"), pids, "processes")
