"""A lookup server for tests: the protocols of tcp_table(5) and socketmap_table(5), with answers that a test chooses."""
import os
import socket
import threading
import time
import zlib


class TableServer:
    """`entries`: key -> value; for socketmap "table key". `say` (bytes) is sent instead of any answer; `hold` lets answers
    wait until it is set; `drop` closes the connection instead."""

    def __init__(self, protocol, entries=None, path=None):
        self.protocol, self.entries, self.path = protocol, dict(entries or {}), path
        self.keys = []          # as they were asked, in order
        self.connections = 0
        self.port = 0
        self.say, self.drop = None, False
        self.jitter = 0.0       # seconds: the most that an answer takes, by its key
        self.hold = threading.Event()
        self.hold.set()
        self._open = []
        self._listener = None
        self.start()

    @property
    def spec(self):
        """What main.cf calls it; a socketmap lacks its name yet."""
        if self.protocol == "tcp":
            return "tcp:127.0.0.1:%d" % self.port
        return "socketmap:" + ("unix:" + self.path if self.path else "inet:127.0.0.1:%d" % self.port)

    def start(self):
        """Listens, after stop() at the same place."""
        s = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        if self.path:
            s.bind(self.path)
            os.chmod(self.path, 0o666)
        else:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", self.port))
            self.port = s.getsockname()[1]
        s.listen(64)
        self._listener = s
        threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    def stop(self):
        """Away: nobody listens, nobody is connected."""
        if self._listener is None:
            return
        with contextless(self._listener):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        if self.path:
            os.unlink(self.path)
        self.hang_up()

    def hang_up(self):
        """Closes the connections there are."""
        for c in self._open:
            with contextless(c):
                c.shutdown(socket.SHUT_RDWR)
        self._open = []

    close = stop

    def _accept(self, listener):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(c)
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        with c, c.makefile("rb") as f, contextless(c):
            while True:
                key = self._read_tcp(f) if self.protocol == "tcp" else self._read_socketmap(f)
                if key is None:
                    return
                self.keys.append(key)
                self.hold.wait(600)
                time.sleep(self.jitter * (zlib.crc32(key.encode()) % 100) / 100)
                if self.drop:
                    return
                c.sendall(self.say if self.say is not None else self._answer(key))

    def _read_tcp(self, f):
        line = f.readline()
        if not line.startswith(b"get ") or not line.endswith(b"\n"):
            return None
        key, out = line[4:-1], bytearray()
        while key:
            if key[:1] == b"%":
                out.append(int(key[1:3], 16))
                key = key[3:]
            else:
                out += key[:1]
                key = key[1:]
        return out.decode()

    def _read_socketmap(self, f):
        digits = b""
        while True:
            c = f.read(1)
            if c == b":":
                break
            if not c.isdigit():
                return None
            digits += c
        text = f.read(int(digits))
        return text.decode() if f.read(1) == b"," else None

    def _answer(self, key):
        value = self.entries.get(key)
        if self.protocol == "tcp":
            if value is None:
                return b"500 not%20here\n"
            return b"200 " + b"".join(b"%%%02x" % b if b <= 32 or b == 37 or b > 126 else bytes([b])
                                      for b in value.encode()) + b"\n"
        text = b"NOTFOUND " if value is None else b"OK " + value.encode()
        return b"%d:%s," % (len(text), text)


class contextless:
    """The peer may have gone: that is no failure of the server."""

    def __init__(self, c):
        self.c = c

    def __enter__(self):
        return self.c

    def __exit__(self, kind, *_):
        return kind is not None and issubclass(kind, OSError)
