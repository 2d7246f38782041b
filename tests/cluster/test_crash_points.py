"""Every CRASH_POINT of the source is visited on two nodes that share a database: the process that comes there kills
itself (in the full form it is also stopped until the other node has taken its mail over). Nothing is lost."""
import contextlib
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

from cluster import FULL, SERVICES, CrashFile, Nodes, full, seed, stopped
from deadline import STRETCH, Late, wait_until
from load import Load, Mail, mail_sink
from mailboxes import PIPED, RECIPIENTS, Mailboxes
from session import equal, limit

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src")
VISIT_LIMIT = 60.0
QMQP_PORT = 628
# Short leases, the shortest sets of the ring that there are; lists are read in pages, clients counted, destinations limited.
MAIN = {"node_lease_time": "6s", "node_heartbeat_time": "1s", "node_lease_margin": "2s", "ring_rotate_time": "1s",
        "queue_claim_recipient_limit": "15", "smtpd_client_connection_rate_limit": "1000000",
        "smtpd_client_event_limit_exceptions": "", "smtp_cluster_destination_concurrency_limit": "100",
        "qmqpd_authorized_clients": "127.0.0.0/8"}

# What brings a process to a point, beside the load that runs all the time:
LOAD = "nothing else"
CUT = "a connection is lost in COMMIT"
DEATH = "a scheduler dies that holds mail"
FRONT = "a front end starts"
SCHEDULER = "a scheduler starts"
SLOW = "a delivery lasts longer than two rotations of the ring"
EXPIRE = "an operator lets deferred mail expire"
LEFT = "a notice to a sender was left behind"
OLD = "a set of the ring has been closed for long"
SUBMIT = "a message is submitted with sendmail"
MAILBOX = "a message goes to mailboxes of the node"
FORWARD = "a recipient goes on in a new message"
FACT = "a scheduler dies that has not recorded what was sent"
DOUBT = "a scheduler dies while a delivery waits for the reply to the final dot"
ORDER = "an operator wants mail that is being delivered"
QMQP = "a message comes by QMQP"
LMTP = "a message goes to an LMTP server"
SCENARIOS = {
    "accept-before-store": LOAD,
    "accept-after-store": LOAD,
    "accept-before-commit": LOAD,
    "accept-after-commit": LOAD,
    "accept-in-doubt": CUT,
    "upload-chunk": LOAD,
    "process-registered": FRONT,
    "claim-before": LOAD,
    "claim-after": LOAD,
    "claim-before-commit": LOAD,
    "claim-after-commit": LOAD,
    "claim-deferred-before-commit": LOAD,
    "claim-deferred-after-commit": LOAD,
    "handout-before": LOAD,
    "handout-after": LOAD,
    "deliver-before-dot": LOAD,
    "deliver-after-dot": LOAD,
    "agent-before-result": LOAD,
    "agent-after-result": LOAD,
    "agent-recorded": LOAD,
    "agent-enlisted": SCHEDULER,
    "receipt-sent": LOAD,
    "outcome-inherited": FACT,
    "doubt-held": DOUBT,
    "content-read": LOAD,
    "page-read": LOAD,
    "forward-stored": FORWARD,
    "order-obeyed": ORDER,
    "order-read": ORDER,
    "limit-leased": LOAD,
    "counter-exchanged": LOAD,
    "record-before": LOAD,
    "record-after": LOAD,
    "record-plain-before-commit": LOAD,
    "record-plain-after-commit": LOAD,
    "record-locked": LOAD,
    "record-deferred": LOAD,
    "record-finished": LOAD,
    "record-before-commit": LOAD,
    "record-after-commit": LOAD,
    "bounce-stored": LOAD,
    "node-registered": SCHEDULER,
    "node-renewed": LOAD,
    "node-declared-dead": DEATH,
    "takeover-before-commit": DEATH,
    "takeover-after-commit": DEATH,
    "takeover-deferred": DEATH,
    "takeover-after": DEATH,
    "promote-step": SLOW,
    "promote-after-commit": SLOW,
    "expire-locked": EXPIRE,
    "expire-before-commit": LOAD,
    "expire-after-commit": LOAD,
    "expire-after": LOAD,
    "keeper-reap": SCHEDULER,
    "keeper-drop": LOAD,
    "keeper-compose": LEFT,
    "keeper-history": SCHEDULER,
    "keeper-repair": SCHEDULER,
    "rotate-before": LOAD,
    "rotate-after": LOAD,
    "truncate-before": OLD,
    "truncate-after": OLD,
    "mailbox-written": MAILBOX,
    "mailbox-durable": MAILBOX,
    "maildir-before-link": MAILBOX,
    "maildir-after-link": MAILBOX,
    "worker-before-report": MAILBOX,
    "command-ended": MAILBOX,
    "pickup-named": SUBMIT,
    "pickup-stored": SUBMIT,
}
# The same points in programs that do not come there first: visited in the full form, and by the random walk.
PROGRAMS = {
    "qmqpd:accept-before-store": QMQP,
    "qmqpd:accept-before-commit": QMQP,
    "qmqpd:accept-after-commit": QMQP,
    "qmqpd:accept-after-store": QMQP,
    "pickup:accept-before-store": SUBMIT,
    "pickup:accept-before-commit": SUBMIT,
    "pickup:accept-after-commit": SUBMIT,
    "pickup:accept-after-store": SUBMIT,
    "lmtp:deliver-before-dot": LMTP,
    "lmtp:deliver-after-dot": LMTP,
    "lmtp:agent-before-result": LMTP,
    "lmtp:agent-recorded": LMTP,
    "local:worker-before-report": MAILBOX,
    "local:agent-before-result": MAILBOX,
    "local:agent-recorded": MAILBOX,
    "virtual:worker-before-report": MAILBOX,
    "virtual:agent-before-result": MAILBOX,
    "virtual:agent-recorded": MAILBOX,
    "pipe:command-ended": MAILBOX,
    "pipe:worker-before-report": MAILBOX,
    "pipe:agent-before-result": MAILBOX,
    "pipe:agent-recorded": MAILBOX,
}
ALL = dict(SCENARIOS, **PROGRAMS)
# Of `rowpost schema`, which is a test of its own.
MIGRATION = ("migrate-step", "migrate-applied", "migrate-committed")
# Points of front ends: whose death is no excuse for a second copy, unless the client sent it again.
FRONT_END = ("accept-", "upload-", "process-", "pickup", "qmqpd:", "counter-")
NEVER = "SELECT array_agg(DISTINCT msg_id) FROM rowpost.queue WHERE recipient LIKE 'never-%'"
# As a scheduler leaves it that died before it could write to the sender. On hold, so that no later attempt writes it.
LEAVE_NOTICE = """
    INSERT INTO mailq.notification
    SELECT msg_id, rcpt_no, 8, dsn_notify, now() - interval '2 min', 'delayed', addr, orig_addr, dsn_orcpt, dsn, reason,
        '', '' FROM mailq.held WHERE addr LIKE 'never-%' LIMIT 1
    ON CONFLICT (msg_id, rcpt_no, kind) DO UPDATE SET at = excluded.at RETURNING 1"""
