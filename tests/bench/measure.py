"""CPU time and memory of a relay with all its processes, database included.

CPU: a cgroup v2 of its own for each relay (cpu.stat needs no controller and counts processes that have ended). Where
no cgroup can be made, the live process tree by /proc: utime + stime + what was reaped (cutime + cstime) of each
process. That misses daemons that left the tree and rounds each process to 10 ms, so the cgroup comes first.

Memory: sampled during a run as anonymous pages (statm, cheap), and once after it, exactly, as Pss_Anon + Pss_Shmem:
shared memory such as PostgreSQL's buffers is counted once, program text not at all.
"""

import os
import threading
import time
from contextlib import contextmanager

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGESIZE") // 1024


def read_text(path):
    """The file's text, or "" when it is gone: processes end while we look."""
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def cgroup_parent():
    """This process's own directory in the cgroup v2 hierarchy, or None."""
    own = [line[3:] for line in read_text("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    mounts = [line.split() for line in read_text("/proc/self/mounts").splitlines()]
    points = [m[1] for m in mounts if m[2] == "cgroup2"]
    if not own or not points:
        return None
    return os.path.normpath(points[0] + own[0])


class CgroupMeter:
    """Measures whatever is started with enter() as preexec_fn, and its descendants."""

    kind = "cgroup"

    def __init__(self, parent, name):
        self.path = os.path.join(parent, name)
        os.mkdir(self.path)

    def enter(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write("0")

    @contextmanager
    def entered(self):
        """What this process starts meanwhile is measured."""
        self.enter()
        try:
            yield
        finally:
            with open(os.path.join(os.path.dirname(self.path), "cgroup.procs"), "w", encoding="ascii") as f:
                f.write("0")

    def pids(self):
        return [int(p) for p in read_text(os.path.join(self.path, "cgroup.procs")).split()]

    def cpu_ms(self):
        for line in read_text(os.path.join(self.path, "cpu.stat")).splitlines():
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1000
        raise RuntimeError(f"no usage_usec in {self.path}/cpu.stat")

    def close(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass  # a process that is just ending still holds it


def stat_fields(pid):
    """(parent, CPU ms with reaped children) of a process, or None."""
    text = read_text(f"/proc/{pid}/stat")
    fields = text.rpartition(")")[2].split()
    if len(fields) < 15:
        return None
    return int(fields[1]), sum(int(t) for t in fields[11:15]) * TICK_MS


class ProcMeter:
    """The same for machines without a writable cgroup v2: processes that work in or were started with the relay's
    directory, and all below them."""

    kind = "proc"

    def __init__(self, directory):
        self.directory = directory

    def enter(self):
        pass

    @contextmanager
    def entered(self):
        yield

    def is_root(self, pid):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(self.directory + "/"):
                return True
        except OSError:
            pass
        return self.directory + "/" in read_text(f"/proc/{pid}/cmdline")

    def roots(self, stats):
        return {pid for pid in stats if pid != os.getpid() and self.is_root(pid)}

    def tree(self):
        """{pid: CPU ms} of the roots and all below them."""
        stats = {int(p): stat_fields(p) for p in os.listdir("/proc") if p.isdigit()}
        stats = {pid: s for pid, s in stats.items() if s}
        found = self.roots(stats)
        grown = True
        while grown:
            below = {pid for pid, (parent, _) in stats.items() if parent in found} - found
            found |= below
            grown = bool(below)
        return {pid: stats[pid][1] for pid in found}

    def pids(self):
        return list(self.tree())

    def cpu_ms(self):
        return sum(self.tree().values())

    def close(self):
        pass


def new_meter(name, directory):
    """The best meter this machine allows, for the relay that lives in `directory`."""
    parent = cgroup_parent()
    try:
        if parent:
            return CgroupMeter(parent, name)
    except OSError:
        pass
    return ProcMeter(directory)


def anon_kb(pids):
    """Resident anonymous memory by statm; pages shared between forked processes count in each."""
    total = 0
    for pid in pids:
        fields = read_text(f"/proc/{pid}/statm").split()
        if len(fields) > 2:
            total += (int(fields[1]) - int(fields[2])) * PAGE_KB
    return total


def pss_kb(pids, kinds=("Pss_Anon:", "Pss_Shmem:")):
    """The honest figure, too dear to sample often."""
    total = 0
    for pid in pids:
        for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(kinds):
                total += int(line.split()[1])
    return total


class MemorySampler:
    """Peak memory between start and stop, in MB: the exact figure at the end plus what went since the peak."""

    INTERVAL = 0.25

    def __init__(self, meter):
        self.meter = meter
        self.peak = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join()

    def _sample(self):
        while not self.stopped.wait(self.INTERVAL):
            self.peak = max(self.peak, anon_kb(self.meter.pids()))

    def peak_mb(self):
        """Call after the `with` block."""
        pids = self.meter.pids()
        return (pss_kb(pids) + max(0, self.peak - anon_kb(pids))) / 1024


def wait_quiet(meter, limit=2.0, step=0.05, share=0.05):
    """Until the relay uses less than `share` of one core, so that its work after the last delivery is counted too."""
    deadline = time.monotonic() + limit
    before = meter.cpu_ms()
    while time.monotonic() < deadline:
        time.sleep(step)
        now = meter.cpu_ms()
        if now - before < step * 1000 * share:
            return
        before = now
