"""The SMTP server from outside: proxies in front, rules that act on messages, real clients, clients that vanish at the worst
moment, and ten thousand that do nothing."""
import os
import resource
import smtplib
import socket
import subprocess
import threading
import urllib.parse

from deadline import STRETCH, wait_until
from pgproxy import PgProxy
from relay import free_port
from session import equal, limit, match
from smtp_client import Closed, SmtpClient, queue_id

ALICE, BOB = "alice@client.example", "bob@dest.example"


def test_xclient(t):
    """A proxy speaks for another client: relay rights go by that one, and XFORWARD is for the log."""
    sink = t.sink()
    relay = t.relay(sink=sink, main={"smtpd_authorized_xclient_hosts": "127.0.0.1",
                                     "smtpd_authorized_xforward_hosts": "127.0.0.1",
                                     "inet_protocols": "all"})
    c = t.client(relay)
    assert "XCLIENT" in c.ehlo()
    c.cmd("XCLIENT NAME=far.example ADDR=192.0.2.9 PORT=[UNAVAILABLE]", 220)
    assert "XCLIENT" not in c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    c.cmd("RCPT TO:<%s>" % BOB, 454, "Relay access denied")
    c.cmd("XFORWARD NAME=x", 503)
    c.cmd("RSET", 250)
    c.cmd("XCLIENT ADDR=127.0.0.1", 550)
    c.quit()
    c = t.client(relay)
    c.ehlo()
    c.cmd("XFORWARD NAME=orig.example ADDR=IPv6:2001:db8::7 IDENT=abc", 250)
    q = c.message(ALICE, [BOB], b"Subject: x\r\n\r\nx\r\n")
    relay.log.wait_for(q + r": client=localhost\[127.0.0.1\], orig_queue_id=abc, orig_client=orig.example\[2001:db8::7\]")
    sink.wait(1)


