#!/usr/bin/env python3
"""Conformance driver for the DNS-dependent behaviour.  It runs the driver of
../conformance (or of $CONFORMANCE_DIR) with every case, its MTA, its mail
servers and its DNS server in a network and mount namespace of its own.

  dnsdriver.py list|record|run|show   with the options of ../conformance/driver.py

See README.md.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = os.environ.get("CONFORMANCE_DIR") or os.path.join(HERE, "..", "conformance")
sys.path.insert(0, BASE)
sys.path.insert(0, HERE)
import driver  # noqa: E402
import stubs   # noqa: E402
from dnsstub import Dns  # noqa: E402

driver.HERE = HERE
driver.__doc__ = __doc__

# Addresses on the loopback interface of the namespace: documentation networks,
# so that the MTA sees hosts that are not "this machine".
NETS = ["192.0.2.1/24", "198.51.100.1/24", "203.0.113.1/28"]
V6 = ["2001:db8::%x/128" % n for n in list(range(1, 0x20)) + [0x101, 0x102, 0x103]]
MX = ["M%d" % n for n in range(1, 10)]      # port 25 of 192.0.2.11 ... .19
RESOLV = "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n"
HOSTS = "127.0.0.1 localhost\n"
NSSWITCH = ("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
            "networks: files\nservices: files\nprotocols: files\n")
for k in ("smtp_dns_support_level",):
    driver.BASE_MAIN.pop(k, None)
driver.BASE_MAIN["relayhost"] = ""
driver.BASE_MAIN["inet_protocols"] = "ipv4"
driver.BASE_MAIN["smtp_tls_CAfile"] = ""

CASE_LIMIT = 180

STATE = {"source": None, "tls": "", "order": []}


# ------------------------------------------------------- inside the namespace

class HostServer(stubs.Server):
    """A server on another address than 127.0.0.1."""

    def __init__(self, port, host=None):
        host = self.cfg.get("host", "127.0.0.1")
        if ":" not in host:
            super().__init__(port, host)
            return
        self.lock = threading.Lock()
        self.closing = False
        self.conns = []
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.sock.bind((host, port))
        self.sock.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()


class HostSink(stubs.Sink, HostServer):
    """cfg, beside the keys of Sink: host (address), cert (name of the key pair),
    proto "dns" (the DNS server) or "hang" (connections time out)."""

    def __init__(self, port, cfg, tls=None):
        self.cfg = cfg
        self.other = None
        if cfg.get("proto") in ("dns", "hang", "unbound"):
            self.lock = threading.Lock()
            self.messages, self.sessions = [], []
            self.other = {"dns": Dns, "hang": Hang, "unbound": Unbound}[
                cfg["proto"]](port, cfg)
            return
        d = os.path.join(STATE["tls"], cfg.get("cert", "mx1"))
        self.label = STATE["ctx"].by_host.get((cfg.get("host"), port), "?")
        super().__init__(port, cfg, (d + ".pem", d + ".key"))

    def handle(self, c):
        if self.label != "M9":            # the place for bounces
            STATE["order"].append(self.label)
        super().handle(c)

    def set(self, cfg):
        if self.other:
            self.other.set(cfg)
        else:
            super().set(cfg)

    def close(self):
        (self.other or super()).close()


class Hang:
    """A listening socket with a full backlog: further connections get no answer."""

    def __init__(self, port, cfg):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((cfg["host"], port))
        self.sock.listen(0)
        self.fill = []
        for _ in range(6):
            c = socket.socket()
            c.setblocking(False)
            c.connect_ex((cfg["host"], port))
            self.fill.append(c)
        time.sleep(0.1)

    def set(self, cfg):
        pass

    def close(self):
        for s in self.fill + [self.sock]:
            s.close()


class Unbound:
    """unbound(8) with the signed root zone that make_zones() wrote."""

    def __init__(self, port, cfg):
        if not os.path.exists(STATE["tls"] + "/zones/root.signed"):
            raise RuntimeError("needs unbound and ldnsutils")
        t = STATE["ctx"].tmp
        z = STATE["tls"] + "/zones/"
        with open(t + "/unbound.conf", "w") as f:
            f.write("""server:
 interface: 127.0.0.1@%d
 do-daemonize: no
 chroot: ""
 username: ""
 directory: "%s"
 pidfile: ""
 use-syslog: no
 logfile: "%s/unbound.log"
 access-control: 127.0.0.0/8 allow
 do-not-query-localhost: no
 module-config: "validator iterator"
 trust-anchor-file: "%sroot.ds"
 root-hints: ""
 qname-minimisation: no
 local-zone: "test." nodefault
 local-zone: "2.0.192.in-addr.arpa." nodefault
 local-zone: "100.51.198.in-addr.arpa." nodefault
 num-threads: 1