# Either node may be the one that comes there.
EITHER = (DEATH, EXPIRE, LEFT, OLD, MAILBOX, FORWARD, DOUBT, ORDER, QMQP, LMTP)
# Something must happen before something else: on a busy machine it takes more than one try.
WINDOW = (FACT, DOUBT, ORDER, SLOW, EXPIRE)
WINDOW_TRIES = 16
SUBJECTS = itertools.count(1)


def points_of_source():
    """The names of all crash points in src/."""
    found = set()
    for directory, _, names in os.walk(SOURCE):
        for name in names:
            if name.endswith(".c"):
                with open(os.path.join(directory, name)) as f:
                    found.update(re.findall(r'\bCRASH_POINT\("([^"]+)"\)', f.read()))
    return found


def test_every_point_has_a_scenario(t):
    """A new crash point must be visited too, and one that is gone must be forgotten."""
    equal(sorted(points_of_source() ^ set(SCENARIOS) ^ set(MIGRATION)), [],
          "points without a scenario, or scenarios without a point")


def start(t):
    """Two nodes with everything that a point needs. nodes.boxes, nodes.subjects: what went to mailboxes."""
    sink, store = mail_sink(), mail_sink(lmtp=True)
    t.at_end(sink.close)
    t.at_end(store.close)
    boxes = Mailboxes(t.dir)
    main = dict(MAIN, **boxes.main(" lmtp.test=lmtp:inet:127.0.0.1:%d" % store.port))
    nodes = Nodes(t, 2, sink, main=main, proxied=True, start=False, master=boxes.master())
    nodes.sinks.append(store)
    nodes.gate = gate = threading.Event()

    def at_gate(*_):
        gate.wait(VISIT_LIMIT * STRETCH)
        return "250 2.0.0 Ok: taken at last"
    sink.on("dot", at_gate, match=r"\A[^\n]*\ngate-")
    nodes.boxes, nodes.subjects = boxes, []
    for number, node in enumerate(nodes):
        node.master.append("127.0.0.1:%d inet n - n - - qmqpd" % (QMQP_PORT + number))
        node.write_config()
        node.start()
    return nodes


