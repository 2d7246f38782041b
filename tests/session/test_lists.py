"""Large lists of recipients: single mails pass them, memory stays flat, nothing is missing at the end."""
import bisect
import os
import re
import sys
import threading
import time

from session import equal, limit
from sink import STALL
from smtp_client import SmtpClient

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
from tools import Sink  # noqa: E402

RECIPIENTS = 50000
DELIVERY = 0.2      # seconds that the sink takes for a delivery
SANITIZED = "ASAN_OPTIONS" in os.environ    # its memory is not that of the program
MAIN = {"smtpd_recipient_limit": str(RECIPIENTS + 1), "smtpd_client_message_rate_limit": "0"}


def message(ident):
    return b"X-Bench-Id: %s\r\nSubject: test\r\n\r\nbody\r\n.\r\n" % ident.encode()


def send_list(relay, ident, domain, recipients=RECIPIENTS):
    with SmtpClient(relay.port) as c:
        c.cmd("EHLO client.example")
        c.cmd("MAIL FROM:<list-owner@client.example>")
        for first in range(0, recipients, 1000):
            c.send(*("RCPT TO:<r%d@%s>" % (n, domain) for n in range(first, min(first + 1000, recipients))))
            for _ in range(first, min(first + 1000, recipients)):
                equal(c.reply().code, 250)
        c.cmd("DATA")
        c.send_raw(message(ident))
        equal(c.reply(limit=60).code, 250)


class Singles:
    """Single mails at a steady pace; for each the time of its 250."""

    def __init__(self, relay, pace):
        self.relay, self.pace = relay, pace
        self.accepted = {}
        self.stop = threading.Event()

    def send(self):
        with SmtpClient(self.relay.port) as c:
            c.cmd("EHLO client.example")
            while not self.stop.wait(self.pace):
                ident = "single-%d" % len(self.accepted)
                c.send("MAIL FROM:<a@client.example>", "RCPT TO:<b@dest.example>", "DATA")
                for code in (250, 250, 354):
                    equal(c.reply().code, code)
                c.send_raw(message(ident))
                equal(c.reply().code, 250)
                self.accepted[ident] = time.monotonic_ns()

    def send_until(self, done):
        sender = threading.Thread(target=self.send)
        sender.start()
        try:
            done()
        finally:
            self.stop.set()
            sender.join()


class Arrivals:
    """What the sink got: single mails, and the list's recipients in the order of their arrival."""

    def __init__(self, sink):
        self.singles, self.names, self.times = {}, [], []
        lines = [line.split(" ") for line in sink.new_ledger_lines(sink.counts().messages, limit=60)]
        for ident, _, at, names in sorted(lines, key=lambda line: int(line[2])):
            if ident != "list":
                self.singles[ident] = int(at)
                continue
            some = names.split(",")
            self.names += some
            self.times += [int(at)] * len(some)

    def of_list(self, at):
        """Recipients of the list that had arrived by then."""
        return bisect.bisect_left(self.times, at)

    def overtaken(self, accepted):
        """For each single that was accepted in the list's first half: how much of the list arrived before it did."""
        waits = [(self.of_list(at), self.of_list(self.singles[ident])) for ident, at in accepted.items()]
        return sorted(after - before for before, after in waits if before < RECIPIENTS / 2)


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def memory_kb(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1])
    raise AssertionError("no Pss_Anon")


class Memory:
    """The scheduler's anonymous memory over time."""

    def __init__(self, pid):
        self.pid, self.start, self.peak = pid, memory_kb(pid), 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.stop.wait(0.05):
            self.peak = max(self.peak, memory_kb(self.pid))

    def end(self):
        """Growth at the peak, in MB."""
        self.stop.set()
        self.thread.join()
        return (self.peak - self.start) / 1024


