"""Runs a conformance suite against Rowpost and against the suite's two lists of exceptions.

Used by tests/conformance/run.py and tests/conformance-dns/run.py. Both lists may only shrink:
  not-yet.txt            cases that do not pass yet (level 1), one TOPIC/NAME a line, sorted. A case that fails and is
                         not on it is a regression and fails the run; one that passes and is on it is named.
  level2-exceptions.txt  "TOPIC/NAME  reason", grouped under comments: cases that pass, with texts, log lines or an order
                         of commands that differ. One that differs and is not on it fails the run; so does one that is
                         on it and agrees, unless its reason begins with "varies:".
--update takes off both what need not be there; --record runs the cases with the Postfix of this system and keeps what
it does as the recording (for cases of our own); --init writes not-yet.txt anew, for the first commit.
"""
import argparse
import json
import os
import subprocess
import sys
import time

import jobs
import pgtest
import report
import schema
from deadline import STRETCH

# (idle, reply, connect, whole case) in seconds. A case that is known not to pass gets little time to fail in;
# one that needs more than this to pass stays on the list.
LIMITS = tuple(limit * STRETCH for limit in (25.0, 12.0, 10.0, 90.0))
LISTED_LIMITS = (4.0, 3.0, 2.0, 15.0)
# Notes about the load of the machine, which no recording can have.
STALLS = ("warning: event loop held up for ", "canceling statement due to lock timeout")
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

    @property
    def texts_file(self):
        return os.path.join(self.here, "level2-exceptions.txt")

    def own(self):
        """The suite of the same driver whose cases are ours, not the recorded ones given to us."""
        here = os.path.join(os.path.dirname(self.here), "conformance-own", *self.name.split("-")[1:])
        return Suite(self.name + "-own", here, self.driver, self.run_case, self.prepare, self.clean, self.limits,
                     self.listed_limits)


def key(case):
    return case["topic"] + "/" + case["name"]


def read_names(path):
    with open(path) as f:
        return [ln.strip() for ln in f if ln.strip() and not ln.startswith("#")]


def read_reasons(path):
    """{TOPIC/NAME: reason} of a level2-exceptions.txt."""
    reasons = {}
    for ln in read_names(path):
        name, _, reason = ln.partition(" ")
        if not reason.strip():
            sys.exit("%s: no reason: %s" % (path, name))
        reasons[name] = reason.strip()
    return reasons


def take_off(path, names):
    """Remove the lines of these cases; a paragraph that has no case left goes too, except the first."""
    with open(path) as f:
        groups = f.read().rstrip("\n").split("\n\n")
    kept = []
    for group in groups:
        lines = [ln for ln in group.split("\n") if ln.split(" ")[0] not in names]
        if not kept or any(not ln.startswith("#") for ln in lines):
            kept.append("\n".join(lines))
    with open(path, "w") as f:
        f.write("\n\n".join(kept) + "\n")


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
    ap.add_argument("--name", help="name of the count file (default: of the suite)")
    ap.add_argument("--update", action="store_true", help="take cases that pass off the list")
    ap.add_argument("--suite", default="recorded", choices=["recorded", "own"],
                    help="own: the cases of tests/conformance-own")
    ap.add_argument("--record", action="store_true", help="let this system's Postfix make the recording")
    ap.add_argument("--init", action="store_true", help="write the list anew: what fails now")
    ap.add_argument("--keep", action="store_true", help="keep the cases' directories")
    ap.add_argument("--keep-log", action="store_true", help="with -v, print the mail log of failed cases")
    ap.add_argument("--verbose", "-v", action="store_true", help="every case and its differences")
    opts = ap.parse_args()
    if opts.suite == "own":
        suite = suite.own()
    if opts.record:
        opts.mta = "postfix"
    opts.name = opts.name or suite.name
    opts.cases = os.path.join(suite.here, "cases")
    opts.golden = os.path.join(suite.here, "golden")
    opts.split = None
    opts.port_base = 20000
    return suite, opts


def main(suite):
    suite, opts = options(suite)
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
    texts = {} if opts.mta == "postfix" else read_reasons(suite.texts_file)
    for path, names in ((suite.list_file, listed), (suite.texts_file, set(texts))):
        if not (opts.only or opts.topic or opts.set) and names - known:
            sys.exit("%s: no such case: %s" % (path, ", ".join(sorted(names - known))))
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
            verdicts, seconds = run_cases(suite, cases, listed, texts, opts)
    else:
        verdicts, seconds = run_cases(suite, cases, listed, texts, opts)
    return conclude(suite, cases, listed, texts, verdicts, seconds, time.monotonic() - began, opts)


