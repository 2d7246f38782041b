"""A slow link for TCP: a proxy that hands on a few bytes at a time, with a pause after each, in both directions."""
import socket
import threading


class SlowLink:
    """port: where to connect to. piece: bytes; pause: seconds."""

    def __init__(self, target_port, piece=8, pause=0.02, host="127.0.0.1"):
        self.target = (host, target_port)
        self.piece, self.pause = piece, pause
        self.closing = threading.Event()
        self.sock = socket.create_server((host, 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.closing.is_set():
            try:
                conn, _ = self.sock.accept()
                there = socket.create_connection(self.target)
            except OSError:
                return
            for a, b in ((conn, there), (there, conn)):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    def _carry(self, a, b):
        try:
            while not self.closing.is_set():
                data = a.recv(self.piece)
                if not data:
                    break
                b.sendall(data)
                self.closing.wait(self.pause)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.closing.set()
        self.sock.close()
