"""Servers that lookup tables ask, each with a directory of its own, started and stopped by process id: slapd over TCP,
mariadbd over a UNIX socket. The programs are those of Debian's packages slapd and mariadb-server-core."""
import os
import shutil
import signal
import socket
import subprocess

from deadline import wait_until
from relay import free_port

START_LIMIT = 60.0


class Server:
    """A process in the foreground. Subclasses say command() and answers()."""

    def __init__(self, directory):
        self.dir = directory
        self.process = None
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)

    def start(self):
        with open(self.dir + "/out", "ab") as out:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        wait_until(lambda: "%s: %s" % (type(self).__name__, self.output()), self._up, START_LIMIT)

    def _up(self):
        if self.process.poll() is not None:
            raise AssertionError("%s does not start: %s" % (type(self).__name__, self.output()))
        return self.answers()

    def output(self):
        with open(self.dir + "/out", "rb") as f:
            return f.read()[-2000:].decode("utf-8", "replace")

    def stop(self, sig=signal.SIGTERM):
        if self.process is None:
            return
        # One that was stopped (SIGSTOP) has to go on to go.
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(sig)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def freeze(self):
        """It takes connections (the kernel does) and answers nothing any more."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until("the process to stand still", self._is_stopped, START_LIMIT)

    def _is_stopped(self):
        tasks = "/proc/%d/task/" % self.process.pid
        for task in os.listdir(tasks):
            with open(tasks + task + "/stat") as f:
                if f.read().rpartition(")")[2].split()[0] != "T":
                    return False
        return True

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Slapd(Server):
    """A directory with the entries of `ldif` below dc=example,dc=com; cn=admin,dc=example,dc=com has the password `secret`.
    Attributes besides those of core, cosine and inetorgperson: maildrop, mailacceptinggeneralid, memberdn, memberurl. tls: names
    of files (certificate, key)."""

    CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.4203.666.1.901 NAME 'mailacceptinggeneralid' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.4203.666.1.902 NAME 'maildrop' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.4203.666.1.903 NAME 'memberdn' EQUALITY distinguishedNameMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributetype ( 1.3.6.1.4.1.4203.666.1.904 NAME 'memberurl' EQUALITY caseExactMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
modulepath /usr/lib/ldap
moduleload back_mdb
%(tls)s
database mdb
maxsize 16777216
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
rootpw secret
directory %(dir)s/db
dbnosync
index objectclass,mail,maildrop,mailacceptinggeneralid eq
"""

    def __init__(self, directory, ldif, tls=None):
        super().__init__(directory)
        os.makedirs(directory + "/db")
        lines = "TLSCertificateFile %s\nTLSCertificateKeyFile %s" % tls if tls else ""
        with open(directory + "/slapd.conf", "w") as f:
            f.write(self.CONF % {"dir": directory, "tls": lines})
        with open(directory + "/entries.ldif", "w") as f:
            f.write("dn: dc=example,dc=com\nobjectclass: domain\ndc: example\n\n" + ldif)
        subprocess.run(["slapadd", "-f", directory + "/slapd.conf", "-l", directory + "/entries.ldif"], check=True,
                       capture_output=True)
        self.port = free_port()

    def command(self):
        return ["slapd", "-d", "0", "-f", self.dir + "/slapd.conf", "-h", "ldap://127.0.0.1:%d" % self.port]

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0


class MariaDb(Server):
    """A server on the UNIX socket self.socket and on 127.0.0.1:self.port. The user postfix (password `secret`) may read and
    change the database mail, which holds what `sql` makes, one statement a line."""

    SHARE = "/usr/share/mysql/"

    def __init__(self, directory, sql):
        super().__init__(directory)
        self.data = directory + "/data"
        self.socket = directory + "/socket"
        self.port = free_port()
        # Two servers with one directory for temporary tables take each other's.
        os.makedirs(self.data)
        os.makedirs(directory + "/tmp")
        if os.geteuid() == 0:
            for d in (directory, self.data, directory + "/tmp"):
                shutil.chown(d, "nobody")
        with open(directory + "/init.sql", "w") as f:
            for host in ("localhost", "127.0.0.1"):
                f.write("CREATE USER IF NOT EXISTS 'postfix'@'%s' IDENTIFIED BY 'secret';\n"
                        "GRANT ALL ON mail.* TO 'postfix'@'%s';\n" % (host, host))
            f.write("CREATE DATABASE IF NOT EXISTS mail;\nUSE mail;\n" + sql)
        self._make_system_tables()

    def _options(self):
        # Without InnoDB a server is there within a second.
        o = ["--no-defaults", "--datadir=" + self.data, "--tmpdir=" + self.dir + "/tmp", "--skip-innodb", "--default-storage-engine=MyISAM",
             "--socket=" + self.socket, "--bind-address=127.0.0.1", "--port=%d" % self.port, "--skip-name-resolve",
             "--pid-file=%s/pid" % self.dir, "--skip-log-bin", "--loose-aria-log-file-size=8388608"]
        return o + (["--user=nobody"] if os.geteuid() == 0 else [])

    def _make_system_tables(self):
        sql = "create database mysql;\nuse mysql;\n"
        for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql"):
            with open(self.SHARE + name) as f:
                sql += f.read()
        p = subprocess.run(["mariadbd"] + self._options() + ["--bootstrap"], input=sql.encode(), capture_output=True)
        if p.returncode:
            raise AssertionError("mariadbd --bootstrap: %d: %s" % (p.returncode, p.stderr[-2000:].decode()))

    def command(self):
        return ["mariadbd"] + self._options() + ["--init-file=%s/init.sql" % self.dir]

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0
