"""What became of every recipient of every message that got 250.

Each message carries its own id in a header (X-Ledger), so that the sink's record and the relay's tables are matched
even where the client never learned a queue id. The sum that must hold: each recipient of an accepted message is
delivered, bounced, held, queued or discarded; a recipient of none of these is lost. A second copy must have a cause:
    reply lost   the sink took a message whose reply it could not send
    in doubt     the client was not told 250 (cut off, or 451), and sent the message again
    an incident  the test killed or stopped something between the sink's 250 and the record of it: of the node that
                 delivered the copy, where the incident is that of one node
"""
import hashlib
import threading
import time
import uuid

import pgtest
from deadline import STRETCH

HEADER = "X-Ledger"
# Outcomes that end a recipient (rowpost.history), and the places where one waits (rowpost.queue; "hold" is its own).
ENDS = {"sent": "delivered", "bounced": "bounced", "expired": "bounced", "discarded": "discarded",
        "deleted": "discarded"}
WAITING = ("incoming", "active", "deferred")
# Seconds between the sink's 250 and the record of it, on a loaded machine.
RECORD_LIMIT = 10.0 * STRETCH


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.entries = {}       # ledger id -> Entry
        self.digests = {}       # ledger id -> digest of the body
        self.incidents = []     # (from, to, what, node), in seconds since 1970

    def new_id(self):
        return uuid.uuid4().hex

    def message(self, sender, recipients, ledger_id, body=b"Hello.\r\n"):
        """Text of a message that carries its id. body: with CRLF."""
        self.digests[ledger_id] = hashlib.sha1(body).hexdigest()
        return (b"From: <%s>\r\nTo: <%s>\r\nSubject: ledger\r\n%s: %s\r\n\r\n" % (
            sender.encode(), recipients[0].encode(), HEADER.encode(), ledger_id.encode())) + body

    def record(self, ledger_id, recipients, queue_id=None):
        """A client's view of one try: queue_id after 250, None when it could not know or was told 4xx."""
        with self.lock:
            e = self.entries.setdefault(ledger_id, Entry(recipients))
            e.tries += 1
            if queue_id:
                e.queue_ids.append(queue_id)

    def incident(self, what, began=None, node=None):
        """The test killed somebody who delivers, now; or something stood still since `began`. Times are those of the
        sink's replies. node: the name of the only node whose deliveries it could cut short; None: any."""
        now = time.time()
        with self.lock:
            self.incidents.append((began or now, now, what, node))

    def accepted(self):
        with self.lock:
            return {k: e for k, e in self.entries.items() if e.queue_ids}

    def audit(self, database_uri, sinks):
        """An Account: compare with the sinks' records and with the tables of the queue database(s)."""
        uris = [database_uri] if isinstance(database_uri, str) else database_uri
        state = {}
        for uri in uris:
            for queue_id, rcpt, outcome in pgtest.run_sql(
                    uri, "SELECT queue_id, recipient, outcome FROM rowpost.history"):
                if outcome in ENDS:
                    state.setdefault((queue_id, rcpt), []).append(ENDS[outcome])
            for queue_id, rcpt, where in pgtest.run_sql(
                    uri, "SELECT queue_id, recipient, queue FROM rowpost.queue"):
                state.setdefault((queue_id, rcpt), []).append("queued" if where in WAITING else where)
        copies = {}
        for sink in sinks:
            for m in sink.taken():
                for r in m.recipients:
                    copies.setdefault((m.header(HEADER), r), []).append(m)
        return Account(self.entries, state, copies, self.digests, self.incidents)


class Entry:
    def __init__(self, recipients):
        self.recipients = list(recipients)
        self.queue_ids = []
        self.tries = 0


