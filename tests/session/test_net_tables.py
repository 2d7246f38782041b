"""Tables that are asked over a network: tcp:, socketmap:, memcache:. What they decide, and what their trouble does to mail."""
import os
import socket
import subprocess
import threading

from relay import free_port
from session import equal, limit, match
from table_server import TableServer

ALICE = "alice@client.example"


def serve(t, *args, **kw):
    s = TableServer(*args, **kw)
    t.at_end(s.close)
    return s


def code(t, relay, rcpt, limit=30):
    """The code of RCPT TO in a session of its own."""
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        return c.cmd("RCPT TO:<%s>" % rcpt, limit=limit).code


def query(r, spec, key):
    """What postmap -q prints and says, and its exit status."""
    p = r.run("postmap", "-q", key, spec)
    return p.stdout.rstrip("\n"), p.stderr, p.returncode


def test_tcp(t):
    """Access, virtual aliases and transport out of a tcp table; keys and values with bytes that a line cannot hold."""
    sink, other = t.sink(), t.sink()
    access = serve(t, "tcp", {"bad one@here.test": "REJECT 100% \u00fcbel"})
    s = serve(t, "tcp", {"all@v.test": "a@moved.test, b@dest.example"})
    routes = serve(t, "tcp", {"a@moved.test": "smtp:" + other.nexthop})
    r = t.relay(sink=sink, main={
        "virtual_alias_domains": "v.test", "virtual_alias_maps": s.spec, "transport_maps": routes.spec,
        "relay_domains": "here.test",
        "smtpd_recipient_restrictions": "check_recipient_access %s, permit_mynetworks, reject" % access.spec})
    with t.client(r) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        c.cmd('RCPT TO:<"bad one"@here.test>', 554, r"100% \?\?bel|100% \u00fcbel")
        c.cmd("RCPT TO:<good@here.test>", 250)
    t.send(r, recipients=["all@v.test"])
    equal(other.wait(1)[0].recipients, ["a@moved.test"], "over the table's way")
    equal(sink.wait(1)[0].recipients, ["b@dest.example"], "over the usual way")
    assert "@v.test" not in s.keys and "v.test" not in s.keys, "parts of addresses are asked: %s" % s.keys
    equal(query(r, s.spec, "all@v.test"), ("a@moved.test, b@dest.example", "", 0), "postmap -q")
    equal(query(r, s.spec, "none"), ("", "", 1), "postmap -q")


def test_socketmap(t):
    """The same out of socketmaps, one server with several tables, TCP and UNIX."""
    sink, other = t.sink(), t.sink()
    for path in (None, t.dir + "/maps"):
        s = serve(t, "socketmap", {
            "access bad@here.test": "REJECT no", "alias all@v.test": "a@moved.test, b@dest.example",
            "transport a@moved.test": "smtp:" + other.nexthop}, path=path)
        r = t.relay(sink=sink, main={
            "virtual_alias_domains": "v.test", "virtual_alias_maps": s.spec + ":alias", "transport_maps": s.spec + ":transport",
            "relay_domains": "here.test", "queue_directory": t.dir + ("/q" if path else "/p"),
            "smtpd_recipient_restrictions": "check_recipient_access %s:access, permit_mynetworks, reject" % s.spec})
        equal(code(t, r, "bad@here.test"), 554, "refused by the table")
        equal(code(t, r, "good@here.test"), 250, "not in the table")
        t.send(r, recipients=["all@v.test"])
        other.wait(1 if path is None else 2)
        sink.wait(1 if path is None else 2)
        assert len([k for k in s.keys if k.startswith("alias ")]) >= 1, s.keys
        equal(query(r, s.spec + ":alias", "all@v.test")[0], "a@moved.test, b@dest.example", "postmap -q")
        equal(query(r, s.spec + ":nothing", "all@v.test"), ("", "", 1), "another name")
        r.wait_empty()
        r.stop()


@limit(60)
def test_lines_in_a_text(t):
    """What a table says is one line of the reply, whatever is in it."""
    s = serve(t, "socketmap", {"access bad@here.test": "REJECT no\r\n250 2.1.5 Ok\x7f"})
    r = t.relay(main={"relay_domains": "here.test", "smtpd_recipient_restrictions":
                      "check_recipient_access %s:access, permit_mynetworks, reject" % s.spec})
    with t.client(r) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        c.cmd("RCPT TO:<bad@here.test>", 554, r"no  250 2\.1\.5 Ok $")
        c.cmd("NOOP", 250, r"2\.0\.0")


