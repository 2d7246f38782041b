"""Several nodes that share one queue database, and what is done to them.

    nodes = Nodes(t, 2, sink)                       two started nodes, a PostgreSQL of their own
    nodes[0].crash.arm("record-before")             the next process of node 1 that comes there kills itself
    nodes.drained()                                 wait until nothing is under way any more
    nodes.account()                                 the ledger: nothing lost, every second copy has its cause"""
import contextlib
import fcntl
import os
import random
import re
import signal
import threading
import time

import netns
import pgtest
from deadline import STRETCH, Late, wait_until
from ledger import HEADER
from smtp_client import SmtpClient

# Retries within a test's time, and sets of the ring that come round.
MAIN = {
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
    "queue_run_delay": "1s",
    "ring_rotate_time": "2s",
    "queue_database_retry_max_time": "1s",
    "message_size_limit": "60000000",
    "smtpd_recipient_limit": "60000",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_client_connection_rate_limit": "0",
}
# What a node needs to be declared dead, and for the other one to act: 5a.8's 10 s are the default of node_lease_time.
SHORT_LEASE = {"node_lease_time": "4s", "node_heartbeat_time": "1s", "node_lease_margin": "1s"}
# For what is said to happen within a lease although nobody dies: a lease that a busy machine does not let go by.
CALM_LEASE = {"node_lease_time": "10s", "node_heartbeat_time": "1s", "node_lease_margin": "2s"}
BEYOND_LEASE = 12.0     # seconds
# The parts of a node that a test kills.
SERVICES = ("smtpd", "qmgr", "smtp")

FULL = os.environ.get("CLUSTER") == "full"


def seed():
    """Of a random walk: CLUSTER_SEED plays one again; the short form always walks the same way."""
    return int(os.environ.get("CLUSTER_SEED", 0)) or (random.SystemRandom().randrange(1, 1 << 30) if FULL else 1)


def full(function):
    """Decorator: a test that only `make check-cluster-full` runs."""
    return function if FULL else None


