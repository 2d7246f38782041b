#!/usr/bin/env python3
"""Conformance driver for Postfix-compatible MTAs.  Python 3 standard library.

  driver.py list   [--topic T] [--only REGEX]
  driver.py record --mta postfix [--only REGEX] [--jobs N]    write golden/*.json
  driver.py run    --mta rowpost [--only REGEX] [--jobs N]    compare with golden
  driver.py show   --mta postfix --only REGEX                 print raw results

See README.md.
"""
import argparse
import concurrent.futures
import copy
import fcntl
import glob
import grp
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from stubs import Sink, Policy, Milter, DovecotAuth, dec, enc  # noqa: E402

USERS = ("rp_alice", "rp_bob", "rp_carol")
HOME_LOCK = os.path.join(tempfile.gettempdir(), "conformance-home.lock")
# Seconds; set_limits() changes them for a case that is known not to pass.
IDLE_LIMIT = 25.0
REPLY_LIMIT = 12.0
CONNECT_LIMIT = 10.0
# How much longer than on a quiet machine something may take.
STRETCH = float(os.environ.get("TEST_STRETCH", "4"))


def set_limits(idle, reply, connect):
    global IDLE_LIMIT, REPLY_LIMIT, CONNECT_LIMIT
    IDLE_LIMIT, REPLY_LIMIT, CONNECT_LIMIT = idle, reply, connect

BASE_MAIN = {
    "compatibility_level": "3.6",
    "myhostname": "mail.rp.test",
    "mydomain": "rp.test",
    "myorigin": "rp.test",
    "mydestination": "rp.test, mail.rp.test, localhost.rp.test, localhost",
    "mynetworks": "127.0.0.0/8",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "smtp_dns_support_level": "disabled",
    "relayhost": "[127.0.0.1]:%{S1}",
    "alias_maps": "",
    "alias_database": "",
    "mail_spool_directory": "%{TMP}/mail/",
    "smtpd_error_sleep_time": "0",
    "biff": "no",
}

BASE_MASTER = """\
127.0.0.1:%{SMTPD} inet n - n - - smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""

PORT_NAMES = ["SMTPD", "SMTPD2", "SMTPD3", "S1", "S2", "S3", "S4", "S5",
              "POLICY", "POLICY2", "MILTER", "MILTER2", "AUTH", "CLOSED"]


# --------------------------------------------------------------------------
# adapters

class Adapter:
    name = "?"
    programs = ()
    old_defaults = {}

    def __init__(self, ctx):
        self.ctx = ctx
        self.conf = ctx.vars["DIR"]

    def prog(self, name):
        raise NotImplementedError

    def own_main(self):
        """The adapter's own main.cf lines."""
        return {}

    def environ(self):
        e = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "LC_ALL": "C",
             "TZ": "UTC"}
        for k in ("LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",
                  "ROWPOST_TEST_DB"):
            if k in os.environ:
                e[k] = os.environ[k]
        return e

    def argv(self, words):
        """Insert the configuration directory option after the program name."""
        opt = "-C" if words[0] in ("sendmail", "mailq", "newaliases") else "-c"
        return [self.prog(words[0]), opt, self.conf] + list(words[1:])

    def run(self, words, stdin=b"", timeout=240):
        return subprocess.run(self.argv(words), input=stdin, env=self.environ(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=timeout, cwd=self.ctx.tmp)

    def start(self):
        raise NotImplementedError

    def cleanup(self):
        """After the case, whatever became of it."""

    def stop(self):
        raise NotImplementedError

    def queue(self):
        p = self.run(["postqueue", "-j"])
        out = []
        for ln in dec(p.stdout).splitlines():
            if ln.strip():
                try:
                    out.append(json.loads(ln))
                except ValueError:
                    out.append({"queue_name": "?", "raw": ln})
        return out

    def version(self):
        p = self.run(["postconf", "-d", "-h", "mail_version"])
        return dec(p.stdout).strip()


class PostfixAdapter(Adapter):
    name = "postfix"

    def prog(self, name):
        d = os.environ.get("POSTFIX_SBIN")
        if d:
            return os.path.join(d, name)
        return shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:"
                            "/usr/local/bin:" + os.environ.get("PATH", "")) or name

    def own_main(self):
        t = self.ctx.tmp
        return {"queue_directory": t + "/q", "data_directory": t + "/d",
                "maillog_file": t + "/maillog", "maillog_file_prefixes": t,
                "mail_owner": "postfix", "setgid_group": "postdrop"}

    def start(self):
        os.makedirs(self.ctx.tmp + "/q")
        os.makedirs(self.ctx.tmp + "/d")
        shutil.chown(self.ctx.tmp + "/d", "postfix")
        p = self.run(["postfix", "start"])
        if p.returncode:
            raise RuntimeError("postfix start: " + dec(p.stdout + p.stderr)
                               + self.ctx.maillog()[-800:])

    def stop(self):
        pid = None
        try:
            with open(self.ctx.tmp + "/q/pid/master.pid") as f:
                pid = int(f.read().strip())
        except (OSError, ValueError):
            pass
        self.run(["postfix", "stop"])
        for n in range(100):
            if pid is None or not os.path.exists("/proc/%d" % pid):
                break
            time.sleep(0.05)


