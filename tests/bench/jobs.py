"""One measured run of one relay: a throughput job, a latency job or idle sessions. Each returns a plain dict."""

import json
import os
import signal
import subprocess
import time
from contextlib import nullcontext

import ledger
import measure
import tools

CORES = os.cpu_count()


class Direct:
    """No relay: load straight into the sink. The ceiling that the tools themselves set."""

    name = "(no relay)"
    meter = None

    def __init__(self, sink):
        self.port = sink.port


class Bench:
    """The tools of a benchmark: where the programs are, the running sink, a directory for ledgers."""

    def __init__(self, build, directory, sink, drain_limit):
        self.build = build
        self.directory = directory
        self.sink = sink
        self.drain_limit = drain_limit
        self.runs = 0

    def new_run_id(self):
        self.runs += 1
        return f"b{os.getpid()}.{self.runs}"

    def load_ledger(self):
        return os.path.join(self.directory, "load.ledger")


def relay_cpu_ms(mta):
    return mta.meter.cpu_ms() if mta.meter else 0.0


def check_ledgers(bench, run_id, arrived):
    """Accepted against delivered, by message. Arrivals of earlier runs that came late are theirs, not ours."""
    with open(bench.load_ledger(), encoding="utf-8") as f:
        attempts = ledger.parse_attempts(f)
    arrivals = [a for a in ledger.parse_arrivals(bench.sink.new_ledger_lines(arrived))
                if a.id.startswith(run_id + "-")]
    return attempts, arrivals, ledger.compare(attempts, arrivals)


def comparison_counts(comparison):
    return {key: len(getattr(comparison, key)) for key in ("missing", "duplicates", "altered", "unpromised")}


def run_measured(bench, mta, **load_options):
    """Load, drain, settle. Returns (load's figures, sink counts before and after, relay CPU ms, peak MB)."""
    before, cpu_before = bench.sink.counts(), relay_cpu_ms(mta)
    sampler = measure.MemorySampler(mta.meter) if mta.meter else None
    with sampler or nullcontext():
        load = tools.run_load(bench.build, mta.port, ledger=bench.load_ledger(), **load_options)
        bench.sink.wait_messages(before.messages + load["accepted"], bench.drain_limit)
        if mta.meter:
            measure.wait_quiet(mta.meter)
    cpu_ms = relay_cpu_ms(mta) - cpu_before
    memory_mb = sampler.peak_mb() if sampler else 0.0
    return load, before, bench.sink.counts(), cpu_ms, memory_mb


def throughput(bench, mta, cell, seconds, **options):
    """One cell for `seconds` of accepting, then until all is delivered. options: more of load's."""
    run_id = bench.new_run_id()
    load, before, after, cpu_ms, memory_mb = run_measured(
        bench, mta, run_id=run_id, sessions=cell.sessions, size=cell.size, seconds=seconds, new=not cell.reuse,
        deadline=seconds + 60, **options)
    delivered = after.messages - before.messages
    comparison = check_ledgers(bench, run_id, delivered)[2]
    end_to_end = delivered / ((after.last_ns - load["start_ns"]) / 1e9) if delivered else 0.0
    tools_ms = (load["cpu_ms"] + after.cpu_ms - before.cpu_ms) / max(1, delivered)
    relay_ms = cpu_ms / max(1, delivered)
    return {
        "seconds": seconds,
        "accepted": load["accepted"], "delivered": delivered,
        "not_accepted": load["refused_4xx"] + load["refused_5xx"] + load["failed"] + load["in_doubt"],
        "accepted_per_s": load["rate"], "end_to_end_per_s": end_to_end,
        "relay_cpu_ms": relay_ms, "tools_cpu_ms": tools_ms,
        "share_of_cores": end_to_end * (relay_ms + tools_ms) / (1000 * CORES),
        "memory_mb": memory_mb, "latency_ms": load["latency_ms"], "pipelined": load["pipelined"],
        "ledger": comparison_counts(comparison), "load": load,
    }


def percentiles(values):
    if not values:
        return {}
    values = sorted(values)
    pick = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
    return {name: values[min(len(values) - 1, int(len(values) * share))] for name, share in pick.items()} | {
        "max": values[-1]}


def latency(bench, mta, *, reuse, messages=150, size=4096, rate=50):
    """Single messages, one after the other: end of DATA to 250, and 250 to the sink's 250 for it."""
    run_id = bench.new_run_id()
    load, before, after, _, _ = run_measured(
        bench, mta, run_id=run_id, sessions=1, size=size, messages=messages, rate=rate, new=not reuse, deadline=60)
    attempts, arrivals, comparison = check_ledgers(bench, run_id, after.messages - before.messages)
    replied = {a.id: a.reply_ns for a in attempts if a.outcome == "accepted"}
    to_sink = [(a.ns - replied[a.id]) / 1e6 for a in arrivals if a.id in replied]
    return {
        "reuse": reuse, "messages": load["accepted"],
        "to_250_ms": load["latency_ms"], "to_sink_ms": percentiles(to_sink),
        "ledger": comparison_counts(comparison),
    }


def idle(bench, mta, sessions, *, limit=20, hold=2.0):
    """Hold sessions after EHLO: how many are served, at what memory; NOOP on each at the end. A fresh start first, so
    that no process of an earlier run is there to be used again."""
    mta.restart()
    memory_before = measure.pss_kb(mta.meter.pids())
    command = tools.load_command(bench.build, mta.port, {
        "sessions": sessions, "idle": True, "window": 100, "deadline": limit, "hold": 3600, "timeout": limit})
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        measure.wait_quiet(mta.meter)
        memory = measure.pss_kb(mta.meter.pids())
        cpu_before = mta.meter.cpu_ms()
        time.sleep(hold)
        idle_cpu_ms = (mta.meter.cpu_ms() - cpu_before) / hold
        process.send_signal(signal.SIGUSR1)
        done = json.loads(process.stdout.readline())
    held = ready["ready"]
    return {
        "sessions": sessions, "held": held, "seconds_to_ready": ready["seconds"],
        "memory_mb": memory / 1024, "memory_before_mb": memory_before / 1024,
        "kb_per_session": (memory - memory_before) / held if held else 0.0,
        "cpu_ms_per_s": idle_cpu_ms, "noops_answered": done["noops_answered"],
    }
