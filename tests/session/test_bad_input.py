"""Bad configuration, an absent or full database, bad clients, bad peers: each with a clear error and nothing lost."""
import base64
import os
import random
import re

import netns
from relay import free_port
from session import equal, limit, match
from sink import STALL
from smtp_client import queue_id, with_crlf

ALICE, BOB = "alice@client.example", "bob@dest.example"
NO_RELAY_RULE = r"(fatal|error|warning): .*smtpd_relay_restrictions.*reject_unauth_destination"
RETRY_SOON = {"queue_run_delay": "1s", "minimal_backoff_time": "2s", "maximal_backoff_time": "4s"}
MESSAGE = b"From: <alice@client.example>\r\nSubject: bad input\r\n\r\n"


def unstarted(t, **kw):
    """A relay that is not meant to start: it needs no database."""
    return t.relay(start=False, database="postgresql:///absent?host=" + t.dir, **kw)


def refused(r, pattern):
    """`check` and `start` must both refuse, with the reason, and leave nothing running."""
    r.started = True
    for verb in ("check", "start"):
        p = r.run("rowpost", verb)
        said = p.stdout + p.stderr + r.log.text()
        if p.returncode == 0:
            raise AssertionError("rowpost %s took it: %s" % (verb, said))
        match(said, pattern)
    equal(r.processes(), {}, "processes")


def line_of(r, name, text):
    """FILE.*LINE of the first line of the file that contains the text, as error messages name it."""
    with open(os.path.join(r.conf, name)) as f:
        lines = f.read().split("\n")
    number = 1 + [i for i, ln in enumerate(lines) if text in ln][0]
    return r"%s(:|, line |: line )%d\b" % (re.escape(name), number)


def test_check_takes_what_distributions_ship(t):
    """The lines of Debian's main.cf: nothing is refused, and no table is missed that is a cache."""
    r = unstarted(t, main={
        "mynetworks": "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "alias_maps": "", "alias_database": "",
        "smtpd_relay_restrictions": "permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
        "smtp_tls_CApath": "/etc/ssl/certs", "smtp_tls_security_level": "may", "mailbox_size_limit": "0", "recipient_delimiter": "+",
        "smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache", "readme_directory": "no",
        "smtpd_banner": "$myhostname ESMTP $mail_name (Debian/GNU)", "biff": "no", "append_dot_mydomain": "no", "relayhost": ""})
    p = r.check()
    equal(p.returncode, 0, p.stderr)
    for word in ("mynetworks", "open database", "smtp_scache:", "unused"):
        assert word not in p.stderr, p.stderr


def test_check_names_what_would_wait(t):
    """Mistakes with which everything starts, and mail or clients then wait: `check` names each, with its line."""
    r = t.relay(start=False, main={
        "smtpd_recipient_restrictions": "permit_mynetwork, reject_unauth_destination", "virtual_transport": "dovecto",
        "canonical_maps": "/etc/canonical", "relayhost": "smtp://a.example"})
    with open(r.conf + "/master.cf", "a") as f:
        f.write("dovecot unix - n n - - pipe user=nobodyhere argv=/bin/cat\n"
                "mailman unix - n n - - pipe user=nobody argv=/nonexistent/mailman\n"
                "127.0.0.1:%d inet n - n - - smtpd -o smtpd_client_restrictions=check_client_access\n"
                "bounce unix - - n - 0 bounce -o bounce_size_limit=1\n" % free_port())
    p = r.run("rowpost", "check")
    for what in (r'parameter smtpd_recipient_restrictions: unknown smtpd restriction: "permit_mynetwork": clients would get 451',
                 r'main\.cf: line \d+: virtual_transport names transport "dovecto", for which master\.cf has no line',
                 r'parameter canonical_maps: /etc/canonical: expecting "type:name" form',
                 r'main\.cf: line \d+: relayhost: "smtp://a\.example" is no host',
                 r"master\.cf: line \d+: service dovecot: unknown user: nobodyhere: its mail would wait",
                 r"service mailman: command /nonexistent/mailman: No such file or directory: its mail would wait",
                 r'service 127\.0\.0\.1:\d+: parameter smtpd_client_restrictions: restriction check_client_access: bad argument ""',
                 r"service bounce: bounce: built in, its -o options have no effect"):
        match(p.stderr, what)
    equal(p.returncode, 0, "status of check")


def test_main_cf_missing(t):
    """No main.cf."""
    r = unstarted(t)
    os.unlink(r.conf + "/main.cf")
    refused(r, r"main\.cf.*(No such file|not found)")


