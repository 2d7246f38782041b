"""The load generator and the sink, as the runner drives them."""

import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass

STATS_MAGIC = 0x31736b6e69732d62
MAX_PROCS = 8
STATS_FORMAT = f"<{11 + MAX_PROCS}Q"  # struct sink_stats in sink_stats.h


@dataclass
class SinkCounts:
    port: int
    connections: int
    messages: int
    recipients: int
    bytes: int
    refused: int
    dropped: int
    stalled: int
    first_ns: int
    last_ns: int
    cpu_ms: float


class Sink:
    """A running sink; its counters are read from the file it maps."""

    def __init__(self, build, directory, *, port=0, processes=1, rules=(), ledger=True):
        """ledger: whether each message gets a line."""
        self.stats_path = os.path.join(directory, "sink.stats")
        self.ledger_path = os.path.join(directory, "sink.ledger")
        if os.path.exists(self.stats_path):
            os.unlink(self.stats_path)  # an earlier sink's magic number would be taken for this one's
        command = [os.path.join(build, "bench", "sink"), "-s", self.stats_path, "-p", str(processes)]
        if ledger:
            command += ["-l", self.ledger_path]
        for rule in rules:
            command += ["-b", rule]
        self.process = subprocess.Popen(command + [f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
        self.map = self._map_stats()
        self.port = self.counts().port
        self.ledger_offset = 0

    def _map_stats(self):
        deadline = time.monotonic() + 60
        size = struct.calcsize(STATS_FORMAT)
        while time.monotonic() < deadline and self.process.poll() is None:
            if os.path.exists(self.stats_path) and os.path.getsize(self.stats_path) >= size:
                with open(self.stats_path, "rb") as f:
                    mapped = mmap.mmap(f.fileno(), size, prot=mmap.PROT_READ)
                if struct.unpack_from("<Q", mapped)[0] == STATS_MAGIC:
                    return mapped
            time.sleep(0.01)
        raise RuntimeError("the sink did not start")

    def counts(self):
        words = struct.unpack_from(STATS_FORMAT, self.map)
        return SinkCounts(*words[1:11], cpu_ms=sum(words[11:]) / 1000)

    def wait_messages(self, count, limit):
        """True when `count` messages have been taken within `limit` seconds."""
        deadline = time.monotonic() + limit
        while self.counts().messages < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def new_ledger_lines(self, count, limit=60.0):
        """The ledger's lines since the last call; waits for `count` of them (the sink writes 20 times a second)."""
        lines, rest = [], b""
        deadline = time.monotonic() + limit
        with open(self.ledger_path, "rb") as f:
            f.seek(self.ledger_offset)
            while True:
                *complete, rest = (rest + f.read()).split(b"\n")
                lines += complete
                if len(lines) >= count or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            self.ledger_offset = f.tell() - len(rest)
        return [line.decode() for line in lines]

    def stop(self):
        """Its closing figures (the JSON it prints)."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        self.map.close()
        return json.loads(out)


def load_command(build, port, options):
    """`options`: names of load's long options (with _ for -) and values; True stands for a flag."""
    command = [os.path.join(build, "bench", "load")]
    for name, value in options.items():
        if value is None or value is False:
            continue
        command.append("--" + name.replace("_", "-"))
        if value is not True:
            command.append(str(value))
    return command + [f"127.0.0.1:{port}"]


def run_load(build, port, **options):
    """Run it to its end; the object it prints."""
    done = subprocess.run(load_command(build, port, options), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 2):  # 2: cut off at the deadline, the figures stand
        raise RuntimeError(f"load failed with {done.returncode}")
    return json.loads(done.stdout)


def free_port():
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_greeting(port, limit):
    """True when an SMTP server greets on the port within `limit` seconds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
                s.settimeout(5)
                if s.recv(4096).startswith(b"220"):
                    s.sendall(b"QUIT\r\n")
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False
