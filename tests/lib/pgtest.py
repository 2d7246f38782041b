#!/usr/bin/env python3
"""A private PostgreSQL cluster for tests: own directory, UNIX socket only, gone afterwards.

As a module:
    with Cluster() as pg:
        uri = pg.create_database("queue")
        rows = pg.sql("SELECT 1", "queue")

As a command, with the cluster for as long as COMMAND runs:
    pgtest.py run [--fsync] [--database NAME] -- COMMAND...
The command finds ROWPOST_TEST_DB (libpq URI of the maintenance database), PGHOST, PGUSER and, with
--database, PGDATABASE in its environment.

The server runs as an unprivileged user when the caller is root (initdb refuses root). It is a child of the
process that started it and gets SIGQUIT when that process dies, so that nothing is left behind.
"""
import argparse
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from deadline import STRETCH

PROGRAM_DIRS = ["/usr/lib/postgresql/%d/bin" % v for v in range(20, 12, -1)]
SUPERUSER = "postgres"
START_LIMIT = 60.0
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PgError(Exception):
    """A statement or a server program failed; the text is what it printed."""


def program(name):
    """Full name of a PostgreSQL server program, the newest version installed."""
    for d in PROGRAM_DIRS:
        if os.path.exists(os.path.join(d, name)):
            return os.path.join(d, name)
    found = shutil.which(name)
    if not found:
        raise PgError("no %s: install postgresql" % name)
    return found


def unprivileged(argv, pdeathsig=False):
    """argv as the user that owns the cluster; nothing to do when we are not root."""
    die = ["--pdeathsig", "QUIT"] if pdeathsig else []
    if os.geteuid() != 0:
        return (["setpriv"] + die + argv) if die else argv
    u = pwd.getpwnam(owner_name())
    return ["setpriv", "--reuid", str(u.pw_uid), "--regid", str(u.pw_gid), "--clear-groups"] + die + argv


def owner_name():
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            pass
    raise PgError("no user postgres or nobody to run the server")


