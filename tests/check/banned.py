#!/usr/bin/env python3
"""Refuse, in C files: // comments, and functions that the house does without.

    banned.py FILE..."""
import re
import sys

# Everywhere.
BANNED = {
    "strcpy": "buf_* or memcpy with a known length", "strcat": "buf_*", "sprintf": "buf_printf or snprintf",
    "vsprintf": "vsnprintf", "strncpy": "buf_* or memcpy", "strncat": "buf_*", "strtok": "span_*",
    "gets": "stream_*", "atoi": "span_* or strtol with a check", "atol": "strtol with a check",
    "gmtime": "gmtime_r", "localtime": "localtime_r", "ctime": "ctime_r", "asctime": "strftime",
    "alloca": "mem_*", "setjmp": "return values", "longjmp": "return values",
}
# Outside src/base only.
RAW_MEMORY = ("malloc", "calloc", "realloc", "free", "strdup", "strndup", "asprintf", "vasprintf")
CLOCK_FILE = "src/base/clock.c"

TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text, complain):
    """The text without comments and with empty literals, lines kept."""
    def blank(m):
        token = m.group(0)
        if token.startswith("//"):
            complain(text.count("\n", 0, m.start()) + 1, "// comment: use /* */")
        return ('""' if token[0] == '"' else " ") + "\n" * token.count("\n")
    return TOKEN.sub(blank, text)


def check(path):
    found = []

    def complain(line, what):
        found.append((line, what))

    with open(path, encoding="utf-8") as f:
        code = code_only(f.read(), complain)
    rules = {name: "use " + instead for name, instead in BANNED.items()}
    if path.startswith("src/") and not path.startswith("src/base/"):
        rules.update({name: "memory comes from base/mem.h" for name in RAW_MEMORY})
    for n, ln in enumerate(code.split("\n"), 1):
        for m in re.finditer(r"(?<![\w.>])([a-z]\w*)\s*\(", ln):
            if m.group(1) in rules:
                complain(n, "%s(): %s" % (m.group(1), rules[m.group(1)]))
        if path.startswith("src/") and path != CLOCK_FILE and re.search(r"\btime\s*\(\s*(NULL|0)\s*\)", ln):
            complain(n, "time(NULL): use base/clock.h")
    for line, what in sorted(found):
        print("%s:%d: %s" % (path, line, what))
    return not found


if __name__ == "__main__":
    sys.exit(0 if all([check(p) for p in sys.argv[1:]]) else 1)
