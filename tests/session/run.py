#!/usr/bin/env python3
"""Run the session tests: the real programs, each test in a process, directory, database and network of its own.

    run.py [-j N] [-v] [--keep] [PATTERN...]      PATTERN: part of FILE.TEST, any of them
    run.py --list

A test is a function test_NAME(t) in a file test_*.py of this directory (or of --dir); see README.md."""
import argparse
import contextlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib")]
import jobs       # noqa: E402
import netns      # noqa: E402
import pgtest     # noqa: E402
import report     # noqa: E402
import schema     # noqa: E402
from deadline import STRETCH  # noqa: E402
from session import DEFAULT_LIMIT, Session  # noqa: E402


AGAIN_MOST = 5


def discover(directory, patterns):
    """[(name, function)] of the wanted tests; a file that cannot be imported is an error at once."""
    found = []
    for name in sorted(os.listdir(directory)):
        if not (name.startswith("test_") and name.endswith(".py")):
            continue
        spec = importlib.util.spec_from_file_location(name[:-3], os.path.join(directory, name))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for f in vars(module).values():
            if callable(f) and getattr(f, "__name__", "").startswith("test_") and f.__module__ == name[:-3]:
                found.append(("%s.%s" % (name[5:-3], f.__name__[5:]), f))
    return [(n, f) for n, f in found if not patterns or any(p in n for p in patterns)]


def work_of(opts, pg_uri, template, separate):
    def work(job, slot):
        if separate:
            netns.enter()
        directory = tempfile.mkdtemp(prefix="rps")
        os.chmod(directory, 0o755)
        t = Session(job.name, directory, opts.bin, pg_uri, "rp_session_%d" % slot, template)
        output = io.StringIO()
        result = {}
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                job.data(t)
                bad = t.sanitizer_reports()
                if bad:
                    raise AssertionError("in the log: " + "\n".join(bad[:5]))
            except BaseException:  # noqa: BLE001 - also the deadline
                result["error"] = describe_error()
                result["log"] = t.logs()
            finally:
                t.close(opts.keep)
        result["output"] = output.getvalue()
        if opts.keep:
            result["output"] += "kept: %s\n" % directory
        return result
    return work


def describe_error():
    """The exception, with the lines of test files and helpers that led to it."""
    kind, e, tb = sys.exc_info()
    lines = []
    while tb:
        code = tb.tb_frame.f_code
        if os.sep + "tests" + os.sep in os.path.abspath(code.co_filename) and code.co_name != "work":
            lines.append("  %s:%d %s" % (os.path.basename(code.co_filename), tb.tb_lineno, code.co_name))
        tb = tb.tb_next
    return "\n".join(["%s: %s" % (kind.__name__, e)] + lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("patterns", nargs="*")
    ap.add_argument("--dir", default=HERE)
    ap.add_argument("--bin", default=os.path.join(os.environ.get("BUILD", "build"), "bin"))
    ap.add_argument("--jobs", "-j", type=int, default=jobs.default_slots())
    ap.add_argument("--name", default="session", help="name of the count file")
    ap.add_argument("--keep", action="store_true", help="keep the tests' directories")
    ap.add_argument("--list", action="store_true")
    ap.add_argument("--verbose", "-v", action="store_true", help="also what passing tests printed")
    opts = ap.parse_args()
    opts.bin = os.path.abspath(opts.bin)
    tests = discover(opts.dir, opts.patterns)
    if opts.list:
        for name, f in tests:
            print("%-40s %s" % (name, (f.__doc__ or "").split("\n")[0]))
        return 0
    if not tests:
        sys.exit("no test to run")
    if not os.access(os.path.join(opts.bin, "rowpost"), os.X_OK):
        sys.exit("no rowpost in %s: build it first" % opts.bin)
    verdicts = {}
    began = time.monotonic()

    def done(job, result, spent):
        if result.get("left") and "error" not in result:
            result["error"] = "still running at the end: " + ", ".join(result["left"])
        word = "FAIL" if "error" in result else "ok"
        verdicts[job.name] = word
        print("%-4s %-44s %5.1fs" % (word, job.name, spent))
        if word == "FAIL":
            text = "\n".join([result["error"], result.get("trace", ""), result.get("log", ""),
                              result.get("output", "")])
            print("     " + "\n     ".join(ln[:1000] for ln in text.splitlines() if ln.strip()))
        elif opts.verbose and result["output"]:
            print("     " + "\n     ".join(result["output"].splitlines()))
        sys.stdout.flush()

    # A test that is killed leaves its directories: they go with this one.
    root = tempfile.mkdtemp(prefix="rpt")
    os.chmod(root, 0o755)
    with pgtest.Cluster() as pg:
        tempfile.tempdir = root
        template, trouble = schema.make_template(opts.bin, pg)
        if not template:
            print("rowpost schema failed: " + trouble)
        todo = [jobs.Job(n, f, getattr(f, "limit", DEFAULT_LIMIT) * STRETCH) for n, f in tests]
        todo.sort(key=lambda j: -j.limit)
        work = work_of(opts, pg.uri(), template, netns.allowed())
        jobs.run(todo, opts.jobs, work, done)
        # So few failures may be the load of the machine: they are run once more, alone, and named.
        failed = [j for j in todo if verdicts[j.name] == "FAIL"]
        if 0 < len(failed) <= AGAIN_MOST and len(todo) > len(failed):
            print("once more, alone:")
            jobs.run(failed, 1, work, done)
            for j in failed:
                if verdicts[j.name] == "ok":
                    print("UNSTEADY %s: failed first" % j.name)
    if not opts.keep:
        shutil.rmtree(root, ignore_errors=True)
    passed = sum(v == "ok" for v in verdicts.values())
    report.write_count(opts.name, passed, len(verdicts) - passed)
    print("%s: %d passed, %d failed (%.0f s)" % (opts.name, passed, len(verdicts) - passed, time.monotonic() - began))
    return 1 if len(verdicts) > passed else 0


if __name__ == "__main__":
    sys.exit(main())