class RowpostAdapter(Adapter):
    """Contract: ROWPOST_BIN is a directory with the programs.
    ROWPOST_TEST_DB (optional): libpq URI of a maintenance database; every case
    gets a database of its own beside it (see Running in README.md), whose URI
    becomes `queue_databases`. Unset: the embedded database.
    ROWPOST_MAIL_OWNER / ROWPOST_SETGID_GROUP (optional) are passed on."""
    name = "rowpost"
    # Defaults of 3.7 that later Postfix releases changed: asked for by name, so
    # that an MTA with the newer default is compared on equal terms.
    old_defaults = {"smtpd_forbid_bare_newline": "no"}

    def prog(self, name):
        d = os.environ.get("ROWPOST_BIN")
        if not d:
            raise RuntimeError("ROWPOST_BIN is not set")
        if name == "postfix":
            name = "rowpost"
        return os.path.join(d, name)

    def database(self):
        """Name of this case's own database: one per job."""
        return "rowpost_case_" + self.ctx.vars["SMTPD"]

    def database_uri(self):
        u = urllib.parse.urlsplit(os.environ["ROWPOST_TEST_DB"])
        uri = urllib.parse.urlunsplit(
            u._replace(path="/" + self.database()))
        # urlunsplit drops the empty authority of postgresql:///db?host=...
        if uri.startswith(u.scheme + ":/") and "://" not in uri:
            uri = uri.replace(":/", ":///", 1)
        return uri

    def psql(self, sql):
        p = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d",
                            os.environ["ROWPOST_TEST_DB"], "-c", sql],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=480)
        if p.returncode:
            raise RuntimeError("psql: " + dec(p.stdout))

    def own_main(self):
        t = self.ctx.tmp
        m = {"queue_directory": t + "/q", "data_directory": t + "/d",
             "maillog_file": t + "/maillog", "maillog_file_prefixes": t}
        if self.ctx.case["topic"] != "postconf":
            # The same on every machine: by itself one for each two cores, which
            # tell each other of their clients within two seconds (ADR 51).
            m["smtpd_processes"] = "1"
        if os.environ.get("ROWPOST_TEST_DB"):
            m["queue_databases"] = self.database_uri()
        for k, e in (("mail_owner", "ROWPOST_MAIL_OWNER"),
                     ("setgid_group", "ROWPOST_SETGID_GROUP")):
            if os.environ.get(e):
                m[k] = os.environ[e]
        return m

    def start(self):
        own = os.environ.get("ROWPOST_MAIL_OWNER")
        for d in ("/q", "/d"):
            os.makedirs(self.ctx.tmp + d)
            if own:
                shutil.chown(self.ctx.tmp + d, own)
        if os.environ.get("ROWPOST_TEST_DB"):
            template = os.environ.get("ROWPOST_TEST_TEMPLATE")
            self.psql("DROP DATABASE IF EXISTS %s WITH (FORCE)" % self.database())
            self.psql("CREATE DATABASE %s%s" % (
                self.database(), template and " TEMPLATE " + template or ""))
            if not template:
                p = self.run(["rowpost", "schema"], timeout=480)
                if p.returncode:
                    raise RuntimeError("rowpost schema: " + dec(p.stdout + p.stderr))
        p = self.run(["rowpost", "start"], timeout=480)
        if p.returncode:
            raise RuntimeError("rowpost start: " + dec(p.stdout + p.stderr)
                               + self.ctx.maillog()[-800:])

    def stop(self):
        self.run(["rowpost", "stop"], timeout=480)

    def cleanup(self):
        if os.environ.get("ROWPOST_TEST_DB"):
            self.psql("DROP DATABASE IF EXISTS %s WITH (FORCE)" % self.database())


ADAPTERS = {"postfix": PostfixAdapter, "rowpost": RowpostAdapter}


# --------------------------------------------------------------------------
# SMTP client side

class Closed(Exception):
    pass


class Smtp:
    def __init__(self, port, cafile=None):
        end = time.monotonic() + CONNECT_LIMIT
        while True:
            try:
                self.s = socket.create_connection(("127.0.0.1", port),
                                                  timeout=REPLY_LIMIT)
                break
            except ConnectionRefusedError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""

    def send(self, b):
        try:
            self.s.sendall(b)
        except OSError:
            pass

    def reply(self, limit=None):
        lines = []
        self.s.settimeout(limit or REPLY_LIMIT)
        while True:
            while b"\n" not in self.buf:
                try:
                    d = self.s.recv(65536)
                except socket.timeout:
                    return {"code": -1, "text": ["<timeout>"]}
                except OSError:
                    d = b""
                if not d:
                    return {"code": 0, "text": ["<closed>"]}
                self.buf += d
            ln, self.buf = self.buf.split(b"\n", 1)
            ln = dec(ln.rstrip(b"\r"))
            lines.append(ln)
            if len(ln) < 4 or ln[3] != "-":
                break
        try:
            code = int(lines[-1][:3])
        except ValueError:
            code = -2
        return {"code": code, "text": [x[4:] for x in lines]}

    def close(self):
        try:
            self.s.close()
        except OSError:
            pass


def crlf(s):
    return enc(s.replace("\r\n", "\n").replace("\n", "\r\n"))


def stuff(text):
    b = crlf(text)
    if not b.endswith(b"\r\n"):
        b += b"\r\n"
    out = []
    for ln in b.split(b"\r\n")[:-1]:
        out.append((b"." if ln.startswith(b".") else b"") + ln + b"\r\n")
    return b"".join(out)


# --------------------------------------------------------------------------
# running one case

class Context:
    def __init__(self, case, slot, opts):
        self.case = case
        self.opts = opts
        self.tmp = tempfile.mkdtemp(prefix="rpc")
        os.chmod(self.tmp, 0o755)
        self.vars = {"TMP": self.tmp, "DIR": self.tmp + "/conf"}
        base = opts.port_base + slot * 40
        for i, n in enumerate(PORT_NAMES):
            self.vars[n] = str(base + i)
        for u in USERS:
            pw = pwd.getpwnam(u)
            self.vars["HOME_" + u] = pw.pw_dir
            self.vars["UID_" + u] = str(pw.pw_uid)
            self.vars["GID_" + u] = str(pw.pw_gid)
        self.qids = set()
        self.lastqid = ""

    def sub(self, x):
        if isinstance(x, str):
            return re.sub(r"%\{(\w+)\}", lambda m: self.var(m.group(1)), x)
        if isinstance(x, list):
            return [self.sub(y) for y in x]
        if isinstance(x, dict):
            return {k: self.sub(v) for k, v in x.items()}
        return x

    def var(self, n):
        if n == "QID":
            return self.lastqid
        if n in self.vars:
            return self.vars[n]
        return "%{" + n + "}"

    def maillog(self):
        try:
            with open(self.tmp + "/maillog", "rb") as f:
                return dec(f.read())
        except OSError:
            return ""


