#!/usr/bin/env python3
"""Rowpost in situations that a rate alone does not show: a backlog, an old snapshot, growth, idle sessions, single messages.

    scenarios.py --build DIR [--recipients N] [--seconds S] [NAME...]

Each scenario starts a relay of its own and prints its figures beside their targets. The targets are those of
docs/performance.md; a figure against the same relay's normal state is a ratio of medians of interleaved runs."""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

import jobs
import measure
import shards
import soak
import tools
from mta_rowpost import Rowpost
from stage import DEAD, DOMAINS, Figures, Probes, Stage, compare, flush_ms, median

PER_MESSAGE = 10            # recipients of a message of the backlog


# ---- backlog --------------------------------------------------------------------------------------------------------

QUEUED = "SELECT count(*) FROM mailq.deferred"


def fill(stage, recipients, domains):
    """Deferred mail for `domains` domains, whose next hop refuses the connection."""
    messages = max(1, recipients // PER_MESSAGE)
    tools.run_load(stage.args.build, stage.relay.port, sessions=50, messages=messages, recipients=PER_MESSAGE,
                   domains=domains, size=1024, deadline=1800)


def backlog(args):
    figures = Figures(f"backlog: {args.recipients} deferred recipients, 90 % of them for one dead destination")
    dead = tools.free_port()
    settings = {"smtpd_recipient_limit": "100000", "transport_maps": "texthash:{dir}/transport",
                "minimal_backoff_time": "1h", "maximal_backoff_time": "2h"}
    with Stage(args, **settings) as stage:
        before = [stage.run(domains=DOMAINS) for _ in range(args.runs)]
        stage.route(dead, [DEAD] + [f"d{i}.{DEAD}" for i in range(DOMAINS)])
        stage.relay.restart()
        fill(stage, args.recipients * 9 // 10, 1)
        fill(stage, args.recipients - args.recipients * 9 // 10, DOMAINS)
        stage.wait_number(QUEUED, lambda n: n >= args.recipients, 3600)
        stage.route(dead, [DEAD])
        stage.relay.restart()
        after = [stage.run(domains=DOMAINS) for _ in range(args.runs)]
        compare(figures, "with the backlog", before, after)
        listing(figures, stage)
        drain(figures, stage, median(before, "end_to_end_per_s"))


def listing(figures, stage):
    command = [os.path.join(os.path.dirname(stage.relay.binary()), "postqueue"), "-c", stage.relay.config, "-p"]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        peak, lines = 0, 0
        for _ in process.stdout:
            lines += 1
            if lines % 50000 == 0:
                peak = max(peak, measure.anon_kb([process.pid]))
    figures.add("postqueue -p: seconds", time.monotonic() - began, "s")
    figures.add("postqueue -p: memory at its most", peak / 1024, "MB", "<= 20", peak <= 20 * 1024)
    began = time.monotonic()
    stage.sql(f"SELECT count(*) FROM (SELECT FROM rowpost.queue WHERE domain = 'd1.{DEAD}' LIMIT 100) q")
    ms = (time.monotonic() - began) * 1000
    figures.add("one domain's mail by SQL, psql included", ms, "ms", "<= 100", ms <= 100)


def drain(figures, stage, normal):
    """The dead destination comes back: a sink on its port, then one flush of it."""
    waiting = stage.number(QUEUED)
    stage.route(stage.sink.port, [DEAD])
    stage.relay.restart()
    before = stage.sink.counts().recipients
    began = time.monotonic()
    flush = [os.path.join(os.path.dirname(stage.relay.binary()), "postqueue"), "-c", stage.relay.config, "-f"]
    subprocess.run(flush, check=True)
    stage.wait_number(QUEUED, lambda n: n == 0, 3600)
    seconds = time.monotonic() - began
    rate = (stage.sink.counts().recipients - before) / seconds
    figures.add("recipients of the backlog", waiting)
    figures.add("they come back: recipients/s", rate, "/s", f">= {0.8 * normal:.0f}", rate >= 0.8 * normal)


# ---- old snapshot ---------------------------------------------------------------------------------------------------

RING = ("SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = 'mailq' AND relkind = 'r' AND relname NOT LIKE 'history%'")


def snapshot(args):
    figures = Figures(f"old snapshot: held for {args.hold:g} s of load by another session")
    with Stage(args, ring_rotate_time="10s") as stage:
        before = [stage.run() for _ in range(args.runs)]
        size = stage.number(RING)
        holder = subprocess.Popen([stage.relay.binary(), "-c", stage.relay.config, "sql", "-qAtX"], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM mailq.ring;\n")
        holder.stdin.flush()
        holder.stdout.readline()
        try:
            runs, end = [], time.monotonic() + args.hold
            while time.monotonic() < end:
                runs.append(stage.run())
            late = runs[-args.runs:]
            compare(figures, "at its end", before, late)
            figures.add("messages meanwhile", sum(r["accepted"] for r in runs))
            figures.add("tables of the queue before", size / 1e6, "MB")
            figures.add("tables of the queue at its end", stage.number(RING) / 1e6, "MB")
        finally:
            holder.stdin.close()
            holder.wait()


# ---- growth ---------------------------------------------------------------------------------------------------------

def growth(args):
    figures = Figures("growth: cost against numbers")
    with Stage(args, smtpd_recipient_limit="60000") as stage:
        sizes = [n for n in (1000, 10000, 100000, 1000000) if n <= max(args.recipients, 10000)]
        costs = [cost_of(stage, n, 1) for n in sizes]
        for n, cost in zip(sizes, costs):
            figures.add(f"CPU per message, {n} messages in a row", cost, "ms")
        flat = costs[-1] / statistics.median(costs[1:])
        figures.add("the last against the median", flat, "x", "<= 1.1", flat <= 1.1)
        per = [cost_of(stage, messages, n) / n for messages, n in ((20000, 1), (500, 100), (1, 50000))]
        for n, cost in zip((1, 100, 50000), per):
            figures.add(f"CPU per recipient, {n} a message", cost, "ms")
        figures.add("falling with the recipients", per[2] / per[0], "x", "<= 1", max(per[1:]) <= per[0])


def cost_of(stage, messages, recipients):
    """Relay's CPU ms per message."""
    before, cpu = stage.sink.counts().recipients, stage.relay.meter.cpu_ms()
    tools.run_load(stage.args.build, stage.relay.port, sessions=min(100, messages), messages=messages,
                   recipients=recipients, size=1024, deadline=1200, timeout=120)
    deadline = time.monotonic() + 600
    while stage.sink.counts().recipients < before + messages * recipients:
        if time.monotonic() > deadline:
            sys.exit("scenarios: not all delivered")
        time.sleep(0.01)
    measure.wait_quiet(stage.relay.meter)
    return (stage.relay.meter.cpu_ms() - cpu) / messages


# ---- idle sessions, single messages ---------------------------------------------------------------------------------

def idle(args):
    sessions = 10000
    figures = Figures(f"idle: {sessions} sessions in one smtpd process, while mail flows")
    with Stage(args, smtpd_processes="1", smtpd_session_limit=str(sessions + 1000),
               smtpd_client_connection_count_limit="0") as stage:
        before = [stage.run() for _ in range(args.runs)]
        stage.relay.restart()
        smtpd = stage.relay.pids_of("smtpd")
        memory = measure.pss_kb(smtpd)
        command = tools.load_command(args.build, stage.relay.port, {
            "sessions": sessions, "idle": True, "window": 200, "deadline": 300, "hold": 3600, "timeout": 300})
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            holder.stdout.readline()
            held = (measure.pss_kb(smtpd) - memory) / 1024
            during = [stage.run() for _ in range(args.runs)]
            holder.send_signal(signal.SIGUSR1)
            holder.communicate()
        figures.add("memory of smtpd for them", held, "MB", "<= 200", held <= 200)
        compare(figures, "beside them", before, during, within=0.2)


def single(args):
    figures = Figures("single messages on an idle relay")
    with Stage(args) as stage:
        disk = flush_ms(stage.directory)
        found = jobs.latency(stage.bench, stage.relay, reuse=True, messages=500)
        to_250, to_sink = found["to_250_ms"], found["to_sink_ms"]
        figures.add("a flush of the disk, p50", disk, "ms")
        figures.add("final dot to 250, p50", to_250["p50"], "ms", f"<= {disk + 0.5:.2f}", to_250["p50"] <= disk + 0.5)
        figures.add("final dot to 250, p99", to_250["p99"], "ms")
        figures.add("250 to arrival, p50", to_sink["p50"], "ms", "<= 5", to_sink["p50"] <= 5)
        figures.add("250 to arrival, p99", to_sink["p99"], "ms", "<= 30", to_sink["p99"] <= 30)


# ---- lists ----------------------------------------------------------------------------------------------------------

LIST = 50000
DELIVERY = 0.2              # seconds that the next hop takes for a message


def lists(args):
    figures = Figures(f"lists: single messages beside one with {LIST} recipients, deliveries take {DELIVERY:g} s")
    slow = [f"stall@dot=1:{DELIVERY:g}"]
    for what in ("another destination", "the list's destination"):
        with Stage(args, rules=slow, smtpd_recipient_limit=str(LIST + 1), transport_maps="texthash:{dir}/transport") as stage:
            if what == "another destination":
                with stage.other_sink(slow) as sink:
                    beside_list(figures, what, stage, sink)
            else:
                beside_list(figures, what, stage, stage.sink)


def beside_list(figures, what, stage, sink):
    """Singles alone, then from the moment that a list is being delivered."""
    alone = jobs.percentiles(Probes(stage, sink, 10, 8).end().to_sink_ms)
    before = stage.sink.counts().recipients
    command = tools.load_command(stage.args.build, stage.relay.port, {
        "sessions": 1, "messages": 1, "recipients": LIST, "domains": DOMAINS, "size": 1024, "timeout": 300})
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sender:
        while stage.sink.counts().recipients < before + 500 and sender.poll() in (None, 0):
            time.sleep(0.05)
        beside = jobs.percentiles(Probes(stage, sink, 10, 8).end().to_sink_ms)
        done = stage.sink.counts().recipients - before
    most = 1.2 * alone["p99"]
    figures.add(f"singles to {what}: p99 alone", alone["p99"], "ms")
    figures.add(f"singles to {what}: p99 beside the list", beside["p99"], "ms", f"<= {most:.0f}", beside["p99"] <= most)
    figures.add("of the list delivered meanwhile", done / LIST, "", "< 1", done < LIST)


SCENARIOS = {f.__name__: f for f in (single, idle, growth, lists, shards.shards, snapshot, backlog, soak.soak)}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build", help="build directory with bin/ and bench/ (build)")
    p.add_argument("--recipients", type=int, default=100000, help="of the backlog, and the largest count of growth (100000)")
    p.add_argument("--runs", type=int, default=3, help="runs of which a median is taken (3)")
    p.add_argument("--seconds", type=float, default=3.0, help="accepting time of a run (3)")
    p.add_argument("--hold", type=float, default=60.0, help="seconds that the old snapshot is held (60)")
    p.add_argument("--minutes", type=float, default=3.0, help="length of the soak (3)")
    p.add_argument("--dir", default="/var/tmp", help="where queues and logs live: a real disk (/var/tmp)")
    p.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SCENARIOS))
    args = p.parse_args()
    for name in args.names:
        if name not in SCENARIOS:
            p.error(f"no scenario {name}; there are: {', '.join(SCENARIOS)}")
    Rowpost.build = args.build
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scenarios: told to stop"))    # and so to stop what runs
    if os.geteuid() != 0:
        sys.exit("scenarios: relays are started as root")
    for name in args.names or SCENARIOS:
        SCENARIOS[name](args)


if __name__ == "__main__":
    main()
