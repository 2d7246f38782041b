"""HAProxy in front of the nodes: one address for the clients.

    front = HaProxy(directory, nodes)         running; front.port is where clients connect
    front.up()                                {node name: is its server in use}

A server is looked at as far as MAIL, where a node without a database says 451: it gets no clients then."""
import csv
import io
import os
import signal
import socket
import subprocess

from deadline import STRETCH, wait_until
from relay import free_port

PROGRAM = "/usr/sbin/haproxy"

CONFIG = """\
global
    stats socket %(stats)s mode 600
    maxconn 2000
defaults
    mode tcp
    timeout connect 30s
    timeout check 30s
    timeout client 5m
    timeout server 5m
    retries 3
    option redispatch 1
frontend mail
    bind 127.0.0.1:%(port)d
    default_backend nodes
backend nodes
    balance leastconn
    option tcp-check
    tcp-check expect rstring ^220
    tcp-check send EHLO\\ balancer.example\\r\\n
    tcp-check expect rstring 250\\ [A-Z]
    tcp-check send MAIL\\ FROM:<>\\r\\n
    tcp-check expect rstring ^250
    tcp-check send QUIT\\r\\n
    tcp-check expect rstring ^221
    default-server check inter 300ms fall 1 rise 1 on-error mark-down observe layer4 error-limit 1
%(servers)s
"""


class HaProxy:
    def __init__(self, directory, nodes):
        self.port = free_port()
        self.stats = os.path.join(directory, "haproxy.stats")
        config = os.path.join(directory, "haproxy.cfg")
        servers = "".join("    server %s 127.0.0.1:%d\n" % (n.name, n.port) for n in nodes)
        with open(config, "w") as f:
            f.write(CONFIG % {"stats": self.stats, "port": self.port, "servers": servers})
        self.log = open(os.path.join(directory, "haproxy.log"), "w")
        self.process = subprocess.Popen([PROGRAM, "-db", "-f", config], stdout=self.log, stderr=self.log)
        wait_until("HAProxy with all nodes", lambda: self._is_ready(len(list(nodes))))

    def _is_ready(self, count):
        if self.process.poll() is not None:
            raise AssertionError("HAProxy ended; see " + self.log.name)
        return list(self.up().values()).count(True) == count

    def up(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(5 * STRETCH)
            try:
                s.connect(self.stats)
            except OSError:
                return {}
            s.sendall(b"show stat\n")
            text = b""
            while data := s.recv(1 << 16):
                text += data
        rows = csv.DictReader(io.StringIO(text.decode().lstrip("# ")))
        return {r["svname"]: r["status"] == "UP" for r in rows
                if r["pxname"] == "nodes" and r["svname"] != "BACKEND"}

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        self.log.close()
