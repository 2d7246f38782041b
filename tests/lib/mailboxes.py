"""Mailboxes on the node itself, for tests of the local agents: a maildir md@vm.test, an mbox mb@vm.test, a command cmd@local.test, an
alias fwd@local.test whose members are delivered elsewhere, and box@pipe.test behind pipe(8), all with the rights of nobody."""
import os
import re

USER = 65534
RECIPIENTS = ["md@vm.test", "mb@vm.test", "cmd@local.test"]
PIPED = "box@pipe.test"


class Mailboxes:
    def __init__(self, directory, forward="ok-forwarded@dest.example"):
        self.base = directory + "/vmail"
        self.aliases = directory + "/aliases"
        if not os.path.isdir(self.base):
            os.mkdir(self.base)
            os.chown(self.base, USER, USER)
            # One file for each message: what a command appended that was told to stop would be in the next one's way.
            with open(self.aliases, "w") as f:
                f.write('cmd "|f=$(mktemp %s/cmd.XXXXXX); cat > $f; mv $f $f.done"\nfwd %s\n' % (self.base, forward))
            with open(directory + "/piped", "w") as f:
                f.write("#!/bin/sh\nf=$(mktemp %s/pipe.XXXXXX); cat > $f; mv $f $f.piped\n" % self.base)
            os.chmod(directory + "/piped", 0o755)
        self.piped = directory + "/piped"

    def master(self):
        """Lines of master.cf of a node that has box@pipe.test."""
        return ["boxpipe unix - n n - - pipe user=nobody argv=" + self.piped]

    def main(self, transports=""):
        """Settings of a node that has them. transports: further entries of transport_maps."""
        return {
            "transport_maps": "inline:{ pipe.test=boxpipe:%s }" % transports,
            "virtual_mailbox_domains": "vm.test",
            "virtual_mailbox_base": self.base,
            "virtual_mailbox_maps": "inline:{ md@vm.test=md/, mb@vm.test=mb }",
            "virtual_uid_maps": "static:%d" % USER,
            "virtual_gid_maps": "static:%d" % USER,
            # Nodes of the tests take messages that are larger than mailboxes are by default.
            "virtual_mailbox_limit": "0",
            "mailbox_size_limit": "0",
            "mydestination": "local.test",
            "alias_maps": "texthash:" + self.aliases,
        }

    def _read(self, path):
        try:
            with open(path, "rb") as f:
                return f.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def _all(self, directory, suffix=""):
        path = os.path.join(self.base, directory)
        if not os.path.isdir(path):
            return ""
        return "".join(self._read(os.path.join(path, n)) for n in os.listdir(path) if n.endswith(suffix))

    def texts(self):
        """Everything that was delivered, by recipient."""
        return {
            "md@vm.test": self._all("md/new"),
            "mb@vm.test": self._read(self.base + "/mb"),
            "cmd@local.test": self._all("", ".done"),
            PIPED: self._all("", ".piped"),
        }

    def copies(self, recipient, subject):
        return len(re.findall(r"^Subject: %s$" % re.escape(subject), self.texts()[recipient], re.M))
