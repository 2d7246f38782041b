#!/usr/bin/env python3
"""Run the DNS conformance cases in parallel against Rowpost, and against not-yet.txt. See --help and README.md."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "conformance")]
import conformance  # noqa: E402
import dnsdriver    # noqa: E402

# Some cases wait for real time-outs of DNS and of connections.
LIMITS = (25.0, 12.0, 10.0, 150.0)
LISTED_LIMITS = (5.0, 3.0, 2.0, 20.0)
# The worker ends a case; the job must outlive it.
MARGIN = 15.0


def run_case(case, slot, opts):
    opts.limits[3] -= MARGIN
    return dnsdriver.run_apart(case, slot, opts)


if __name__ == "__main__":
    sys.exit(conformance.main(conformance.Suite(
        "conformance-dns", HERE, dnsdriver.driver, run_case, dnsdriver.prepare_run, dnsdriver.clean_run,
        LIMITS[:3] + (LIMITS[3] + MARGIN,), LISTED_LIMITS[:3] + (LISTED_LIMITS[3] + MARGIN,))))