@limit(120)
def test_away_and_back(t):
    """While the server is away everything that asks it defers; when it is back nobody has lost anything."""
    for protocol, name in (("tcp", ""), ("socketmap", ":m")):
        s = serve(t, protocol, {k + "here.test": "x" for k in ("", "m ")})
        r = t.relay(main={"relay_domains": s.spec + name, "mynetworks": "192.0.2.0/24"})
        equal(code(t, r, "a@here.test"), 250, protocol)
        s.stop()
        equal(code(t, r, "a@here.test"), 451, protocol + " away")
        equal(code(t, r, "a@elsewhere.test"), 451, protocol + " away: nobody can tell")
        r.log.wait_for(r"warning: connect to (TCP map )?127.0.0.1:%d: Connection refused" % s.port)
        r.log.wait_for(r"warning: %s lookup error for \"here.test\"" % (s.spec + name))
        s.start()
        t.wait("the return", lambda: code(t, r, "a@here.test") == 250)
        equal(code(t, r, "a@elsewhere.test"), 454, protocol + " back")
        r.stop()


def test_connection_is_kept(t):
    """A process asks over one connection; one that the server has closed meanwhile is no trouble."""
    for protocol, name in (("tcp", ""), ("socketmap", ":m")):
        s = serve(t, protocol, {k + "here.test": "x" for k in ("", "m ")})
        r = t.relay(main={"relay_domains": s.spec + name, "mynetworks": "192.0.2.0/24"},
                    smtpd_opts=["smtpd_processes=1"])
        for _ in range(5):
            equal(code(t, r, "a@here.test"), 250, protocol)
        assert s.connections < len(s.keys), "%d connections for %d questions" % (s.connections, len(s.keys))
        s.hang_up()
        equal(code(t, r, "a@here.test"), 250, protocol + " after the server hung up")
        equal(r.log.find_all(r"warning:.*(%s|lookup error).*" % s.spec), [], protocol)
        r.stop()


def test_bad_answers(t):
    """What is no answer is trouble, not an answer: garbage, too much, an error, nothing at all."""
    cases = {"tcp": [b"rubbish\n", b"200 " + b"x" * 5000 + b"\n", b"400 later\n", b"999 what\n", b"200 %zz\n", b"200 %00\n"],
             "socketmap": [b"rubbish,", b"200000:OK " + b"x" * 4000, b"6:TEMP x,", b"6:PERM x,", b"9:TIMEOUT x,", b"4:OK x;",
                           b"4:WHAT,", b"9999999999999999999:OK"]}
    for protocol, name in (("tcp", ""), ("socketmap", ":m")):
        s = serve(t, protocol, {k + "here.test": "x" for k in ("", "m ")})
        r = t.relay(main={"relay_domains": s.spec + name, "mynetworks": "192.0.2.0/24"})
        for say in cases[protocol]:
            s.say = say
            equal(code(t, r, "a@here.test"), 451, say[:20])
            out, err, status = query(r, s.spec + name, "k")
            equal((out, status), ("", 1), say[:20])
            match(err, r"fatal: table %s%s: query error" % (s.spec, name))
            s.say = None
            equal(code(t, r, "a@here.test"), 250, "after %s" % say[:20])
        r.stop()


def test_slow_server(t):
    """Only those who ask wait: others of the same process are served meanwhile, and a reload does not disturb them."""
    for protocol, name in (("tcp", ""), ("socketmap", ":m")):
        s = serve(t, protocol, {k + "here.test": "OK" for k in ("", "m ")})
        r = t.relay(main={"relay_domains": "here.test", "mynetworks": "192.0.2.0/24", "smtpd_delay_reject": "no",
                          "smtpd_recipient_restrictions": "check_recipient_access " + s.spec + name})
        s.hold.clear()
        codes = []
        waiting = [threading.Thread(target=lambda: codes.append(code(t, r, "a@here.test", 60))) for _ in range(30)]
        for w in waiting:
            w.start()
        t.wait("questions", lambda: len(s.keys) >= 20)
        with t.client(r) as c:
            c.ehlo()
            c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        r.reload()
        r.log.wait_for(r"master\[\d+\]: reload")
        equal(codes, [], "answers before the server's")
        s.hold.set()
        for w in waiting:
            w.join()
        equal(codes, [250] * 30, "answers")
        r.stop()


class Memcached:
    """A real memcached of the test's own."""

    def __init__(self, t):
        self.port = free_port()
        self.process = None
        self.wait = t.wait
        t.at_end(self.stop)
        self.start()

    def start(self):
        self.process = subprocess.Popen(["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "8"])
        self.wait("memcached", lambda: self.command(b"version\r\n").startswith(b"VERSION"))

    def stop(self):
        self.process.kill()
        self.process.wait()

    def command(self, text):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as c:
                c.sendall(text)
                return c.recv(65536)
        except OSError:
            return b""

    def set(self, key, value):
        equal(self.command(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value.encode()), value.encode())), b"STORED\r\n", key)

    def get(self, key):
        lines = self.command(b"get %s\r\n" % key.encode()).split(b"\r\n")
        return lines[1].decode() if len(lines) > 2 else None


