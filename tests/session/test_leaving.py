"""The end of a process's life: what its clients see, and that everything ends in order, at whatever moment it comes."""
import os
import signal
import subprocess
import threading

from session import MESSAGE, equal, limit
from sink import STALL
from smtp_client import SmtpClient
from table_server import TableServer


def frozen(relay, program):
    """The processes of a program, stopped."""
    pids = relay.wait_pids(program)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def commands():
    """The names of all processes here."""
    return subprocess.run(["ps", "-e", "-o", "comm="], stdout=subprocess.PIPE, check=True).stdout.split()


def stopping(t, relay):
    """`rowpost stop`, under way."""
    stop = threading.Thread(target=relay.stop)
    stop.start()
    t.at_end(stop.join)
    return stop


@limit(90)
def test_clients_before_the_door(t):
    """Clients that the kernel has and smtpd has not, when it is told to leave, are greeted, and it ends in order."""
    r = t.relay()
    t.client(r).close()     # its doors are open
    pids = frozen(r, "smtpd")
    stop = stopping(t, r)
    # They are told after smtpd.
    t.wait("the others to go", lambda: not r.pids("pickup"), 30)
    clients = [SmtpClient(r.port, greet=False) for _ in range(3)]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    for c in clients:
        c.expect(220)
        c.close()
    stop.join()
    assert not r.log.find("killed by|exit status|did not go"), r.log.tail()


@limit(90)
def test_drain_time_is_over(t):
    """Sessions of smtpd, and deliveries, that last longer than drain_time are given up, and nothing else goes wrong."""
    sink = t.sink().on("dot", STALL)
    command = os.path.join(t.dir, "command")
    os.mkfifo(command)
    r = t.relay(sink=sink, main={"drain_time": "4s", "transport_maps": "inline:{slow.example=slow:}"},
                master=["slow unix - n n - - pipe", "  user=nobody argv=/bin/cat " + command])
    t.send(r)
    t.send(r, recipients="bob@slow.example")
    t.wait("the deliveries", lambda: sink.messages and b"cat" in commands(), 30)
    waiting, sending = t.client(r), t.client(r)
    waiting.cmd("MAIL FROM:<a@client.example>")
    sending.ehlo()
    sending.envelope("a@client.example", ["b@dest.example"])
    sending.cmd("DATA", 354)
    r.stop()
    assert not r.log.find("killed by|exit status|did not go|taken over"), r.log.tail()


@limit(90)
def test_reload_beside_a_lookup(t):
    """The scheduler reads its configuration anew, then one with a mistake, while it waits for a table that says where mail goes."""
    table = TableServer("tcp")
    t.at_end(table.stop)
    sink = t.sink().on("rcpt", "550 5.1.1 not here", match="no@")
    r = t.relay(sink=sink, main={"transport_maps": table.spec})
    table.hold.clear()
    r.must_run("sendmail", "-f", "alice@client.example", "bob@dest.example", stdin=MESSAGE)
    t.wait("the question", lambda: table.keys, 30)
    r.reload()
    r.write_config(mydestination="/nowhere/domains")
    r.reload()
    r.log.wait_for(r"qmgr\[\d+\]: warning: mydestination: .*the old configuration stays in force", 30)
    table.hold.set()
    r.must_run("sendmail", "-f", "alice@client.example", "no@dest.example", stdin=MESSAGE)
    sink.wait(2, 30)
    equal(sorted(m.recipients for m in sink.messages), [["alice@client.example"], ["bob@dest.example"]])
    r.wait_empty(30)
    r.stop()
    assert not r.log.find("killed by"), r.log.tail()


@limit(90)
def test_log_changes_while_it_leaves(t):
    """What a session of a process that leaves still says goes into the new log file."""
    r = t.relay()
    c = t.client(r)
    c.ehlo()
    c.envelope("a@client.example", ["b@dest.example"])
    stop = stopping(t, r)
    t.wait("the others to go", lambda: not r.pids("pickup"), 30)
    r.must_run("rowpost", "logrotate")
    c.content(MESSAGE)
    stop.join()
    assert r.log.find(r"smtpd\[\d+\]: disconnect from"), r.log.text()
