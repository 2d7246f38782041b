#!/usr/bin/env python3
"""The parameter table (src/conf/params.def): its rules, and the page made from it.

  params.py              check the rows, the names of Postfix (tests/compat/postfix-names.txt), the decision records that
                         DIFFERS names, and that docs/parameters.md is up to date
  params.py --write      write docs/parameters.md
  params.py --usage      parameters that the sources use although their row says NOTYET, and the reverse
"""
import glob
import os
import re
import sys

TABLE = "src/conf/params.def"
PAGE = "docs/parameters.md"
NAMES = "tests/compat/postfix-names.txt"
OWN_MARK = "/* Rowpost's own:"
TYPES = {"STR": "text", "RAW": "text, expanded when used", "ENUM": "one word", "SET": "words", "BOOL": "yes or no",
         "INT": "number", "TIME": "time"}
STATUS = {"SAME": "works", "DIFFERS": "differs", "BUILTIN": "built in", "NOTYET": "not yet", "OWN": "own"}

HEAD = """# Parameters of main.cf

Made from `src/conf/params.def` by `make params-doc`; do not edit. Names and meanings are those of Postfix up to 3.11, defaults
those of 3.7 unless a decision record says otherwise.

| status | means |
|---|---|
| works | as in Postfix |
| differs | works, or has a default, that departs from Postfix: see the record named |
| built in | accepted, and without meaning here because what it sets does not exist or needs no setting |
| not yet | accepted, without effect; `rowpost check` warns |
| own | Rowpost's own, works |

"""


class Row:
    """One row of the table."""

    def __init__(self, kind, name, default, extra, status, adr, meaning, own):
        self.kind, self.name, self.default, self.extra = kind, name, default, extra
        self.status, self.adr, self.meaning, self.own = status, adr, meaning, own


def unquote(s):
    return re.sub(r"\\(.)", r"\1", s)


def rows():
    with open(TABLE, encoding="utf-8") as f:
        text = re.sub(r",\n\t\"", ', "', f.read())
    form = re.compile(r'CONF_([A-Z]+)\((\w+), "((?:[^"\\]|\\.)*)"(?:, (.*?))?, '
                      r'(SAME|NOTYET|BUILTIN|OWN|DIFFERS\((\d+)\)), "((?:[^"\\]|\\.)*)"\)$')
    out, own = [], False
    body = text[text.index("clang-format off"):text.index("clang-format on")]
    for ln in body.splitlines():
        own = own or ln.startswith(OWN_MARK)
        if not ln.startswith("CONF_"):
            continue
        m = form.match(ln)
        if m is None:
            sys.exit("%s: not a row: %s" % (TABLE, ln))
        out.append(Row(m[1], m[2], unquote(m[3]), m[4], m[5].split("(")[0], m[6], unquote(m[7]), own))
    return out


def code(s):
    """Markdown for a value in a table."""
    if not s:
        return ""
    return "`%s`" % s.replace("|", "\\|") if "`" not in s else "<code>%s</code>" % (
        s.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("`", "&#96;"))


def section(title, table):
    out = "\n## %s\n\n| name | type | default | status | meaning |\n|---|---|---|---|---|\n" % title
    for r in table:
        status = STATUS[r.status] + (" ([%s](%s))" % (r.adr, adr_file(r.adr)) if r.adr else "")
        out += "| %s | %s | %s | %s | %s |\n" % (r.name, TYPES[r.kind], code(r.default), status,
                                                r.meaning.replace("|", "\\|"))
    return out


def adr_file(number):
    found = glob.glob("docs/adr/%04d-*.md" % int(number))
    return "adr/" + os.path.basename(found[0]) if found else ""


def page(table):
    count = {s: sum(r.status == s for r in table) for s in STATUS}
    text = HEAD + "Of %d parameters of Postfix and %d of Rowpost's own: %s.\n" % (
        sum(not r.own for r in table), sum(r.own for r in table),
        ", ".join("%d %s" % (count[s], STATUS[s]) for s in STATUS))
    return text + section("Postfix's", [r for r in table if not r.own]) + section(
        "Rowpost's own", [r for r in table if r.own])


def problems(table):
    out = []
    with open(NAMES) as f:
        postfix = f.read().split()
    ours = [r.name for r in table if not r.own]
    out += ["%s: no row for Postfix's %s" % (TABLE, n) for n in postfix if n not in set(ours)]
    out += ["%s: %s is no name of Postfix: move it to the end" % (TABLE, n) for n in ours if n not in set(postfix)]
    out += ["%s: %s is a name of Postfix: move it up" % (TABLE, r.name)
            for r in table if r.own and r.name in set(postfix)]
    out += ["%s: %s is not in its place (names are sorted)" % (TABLE, b) for a, b in zip(ours, ours[1:]) if a >= b]
    seen = set()
    for r in table:
        if r.name in seen:
            out.append("%s: %s stands there twice" % (TABLE, r.name))
        seen.add(r.name)
        if not r.meaning.endswith("."):
            out.append("%s: %s: the meaning is no sentence" % (TABLE, r.name))
        if r.adr and not adr_file(r.adr):
            out.append("%s: %s: there is no docs/adr/%04d-*.md" % (TABLE, r.name, int(r.adr)))
        if r.own and r.status == "SAME":
            out.append("%s: %s: a parameter of our own is OWN" % (TABLE, r.name))
    if not os.path.exists(PAGE) or open(PAGE, encoding="utf-8").read() != page(table):
        out.append("%s is not up to date: make params-doc" % PAGE)
    return out


def usage(table):
    """What the sources outside the table mention as CONF_<name>."""
    used = set()
    for f in glob.glob("src/*/*.[ch]"):
        if not f.startswith("src/conf/conf_check"):
            with open(f, encoding="utf-8") as s:
                used |= set(re.findall(r"\bCONF_([a-z0-9]\w*)", s.read()))
    # <service>_<suffix> is read as transport_<suffix>, whose default names a default_... or another parameter.
    suffixes = [n[len("transport"):] for n in used if n.startswith("transport_")]
    used |= {service + s for s in suffixes for service in ("smtp", "lmtp", "relay", "local", "virtual")}
    # proxy_read_maps only names parameters whose tables may be asked.
    used |= {n for r in table if r.name in used and not r.name.startswith("proxy_") for n in re.findall(r"\$\{?(\w+)", r.default)}
    for r in table:
        if r.name in used and r.status in ("NOTYET", "BUILTIN"):
            print("%s is used, but its row says %s" % (r.name, r.status))
        if r.name not in used and r.status in ("SAME", "DIFFERS", "OWN"):
            print("%s is not used, but its row says %s" % (r.name, r.status))


def main():
    table = rows()
    if sys.argv[1:] == ["--write"]:
        with open(PAGE, "w", encoding="utf-8") as f:
            f.write(page(table))
        return 0
    if sys.argv[1:] == ["--usage"]:
        usage(table)
        return 0
    found = problems(table)
    for p in found:
        print(p)
    if not found:
        print("params ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
