"""A Dovecot of the test's own, as an LMTP server over TCP or a UNIX socket, with maildirs and quotas."""
import os
import pwd
import shutil
import socket
import subprocess

from deadline import STRETCH, wait_until
from relay import free_port

USER, GROUP = "nobody", "nogroup"

CONFIG = """\
base_dir = %(dir)s/run
state_dir = %(dir)s/state
log_path = %(dir)s/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
hostname = %(name)s.rp.test
default_internal_user = %(user)s
default_login_user = %(user)s
default_internal_group = %(group)s
mail_location = maildir:%(dir)s/mail/%%n
first_valid_uid = 1
postmaster_address = postmaster@rp.test
mail_plugins = quota
quota_full_tempfail = %(tempfail)s
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_grace = 0
}
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = passwd-file
  args = username_format=%%n %(dir)s/users
}
service lmtp {
%(listener)s
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
"""

INET = "  inet_listener lmtp {\n    address = 127.0.0.1\n    port = %d\n  }"
UNIX = "  unix_listener %s {\n    mode = 0666\n  }"


class Dovecot:
    """`users`: name -> bytes of quota, or None. path: of the UNIX socket; without one it listens on TCP. `over_quota`: "4xx" or
    "5xx"."""

    def __init__(self, directory, name, users, path=None, over_quota="5xx"):
        self.dir, self.name, self.path = os.path.join(directory, name), name, path
        self.port = 0
        self._process = None
        os.makedirs(self.dir + "/mail")
        owner = pwd.getpwnam(USER)
        os.chown(self.dir + "/mail", owner.pw_uid, owner.pw_gid)
        if path is None:
            self.port = free_port()
        with open(self.dir + "/users", "w") as f:
            for user, quota in users.items():
                f.write("%s:{PLAIN}x:%d:%d::%s/mail/%s::%s\n" % (
                    user, owner.pw_uid, owner.pw_gid, self.dir, user,
                    "userdb_quota_rule=*:bytes=%d" % quota if quota is not None else ""))
        with open(self.dir + "/dovecot.conf", "w") as f:
            f.write(CONFIG % {"dir": self.dir, "name": name, "user": USER, "group": GROUP,
                              "tempfail": "yes" if over_quota == "4xx" else "no",
                              "listener": UNIX % path if path else INET % self.port})
        self.start()

    @property
    def nexthop(self):
        return "unix:" + self.path if self.path else "inet:127.0.0.1:%d" % self.port

    def start(self):
        self._process = subprocess.Popen([shutil.which("dovecot", path="/usr/sbin:/usr/bin"), "-F", "-c", self.dir + "/dovecot.conf"])
        wait_until("dovecot " + self.name, self._answers, 60)

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)

    close = stop

    def _answers(self):
        try:
            with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET) as s:
                s.settimeout(10 * STRETCH)
                s.connect(self.path if self.path else ("127.0.0.1", self.port))
                return s.recv(100).startswith(b"220 ")
        except OSError:
            return False

    def mails(self, user):
        """What is in the user's mailbox, in bytes."""
        found = []
        new = "%s/mail/%s/new" % (self.dir, user)
        for name in sorted(os.listdir(new)) if os.path.isdir(new) else []:
            with open(new + "/" + name, "rb") as f:
                found.append(f.read())
        return found