def test_main_cf_unreadable(t):
    """A main.cf that cannot be read (a directory: root may read anything else)."""
    r = unstarted(t)
    os.unlink(r.conf + "/main.cf")
    os.mkdir(r.conf + "/main.cf")
    refused(r, r"main\.cf.*([Ii]s a directory|not a regular file)")


def test_main_cf_bad_line(t):
    """A line without "="."""
    r = unstarted(t)
    with open(r.conf + "/main.cf", "a") as f:
        f.write("this is no setting\n")
    refused(r, line_of(r, "main.cf", "this is no"))


def test_main_cf_bad_number(t):
    """A number that is none: in Postfix's words; `check` also names the file and line."""
    r = unstarted(t, main={"message_size_limit": "ten"})
    refused(r, r"bad numerical configuration: message_size_limit = ten")
    p = r.check()
    match(p.stdout + p.stderr, line_of(r, "main.cf", "message_size_limit"))
    equal(p.returncode, 1, "status")


def test_main_cf_contradiction(t):
    """A mailbox limit below the message limit: named by check and at start, and mail to elsewhere flows."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False, main={"message_size_limit": "20000", "mailbox_size_limit": "10000"})
    p = r.check()
    match(p.stdout + p.stderr, line_of(r, "main.cf", "mailbox_size") +
          r".*mailbox_size_limit.*smaller than.*message_size_limit")
    r.start()
    t.send(r)
    sink.wait(1)


def test_main_cf_open_relay(t):
    """Without a rule against relaying, mail is refused rather than relayed."""
    r = t.relay(start=False, main={"smtpd_relay_restrictions": "", "smtpd_recipient_restrictions": "",
                                   "mynetworks": "127.0.0.1/32"})
    p = r.run("rowpost", "start")
    if p.returncode:
        match(p.stdout + p.stderr + r.log.text(), NO_RELAY_RULE)
        return
    r.started = True
    # Postfix's smtpd dies at the first connection.
    try:
        c = t.client(r, source="127.0.0.2")
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE)
        code = c.cmd("RCPT TO:<%s>" % BOB).code
        if code < 400:
            raise RuntimeError("an open relay: %d" % code)
    except (AssertionError, OSError):
        pass
    r.log.wait_for(NO_RELAY_RULE)


def test_unknown_parameter(t):
    """A misspelt name is a warning that names the line and the nearest real name; mail flows."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False, main={"mesage_size_limit": "20000"})
    p = r.check()
    equal(p.returncode, 0, "status of check")
    match(p.stdout + p.stderr, line_of(r, "main.cf", "mesage_size"))
    match(p.stdout + p.stderr, r"mesage_size_limit.*\bmessage_size_limit")
    r.start()
    t.send(r)
    sink.wait(1)


def test_master_cf_unknown_program(t):
    """A master.cf line whose program does not exist: check refuses, start (as Postfix) may run the other lines."""
    sink = t.sink()
    r = t.relay(sink=sink, start=False, master=["frob unix - - n - - frobd"])
    named = line_of(r, "master.cf", "frobd")
    p = r.check()
    assert p.returncode != 0, "check took it"
    match(p.stdout + p.stderr, named)
    r.started = True
    p = r.run("rowpost", "start")
    match(p.stdout + p.stderr + r.log.text(), named)
    if p.returncode == 0:
        t.send(r)
        sink.wait(1)


def test_master_cf_bad_fields(t):
    """Too few fields, and a bad type."""
    r = unstarted(t, master=["short unix - -"])
    refused(r, line_of(r, "master.cf", "short unix"))
    other = unstarted(t, master=["odd carrier - - n - - smtpd"])
    refused(other, line_of(other, "master.cf", "odd carrier"))


def test_reload_refuses_bad_configuration(t):
    """A reload with a broken main.cf says so, and the old configuration keeps running."""
    sink = t.sink()
    r = t.relay(sink=sink)
    r.write_config(message_size_limit="ten")
    p = r.run("rowpost", "reload")
    assert p.returncode != 0, "reload took it"
    match(p.stdout + p.stderr + r.log.text(), r"bad numerical configuration: message_size_limit = ten")
    t.send(r)
    sink.wait(1)