def send_one(nodes, node, kind, domain=None):
    """A message of a kind that is not in the load; its ledger id."""
    mail = Mail(nodes.t.ledger, kind, next(SUBJECTS), domain)
    wait_until("250 for a message to " + kind, lambda: Load(nodes.t.ledger, [node]).try_once(mail, node), 30)
    return mail.id


def deferred_for_ever(nodes):
    """Wait for a recipient that is in nobody's hands until somebody expires it."""
    wait_until("a deferred recipient", lambda: nodes.sql(
        "SELECT 1 FROM mailq.deferred WHERE owner IS NULL AND addr LIKE 'never-%'"), VISIT_LIMIT)


def expire_all(nodes):
    nodes.sql("SELECT rowpost.bounce((%s))" % NEVER)


def qmqp(nodes, node):
    """A message by QMQP, again and again until it is taken."""
    mail = Mail(nodes.t.ledger, "small", next(SUBJECTS))

    def netstring(b):
        return b"%d:%s," % (len(b), b)

    def once():
        reply = b""
        try:
            with socket.create_connection(("127.0.0.1", QMQP_PORT + nodes.index(node)), 20 * STRETCH) as s:
                s.sendall(netstring(netstring(mail.text.replace(b"\r\n", b"\n")) + b"".join(
                    netstring(a.encode()) for a in [mail.sender] + mail.recipients)))
                while True:
                    piece = s.recv(4096)
                    if not piece:
                        break
                    reply += piece
        except OSError:
            pass
        found = re.search(rb"KOk: queued as (\w+)", reply)
        nodes.t.ledger.record(mail.id, mail.recipients, found.group(1).decode() if found else None)
        return found
    wait_until("a message taken by qmqpd", once, VISIT_LIMIT, step=0.2)


def submit(nodes, node, recipients):
    """A message to mailboxes: finish() looks whether it is there."""
    subject = "mailbox-%d" % next(SUBJECTS)
    node.must_run("sendmail", "-f", "local@client.example", *recipients, stdin="Subject: %s\n\nbody\n" % subject)
    nodes.subjects.append(subject)


def order(nodes, node):
    """Hold mail that a scheduler has in hand: it is told so."""
    nodes.gate.clear()
    mail_id = send_one(nodes, node, "gate")
    where = "FROM rowpost.queue WHERE sender LIKE '%s%%' AND queue = 'active'" % mail_id
    wait_until("mail under way", lambda: nodes.sql("SELECT 1 " + where), VISIT_LIMIT)
    nodes.sql("SELECT rowpost.hold(array_agg(DISTINCT msg_id)) " + where)


def die_in_doubt(nodes, node):
    """Kill the scheduler of a delivery that waits for the reply to its final dot."""
    nodes.gate.clear()
    mail_id = send_one(nodes, node, "gate")

    def holder():
        rows = nodes.sql("SELECT node FROM rowpost.queue WHERE sender LIKE '%s%%' AND queue = 'active'" % mail_id)
        return [n for n in nodes if rows and n.name == rows[0][0]]
    wait_until("the dot", lambda: any(m.sender.startswith(mail_id) for m in list(nodes.sink.messages)), VISIT_LIMIT)
    nodes.kill(wait_until("who has it", holder, VISIT_LIMIT)[0], "qmgr")