def write_file(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(enc(text))
    os.chmod(path, mode)


def clean_homes():
    for u in USERS:
        h = pwd.getpwnam(u).pw_dir
        os.makedirs(h, exist_ok=True)
        os.chmod(h, 0o755)
        for n in os.listdir(h):
            p = os.path.join(h, n)
            if n.startswith(".forward") or n in ("Maildir", "Mailbox", "mbox",
                                                 "out", "list"):
                if os.path.isdir(p) and not os.path.islink(p):
                    shutil.rmtree(p)
                else:
                    os.unlink(p)


def wait_idle(ad, limit=None):
    end = time.time() + (limit or IDLE_LIMIT)
    quiet = 0
    while time.time() < end:
        q = ad.queue()
        if any(x.get("queue_name") in ("maildrop", "incoming", "active", "?")
               for x in q):
            quiet = 0
        else:
            quiet += 1
            if quiet >= 3:
                return True
        time.sleep(0.08)
    return False


def file_text(path):
    with open(path, "rb") as f:
        b = f.read()
    s = dec(b)
    return s.replace("\r\n", "\u240d\n")


def collect_tree(root, label, out):
    if not os.path.isdir(root):
        return
    for d, dirs, files in os.walk(root):
        dirs.sort()
        for n in sorted(files):
            p = os.path.join(d, n)
            if n.endswith(".lock"):
                continue
            st = os.lstat(p)
            rel = os.path.relpath(p, root)
            b = os.path.basename(os.path.dirname(p))
            if b in ("new", "cur", "tmp"):
                rel = os.path.join(os.path.dirname(rel), "*")
            m = re.match(r"(.*)\.@\w+$", rel)
            if m:
                rel = m.group(1)
            try:
                own = pwd.getpwuid(st.st_uid).pw_name
            except KeyError:
                own = "uid:%d" % st.st_uid
            try:
                gr = grp.getgrgid(st.st_gid).gr_name
            except KeyError:
                gr = "gid:%d" % st.st_gid
            out.append({"file": label + "/" + rel, "owner": own, "group": gr,
                        "mode": "%o" % stat.S_IMODE(st.st_mode),
                        "content": file_text(p)})


def run_smtp(ctx, step, servers):
    out = []
    conn = None

    def add(label, r):
        m = re.match(r"(\d\.\d{1,3}\.\d{1,3})(?= |$)", r["text"][0]) \
            if r["code"] >= 200 else None
        e = {"c": label, "code": r["code"]}
        if m:
            e["enh"] = m.group(1)
            r["text"] = [re.sub(r"^\d\.\d{1,3}\.\d{1,3} ?", "", x)
                         for x in r["text"]]
        e["text"] = r["text"]
        q = re.search(r"queued as (\S+)", " ".join(r["text"]))
        if q:
            ctx.qids.add(q.group(1))
            ctx.lastqid = q.group(1)
        out.append(e)
        return r["code"]

    def opened(port, greet):
        c = Smtp(int(ctx.vars[port]))
        if greet:
            add("<connect>", c.reply())
        return c

    conn = opened(step.get("to", "SMTPD"), step.get("greet", True))
    code = 0
    try:
        for raw in step["smtp"]:
            a = ctx.sub(raw)
            if isinstance(a, str):
                conn.send(enc(a) + b"\r\n")
                code = add(a if len(a) < 200 else a[:200] + "...", conn.reply())
            elif "send" in a:
                conn.send(enc(a["send"]))
            elif "sendhex" in a:
                conn.send(bytes.fromhex(a["sendhex"]))
            elif "repeat" in a:
                for n in range(a["repeat"]):
                    conn.send(enc(a["line"].replace("#", str(n))) + b"\r\n")
                    r = conn.reply()
                    if n < 2 or n >= a["repeat"] - 2 or r["code"] != code:
                        code = add("%s #%d" % (a["line"], n), r)
                    if r["code"] == 0:
                        break
            elif "read" in a:
                for n in range(a["read"]):
                    code = add("<read>", conn.reply())
            elif "readall" in a:
                while True:
                    r = conn.reply(limit=a["readall"] * STRETCH)
                    if r["code"] == -1:
                        break
                    code = add("<read>", r)
                    if code == 0:
                        break
            elif "msg" in a:
                if code != 354:
                    out.append({"c": "<msg>", "code": -3, "text": ["<not sent>"]})
                    continue
                conn.send(stuff(a["msg"]) + b".\r\n")
                code = add("<msg>", conn.reply())
            elif "rawmsg" in a:
                if code != 354:
                    out.append({"c": "<msg>", "code": -3, "text": ["<not sent>"]})
                    continue
                conn.send(enc(a["rawmsg"]))
                code = add("<msg>", conn.reply())
            elif "fill" in a:
                n = a["count"]
                conn.send(enc(a["fill"]) * n)
            elif "starttls" in a:
                sc = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                sc.check_hostname = False
                sc.verify_mode = ssl.CERT_NONE
                try:
                    conn.s = sc.wrap_socket(conn.s)
                    out.append({"c": "<tls>", "code": 1, "text": ["<ok>"]})
                except (OSError, ssl.SSLError):
                    out.append({"c": "<tls>", "code": 0, "text": ["<failed>"]})
            elif "close" in a:
                conn.close()
            elif "reopen" in a:
                conn.close()
                conn = opened(a["reopen"], a.get("greet", True))
            elif "sleep" in a:
                time.sleep(a["sleep"])
            else:
                raise ValueError("unknown smtp action %r" % (a,))
    finally:
        conn.close()
    return {"smtp": out}


def run_case(case, slot, opts):
    if case.get("home") is None:
        return run_case2(case, slot, opts)
    # home directories are shared: one such case at a time, over all drivers
    with open(HOME_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return run_case2(case, slot, opts)
        finally:
            clean_homes()


def run_case2(case, slot, opts):
    ctx = Context(case, slot, opts)
    ad = ADAPTERS[opts.mta](ctx)
    servers = {}
    res = {}
    started = False
    try:
        v = ctx.vars
        conf = v["DIR"]
        os.makedirs(conf)
        for d, mode in (("mail", 0o1777), ("out", 0o1777), ("vmail", 0o755)):
            os.makedirs(os.path.join(ctx.tmp, d))
            os.chmod(os.path.join(ctx.tmp, d), mode)
        shutil.chown(ctx.tmp + "/vmail", "rp_carol",
                     grp.getgrgid(pwd.getpwnam("rp_carol").pw_gid).gr_name)
        if case.get("home") is not None:
            clean_homes()
            for name, text in case["home"].items():
                user, _, rest = name.partition("/")
                pw = pwd.getpwnam(user)
                p = os.path.join(pw.pw_dir, rest)
                if text is None:
                    os.makedirs(p, exist_ok=True)
                else:
                    write_file(p, ctx.sub(text))
                os.chown(p, pw.pw_uid, pw.pw_gid)
        main = dict(BASE_MAIN)
        if case.get("home") is None and case.get("start", True):
            # the home directories may belong to a case in another job
            main["forward_path"] = ""
        main.update(case.get("main", {}))
        if case["topic"] != "postconf":
            for k, x in ad.old_defaults.items():
                main.setdefault(k, x)
        own = ad.own_main()
        text = ""
        for k, x in main.items():
            if x is not None:
                text += "%s = %s\n" % (k, x)
        text = ctx.sub(text)
        for k, x in own.items():
            text += "%s = %s\n" % (k, x)
        text += ctx.sub(case.get("main_raw", ""))
        write_file(conf + "/main.cf", text)
        master = BASE_MASTER
        if case.get("smtpd_opts"):
            ls = master.split("\n", 1)
            master = ls[0] + "\n" + "".join(
                "  -o %s\n" % o for o in case["smtpd_opts"]) + ls[1]
        for svc, line in case.get("master_set", {}).items():
            master = re.sub(r"(?m)^%s .*$" % re.escape(svc),
                            lambda m: line, master)
        for ln in case.get("master", []):
            master += ln + "\n"
        write_file(conf + "/master.cf", ctx.sub(master))
        for name, t in case.get("files", {}).items():
            mode = 0o644
            if t.startswith("#!"):
                mode = 0o755
            p = name if name.startswith("/") else conf + "/" + name
            p = ctx.sub(p)
            write_file(p, ctx.sub(t), mode)
        if case.get("aliases") is not None:
            write_file(conf + "/aliases", ctx.sub(case["aliases"]))
            p = ad.run(["postalias", "hash:" + conf + "/aliases"])
            if p.returncode:
                res["postalias_rc"] = p.returncode
        for m in case.get("postmap", []):
            p = ad.run(["postmap", ctx.sub(m)])
            if p.returncode:
                res["postmap_rc"] = p.returncode
        sinks = case.get("sinks")
        if sinks is None:
            sinks = {"S1": {}}
        for s, cfg in sinks.items():
            servers[s] = Sink(int(v[s]), ctx.sub(cfg), opts.tls)
        for s in ("POLICY", "POLICY2"):
            if case.get(s.lower()) is not None:
                servers[s] = Policy(int(v[s]), ctx.sub(case[s.lower()]))
        for s in ("MILTER", "MILTER2"):
            if case.get(s.lower()) is not None:
                servers[s] = Milter(int(v[s]), ctx.sub(case[s.lower()]))
        if case.get("auth") is not None:
            servers["AUTH"] = DovecotAuth(int(v["AUTH"]), case["auth"])
        v["TLSCERT"], v["TLSKEY"] = opts.tls or ("", "")
        if opts.tls and os.path.exists(opts.tls[0]):
            # main.cf may name the key pair
            for f in (conf + "/main.cf", conf + "/master.cf"):
                with open(f) as h:
                    t = h.read()
                with open(f, "w") as h:
                    h.write(ctx.sub(t))

        if case.get("start", True):
            ad.start()
            started = True

        steps = []
        for st in case["steps"]:
            if "smtp" in st:
                steps.append(run_smtp(ctx, st, servers))
            elif "cmd" in st:
                words = ctx.sub(st["cmd"])
                try:
                    p = ad.run(words, enc(ctx.sub(st.get("stdin", ""))))
                    r = {"cmd": st["cmd"], "rc": p.returncode,
                         "out": dec(p.stdout), "err": dec(p.stderr)}
                except subprocess.TimeoutExpired:
                    r = {"cmd": st["cmd"], "rc": -1, "out": "<timeout>", "err": ""}
                if st.get("noerr"):
                    r["err"] = ""
                if st.get("exact"):
                    r["exact"] = True
                if st.get("sort"):
                    r["out"] = "".join(sorted(r["out"].splitlines(True)))
                if st.get("quiet"):
                    r["out"] = r["err"] = ""
                steps.append(r)
            elif "wait" in st:
                if not wait_idle(ad):
                    steps.append({"wait": "timeout"})
            elif "flush" in st:
                ad.run(["postqueue", "-f"])
                time.sleep(0.5)
                if not wait_idle(ad):
                    steps.append({"wait": "timeout"})
            elif "pickqid" in st:
                # choose a queue entry: by queue name and/or recipient regex
                for q in ad.queue():
                    if re.search(st["pickqid"], json.dumps(q)):
                        ctx.lastqid = q["queue_id"]
                        ctx.qids.add(q["queue_id"])
            elif "queue" in st:
                steps.append({"queue": queue_view(ctx, ad)})
            elif "sink" in st:
                servers[st["sink"]].set(ctx.sub(st["set"]))
            elif "write" in st:
                for n, t in st["write"].items():
                    write_file(conf + "/" + n, ctx.sub(t))
            elif "read" in st:
                p = ctx.sub(st["read"])
                try:
                    steps.append({"file": st["read"], "content": file_text(p)})
                except OSError:
                    steps.append({"file": st["read"], "content": None})
            elif "sleep" in st:
                time.sleep(st["sleep"])
            elif "policy" in st:
                servers["POLICY"].cfg = ctx.sub(st["policy"])
            elif "stop" in st:
                ad.stop()
                started = False
            elif "start" in st:
                os_start_again(ad)
                started = True
            else:
                raise ValueError("unknown step %r" % (st,))
        if started:
            if not wait_idle(ad, case.get("idle_limit")):
                res["idle"] = "timeout"
            res["queue"] = queue_view(ctx, ad)
            ad.stop()
            started = False
        res["steps"] = steps
        res["sinks"] = {}
        res["sessions"] = {}
        for n, s in servers.items():
            if isinstance(s, Sink):
                with s.lock:
                    res["sinks"][n] = copy.deepcopy(s.messages)
                    res["sessions"][n] = copy.deepcopy(
                        [x for x in s.sessions if x and x != ["<eof>"]])
            elif isinstance(s, Policy):
                res[n.lower()] = s.requests
            elif isinstance(s, Milter):
                res[n.lower()] = [[[a, b, m] for a, b, m in x]
                                  for x in s.events if len(x)]
            elif isinstance(s, DovecotAuth):
                res["auth"] = s.requests
        files = []
        collect_tree(ctx.tmp + "/mail", "mail", files)
        collect_tree(ctx.tmp + "/vmail", "vmail", files)
        collect_tree(ctx.tmp + "/out", "out", files)
        if case.get("home") is not None:
            for u in USERS:
                h = pwd.getpwnam(u).pw_dir
                sub = []
                collect_tree(h, "~" + u, sub)
                files += [f for f in sub if not re.search(
                    r"/\.(bash|profile|face|cache|config|forward)|/list", f["file"])]
        res["files"] = files
        if case.get("log"):
            lines = []
            for ln in ctx.maillog().splitlines():
                for pat in case["log"]:
                    if re.search(pat, ln):
                        lines.append(re.sub(
                            r"^\w+ +\d+ [\d:]+ \S+ ", "", ln))
                        break
            res["log"] = lines
        # a crash is never all right
        bad = [ln for ln in ctx.maillog().splitlines()
               if re.search(r"panic:|killed by signal (6|11)", ln)]
        if bad:
            res["crash"] = bad[:5]
        if opts.keep_log:
            res["_maillog"] = ctx.maillog()
        return normalise(res, ctx)
    except Exception as e:       # noqa: BLE001
        return {"error": "%s: %s" % (type(e).__name__, e),
                "trace": ctx.maillog()[-1500:]}
    finally:
        if started:
            try:
                ad.stop()
            except Exception:    # noqa: BLE001
                pass
        for s in servers.values():
            s.close()
        try:
            ad.cleanup()
        except Exception as e:    # noqa: BLE001
            res.setdefault("cleanup", str(e))
        if not opts.keep:
            shutil.rmtree(ctx.tmp, ignore_errors=True)


def os_start_again(ad):
    p = ad.run(["postfix", "start"])
    if p.returncode:
        raise RuntimeError("start again failed: " + dec(p.stderr))
    time.sleep(0.3)


def queue_view(ctx, ad):
    out = []
    for q in ad.queue():
        if "queue_id" in q:
            ctx.qids.add(q["queue_id"])
        out.append({
            "queue": q.get("queue_name"), "sender": q.get("sender"),
            "forced_expire": q.get("forced_expire", False),
            "recipients": sorted(
                [r.get("address"), r.get("delay_reason", "")]
                for r in q.get("recipients", []))})
    out.sort(key=lambda x: json.dumps(x))
    return out


# --------------------------------------------------------------------------
# normalisation

DATE = (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), +\d{1,2} "
        r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} "
        r"\d\d:\d\d:\d\d [+-]\d{4}(?: \(\w+\))?")