class CrashFile:
    """The control file of a node's crash points (src/base/crash.h)."""

    def __init__(self, path):
        self.path = path
        with open(path, "w"):
            pass
        os.chmod(path, 0o666)

    def _change(self, change):
        with open(self.path, "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            lines = change(f.read().splitlines())
            f.seek(0)
            f.truncate()
            f.write("".join(ln + "\n" for ln in lines))

    def arm(self, name, action="kill", count=1):
        self._change(lambda lines: lines + ["%s %s %d" % (name, action, count)])

    def disarm(self):
        self._change(lambda lines: [])

    def armed(self):
        with open(self.path) as f:
            fcntl.flock(f, fcntl.LOCK_SH)
            return [ln.split()[0] for ln in f.read().splitlines()]


class Nodes(list):
    """Started relays on one database. pg: a PostgreSQL server of the test's own, made when not given. proxied: each
    node reaches it through a PgProxy (node.proxy). cabled: PostgreSQL runs on a host of its own, and each node has a
    cable to it (node.cable)."""

    def __init__(self, t, count, sink, pg=None, uri=None, main=None, start=True, proxied=False, cabled=False, **kw):
        super().__init__()
        self.t, self.sink = t, sink
        self.sinks = [sink]     # whose mail the ledger counts
        self.host = None
        if cabled:
            self.host = netns.Host()
            t.at_end(self.host.close)
        self.pg = pg or t.cluster(host=self.host)
        self.uri = uri or self.pg.create_database("queue")
        for i in range(count):
            self.append(self._node(i + 1, dict(MAIN, **(main or {})), proxied, kw))
        self[0].must_run("rowpost", "schema")
        if start:
            for node in self:
                node.start()

    def _node(self, number, main, proxied, kw):
        t, uri = self.t, self.uri
        proxy = None
        cable = self.host.cable(number) if self.host else None
        if cable:
            uri = uri.replace("host=" + self.pg.base, "host=" + cable.there)
        if proxied:
            from pgproxy import PgProxy
            proxy = PgProxy(self.pg.base, os.path.join(t.dir, "pg%d" % number))
            t.at_end(proxy.close)
            uri = proxy.uri(uri)
        path = os.path.join(t.dir, "crash%d" % number)
        main = dict(main, node_name="node%d" % number, smtp_helo_name="node%d.rp.test" % number,
                    import_environment="MAIL_CONFIG TZ LANG=C ROWPOST_CRASH=" + path)
        node = t.relay(start=False, sink=self.sink, name="node%d" % number, database=uri, main=main, **kw)
        node.crash = CrashFile(path)
        node.proxy, node.cable = proxy, cable
        return node

    # ---------------------------------------------------------------- state

    def sql(self, query):
        return pgtest.run_sql(self.uri, query)

    def epochs(self):
        """{epoch: (node, state)}"""
        return {e: (name, state) for e, name, state in self.sql("SELECT epoch, name, state FROM mailq.node")}

    def living(self, name):
        """The epoch of a node, once it has one."""
        def find():
            found = [e for e, (n, state) in self.epochs().items() if n == name and state != "dead"]
            return found[0] if len(found) == 1 else None
        return wait_until("one living epoch of " + name, find, 30)

    def leased(self, name):
        """Recipients that a node has in its hands."""
        return int(self.sql("SELECT coalesce(sum(messages + retries), 0) FROM rowpost.node "
                            "WHERE name = '%s'" % name)[0][0])

    def waiting(self):
        """{queue: recipients} of what is still to be done."""
        rows = self.sql("SELECT queue, count(*) FROM rowpost.queue WHERE queue <> 'hold' GROUP BY 1")
        return {queue: int(n) for queue, n in rows}

    def drained(self, limit=60.0):
        """Nothing waits any more, not even a notice to a sender."""
        def left():
            return dict(self.waiting(), notices=int(self.sql("SELECT count(*) FROM mailq.notification")[0][0]))

        def done():
            seen[:] = [left()]
            if set(seen[0]) == {"notices"} and seen[0]["notices"]:
                # As if the minute had gone by after which somebody else writes what a dead scheduler should have.
                self.sql("UPDATE mailq.notification SET at = at - interval '1 min'")
            return not any(seen[0].values())
        seen = []
        try:
            wait_until("an empty queue", done, limit, step=0.2)
        except Late as e:
            raise Late("%s: %s\n%s\n%s" % (e, seen, self.stuck(), self.logs())) from None

    def stuck(self):
        """The first rows of the queue, for an error message."""
        rows = self.sql("SELECT queue_id, queue, recipient, attempts, next_attempt, reason, node "
                        "FROM rowpost.queue LIMIT 10")
        rows += self.sql("SELECT name, state, epoch, changed, leases, messages, retries FROM rowpost.node")
        return "\n".join(" | ".join(str(v) for v in row) for row in rows)

    def logs(self):
        return "".join("--- %s\n%s\n" % (n.name, n.log.tail(15)) for n in self)

    def account(self):
        """The ledger's Account of everything that was sent; an error when something is lost, changed, in two states,
        sent twice without a cause, or when a sender was not told, or told twice."""
        account = self.t.ledger.audit(self.uri, self.sinks)
        account.assert_whole()
        wrong = ["delivered, but in no table: " + text for text in account.unrecorded]
        wrong += untold(self.t.ledger, account, self.sink)
        if wrong:
            raise AssertionError("%d wrong in the ledger (%s):\n%s" % (
                len(wrong), account.summary(), "\n".join(wrong[:20])))
        print("ledger: %s" % account.summary())
        causes = {}
        for ledger_id, rcpt, _, cause in account.doubled:
            causes.setdefault(cause, []).append("%s (%s)" % (rcpt, ledger_id))
        for cause, which in sorted(causes.items()):
            print("  %4d doubled by %s, as %s" % (len(which), cause, which[0]))
        return account

    # ---------------------------------------------------------------- violence

    def kill(self, node, service, sig=signal.SIGKILL):
        """kill -9 of a node's processes of one service; waits only for one to be there."""
        # A process that is just being started has not got its name yet: it is waited for as well.
        def killed():
            pids = node.pids(service)
            for pid in pids:
                # A worker ends by itself when its agent does.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            return pids
        pids = wait_until("a process of %s to kill" % service, killed, 30)
        if service != "smtpd":
            self.t.ledger.incident("kill of %s of %s" % (service, node.name), node=node.name)
        return pids

    def back(self, node, service, gone, limit=30.0):
        """Wait until processes of the service run that are none of `gone`."""
        return node.wait_pids(service, limit, gone)

    def kill_node(self, node):
        node.kill9()
        self.t.ledger.incident("end of " + node.name, node=node.name)

    def kill_master(self, node):
        """kill -9 of master: its services must all end by themselves."""
        node.kill("master")
        self.t.ledger.incident("kill of master of " + node.name, node=node.name)
        wait_until(lambda: "end of %s" % node.processes(), lambda: not node.processes(), 30)


class Gate:
    """Holds the sink's sessions at a step until it opens. waiting: those that have come, since it was closed."""

    def __init__(self, sink, step, reply):
        self.opened = threading.Event()
        self.waiting = 0
        self.reply = reply
        self.sink = sink
        sink.on(step, self._pass)

    def _pass(self, *_):
        with self.sink.lock:
            self.waiting += 1
        self.opened.wait(60 * STRETCH)
        return self.reply

    def close(self):
        with self.sink.lock:
            self.opened.clear()
            self.waiting = 0

    def wait_for(self, count):
        wait_until("%d deliveries at the gate" % count, lambda: self.waiting >= count, 60)


def send(t, relay, count):
    """Messages in one session; their queue ids."""
    ids = []
    with SmtpClient(relay.port) as c:
        c.ehlo()
        for n in range(count):
            i = t.ledger.new_id()
            rcpt = "ok-%d@dest.example" % n
            q = c.message(i + "@client.example", rcpt, t.ledger.message(i + "@client.example", [rcpt], i))
            t.ledger.record(i, [rcpt], q)
            ids.append(q)
    return ids


def wait_empty(relay, limit=30.0):
    """Nothing is left in the queue of a single node."""
    def left():
        return "an empty queue; there is %s" % relay.sql("SELECT queue, recipient, reason FROM rowpost.queue LIMIT 5")
    wait_until(left, lambda: relay.sql("SELECT count(*) FROM rowpost.queue") == [["0"]], limit, step=0.1)


class Stopped:
    """with Stopped(t, pids, what): the processes stand still inside (SIGSTOP), and go on afterwards. what: "... NODE"."""

    def __init__(self, t, pids, what):
        self.t, self.pids, self.what = t, pids, what

    def __enter__(self):
        self.began = time.time()
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        wait_until("stop of %s" % self.pids, lambda: all(state_of(p) == "T" for p in self.pids))
        return self

    def __exit__(self, *_):
        self.t.ledger.incident("stop of " + self.what, self.began, self.what.split()[-1])
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)


