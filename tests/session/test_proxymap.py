"""Tables asked through proxymap: which ones it answers for, what happens while it is away, and that nothing else waits."""
import os
import signal

from session import equal, limit, match

ALICE = "alice@client.example"
STRANGERS = "192.0.2.0/24"


def reply(t, relay, rcpt):
    """The reply to RCPT TO in a session of its own."""
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        return c.cmd("RCPT TO:<%s>" % rcpt)


def code(t, relay, rcpt):
    return reply(t, relay, rcpt).code


@limit(120)
def test_tables(t):
    """proxy:hash, proxy:unix and unix are asked through proxymap; patterns see whole keys, several tables are one."""
    r = t.relay(start=False)
    r.write_file("domains", "here.test x\n")
    r.write_file("users", "ann@here.test x\n")
    r.must_run("postmap", os.path.join(r.conf, "domains"))
    r.must_run("postmap", os.path.join(r.conf, "users"))
    r.write_config(mynetworks=STRANGERS, mydestination="local.test",
                   local_recipient_maps="proxy:unix:passwd.byname, unix:group.byname",
                   relay_domains="proxy:hash:%s/domains" % r.conf,
                   relay_recipient_maps="proxy:hash:%s/users, proxy:pcre:{{/^p.*@here/ x}}, "
                                        "proxy:pipemap:{inline:{via@here.test=k},inline:{k=v}}" % r.conf)
    r.start()
    for rcpt, expected in (("ann@here.test", 250), ("bob@here.test", 550), ("ann@there.test", 454), ("pat@here.test", 250),
                           ("via@here.test", 250), ("root@local.test", 250), ("ROOT@local.test", 250),
                           ("tty@local.test", 250), ("nobody-such@local.test", 550), ("'x@local.test", 550)):
        equal(code(t, r, rcpt), expected, rcpt)
    assert r.pids("proxymap"), "no process"


@limit(120)
def test_change_is_seen(t):
    """A table behind proxy: is read again when it changes."""
    r = t.relay(start=False)
    path = r.write_file("domains", "here.test x\n")
    r.write_config(mynetworks=STRANGERS, relay_domains="proxy:texthash:" + path)
    r.start()
    equal(code(t, r, "a@here.test"), 250, "as it is")
    r.write_file("domains", "there.test x\n")
    t.wait("the new entry", lambda: code(t, r, "a@there.test") == 250)
    equal(code(t, r, "a@here.test"), 454, "the old entry")


@limit(120)
def test_result_larger_than_an_answer(t):
    """A value of 3 MB is an error of that one lookup; the process and other keys do not suffer."""
    r = t.relay(start=False)
    path = r.write_file("domains", "here.test x\nlarge.test %s\n" % ("y" * 3000000))
    r.write_config(mynetworks=STRANGERS, relay_domains="proxy:texthash:" + path)
    r.start()
    equal(code(t, r, "a@here.test"), 250, "before")
    pids = r.pids("proxymap")
    equal(code(t, r, "a@large.test") // 100, 4, "the large one")
    equal(code(t, r, "a@here.test"), 250, "after")
    equal(r.pids("proxymap"), pids, "processes")


@limit(120)
def test_unapproved(t):
    """A table that proxy_read_maps does not name is refused by proxymap, in Postfix's words; mail waits."""
    r = t.relay(main={"relay_domains": "proxy:inline:{here.test=x}", "proxy_read_maps": "proxy:inline:{other.test=x}",
                      "mynetworks": STRANGERS})
    equal(code(t, r, "a@here.test"), 451)
    r.log.wait_for(r'proxymap\[\d+\]: warning: request for unapproved table: "inline:\{here\.test=x\}"')
    r.log.wait_for(r"to approve this table for read-only access, list proxy:inline:\{here\.test=x\} "
                   r"in main\.cf:proxy_read_maps")
    r.log.wait_for(r'smtpd\[\d+\]: warning: .*proxymap service is not configured for table "inline:')
    r.write_config(proxy_read_maps="$relay_domains")
    r.must_run("rowpost", "reload")
    t.wait("the approval", lambda: code(t, r, "a@here.test") == 250)


@limit(120)
def test_without_service(t):
    """No proxymap in master.cf: mail waits, and the log says why once, not for every lookup."""
    r = t.relay(start=False)
    r.base_master = "\n".join(ln for ln in r.base_master.splitlines() if "proxymap" not in ln) + "\n"
    r.write_config(relay_domains="proxy:inline:{here.test=x}", mynetworks=STRANGERS)
    match(r.check().stderr, r"relay_domains: proxy:inline:\S+ is asked through proxymap, which master\.cf does not start")
    r.start()
    for _ in range(3):
        equal(code(t, r, "a@here.test"), 451)
    r.log.wait_for(r"proxy:inline:\S+ lookup error for ", count=3)
    equal(len(r.log.find_all(r"connect to subsystem private/proxymap: No such file or directory")), 1)


@limit(120)
def test_killed_in_mid_load(t):
    """Lookups while proxymap dies again and again: answered or 451; what was accepted arrives; then all is well."""
    sink = t.sink()
    r = t.relay(sink=sink, main={"relay_domains": "proxy:inline:{here.test=x}", "mynetworks": STRANGERS,
                                 "relay_recipient_maps": "proxy:unix:passwd.byname, proxy:inline:{ann@here.test=x}",
                                 "smtpd_error_sleep_time": "0", "smtpd_hard_error_limit": "1000",
                                 "smtpd_soft_error_limit": "1000"})
    accepted = 0
    for turn in range(6):
        with t.client(r) as c:
            c.ehlo()
            for i in range(20):
                c.cmd("MAIL FROM:<%s>" % ALICE, 250)
                rcpt = c.cmd("RCPT TO:<ann@here.test>").code
                assert rcpt in (250, 451), rcpt
                if i == 10:
                    for pid in r.pids("proxymap"):
                        try:
                            os.kill(pid, signal.SIGKILL)
                        except ProcessLookupError:
                            pass
                if rcpt == 250 and i % 5 == 0:
                    c.content("Subject: %d.%d\r\n\r\nx\r\n" % (turn, i))
                    accepted += 1
                else:
                    c.cmd("RSET", 250)
    t.wait("service again", lambda: code(t, r, "ann@here.test") == 250)
    sink.wait(accepted)
    r.wait_empty()
