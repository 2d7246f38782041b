"""An SMTP client that says exactly what the test tells it, and reads replies one by one."""
import re
import socket
import ssl

from deadline import STRETCH

REPLY_LIMIT = 15.0


class Closed(AssertionError):
    """The server closed the connection where a reply was due."""


class Unexpected(AssertionError):
    """Another reply than the test expects."""


class Reply:
    """code: int; lines: texts without code; enhanced: "5.7.1" or ""; text: all lines."""

    def __init__(self, lines):
        self.raw = lines
        self.code = int(lines[-1][:3])
        self.lines = [ln[4:] for ln in lines]
        m = re.match(r"([245]\.\d{1,3}\.\d{1,3}) ", self.lines[0] + " ")
        self.enhanced = m.group(1) if m else ""
        self.text = "\n".join(self.lines)

    def __repr__(self):
        return " | ".join(self.raw)


class SmtpClient:
    def __init__(self, port, host="127.0.0.1", source=None, greet=True, limit=REPLY_LIMIT):
        self.sock = socket.create_connection((host, port), timeout=limit * STRETCH,
                                             source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.limit = limit
        self.buf = b""
        if greet:
            self.expect(220)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with RST, as a client whose machine lost its memory."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    # ---------------------------------------------------------------- bytes

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, *lines):
        """Lines, in one piece."""
        self.sock.sendall(b"".join(to_bytes(ln) + b"\r\n" for ln in lines))

    def _line(self, limit):
        self.sock.settimeout((limit or self.limit) * STRETCH)
        while b"\n" not in self.buf:
            data = self.sock.recv(65536)
            if not data:
                raise Closed("connection closed; unread: %r" % self.buf)
            self.buf += data
        line, _, self.buf = self.buf.partition(b"\n")
        if not line.endswith(b"\r"):
            raise Unexpected("reply line without CR: %r" % line)
        return line[:-1].decode("utf-8", "replace")

    def reply(self, limit=None):
        lines = []
        while True:
            line = self._line(limit)
            if not re.match(r"[2-5]\d\d([ -]|$)", line):
                raise Unexpected("not a reply line: %r" % line)
            lines.append(line)
            if line[3:4] != "-":
                return Reply(lines)

    # ---------------------------------------------------------------- dialogue

    def expect(self, code, pattern=None, limit=None):
        """Read a reply; it must have the code (None: any) and match the pattern somewhere in "DSN text"."""
        r = self.reply(limit)
        if code is not None and r.code != code or pattern and not re.search(pattern, r.text):
            raise Unexpected("expected %s %s, got %r" % (code, pattern or "", r))
        return r

    def cmd(self, line, code=None, pattern=None, limit=None):
        self.send(line)
        try:
            return self.expect(code, pattern, limit)
        except AssertionError as e:
            raise type(e)("%s: %s" % (line, e)) from None

    def pipeline(self, lines, codes):
        """Send all lines in one piece; the replies must have these codes in order."""
        self.send(*lines)
        return [self.expect(code) for code in codes]

    def expect_eof(self, limit=None):
        """The server must close now, without another word."""
        self.sock.settimeout((limit or self.limit) * STRETCH)
        try:
            data = self.buf or self.sock.recv(65536)
        except ConnectionResetError:
            return
        if data:
            raise Unexpected("expected the end of the connection, got %r" % data)

    def starttls(self, context=None):
        self.cmd("STARTTLS", 220)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def ehlo(self, name="client.example"):
        """The keywords, as {KEYWORD: parameters}."""
        r = self.cmd("EHLO " + name, 250)
        words = [ln.split(" ", 1) for ln in r.lines[1:]]
        return {w[0].upper(): w[1] if len(w) > 1 else "" for w in words}

    def envelope(self, sender, recipients):
        self.cmd("MAIL FROM:<%s>" % sender, 250)
        for r in recipients:
            self.cmd("RCPT TO:<%s>" % r, 250)

    def content(self, message, code=250, pattern=None, limit=None):
        """DATA, the message (CRLF or LF line ends) and the final dot."""
        self.cmd("DATA", 354)
        self.send_raw(dot_stuffed(message) + b".\r\n")
        return self.expect(code, pattern, limit)

    def message(self, sender, recipients, message):
        """A whole transaction that is accepted; the queue id."""
        self.envelope(sender, [recipients] if isinstance(recipients, str) else recipients)
        return queue_id(self.content(message))

    def quit(self):
        self.cmd("QUIT", 221)
        self.expect_eof()
        self.close()


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def with_crlf(message):
    """Bytes of a message with CRLF line ends, the last line ended too."""
    b = re.sub(rb"\r?\n", b"\r\n", to_bytes(message))
    return b if b.endswith(b"\r\n") or not b else b + b"\r\n"


def dot_stuffed(message):
    return re.sub(rb"(?m)^\.", b"..", with_crlf(message))


def queue_id(reply):
    m = re.search(r"queued as ([0-9A-Za-z]+)$", reply.text)
    if not m:
        raise Unexpected("no queue id in %r" % reply)
    return m.group(1)