def run_cases(suite, cases, listed, texts, opts):
    """Verdict and seconds of each case, by key."""
    golden = suite.driver.load_golden(opts)
    verdicts, seconds, results = {}, {}, {}

    def work(job, slot):
        idle, reply, connect, whole = suite.listed_limits if job.name in listed else suite.limits
        suite.driver.set_limits(idle, reply, connect)
        opts.limits = [idle, reply, connect, whole]
        result = suite.run_case(job.data, slot, opts)
        if "log" in result:
            result["log"] = [ln for ln in result["log"] if not any(s in ln for s in STALLS)]
        if opts.record:
            return result
        if job.name not in golden:
            return {"error": "it has no recording (--record)"}
        verdict = suite.driver.judge(golden[job.name], result)
        verdict["log"] = result.get("_maillog", "")
        return verdict

    def done(job, result, spent):
        if opts.record and "error" not in result:
            results[job.name] = {k: v for k, v in result.items() if k not in ("_maillog", "left")}
            result = {"l1": True, "l2": True, "diff": []}
        if "error" in result:
            result = {"l1": False, "l2": False, "diff": [result["error"]], "trace": result.get("trace", "")}
        verdicts[job.name] = result
        seconds[job.name] = round(spent, 2)
        tell(job.name, result, spent, listed, texts, opts)

    def job_of(case):
        limit = (suite.listed_limits if key(case) in listed else suite.limits)[3]
        return jobs.Job(key(case), case, limit, "home" if case.get("home") is not None else None)

    suite.prepare(opts)
    try:
        # What waits longest goes first, so that the end is not one slow case.
        jobs.run(map(job_of, sorted(cases, key=lambda c: key(c) in listed)), opts.jobs, work, done)
        failed = [c for c in cases if is_wrong(key(c), verdicts[key(c)], listed, texts)]
        if 0 < len(failed) <= AGAIN_MOST and not opts.init:
            first = {key(c): verdicts[key(c)] for c in failed}
            print("once more, alone:")
            jobs.run(map(job_of, failed), 1, work, done)
            for k, v in first.items():
                if not is_wrong(k, verdicts[k], listed, texts):
                    print("UNSTEADY %s: failed first: %s" % (k, "; ".join(map(str, v["diff"][:3]))))
    finally:
        suite.clean(opts)
    if opts.record:
        version = subprocess.run(["postconf", "-dh", "mail_version"], stdout=subprocess.PIPE, check=True).stdout.decode()
        suite.driver.save_golden([c for c in cases if key(c) in results], results, opts, "postfix " + version.strip())
    return verdicts, seconds


def is_wrong(name, verdict, listed, texts):
    """A case that no list excuses: it fails, or it passes with other texts."""
    if not verdict["l1"]:
        return name not in listed
    return not verdict["l2"] and name not in texts


def tell(name, verdict, spent, listed, texts, opts):
    """A line for what is news; everything with -v."""
    ok, wrong = verdict["l1"], is_wrong(name, verdict, listed, texts) and not opts.init
    if ok and name in listed:
        print("PASSES   %s %.1fs (on the list)" % (name, spent))
    elif wrong:
        print("%-8s %s %.1fs" % ("TEXTS" if ok else "FAIL", name, spent))
    elif opts.verbose:
        word = "not yet" if not ok else "ok" if verdict["l2"] else "level 1"
        print("%-8s %s %.1fs" % (word, name, spent))
    if wrong or opts.verbose:
        for d in verdict["diff"][:12]:
            print("         ", d)
        if verdict.get("trace"):
            print("          " + "\n          ".join(verdict["trace"].splitlines()[-12:]))
        if opts.keep_log:
            print(verdict["log"])
    sys.stdout.flush()


def conclude(suite, cases, listed, texts, verdicts, seconds, spent, opts):
    print_topics(cases, verdicts)
    write_report(verdicts, seconds, opts)
    passing = {k for k, v in verdicts.items() if v["l1"]}
    alike = {k for k, v in verdicts.items() if v["l2"]}
    failed = set(verdicts) - passing - listed
    if opts.init:
        write_names(suite.list_file, failed)
        print("wrote %s: %d cases" % (suite.list_file, len(failed)))
        failed = set()
    other_texts = (passing - alike - set(texts)) if opts.mta == "rowpost" and not opts.init else set()
    off = {suite.list_file: passing & listed,
           suite.texts_file: {k for k in alike & set(texts) if not texts[k].startswith("varies:")}}
    if opts.update:
        for path, names in off.items():
            take_off(path, names)
            print("took %d off %s" % (len(names), path))
        off = {}
    for path, names in off.items():
        if names:
            print("%d cases agree and are in %s: take them off it (--update): %s" % (
                len(names), path, " ".join(sorted(names))))
    if failed:
        print("%d cases fail and are not on the list" % len(failed))
    if other_texts:
        print("%d cases differ in their texts and are not in %s" % (len(other_texts), suite.texts_file))
    wrong = failed | other_texts | off.get(suite.texts_file, set())
    report.write_count(opts.name, len(passing - wrong), len(wrong))
    print("%s: %d pass, %d not yet, %d wrong, of %d (%.0f s)" % (
        opts.name, len(passing - wrong), len(set(verdicts) & listed - passing), len(wrong), len(verdicts), spent))
    return 1 if wrong else 0


def print_topics(cases, verdicts):
    topics = {}
    for c in cases:
        for t in (c["topic"], "total"):
            row = topics.setdefault(t, [0, 0, 0])
            row[0] += 1
            row[1] += verdicts[key(c)]["l1"]
            row[2] += verdicts[key(c)]["l2"]
    print("%-20s %5s %7s %7s" % ("topic", "cases", "level 1", "level 2"))
    for t in sorted(topics, key=lambda t: (t == "total", t)):
        n, one, two = topics[t]
        print("%-20s %5d %7d %7d  %3.0f %%" % (t, n, one, two, 100.0 * two / n))


def write_report(verdicts, seconds, opts):
    d = os.path.join(os.environ.get("BUILD", "build"), "report")
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, opts.name + ".json"), "w") as f:
        json.dump({k: dict(v, seconds=seconds[k], log="") for k, v in verdicts.items()}, f, indent=1,
                  sort_keys=True)