def state_of(pid):
    stat = pgtest.proc_stat(pid)
    return stat[2] if stat else None


def stopped(node):
    """Processes of a node that a crash point has stopped."""
    return [p for p in node.processes() if state_of(p) == "T"]


def untold(ledger, account, sink):
    """Texts about senders that were not told of a failed recipient, or told of it by two bounces."""
    told = {}       # (sender, recipient) -> message ids of the bounces
    for m in sink.taken():
        if m.sender == "" and re.search(rb"(?im)^Action: *failed", m.data):
            for rcpt in re.findall(rb"(?im)^Final-Recipient:\s*rfc822;\s*(\S+)", m.data):
                for sender in m.recipients:
                    told.setdefault((sender, rcpt.decode().lower()), set()).add(m.header("Message-ID"))
    wrong = []
    for ledger_id, entry in ledger.accepted().items():
        for queue_id in entry.queue_ids:
            for rcpt in entry.recipients:
                if "bounced" not in account.state.get((queue_id, rcpt), ()):
                    continue
                bounces = told.get((ledger_id + "@client.example", rcpt.lower()), set())
                # A client in doubt sent the message twice: then it may be told twice.
                if not 1 <= len(bounces) <= max(1, entry.tries):
                    wrong.append("%s %s (%s %s): %d bounces" % (queue_id, rcpt, HEADER, ledger_id, len(bounces)))
    return wrong


class RssWatch:
    """The growth of the private memory (RssAnon) of some processes, sampled until stop()."""

    def __init__(self, pids, step=0.05):
        self.base = {pid: rss_anon(pid) for pid in pids}
        self.most = dict(self.base)
        self.ending = threading.Event()
        self.step = step
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ending.wait(self.step):
            for pid in self.most:
                self.most[pid] = max(self.most[pid], rss_anon(pid))

    def stop(self):
        """{pid: bytes of growth}"""
        self.ending.set()
        self.thread.join()
        return {pid: self.most[pid] - self.base[pid] for pid in self.most}


def rss_anon(pid):
    try:
        with open("/proc/%d/status" % pid) as f:
            return int(re.search(r"RssAnon:\s+(\d+) kB", f.read()).group(1)) * 1024
    except (OSError, AttributeError):
        return 0
