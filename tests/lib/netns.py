"""A network namespace of this process's own: every port is free, and no other test can answer on it.

UNIX sockets in the file system, so the test database too, are reached from inside as from outside."""
import ctypes
import fcntl
import os
import socket
import struct
import subprocess

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_BIND = 0x1000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

libc = ctypes.CDLL(None, use_errno=True)


def _check(rc, what):
    if rc != 0:
        raise OSError(ctypes.get_errno(), "%s: %s" % (what, os.strerror(ctypes.get_errno())))


def _try(argv):
    return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def enter():
    """Leave the network and the mounts of the rest of the system; 127.0.0.0/8 and ::1 answer. OSError where
    this is not allowed (no CAP_SYS_ADMIN)."""
    _check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
    _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def cover(path, source):
    """Let `source` stand at `path` for this namespace only."""
    _check(libc.mount(source.encode(), os.path.realpath(path).encode(), None, MS_BIND, None), "mount " + path)


def allowed():
    """May this process make namespaces? Tried in a child."""
    pid = os.fork()
    if pid == 0:
        try:
            enter()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def small_disk(path, size):
    """A file system of its own, of `size` bytes, at `path`; it goes with the namespace."""
    _check(libc.mount(b"none", path.encode(), b"tmpfs", 0, b"size=%d,mode=0755" % size), "mount " + path)


class Host:
    """Another host: a network namespace beside the caller's own (after enter()), reached over cables. Its addresses and
    ours exist only between these two namespaces."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.prefix = ["nsenter", "--net=/proc/%d/ns/net" % self.holder.pid]
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv):
        subprocess.run(self.prefix + list(argv), check=True)

    def attempt(self, argv):
        return _try(self.prefix + argv)

    def cable(self, number):
        return Cable(self, number)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Cable:
    """A point-to-point link of ours to a host. `there`: the host's address on it."""

    def __init__(self, host, number):
        self.host = host
        self.here, self.there = "10.77.%d.1" % number, "10.77.%d.2" % number
        self.name, far = "here%d" % number, "there%d" % number
        subprocess.run(["ip", "link", "add", self.name, "type", "veth", "peer", "name", far], check=True)
        subprocess.run(["ip", "link", "set", far, "netns", str(host.holder.pid)], check=True)
        subprocess.run(["ip", "address", "add", self.here + "/30", "dev", self.name], check=True)
        subprocess.run(["ip", "link", "set", self.name, "up"], check=True)
        host.run("ip", "address", "add", self.there + "/30", "dev", far)
        self.far = far
        self.plug()

    def plug(self):
        self.host.run("ip", "link", "set", self.far, "up")

    def slow(self):
        """20 ms each way where the kernel can delay packets (netem), and 8 Mbit a second. What it can do, in words."""
        delay = ["netem", "delay", "20ms", "rate", "8mbit", "limit", "1000"]
        narrow = ["tbf", "rate", "8mbit", "burst", "16kb", "latency", "1s"]
        for shape in (delay, narrow):
            here, there = (run(["tc", "qdisc", "replace", "dev", dev, "root"] + shape).returncode
                           for run, dev in ((_try, self.name), (self.host.attempt, self.far)))
            if (here, there) == (0, 0):
                return " ".join(shape)
        raise OSError("no slow link with this kernel")

    def pull(self):
        """Packets vanish in both directions; no connection is told."""
        self.host.run("ip", "link", "set", self.far, "down")