def check_not_held_back(t, list_domain, pace):
    """Single mails to dest.example beside a list to `list_domain`. What counts is the order of arrivals, which is the same on a busy
    machine: one that waited for the list would arrive behind half of it and more. `make bench-scenarios` says what it is in milliseconds."""
    sink = Sink(os.environ.get("BUILD", "build"), t.dir, rules=["stall@dot=1:%g" % DELIVERY])
    t.at_end(sink.stop)
    # Two names for one sink: two destinations.
    r = t.relay(main=dict(MAIN, relayhost="[127.0.0.1]:%d" % sink.port,
                          transport_maps="inline:{{list.example=smtp:[localhost]:%d}}" % sink.port))
    memory = Memory(r.pids("qmgr")[0])
    send_list(r, "list", list_domain)
    singles = Singles(r, pace)
    singles.send_until(lambda: t.wait("the list delivered", lambda: sink.counts().recipients > RECIPIENTS, 60))
    grown = memory.end()
    t.wait("an empty queue", lambda: r.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], 60)
    arrivals = Arrivals(sink)
    equal(sorted(arrivals.names), sorted("r%d" % n for n in range(RECIPIENTS)))
    equal(sorted(arrivals.singles), sorted(singles.accepted))
    overtaken = arrivals.overtaken(singles.accepted)
    assert len(overtaken) > 5, "the list was through too soon: %d singles" % len(overtaken)
    print("%d singles, overtaken by %d (p50), %d (p90) of the list; scheduler +%.1f MB" % (
        len(overtaken), percentile(overtaken, .5), percentile(overtaken, .9), grown))
    # 50,000 recipients at once would be 40 MB: a page is 5,000, and there is room for 20,000.
    assert SANITIZED or grown < 16, "the scheduler grew by %.1f MB" % grown
    assert percentile(overtaken, .5) < RECIPIENTS / 5, "held back"


@limit(120)
def test_list_does_not_hold_back_singles(t):
    """A list of 50,000 recipients for one destination, single mails for another: they pass it."""
    check_not_held_back(t, "list.example", 0.03)


@limit(120)
def test_list_does_not_hold_back_singles_of_its_destination(t):
    """All for one destination, whose window the list fills: a single mail waits for the next slot, not for the list."""
    check_not_held_back(t, "dest.example", 0.1)


PAGED = {"queue_claim_recipient_limit": "200", "default_recipient_limit": "600", "smtp_destination_recipient_limit": "20"}


@limit(90)
def test_pages_are_one_message(t):
    """A list in fifteen pages that overlap: active once, removed once, and one bounce for all that failed."""
    sink = t.sink().on("rcpt", "550 5.1.1 no such user", match=r"<r\d*7@")
    r = t.relay(sink=sink, main=dict(MAIN, **PAGED))
    send_list(r, "list", "dest.example", 3000)
    t.wait("the list delivered", lambda: r.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], 60)
    lists = [m for m in sink.messages if m.sender == "list-owner@client.example"]
    got = [a for m in lists for a in m.recipients]
    equal(sorted(got), sorted("r%d@dest.example" % n for n in range(3000) if n % 10 != 7))
    t.wait("the bounce", lambda: [m for m in sink.messages if m.sender == ""])
    bounces = [m for m in sink.messages if m.sender == ""]
    equal(len(bounces), 1, "bounces")
    failed = re.findall(rb"(?m)^Final-Recipient: rfc822; ?(r\d+)@dest", bounces[0].data)
    equal(len(set(failed)), 300)
    q = r.log.find(r"qmgr\[\d+\]: (\w+): from=<list-owner@client.example>, size=\d+, nrcpt=3000 \(queue active\)").group(1)
    equal(len(r.log.find_all(r"%s: from=<" % q)), 1, "active")
    r.log.wait_for(r"%s: removed" % q)
    equal(len(r.log.find_all(r"%s: removed" % q)), 1, "removed")


@limit(90)
def test_deleted_list(t):
    """postsuper -d in the middle of a list: what was not under way is gone, pages that were not read yet too."""
    sink = t.sink().on("rcpt", STALL)
    r = t.relay(sink=sink, main=dict(MAIN, **PAGED))
    send_list(r, "list", "dest.example", 3000)
    q = r.log.wait_for(r"(\w+): from=<list-owner@client.example>, .*queue active").group(1)
    t.wait("deliveries under way", lambda: len(sink.sessions) >= 5)
    r.must_run("postsuper", "-d", q)
    t.wait("an empty queue", lambda: r.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], 60)
    assert len(sink.messages) < 1500 / 20


@limit(90)
def test_deferred_list_in_pages(t):
    """A list that is deferred as a whole and flushed: every recipient once."""
    sink = t.sink().on("rcpt", "450 4.2.0 not now", match="@dest")
    r = t.relay(sink=sink, main=dict(MAIN, **PAGED))
    send_list(r, "list", "dest.example", 3000)
    t.wait("all deferred", lambda: r.sql(
        "SELECT count(*) FROM rowpost.queue WHERE queue = 'deferred' AND attempts > 0") == [["3000"]], 60)
    sink.forget_rules()
    r.must_run("postqueue", "-f")
    t.wait("an empty queue", lambda: r.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], 60)
    got = [a for m in sink.messages for a in m.recipients]
    equal(sorted(got), sorted("r%d@dest.example" % n for n in range(3000)))