class Cluster:
    """One server. fsync=False is for tests that never kill the machine: it makes commits and databases cheap,
    and loses nothing when only processes die."""

    def __init__(self, fsync=False, max_connections=500, settings=None, base=None, host=None):
        """host: a netns.Host to run on; then the server listens there for TCP too."""
        self.settings = {
            "listen_addresses": "''",
            "max_connections": max_connections,
            "superuser_reserved_connections": 5,
            "shared_buffers": "'64MB'",
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "max_wal_size": "'4GB'",
            "checkpoint_timeout": "'1h'",
            "wal_level": "replica",
            "max_wal_senders": 8,
            "hot_standby": "on",
            "wal_keep_size": "'256MB'",
            "jit": "off",
            "log_min_messages": "warning",
            "log_line_prefix": "'%m [%p] %q%u@%d '",
            "timezone": "'UTC'",
        }
        if host:
            self.settings["listen_addresses"] = "'*'"
        self.settings.update(settings or {})
        self.host = host
        self.owner_pid = os.getpid()
        self.base = base or tempfile.mkdtemp(prefix="rppg")
        self.data = os.path.join(self.base, "data")
        self.log = os.path.join(self.base, "log")
        self.server = None
        self.standbys = []
        os.chmod(self.base, 0o755)
        if os.geteuid() == 0:
            shutil.chown(self.base, owner_name(), pwd.getpwnam(owner_name()).pw_gid)

    # ---------------------------------------------------------------- life

    def __enter__(self):
        try:
            self.init()
            self.start()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_):
        self.destroy()

    def init(self):
        self._tool("initdb", "-D", self.data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
                   "--locale=C", "--no-sync")
        self._write_settings()
        if self.host:
            with open(os.path.join(self.data, "pg_hba.conf"), "a") as f:
                f.write("host all all 10.0.0.0/8 trust\n")

    def _write_settings(self):
        with open(os.path.join(self.data, "postgresql.auto.conf"), "w") as f:
            f.write("unix_socket_directories = '%s'\n" % self.base)
            for name, value in self.settings.items():
                f.write("%s = %s\n" % (name, value))

    def configure(self, **settings):
        """Change settings; they are in force after restart() or, where that is enough, reload()."""
        self.settings.update(settings)
        self._write_settings()

    def reload(self):
        os.kill(self.server.pid, signal.SIGHUP)

    def start(self, wait=True):
        if self.running():
            return
        with open(self.log, "ab") as log:
            self.server = subprocess.Popen(
                (self.host.prefix if self.host else []) +
                unprivileged([program("postgres"), "-D", self.data], pdeathsig=True),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        if wait:
            self.wait_ready()

    def wait_ready(self, limit=START_LIMIT):
        end = time.monotonic() + limit * STRETCH
        while time.monotonic() < end:
            if self.server.poll() is not None:
                raise PgError("the server did not start:\n" + self.log_text()[-2000:])
            p = subprocess.run([program("pg_isready"), "-q", "-h", self.base, "-t", "5"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if p.returncode == 0:
                return
            time.sleep(0.05)
        raise PgError("the server was not ready after %g s:\n%s" % (limit, self.log_text()[-2000:]))

    def running(self):
        return self.server is not None and self.server.poll() is None

    @property
    def pid(self):
        return self.server.pid if self.running() else None

    def stop(self, mode="fast", limit=30.0):
        """mode: smart, fast or immediate (what a crash of all its processes is)."""
        if not self.running():
            return
        children = self._children()
        os.kill(self.server.pid, STOP_SIGNALS[mode])
        try:
            self.server.wait(limit * STRETCH)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._wait_gone(children)

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def kill9(self):
        """SIGKILL to the postmaster, then wait until its orphans have noticed: only then may it start again."""
        if not self.running():
            return
        children = self._children()
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self._wait_gone(children)

    def _children(self):
        """(pid, start time) of the server's processes."""
        out = []
        for p in os.listdir("/proc"):
            if p.isdigit():
                st = proc_stat(int(p))
                if st and st[0] == self.server.pid:
                    out.append((int(p), st[1]))
        return out

    @staticmethod
    def _wait_gone(children, limit=20.0):
        end = time.monotonic() + limit * STRETCH
        while any(alive(*c) for c in children) and time.monotonic() < end:
            time.sleep(0.02)
        for pid, since in children:
            if alive(pid, since):
                os.kill(pid, signal.SIGKILL)

    def destroy(self):
        if os.getpid() != self.owner_pid:
            return  # a forked copy of us
        for s in self.standbys:
            s.destroy()
        self.stop("immediate")
        shutil.rmtree(self.base, ignore_errors=True)

    # ---------------------------------------------------------------- standby

    def standby(self, name="s1", synchronous=True):
        """A running streaming standby. synchronous: commits on self wait for it from here on."""
        slot = "".join(c if c.isalnum() else "_" for c in name)
        s = Cluster(settings=self.settings)
        s.owner_pid = os.getpid()
        self._tool("pg_basebackup", "-h", self.base, "-U", SUPERUSER, "-D", s.data, "-X", "stream",
                   "-c", "fast", "--no-sync")
        s.settings["primary_conninfo"] = "'host=%s user=%s application_name=%s'" % (self.base, SUPERUSER, slot)
        s.settings.pop("synchronous_standby_names", None)
        s._write_settings()
        with open(os.path.join(s.data, "standby.signal"), "w"):
            pass
        if os.geteuid() == 0:
            shutil.chown(os.path.join(s.data, "standby.signal"), owner_name())
        s.start()
        self.standbys.append(s)
        if synchronous:
            self.configure(synchronous_standby_names="'%s'" % slot)
            self.reload()
            self.wait_sql("SELECT 1 FROM pg_stat_replication WHERE application_name = '%s' "
                          "AND sync_state = 'sync'" % slot)
        else:
            self.wait_sql("SELECT 1 FROM pg_stat_replication WHERE application_name = '%s' "
                          "AND state = 'streaming'" % slot)
        return s

    def promote(self):
        """Make a standby the primary; returns when it takes writes."""
        self.sql("SELECT pg_promote(true, 30)")
        self.wait_sql("SELECT 1 WHERE NOT pg_is_in_recovery()")

    # ---------------------------------------------------------------- databases

    def uri(self, database=SUPERUSER, user=SUPERUSER):
        return "postgresql:///%s?host=%s&user=%s" % (database, self.base, user)

    def environ(self, database=SUPERUSER):
        return {"ROWPOST_TEST_DB": self.uri(), "PGHOST": self.base, "PGUSER": SUPERUSER,
                "PGDATABASE": database}

    def sql(self, query, database=SUPERUSER, limit=60.0):
        return run_sql(self.uri(database), query, limit)

    def wait_sql(self, query, database=SUPERUSER, limit=30.0):
        """Ask until there is a row; errors count as no row, for the server may be on its way up."""
        end = time.monotonic() + limit * STRETCH
        seen = None
        while time.monotonic() < end:
            try:
                rows = self.sql(query, database)
                if rows:
                    return rows
            except PgError as e:
                seen = e
            time.sleep(0.05)
        raise PgError("no row in %g s for %s (%s)" % (limit, query, seen))

    def create_database(self, name, template=None):
        self.sql('CREATE DATABASE "%s"%s' % (name, ' TEMPLATE "%s"' % template if template else ""))
        return self.uri(name)

    def drop_database(self, name):
        self.sql('DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name)

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def _tool(self, name, *args):
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        p = subprocess.run(unprivileged([program(name)] + list(args)), stdin=subprocess.DEVNULL, env=env,
                           cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if p.returncode:
            raise PgError("%s: %s" % (name, p.stdout.decode(errors="replace")))


def proc_stat(pid):
    """(parent, start time, state) of a process, or None."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            w = f.read().rpartition(")")[2].split()
        return int(w[1]), int(w[19]), w[0]
    except OSError:
        return None


def alive(pid, since):
    """Is the process that started at `since` still there (and not only waiting to be reaped)?"""
    st = proc_stat(pid)
    return st is not None and st[1] == since and st[2] != "Z"


FIELD_SEPARATOR = "\x1f"
ROW_SEPARATOR = "\x1e"


def run_sql(uri, query, limit=60.0):
    """Rows of a query as lists of text; an SQL NULL is None."""
    p = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-P", "null=\x01", "-F", FIELD_SEPARATOR,
                        "-R", ROW_SEPARATOR, "-d", uri, "-f", "-"],
                       input=query.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit * STRETCH)
    if p.returncode:
        raise PgError(p.stderr.decode(errors="replace").strip())
    text = p.stdout.decode("utf-8", "surrogateescape")
    if not text:
        return []
    text = text[:-1] if text.endswith("\n") else text
    return [[None if v == "\x01" else v for v in row.split(FIELD_SEPARATOR)]
            for row in text.split(ROW_SEPARATOR)]


class held:
    """with held(uri, "SELECT ... FOR UPDATE"): a session keeps the transaction of this statement open inside."""

    def __init__(self, uri, query):
        self.uri, self.query = uri, query

    def __enter__(self):
        self.psql = subprocess.Popen(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", self.uri], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.psql.stdin.write("BEGIN;\n%s;\n\\echo held\n" % self.query)
        self.psql.stdin.flush()
        for line in self.psql.stdout:
            if line == "held\n":
                return self
        raise PgError("psql ended at " + self.query)

    def __exit__(self, *_):
        self.psql.stdin.close()
        self.psql.stdout.read()
        self.psql.wait()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = ap.add_subparsers(dest="verb", required=True)
    run = sub.add_parser("run", help="run a command with a cluster of its own")
    run.add_argument("--fsync", action="store_true", help="as safe, and as slow, as a real server")
    run.add_argument("--database", help="create this database too")
    run.add_argument("command", nargs=argparse.REMAINDER)
    opts = ap.parse_args()
    command = opts.command[1:] if opts.command[:1] == ["--"] else opts.command
    if not command:
        ap.error("no command")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Cluster(fsync=opts.fsync) as pg:
        env = dict(os.environ, **pg.environ())
        if opts.database:
            pg.create_database(opts.database)
            env.update(pg.environ(opts.database))
        return subprocess.run(command, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
