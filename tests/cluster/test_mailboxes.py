"""Deliveries on the node itself, while their workers die: at each point of writing a message and telling so. Nothing is lost, nothing is
half a message, and a second copy needs a death between the first one and its record."""
from cluster import Nodes
from deadline import wait_until
from load import mail_sink
from mailboxes import RECIPIENTS, Mailboxes
from session import equal, limit

# The point, and for whom the message is that comes there.
POINTS = {
    "mailbox-written": "mb@vm.test",
    "mailbox-durable": "mb@vm.test",
    "maildir-before-link": "md@vm.test",
    "maildir-after-link": "md@vm.test",
    "worker-before-report": "md@vm.test",
    "command-ended": "cmd@local.test",
}
# Before it the message is nowhere to be seen: there is no excuse for a second copy.
UNSEEN = ("maildir-before-link",)
BODY = "line of a body\n" * 200 + "the end\n"


def message(subject):
    return "Subject: %s\n\n%s" % (subject, BODY)


def start(t, **main):
    sink = mail_sink()
    t.at_end(sink.close)
    boxes = Mailboxes(t.dir)
    nodes = Nodes(t, 1, sink, main=dict(boxes.main(), **main))
    return nodes, nodes[0], boxes, sink


@limit(120)
def test_kill_worker_at_every_point(t):
    """kill -9 of a worker at each point: the message is delivered by another one, whole."""
    nodes, node, boxes, _ = start(t)
    for point, recipient in POINTS.items():
        node.crash.arm(point)
        t.send(node, recipients=[recipient], message=message(point))
        wait_until("visit of " + point, lambda p=point: p not in node.crash.armed(), 30)
        nodes.drained()
        copies = boxes.copies(recipient, point)
        assert 1 <= copies <= (1 if point in UNSEEN else 2), "%s: %d copies" % (point, copies)
    for recipient, text in boxes.texts().items():
        equal(text.count("the end\n"), text.count("Subject: "), "whole messages for " + recipient)


@limit(120)
def test_kill_agents_at_random_moments(t):
    """Agents that are killed while messages pour in: each message arrives."""
    nodes, node, boxes, sink = start(t)
    subjects = ["message-%d" % n for n in range(40)]
    for n, subject in enumerate(subjects):
        t.send(node, recipients=RECIPIENTS + ["fwd@local.test"], message=message(subject))
        if n % 8 == 3:
            nodes.kill(node, ("local", "virtual")[n // 8 % 2])
    nodes.drained()
    for recipient in RECIPIENTS:
        lost = [s for s in subjects if boxes.copies(recipient, s) == 0]
        equal(lost, [], "lost for " + recipient)
    with sink.lock:
        arrived = b"".join(m.data for m in sink.messages).decode()
    equal([s for s in subjects if "Subject: %s\r\n" % s not in arrived], [], "lost in forwarding")


@limit(120)
def test_forward_is_exact(t):
    """The scheduler dies while it records that a recipient goes on in a new message: one forward, exactly."""
    nodes, node, _, sink = start(t)
    points = ["record-locked", "record-finished", "record-before-commit", "record-after-commit"]
    for point in points:
        node.crash.arm(point)
        t.send(node, recipients=["fwd@local.test"], message=message(point))
        wait_until("visit of " + point, lambda p=point: p not in node.crash.armed(), 30)
        nodes.drained()
    with sink.lock:
        arrived = [m.data.decode() for m in sink.messages]
    for point in points:
        equal(sum("Subject: %s\r\n" % point in text for text in arrived), 1, "forwards at " + point)
