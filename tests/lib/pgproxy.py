"""A proxy between a node and PostgreSQL that can lose connections at the worst moment.

    proxy = PgProxy(pg.base, directory)       UNIX socket in, UNIX socket out
    proxy.uri(pg.uri("queue"))                the same database through the proxy
    proxy.cut("rowpost/smtpd", "answer")      the next COMMIT of such a connection is done; its answer is lost
    proxy.cut("rowpost/smtpd", "request")     ... never reaches the server
    proxy.cut("rowpost/smtpd", "answer", "store_")    ... of a transaction with such a statement
    proxy.freeze() / proxy.thaw()             nothing passes in either direction, and nobody is told
    proxy.delay = 0.02                        a slow link: what passes takes this many seconds, each way

A COMMIT is recognised by the name under which the programs prepare it."""
import os
import re
import select
import socket
import threading
import time

from deadline import STRETCH

COMMIT = b"\0db_commit\0"
SOCKET = ".s.PGSQL.5432"


class PgProxy:
    def __init__(self, upstream, directory):
        self.upstream = os.path.join(upstream, SOCKET)
        self.directory = directory
        self.lock = threading.Lock()
        self.cuts = []              # (application name, side, statement)
        self.cut_count = 0
        self.open = set()           # pairs of sockets
        self.moving = threading.Event()
        self.moving.set()
        self.closing = False
        self.delay = 0
        os.makedirs(directory, exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(os.path.join(directory, SOCKET))
        os.chmod(os.path.join(directory, SOCKET), 0o777)
        self.listener.listen(256)
        threading.Thread(target=self._accept, daemon=True).start()

    def uri(self, uri):
        return re.sub(r"host=[^&]*", "host=" + self.directory, uri)

    def cut(self, application, side, statement=""):
        with self.lock:
            self.cuts.append((application.encode(), side, b"\0" + statement.encode()))

    def pending_cuts(self):
        with self.lock:
            return len(self.cuts)

    def freeze(self):
        self.moving.clear()

    def thaw(self):
        self.moving.set()

    def drop_all(self):
        """Every connection is lost, now."""
        with self.lock:
            pairs = list(self.open)
        for pair in pairs:
            shut(pair)

    def close(self):
        self.closing = True
        self.moving.set()
        shut((self.listener,))
        self.listener.close()
        self.drop_all()

    # ---------------------------------------------------------------- inside

    def _accept(self):
        while not self.closing:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(inner,), daemon=True).start()

    def _serve(self, inner):
        outer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        pair = (inner, outer)
        with self.lock:
            self.open.add(pair)
        try:
            outer.connect(self.upstream)
            self._pump(inner, outer)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(pair)
            inner.close()
            outer.close()

    def _pump(self, inner, outer):
        application = b""
        tail = b""
        statements = set()          # those that a cut waits for, of the transaction under way
        while True:
            ready, _, _ = select.select([inner, outer], [], [])
            self.moving.wait()
            if self.delay:
                time.sleep(self.delay)
            for s in ready:
                data = s.recv(1 << 18)
                if not data:
                    return
                if s is outer:
                    inner.sendall(data)
                    if not in_transaction(data):
                        statements.clear()
                    continue
                if not application:
                    application = startup_application(data)
                seen = tail + data
                tail = data[-len(COMMIT):]
                self._note(seen, statements)
                side = COMMIT in seen and self._take_cut(application, statements)
                if side != "request":
                    outer.sendall(data)
                if side:
                    if side == "answer":
                        self._await_answer(outer)
                    return

    def _note(self, seen, statements):
        with self.lock:
            statements.update(st for _, _, st in self.cuts if st in seen)

    def _take_cut(self, application, statements):
        with self.lock:
            for i, (name, side, statement) in enumerate(self.cuts):
                if name in application and statement in statements:
                    del self.cuts[i]
                    self.cut_count += 1
                    return side
        return None

    @staticmethod
    def _await_answer(outer):
        """The server has spoken: so it has committed (or refused)."""
        outer.settimeout(10 * STRETCH)
        seen = b""
        while b"COMMIT" not in seen and b"ERROR" not in seen and b"ROLLBACK" not in seen:
            data = outer.recv(1 << 18)
            if not data:
                return
            seen = seen[-16:] + data


def in_transaction(data):
    """Do the server's words end in "ready, in a transaction"?"""
    return data[-6:] == b"Z\0\0\0\5T"


def startup_application(data):
    """The startup packet, as it is; a cancel request has no name and is nobody's."""
    return data[:4096] if b"application_name" in data[:4096] else b"-"


def shut(sockets):
    for s in sockets:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
