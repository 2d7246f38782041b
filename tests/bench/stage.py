"""What the scenarios stand on: a relay with its sink, and the figures that they print."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager

import cells
import jobs
import ledger
import tools
from mta_rowpost import Rowpost

CELL = cells.Cell(1024, 100, True)
DEAD = "example.net"        # where load sends with --domains 1; with more, d0.example.net, d1.example.net, ...
DOMAINS = 10


class Figures:
    """What a scenario found, printed as it comes."""

    def __init__(self, scenario):
        self.rows = []
        print(f"\n{scenario}\n{'figure':<66} {'measured':>14} {'target':>14}")

    def add(self, what, value, unit="", target=None, good=None):
        """target: text; good: whether it is reached."""
        verdict = "" if good is None else "reached" if good else "NOT REACHED"
        self.rows.append({"figure": what, "value": value, "unit": unit, "target": target, "reached": good})
        print(f"{what:<66} {f'{value:.4g} {unit}'.strip():>14} {target or '':>14} {verdict}", flush=True)


class Stage:
    """A relay, a sink, and the directory of both."""

    def __init__(self, args, rules=(), ledger=True, relay=Rowpost, **settings):
        """settings: more of main.cf; {dir} stands for the directory. rules, ledger: the sink's. Without a ledger no run()."""
        self.args, self.ledger = args, ledger
        self.directory = tempfile.mkdtemp(prefix="rowpost-scenario-", dir=args.dir)
        os.chmod(self.directory, 0o755)
        self.sink = tools.Sink(args.build, self.directory, rules=rules, ledger=ledger)
        settings = {name: value.format(dir=self.directory) for name, value in settings.items()}
        self.routes = os.path.join(self.directory, "transport")
        self.route(0, [])
        self.relay = relay(self.directory, self.sink.port, settings)
        self.bench = jobs.Bench(args.build, self.directory, self.sink, drain_limit=120)

    def __enter__(self):
        self.relay.start()
        if self.ledger:
            jobs.throughput(self.bench, self.relay, cells.Cell(10240, 20, True), 0.5)
        return self

    def __exit__(self, *exc):
        self.relay.stop()
        self.sink.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, seconds=None, **options):
        """One run of the usual cell: {accepted_per_s, end_to_end_per_s, relay_cpu_ms, ...}"""
        cell = cells.Cell(options.pop("size", CELL.size), options.pop("sessions", CELL.sessions), True)
        run = jobs.throughput(self.bench, self.relay, cell, seconds or self.args.seconds, **options)
        lost = {key: n for key, n in run["ledger"].items() if n}
        if lost:
            sys.exit(f"scenarios: the ledger is not whole: {lost}")
        return run

    def route(self, port, domains):
        """Mail for the domains goes to that port of 127.0.0.1; takes effect with the next start."""
        with open(self.routes, "w", encoding="utf-8") as f:
            f.writelines(f"{domain} smtp:[127.0.0.1]:{port}\n" for domain in domains)

    @contextmanager
    def other_sink(self, rules=()):
        """A sink for example.net, with a ledger of its own; before the relay has looked that domain up."""
        directory = os.path.join(self.directory, "other")
        os.mkdir(directory)
        sink = tools.Sink(self.args.build, directory, rules=rules)
        self.route(sink.port, [DEAD])
        try:
            yield sink
        finally:
            sink.stop()

    def sql(self, query):
        """Rows of one column, as text."""
        command = [self.relay.binary(), "-c", self.relay.config, "sql", "-qAtX", "-c", query]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()

    def number(self, query):
        return float(self.sql(query)[0])

    def wait_number(self, query, condition, limit):
        deadline = time.monotonic() + limit
        while not condition(value := self.number(query)):
            if time.monotonic() > deadline:
                sys.exit(f"scenarios: {value:g} after {limit:g} s: {query}")
            time.sleep(0.2)


class Probes:
    """Single messages to example.net at a steady pace, each timed from its 250 to its arrival at `sink`."""

    def __init__(self, stage, sink, rate, seconds):
        self.stage, self.sink = stage, sink
        self.to_sink_ms, self.accepted, self.trouble = [], 0, None
        self.options = {"rate": rate, "seconds": seconds, "deadline": seconds + 60}
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        path = os.path.join(self.stage.directory, "probe.ledger")
        load = tools.run_load(self.stage.args.build, self.stage.relay.port, sessions=2, size=1024, ledger=path, **self.options)
        self.accepted = load["accepted"]
        with open(path, encoding="utf-8") as f:
            sent = {a.id: a.reply_ns for a in ledger.parse_attempts(f) if a.outcome == "accepted"}
        deadline = time.monotonic() + 60
        while sent and time.monotonic() < deadline:
            for arrival in ledger.parse_arrivals(self.sink.new_ledger_lines(1)):
                if arrival.id in sent:
                    self.to_sink_ms.append((arrival.ns - sent.pop(arrival.id)) / 1e6)
        if sent:
            self.trouble = f"{len(sent)} single messages did not arrive"

    def end(self):
        self.thread.join()
        if self.trouble:
            sys.exit("scenarios: " + self.trouble)
        return self


def median(runs, figure):
    return statistics.median(run[figure] for run in runs)


def compare(figures, what, before, after, within=0.1):
    """Rates of both kinds in `after` against those in `before`."""
    for figure, name in (("accepted_per_s", "accepted/s"), ("end_to_end_per_s", "end to end/s")):
        ratio = median(after, figure) / median(before, figure)
        figures.add(f"{what}: {name}, against before", ratio, "x", f">= {1 - within:g}", ratio >= 1 - within)
    cpu = median(after, "relay_cpu_ms") / median(before, "relay_cpu_ms")
    figures.add(f"{what}: CPU per message, against before", cpu, "x")


def flush_ms(directory):
    """Median of one small write and its flush to this disk."""
    times = []
    with open(os.path.join(directory, "flush"), "wb", buffering=0) as f:
        for _ in range(200):
            began = time.monotonic()
            f.write(b"x" * 4096)
            os.fdatasync(f.fileno())
            times.append((time.monotonic() - began) * 1000)
    return statistics.median(times)