def accepted_at_last(t, r, message=MESSAGE + b"later\r\n"):
    """Try as a client does, again and again, until 250; the queue id. Anything but 250 must be 4xx."""
    def attempt():
        with t.client(r) as c:
            c.ehlo()
            for line in ("MAIL FROM:<%s>" % ALICE, "RCPT TO:<%s>" % BOB, "DATA"):
                code = c.cmd(line).code
                if code >= 400:
                    assert code < 500, "%s: %d" % (line, code)
                    return None
            c.send_raw(with_crlf(message) + b".\r\n")
            reply = c.expect(None)
            assert reply.code < 500, reply
            return queue_id(reply) if reply.code == 250 else None
    return t.wait("250 for a message", attempt, 45, step=0.2)


@limit(120)
def test_database_absent_at_start(t):
    """The database is not there when Rowpost starts: 451, and mail flows as soon as it is."""
    sink = t.sink()
    pg = t.cluster()
    uri = pg.create_database("queue")
    r = t.relay(sink=sink, start=False, database=uri)
    r.must_run("rowpost", "schema")
    pg.stop()
    r.start()
    c = t.client(r)
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 451, r"^4\.3\.0 ")
    pg.start()
    accepted_at_last(t, r)
    equal(sink.wait(1, 45)[0].body, b"later\r\n", "body")


@limit(120)
def test_database_lost_in_session(t):
    """The database goes between RCPT and the final dot: 451, and the client's next try is delivered once."""
    sink = t.sink()
    pg = t.cluster()
    uri = pg.create_database("queue")
    r = t.relay(sink=sink, start=False, database=uri)
    r.must_run("rowpost", "schema")
    r.start()
    t.send(r)
    sink.wait(1)
    c = t.client(r, limit=60)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("DATA", 354)
    pg.stop("immediate")
    c.send_raw(MESSAGE + b"cut off\r\n.\r\n")
    c.expect(451, r"^4\.3\.0 ")
    c.cmd("MAIL FROM:<%s>" % ALICE, 451, r"^4\.3\.0 ")
    pg.start()
    accepted_at_last(t, r, MESSAGE + b"again\r\n")
    sink.wait(2, 45)
    r.wait_empty(45)
    # The postmaster may have been told of a session that was refused.
    equal([m.body for m in sink.taken()[1:] if not m.sender.startswith("double-bounce@")], [b"again\r\n"], "messages")


def no_service(r, t, pattern):
    """Refused at start with the reason; or started, and then 451 at MAIL with the reason in the log."""
    r.started = True
    p = r.run("rowpost", "start")
    if p.returncode:
        match(p.stdout + p.stderr + r.log.text(), pattern)
        equal(r.processes(), {}, "processes")
        return
    c = t.client(r)
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 451)
    r.log.wait_for(pattern)


def test_schema_missing(t):
    """A database without the schema: what to do is said."""
    r = t.relay(start=False, database=t.database(schema=False))
    no_service(r, t, r"rowpost schema")


def test_schema_newer(t):
    """A schema of a later Rowpost than this one is left alone."""
    r = t.relay(start=False)
    r.sql("INSERT INTO mailq.schema_version (version, oldest_program, name) VALUES (9999, 9999, 'later')")
    no_service(r, t, r"schema.*newer")
    p = r.run("rowpost", "schema")
    assert p.returncode != 0, "rowpost schema took it"
    match(p.stdout + p.stderr, r"newer")


@limit(180)
def test_disk_full(t):
    """The disk of the embedded database fills up: a temporary refusal, nothing accepted is lost, and it recovers."""
    sink = t.sink().on("connect", "421 4.3.2 later")
    r = t.relay(sink=sink, start=False, database=None, main=RETRY_SOON)
    netns.small_disk(r.data_dir, 400 << 20)
    r.start()
    noise = base64.encodebytes(random.Random(1).randbytes(400000))   # nothing for a compressor
    big = MESSAGE + noise.replace(b"\n", b"\r\n")
    accepted = [accepted_at_last(t, r, big)]
    ballast = os.path.join(r.data_dir, "ballast")
    disk = os.statvfs(r.data_dir)
    with open(ballast, "wb") as f:
        left = disk.f_bavail * disk.f_frsize - (8 << 20)
        while left > 0:
            left -= f.write(b"x" * min(left, 1 << 20))

    def refused_now():
        try:
            with t.client(r, limit=60) as c:
                c.ehlo()
                if c.cmd("MAIL FROM:<%s>" % ALICE).code >= 400 or c.cmd("RCPT TO:<%s>" % BOB).code >= 400:
                    return True
                reply = c.content(big, None)
        except OSError:
            return True
        assert reply.code < 500, reply
        if reply.code == 250:
            accepted.append(queue_id(reply))
        return reply.code >= 400

    t.wait("a temporary refusal on the full disk", refused_now, 60, step=0.1)
    os.unlink(ballast)
    accepted.append(accepted_at_last(t, r, big))
    sink.forget_rules()
    sink.wait(len(accepted), 60)
    for q in accepted:
        r.log.wait_for(r"%s: to=<bob@dest\.example>.*status=sent" % q)


