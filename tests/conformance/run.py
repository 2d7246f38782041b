#!/usr/bin/env python3
"""Run the conformance cases in parallel against Rowpost, and against not-yet.txt. See --help and README.md."""
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import conformance  # noqa: E402
import driver       # noqa: E402
import netns        # noqa: E402

SEPARATE = netns.allowed()


def prepare(opts):
    driver.ensure_users()
    opts.tlsdir = tempfile.mkdtemp(prefix="rptls")
    opts.tls = driver.make_tls(opts.tlsdir)


def run_case(case, slot, opts):
    if SEPARATE:
        netns.enter()
    return driver.run_case(case, slot, opts)


def clean(opts):
    shutil.rmtree(opts.tlsdir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(conformance.main(conformance.Suite("conformance", HERE, driver, run_case, prepare, clean)))