CTIME = (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) "
         r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d "
         r"\d\d:\d\d:\d\d(?: \d{4})?")


def normalise(res, ctx):
    blob = json.dumps(res)

    # learn queue ids
    ids = set(ctx.qids)
    for pat in (r"queued as ([0-9A-Za-z]{6,20})",
                r"(?:id|ID:?|Queue-ID:) ([0-9A-Za-z]{8,20})\b",
                # a long id that only the log has: it is not all hexadecimal
                r"\w\[\d+\]: (?:warning: )?([0-9A-Za-z]{9,20}): ",
                r"\b([0-9A-F]{9,16})\b"):
        for m in re.finditer(pat, blob):
            w = m.group(1)
            if re.search(r"\d", w) and re.search(r"[A-Za-z]", w) \
                    and not re.fullmatch(r"0+[0-9a-f]+", w):
                ids.add(w)
    ids = sorted((i for i in ids if i), key=len, reverse=True)
    idre = re.compile(r"(?<![0-9A-Za-z])(?:%s)(?![0-9A-Za-z])" % "|".join(
        re.escape(i) for i in ids)) if ids else None
    ports = {ctx.vars[n]: "%%{%s}" % n for n in PORT_NAMES}
    portre = re.compile(r"(?<![\w.])(?:%s)(?![\w])" % "|".join(ports))
    uids = {ctx.vars["UID_" + u]: "%%{UID_%s}" % u for u in USERS}
    gids = {ctx.vars["GID_" + u]: "%%{GID_%s}" % u for u in USERS}

    def text(s):
        s = s.replace(ctx.tmp, "%{TMP}")
        # before the ports: a process may have the number of one
        s = re.sub(r"\b(?:postfix|rowpost)/(\w+)/?(\w*)\[\d+\]",
                   lambda m: "MTA/" + "/".join(x for x in m.groups() if x)
                   + "[PID]", s)
        s = re.sub(r"\[\d+\]: ", "[PID]: ", s)
        s = portre.sub(lambda m: ports[m.group(0)], s)
        s = re.sub(r"\b\d{14}\.(?=[0-9A-Za-z]{6,}@)", "<STAMP>.", s)
        if idre:
            s = idre.sub("<QID>", s)
        s = re.sub(DATE, "<DATE>", s)
        s = re.sub(CTIME, "<CTIME>", s)
        s = re.sub(r"<QID>\.\d{9,11}/", "<BOUNDARY>/", s)
        s = re.sub(r"\b[0-9a-f]{10,16}\.\d{9,11}/", "<BOUNDARY>/", s)
        s = re.sub(r"\((?:Postfix|Rowpost)\)", "(MTA)", s, flags=re.I)
        s = re.sub(r"\((?:Postfix|Rowpost), from userid", "(MTA, from userid", s,
                   flags=re.I)
        s = re.sub(r"(E?SMTP) (?:Postfix|Rowpost)\b", r"\1 MTA", s, flags=re.I)
        s = re.sub(r"X-(?:Postfix|Rowpost)-", "X-MTA-", s, flags=re.I)
        s = re.sub(r"\bPORT=\d{5}\b", "PORT=<port>", s)
        s = re.sub(r"(YP_LAST_MODIFIED|YP_MASTER_NAME):\t\S+", r"\1:\t<X>", s)
        s = re.sub(r"(?m)^/\S+/(post\w+|sendmail|mailq|newaliases): ", r"\1: ", s)
        s = re.sub(r"(?:delay)=[\d.]+, delays=[\d./]+", "delay=<T>, delays=<T>", s)
        s = re.sub(r"using (TLSv[\d.]+) with cipher [^\n)]*\)\)?",
                   r"using \1 <CIPHER>)", s)
        s = re.sub(r"(conversation with \S+ timed out[^\n]*|timed out) after [\d.]+ s",
                   r"\1", s)
        return s

    def walk(x):
        if isinstance(x, str):
            return text(x)
        if isinstance(x, list):
            return [walk(y) for y in x]
        if isinstance(x, dict):
            return {k: (y if k == "_maillog" else walk(y)) for k, y in x.items()}
        return x

    res = walk(res)
    for n, ms in res.get("sinks", {}).items():
        ms.sort(key=lambda m: json.dumps(m, sort_keys=True))
    for n, ss in res.get("sessions", {}).items():
        ss.sort(key=json.dumps)
    for key in ("policy", "policy2"):
        for req in res.get(key, []):
            for kv in req:
                if kv[0] in ("instance", "client_port", "queue_id") and kv[1]:
                    kv[1] = "<%s>" % kv[0]
                elif kv[0] == "ccert_pubkey_fingerprint" and kv[1]:
                    kv[1] = "<fp>"
                elif kv[0] == "encryption_cipher" and kv[1]:
                    kv[1] = "<cipher>"
    for key in ("milter", "milter2"):
        for conv in res.get(key, []):
            for e in conv:
                for k in list(e[2]):
                    if k in ("i", "{i}") and e[2][k]:
                        e[2][k] = "<QID>"
                    if k == "v":
                        e[2][k] = "<version>"
                    if k == "{client_port}":
                        e[2][k] = "<port>"
    for f in res.get("files", []):
        f["content"] = re.sub(r"(?m)^(arg|env\w*)=(\d+)$", lambda m: m.group(1)
                              + "=" + uids.get(m.group(2), m.group(2)),
                              f["content"])
    res.get("files", []).sort(key=lambda f: json.dumps(f, sort_keys=True))
    if "auth" in res:
        res["auth"] = [[w for w in r if not re.match(r"(rport|lport)=", w)]
                       for r in res["auth"]]
    return res