remote-control:
 control-enable: no
""" % (port, t, t, z))
            for name, file in (("insecure.test.", "insecure"),
                               ("bogus.test.", "bogus"), (".", "root.signed")):
                f.write("auth-zone:\n name: \"%s\"\n zonefile: \"%s%s\"\n "
                        "for-upstream: yes\n for-downstream: no\n "
                        "fallback-enabled: no\n" % (name, z, file))
        self.p = subprocess.Popen(["unbound", "-c", t + "/unbound.conf"],
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        for _ in range(1200):
            s = socket.socket()
            if s.connect_ex(("127.0.0.1", port)) == 0:
                s.close()
                return
            s.close()
            time.sleep(0.05)
        self.close()
        raise RuntimeError("unbound did not start")

    def set(self, cfg):
        pass

    def close(self):
        self.p.terminate()
        self.p.wait()


class FromSmtp(driver.Smtp):
    """Connects from the address that the step names."""

    def __init__(self, port, cafile=None):
        src = STATE["source"]
        if not src:
            super().__init__(port, cafile)
            return
        dst = "::1" if ":" in src else "127.0.0.1"
        for n in range(600):
            try:
                self.s = socket.create_connection(
                    (dst, port), timeout=driver.REPLY_LIMIT,
                    source_address=(src, 0))
                break
            except ConnectionRefusedError:
                if n == 599:
                    raise
                time.sleep(0.1)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""


class Context(driver.Context):
    def __init__(self, case, slot, opts):
        super().__init__(case, slot, opts)
        v = self.vars
        self.by_host = {}
        for n, m in enumerate(MX):
            v[m] = "25"
            v["IP_" + m] = "192.0.2.%d" % (11 + n)
        v["DNS"] = "53"
        v["CA"] = STATE["tls"] + "/ca.pem"
        v.update(STATE["digests"])
        for k, x in STATE["digests"].items():
            v[k + "c"] = ":".join(re.findall("..", x)).upper()
        for n, cfg in (case.get("sinks") or {}).items():
            self.by_host[(cfg.get("host"), int(v[n]))] = n
        STATE["ctx"] = self


def run_smtp(ctx, step, servers):
    STATE["source"] = step.get("from")
    try:
        return plain_run_smtp(ctx, step, servers)
    finally:
        STATE["source"] = None


plain_run_smtp = driver.run_smtp
driver.run_smtp = run_smtp
driver.Smtp = FromSmtp
driver.Sink = HostSink
driver.Context = Context


def prepare(case):
    """Short forms: "dns" at the top of a case, default addresses of the sinks."""
    sinks = {}
    dns = case.get("dns", {})
    if dns == "unbound":
        sinks["DNS"] = {"proto": "unbound"}
    elif dns is not None:
        sinks["DNS"] = dict(dns, proto="dns")
    for n, cfg in (case.get("sinks") or {}).items():
        cfg = dict(cfg)
        if n in MX:
            cfg.setdefault("host", "192.0.2.%d" % (11 + MX.index(n)))
            cfg.setdefault("name", n.lower() + ".sink.test")
        sinks[n] = cfg
    case["sinks"] = sinks
    return case


def bind(text, target, tmp):
    target = os.path.realpath(target)
    p = os.path.join(tmp, os.path.basename(target))
    with open(p, "w") as f:
        f.write(text)
    subprocess.run(["mount", "--bind", p, target], check=True)


def worker():
    """One case, as JSON from standard input; the result as JSON to fd 1."""
    job = json.load(sys.stdin)
    out = os.dup(1)
    os.dup2(2, 1)
    opts = argparse.Namespace(**job["opts"])
    limit = CASE_LIMIT
    if getattr(opts, "limits", None):
        driver.set_limits(*opts.limits[:3])
        limit = opts.limits[3]
    STATE["tls"] = job["tlsdir"]
    with open(job["tlsdir"] + "/digests.json") as f:
        STATE["digests"] = json.load(f)
    case = prepare(job["case"])

    def late(*_):
        # the driver then stops the MTA
        raise TimeoutError("the case took more than %d s" % limit)

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit)
    t = tempfile.mkdtemp(prefix="rpns")
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        batch = "".join("addr add %s dev lo\n" % a for a in NETS)
        batch += "".join("addr add %s dev lo nodad\n" % a for a in V6)
        subprocess.run(["ip", "-batch", "-"], input=batch.encode(), check=True)
        bind(case.get("resolv", RESOLV), "/etc/resolv.conf", t)
        bind(HOSTS + case.get("hosts", ""), "/etc/hosts", t)
        bind(NSSWITCH, "/etc/nsswitch.conf", t)
        if os.path.isdir("/run/nscd"):
            subprocess.run(["mount", "-t", "tmpfs", "none", "/run/nscd"], check=True)
        r = driver.run_case2(case, job["slot"], opts)
    except Exception as e:       # noqa: BLE001
        r = {"error": "namespace: %s: %s" % (type(e).__name__, e)}
    finally:
        subprocess.run(["umount", "-l", "/etc/resolv.conf", "/etc/hosts",
                        "/etc/nsswitch.conf"], stderr=subprocess.DEVNULL)
        shutil.rmtree(t, ignore_errors=True)
    for k in ("sinks", "sessions"):
        if isinstance(r.get(k), dict):
            r[k].pop("DNS", None)
    if "log" in r:
        r["log"] = clean_log(r["log"])
    if "steps" in r and case.get("order"):
        r["steps"].append({"connections": STATE["order"]})
    text = json.dumps(r)
    for n, d in STATE["digests"].items():
        for x in (d, d.upper(), ":".join(re.findall("..", d)).upper()):
            text = text.replace(x, "%{" + n + "}")
    text = text.replace(STATE["tls"], "%{TLS}")
    with os.fdopen(out, "w") as f:
        f.write(text)
        f.flush()
    os._exit(0)


NOISE = re.compile(r"file system clock is|resetting file time stamps|"
                   r"/(postfix|rowpost)-script\[")


def clean_log(lines):
    """Level 2 log lines without machine noise and cipher names."""
    return [re.sub(r"(TLSv[\d.]+) with cipher .*", r"\1 with cipher <CIPHER>", x)
            for x in lines if not NOISE.search(x)]


# ------------------------------------------------------- outside

def openssl(d, *args):
    p = subprocess.run(["openssl"] + list(args), cwd=d, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode:
        raise RuntimeError("openssl %s: %s" % (args[0], p.stderr.decode()))
    return p.stdout


# name: (subject CN, DNS names, how): "ca" signed by the private CA, "self",
# "chain" signed and sent with the CA certificate, "expired"
CERTS = {
    "mx1": ("mx1.dest.test", ["mx1.dest.test"], "ca"),
    "mx2": ("mx2.dest.test", ["mx2.dest.test"], "ca"),
    "dest": ("dest.test", ["dest.test"], "ca"),
    "wild": ("wild", ["*.dest.test"], "ca"),
    "other": ("other.example", ["other.example"], "ca"),
    "cn": ("mx1.dest.test", [], "ca"),
    "self": ("mx1.dest.test", ["mx1.dest.test"], "self"),
    "chain": ("mx1.dest.test", ["mx1.dest.test"], "chain"),
    "chainother": ("other.example", ["other.example"], "chain"),
    "expired": ("mx1.dest.test", ["mx1.dest.test"], "expired"),
}


def make_certs(d):
    openssl(d, "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj",
            "/O=rp/CN=rp private CA", "-keyout", "ca.key", "-out", "ca.pem")
    dig = {}

    def digests(name):
        der = openssl(d, "x509", "-in", name + ".pem", "-outform", "DER")
        pub = openssl(d, "x509", "-in", name + ".pem", "-noout", "-pubkey")
        with open(os.path.join(d, name + ".pub"), "wb") as f:
            f.write(pub)
        spki = openssl(d, "pkey", "-pubin", "-in", name + ".pub", "-outform", "DER")
        for s, x in (("0", der), ("1", spki)):
            dig["%s_%s1" % (name, s)] = hashlib.sha256(x).hexdigest()
            dig["%s_%s2" % (name, s)] = hashlib.sha512(x).hexdigest()
            dig["%s_%s0" % (name, s)] = x.hex()

    digests("ca")
    for name, (cn, names, how) in CERTS.items():
        openssl(d, "req", "-new", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj", "/O=rp/CN=" + cn,
                "-keyout", name + ".key", "-out", name + ".csr")
        ext = "basicConstraints=CA:FALSE\n"
        if names:
            ext += "subjectAltName=" + ",".join("DNS:" + n for n in names) + "\n"
        with open(os.path.join(d, name + ".ext"), "w") as f:
            f.write(ext)
        days = ["-days", "3650"]
        if how == "self":
            sign = ["-signkey", name + ".key"]
        else:
            sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial",
                    str(100 + len(dig))]
        if how == "expired":
            # openssl x509 of 3.0 has no end date: a small CA run
            with open(os.path.join(d, "ca.cnf"), "w") as f:
                f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=ca.idx\nserial=ca.srl\n"
                        "new_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n"
                        "copy_extensions=none\n[p]\nO=optional\nCN=supplied\n[e]\n" + ext)
            open(os.path.join(d, "ca.idx"), "w").close()
            with open(os.path.join(d, "ca.srl"), "w") as f:
                f.write("0A\n")
            openssl(d, "ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem",
                    "-keyfile", "ca.key", "-in", name + ".csr", "-notext", "-out",
                    name + ".pem", "-startdate", "20200101000000Z", "-enddate",
                    "20210101000000Z")
        else:
            openssl(d, "x509", "-req", "-in", name + ".csr", "-extfile",
                    name + ".ext", "-out", name + ".pem", *days, *sign)
        digests(name)
        if how == "chain":
            with open(os.path.join(d, name + ".pem"), "a") as f, \
                    open(os.path.join(d, "ca.pem")) as g:
                f.write(g.read())
    with open(os.path.join(d, "digests.json"), "w") as f:
        json.dump(dig, f)
    return dig


def make_zones(d, dig):
    """A signed root zone with everything in it, an insecure and a bogus child."""
    z = os.path.join(d, "zones")
    os.makedirs(z)
    if not (shutil.which("unbound") and shutil.which("ldns-signzone")):
        return
    soa = "@ 300 IN SOA ns.rp.test. h.rp.test. 1 7200 3600 604800 60\n"
    text = "$ORIGIN .\n" + soa + "@ 300 IN NS ns.rp.test.\n"

    def tool(*args):
        return subprocess.run(args, cwd=z, check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE).stdout.decode().strip()

    with open(os.path.join(HERE, "zone.json")) as f:
        zone = json.load(f)
    for part in ("root", "insecure", "bogus"):
        zone[part] = [re.sub(r"%\{(\w+)\}", lambda m: dig[m.group(1)], x)
                      for x in zone[part]]

    def lines(rrs):
        out = ""
        for x in rrs:
            n, t, v = x.split(None, 2)
            w = v.split()
            if t in ("MX", "NS", "CNAME", "PTR"):
                w[-1] = w[-1].rstrip(".") + "."
            out += "%s. 300 IN %s %s\n" % (n.rstrip("."), t, " ".join(w))
        return out

    # the child whose DS does not match
    alien = tool("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "bogus.test")
    with open(os.path.join(z, alien + ".ds")) as f:
        ds = f.read()
    key = tool("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "bogus.test")
    with open(os.path.join(z, "bogus.in"), "w") as f:
        f.write("$ORIGIN bogus.test.\n" + soa + "@ 300 IN NS ns.bogus.test.\n"
                + lines(zone["bogus"]))
    tool("ldns-signzone", "-f", "bogus", "bogus.in", key)
    with open(os.path.join(z, "insecure"), "w") as f:
        f.write("$ORIGIN insecure.test.\n" + soa + "@ 300 IN NS ns.insecure.test.\n"
                + lines(zone["insecure"]))
    text += lines(zone["root"]) + ds
    for c in ("insecure.test", "bogus.test"):
        text += "%s. 300 IN NS ns.%s.\nns.%s. 300 IN A 127.0.0.9\n" % (c, c, c)
    with open(os.path.join(z, "root.in"), "w") as f:
        f.write(text)
    k = tool("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", ".")
    tool("ldns-signzone", "-f", "root.signed", "root.in", k)
    shutil.copy(os.path.join(z, k + ".ds"), os.path.join(z, "root.ds"))


def run_apart(case, slot, opts):
    """One case in a worker of its own namespaces; opts.tlsdir is from prepare_run()."""
    j = json.dumps({"case": case, "slot": slot, "opts": vars(opts), "tlsdir": opts.tlsdir})
    p = subprocess.Popen(
        ["unshare", "-n", "-m", "--propagation", "private", sys.executable,
         os.path.abspath(__file__), "--worker"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, close_fds=True)
    try:
        out, err = p.communicate(j.encode(), timeout=CASE_LIMIT + 600)
        return json.loads(out)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
        return {"error": "the worker hangs"}
    except ValueError:
        return {"error": "worker failed", "trace": err.decode()[-1500:]}


def prepare_run(opts):
    """Users, certificates and zones, once a run; clean_run(opts) at its end."""
    driver.ensure_users()
    opts.tlsdir = tempfile.mkdtemp(prefix="rptls")
    os.chmod(opts.tlsdir, 0o755)
    make_zones(opts.tlsdir, make_certs(opts.tlsdir))
    opts.tls = (opts.tlsdir + "/mx1.pem", opts.tlsdir + "/mx1.key")


def clean_run(opts):
    shutil.rmtree(opts.tlsdir, ignore_errors=True)


def run_all(cases, opts):
    prepare_run(opts)
    slots = list(range(opts.jobs))
    lock = threading.Lock()
    results = {}
    done = [0]

    def job(c):
        with lock:
            slot = slots.pop()
        t = time.time()
        try:
            r = run_apart(c, slot, opts)
        finally:
            with lock:
                slots.append(slot)
        with lock:
            done[0] += 1
            results[c["topic"] + "/" + c["name"]] = r
            note = ""
            if "error" in r:
                note = "  ERROR " + r["error"][:200]
            elif r.get("crash"):
                note = "  CRASH"
            elif r.get("idle"):
                note = "  not idle"
            if opts.verbose or note:
                print("[%d/%d] %s/%s %.1fs%s" % (
                    done[0], len(cases), c["topic"], c["name"],
                    time.time() - t, note), flush=True)

    try:
        with concurrent.futures.ThreadPoolExecutor(opts.jobs) as ex:
            list(ex.map(job, cases))
    finally:
        clean_run(opts)
    return results


driver.run_all = run_all

if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker()
    sys.exit(driver.main())