def test_haproxy(t):
    """What a load balancer says of its client is believed where it is asked for, and nothing else is served."""
    relay = t.relay(smtpd_opts=["smtpd_upstream_proxy_protocol=haproxy"], main={"inet_protocols": "all"})
    c = t.client(relay, greet=False)
    c.send_raw(b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 25\r\n")
    c.expect(220)
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    c.cmd("RCPT TO:<%s>" % BOB, 454)
    relay.log.wait_for(r"connect from unknown\[2001:db8::9\]")
    c = t.client(relay, greet=False)
    c.send_raw(b"EHLO x\r\n")
    c.expect(421, "Server local error")
    c.expect_eof()


def test_actions_on_messages(t):
    """access(5): HOLD, REDIRECT, BCC, PREPEND, DISCARD, by sender."""
    sink = t.sink()
    table = ("hold@c.example HOLD for a look\nredirect@c.example REDIRECT other@dest.example\n"
             "bcc@c.example BCC copy@dest.example\nprepend@c.example PREPEND X-Seen: yes\n"
             "discard@c.example DISCARD\n")
    relay = t.relay(sink=sink, start=False)
    relay.write_file("senders", table)
    relay.write_config(smtpd_sender_restrictions="check_sender_access texthash:%s/senders" % relay.conf)
    relay.start()
    ids = {}
    for who in ("hold", "redirect", "bcc", "prepend", "discard"):
        ids[who] = t.send(relay, sender=who + "@c.example", recipients=[BOB, "carol@dest.example"])
    relay.log.wait_for(r"NOQUEUE: hold: RCPT from .*: <hold@c.example>: Sender address for a look; from=")
    equal(len(relay.log.find_all(": hold: RCPT")), 1, "hold lines of one message")
    wait_until("all but one away", lambda: [row[0] for row in relay.sql(
        "SELECT DISTINCT queue FROM rowpost.queue")] == ["hold"])
    by_sender = {}
    for m in sink.taken():
        by_sender.setdefault(m.sender, []).extend(m.recipients)
    equal(sorted(by_sender), ["bcc@c.example", "prepend@c.example", "redirect@c.example"], "senders at the sink")
    equal(by_sender["redirect@c.example"], ["other@dest.example"], "redirected to")
    equal(sorted(by_sender["bcc@c.example"]), [BOB, "carol@dest.example", "copy@dest.example"], "with a copy")
    seen = [m for m in sink.taken() if m.sender == "prepend@c.example"][0]
    equal(seen.header("X-Seen"), "yes", "header in front")
    # once for each time that the rule was asked, that is for each recipient, as Postfix does
    match(seen.data.decode(), r"\A(X-Seen: yes\r?\n){2}Received:")


def test_delay_reject_off(t):
    """Refused at connect: QUIT is all that is served."""
    relay = t.relay(main={"smtpd_delay_reject": "no",
                          "smtpd_client_restrictions": "check_client_access inline:{{127.0.0.1=REJECT away}}"})
    c = t.client(relay, greet=False)
    c.expect(554, "Client host rejected: away")
    c.cmd("EHLO x", 503, "access denied")
    c.cmd("QUIT", 221)


def test_reject_footer(t):
    """A footer of two lines after every refusal: each line has the codes, values are filtered, a blank is allowed."""
    relay = t.relay(main={"smtpd_reject_footer": r"see $client_address at $localtime\nhelo $helo_name" + " x" * 40,
                          "smtpd_recipient_restrictions": "check_recipient_access inline:{{no@=REJECT}}"})
    c = t.client(relay)
    c.ehlo("c{d.example")
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    for _ in range(3):
        lines = c.cmd("RCPT TO:<no@dest.example>", 554).lines
        equal(len(lines), 3, "lines of %s" % lines)
        match(lines[1], r"5\.7\.1 see 127\.0\.0\.1 at [A-Z][a-z][a-z] +\d+ [\d:]+$")
        match(lines[2], r"5\.7\.1 helo c\{d\.example x")


def test_data_deadline(t):
    """smtpd_per_request_deadline: whoever sends a byte now and then is not waited for without end."""
    relay = t.relay(main={"smtpd_timeout": "8s", "smtpd_per_request_deadline": "yes", "smtpd_min_data_rate": "1000"})
    c = t.client(relay)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("DATA", 354)
    done = threading.Event()

    def drip():
        while not done.wait(0.3):
            try:
                c.send_raw(b"x")
            except OSError:
                return
    t.at_end(done.set)
    threading.Thread(target=drip, daemon=True).start()
    c.expect(421, "timeout exceeded", limit=20)
    relay.log.wait_for(r"timeout after DATA \(")


def test_stress(t):
    """The session that takes the last slot runs with stress=yes, the others do not."""
    relay = t.relay(main={"smtpd_session_limit": "2", "smtpd_processes": "1",
                          "smtpd_hard_error_limit": "${stress?{1}:{5}}"})
    calm, busy = t.client(relay), t.client(relay)
    for c, code in ((calm, 500), (busy, 500)):
        c.cmd("NONSENSE", code)
    busy.expect(421, "too many errors")
    calm.cmd("NOOP", 250)


# ---------------------------------------------------------------- clients that vanish

def frozen(t, sink):
    """A relay whose way to PostgreSQL can be frozen."""
    uri = t.database()
    host = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["host"][0]
    proxy = PgProxy(host, os.path.join(t.dir, "proxy"))
    t.at_end(proxy.close)
    return t.relay(sink=sink, database=proxy.uri(uri)), proxy


def dot_sent(t, relay, subject):
    c = t.client(relay)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("DATA", 354)
    c.send_raw(b"Subject: %s\r\nMessage-ID: <%s@c>\r\n\r\nx\r\n.\r\n" % (subject, subject))
    relay.log.wait_for(r"cleanup.*message-id=<%s@c>" % subject.decode())
    return c


@limit(90)
def test_client_vanishes_in_store(t):
    """The database stands still; one client leaves after its dot, another waits. Each message exists once, and the one that
    waits hears 250."""
    sink = t.sink()
    relay, proxy = frozen(t, sink)
    t.send(relay, message="Subject: first\n\nx\n")
    relay.wait_empty()
    proxy.freeze()
    gone = dot_sent(t, relay, b"gone")
    stays = dot_sent(t, relay, b"stays")
    gone.reset()
    proxy.thaw()
    q = queue_id(stays.expect(250, limit=30))
    relay.wait_empty()
    subjects = sorted(m.header("Subject") for m in sink.taken())
    equal(subjects, ["first", "gone", "stays"], "messages at the sink")
    relay.log.wait_for(q + ": removed")


@limit(90)
def test_stop_in_store(t):
    """The relay is stopped while a session waits for its commit: the answer is true."""
    sink = t.sink()
    relay, proxy = frozen(t, sink)
    t.send(relay)
    relay.wait_empty()
    proxy.freeze()
    c = dot_sent(t, relay, b"stopped")
    stopping = threading.Thread(target=relay.stop)
    stopping.start()
    relay.log.wait_for("stopping the Rowpost mail system")
    proxy.thaw()
    try:
        accepted = c.reply(limit=30).code == 250
    except Closed:
        accepted = False
    stopping.join()
    relay.start()
    relay.wait_empty()
    taken = len([m for m in sink.taken() if m.header("Subject") == "stopped"])
    # without a 250 the message may be there all the same: then the client has a second copy to send, and knows
    assert taken == 1 if accepted else taken <= 1, (accepted, taken)


def test_stop_before_the_doors_are_open(t):
    """The relay is stopped while smtpd still waits for its first connection to the queue: it ends in order."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        relay = t.relay(database="postgresql://127.0.0.1:%d/mute" % mute.getsockname()[1], start=False)
        relay.start()
        relay.wait_pids("smtpd")
        relay.stop()
    assert not relay.log.find("killed by"), relay.log.tail()


# ---------------------------------------------------------------- real clients

def test_swaks(t):
    """swaks, with pipelining, and with a message of its own making."""
    sink = t.sink()
    relay = t.relay(sink=sink)
    for more in ([], ["--pipeline"]):
        run = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(relay.port), "--from", ALICE, "--to",
                              BOB + ",carol@dest.example", "--helo", "client.example"] + more,
                             capture_output=True, text=True)
        equal(run.returncode, 0, run.stdout[-2000:] + run.stderr)
    sink.wait(2)
    equal(len(sink.taken()[0].recipients), 2, "recipients")


def test_smtplib(t):
    """Python's smtplib: EHLO, SIZE, DSN options, one refused recipient of two, several messages in a session."""
    sink = t.sink()
    relay = t.relay(sink=sink, main={"smtpd_recipient_restrictions": "check_recipient_access inline:{{no@=REJECT}}"})
    with smtplib.SMTP("127.0.0.1", relay.port, "client.example", timeout=30 * STRETCH) as s:
        refused = s.sendmail(ALICE, [BOB, "no@dest.example"], "Subject: one\n\n.\n..dots\n",
                             mail_options=["BODY=8BITMIME"], rcpt_options=["NOTIFY=FAILURE"])
        equal(sorted(refused), ["no@dest.example"], "refused")
        equal(s.sendmail(ALICE, BOB, "Subject: two\n\nx\n"), {}, "refused")
        equal(s.vrfy(BOB)[0], 252, "VRFY")
    sink.wait(2)
    one = [m for m in sink.taken() if m.header("Subject") == "one"][0]
    equal(one.body, b".\r\n..dots\r\n", "body")


# ---------------------------------------------------------------- many that do nothing

IDLE = 10000
IDLE_MB = 600 if "ASAN_OPTIONS" in os.environ else 200     # a sanitizer remembers what was freed


def resident_mb(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS of %d" % pid)


def greeted(relay, count, step=200):
    """`count` connections that have heard 220 and said EHLO."""
    sockets = []
    for _ in range(0, count, step):
        some = []
        for _ in range(step):
            s = socket.socket()
            s.connect(("127.0.0.1", relay.port))
            some.append(s)
        for s in some:
            s.settimeout(30 * STRETCH)
            s.recv(512)
            s.sendall(b"EHLO idle.example\r\n")
        for s in some:
            s.recv(2048)
        sockets += some
    return sockets


@limit(170)
def test_idle_sessions(t):
    """10,000 clients that do nothing, in one smtpd process below 200 MB, and mail passes between them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sink = t.sink()
    relay = t.relay(sink=sink, main={"smtpd_session_limit": str(IDLE + 100), "smtpd_processes": "1",
                                     "smtpd_peername_lookup": "no", "smtpd_client_connection_count_limit": "0",
                                     "maillog_file_prefixes": "/tmp, " + t.dir})
    pid = relay.wait_pids("smtpd")[0]
    sockets = greeted(relay, IDLE)
    t.at_end(lambda: [s.close() for s in sockets])
    equal(len(relay.pids("smtpd")), 1, "smtpd processes")
    # parked tasks give their stacks back after a few seconds
    wait_until(lambda: "less than %d MB, not %.0f" % (IDLE_MB, resident_mb(pid)),
               lambda: resident_mb(pid) < IDLE_MB, 60)
    print("%d idle sessions: %.0f MB resident in smtpd" % (IDLE, resident_mb(pid)))
    t.send(relay)
    sink.wait(1)
    for s in sockets[::1000]:
        s.sendall(b"NOOP\r\n")
        match(s.recv(100).decode(), r"\A250 2\.0\.0 Ok")


def test_content_filter(t):
    """All mail goes through the filter once; what comes back on a listener without one is delivered; FILTER of an access table
    has the last word."""
    final, scanner, other = t.sink(), t.sink(), t.sink()
    back = free_port()
    relay = t.relay(sink=final, main={
        "content_filter": "smtp:" + scanner.nexthop,
        "smtpd_recipient_restrictions": "check_recipient_access inline:{{odd@dest.example = FILTER smtp:%s}}" % other.nexthop},
        master=["127.0.0.1:%d inet n - n - - smtpd" % back, "  -o content_filter="])
    t.send(relay)
    equal([m.recipients for m in scanner.wait(1)], [["bob@dest.example"]], "mail for the filter")
    equal(final.taken(), [], "mail past the filter")
    t.send(relay, recipients="odd@dest.example")
    equal([m.recipients for m in other.wait(1)], [["odd@dest.example"]], "mail for the other filter")
    with SmtpClient(back) as c:
        c.ehlo()
        c.message("alice@client.example", "bob@dest.example", scanner.taken()[0].data.decode())
    equal([m.recipients for m in final.wait(1)], [["bob@dest.example"]], "mail that came back")
    equal((len(scanner.taken()), len(other.taken())), (1, 1), "messages at the filters")