# --------------------------------------------------------------------------
# comparison levels

def mask_received(t):
    return re.sub(r"(?m)^Received:.*(?:\n[ \t].*)*", "Received: *", t)


DSN_KEEP = re.compile(
    r"(?i)^(from|to|return-path|auto-submitted|content-type|reporting-mta|"
    r"original-envelope-id|final-recipient|original-recipient|action|status|"
    r"remote-mta|diagnostic-code|content-transfer-encoding|delivered-to|"
    r"x-mta-sender):(.*)")


def l1_message(t):
    """Level 1 view of one message or mailbox text."""
    if "multipart/report" not in t:
        return mask_received(t)
    # Keep the structure and the fields of a delivery status notification,
    # and the whole of the returned part.
    parts = re.split(r"(?m)^(?=Content-Description: (?:Undelivered|Delivery "
                     r"report|Message|Notification))", t)
    unfolded = re.sub(r"\n[ \t]+", " ", t)
    keep = []
    inret = False
    for ln in unfolded.split("\n"):
        if inret:
            keep.append(ln)
            continue
        m = DSN_KEEP.match(ln)
        if m:
            k, v = m.group(1).lower(), m.group(2).strip()
            if k == "content-type":
                v = v.split(";")[0].strip().lower()
                if v in ("message/rfc822", "text/rfc822-headers",
                         "message/rfc822-headers", "message/global"):
                    inret = True
            if k == "diagnostic-code":
                x = re.match(r"([\w-]+); *(\d{3}(?:[ -]\d\.\d+\.\d+)?)?", v)
                v = "%s; %s" % (x.group(1), x.group(2) or "") if x else v
                v = re.sub(r"(?i)^x-(?:postfix|rowpost)", "x-mta", v)
            if k == "from":
                x = re.search(r"[\w.+-]+@[\w.-]+", v)
                v = x.group(0) if x else v
            keep.append("%s: %s" % (k, v))
    # recipients of different delivery agents come in any order
    out, blocks = [], []
    i = 0
    while i < len(keep):
        if keep[i].startswith("final-recipient: "):
            b = [keep[i]]
            i += 1
            while i < len(keep) and re.match(
                    r"(original-recipient|action|status|remote-mta|"
                    r"diagnostic-code): ", keep[i]):
                b.append(keep[i])
                i += 1
            blocks.append(b)
            continue
        if blocks:
            out += sum(sorted(blocks), [])
            blocks = []
        out.append(keep[i])
        i += 1
    out += sum(sorted(blocks), [])
    return mask_received("\n".join(out))


