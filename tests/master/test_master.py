"""The supervisor: start, stop, reload, restart, log, embedded PostgreSQL; with a stand-in for each service."""
import gzip
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading

from deadline import STRETCH, wait_until
from relay import Relay, free_port
from session import limit

SERVICES = """\
qmgr unix n - n 300 1 qmgr
smtp unix - - n - 4 smtp
cleanup unix n - n - 0 cleanup
"""


class Node(Relay):
    """A relay whose services are probes."""

    def address(self, text=None):
        """(host, port) of the front end."""
        return ("127.0.0.1", self.port)

    def connect(self, port=None):
        return Peer(port or self.port)

    def facts(self, port=None):
        with self.connect(port) as p:
            return p.facts

    def status(self):
        """[[service, program, state, pid, up, restarts, slots]]"""
        return [ln.split() for ln in self.must_run("rowpost", "status").stdout.splitlines()[1:]]

    def program_pid(self, program):
        for row in self.status():
            if row[1] == program:
                return int(row[3])
        raise AssertionError("no %s in %s" % (program, self.status()))


class Peer:
    """A connection to a probe: what it says of itself, and its echo."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=15 * STRETCH)
        self.file = self.sock.makefile("rwb")
        line = self.file.readline().decode()
        self.facts = dict(w.split("=", 1) for w in line.split() if "=" in w)
        assert self.facts, "no greeting: %r" % line

    def echo(self, text="hello"):
        self.file.write(text.encode() + b"\n")
        self.file.flush()
        got = self.file.readline().decode().strip()
        assert got == text, "echo %r of %r" % (got, text)

    def at_eof(self):
        return self.file.readline() == b""

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


LONG_DRAIN = {"drain_time": "600s"}     # for a test whose sessions outlive what happens, however long that takes


def node(t, start=True, database="", main=None, master=(), name="node", **kw):
    """A node with probes; database as in Session.relay()."""
    bin_dir = os.path.join(t.dir, "bin")
    if not os.path.isdir(bin_dir):
        os.mkdir(bin_dir)
        os.chmod(bin_dir, 0o755)
        for p in ("rowpost", "master", "postlog"):
            shutil.copy(os.path.join(t.bin, p), bin_dir)
        for p in ("smtpd", "qmgr", "smtp"):
            shutil.copy(os.environ["PROBE"], os.path.join(bin_dir, p))
    if database == "":
        database = t.database()
    settings = {"smtpd_processes": "1", "drain_time": "10s"}
    settings.update(main or {})
    n = Node(t.dir, bin_dir, database, main=settings, master=master, base_master=SERVICES, name=name, **kw)
    t._closing.append((n.close, n))
    t.at_end(lambda: n.run("rowpost", "stop", limit=30))
    return n.start() if start else n


# -------------------------------------------------------------------- start, stop

def test_start_and_stop(t):
    """start returns when the listeners are up, stop when all processes are gone."""
    n = node(t)
    assert n.facts()["name"] == "127.0.0.1:%d" % n.port
    n.log.wait_for(r"postfix/postfix-script\[\d+\]: starting the Rowpost mail system")
    n.log.wait_for(r"postfix/master\[\d+\]: daemon started -- version .*, configuration %s" % n.conf)
    n.must_run("rowpost", "stop")
    assert n.processes() == {}, n.processes()
    n.log.wait_for(r"stopping the Rowpost mail system")
    n.start()
    n.facts()
    n.must_run("rowpost", "stop")


def test_start_twice_and_stop_twice(t):
    """As postfix(1): said, and exit status 1."""
    n = node(t)
    p = n.run("rowpost", "start")
    assert p.returncode == 1 and "already running" in p.stderr, p
    n.facts()
    assert n.run("rowpost", "status").returncode == 0
    n.must_run("rowpost", "stop")
    for command in ("stop", "reload", "status"):
        p = n.run("rowpost", command)
        assert p.returncode == 1 and "not running" in p.stderr, p


def test_privileges(t):
    """Each process runs as its own user, cannot be traced, cannot gain rights."""
    n = node(t)
    for program, user in (("smtpd", "rowpost"), ("qmgr", "rowpostq"), ("smtp", "rowposta")):
        pid = n.program_pid(program)
        assert os.stat("/proc/%d/environ" % pid).st_uid == 0, "traceable by its own user"
        with open("/proc/%d/status" % pid) as f:
            status = dict(ln.rstrip("\n").split(":\t", 1) for ln in f if ":\t" in ln)
        want = str(pwd.getpwnam(user).pw_uid)
        assert status["Uid"].split() == [want] * 4, status["Uid"]
        assert status["NoNewPrivs"] == "1"
        assert len(status["Groups"].split()) == 1, status["Groups"]
    facts = n.facts()
    assert facts["dumpable"] == "0" and facts["nnp"] == "1", facts


def test_who_reaches_the_scheduler(t):
    """private/qmgr is for agents, public/qmgr for front ends and set-gid commands, neither for others."""
    n = node(t)
    script = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

    def can(user, groups, path):
        u = pwd.getpwnam(user)
        p = subprocess.run(["setpriv", "--reuid", str(u.pw_uid), "--regid", str(u.pw_gid), "--groups", groups]
                           + ["/usr/bin/python3", "-c", script, os.path.join(n.queue_dir, path)],
                           stderr=subprocess.DEVNULL)
        return p.returncode == 0

    mail, drop = str(pwd.getpwnam("rowpost").pw_gid), str(os.stat(n.queue_dir + "/public").st_gid)
    assert can("rowposta", mail, "private/qmgr")
    assert not can("rowpost", drop, "private/qmgr")
    assert not can("nobody", "65534", "private/qmgr")
    assert can("rowpost", drop, "public/qmgr")
    assert not can("nobody", "65534", "public/qmgr")


def test_stop_lets_sessions_finish(t):
    """A session goes on through stop; new ones are refused."""
    n = node(t, main=LONG_DRAIN)
    peer = n.connect()
    stop = subprocess.Popen([n.bin + "/rowpost", "-c", n.conf, "stop"], stderr=subprocess.DEVNULL)
    n.log.wait_for("stopping$")
    peer.echo("still here")
    wait_until("refusal of new sessions", lambda: refused(n.port))
    peer.echo("still here too")
    peer.close()
    assert stop.wait() == 0
    assert n.processes() == {}


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5 * STRETCH).close()
        return False
    except ConnectionRefusedError:
        return True


def test_stop_does_not_wait_for_ever(t):
    """A session that never ends is cut after drain_time."""
    n = node(t, main={"drain_time": "1s"})
    peer = n.connect()
    n.must_run("rowpost", "stop")
    assert peer.at_eof()
    n.log.wait_for("did not finish within drain_time")


def test_abort(t):
    """abort waits for nobody."""
    n = node(t, main={"drain_time": "100s"})
    peer = n.connect()
    n.must_run("rowpost", "abort", limit=20)
    assert peer.at_eof()
    assert n.processes() == {}


# -------------------------------------------------------------------- start that fails

def test_bad_start_says_why(t):
    """Mistakes fail the start with file and line; nothing is left running."""
    n = node(t, start=False)
    with open(n.conf + "/master.cf", "a") as f:
        f.write("nonsense\n")
    p = n.run("rowpost", "start")
    assert p.returncode == 1 and re.search(r"master\.cf: line \d+", p.stderr), p
    n.write_config(inet_protocols="ipx")
    p = n.run("rowpost", "start")
    assert p.returncode == 1 and "inet_protocols" in p.stderr, p
    n.write_config(inet_protocols="ipv4", mail_owner="no_such_user")
    p = n.run("rowpost", "start")
    assert p.returncode == 1 and "no_such_user" in p.stderr and "set-permissions" in p.stderr, p
    assert n.processes() == {}


def test_address_in_use_fails_start(t):
    """Somebody else's port: said at once."""
    n = node(t, start=False)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", n.port))
        s.listen()
        p = n.run("rowpost", "start", limit=8)
        assert p.returncode == 1 and "Address already in use" in p.stderr, p
    assert n.processes() == {}


