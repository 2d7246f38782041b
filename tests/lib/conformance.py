"""Runs a conformance suite against Rowpost and against the suite's list of cases that do not pass yet.

Used by tests/conformance/run.py and tests/conformance-dns/run.py. The list (not-yet.txt, one TOPIC/NAME a line,
sorted) may only shrink: a case that fails and is not on it is a regression and fails the run; one that passes and
is on it is named, to be taken off (--update). --init writes the list anew, for the first commit.
"""
import argparse
import json
import os
import sys
import time

import jobs
import pgtest
import report
import schema

# (idle, reply, connect, whole case) in seconds. A case that is known not to pass gets little time to fail in;
# one that needs more than this to pass stays on the list.
LIMITS = (25.0, 12.0, 10.0, 90.0)
LISTED_LIMITS = (4.0, 3.0, 2.0, 15.0)
# So few failures may be the load of the machine: they are run once more, alone, and named.
AGAIN_MOST = 12


class Suite:
    """name: of the count file; here: its directory; driver: its driver module; limits, listed_limits as above.

    prepare(opts) is called once, before the cases; run_case(case, slot, opts) runs in a process of its own and
    gives the driver's result; clean(opts) is called at the end."""

    def __init__(self, name, here, driver, run_case, prepare, clean, limits=LIMITS,
                 listed_limits=LISTED_LIMITS):
        self.name, self.here, self.driver = name, here, driver
        self.run_case, self.prepare, self.clean = run_case, prepare, clean
        self.limits, self.listed_limits = limits, listed_limits

    @property
    def list_file(self):
        return os.path.join(self.here, "not-yet.txt")


def key(case):
    return case["topic"] + "/" + case["name"]


def read_names(path):
    with open(path) as f:
        return [ln.strip() for ln in f if ln.strip() and not ln.startswith("#")]


def write_names(path, names):
    with open(path, "w") as f:
        f.writelines(n + "\n" for n in sorted(names))


def options(suite):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--mta", default="rowpost", choices=sorted(suite.driver.ADAPTERS))
    ap.add_argument("--bin", default=os.path.join(os.environ.get("BUILD", "build"), "bin"),
                    help="directory of Rowpost's programs (default $BUILD/bin)")
    ap.add_argument("--jobs", "-j", type=int, default=jobs.default_slots())
    ap.add_argument("--only", help="regular expression on TOPIC/NAME")
    ap.add_argument("--topic", help="TOPIC,TOPIC...")
    ap.add_argument("--set", help="only the cases named in this file")
    ap.add_argument("--name", default=suite.name, help="name of the count file")
    ap.add_argument("--update", action="store_true", help="take cases that pass off the list")
    ap.add_argument("--init", action="store_true", help="write the list anew: what fails now")
    ap.add_argument("--keep", action="store_true", help="keep the cases' directories")
    ap.add_argument("--keep-log", action="store_true", help="with -v, print the mail log of failed cases")
    ap.add_argument("--verbose", "-v", action="store_true", help="every case and its differences")
    opts = ap.parse_args()
    opts.cases = os.path.join(suite.here, "cases")
    opts.golden = os.path.join(suite.here, "golden")
    opts.split = None
    opts.port_base = 20000
    return opts


def main(suite):
    opts = options(suite)
    if os.geteuid() != 0:
        sys.exit("must run as root: deliveries change user ids")
    cases = suite.driver.load_cases(opts)
    known = {key(c) for c in cases}
    if opts.set:
        wanted = set(read_names(opts.set))
        if wanted - known:
            sys.exit("%s: no such case: %s" % (opts.set, ", ".join(sorted(wanted - known))))
        cases = [c for c in cases if key(c) in wanted]
    if not cases:
        sys.exit("no case to run")
    listed = set() if opts.init or opts.mta == "postfix" else set(read_names(suite.list_file))
    if not (opts.only or opts.topic or opts.set) and listed - known:
        sys.exit("%s: no such case: %s" % (suite.list_file, ", ".join(sorted(listed - known))))
    began = time.monotonic()
    if opts.mta == "rowpost":
        opts.bin = os.path.abspath(opts.bin)
        if not os.access(os.path.join(opts.bin, "rowpost"), os.X_OK):
            sys.exit("no rowpost in %s: build it first" % opts.bin)
        os.environ["ROWPOST_BIN"] = opts.bin
        with pgtest.Cluster(settings={"autovacuum": "off"}) as pg:
            os.environ["ROWPOST_TEST_DB"] = pg.uri()
            template, trouble = schema.make_template(opts.bin, pg)
            if template:
                os.environ["ROWPOST_TEST_TEMPLATE"] = template
            else:
                print("rowpost schema failed, so will every case: " + trouble)
            verdicts, seconds = run_cases(suite, cases, listed, opts)
    else:
        verdicts, seconds = run_cases(suite, cases, listed, opts)
    return conclude(suite, cases, listed, verdicts, seconds, time.monotonic() - began, opts)