def level1(res):
    if "error" in res:
        return {"error": True}
    r = {}
    if res.get("crash"):
        r["crash"] = True
    for k in ("idle", "postmap_rc", "postalias_rc"):
        if k in res:
            r[k] = res[k]
    st = []
    for s in res["steps"]:
        if "smtp" in s:
            o = []
            for e in s["smtp"]:
                x = [e["c"], e["code"], e.get("enh", "")]
                if e["c"].upper().startswith(("EHLO", "LHLO")) and e["code"] == 250:
                    x.append(sorted(t.upper() for t in e["text"][1:]))
                o.append(x)
            st.append(o)
        elif "cmd" in s:
            x = {"cmd": s["cmd"], "rc": s["rc"]}
            if s.get("exact"):
                x["out"] = s["out"]
            st.append(x)
        elif "queue" in s:
            st.append({"queue": l1_queue(s["queue"])})
        else:
            st.append(s)
    r["steps"] = st
    r["queue"] = l1_queue(res.get("queue", []))
    r["sinks"] = {}
    for n, ms in res.get("sinks", {}).items():
        out = []
        for m in ms:
            m = dict(m)
            m["data"] = l1_message(m["data"])
            if "multipart/report" in m["data"] or "multipart/report" in str(m):
                # the size parameter follows the texts
                m["mail"] = re.sub(r" SIZE=\d+", "", m["mail"])
            m["mail"] = re.sub(r" SIZE=\d+", " SIZE", m["mail"])
            m["rcpt"] = sorted(m["rcpt"])
            out.append(m)
        out.sort(key=lambda m: json.dumps(m, sort_keys=True))
        r["sinks"][n] = out
    r["files"] = sorted(
        ({**f, "content": l1_message(f["content"])} for f in res.get("files", [])),
        key=lambda f: json.dumps(f, sort_keys=True))
    for k in ("policy", "policy2"):
        if k in res:
            r[k] = [dict(x) for x in res[k]]
            for d in r[k]:
                if d.get("size", "0") != "0":
                    d["size"] = "N"
    for k in ("milter", "milter2"):
        if k in res:
            r[k] = [[[e[0], e[1]] for e in conv if e[0] != "optneg"]
                    for conv in res[k]]
    if "auth" in res:
        r["auth"] = res["auth"]
    return r