def test_service_that_dies_fails_start(t):
    """A vital service that does not come up: start says which."""
    n = node(t, start=False, smtpd_opts=["smtpd_banner=die"])
    p = n.run("rowpost", "start")
    assert p.returncode == 1 and "127.0.0.1:%d" % n.port in p.stderr, p
    n.log.wait_for("fatal: probe .*: told to die")
    n.log.wait_for(r"warning: process .*/smtpd pid \d+ exit status 77")
    assert n.processes() == {}


def test_database_away_does_not_stop_the_start(t):
    """Front ends answer 451 then: they must be there to do so."""
    n = node(t, database="postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")
    n.log.wait_for("postfix/master.*warning: queue database: ")
    n.facts()


def test_schema_missing_fails_start(t):
    """A database without tables: the start names the command that makes them."""
    n = node(t, start=False, database=t.database(schema=False))
    p = n.run("rowpost", "start")
    assert p.returncode == 1 and "rowpost schema" in p.stderr, p
    n.must_run("rowpost", "schema")
    n.start()


# -------------------------------------------------------------------- death

def test_killed_service_comes_back(t):
    """kill -9: said as Postfix says it, restarted at once; who connects meanwhile waits in the kernel."""
    n = node(t)
    for program in ("smtpd", "qmgr", "smtp"):
        old = n.program_pid(program)
        mark = n.log.mark()
        os.kill(old, signal.SIGKILL)
        n.log.wait_for(r"warning: process .*/%s pid %d killed by signal 9" % (program, old), since=mark)
        wait_until("restart", lambda: n.program_pid(program) not in (0, old))
    for _ in range(5):
        os.kill(int(n.facts()["pid"]), signal.SIGKILL)
    n.facts()
    rows = {r[1]: r for r in n.status()}
    assert int(rows["smtpd"][5]) == 6 and int(rows["qmgr"][5]) == 1, rows


