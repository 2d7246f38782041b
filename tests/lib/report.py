"""The counts of a test suite, as every suite hands them to tests/check/summary.py: a file of one line,
"SUITE PASSED FAILED", named SUITE.count, in $(BUILD)/report."""
import os


def write_count(suite, passed, failed):
    d = os.path.join(os.environ.get("BUILD", "build"), "report")
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, suite + ".count"), "w") as f:
        f.write("%s %d %d\n" % (suite, passed, failed))