def l1_queue(q):
    out = []
    for x in q:
        rc = []
        for a, why in x["recipients"]:
            m = re.search(r"\b([245]\d\d)[ -]", why or "")
            rc.append([a, bool(why), m.group(1) if m else ""])
        out.append([x["queue"], x["sender"], rc, x.get("forced_expire", False)])
    return sorted(out, key=json.dumps)


def sort_report(text):
    """A report names the recipients of different delivery agents in any order:
    sort each run of its paragraphs about one recipient."""
    if not isinstance(text, str) or "multipart/report" not in text:
        return text
    out, run = [], []
    for par in re.split(r"\n[ \t]*\n", text):
        if re.match(r"\n*(<[^>]*>|Final-Recipient|Original-Recipient)[^\n]*:", par):
            run.append(par)
            continue
        out += sorted(run) + [par]
        run = []
    return "\n\n".join(out + sorted(run))


def level2(res):
    """Everything, less the figures that follow from the length of a queue id
    or from the clock."""
    r = {k: v for k, v in res.items() if not k.startswith("_")}
    mta = json.dumps([r.get("sinks"), r.get("sessions"), r.get("log")])
    mta = re.sub(r"\b(SIZE|size)=\d+", r"\1=<N>", mta)
    r["sinks"], r["sessions"], r["log"] = json.loads(mta)
    for ms in (r["sinks"] or {}).values():
        for m in ms:
            m["data"] = sort_report(m["data"])
    r["files"] = [{**f, "content": sort_report(f["content"])}
                  for f in r.get("files") or ()]
    for ss in r["sessions"].values() if r["sessions"] else ():
        for x in ss:
            while x and x[-1] in ("QUIT", "<eof>"):
                x.pop()
    # daemons write the log side by side; a program that reads main.cf again
    # repeats its warnings
    if r["log"]:
        r["log"].sort()
    r["steps"] = copy.deepcopy(r.get("steps", []))
    for x in r["steps"]:
        if "err" in x:
            x["err"] = "\n".join(dict.fromkeys(x["err"].split("\n")))
    t = json.dumps(r)
    t = re.sub(r"main\.cf, line \d+:", "main.cf, line <N>:", t)
    t = re.sub(r"arrival_time(\W+)\d{9,11}", r"arrival_time\1<T>", t)
    t = re.sub(r"message_size(\W+)\d+(?: +\d+)*", r"message_size\1<N>", t)
    t = re.sub(r"client_port=\d+", "client_port=<N>", t)
    t = re.sub(r"\b\d{10}\.[PVM]\d\w*\.\w+", "<UNIQ>", t)
    t = re.sub(r"X-(?:Postfix|Rowpost);", "X-MTA;", t)
    t = re.sub(r"<QID>([*!#]?) +\d+ <CTIME>", r"<QID>\1 <N> <CTIME>", t)
    return json.loads(t)


def first_diff(a, b, path=""):
    """Human readable differences between two JSON values."""
    if type(a) is not type(b):
        return ["%s: expected %s got %s" % (path, short(a), short(b))]
    if isinstance(a, dict):
        out = []
        for k in sorted(set(a) | set(b)):
            if k not in a:
                out.append("%s.%s: unexpected %s" % (path, k, short(b[k])))
            elif k not in b:
                out.append("%s.%s: missing, expected %s" % (path, k, short(a[k])))
            else:
                out += first_diff(a[k], b[k], path + "." + k)
        return out
    if isinstance(a, list):
        out = []
        for i in range(max(len(a), len(b))):
            p = "%s[%d]" % (path, i)
            if i >= len(a):
                out.append("%s: unexpected %s" % (p, short(b[i])))
            elif i >= len(b):
                out.append("%s: missing, expected %s" % (p, short(a[i])))
            else:
                out += first_diff(a[i], b[i], p)
        return out
    if a != b:
        if isinstance(a, str) and "\n" in a and isinstance(b, str):
            la, lb = a.split("\n"), b.split("\n")
            out = []
            import difflib
            for d in difflib.unified_diff(la, lb, "expected", "got", n=0,
                                          lineterm=""):
                out.append("%s: %s" % (path, d))
            return out[:30]
        return ["%s: expected %s got %s" % (path, short(a), short(b))]
    return []


def judge(golden, result):
    """{"l1", "l2": does it match at this level; "diff": what differs}."""
    if "error" in result:
        return {"l1": False, "l2": False, "diff": [result["error"]],
                "trace": result.get("trace", "")}
    # a JSON round trip makes both sides alike
    result = json.loads(json.dumps(result))
    d1 = first_diff(level1(golden), level1(result))
    d2 = first_diff(level2(golden), level2(result))
    return {"l1": not d1, "l2": not d2, "diff": d1 or d2}


def short(x):
    s = json.dumps(x)
    return s if len(s) < 300 else s[:300] + "..."


# --------------------------------------------------------------------------

def load_cases(opts):
    cases = []
    for f in sorted(glob.glob(os.path.join(opts.cases, "*.json"))):
        with open(f) as h:
            d = json.load(h)
        for c in d["cases"]:
            c.setdefault("topic", d["topic"])
            cases.append(c)
    if opts.topic:
        cases = [c for c in cases if c["topic"] in opts.topic.split(",")]
    if opts.only:
        cases = [c for c in cases
                 if re.search(opts.only, c["topic"] + "/" + c["name"])]
    if opts.split:
        cases = [c for c in cases if c.get("split") == opts.split]
    return cases


def load_golden(opts):
    out = {}
    for f in sorted(glob.glob(os.path.join(opts.golden, "*.json"))):
        with open(f) as h:
            d = json.load(h)
        for n, r in d["cases"].items():
            out[d["topic"] + "/" + n] = r
    return out


def ensure_users():
    for u in USERS:
        try:
            pwd.getpwnam(u)
        except KeyError:
            subprocess.run(["useradd", "-m", "-s", "/bin/sh", u], check=True)


