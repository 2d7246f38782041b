"""Mail that sendmail took, while the processes behind it die: pickup at each of its points, and everything at random. Each message
has one queue id, and one copy: no client comes again here, so that there is no excuse for two."""
import os
import random
import re
import threading

from cluster import Nodes
from deadline import wait_until
from load import KINDS, Mail, mail_sink
from session import equal, limit

# Points of the way from maildrop to the queue, in their order.
POINTS = ["pickup-named", "accept-before-store", "accept-before-commit", "accept-after-commit", "accept-after-store",
          "pickup-stored"]
SUBMITTED = ["small", "deferred", "bounced", "mixed", "large"]


class Submissions:
    """Messages handed to sendmail on a node."""

    def __init__(self, t, node):
        self.t, self.node = t, node
        self.mails = []
        self.errors = []

    def send(self, kind, number):
        mail = Mail(self.t.ledger, kind, number)
        p = self.node.run("sendmail", "-i", "-f", mail.sender, *mail.recipients, stdin=mail.text.replace(b"\r\n", b"\n"))
        if p.returncode:
            self.errors.append("%s: %s" % (mail.id, p.stderr))
        self.mails.append(mail)

    def maildrop(self):
        return os.listdir(self.node.queue_dir + "/maildrop")

    def account(self, nodes):
        """Everything has left maildrop and the queue; the ledger is whole, and no message had two ids."""
        equal(self.errors, [], "sendmail")
        wait_until(lambda: "an empty maildrop; there is %s" % self.maildrop(), lambda: not self.maildrop(), 60)
        nodes.drained()
        text = self.node.log.text()
        for mail in self.mails:
            ids = set(re.findall(r"postfix/pickup\[\d+\]: (\w+): uid=\d+ from=<%s>" % re.escape(mail.sender), text))
            equal(len(ids), 1, "queue ids of %s: %s" % (mail.id, ids))
            self.t.ledger.record(mail.id, mail.recipients, ids.pop())
        nodes.account()


def start(t):
    sink = mail_sink()
    t.at_end(sink.close)
    nodes = Nodes(t, 1, sink, main={"message_size_limit": "10000000"})
    return nodes, Submissions(t, nodes[0])


@limit(150)
def test_kill_pickup_at_every_point(t):
    """kill -9 of pickup at each point, with a heap of messages in maildrop."""
    nodes, sub = start(t)
    node, = nodes
    for number, point in enumerate(POINTS):
        node.crash.arm(point)
        for i, kind in enumerate(SUBMITTED):
            sub.send(kind, 100 * number + i)
        wait_until("visit of " + point, lambda: point not in node.crash.armed(), 30)
    sub.account(nodes)


@limit(150)
def test_kill_everything(t):
    """sendmail goes on while pickup, qmgr, smtp and master are killed in turn."""
    nodes, sub = start(t)
    node, = nodes
    rng = random.Random(int(os.environ.get("CLUSTER_SEED", "1")))
    ending = threading.Event()

    def submit():
        for number in range(60):
            sub.send(rng.choice([k for k in SUBMITTED if k in KINDS]), number)
            if ending.wait(0.02):
                return

    client = threading.Thread(target=submit)
    client.start()
    for service in ["pickup", "qmgr", "pickup", "smtp", "master", "pickup"]:
        if service == "master":
            nodes.kill_master(node)
            node.start()
        else:
            gone = nodes.kill(node, service)
            nodes.back(node, service, gone)
    client.join()
    sub.account(nodes)