class Account:
    """counts: {"delivered": n, ...} over recipients of accepted messages. state: {(queue id, recipient): ways it went};
    copies: {(ledger id, recipient): what the sinks took}. lost, contradictions: texts. doubled: (ledger id, recipient,
    copies, cause). unrecorded: delivered, but in no table."""

    def __init__(self, entries, state, copies, digests=None, incidents=()):
        self.counts = {}
        self.state, self.copies, self.incidents = state, copies, list(incidents)
        self.lost, self.doubled, self.contradictions, self.unrecorded = [], [], [], []
        for (ledger_id, rcpt), found in copies.items():
            if ledger_id in (digests or ()) and any(m.digest != digests[ledger_id] for m in found):
                self.contradictions.append("%s (ledger %s): the body was changed" % (rcpt, ledger_id))
        for ledger_id, e in entries.items():
            for rcpt in e.recipients:
                self._recipient(ledger_id, e, rcpt, state, copies.get((ledger_id, rcpt), []))

    def _recipient(self, ledger_id, e, rcpt, state, copies):
        for queue_id in e.queue_ids:
            ways = state.get((queue_id, rcpt), [])
            if len(set(ways)) > 1:
                self.contradictions.append("%s %s is %s" % (queue_id, rcpt, " and ".join(sorted(set(ways)))))
            if not ways and not copies:
                self.lost.append("%s %s (ledger %s): in no table and at no sink" % (queue_id, rcpt, ledger_id))
            if "delivered" in ways and not copies:
                self.lost.append("%s %s (ledger %s): history says sent, no sink has it" % (
                    queue_id, rcpt, ledger_id))
            if copies and not ways:
                self.unrecorded.append("%s %s (ledger %s)" % (queue_id, rcpt, ledger_id))
            if ways or copies:
                what = ways[0] if ways else "delivered"
                self.counts[what] = self.counts.get(what, 0) + 1
        if len(copies) > max(1, len(e.queue_ids)):
            self.doubled.append((ledger_id, rcpt, len(copies), self._cause(e, copies)))

    def _cause(self, e, copies):
        causes = []
        # Whatever happened after the last copy cannot have caused it.
        for m in sorted(copies, key=lambda m: m.at)[:-1] if self.incidents else ():
            near = [(abs(began - m.answered), what) for began, ended, what, node in self.incidents
                    if m.at < ended + 1 and began < m.answered + RECORD_LIMIT and node in (None, m.node)]
            if not near:
                causes = []
                break
            causes.append(min(near)[1])
        if any(not m.replied for m in copies):
            causes.append("reply lost")
        if e.tries > len(e.queue_ids):
            causes.append("in doubt")
        return ", ".join(dict.fromkeys(causes))

    def assert_whole(self, allow_doubles=True):
        """Nothing lost, nothing in two states, and (with allow_doubles) no second copy without a cause."""
        wrong = self.lost + self.contradictions
        wrong += ["%s %s: %d copies, cause: %s; %s" % (i, r, n, why or "none", self._times(i, r))
                  for i, r, n, why in self.doubled if not (why and allow_doubles)]
        if wrong:
            raise AssertionError("%d wrong in the ledger (%s):\n%s" % (
                len(wrong), self.summary(), "\n".join(wrong[:20])))
        return self

    def _times(self, ledger_id, rcpt):
        """When the copies came, and what happened around them, in seconds from the first one."""
        times = sorted((m.at, m.answered, m.node) for m in self.copies[ledger_id, rcpt])
        zero = times[0][0]
        near = [(began, ended, what) for began, ended, what, _ in self.incidents
                if ended > zero - 10 and began < times[-1][1] + 1]
        return "copies at %s, incidents at %s" % (
            ["%.2f-%.2f from %s" % (a - zero, b - zero, node) for a, b, node in times],
            ["%.2f-%.2f %s" % (a - zero, b - zero, what) for a, b, what in near])

    def summary(self):
        return ", ".join("%d %s" % (n, k) for k, n in sorted(self.counts.items())) + \
            ", %d doubled" % len(self.doubled)
