"""Compares what a client was promised (load's ledger) with what arrived (the sink's): the benchmark's honesty check.

load:  outcome id queue-id recipients body-bytes dot-ns reply-ns
sink:  id body-bytes arrival-ns recipient[,recipient...]
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Attempt:
    outcome: str
    id: str
    queue_id: str
    recipients: int
    body_bytes: int
    dot_ns: int
    reply_ns: int


@dataclass
class Arrival:
    id: str
    body_bytes: int
    ns: int
    recipients: list


@dataclass
class Comparison:
    accepted: int = 0
    missing: list = field(default_factory=list)     # ids accepted, some recipient not delivered
    duplicates: list = field(default_factory=list)  # ids with a recipient delivered more than once
    altered: list = field(default_factory=list)     # ids whose body has another length
    unpromised: list = field(default_factory=list)  # ids delivered that were not accepted (in doubt is allowed)

    def ok(self):
        return not (self.missing or self.duplicates or self.altered or self.unpromised)


def parse_attempts(lines):
    attempts = []
    for line in lines:
        outcome, ident, queue_id, *numbers = line.split()
        attempts.append(Attempt(outcome, ident, queue_id, *map(int, numbers)))
    return attempts


def parse_arrivals(lines):
    arrivals = []
    for line in lines:
        ident, body_bytes, ns, recipients = line.split(" ")
        arrivals.append(Arrival(ident, int(body_bytes), int(ns), recipients.split(",")))
    return arrivals


def compare(attempts, arrivals):
    """A message that was retried (load --retry) counts as accepted if one of its attempts was."""
    result = Comparison()
    accepted = {a.id: a for a in attempts if a.outcome == "accepted"}
    in_doubt = {a.id for a in attempts if a.outcome == "in_doubt"}
    delivered = defaultdict(Counter)
    result.accepted = len(accepted)
    for arrival in arrivals:
        delivered[arrival.id].update(arrival.recipients)
        promise = accepted.get(arrival.id)
        if promise and promise.body_bytes != arrival.body_bytes:
            result.altered.append(arrival.id)
    for ident, promise in accepted.items():
        if len(delivered[ident]) < promise.recipients:
            result.missing.append(ident)
    for ident, counts in delivered.items():
        if counts and max(counts.values()) > 1 and ident not in in_doubt:
            result.duplicates.append(ident)
        if counts and ident not in accepted and ident not in in_doubt:
            result.unpromised.append(ident)
    return result
