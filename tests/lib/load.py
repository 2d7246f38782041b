"""Clients that keep sending, as real ones do: what is not answered with 250 is sent again, by the same or another node,
until it is. Every message has an id of the ledger, and knows what is to become of each of its recipients.

The sink's part of the bargain (mail_sink()), by the local part of the recipient:
    ok-N      taken
    later-N   450 at first, soon taken
    never-N   450 for ever
    nobody-N  550
    slow-N    taken, a second after the final dot
    stuck-N   taken, some seconds after the final dot
The sender of a message is ID@client.example, so that the bounces of an id can be told."""
import itertools
import random
import threading
import time

from deadline import STRETCH, wait_until
from session import equal
from sink import Sink
from smtp_client import Closed, SmtpClient, dot_stuffed, queue_id

LARGE = 1500000
BODY_KEPT = 1 << 18         # longest body that the sink keeps
LATER = 0.5
SLOW = 1.0
STUCK = 4.0
LINE = b"0123456789abcdef" * 4 + b"\r\n"


def mail_sink(**kw):
    """A sink that does what the recipients' names say."""
    kw.setdefault("keep_data", BODY_KEPT)
    sink = Sink(**kw)
    first = {}

    def later(_, address):
        # A while: after a refusal on a kept connection clients try a fresh one at once.
        with sink.lock:
            since = time.monotonic() - first.setdefault(address, time.monotonic())
        return "450 4.2.0 come back later" if since < LATER else "250 2.1.5 Ok"

    def wait(seconds):
        def slowly(*_):
            sink.closing.wait(seconds)
            return "250 2.0.0 Ok: taken slowly"
        return slowly

    sink.on("rcpt", later, match=r"<later-")
    sink.on("rcpt", "450 4.2.0 never", match=r"<never-")
    sink.on("rcpt", "550 5.1.1 no such user", match=r"<nobody-")
    for word, seconds in (("slow", SLOW), ("stuck", STUCK)):
        sink.on("dot", wait(seconds), match=r"\A[^\n]*\n(?:[^\n]*@[^\n]*\n)*?%s-[^\n]*@" % word)
    return sink