def test_memcache(t):
    """Access, virtual aliases and transport out of a real memcached, each table with its key_format."""
    sink, other = t.sink(), t.sink()
    m = Memcached(t)
    for key, value in (("access:bad@here.test", "REJECT no"), ("route:moved.test", "smtp:" + other.nexthop),
                       ("alias:test/v/all", "a@moved.test, b@dest.example")):
        m.set(key, value)
    r = t.relay(sink=sink, start=False)
    specs = {}
    for name, form in (("access", "access:%s"), ("alias", "alias:%1/%2/%u"), ("route", "route:%s")):
        path = r.write_file(name + ".cf", "memcache = inet:127.0.0.1:%d\ntimeout = 60\nkey_format = %s\n" % (m.port, form))
        specs[name] = "memcache:" + path
    r.write_config(relay_domains="here.test", virtual_alias_domains="v.test", virtual_alias_maps=specs["alias"],
                   transport_maps=specs["route"],
                   smtpd_recipient_restrictions="check_recipient_access %s, permit_mynetworks, reject" % specs["access"])
    r.start()
    equal(code(t, r, "BAD@here.test"), 554, "refused by the table")
    equal(code(t, r, "good@here.test"), 250, "not in the table")
    t.send(r, recipients=["all@v.test"])
    equal(other.wait(1)[0].recipients, ["a@moved.test"], "over the table's way")
    equal(sink.wait(1)[0].recipients, ["b@dest.example"], "over the usual way")
    equal(query(r, specs["alias"], "all@v.test"), ("a@moved.test, b@dest.example", "", 0), "postmap -q")
    equal(query(r, specs["alias"], "all"), ("", "", 1), "a key without a domain")


def test_memcache_away_and_back(t):
    """Without a server mail is deferred, with a table behind it nobody notices; the cache fills by itself."""
    m = Memcached(t)
    r = t.relay(start=False)
    r.write_file("backup", "kept.test x\nbig.test %s\n" % ("y" * 3000))
    alone = r.write_file("alone.cf", "memcache = inet:127.0.0.1:%d\ntimeout = 60\nmax_try = 1\n" % m.port)
    backed = r.write_file("backed.cf", "memcache = inet:127.0.0.1:%d\ntimeout = 60\nkey_format = backed:%%s\nbackup = texthash:%s/backup\n"
                          "ttl = 1000\ndata_size_limit = 2000\nmax_try = 1\n" % (m.port, r.conf))
    r.write_config(relay_domains="memcache:%s, memcache:%s" % (backed, alone), mynetworks="192.0.2.0/24")
    m.set("alone.test", "x")
    r.start()
    equal(code(t, r, "a@alone.test"), 250, "in the cache")
    equal(code(t, r, "a@kept.test"), 250, "in the table behind it")
    equal(m.get("backed:kept.test"), "x", "put into the cache")
    equal(code(t, r, "a@big.test"), 250, "too big for the cache")
    r.log.wait_for(r"data for key backed:big.test is too long \(data_size_limit=2000\) -- not stored")
    m.stop()
    equal(code(t, r, "a@kept.test"), 250, "in the table behind it, while the cache is away")
    equal(code(t, r, "a@alone.test"), 451, "in the cache that is away")
    r.log.wait_for(r"warning: connect to 127.0.0.1:%d: Connection refused" % m.port)
    m.start()
    m.set("alone.test", "x")
    t.wait("the return", lambda: code(t, r, "a@alone.test") == 250)
    m.set("backed:gone.test", "x")
    equal(code(t, r, "a@gone.test"), 250, "in the cache only")
    equal(sorted(r.must_run("postmap", "-s", "memcache:" + backed).stdout.split()[::2]), ["big.test", "kept.test"], "postmap -s")


def test_memcache_settings_are_read_again(t):
    """A change of the file is seen without a restart; a wrong one defers and is named by `rowpost check`."""
    m = Memcached(t)
    m.set("new:here.test", "x")
    r = t.relay(start=False)
    good = "memcache = inet:127.0.0.1:%d\nkey_format = %%s:%%s\n" % m.port
    path = r.write_file("m.cf", good.replace("%s:", "old:"))
    r.write_config(relay_domains="memcache:" + path, mynetworks="192.0.2.0/24")
    r.start()
    equal(code(t, r, "a@here.test"), 454, "another key_format")
    r.write_file("m.cf", good.replace("%s:", "new:"))
    t.wait("the new key_format", lambda: code(t, r, "a@here.test") == 250)
    r.write_file("m.cf", good + "timeout = soon\n")
    t.wait("the wrong settings", lambda: code(t, r, "a@here.test") == 451)
    p = r.run("rowpost", "check")
    match(p.stdout + p.stderr, r"relay_domains.*memcache:.*m.cf, line 3: timeout: bad numerical value")
    r.write_file("m.cf", good.replace("%s:", "new:"))
    t.wait("the mended settings", lambda: code(t, r, "a@here.test") == 250)


