"""Every CRASH_POINT of the source is visited on two nodes that share a database: the process that comes there kills
itself (in the full form it is also stopped until the other node has taken its mail over). Nothing is lost."""
import os
import re
import signal
import time

from cluster import FULL, SERVICES, Nodes, full, stopped
from deadline import Late, wait_until
from load import Load, Mail, mail_sink
from mailboxes import RECIPIENTS, Mailboxes
from session import equal, limit

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src")
VISIT_LIMIT = 60.0
# The shortest leases and sets of the ring that there are.
MAIN = {"node_lease_time": "3s", "node_heartbeat_time": "1s", "node_lease_margin": "1s", "ring_rotate_time": "1s"}

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
    "keeper-compose": LEFT,
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
# Points of front ends: whose death is no excuse for a second copy, unless the client sent it again.
FRONT_END = ("accept-", "upload-", "process-", "pickup-")
NEVER = "SELECT array_agg(DISTINCT msg_id) FROM rowpost.queue WHERE recipient LIKE 'never-%'"
# As a scheduler leaves it that died before it could write to the sender. On hold, so that no later attempt writes it.
LEAVE_NOTICE = """
    INSERT INTO mailq.notification
    SELECT msg_id, rcpt_no, 8, dsn_notify, now() - interval '2 min', 'delayed', addr, orig_addr, dsn_orcpt, dsn, reason,
        '', '' FROM mailq.held WHERE addr LIKE 'never-%' LIMIT 1 RETURNING 1"""
# Either node may be the one that comes there.
EITHER = (DEATH, EXPIRE, LEFT, OLD, MAILBOX)


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
    equal(sorted(points_of_source() ^ set(SCENARIOS)), [], "points without a scenario, or scenarios without a point")


def send_one(nodes, node, kind):
    """A message of a kind that is not in the load; its ledger id."""
    mail = Mail(nodes.t.ledger, kind, 0)
    wait_until("250 for a message to " + kind, lambda: Load(nodes.t.ledger, [node]).try_once(mail, node), 30)
    return mail.id


def deferred_for_ever(nodes):
    """Wait for a recipient that is in nobody's hands until somebody expires it."""
    wait_until("a deferred recipient", lambda: nodes.sql(
        "SELECT 1 FROM mailq.deferred WHERE owner IS NULL AND addr LIKE 'never-%'"), VISIT_LIMIT)


def expire_all(nodes):
    nodes.sql("SELECT rowpost.bounce((%s))" % NEVER)


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
        # What becomes of it: test_mailboxes.py.
        node.must_run("sendmail", "-f", "local@client.example", *RECIPIENTS, stdin="Subject: x\n\nbody\n")
    elif scenario == OLD:
        nodes.sql("UPDATE mailq.ring SET since = since - interval '5 min' WHERE state = 'draining'")


def visit(nodes, node, point, action="kill"):
    """Arm the point on a node (and on the other, where either may come there) and wait until it is reached."""
    scenario = SCENARIOS[point]
    armed = nodes if scenario in EITHER else [node]
    for n in armed:
        n.crash.arm(point, action)
    provoke(nodes, node, scenario)
    try:
        wait_until("visit", lambda: any(point not in n.crash.armed() for n in armed), VISIT_LIMIT)
    except Late:
        raise Late("crash point %s was not reached on %s in %g s\n%s" % (
            point, node.name, VISIT_LIMIT, nodes.stuck() + nodes.logs())) from None
    if not point.startswith(FRONT_END):
        nodes.t.ledger.incident("crash point %s (%s)" % (point, action))
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
    nodes.drained()
    print(load.summary())
    nodes.account()


def run_kills(t, rounds):
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=dict(MAIN, **Mailboxes(t.dir).main()), proxied=True)
    load = Load(t.ledger, nodes).start()
    for number in range(rounds):
        for i, point in enumerate(sorted(SCENARIOS)):
            began = time.monotonic()
            visit(nodes, nodes[(i + number) % 2], point)
            print("%-32s %5.2f s" % (point, time.monotonic() - began))
    finish(t, nodes, load)


@limit(900 if FULL else 150)
def test_kill_at_every_point(t):
    """kill -9 at each point, one after the other, under load of all kinds."""
    run_kills(t, 4 if FULL else 1)


# Points of a process that claims or records under an epoch: stopped there, it wakes up when its mail is somebody
# else's.
FENCED = ("claim-", "handout-", "record-", "bounce-", "takeover-", "promote-", "expire-", "node-", "keeper-",
          "rotate-", "truncate-")


def go_on(node):
    for pid in stopped(node):
        os.kill(pid, signal.SIGCONT)


@full
@limit(900)
def test_stop_at_every_fenced_point(t):
    """SIGSTOP at each point of the scheduler until the other node has taken its mail over, then SIGCONT."""
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 2, sink, main=dict(MAIN, **Mailboxes(t.dir).main()), proxied=True)
    load = Load(t.ledger, nodes).start()
    for i, point in enumerate(p for p in sorted(SCENARIOS) if p.startswith(FENCED)):
        node = nodes[i % 2]
        epochs = {n.name: nodes.living(n.name) for n in nodes}
        visit(nodes, node, point, "stop")
        asleep = wait_until("a stopped process", lambda: [n for n in nodes if stopped(n)])
        # Where either may come there, both may have: one must be awake to see the other's end.
        for n in asleep[1:]:
            go_on(n)
        epoch = epochs[asleep[0].name]
        wait_until("end of epoch %s of %s at %s" % (epoch, asleep[0].name, point),
                   lambda: nodes.epochs().get(epoch, ("", "dead"))[1] == "dead", 40)
        go_on(asleep[0])
        nodes.living(asleep[0].name)
        t.ledger.incident("crash point %s (continued)" % point)
    finish(t, nodes, load)
