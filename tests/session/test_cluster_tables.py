"""Tables of the cluster on a node that has its own PostgreSQL: everybody logs in as himself."""
import os
import socket

import pgtest
from session import equal, limit

NOBODY = 65534


def code(t, relay, rcpt):
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<alice@client.example>", 250)
        return c.cmd("RCPT TO:<%s>" % rcpt).code


@limit(120)
def test_embedded(t):
    """postmap by root, lookups by front end, scheduler and (through proxymap) an agent."""
    sink = t.sink()
    r = t.relay(sink=sink, database=None, start=False)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains="cluster:domains", smtp_generic_maps="cluster:generic",
                   transport_maps="cluster:routes", smtpd_reject_unlisted_recipient="no")
    r.start()
    r.must_run("postmap", "cluster:domains", stdin="here.test x\n")
    r.must_run("postmap", "cluster:generic", stdin="alice@client.example public@client.example\n")
    r.must_run("postmap", "cluster:routes", stdin="other.test error:gone\n")
    t.wait("the table", lambda: code(t, r, "x@here.test") == 250, 40)
    equal(code(t, r, "x@there.test"), 454, "not in it")
    t.send(r, recipients=["x@here.test"])
    equal(sink.wait(1)[0].sender, "public@client.example", "sender")
    equal(r.must_run("postmap", "-s", "cluster:domains").stdout, "here.test\tx\n", "-s")


def test_shards(t):
    """With several queue databases the tables are in the first one."""
    first, second = t.database(), t.database()
    r = t.relay(database=first + ", " + second, start=False)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains="cluster:domains", smtpd_reject_unlisted_recipient="no")
    r.start()
    r.must_run("postmap", "cluster:domains", stdin="here.test x\n")
    for _ in range(4):
        t.wait("the table", lambda: code(t, r, "x@here.test") == 250, 40)
    equal([pgtest.run_sql(uri, "SELECT name FROM rowpost.tables") for uri in (first, second)], [[["domains"]], []],
          "tables")


def impostor(path, uid):
    """Takes the place of proxymap, as somebody who runs as `uid` might."""
    s = socket.socket(socket.AF_UNIX)
    os.unlink(path)
    s.bind(path)
    os.chmod(path, 0o666)
    os.seteuid(uid)
    try:
        s.listen(5)
    finally:
        os.seteuid(0)
    return s


@limit(120)
def test_virtual(t):
    """Mailboxes and their rights by tables of the cluster; nobody but the proxymap that master started is believed."""
    base = t.dir + "/vmail"
    os.mkdir(base)
    os.chown(base, NOBODY, NOBODY)
    r = t.relay(main={"virtual_mailbox_domains": "vm.test", "virtual_mailbox_base": base,
                      "virtual_mailbox_maps": "cluster:boxes", "virtual_uid_maps": "cluster:ids",
                      "virtual_gid_maps": "cluster:ids", "minimal_backoff_time": "1s", "queue_run_delay": "1s"}, start=False)
    r.start()
    r.must_run("postmap", "cluster:boxes", stdin="a@vm.test a/\nb@vm.test b/\n")
    r.must_run("postmap", "cluster:ids", stdin="a@vm.test %d\nb@vm.test %d\n" % (NOBODY, NOBODY))
    t.wait("the table", lambda: code(t, r, "a@vm.test") == 250, 40)
    q = t.send(r, recipients=["a@vm.test"])
    r.log.wait_for(r"%s: to=<a@vm.test>, relay=virtual, .*status=sent \(delivered to maildir\)" % q)
    (name,) = os.listdir(base + "/a/new")
    equal(os.stat(base + "/a/new/" + name).st_uid, NOBODY, "owner")
    with impostor(r.queue_dir + "/private/proxymap", NOBODY):
        r.kill("virtual")
        q = t.send(r, recipients=["b@vm.test"])
        r.log.wait_for(r"virtual\[.*: connect to subsystem private/proxymap: not opened by master")
        r.log.wait_for(r"%s: to=<b@vm.test>, relay=virtual, .*status=deferred" % q)
    equal(os.path.exists(base + "/b"), False, "delivered")