def provoke(nodes, node, scenario):
    """Do, once, what brings a process of `node` to the point."""
    if scenario == CUT:
        for side in ("answer", "request"):
            node.proxy.cut("rowpost/smtpd", side, "store_")
    elif scenario == FRONT:
        nodes.kill(node, "smtpd")
    elif scenario == SCHEDULER:
        nodes.kill(node, "qmgr")
    elif scenario == DEATH:
        # Whoever survives takes over: the other node, or the successor on this one.
        other = nodes[1 - nodes.index(node)]
        wait_until("mail in the hands of " + other.name, lambda: nodes.leased(other.name) > 0, VISIT_LIMIT)
        nodes.kill(other, "qmgr")
    elif scenario == SLOW:
        send_one(nodes, node, "stuck")
    elif scenario == EXPIRE:
        send_one(nodes, node, "never")
        deferred_for_ever(nodes)
        expire_all(nodes)
    elif scenario == LEFT:
        send_one(nodes, node, "never")
        nodes.sql("SELECT rowpost.hold((%s))" % NEVER)
        wait_until("a notice left behind", lambda: nodes.sql(LEAVE_NOTICE), VISIT_LIMIT)
    elif scenario == SUBMIT:
        # What becomes of it: test_submission.py.
        node.must_run("sendmail", "-f", "submitted@client.example", "ok-submitted@dest.example", stdin="Subject: x\n\nbody\n")
    elif scenario == MAILBOX:
        submit(nodes, node, RECIPIENTS + [PIPED])
    elif scenario == FORWARD:
        # What becomes of it: test_mailboxes.py.
        node.must_run("sendmail", "-f", "local@client.example", "fwd@local.test", stdin="Subject: x\n\nbody\n")
    elif scenario == FACT:
        node.crash.arm("record-plain-before-commit")
    elif scenario == DOUBT:
        die_in_doubt(nodes, node)
    elif scenario == ORDER:
        order(nodes, node)
    elif scenario == QMQP:
        qmqp(nodes, node)
    elif scenario == LMTP:
        send_one(nodes, node, "small", "lmtp.test")
    elif scenario == OLD:
        nodes.sql("UPDATE mailq.ring SET since = since - interval '5 min' WHERE state = 'draining'")


def visited(armed, point, limit):
    try:
        return wait_until("visit", lambda: any(point not in n.crash.armed() for n in armed), limit)
    except Late:
        return False


def visit(nodes, node, point, action="kill"):
    """Arm the point on a node (and on the other, where either may come there) and wait until it is reached."""
    scenario = ALL[point]
    began = time.time() if scenario in WINDOW else None
    armed = nodes if scenario in EITHER else [node]
    for n in armed:
        n.crash.arm(point, action)
    try:
        for _ in range(WINDOW_TRIES if scenario in WINDOW else 1):
            provoke(nodes, node, scenario)
            if visited(armed, point, VISIT_LIMIT / (WINDOW_TRIES if scenario in WINDOW else 1)):
                break
        else:
            raise Late
    except Late:
        raise Late("crash point %s was not reached on %s in %g s\n%s" % (
            point, node.name, VISIT_LIMIT, nodes.stuck() + nodes.logs())) from None
    nodes.gate.set()
    if not point.startswith(FRONT_END):
        nodes.t.ledger.incident("crash point %s (%s)" % (point, action), began,
                                node=None if scenario in EITHER else node.name)
    for n in armed:
        n.crash.disarm()


def all_back(nodes):
    for node in nodes:
        for service in SERVICES:
            node.wait_pids(service, 30)


def finish(t, nodes, load):
    """The load ends, the queue empties, the ledger must be whole."""
    all_back(nodes)
    load.stop()
    # Those who are never delivered, until none is left: one may be in a scheduler's hands.
    wait_until("expiry of the rest", lambda: expire_all(nodes) or not nodes.sql(
        "SELECT 1 FROM rowpost.queue WHERE recipient LIKE 'never-%'"), 60, step=0.5)
    # What an operator wanted to be held goes on.
    nodes.sql("SELECT rowpost.release(array_agg(DISTINCT msg_id)) FROM rowpost.queue WHERE queue = 'hold'")
    for node in nodes:
        wait_until("an empty maildrop", lambda n=node: not os.listdir(n.queue_dir + "/maildrop"), 60)
    nodes.drained()
    print(load.summary())
    for recipient in RECIPIENTS + [PIPED] if nodes.subjects else ():
        text = nodes.boxes.texts()[recipient]
        equal([s for s in nodes.subjects if "Subject: %s\n" % s not in text], [], "lost for " + recipient)
    nodes.account()


def run_kills(t, rounds):
    nodes = start(t)
    load = Load(t.ledger, nodes).start()
    for number in range(rounds):
        for i, point in enumerate(sorted(ALL if FULL else SCENARIOS)):
            began = time.monotonic()
            visit(nodes, nodes[(i + number) % 2], point)
            print("%-32s %5.2f s" % (point, time.monotonic() - began))
    finish(t, nodes, load)


@limit(1500 if FULL else 240)
def test_kill_at_every_point(t):
    """kill -9 at each point, one after the other, under load of all kinds."""
    run_kills(t, 4 if FULL else 1)


# Points of a process that claims or records under an epoch: stopped there, it wakes up when its mail is somebody
# else's.
FENCED = ("claim-", "handout-", "record-", "bounce-", "takeover-", "promote-", "expire-", "node-", "keeper-",
          "rotate-", "truncate-", "page-", "content-", "receipt-", "forward-", "order-", "limit-")


