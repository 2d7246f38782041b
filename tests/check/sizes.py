#!/usr/bin/env python3
"""Report the sizes of functions and files below src/, and fail on what is too long.

A function may have 120 lines, a file 1200, unless tests/check/long.txt names it ("FILE" or "FILE:FUNCTION", and why):
tables and flat switches. A name there that is no longer too long is an error too. Needs universal-ctags."""
import json
import os
import subprocess
import sys

FUNCTION_MOST, FILE_MOST = 120, 1200
HERE = os.path.dirname(os.path.abspath(__file__))


def functions():
    """[(lines, file, name)] of all functions."""
    p = subprocess.run(["ctags", "-R", "--languages=C", "--langmap=C:.c", "--c-kinds=f", "--fields=+ne",
                        "--output-format=json", "-o", "-", "src"], stdout=subprocess.PIPE, check=True)
    out = []
    for ln in p.stdout.decode().splitlines():
        d = json.loads(ln)
        if "end" in d:
            out.append((d["end"] - d["line"] + 1, d["path"], d["name"]))
    return out


def files():
    """[(lines, file)]; .def files are tables."""
    out = []
    for d, _, names in os.walk("src"):
        for n in names:
            if n.endswith((".c", ".h")):
                with open(os.path.join(d, n), "rb") as f:
                    out.append((f.read().count(b"\n"), os.path.join(d, n)))
    return out


def allowed():
    with open(os.path.join(HERE, "long.txt")) as f:
        return {ln.split()[0] for ln in f if ln.strip() and not ln.startswith("#")}


def quantile(sizes, q):
    return sizes[min(len(sizes) - 1, int(len(sizes) * q))] if sizes else 0


def line(what, sizes):
    return "%s: %d, median %d, 90 %% up to %d, longest %d" % (
        what, len(sizes), quantile(sizes, 0.5), quantile(sizes, 0.9), sizes[-1] if sizes else 0)


def main():
    fn, fl = sorted(functions()), sorted(files())
    print(line("functions", [x[0] for x in fn]))
    print(line("files", [x[0] for x in fl]))
    long = {"%s:%s" % (f, n): (size, FUNCTION_MOST) for size, f, n in fn if size > FUNCTION_MOST}
    long.update({f: (size, FILE_MOST) for size, f in fl if size > FILE_MOST})
    allow = allowed()
    for name in sorted(set(long) - allow):
        print("%s: %d lines, at most %d are allowed" % ((name,) + long[name]))
    for name in sorted(allow - set(long)):
        print("tests/check/long.txt: %s is not too long (any more)" % name)
    return 1 if set(long) ^ allow else 0


if __name__ == "__main__":
    sys.exit(main())