def test_message_too_large(t):
    """20 MB against a limit of 1 MB: refused, nothing of it stays behind."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"message_size_limit": "1000000"})
    c = t.client(r)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.content(MESSAGE + (b"x" * 998 + b"\r\n") * 20000, 552, r"^5\.3\.4 ", limit=60)
    c.message(ALICE, BOB, MESSAGE + b"small\r\n")
    sink.wait(1)
    r.wait_empty()
    equal(len(sink.messages), 1, "messages")


def client_vanishes(t, data):
    sink = t.sink()
    r = t.relay(sink=sink)
    c = t.client(r)
    c.ehlo()
    c.envelope(ALICE, [BOB])
    c.cmd("DATA", 354)
    c.send_raw(data)
    c.close()
    r.log.wait_for(r"/smtpd\[\d+\]: (\w+: )?lost connection after DATA \(\d+ bytes\) from localhost\[127\.0\.0\.1\]$")
    t.send(r)
    sink.wait(1)
    r.wait_empty()
    equal(len(sink.messages), 1, "messages")


def test_client_vanishes(t):
    """The client goes in mid-DATA: its message never was."""
    client_vanishes(t, MESSAGE + b"half a li")


def test_client_vanishes_large(t):
    """The same after 3 MB, part of which is in the database already."""
    client_vanishes(t, MESSAGE + (b"y" * 998 + b"\r\n") * 3000)


@limit(120)
def test_long_attributes(t):
    """What a thousand recipients expanded to is a megabyte that belongs to the message, not to each of them."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"virtual_alias_maps": "inline:{@alias.example=bob@dest.example}",
                                 "virtual_alias_domains": "alias.example", "message_size_limit": "50000000"})
    count, group = 1000, 100
    c = t.client(r)
    c.ehlo()
    c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    for i in range(0, count, group):
        c.pipeline(["RCPT TO:<%d.%s@alias.example> NOTIFY=SUCCESS" % (n, "x" * 1900) for n in range(i, i + group)],
                   [250] * group)
    c.content(MESSAGE + b"x\r\n")
    t.wait("all recipients and the report",
           lambda: sum(len(m.recipients) for m in sink.taken() if m.sender) == count
           and any(not m.sender for m in sink.taken()), 90)
    r.wait_empty(30)
    with open("/proc/%d/status" % r.pids("qmgr")[0]) as f:
        peak = int(re.search(r"VmHWM:\s*(\d+) kB", f.read()).group(1))
    assert peak < 700000, "the scheduler took %d kB" % peak


def test_client_silent(t):
    """A client that says nothing is sent away after smtpd_timeout."""
    r = t.relay(main={"smtpd_timeout": "2s"})
    c = t.client(r)
    c.expect(421, r"^4\.4\.2 relay\.rp\.test Error: timeout exceeded")
    c.expect_eof()
    r.log.wait_for(r"timeout after CONNECT from localhost\[127\.0\.0\.1\]$")


def peer_stalls(t, step, parameter, reason):
    sink = t.sink().on(step, STALL)
    r = t.relay(sink=sink, main={parameter: "2s"})
    q = t.send(r)
    r.log.wait_for(r"%s: to=<bob@dest\.example>, .*status=deferred \(conversation with "
                   r"127\.0\.0\.1\[127\.0\.0\.1\] timed out while %s\)" % (q, reason), 30)
    equal([e["queue_id"] for e in r.wait_queue(lambda e: e and e[0]["queue_name"] == "deferred")], [q], "queue")


def test_peer_silent_greeting(t):
    """A server that never greets."""
    peer_stalls(t, "connect", "smtp_helo_timeout", "receiving the initial server greeting")


def test_peer_silent_rcpt(t):
    """A server that never answers RCPT."""
    peer_stalls(t, "rcpt", "smtp_rcpt_timeout", "sending RCPT TO")


def test_peer_silent_dot(t):
    """A server that never answers the final dot."""
    peer_stalls(t, "dot", "smtp_data_done_timeout", "sending end of data -- message may be sent more than once")