def go_on(node):
    for pid in stopped(node):
        os.kill(pid, signal.SIGCONT)


def put_to_sleep(nodes, node, point):
    """The node whose scheduler stands still at the point. Where either may come there, the one that the scenario kills may: then it is
    done again."""
    for _ in range(5):
        visit(nodes, node, point, "stop")
        with contextlib.suppress(Late):
            return wait_until("a stopped process", lambda: [n for n in nodes if stopped(n)], 5)[0]
    raise Late("nobody stands still at %s: %s" % (point, [n.processes() for n in nodes]))


def is_dead(nodes, asleep):
    """Has nobody a living epoch of the node? Where either may come to the point, both may: the other one must be awake to see it."""
    for n in nodes:
        if n is not asleep:
            go_on(n)
    return all(name != asleep.name or state == "dead" for name, state in nodes.epochs().values())


@full
@limit(1200)
def test_stop_at_every_fenced_point(t):
    """SIGSTOP at each point of the scheduler until the other node has taken its mail over, then SIGCONT."""
    nodes = start(t)
    load = Load(t.ledger, nodes).start()
    for i, point in enumerate(p for p in sorted(SCENARIOS) if p.startswith(FENCED)):
        print("%s on %s" % (point, nodes[i % 2].name))
        asleep = put_to_sleep(nodes, nodes[i % 2], point)
        wait_until(lambda: "end of %s at %s\n%s" % (asleep.name, point, nodes.stuck()), lambda: is_dead(nodes, asleep), 60)
        for n in nodes:
            go_on(n)
            nodes.living(n.name)
        t.ledger.incident("crash point %s (continued)" % point, node=asleep.name)
    finish(t, nodes, load)


WALK_ROUNDS = 40 if FULL else 2
WALK_PROGRESS = 25


def walk_round(nodes, load, rng, number):
    """A few points at once, on either node, each to be passed some times before it kills. How many were reached."""
    chosen = [(point, rng.choice(nodes), rng.choice([1, 1, 2, 3, 5, 8])) for point in rng.sample(sorted(ALL), rng.randint(2, 5))]
    print("%3d: %s" % (number, ", ".join("%s on %s at %d" % (p, n.name, count) for p, n, count in chosen)))
    began, before = time.time(), load.accepted
    for point, node, count in chosen:
        node.crash.arm(point, count=count)
    for point, node, _ in chosen:
        provoke(nodes, node, ALL[point])
    armed = sum(len(n.crash.armed()) for n in nodes)
    wait_until("progress in round %d" % number, lambda: load.accepted >= before + WALK_PROGRESS or load.errors, 120)
    armed = min(armed, sum(len(n.crash.armed()) for n in nodes))
    nodes.gate.set()
    for node in nodes:
        node.crash.disarm()
    nodes.t.ledger.incident("round %d of the walk" % number, began)
    return max(0, len(chosen) - armed)


@limit(1200 if FULL else 240)
def test_random_walk(t):
    """Several points armed at once, with random counts, again and again."""
    number = seed()
    print("CLUSTER_SEED=%d" % number)
    rng = random.Random(number)
    nodes = start(t)
    load = Load(t.ledger, nodes, seed=number).start()
    reached = sum(walk_round(nodes, load, rng, turn) for turn in range(WALK_ROUNDS))
    print("%d rounds, %d points reached" % (WALK_ROUNDS, reached))
    finish(t, nodes, load)


def test_schema_dies_at_every_point(t):
    """`rowpost schema` that is killed leaves nothing half done: the next one finishes, and mail flows."""
    sink = t.sink()
    pg = t.cluster()
    for number, point in enumerate(MIGRATION):
        node = t.relay(start=False, sink=sink, name="node%d" % number, database=pg.create_database("queue%d" % number))
        crash = CrashFile(os.path.join(t.dir, "crash%d" % number))
        # The third migration, where there are so many steps.
        crash.arm(point, count=3 if point == "migrate-step" else 1)
        p = subprocess.run([os.path.join(node.bin, "rowpost"), "-c", node.conf, "schema"], check=False,
                           env=dict(node.environ(), ROWPOST_CRASH=crash.path))
        equal(p.returncode, -signal.SIGKILL, "end of rowpost schema at " + point)
        node.must_run("rowpost", "schema")
        node.start()
        t.send(node)
        sink.wait(number + 1, 60)
        node.stop()
