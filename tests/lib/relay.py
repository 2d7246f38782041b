"""A Rowpost instance for a test: writes main.cf and master.cf, starts and stops it, reads its log, its processes, its
queue database."""
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess

import pgtest
from deadline import DEFAULT, STRETCH, Late, wait_until

BASE_MAIN = {
    "compatibility_level": "3.6",
    "myhostname": "relay.rp.test",
    "mydomain": "rp.test",
    "myorigin": "rp.test",
    "mydestination": "",
    "mynetworks": "127.0.0.0/8",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "smtp_dns_support_level": "disabled",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "smtpd_error_sleep_time": "0",
    "biff": "no",
    # The same on every machine: by itself a service has a process for each two cores. What one of them knows (a table that has
    # changed, a client that came too often) the next one learns a moment later.
    "smtpd_processes": "1",
    "smtp_agent_processes": "1",
}

BASE_MASTER = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
"""

PROGRAM_LIMIT = 30.0
CLOSE_LIMIT = 8.0


class RelayError(AssertionError):
    """A program of the relay failed where the test counted on it."""


PORTS = range(10000, 20000)     # below those that the kernel gives to clients, who would take one while nobody listens there
given = set()


def free_port():
    """A port of 127.0.0.1 that nobody has, and that nobody else in this test is given."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as s:
            if port in given or s.connect_ex(("127.0.0.1", port)) == 0:
                continue
        given.add(port)
        return port


class Log:
    """The mail log, read as it grows."""

    def __init__(self, path):
        self.path = path

    def text(self):
        try:
            with open(self.path, "rb") as f:
                return f.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def lines(self):
        return self.text().splitlines()

    def mark(self):
        """A place to search from later: pass it as `since`."""
        return len(self.text())

    def find(self, pattern, since=0):
        return re.search(pattern, self.text()[since:], re.M)

    def find_all(self, pattern, since=0):
        return list(re.finditer(pattern, self.text()[since:], re.M))

    def wait_for(self, pattern, limit=DEFAULT, since=0, count=1):
        """The count-th match of the regular expression (line by line)."""
        def enough():
            found = self.find_all(pattern, since)
            return found[count - 1] if len(found) >= count else None
        try:
            return wait_until("log line %r" % pattern, enough, limit)
        except Late as e:
            raise Late("%s\n%s" % (e, self.tail())) from None

    def tail(self, lines=25):
        return "\n".join(self.lines()[-lines:])