class Mail:
    """One message of the load."""

    def __init__(self, ledger, kind, number, domain=None):
        self.id = ledger.new_id()
        self.kind = kind
        self.sender = self.id + "@client.example"
        self.recipients = ["%s-%d-%d@%s" % (word, number, i, domain or "dest%d.example" % (i % 3))
                           for i, word in enumerate(KINDS[kind])]
        body = LINE * (LARGE // len(LINE)) if kind == "large" else b"Hello %d.\r\n.a line with a dot\r\n" % number
        self.text = ledger.message(self.sender, self.recipients, self.id, body)


# Recipients of a message, by kind, and how often a kind comes in a load.
KINDS = {
    "small": ["ok"],
    "large": ["ok"],
    "many": ["ok"] * 20,
    "deferred": ["later"],
    "bounced": ["nobody"],
    "slow": ["slow"],
    "stuck": ["stuck"],
    "never": ["never"],
    "gate": ["gate"],
    "mixed": ["ok", "later", "nobody", "ok", "later", "nobody"],
}
WEIGHTS = {"small": 10, "large": 1, "many": 2, "deferred": 3, "bounced": 2, "slow": 1, "mixed": 2}


class Load:
    """threads clients that send to the relays in turn until stop(). most: messages in all. kinds: WEIGHTS or others."""

    def __init__(self, ledger, relays, threads=4, kinds=None, pace=0.02, most=None, patience=60.0, seed=1):
        self.ledger, self.relays = ledger, relays
        self.kinds = list(kinds or WEIGHTS)
        self.pace, self.patience = pace, patience * STRETCH
        self.stopping = threading.Event()
        self.numbers = itertools.count(1)
        self.most = most
        self.accepted = 0
        self.by_kind = {}
        self.tempfails = 0
        self.before_data = self.after_data = 0      # of them, by replies up to DATA, and to the final dot
        self.put_off = []           # why, the last few
        self.errors = []            # what no client should see
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._client, args=(seed * 1000 + i,), daemon=True)
                        for i in range(threads)]

    def start(self):
        for th in self.threads:
            th.start()
        return self

    def stop(self):
        """Ask the clients to end and wait for them; an error if one saw what it should not."""
        self.stopping.set()
        return self.join()

    def progress(self, count=20):
        """Waits until `count` more are accepted, or a client saw what it should not."""
        before = self.accepted
        wait_until("progress", lambda: self.accepted >= before + count or self.errors, 60)

    def ends_as_begun(self, nodes, epochs, limit=60.0):
        """Ends the load: all of it went its way, the nodes live under the epochs that they had, and only a client in doubt caused a
        second copy."""
        self.stop()
        nodes.drained(limit)
        print(self.summary())
        equal({n.name: nodes.living(n.name) for n in nodes}, epochs, "epochs")
        equal([d for d in nodes.account().doubled if d[3] != "in doubt"], [], "second copies")

    def join(self):
        """Wait until all `most` messages are sent."""
        for th in self.threads:
            th.join(self.patience + 90 * STRETCH)
            if th.is_alive():
                self.errors.append("a client does not end")
        if self.errors:
            raise AssertionError("%d errors of clients: %s" % (len(self.errors), "; ".join(self.errors[:5])))
        return self

    def summary(self):
        with self.lock:
            return "%d accepted (%s), %d put off" % (
                self.accepted, ", ".join("%d %s" % (n, k) for k, n in sorted(self.by_kind.items())), self.tempfails)

    # ---------------------------------------------------------------- a client

    def _client(self, seed):
        rng = random.Random(seed)
        while not self.stopping.is_set():
            number = next(self.numbers)
            if self.most is not None and number > self.most:
                return
            kind = rng.choices(self.kinds, [WEIGHTS.get(k, 1) for k in self.kinds])[0]
            try:
                self._send(Mail(self.ledger, kind, number), rng)
            except Exception as e:  # noqa: BLE001 - shown by join()
                self.errors.append("%s: %s" % (type(e).__name__, e))
            self.stopping.wait(self.pace)

    def _send(self, mail, rng):
        end = time.monotonic() + self.patience
        while True:
            if self.try_once(mail, rng.choice(self.relays)):
                with self.lock:
                    self.accepted += 1
                    self.by_kind[mail.kind] = self.by_kind.get(mail.kind, 0) + 1
                return
            with self.lock:
                self.tempfails += 1
            if self.stopping.is_set():
                return      # as a client that is switched off
            if time.monotonic() > end:
                raise AssertionError("nobody took a message for %g s" % self.patience)
            self.stopping.wait(0.05)

    def try_once(self, mail, relay):
        """One attempt. True: 250."""
        dot_sent = False
        try:
            with SmtpClient(relay.port, limit=75) as c:
                hello = c.cmd("EHLO client.example")
                if hello.code != 250:
                    return self._put_off(hello)
                if not self._envelope(c, mail):
                    with self.lock:
                        self.before_data += 1
                    return False
                c.send_raw(dot_stuffed(mail.text))
                dot_sent = True
                c.send_raw(b".\r\n")
                reply = c.expect(None)
        except (OSError, Closed) as e:
            if dot_sent:
                self.ledger.record(mail.id, mail.recipients)
            return self._put_off(e)
        self._check(reply)
        self.ledger.record(mail.id, mail.recipients, queue_id(reply) if reply.code == 250 else None)
        if reply.code != 250:
            with self.lock:
                self.after_data += 1
        return reply.code == 250 or self._put_off(reply)

    def _envelope(self, c, mail):
        c.send("MAIL FROM:<%s>" % mail.sender, *("RCPT TO:<%s>" % r for r in mail.recipients))
        replies = [c.expect(None) for _ in range(1 + len(mail.recipients))]
        for reply in replies:
            self._check(reply, (503,) if replies[0].code >= 400 else ())
        if any(r.code != 250 for r in replies):
            return self._put_off([r for r in replies if r.code != 250][0])
        reply = c.cmd("DATA")
        self._check(reply)
        return reply.code == 354 or self._put_off(reply)

    def _put_off(self, why):
        self.put_off = self.put_off[-9:] + [repr(why)]
        return False

    @staticmethod
    def _check(reply, also=()):
        if reply.code >= 500 and reply.code not in also:
            raise AssertionError("refused for good: %r" % reply)
