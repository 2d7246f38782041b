#!/usr/bin/env python3
"""Add up what the suites reported and print the closing line "N passed, N failed".

    summary.py [--status N]... REPORT_DIR...

Each suite leaves SUITE.count in $(BUILD)/report: one line "SUITE PASSED FAILED". --status gives the exit status of
the make that filled the directory of the same place: a make that failed although no suite counted a failure
(a compile error, a suite that died) counts as one."""
import argparse
import glob
import os
import sys


def read_counts(directory):
    """[(suite, passed, failed)]"""
    rows = []
    for name in sorted(glob.glob(os.path.join(directory, "*.count"))):
        with open(name) as f:
            suite, passed, failed = f.read().split()
        rows.append((suite, int(passed), int(failed)))
    return rows


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--status", type=int, action="append", default=[])
    ap.add_argument("directories", nargs="+")
    opts = ap.parse_args()
    passed = failed = 0
    for i, d in enumerate(opts.directories):
        status = opts.status[i] if i < len(opts.status) else 0
        rows = read_counts(d)
        if status and not sum(r[2] for r in rows):
            rows.append(("make (exit status %d)" % status, 0, 1))
        for suite, p, f in rows:
            print("%-12s %-28s %5d passed %5d failed" % (os.path.dirname(d) or d, suite, p, f))
            passed, failed = passed + p, failed + f
    if not passed:
        failed += not failed    # nothing ran: that is no success
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
