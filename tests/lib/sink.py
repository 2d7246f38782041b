"""A scripted SMTP server: what it answers at each step, whether it drops or stalls, and what it got.

    sink = Sink()
    sink.on("rcpt", "550 5.1.1 no such user", match="bad@")
    sink.on("dot", DROP, times=1)
    ... sink.wait(3); sink.messages[0].data

Steps: connect, ehlo, helo, mail, rcpt, data, dot, rset, quit. The first rule of a step whose `match` is found in
the command's argument and which was not used up (`times`) decides; at dot the argument is sender, recipients and
data, a line each. An action is a reply text (several lines with LF), DROP (close without a word), STALL (never
answer), Then(reply, DROP), at dot also TAKE_AND_DROP (the message is taken, the reply lost), or a function
(session, argument; at dot the Message) -> action."""
import hashlib
import re
import select
import socket
import threading
import time

from deadline import DEFAULT, wait_until

DROP = object()
STALL = object()
TAKE_AND_DROP = object()

EHLO = ["PIPELINING", "SIZE 52428800", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN"]
DEFAULT_REPLIES = {"connect": "220 %s ESMTP sink", "helo": "250 %s", "mail": "250 2.1.0 Ok",
                   "rcpt": "250 2.1.5 Ok", "data": "354 go ahead", "dot": "250 2.0.0 Ok: taken",
                   "rset": "250 2.0.0 Ok", "quit": "221 2.0.0 Bye", "noop": "250 2.0.0 Ok"}


class Then:
    """A reply and then another action: Then("421 4.3.2 going down", DROP)."""

    def __init__(self, reply, action):
        self.reply, self.action = reply, action


class Ended(Exception):
    pass


class Message:
    """One message up to its final dot. taken: the sink has it. replied: a reply was sent (False: the connection
    was cut instead, so the client cannot know)."""

    def __init__(self, session, sender, recipients, params, data, hello=""):
        self.session, self.sender, self.recipients, self.params, self.data = \
            session, sender, recipients, params, data
        self.node = hello.partition(".")[0]     # who sent it, where each node says its own name
        self.taken = self.replied = False
        self.reply = None
        self.digest = None      # of the whole body, also where the body itself is not kept
        self.at = self.answered = time.time()   # of the final dot, of the reply to it

    def header(self, name):
        head = self.data.split(b"\r\n\r\n", 1)[0] + b"\r\n"
        m = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*((?:.*\r\n)(?:[ \t].*\r\n)*)", head)
        return m.group(1).decode("utf-8", "replace").strip() if m else None

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]


class Rule:
    def __init__(self, action, match, times):
        self.action, self.match, self.left = action, re.compile(match, re.I | re.S), times

    def fits(self, text):
        if self.left == 0 or not self.match.search(text):
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Sink:
    """keep_data: False (headers only), or the size up to which whole messages are kept; True keeps all. lmtp: each
    recipient has its own reply after the dot, whose rules see that recipient only. path: a UNIX socket."""

    def __init__(self, host="127.0.0.1", port=0, name="sink.example", ehlo=None, keep_data=True, lmtp=False,
                 path=None):
        self.name = name
        self.lmtp = lmtp
        self.ehlo = EHLO if ehlo is None else ehlo
        self.keep_data = keep_data
        self.lock = threading.Lock()
        self.rules = {}
        self.messages = []
        self.sessions = []
        self.closing = threading.Event()
        family = socket.AF_UNIX if path else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(path or (host, port))
        self.sock.listen(512)
        self.host, self.port = (path, 0) if path else self.sock.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def nexthop(self):
        return "[%s]:%d" % (self.host, self.port)

    def on(self, step, action, match="", times=None):
        with self.lock:
            self.rules.setdefault(step, []).append(Rule(action, match, times))
        return self

    def forget_rules(self):
        with self.lock:
            self.rules = {}

    def wait(self, count, limit=DEFAULT):
        """The messages, as soon as `count` were taken."""
        return wait_until(lambda: "%d messages taken; there are %d" % (count, len(self.taken())),
                          lambda: self.taken() if len(self.taken()) >= count else None, limit)

    def wait_session(self, count=1, limit=DEFAULT):
        return wait_until("%d sessions" % count,
                          lambda: self.sessions if len(self.sessions) >= count else None, limit)

    def taken(self):
        with self.lock:
            return [m for m in self.messages if m.taken]

    def close(self):
        self.closing.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        with self.lock:
            sessions = list(self.sessions)
        for s in sessions:
            s.drop()

    def action(self, step, argument, default):
        with self.lock:
            for rule in self.rules.get(step, ()):
                if rule.fits(argument):
                    return rule.action
        return default

    def _accept(self):
        while not self.closing.is_set():
            try:
                conn, peer = self.sock.accept()
            except OSError:
                return
            s = Session(self, conn, peer)
            with self.lock:
                s.number = len(self.sessions)
                self.sessions.append(s)
            threading.Thread(target=s.run, daemon=True).start()