class Relay:
    """One node. `database` is the value of queue_databases (None: embedded). main: parameters over BASE_MAIN, None
    leaves one out. master: lines to add. smtpd_opts: -o settings of the listener on self.port."""

    def __init__(self, directory, bin_dir, database, main=None, master=(), smtpd_opts=(), name="relay",
                 base_master=BASE_MASTER):
        self.name = name
        self.dir = os.path.join(directory, name)
        self.bin = bin_dir
        self.database = database
        self.conf = self.dir + "/conf"
        self.queue_dir = self.dir + "/q"
        self.data_dir = self.dir + "/d"
        self.port = free_port()
        self.main = dict(BASE_MAIN, **(main or {}))
        self.master = list(master)
        self.smtpd_opts = list(smtpd_opts)
        self.base_master = base_master
        self.log = Log(self.dir + "/maillog")
        self.started = False
        for d in (self.conf, self.queue_dir, self.data_dir):
            os.makedirs(d)
        self.write_config()

    # ---------------------------------------------------------------- configuration

    def write_config(self, **changes):
        """Write main.cf and master.cf again, with changed parameters."""
        self.main.update(changes)
        main = {"queue_directory": self.queue_dir, "data_directory": self.data_dir,
                "maillog_file": self.log.path, "maillog_file_prefixes": self.dir}
        if self.database:
            main["queue_databases"] = self.database
        main.update(self.main)
        with open(self.conf + "/main.cf", "w") as f:
            f.writelines("%s = %s\n" % (k, v) for k, v in main.items() if v is not None)
        with open(self.conf + "/master.cf", "w") as f:
            f.write("127.0.0.1:%d inet n - n - - smtpd\n" % self.port)
            f.writelines("  -o %s\n" % o for o in self.smtpd_opts)
            f.write(self.base_master)
            f.writelines(ln + "\n" for ln in self.master)

    def write_file(self, name, text):
        """A file in the configuration directory; its full name."""
        path = os.path.join(self.conf, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    # ---------------------------------------------------------------- programs

    def run(self, program, *args, stdin=b"", limit=PROGRAM_LIMIT):
        """Run one of the programs with our configuration directory; a CompletedProcess with text."""
        opt = "-C" if program in ("sendmail", "mailq", "newaliases") else "-c"
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        p = subprocess.run([os.path.join(self.bin, program), opt, self.conf] + [str(a) for a in args],
                           input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit * STRETCH,
                           env=self.environ(), cwd=self.dir)
        p.stdout, p.stderr = p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
        return p

    def must_run(self, program, *args, **kw):
        """The same; anything but exit status 0 is an error."""
        p = self.run(program, *args, **kw)
        if p.returncode:
            raise RelayError("%s %s: exit status %d\n%s%s\n%s" % (
                program, " ".join(map(str, args)), p.returncode, p.stdout, p.stderr, self.log.tail()))
        return p

    @staticmethod
    def environ():
        e = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}
        for k in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "CRASH_POINT"):
            if k in os.environ:
                e[k] = os.environ[k]
        return e

    def start(self):
        self.started = True
        self.must_run("rowpost", "start")
        return self

    def stop(self):
        p = self.must_run("rowpost", "stop")
        self.started = False
        return p

    def reload(self):
        return self.must_run("rowpost", "reload")

    def check(self):
        return self.run("rowpost", "check")

    def close(self):
        """At the end of a test, whatever became of it."""
        if not self.started:
            return
        try:
            self.run("rowpost", "stop", limit=CLOSE_LIMIT / STRETCH)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill9()

    # ---------------------------------------------------------------- processes

    def processes(self):
        """{pid: service} of our living processes. A service process works in queue_directory and has "-n NAME" on its
        command line (master.cf's first column); master is "master"."""
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open("/proc/%s/cmdline" % name, "rb") as f:
                    words = [w.decode("utf-8", "replace") for w in f.read().split(b"\0")]
                cwd = os.readlink("/proc/%s/cwd" % name)
            except OSError:
                continue
            if cwd != self.queue_dir and self.conf not in words:
                continue
            if "-n" in words:
                found[int(name)] = words[words.index("-n") + 1]
            elif words and words[0]:
                found[int(name)] = os.path.basename(words[0])
        return found

    def pids(self, service):
        """Processes of a service by master.cf name or by program ("smtpd" finds the listener's)."""
        out = []
        for pid, name in self.processes().items():
            try:
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    program = os.path.basename(f.read().split(b"\0")[0].decode("utf-8", "replace"))
            except OSError:
                continue
            if service in (name, program):
                out.append(pid)
        return sorted(out)

    def wait_pids(self, service, limit=DEFAULT, other_than=()):
        """Processes of the service, none of them in other_than; waits for the first."""
        return wait_until("a process of %s" % service,
                          lambda: [p for p in self.pids(service) if p not in other_than], limit)

    def kill(self, service, sig=signal.SIGKILL):
        """Signal all processes of a service; their numbers."""
        pids = self.pids(service)
        if not pids:
            raise RelayError("no process of %s among %s" % (service, self.processes()))
        for pid in pids:
            # A worker ends by itself when its agent does.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        return pids

    def kill9(self):
        """End of the node: SIGKILL to everything it runs (not to a PostgreSQL that the test brought)."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(lambda: "end of %s" % self.processes(), lambda: not self.processes())
        self.started = False

    # ---------------------------------------------------------------- queue

    def sql(self, query, limit=PROGRAM_LIMIT):
        """Rows of a query in our first queue database."""
        return pgtest.run_sql(self.database.split()[0].rstrip(","), query, limit)

    def queue(self):
        """Entries of `postqueue -j`."""
        p = self.must_run("postqueue", "-j")
        return [json.loads(ln) for ln in p.stdout.splitlines() if ln.strip()]

    def wait_queue(self, condition, limit=DEFAULT):
        """The queue as soon as condition(entries) is true."""
        seen = []

        def good():
            seen[:] = [self.queue()]
            return condition(seen[0])
        try:
            wait_until("queue state", good, limit, step=0.1)
        except Late as e:
            raise Late("%s: %s\n%s" % (e, seen and json.dumps(seen[0])[:2000], self.log.tail())) from None
        return seen[0]

    def wait_empty(self, limit=DEFAULT):
        return self.wait_queue(lambda q: not q, limit)