def make_tls(d):
    """A throw-away key pair for the TLS cases (needs openssl(1))."""
    cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
    if not shutil.which("openssl"):
        return None
    p = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                        "-days", "3650", "-subj", "/CN=mail.rp.test",
                        "-keyout", key, "-out", cert],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if p.returncode:
        return None
    os.chmod(d, 0o755)
    os.chmod(key, 0o600)
    return (cert, key)


def run_all(cases, opts):
    ensure_users()
    tlsdir = tempfile.mkdtemp(prefix="rptls")
    opts.tls = make_tls(tlsdir)
    slots = list(range(opts.jobs))
    lock = threading.Lock()
    results = {}
    done = [0]

    def job(c):
        with lock:
            slot = slots.pop()
        t = time.time()
        try:
            r = run_case(c, slot, opts)
        finally:
            with lock:
                slots.append(slot)
        with lock:
            done[0] += 1
            results[c["topic"] + "/" + c["name"]] = r
            note = ""
            if "error" in r:
                note = "  ERROR " + r["error"][:200]
            elif r.get("crash"):
                note = "  CRASH"
            elif r.get("idle"):
                note = "  not idle"
            if opts.verbose or note:
                print("[%d/%d] %s/%s %.1fs%s" % (
                    done[0], len(cases), c["topic"], c["name"],
                    time.time() - t, note), flush=True)
        return r

    try:
        with concurrent.futures.ThreadPoolExecutor(opts.jobs) as ex:
            list(ex.map(job, cases))
    finally:
        shutil.rmtree(tlsdir, ignore_errors=True)
    return results


def save_golden(cases, results, opts, version):
    os.makedirs(opts.golden, exist_ok=True)
    topics = {}
    for c in cases:
        topics.setdefault(c["topic"], []).append(c["name"])
    for t, names in topics.items():
        p = os.path.join(opts.golden, t + ".json")
        d = {"topic": t, "recorded": "", "cases": {}}
        if os.path.exists(p):
            with open(p) as h:
                d = json.load(h)
        d["recorded"] = version
        for n in names:
            d["cases"][n] = results[t + "/" + n]
        with open(p, "w") as h:
            json.dump(d, h, indent=1, sort_keys=True)
            h.write("\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("command", choices=["list", "record", "run", "show"])
    ap.add_argument("--mta", default="postfix", choices=sorted(ADAPTERS))
    ap.add_argument("--cases", default=os.path.join(HERE, "cases"))
    ap.add_argument("--golden", default=os.path.join(HERE, "golden"))
    ap.add_argument("--topic")
    ap.add_argument("--only", help="regular expression on topic/name")
    ap.add_argument("--split", choices=["open", "held"])
    ap.add_argument("--jobs", type=int, default=4)
    ap.add_argument("--port-base", type=int, default=20000)
    ap.add_argument("--keep", action="store_true", help="keep temp directories")
    ap.add_argument("--keep-log", action="store_true")
    ap.add_argument("--level", type=int, default=1, choices=[1, 2],
                    help="the level that decides the exit status")
    ap.add_argument("--report", help="write a JSON report")
    ap.add_argument("-v", "--verbose", action="store_true")
    ap.add_argument("-q", "--quiet", action="store_true", help="no differences")
    opts = ap.parse_args()
    cases = load_cases(opts)
    if opts.command == "list":
        n = {}
        for c in cases:
            n.setdefault(c["topic"], []).append(c)
            if opts.verbose:
                print("%-6s %s/%s: %s" % (c.get("split", "-"), c["topic"],
                                          c["name"], c.get("about", "")))
        for t in sorted(n):
            print("%-28s %4d  (open %d, held %d)" % (
                t, len(n[t]), sum(c.get("split") == "open" for c in n[t]),
                sum(c.get("split") == "held" for c in n[t])))
        print("%-28s %4d" % ("total", len(cases)))
        return 0
    if os.geteuid() != 0:
        print("must run as root (delivery changes user ids)", file=sys.stderr)
        return 2
    t0 = time.time()
    results = run_all(cases, opts)
    if opts.command == "show":
        for k in sorted(results):
            r = dict(results[k])
            log = r.pop("_maillog", None)
            print("==", k)
            print(json.dumps(r, indent=1, ensure_ascii=True))
            if log:
                print(log)
        return 0
    if opts.command == "record":
        errs = [k for k, r in results.items() if "error" in r]
        ver = opts.mta + " " + subprocess.run(
            ["postconf", "-d", "-h", "mail_version"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL).stdout.decode().strip() \
            if opts.mta == "postfix" else opts.mta
        save_golden([c for c in cases
                     if c["topic"] + "/" + c["name"] not in errs],
                    results, opts, ver)
        print("recorded %d cases, %d errors, %.0fs" % (
            len(cases) - len(errs), len(errs), time.time() - t0))
        return 1 if errs else 0
    golden = load_golden(opts)
    report = {}
    ok1 = ok2 = missing = 0
    topics = {}
    for c in cases:
        k = c["topic"] + "/" + c["name"]
        t = topics.setdefault(c["topic"], [0, 0, 0])
        t[0] += 1
        if k not in golden:
            missing += 1
            report[k] = {"l1": False, "l2": False, "diff": ["no golden record"]}
            continue
        report[k] = judge(golden[k], results[k])
        if report[k]["l1"]:
            ok1 += 1
            t[1] += 1
        if report[k]["l2"]:
            ok2 += 1
            t[2] += 1
        if not opts.quiet:
            if not report[k]["l1"]:
                print("FAIL-1 %s" % k)
                for x in report[k]["diff"][:12]:
                    print("      ", x)
            elif not report[k]["l2"]:
                print("DIFF-2 %s" % k)
                for x in report[k]["diff"][:6]:
                    print("      ", x)
    print("%-28s %5s %7s %7s" % ("topic", "cases", "level1", "level2"))
    for t in sorted(topics):
        print("%-28s %5d %7d %7d" % ((t,) + tuple(topics[t])))
    print("%-28s %5d %7d %7d   (%.0fs)" % ("total", len(cases), ok1, ok2,
                                          time.time() - t0))
    if opts.report:
        with open(opts.report, "w") as h:
            json.dump(report, h, indent=1, sort_keys=True)
    good = ok1 if opts.level == 1 else ok2
    return 0 if good == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
