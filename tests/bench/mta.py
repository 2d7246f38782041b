"""What the runner needs of a relay under test, and what the relays have in common."""

import os
import re
import signal
import subprocess
import time

import measure
import tools


class Mta:
    """One relay with directories and a port of its own. Subclasses fill in name, write_config, start/stop commands."""

    name = "?"
    start_limit = 60.0

    def __init__(self, base, sink_port, settings=None):
        """settings: more of main.cf."""
        self.directory = os.path.join(base, self.name)
        self.config = os.path.join(self.directory, "etc")
        self.log = os.path.join(self.directory, "mail.log")
        self.sink_port = sink_port
        self.extra = settings or {}
        self.port = tools.free_port()
        self.meter = None
        self.starter = None

    def write_config(self):
        raise NotImplementedError

    def command(self, verb):
        """The command line for "start" or "stop"."""
        raise NotImplementedError

    def prepare(self):
        """What has to run before the relay does, and counts as part of it."""

    def start(self):
        """The first time with a new configuration and queue, then with those that are there."""
        if not os.path.exists(self.config):
            os.makedirs(self.config)
            self.write_config()
        self.meter = measure.new_meter(f"rowpost-bench-{os.getpid()}-{self.name}", self.directory)
        self.prepare()
        with open(os.path.join(self.directory, "start.out"), "wb") as out:
            self.starter = subprocess.Popen(self.command("start"), stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, preexec_fn=self.meter.enter)
        if not tools.wait_greeting(self.port, self.start_limit):
            raise RuntimeError(f"{self.name} does not greet on port {self.port}; see {self.directory}")

    def stop(self):
        if self.meter is None:
            return
        subprocess.run(self.command("stop"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60, check=False)
        self._end_processes(signal.SIGTERM, 10.0)
        self._end_processes(signal.SIGKILL, 5.0)
        self.starter.wait(timeout=5)
        self.meter.close()
        self.meter = None

    def _end_processes(self, sig, limit):
        """Wait for what is left of the relay; what a clean stop should have ended gets `sig` after half the time."""
        deadline = time.monotonic() + limit
        signalled = False
        while self.starter.poll() is None or self.meter.pids():
            now = time.monotonic()
            if now > deadline:
                return
            if not signalled and now > deadline - limit / 2:
                signalled = True
                for pid in self.meter.pids():
                    _kill(pid, sig)
            time.sleep(0.05)

    def pids_of(self, program):
        """Its processes of that program; PostgreSQL's call themselves "postgres: what it does"."""
        names = {pid: os.path.basename(measure.read_text(f"/proc/{pid}/cmdline").split("\0")[0]) for pid in self.meter.pids()}
        return [pid for pid, name in names.items() if name.split(":")[0] == program]

    def restart(self):
        self.stop()
        self.start()

    def version(self):
        return ""


def _kill(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def write_file(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def format_main_cf(settings):
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


# The relay job, in words that Postfix and Rowpost share: everything from 127.0.0.1 goes to the sink.
def relay_settings(mta):
    return {
        "compatibility_level": "3.6",
        "queue_directory": os.path.join(mta.directory, "spool"),
        "data_directory": os.path.join(mta.directory, "data"),
        "maillog_file": mta.log,
        "maillog_file_prefixes": mta.directory,
        "myhostname": "relay.example.com",
        "mydestination": "",
        "alias_maps": "",
        "alias_database": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "relayhost": f"[127.0.0.1]:{mta.sink_port}",
    } | mta.extra


def loopback_master_cf(text, port):
    """A shipped master.cf with its one SMTP listener on 127.0.0.1:port and no chroot; pipe services left out."""
    lines, skipping = [], False
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            if not skipping:
                lines.append(line)
            continue
        fields = re.split(r"\s+", line.strip(), maxsplit=7)
        skipping = fields[7].split()[0] == "pipe" or (fields[1] == "inet" and fields[0] != "smtp")
        if skipping:
            continue
        fields[4] = "n"
        if fields[1] == "inet":
            fields[0] = f"127.0.0.1:{port}"
        lines.append(" ".join(fields))
    return "\n".join(lines) + "\n"
