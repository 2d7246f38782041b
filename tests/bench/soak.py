"""The soak: hours of ordinary life in small. Steady load below the peak with deferrals, bounces and rotation, while memory,
descriptors, tables and the time to a claim are watched; they have to stay where they were. At its end every accepted message
has one end in the history, and what the history calls sent is what the sinks took."""

import os
import statistics
import threading

import jobs
import measure
import tools
from stage import DOMAINS, Figures, Probes, Stage, median

SHARE = 0.7                 # of the peak rate
PROBES = 20                 # single messages a second whose way is timed
RULES = ("451@rcpt=0.01", "550@rcpt=0.005")
FIRST = 4                   # windows until caches and pools are filled, at least
PROGRAMS = ("master", "smtpd", "qmgr", "smtp", "postgres")
TABLE_SIZES = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND "
QUEUE = TABLE_SIZES + "nspname = 'mailq' AND relname NOT LIKE 'history%'"
CATALOG = TABLE_SIZES + "nspname = 'pg_catalog'"
HISTORY = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('mailq.history')"
ENDS = "SELECT count(*) FROM mailq.history WHERE sender ~ '^s[0-9]+@example.com$'"
SENT = "SELECT count(*) FROM mailq.history WHERE outcome = 'sent'"


def count_descriptors(pids):
    total = 0
    for pid in pids:
        try:
            total += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            pass  # it has just ended
    return total


def look(stage):
    """What is watched, at this moment."""
    found = {}
    for program in PROGRAMS:
        pids = stage.relay.pids_of(program)
        found[f"memory of {program}, MB"] = measure.pss_kb(pids, ("Pss_Anon:",)) / 1024
        if program != "postgres":
            found[f"descriptors of {program}"] = count_descriptors(pids)
    found["tables of the catalog, MB"] = stage.number(CATALOG) / 1e6
    return found


class QueueSize:
    """The tables of the queue at their largest: they fill and are emptied in turns of half a minute."""

    def __init__(self, stage):
        self.stage, self.peak = stage, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while not self.stopped.wait(3):
            self.peak = max(self.peak, self.stage.number(QUEUE))

    def end(self):
        self.stopped.set()
        self.thread.join()
        return self.peak


def bulk(stage, seconds, rate=None):
    return tools.run_load(stage.args.build, stage.relay.port, sessions=100, rate=rate, seconds=seconds, size=1024,
                          domains=DOMAINS, deadline=seconds + 60)


def window(stage, probe_sink, rate, seconds):
    """One stretch of load; its figures."""
    probes, size = Probes(stage, probe_sink, PROBES, seconds), QueueSize(stage)
    cpu, history = stage.relay.meter.cpu_ms(), stage.number(HISTORY)
    load = bulk(stage, seconds, rate)
    probes.end()
    found = look(stage) | {"tables of the queue, MB": size.end() / 1e6}
    times = jobs.percentiles(probes.to_sink_ms)
    accepted = load["accepted"] + probes.accepted
    found |= {
        "accepted": accepted, "rate": load["rate"],
        "CPU per message, ms": (stage.relay.meter.cpu_ms() - cpu) / accepted,
        "history per message, bytes": (stage.number(HISTORY) - history) / accepted,
        "250 to arrival p50, ms": times["p50"], "250 to arrival p99, ms": times["p99"],
        "not accepted": load["refused_4xx"] + load["refused_5xx"] + load["failed"] + load["in_doubt"],
    }
    os.truncate(stage.relay.log, 0)
    return found


def report(figures, windows):
    """The last third against the first, without what only fills caches. A process may move within 2 MB, times within 5 ms."""
    steady = windows[min(FIRST, len(windows) // 4):]
    third = max(1, len(steady) // 3)
    for name in steady[0]:
        if name in ("accepted", "not accepted", "rate"):
            continue
        first = statistics.median(w[name] for w in steady[:third])
        last = statistics.median(w[name] for w in steady[-third:])
        slack = 5 if name.endswith("ms") and "arrival" in name else 2
        flat = last <= 1.1 * first + (0 if "bytes" in name or "CPU" in name else slack)
        figures.add(f"{name}: first third", first)
        figures.add(f"{name}: last third", last, target="flat", good=flat)


def account(figures, stage, accepted, probe_sink):
    """Every accepted message ended once; what was sent has arrived."""
    stage.wait_number("SELECT count(*) FROM rowpost.queue", lambda n: n == 0, 600)
    figures.add("accepted", accepted)
    ends = stage.number(ENDS)
    figures.add("of these with their end in the history", ends, "", "all", ends == accepted)
    sent, taken = stage.number(SENT), stage.sink.counts().messages + probe_sink.counts().messages
    figures.add("sent, reports of failure too", sent)
    figures.add("taken by the sinks", taken, "", "as many", taken == sent)


def watch(figures, stage, probe_sink):
    peaks = [bulk(stage, stage.args.seconds) for _ in range(stage.args.runs)]
    rate = int(SHARE * median(peaks, "rate"))
    figures.add("peak: accepted", rate / SHARE, "/s")
    windows = []
    for minute in range(1, round(stage.args.minutes) + 1):
        windows.append(window(stage, probe_sink, rate, 60))
        print(f"  minute {minute}: " + ", ".join(f"{name} {value:.4g}" for name, value in windows[-1].items()), flush=True)
    kept, refused = median(windows, "rate") / rate, sum(w["not accepted"] for w in windows)
    figures.add("rate, against that asked for", kept, "x", ">= 0.95", kept >= 0.95)
    figures.add("not accepted", refused, "", "0", refused == 0)
    report(figures, windows)
    account(figures, stage, sum(run["accepted"] for run in peaks + windows), probe_sink)


def soak(args):
    figures = Figures(f"soak: {args.minutes:g} minutes at {SHARE:.0%} of the peak, {' and '.join(RULES)} at the next hop")
    stage = Stage(args, rules=RULES, ledger=False, transport_maps="texthash:{dir}/transport", minimal_backoff_time="60s",
                  queue_run_delay="30s")
    with stage, stage.other_sink() as probe_sink:
        watch(figures, stage, probe_sink)