class Session:
    """One connection; commands is what the client said."""

    def __init__(self, sink, conn, peer):
        self.sink, self.conn, self.peer = sink, conn, peer
        self.number = 0
        self.commands = []
        self.hello = None
        self.ended = False
        self.file = conn.makefile("rb")
        if conn.family != socket.AF_UNIX:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clear()

    def _clear(self):
        self.sender = None
        self.params = ""
        self.recipients = []

    def drop(self):
        try:
            self.conn.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def run(self):
        try:
            self.act("connect", "", DEFAULT_REPLIES["connect"] % self.sink.name)
            while self.command():
                pass
        except (Ended, OSError, ValueError):
            pass
        finally:
            self.ended = True
            self.drop()
            self.file.close()
            self.conn.close()

    def act(self, step, argument, default):
        """Do what the script says; the reply's code, and the reply."""
        a = self.sink.action(step, argument, default)
        if callable(a):
            a = a(self, argument)
        after = None
        if isinstance(a, Then):
            a, after = a.reply, a.action
        if isinstance(a, str):
            self.conn.sendall(to_bytes(a))
        else:
            after = a
        if after is STALL:
            self.sink.closing.wait()
        if after is not None and not isinstance(a, str):
            raise Ended
        return int(a[:3]), a, after

    def command(self):
        raw = self.file.readline()
        if not raw.endswith(b"\r\n"):
            return False
        line = raw[:-2].decode("utf-8", "surrogateescape")
        self.commands.append(line)
        verb, _, arg = line.partition(" ")
        verb = verb.lower()
        if verb in ("ehlo", "helo", "lhlo"):
            self.on_hello(verb, arg)
        elif verb == "mail":
            code, _, after = self.act("mail", arg, DEFAULT_REPLIES["mail"])
            if code == 250:
                self._clear()
                self.sender, self.params = path_and_params(arg)
            self.end_if(after)
        elif verb == "rcpt":
            code, _, after = self.act("rcpt", arg, DEFAULT_REPLIES["rcpt"])
            if code in (250, 251):
                self.recipients.append(path_and_params(arg)[0])
            self.end_if(after)
        elif verb == "data":
            self.on_data()
        elif verb in ("rset", "noop", "quit"):
            _, _, after = self.act(verb, arg, DEFAULT_REPLIES[verb])
            if verb == "rset":
                self._clear()
            self.end_if(after)
            return verb != "quit"
        else:
            self.act(verb, arg, "500 5.5.2 unknown command")
        return True

    def on_lmtp_dot(self, m, data):
        """One reply per recipient; the message keeps those that were taken."""
        m.taken, taken = True, []
        for rcpt in m.recipients[:]:
            reply = self.sink.action("dot", "%s\n%s\n%s" % (m.sender, rcpt, data.decode("utf-8", "replace")),
                                     "250 2.1.5 Ok: delivered")
            if not isinstance(reply, str):
                raise Ended
            if reply.startswith("2"):
                taken.append(rcpt)
            m.recipients = taken + m.recipients[len(taken):]
            self.conn.sendall(to_bytes(reply))
        m.recipients, m.replied, m.answered = taken, True, time.time()

    def client_is_gone(self):
        """Has the client closed the connection while we let it wait?"""
        if not select.select([self.conn], [], [], 0)[0]:
            return False
        try:
            return not self.conn.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    @staticmethod
    def end_if(after):
        if after is not None:
            raise Ended

    def on_hello(self, verb, arg):
        self._clear()
        self.hello = arg
        if verb == "helo":
            text = DEFAULT_REPLIES["helo"] % self.sink.name
        else:
            lines = [self.sink.name] + list(self.sink.ehlo)
            text = "\n".join("250%s%s" % ("-" if i + 1 < len(lines) else " ", x) for i, x in enumerate(lines))
        self.end_if(self.act(verb, arg, text)[2])

    def on_data(self):
        default = DEFAULT_REPLIES["data"] if self.recipients else "554 5.5.1 no valid recipients"
        code, _, after = self.act("data", "", default)
        self.end_if(after)
        if code != 354:
            return
        parts = []
        while True:
            line = self.file.readline()
            if not line:
                raise Ended
            if line == b".\r\n":
                break
            parts.append(line[1:] if line.startswith(b".") else line)
        if not self.recipients:     # the client went on after our 354 by script
            self.act("dot", "", "554 5.5.1 no valid recipients")
            return
        data = b"".join(parts)
        head, _, body = data.partition(b"\r\n\r\n")
        keep = self.sink.keep_data is True or len(data) <= self.sink.keep_data
        m = Message(self.number, self.sender, list(self.recipients), self.params,
                    data if keep else head + b"\r\n\r\n", self.hello or "")
        m.digest = hashlib.sha1(body).hexdigest()
        with self.sink.lock:
            self.sink.messages.append(m)
        self._clear()
        if self.sink.lmtp:
            self.on_lmtp_dot(m, data)
            return
        # The record says "taken" before the client can know it.
        a = self.sink.action("dot", m.sender + "\n" + "\n".join(m.recipients) + "\n" +
                             data.decode("utf-8", "replace"), DEFAULT_REPLIES["dot"])
        if callable(a):
            a = a(self, m)
        reply = a.reply if isinstance(a, Then) else a if isinstance(a, str) else None
        m.reply = reply
        m.taken = a is TAKE_AND_DROP or reply is not None and reply.startswith("2")
        m.replied = reply is not None and not self.client_is_gone()
        m.answered = time.time()
        if reply is not None:
            self.conn.sendall(to_bytes(reply))
        if a is STALL or isinstance(a, Then) and a.action is STALL:
            self.sink.closing.wait()
        if reply is None or isinstance(a, Then):
            raise Ended


def to_bytes(reply):
    """The lines of a reply; bytes that are no UTF-8 stand in the text as surrogates."""
    return reply.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n"


def path_and_params(arg):
    """The address of FROM:<a> or TO:<a>, and the parameters behind it."""
    m = re.match(r'(?i)(?:from|to):\s*<((?:"(?:\\.|[^"\\])*"|[^>"])*)>\s*(.*)', arg)
    if not m:
        raise ValueError("bad path " + arg)
    return m.group(1), m.group(2)
