#!/usr/bin/env python3
"""Rowpost beside Debian's Postfix on the same relay job: SMTP in, durable queue, SMTP out to a counting sink.

All relays run side by side (idle ones cost next to nothing) and take turns within each cell, so that a slow minute of
the machine hits all of them; figures are medians, ratios are medians over the turns. tests/bench/README.md says how
each figure is taken.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time

import cells
import jobs
import mta_postfix
import report
import targets
import tools
from mta_rowpost import Rowpost

OURS = Rowpost.name
STOP_SECONDS = 5     # for all relays
LATENCY_SECONDS = 8  # for each relay
OTHERS = (mta_postfix.PostfixTuned.name, mta_postfix.PostfixShipped.name)


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build", help="build directory with bin/ and bench/ (build)")
    p.add_argument("--quick", action="store_true", help="two cells, under a minute")
    p.add_argument("--cells", type=cells.parse, help="KB:SESSIONS:reuse|new,... instead of the whole grid")
    p.add_argument("--relays", default="postfix,postfix-tuned,rowpost", help="which relays, in turn order")
    p.add_argument("--runs", type=int, default=3, help="turns per cell (3)")
    p.add_argument("--seconds", type=float, help="accepting time of a run (default: from --budget)")
    p.add_argument("--budget", type=float, help="seconds for the whole benchmark (570, quick: 52)")
    p.add_argument("--no-latency", action="store_true", help="leave out the latency of single messages")
    p.add_argument("--idle", type=int, help="also hold this many idle sessions")
    p.add_argument("--dir", default="/var/tmp", help="where queues and logs live: a real disk (/var/tmp)")
    p.add_argument("--keep", action="store_true", help="keep the relays' directories")
    args = p.parse_args()
    args.cells = args.cells or (cells.quick() if args.quick else cells.full())
    args.budget = args.budget or (52 if args.quick else 570)
    args.latency = not args.no_latency and not args.quick
    args.started = time.monotonic()
    return args


def filesystem_type(path):
    path = os.path.realpath(path)
    best = ("", "")
    with open("/proc/self/mounts", encoding="utf-8") as f:
        for line in f:
            point, kind = line.split()[1:3]
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, kind)
    return best[1]


def choose_relays(wanted):
    """The relay classes that can run here; says which cannot."""
    known = {c.name: c for c in (mta_postfix.PostfixShipped, mta_postfix.PostfixTuned, Rowpost)}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"bench: no relay \"{unknown[0]}\"; known: {', '.join(known)}")
    chosen = []
    for name in wanted:
        if name == Rowpost.name and not Rowpost.available():
            print(f"rowpost is left out: no {Rowpost.binary()} or no conf/master.cf")
        elif name != Rowpost.name and not mta_postfix.install():
            print(f"{name} is left out: Debian's postfix is not installed and cannot be")
        else:
            chosen.append(known[name])
    return chosen


class Clock:
    """Divides the time that is left among the runs that are left."""

    def __init__(self, end, total_runs, fixed_seconds):
        self.end = end
        self.left = total_runs
        self.fixed = fixed_seconds
        self.stretch = 2.0  # wall time of a run by its accepting time: draining, settling

    def seconds(self):
        if self.fixed:
            return self.fixed
        share = (self.end - time.monotonic()) / max(1, self.left)
        return min(10.0, max(0.5, share / self.stretch))

    def ran(self, seconds, wall):
        self.left -= 1
        self.stretch += 0.1 * (wall / seconds - self.stretch)


def warm_up(bench, mta):
    """Processes forked, plans cached, files created: what a relay that has been up for a while has behind it."""
    jobs.throughput(bench, mta, cells.Cell(10240, 20, True), 0.5)


def run_cell(bench, relays, cell, runs, clock):
    """{relay: [run, ...]}, the relays taking turns."""
    results = {mta.name: [] for mta in relays}
    for _ in range(runs):
        seconds = clock.seconds()
        for mta in relays:
            started = time.monotonic()
            results[mta.name].append(jobs.throughput(bench, mta, cell, seconds))
            clock.ran(seconds, time.monotonic() - started)
    return results


def run_cells(bench, relays, args):
    direct = jobs.Direct(bench.sink)
    reserve = STOP_SECONDS + (LATENCY_SECONDS * len(relays) if args.latency else 0)
    clock = Clock(args.started + args.budget - reserve, len(args.cells) * len(relays) * args.runs, args.seconds)
    results = []
    for cell in args.cells:
        by_relay = run_cell(bench, relays, cell, args.runs, clock)
        by_relay[direct.name] = [jobs.throughput(bench, direct, cell, 0.3)]
        rows = {name: report.median_run(runs) for name, runs in by_relay.items()}
        found = report.ratios(by_relay, OURS, OTHERS)
        report.print_cell(cell.name(), rows, found, OURS)
        results.append({"cell": vars(cell), "medians": rows, "ratios": found, "runs": by_relay})
    return results


def run_latency(bench, relays):
    results = [(mta.name, jobs.latency(bench, mta, reuse=reuse)) for reuse in (False, True) for mta in relays]
    report.print_latency(results)
    return [{"relay": name} | result for name, result in results]


def run_idle(bench, relays, sessions):
    results = [(mta.name, jobs.idle(bench, mta, sessions)) for mta in relays]
    report.print_idle(results)
    return [{"relay": name} | result for name, result in results]


def run_all(bench, relays, args):
    result = {
        "cores": jobs.CORES, "kernel": os.uname().release, "filesystem": filesystem_type(args.dir),
        "cpu_by": relays[0].meter.kind, "relays": {mta.name: mta.version() for mta in relays},
    }
    for mta in relays:
        warm_up(bench, mta)
    result["cells"] = run_cells(bench, relays, args)
    if args.latency:
        result["latency"] = run_latency(bench, relays)
    if args.idle:
        result["idle"] = run_idle(bench, relays, args.idle)
    result["targets"] = targets.judge(result, OURS, OTHERS[0], args.dir)
    return result


def lost_any(result):
    """Whether any run lost, doubled or altered a message: then no figure counts."""
    runs = [run for cell in result["cells"] for runs in cell["runs"].values() for run in runs]
    return any(count for run in runs for count in run["ledger"].values())


def bench_in(directory, args):
    classes = choose_relays(args.relays.split(","))
    if not classes:
        sys.exit("bench: no relay to run")
    sink = tools.Sink(args.build, directory)
    relays = [c(directory, sink.port) for c in classes]
    try:
        for mta in relays:
            mta.start()
        bench = jobs.Bench(args.build, directory, sink, drain_limit=60)
        return run_all(bench, relays, args)
    finally:
        for mta in relays:
            mta.stop()
        sink.stop()


def main():
    args = parse_args()
    Rowpost.build = args.build
    if os.geteuid() != 0:
        sys.exit("bench: relays are started as root")
    if filesystem_type(args.dir) in ("tmpfs", "ramfs"):
        sys.exit(f"bench: {args.dir} is not on a disk; fsync would cost nothing there (--dir)")
    directory = tempfile.mkdtemp(prefix="rowpost-bench-", dir=args.dir)
    os.chmod(directory, 0o755)
    try:
        result = bench_in(directory, args)
    finally:
        if args.keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    path = report.write_json(os.path.join(args.build, "bench"), result)
    print(f"\n{time.monotonic() - args.started:.0f} s; all runs: {path}")
    if lost_any(result):
        sys.exit("bench: messages were lost, doubled or altered (see the remarks)")


if __name__ == "__main__":
    main()
