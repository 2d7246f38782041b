"""Large lists of recipients: single mails pass them, memory stays flat, nothing is missing at the end."""
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
    """Single mails at a steady pace; for each the time from its 250 to the end of its delivery."""

    def __init__(self, relay, pace):
        self.relay, self.pace = relay, pace
        self.accepted = {}
        self.stop = threading.Event()

    def send(self, word, most):
        n = 0
        with SmtpClient(self.relay.port) as c:
            c.cmd("EHLO client.example")
            while n < most and not self.stop.wait(self.pace):
                ident = "%s-%d" % (word, n)
                c.send("MAIL FROM:<a@client.example>", "RCPT TO:<b@dest.example>", "DATA")
                for code in (250, 250, 354):
                    equal(c.reply().code, code)
                c.send_raw(message(ident))
                equal(c.reply().code, 250)
                self.accepted[ident] = time.monotonic_ns()
                n += 1

    def latencies(self, arrivals):
        """Seconds, in order."""
        return sorted((arrivals[i] - at) / 1e9 for i, at in self.accepted.items())


class Ledger:
    """What the sink got."""

    def __init__(self, sink):
        self.sink, self.lines = sink, []

    def read(self):
        """{id: arrival}, recipients by the first word of the id."""
        self.lines += self.sink.new_ledger_lines(self.sink.counts().messages - len(self.lines), limit=10)
        arrivals, recipients = {}, {}
        for line in self.lines:
            ident, _, at, names = line.split(" ")
            arrivals[ident] = int(at)
            recipients.setdefault(ident.split("-")[0], []).extend(names.split(","))
        return arrivals, recipients


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


def run_singles(singles, word, most, until=None):
    sender = threading.Thread(target=singles.send, args=(word, most))
    sender.start()
    if until is not None:
        until()
        singles.stop.set()
    sender.join()


def measure(t, list_domain, pace, count):
    """Latencies of singles to dest.example alone, and beside a list to `list_domain`; the scheduler's growth in MB."""
    sink = Sink(os.environ.get("BUILD", "build"), t.dir, rules=["stall@dot=1:%g" % DELIVERY])
    t.at_end(sink.stop)
    # Two names for one sink: two destinations.
    r = t.relay(main=dict(MAIN, relayhost="[127.0.0.1]:%d" % sink.port,
                          transport_maps="inline:{{list.example=smtp:[localhost]:%d}}" % sink.port))
    ledger = Ledger(sink)
    alone = Singles(r, pace)
    run_singles(alone, "alone", count)
    t.wait("an empty queue", lambda: r.sql("SELECT count(*) FROM rowpost.queue") == [["0"]])
    before = alone.latencies(ledger.read()[0])

    memory = Memory(r.pids("qmgr")[0])
    send_list(r, "list", list_domain)
    beside = Singles(r, pace)
    run_singles(beside, "beside", 10000, until=lambda: t.wait(
        "the list delivered", lambda: sink.counts().recipients > RECIPIENTS + len(before), 60))
    grown = memory.end()
    t.wait("an empty queue", lambda: r.sql("SELECT count(*) FROM rowpost.queue") == [["0"]])
    arrivals, recipients = ledger.read()
    equal(len(recipients["list"]), RECIPIENTS)
    equal(len(set(recipients["list"])), RECIPIENTS)
    after = beside.latencies(arrivals)
    assert len(after) > count / 2, "the list was through too soon: %d" % len(after)
    show("singles alone", before)
    show("beside the list", after)
    print("scheduler +%.1f MB" % grown)
    # 50,000 recipients at once would be 40 MB: a page is 5,000, and there is room for 20,000.
    assert SANITIZED or grown < 16, "the scheduler grew by %.1f MB" % grown
    return before, after


def show(what, latencies):
    print("%s: %d, p50 %.1f p99 %.1f max %.1f ms" % (
        what, len(latencies), *(1e3 * percentile(latencies, p) for p in (.5, .99, 1))))


def check_not_held_back(before, after, more):
    """On a machine that does nothing else the p99 stays within a fifth and `more` seconds: `make bench-scenarios` says it. Here other
    tests take the cores: a list takes ten seconds and more, and a single that waited for it would show in the median."""
    if SANITIZED:
        return
    assert percentile(after, .5) <= 2 * percentile(before, .5) + more, "held back"
    assert percentile(after, .99) <= 2 * percentile(before, .99) + more + 2, "some held back"


@limit(120)
def test_list_does_not_hold_back_singles(t):
    """A list of 50,000 recipients for one destination, single mails for another: as quick as without."""
    check_not_held_back(*measure(t, "list.example", 0.03, 200), 0.1)


@limit(120)
def test_list_does_not_hold_back_singles_of_its_destination(t):
    """All for one destination, whose window the list fills: a single mail waits for the next slot, not for the list."""
    check_not_held_back(*measure(t, "dest.example", 0.1, 60), 1.5 * DELIVERY)


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