@limit(120)
def test_many_at_once(t):
    """Lookups of many sessions overtake each other in every table of a message's way; each message goes where it should."""
    sinks = [t.sink() for _ in range(3)]
    count = 60
    entries = {}
    for n in range(count):
        entries["canonical from%d@client.example" % n] = "public%d@client.example" % n
        entries["alias to%d@v.test" % n] = "one%d@dest.example, two%d@dest.example" % (n, n)
        entries["bcc to%d@v.test" % n] = "copy%d@dest.example" % n
        for who in ("one", "two", "copy"):
            entries["transport %s%d@dest.example" % (who, n)] = "smtp:" + sinks[n % 3].nexthop
    s = serve(t, "socketmap", entries, path=t.dir + "/maps")
    s.jitter = 0.05
    r = t.relay(main={"sender_canonical_maps": s.spec + ":canonical", "virtual_alias_domains": "v.test",
                      "virtual_alias_maps": s.spec + ":alias", "recipient_bcc_maps": s.spec + ":bcc",
                      "transport_maps": s.spec + ":transport",
                      "smtpd_recipient_restrictions": "check_sender_access %s:access, permit_mynetworks, reject" % s.spec})

    def some(first):
        for n in range(first, count, 12):
            t.send(r, sender="from%d@client.example" % n, recipients=["to%d@v.test" % n])
    senders = [threading.Thread(target=some, args=(n,)) for n in range(12)]
    for w in senders:
        w.start()
    for w in senders:
        w.join()
    r.wait_empty(60)
    for i, sink in enumerate(sinks):
        got = sorted((m.sender, rcpt) for m in sink.messages for rcpt in m.recipients)
        equal(got, sorted(("public%d@client.example" % n, "%s%d@dest.example" % (who, n))
                          for n in range(i, count, 3) for who in ("one", "two", "copy")), "at sink %d" % i)


def test_check_names_broken_specs(t):
    """`rowpost check` says which table cannot be asked, and why."""
    r = t.relay(start=False, main={
        "relay_domains": "tcp:nowhere", "virtual_alias_maps": "socketmap:x", "transport_maps": "socketmap:foo:bar:25:n",
        "canonical_maps": "tcp:127.0.0.1:25, socketmap:unix:/run/x:y"})
    p = r.run("rowpost", "check")
    text = p.stdout + p.stderr
    for what in (r"relay_domains.*tcp:nowhere.*host or service nowhere not found", r"virtual_alias_maps.*requires server:socketmap argument",
                 r"transport_maps.*invalid transport name: foo in service: foo:bar:25"):
        match(text, what)
    assert "canonical_maps" not in text, text


def test_cdb(t):
    """postmap and postalias build it in one step under a running relay, which reads it again."""
    r = t.relay(start=False)
    if "cdb" not in r.must_run("postconf", "-m").stdout.split():
        return      # built without the library
    r.write_file("domains", "here.test x\n")
    r.write_file("names", "root: bob@dest.example\n")
    r.write_config(relay_domains="cdb:%s/domains" % r.conf, mynetworks="192.0.2.0/24")
    r.must_run("postmap", "cdb:%s/domains" % r.conf)
    r.must_run("postalias", "cdb:%s/names" % r.conf)
    equal(query(r, "cdb:%s/names" % r.conf, "ROOT"), ("bob@dest.example", "", 0), "postmap -q of an alias")
    r.start()
    equal(code(t, r, "a@here.test"), 250, "in the table")
    equal(code(t, r, "a@new.test"), 454, "not known yet")
    r.write_file("domains", "new.test x\nNEW.test y\n")
    p = r.must_run("postmap", "cdb:%s/domains" % r.conf)
    match(p.stderr, r"domains: duplicate entry: \"new.test\"")
    t.wait("the new table", lambda: code(t, r, "a@new.test") == 250)
    t.wait("the old entry", lambda: code(t, r, "a@here.test") == 454)
    p = r.run("postmap", "-s", "cdb:%s/domains" % r.conf)
    match(p.stderr, "sequence operation is not supported")
    p = r.run("postmap", "-d", "new.test", "cdb:%s/domains" % r.conf)
    match(p.stderr, "its entries cannot be changed")
    equal([n for n in os.listdir(r.conf) if ".cdb." in n], [], "files left behind")
