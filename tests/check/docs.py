#!/usr/bin/env python3
"""Fail when a page names what is not there: files and links anywhere in README.md and docs/, tests in docs/reliability.md and the
rules of docs/queue.md, and crash points, of which docs/queue.md must list every one."""
import glob
import os
import re
import sys

PAGES = ["README.md"] + sorted(glob.glob("docs/*.md"))
SOURCES = ("src", "tests", "schema", "conf", "deploy", "docs")


def read(path):
    with open(path) as f:
        return f.read()


def tests():
    """{file without "test_": names of its tests}"""
    found = {}
    for path in glob.glob("tests/*/test_*.py") + glob.glob("tests/isolation/test_*.c"):
        form = r"^def test_(\w+)" if path.endswith(".py") else r"^RULE\((\w+)\)|cmocka_unit_test\w*\((\w+)"
        names = re.findall(form, read(path), re.M)
        key = os.path.basename(path).rsplit(".", 1)[0][len("test_"):]
        found.setdefault(key, set()).update("".join(n) for n in names)
    return found


def named(pattern, names):
    """Does a name, in which * stands for anything, fit one of these?"""
    return any(re.fullmatch(pattern.replace("*", ".*"), n) for n in names)


def wrong_files(page, text):
    for name in re.findall(r"`((?:%s)/[\w./-]+)`" % "|".join(SOURCES), text):
        if not os.path.exists(name):
            yield "%s: there is no %s" % (page, name)
    for name in re.findall(r"\]\(([\w./-]+)\)", text):
        if not os.path.exists(os.path.join(os.path.dirname(page), name)):
            yield "%s: a link to %s, which is not there" % (page, name)
    for name in re.findall(r"`(\w+\.[ch])`", text):
        if not glob.glob("src/*/" + name):
            yield "%s: there is no %s" % (page, name)


def wrong_tests(known):
    """`area/test_file: name, name*` in reliability.md, `rule_NN_*` in queue.md."""
    page = "docs/reliability.md"
    for code in re.findall(r"`([^`\n]+)`", read(page)):
        m = re.fullmatch(r"(?:(?:session|cluster|isolation)/(?:test_)?)?(\w+): ([\w*, ]+)", code)
        if not m or m[1] not in known:
            continue
        for name in re.split(r", *", m[2]):
            if not named(name, known[m[1]]):
                yield "%s: %s: there is no such test" % (page, code)
    every = set().union(*known.values())
    for name in re.findall(r"`(rule_[\w*]+|plans_\w+)`", read("docs/queue.md")):
        if not named(name, every):
            yield "docs/queue.md: %s: there is no such test" % name


def wrong_points():
    code = "".join(read(f) for f in glob.glob("src/*/*.c"))
    there = set(re.findall(r'CRASH_POINT\(\s*"([\w-]+)"', code))
    text = re.search(r"## Crash points\n(.*?)\n## ", read("docs/queue.md"), re.S)[1]
    told = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text))
    for name in sorted(there - told):
        yield "docs/queue.md: crash point %s is not listed" % name
    for name in sorted(told - there):
        yield "docs/queue.md: there is no crash point %s" % name


def main():
    wrong = [w for page in PAGES for w in wrong_files(page, read(page))]
    wrong += list(wrong_tests(tests())) + list(wrong_points())
    print("\n".join(wrong) if wrong else "docs ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
