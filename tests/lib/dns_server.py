"""A scripted DNS server for a test in its own namespace: 127.0.0.1 port 53, and /etc/resolv.conf that names it.

    dns = DnsServer(rr=["example.test MX 10 mx.example.test", "mx.example.test A 127.0.0.5"],
                    fail={"broken.test": "servfail"})

The configuration (rr, fail, delay, trunc, secure) and the server itself are those of tests/conformance-dns/dnsstub.py."""
import os
import sys
import tempfile

import netns

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance-dns"))
from dnsstub import Dns  # noqa: E402

RESOLV = "nameserver 127.0.0.1\noptions timeout:20 attempts:2\n"
HOSTS = "127.0.0.1 localhost\n"


class DnsServer(Dns):
    def __init__(self, directory=None, hosts="", **cfg):
        super().__init__(53, cfg)
        d = directory or tempfile.mkdtemp(prefix="rpdns")
        for path, text in (("/etc/resolv.conf", RESOLV), ("/etc/hosts", HOSTS + hosts)):
            own = os.path.join(d, "dns-" + os.path.basename(path))
            with open(own, "w") as f:
                f.write(text)
            netns.cover(path, own)

    def change(self, **cfg):
        self.set(dict(self.cfg, **cfg))

    def asked(self, name, typ):
        """How often was this question asked?"""
        with self.lock:
            return self.queries.count([name.lower().rstrip("."), typ])
