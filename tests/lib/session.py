"""What a session test gets: its own directory, database, network, and helpers that clean up by themselves.

A test is a function test_NAME(t) in tests/session/test_*.py; t is a Session. @limit(seconds) changes its deadline."""
import re
import shutil
import traceback

import pgtest
from deadline import wait_until
from ledger import Ledger
from relay import Relay
from sink import Sink
from smtp_client import SmtpClient

DEFAULT_LIMIT = 60.0

MESSAGE = """\
From: <alice@client.example>
To: <bob@dest.example>
Subject: a test
Message-ID: <1@client.example>
Date: Fri, 21 Nov 2025 12:00:00 +0000

Hello.
"""


def limit(seconds):
    """Decorator: the test's deadline."""
    def mark(function):
        function.limit = seconds
        return function
    return mark


class Session:
    def __init__(self, name, directory, bin_dir, pg_uri, database, template):
        self.name, self.dir, self.bin = name, directory, bin_dir
        self._pg_uri, self._database, self._template = pg_uri, database, template
        self._databases = []
        self._closing = []
        self.ledger = Ledger()

    # ---------------------------------------------------------------- database

    def database(self, schema=True, suffix=""):
        """URI of a new database of this test's own, with or without the schema."""
        name = self._database + suffix + ("_%d" % len(self._databases) if self._databases else "")
        # A test that was killed in this slot may have left one.
        pgtest.run_sql(self._pg_uri, 'DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name)
        pgtest.run_sql(self._pg_uri, 'CREATE DATABASE "%s"%s' % (
            name, ' TEMPLATE "%s"' % self._template if schema and self._template else ""))
        self._databases.append(name)
        uri = self._pg_uri.replace("/postgres?", "/%s?" % name)
        if schema and not self._template:
            raise AssertionError("there is no schema: `rowpost schema` failed when the tests began")
        return uri

    def cluster(self, **kw):
        """A PostgreSQL server of the test's own, to be stopped, killed or replicated."""
        pg = pgtest.Cluster(base=None, **kw)
        self.at_end(pg.destroy)
        pg.init()
        pg.start()
        return pg

    # ---------------------------------------------------------------- actors

    def relay(self, start=True, sink=None, database="", **kw):
        """A started node. sink: where all mail goes. database: "" for one of its own, None for embedded."""
        main = dict(kw.pop("main", None) or {})
        if sink is not None:
            main.setdefault("relayhost", sink.nexthop)
        if database == "":
            database = self.database()
        n = sum(1 for _, what in self._closing if isinstance(what, Relay))
        kw.setdefault("name", "relay%d" % (n + 1) if n else "relay")
        r = Relay(self.dir, self.bin, database, main=main, **kw)
        self._closing.append((r.close, r))
        if start:
            r.start()
        return r

    def sink(self, **kw):
        s = Sink(**kw)
        self.at_end(s.close)
        return s

    def dns(self, **kw):
        from dns_server import DnsServer
        d = DnsServer(directory=self.dir, **kw)
        self.at_end(d.close)
        return d

    def client(self, relay, **kw):
        c = SmtpClient(getattr(relay, "port", relay), **kw)
        self.at_end(c.close)
        return c

    def send(self, relay, sender="alice@client.example", recipients="bob@dest.example", message=MESSAGE):
        """One message in a session of its own; its queue id."""
        with SmtpClient(relay.port) as c:
            c.ehlo()
            q = c.message(sender, recipients, message)
            c.quit()
        return q

    # ---------------------------------------------------------------- end

    def at_end(self, function):
        """Call it when the test is over, last one first."""
        self._closing.append((function, None))

    def wait(self, what, condition, seconds=15.0, step=0.02):
        return wait_until(what, condition, seconds, step)

    def relays(self):
        return [what for _, what in self._closing if isinstance(what, Relay)]

    def logs(self):
        return "".join("--- log of %s\n%s\n" % (r.name, r.log.tail(40)) for r in self.relays())

    def sanitizer_reports(self):
        """A panic, a deadly signal or a sanitizer's report in a log is a failure whatever the test saw."""
        found = []
        for r in self.relays():
            for m in r.log.find_all(r"^.*(panic:|killed by signal (6|11)|AddressSanitizer|runtime error:).*$"):
                found.append(m.group(0))
        return found

    def close(self, keep=False):
        for function, _ in reversed(self._closing):
            try:
                function()
            except Exception:  # noqa: BLE001 - the others must be closed too
                traceback.print_exc()
        for name in self._databases:
            try:
                pgtest.run_sql(self._pg_uri, 'DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name)
            except pgtest.PgError as e:
                print(e)
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def refuses(function, kind=AssertionError):
    """Call it: it must raise; the exception."""
    try:
        function()
    except kind as e:
        return e
    raise AssertionError("it was expected to fail: %s" % function)


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: got %r, expected %r" % (what or "value", got, expected))


def match(text, pattern):
    m = re.search(pattern, text, re.M)
    if not m:
        raise AssertionError("no match for %r in:\n%s" % (pattern, text[-3000:]))
    return m