def test_dying_young_is_throttled(t):
    """A service that cannot start is tried with growing pauses, and comes back when it can."""
    n = node(t, main={"restart_delay_min": "1s"}, master=["127.0.0.1:%d inet n - n - - smtpd" % free_port()])
    port = re.search(r"^127.0.0.1:(\d+)", n.master[0]).group(1)
    broken = n.bin + "/smtpd.away"
    os.rename(n.bin + "/smtpd", broken)
    pid = int(n.facts(int(port))["pid"])
    os.kill(pid, signal.SIGKILL)
    n.log.wait_for("smtpd: bad command startup -- throttling")
    os.rename(broken, n.bin + "/smtpd")
    assert n.facts(int(port))["pid"] != str(pid)


def test_master_dies(t):
    """kill -9 of master: its processes finish their sessions and go; a new start works at once."""
    n = node(t, database=None, main=LONG_DRAIN)
    peer = n.connect()
    master, postgres = n.program_pid("master"), n.program_pid("postgres")
    os.kill(master, signal.SIGKILL)
    n.log.wait_for("stopping$")
    n.start()
    n.log.wait_for(r"adopting the running PostgreSQL, pid %d" % postgres)
    assert n.program_pid("postgres") == postgres
    peer.echo("the old session lives")
    assert n.facts()["pid"] != peer.facts["pid"]
    old = int(peer.facts["pid"])
    peer.close()
    wait_until("end of the old process", lambda: not os.path.exists("/proc/%d" % old))
    n.must_run("rowpost", "stop")
    assert not os.path.exists("/proc/%d" % postgres), "an adopted PostgreSQL is stopped too"


