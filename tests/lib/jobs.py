"""Run jobs in parallel, each in a process of its own that cannot outlive its time or leave anything behind.

Between the runner and each job stands a keeper: a process that adopts whatever the job's daemons leave
(PR_SET_CHILD_SUBREAPER), reaps it at once, ends the job at its time limit and at the end kills every process
that is still there. So a relay that does not stop spoils its own test only, and zombies do not look alive to a
program that waits for its children's end (process 1 of a container often reaps nobody).
"""
import ctypes
import json
import os
import selectors
import signal
import sys
import time
import traceback

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE = 30  # seconds a job has for its own clean-up after its limit

libc = ctypes.CDLL(None, use_errno=True)


class OverLimit(BaseException):
    """The job's time is up. Not an Exception: a test that expects errors must not swallow it."""


class Job:
    """name; data for the work function; limit in seconds; no two jobs with the same tag at once."""

    def __init__(self, name, data=None, limit=60.0, tag=None):
        self.name, self.data, self.limit, self.tag = name, data, limit, tag


def run(jobs, slots, work, on_done):
    """Run work(job, slot) for every job, at most `slots` at once, each slot number used by one at a time.

    on_done(job, result, seconds): result is what work returned (JSON values), or {"error": text} when it raised
    or was ended; "left" names the programs that were still running when the job returned."""
    waiting = list(jobs)
    free = list(range(slots - 1, -1, -1))
    busy_tags = set()
    sel = selectors.DefaultSelector()
    running = {}
    try:
        while waiting or running:
            while free and (job := _next(waiting, busy_tags)):
                slot = free.pop()
                if job.tag:
                    busy_tags.add(job.tag)
                pid, fd = _start(job, slot, work)
                running[fd] = (job, slot, pid, time.monotonic(), [])
                sel.register(fd, selectors.EVENT_READ)
            for key, _ in sel.select(1.0):
                job, slot, pid, began, parts = running[key.fd]
                data = os.read(key.fd, 1 << 16)
                if data:
                    parts.append(data)
                    continue
                sel.unregister(key.fd)
                os.close(key.fd)
                del running[key.fd]
                os.waitpid(pid, 0)
                free.append(slot)
                busy_tags.discard(job.tag)
                on_done(job, _result(parts), time.monotonic() - began)
    finally:
        for _, _, pid, _, _ in running.values():
            os.kill(pid, signal.SIGTERM)
        for fd, (_, _, pid, _, _) in running.items():
            os.close(fd)
            os.waitpid(pid, 0)


def _next(waiting, busy_tags):
    for i, job in enumerate(waiting):
        if job.tag is None or job.tag not in busy_tags:
            return waiting.pop(i)
    return None


def _result(parts):
    """From the job's line and the keeper's line, which comes last; either may be missing."""
    lines = [json.loads(ln) for ln in b"".join(parts).split(b"\n")[:-1]]
    kept = lines.pop() if lines and "left" in lines[-1] else {}
    result = lines[0] if lines else {"error": "the job died without a result (or was killed %d s after its limit)" % GRACE}
    if kept.get("left"):
        result["left"] = kept["left"]
    return result


def _start(job, slot, work):
    sys.stdout.flush()
    sys.stderr.flush()
    rd, wr = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(rd)
        try:
            _keep(job, slot, work, wr, parent)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(wr)
    return pid, rd


def _keep(job, slot, work, wr, parent):
    """The keeper's life; does not return."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        _work(job, slot, work, wr)
    ended = []

    def end_job(*_):
        # First ask, so that the job cleans up after itself; then insist.
        os.kill(child, signal.SIGKILL if ended else signal.SIGTERM)
        ended.append(1)
        signal.alarm(GRACE)

    signal.signal(signal.SIGALRM, end_job)
    signal.signal(signal.SIGTERM, end_job)
    signal.setitimer(signal.ITIMER_REAL, job.limit)
    if os.getppid() != parent:
        end_job()
    while True:
        pid, _ = os.waitpid(-1, 0)
        if pid == child:
            break
    signal.setitimer(signal.ITIMER_REAL, 0)
    left = kill_children()
    os.write(wr, (json.dumps({"left": sorted(set(left))}) + "\n").encode())
    os._exit(0)


def _work(job, slot, work, wr):
    def late(*_):
        raise OverLimit("over its limit of %g s" % job.limit)

    # The keeper may be gone before this line, then nobody would end us.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGTERM, late)
    try:
        result = work(job, slot)
    except BaseException as e:  # noqa: BLE001 - also OverLimit
        last = traceback.extract_tb(e.__traceback__)
        result = {"error": "%s: %s" % (type(e).__name__, e),
                  "trace": "".join(traceback.format_list(last)[-6:])}
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    data = (json.dumps(result) + "\n").encode()
    while data:
        data = data[os.write(wr, data):]
    os._exit(0)


def kill_children():
    """SIGKILL to every child, and to what their ends leave to us, until nobody is left. Their names."""
    names = []
    while True:
        for pid in children_of(os.getpid()):
            try:
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    words = f.read().split(b"\0")
                if words[0]:
                    names.append(os.path.basename(words[0].decode(errors="replace")))
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return names


def children_of(parent):
    """Process numbers of the living and dead children of a process."""
    out = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    if int(f.read().rpartition(")")[2].split()[1]) == parent:
                        out.append(int(name))
            except OSError:
                pass
    return out


MOST_SLOTS = 16     # what one PostgreSQL server, and the memory of an ordinary machine, take


def default_slots():
    """Most of a test's time is waiting: several jobs a processor. Of a large machine we may have a small share only."""
    cpus = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as f:
            quota, period = f.read().split()
        cpus = min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass    # no cgroup, or no limit ("max")
    return max(4, min(5 * cpus, MOST_SLOTS))
