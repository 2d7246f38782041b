"""A network namespace of this process's own: every port is free, and no other test can answer on it.

UNIX sockets in the file system, so the test database too, are reached from inside as from outside."""
import ctypes
import fcntl
import os
import socket
import struct

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
