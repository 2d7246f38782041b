"""A PgBouncer in transaction mode before a test's PostgreSQL server.

    pool = PgBouncer(pg, "queue", "relay")    running; everybody who connects becomes that user of that database
    pool.uri                                  for queue_databases
    pool.kill9(); pool.start()                as pgtest.Cluster"""
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

import pgtest
from deadline import wait_until

PROGRAM = "/usr/sbin/pgbouncer"
PORT = 6432

CONFIG = """\
[databases]
%(database)s = host=%(server)s user=%(user)s
[pgbouncer]
listen_addr =
listen_port = %(port)d
unix_socket_dir = %(dir)s
auth_type = any
pool_mode = transaction
default_pool_size = 8
max_client_conn = 500
logfile = %(dir)s/log
pidfile = %(dir)s/pid
"""


class PgBouncer:
    def __init__(self, pg, database, user):
        self.dir = tempfile.mkdtemp(prefix="rpbouncer")
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            owner = pgtest.owner_name()
            shutil.chown(self.dir, owner, pwd.getpwnam(owner).pw_gid)
        self.config = os.path.join(self.dir, "ini")
        with open(self.config, "w") as f:
            f.write(CONFIG % {"database": database, "server": pg.base, "user": user, "port": PORT, "dir": self.dir})
        os.chmod(self.config, 0o644)
        self.uri = "postgresql:///%s?host=%s&port=%d&user=%s" % (database, self.dir, PORT, user)
        self.process = None
        self.start()

    def start(self):
        # One that was killed before it had written its number into the file would keep this one from starting.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.dir + "/pid")
        self.process = subprocess.Popen(pgtest.unprivileged([PROGRAM, self.config], pdeathsig=True),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: "PgBouncer; its log: " + self.log(), self._answers)

    def log(self):
        try:
            with open(self.dir + "/log") as f:
                return f.read()[-2000:]
        except OSError as e:
            return str(e)

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("PgBouncer ended: " + self.log())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            try:
                s.connect("%s/.s.PGSQL.%d" % (self.dir, PORT))
            except OSError:
                return False
            return True

    def kill9(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)