def run_cases(suite, cases, listed, opts):
    """Verdict and seconds of each case, by key."""
    golden = suite.driver.load_golden(opts)
    verdicts, seconds = {}, {}

    def work(job, slot):
        idle, reply, connect, whole = suite.listed_limits if job.name in listed else suite.limits
        suite.driver.set_limits(idle, reply, connect)
        opts.limits = [idle, reply, connect, whole]
        result = suite.run_case(job.data, slot, opts)
        verdict = suite.driver.judge(golden[job.name], result)
        verdict["log"] = result.get("_maillog", "")
        return verdict

    def done(job, result, spent):
        if "error" in result:
            result = {"l1": False, "l2": False, "diff": [result["error"]], "trace": result.get("trace", "")}
        verdicts[job.name] = result
        seconds[job.name] = round(spent, 2)
        tell(job.name, result, spent, job.name in listed, opts)

    def job_of(case):
        limit = (suite.listed_limits if key(case) in listed else suite.limits)[3]
        return jobs.Job(key(case), case, limit, "home" if case.get("home") is not None else None)

    suite.prepare(opts)
    try:
        # What waits longest goes first, so that the end is not one slow case.
        jobs.run(map(job_of, sorted(cases, key=lambda c: key(c) in listed)), opts.jobs, work, done)
        failed = [c for c in cases if not verdicts[key(c)]["l1"] and key(c) not in listed]
        if 0 < len(failed) <= AGAIN_MOST and not opts.init:
            first = {key(c): verdicts[key(c)] for c in failed}
            print("once more, alone:")
            jobs.run(map(job_of, failed), 1, work, done)
            for k, v in first.items():
                if verdicts[k]["l1"]:
                    print("UNSTEADY %s: failed first: %s" % (k, "; ".join(map(str, v["diff"][:3]))))
    finally:
        suite.clean(opts)
    return verdicts, seconds


def tell(name, verdict, spent, is_listed, opts):
    """A line for what is news; everything with -v."""
    ok = verdict["l1"]
    if ok and is_listed:
        print("PASSES   %s %.1fs (on the list)" % (name, spent))
    elif not ok and not is_listed and not opts.init:
        print("FAIL     %s %.1fs" % (name, spent))
    elif opts.verbose:
        print("%-8s %s %.1fs" % ("ok" if ok else "not yet", name, spent))
    if not ok and (opts.verbose or not is_listed and not opts.init):
        for d in verdict["diff"][:12]:
            print("         ", d)
        if verdict.get("trace"):
            print("          " + "\n          ".join(verdict["trace"].splitlines()[-12:]))
        if opts.keep_log:
            print(verdict["log"])
    sys.stdout.flush()


def conclude(suite, cases, listed, verdicts, seconds, spent, opts):
    passing = {k for k, v in verdicts.items() if v["l1"]}
    topics = {}
    for c in cases:
        t = topics.setdefault(c["topic"], [0, 0, 0])
        t[0] += 1
        t[1] += verdicts[key(c)]["l1"]
        t[2] += verdicts[key(c)]["l2"]
    print("%-20s %5s %7s %7s" % ("topic", "cases", "level 1", "level 2"))
    for t in sorted(topics):
        print("%-20s %5d %7d %7d" % ((t,) + tuple(topics[t])))
    d = os.path.join(os.environ.get("BUILD", "build"), "report")
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, opts.name + ".json"), "w") as f:
        json.dump({k: dict(v, seconds=seconds[k], log="") for k, v in verdicts.items()}, f, indent=1,
                  sort_keys=True)
    failed = set(verdicts) - passing - listed
    off = passing & listed
    if opts.init:
        write_names(suite.list_file, failed)
        print("wrote %s: %d cases" % (suite.list_file, len(failed)))
        failed = set()
    if opts.update and off:
        write_names(suite.list_file, listed - off)
        print("took %d off %s: %d left" % (len(off), suite.list_file, len(listed - off)))
        off = set()
    if off:
        print("%d cases pass and are on the list: take them off it (--update)" % len(off))
    if failed:
        print("%d cases fail and are not on the list" % len(failed))
    report.write_count(opts.name, len(passing), len(failed))
    print("%s: %d pass, %d not yet, %d wrong, of %d (%.0f s)" % (
        opts.name, len(passing), len(set(verdicts) & listed - passing), len(failed),
        len(verdicts), spent))
    return 1 if failed else 0