def state(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def test_signals_before_the_loop(t):
    """A process that is told to reload and to leave before it can hear of it leaves when it can, and another one follows."""
    n = node(t, start=False, smtpd_opts=["smtpd_banner=stop"])
    start = threading.Thread(target=n.start)
    start.start()
    old = []
    for _ in range(2):
        pid = n.wait_pids("smtpd", other_than=old)[0]
        wait_until("its stop", lambda pid=pid: state(pid) == "T")
        for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if not old else ():
            os.kill(pid, signo)
        os.kill(pid, signal.SIGCONT)
        old.append(pid)
    start.join()
    assert n.facts()["pid"] == str(old[1])
    assert n.log.find(r"smtpd pid %d went without being told" % old[0])
    assert not n.log.find("killed by|does not start"), n.log.tail()


def test_stop_after_master_died(t):
    """stop cleans up what a killed master left."""
    n = node(t, database=None)
    os.kill(n.program_pid("master"), signal.SIGKILL)
    n.must_run("rowpost", "stop")
    assert n.processes() == {}
    p = n.run("rowpost", "stop")
    assert p.returncode == 1 and "not running" in p.stderr


# -------------------------------------------------------------------- reload

def test_reload_of_main_cf(t):
    """Unchanged services stay and read the configuration again."""
    n = node(t)
    peer = n.connect()
    n.write_config(myhostname="other.rp.test")
    n.reload()
    for service in ("127.0.0.1:%d" % n.port, "qmgr", "smtp"):
        n.log.wait_for(r"probe %s: reloaded, hostname other.rp.test" % re.escape(service))
    n.log.wait_for(r"postfix/master\[\d+\]: reload -- version")
    facts = n.facts()
    assert facts["pid"] == peer.facts["pid"] and facts["hostname"] == "other.rp.test", facts
    peer.echo()
    os.kill(n.program_pid("master"), signal.SIGHUP)
    n.log.wait_for(r"reload -- version", count=2)


def test_reload_replaces_changed_services(t):
    """Another maxproc, another option: new processes on the same socket, the old finish their sessions."""
    n = node(t, main=LONG_DRAIN)
    peer = n.connect()
    other = n.program_pid("qmgr")
    n.smtpd_opts = ["myhostname=changed.rp.test"]
    n.write_config()
    n.reload()
    facts = n.facts()
    assert facts["hostname"] == "changed.rp.test" and facts["pid"] != peer.facts["pid"], facts
    peer.echo("the old session lives")
    assert n.program_pid("qmgr") == other
    states = {r[3]: r[2] for r in n.status()}
    assert states[peer.facts["pid"]] == "leaving", states
    peer.close()
    wait_until("end of the old process", lambda: peer.facts["pid"] not in [r[3] for r in n.status()])


def test_reload_adds_and_removes_listeners(t):
    """Sockets come and go with their lines."""
    n = node(t, main=LONG_DRAIN)
    more = free_port()
    n.master = ["127.0.0.1:%d inet n - n - 5 smtpd" % more]
    n.write_config()
    n.reload()
    assert n.facts(more)["slots"] == "5"
    peer = n.connect(more)
    n.master = []
    n.write_config()
    n.reload()
    wait_until("refusal", lambda: refused(more))
    peer.echo("until the end")
    peer.close()
    n.facts()


def test_bad_reload_is_refused(t):
    """File and line; the old configuration stays, nothing restarts."""
    n = node(t)
    pid, master = n.facts()["pid"], n.program_pid("master")
    with open(n.conf + "/master.cf", "a") as f:
        f.write("1:2:nowhere inet n - n - - smtpd\n")
    p = n.run("rowpost", "reload")
    assert p.returncode == 1 and re.search(r"master\.cf: line \d+", p.stderr), p
    n.log.wait_for(r"error: reload refused, the old configuration stays: .*line \d+")
    n.write_config(inet_protocols="ipx")
    assert n.run("rowpost", "reload").returncode == 1
    n.write_config(inet_protocols="ipv4", queue_directory=n.dir + "/q2")
    os.kill(master, signal.SIGHUP)
    n.log.wait_for("queue_directory cannot change")
    # A process that began with the new list would put mail where a scheduler with the old one does not look.
    n.write_config(queue_directory=n.queue_dir, queue_databases="%s, %s" % (n.database, t.database()))
    p = n.run("rowpost", "reload")
    assert p.returncode == 1 and "queue_databases cannot change" in p.stderr, p
    assert n.facts()["pid"] == pid
    n.write_config(queue_databases=n.database)
    n.reload()


# -------------------------------------------------------------------- log

def test_logrotate(t):
    """A new file for every process; the old one is compressed."""
    n = node(t)
    n.must_run("rowpost", "logrotate")
    old = [f for f in os.listdir(n.dir) if re.fullmatch(r"maillog\.\d{8}-\d{6}\.gz", f)]
    assert len(old) == 1, os.listdir(n.dir)
    n.write_config(myhostname="after.rp.test")
    n.reload()
    n.log.wait_for(r"postfix/smtpd\[\d+\]: probe .*: reloaded, hostname after")
    n.log.wait_for(r"postfix/master\[\d+\]: reload")
    assert not n.log.find("starting the Rowpost mail system")
    with gzip.open(os.path.join(n.dir, old[0]), "rt") as f:
        assert "starting the Rowpost mail system" in f.read()


def test_postlog(t):
    """Root writes the file; a member of the set-gid group reaches it through master; others do not."""
    n = node(t)
    n.must_run("postlog", "-p", "warn", "-t", "my/tag", "from", "root")
    n.log.wait_for(r"my/tag\[\d+\]: warning: from root")
    drop = str(os.stat(n.queue_dir + "/public").st_gid)
    command = [n.bin + "/postlog", "-c", n.conf, "from", "nobody\x1b"]
    run = ["setpriv", "--reuid", "65534", "--regid", "65534"]
    p = subprocess.run(run + ["--groups", drop] + command, stderr=subprocess.PIPE)
    assert p.returncode == 0, p
    n.log.wait_for(r"postfix/postlog\[\d+\]: from nobody\?")
    p = subprocess.run(run + ["--clear-groups"] + command, stderr=subprocess.PIPE)
    assert p.returncode != 0, p


# -------------------------------------------------------------------- embedded PostgreSQL

@limit(120)
def test_embedded_database(t):
    """Made, filled, reached by its users only, restarted when it dies, stopped with the rest."""
    n = node(t, database=None)
    rows = n.must_run("rowpost", "sql", "-qAtX", "-c", "SELECT count(*) FROM rowpost.queue").stdout
    assert rows.strip() == "0", rows
    for user, ok in (("rowpost", True), ("rowpostq", True), ("rowposta", False), ("nobody", False)):
        p = psql(n, user, "SELECT 1")
        assert (p.returncode == 0) == ok, (user, p)
    for user, role in (("rowpost", "rowpost_front"), ("rowpostq", "rowpost_scheduler")):
        assert psql(n, user, "SET ROLE %s" % role).returncode == 0
        assert psql(n, user, "CREATE ROLE intruder").returncode != 0
    assert psql(n, "rowpost", "SET ROLE rowpost_scheduler").returncode != 0
    old = n.program_pid("postgres")
    os.kill(old, signal.SIGKILL)
    n.log.wait_for(r"warning: PostgreSQL pid %d went away" % old)
    wait_until("PostgreSQL", lambda: psql(n, "rowpost", "SELECT 1").returncode == 0)
    n.facts()
    new = n.program_pid("postgres")
    n.must_run("rowpost", "stop")
    assert not os.path.exists("/proc/%d" % new)
    n.start()
    n.must_run("rowpost", "stop", "keep-database")
    assert [p for p in n.processes().values() if p != "postgres"] == []
    n.start()
    n.log.wait_for("adopting the running PostgreSQL")


def psql(n, user, sql):
    u = pwd.getpwnam(user)
    return subprocess.run(["setpriv", "--reuid", str(u.pw_uid), "--regid", str(u.pw_gid), "--clear-groups",
                           "psql", "-qAtX", "-d", "host=%s dbname=rowpost user=%s" % (n.data_dir + "/run", user),
                           "-c", sql], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")


@limit(150)
def test_stop_while_the_database_comes_back(t):
    """Told to stop while the cluster of a PostgreSQL that died is being made anew: it is not started any more."""
    n = node(t, database=None, start=False)
    real, programs = subprocess.getoutput("ls -d /usr/lib/postgresql/*/bin | tail -1"), t.dir + "/programs"
    os.mkdir(programs)
    os.symlink(real + "/postgres", programs + "/postgres")
    with open(programs + "/initdb", "w") as f:
        f.write('#!/bin/sh\nif [ -p %s/gate ]; then cat %s/gate; fi\nexec %s/initdb "$@"\n' % (programs, programs, real))
    os.chmod(programs + "/initdb", 0o755)
    n.write_config(database_program_directory=programs)
    n.start()
    os.mkfifo(programs + "/gate", 0o644)
    master, postgres = n.program_pid("master"), n.program_pid("postgres")
    os.kill(master, signal.SIGSTOP)
    os.rename(n.data_dir + "/database", n.data_dir + "/lost")
    os.kill(postgres, signal.SIGKILL)
    os.kill(master, signal.SIGCONT)
    n.log.wait_for("making the embedded PostgreSQL cluster", count=2)
    stop = threading.Thread(target=n.stop)
    stop.start()
    t.at_end(stop.join)
    wait_until("the end of the services", lambda: not n.pids("qmgr"))
    with open(programs + "/gate", "w"):
        pass
    stop.join()
    assert not n.log.find("PostgreSQL does not stop"), n.log.tail()


@limit(120)
def test_interrupted_making_of_the_cluster(t):
    """kill -9 in the middle of the first start: the next one makes a whole cluster."""
    n = node(t, start=False, database=None)
    p = subprocess.Popen([n.bin + "/rowpost", "-c", n.conf, "start"], stderr=subprocess.DEVNULL)
    wait_until("initdb", lambda: os.path.exists(n.data_dir + "/database.new/base"))
    for pid, name in n.processes().items():
        if name == "master":
            os.kill(pid, signal.SIGKILL)
    p.wait()
    subprocess.run(["pkill", "-KILL", "-f", "initdb.*" + n.data_dir])
    n.start()
    assert n.must_run("rowpost", "sql", "-qAtX", "-c", "SELECT 1").stdout.strip() == "1"


# -------------------------------------------------------------------- check

def test_check(t):
    """Errors with file and line and exit status 1; hints with 0."""
    n = node(t, start=False)
    p = n.check()
    assert p.returncode == 0, p
    assert re.search(r"info: .*master\.cf: line \d+: service cleanup: .*built in", p.stderr), p.stderr
    os.remove(n.bin + "/smtp")
    p = n.check()
    assert p.returncode == 0 and re.search(r"warning: .*service smtp: smtp: .*not installed", p.stderr), p
    with open(n.conf + "/master.cf", "a") as f:
        f.write("odd unix - - n - - odd\n")
    p = n.check()
    assert p.returncode == 1 and re.search(r"error: .*line \d+: service odd", p.stderr), p


def test_check_and_the_database(t):
    """Away: a warning, since front ends answer 451 then. Without tables: an error."""
    n = node(t, start=False, database="postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")
    p = n.check()
    assert p.returncode == 0 and "rowpost: warning: queue database: " in p.stderr, p
    n.database = t.database(schema=False)
    n.write_config()
    p = n.check()
    assert p.returncode == 1 and re.search("rowpost: error: queue database: .*rowpost schema", p.stderr), p
