"""pipe(8): what a command gets, and what its end means for the message."""
import os
import signal

from session import equal, match

DUMP = """#!/bin/sh
f=$(mktemp %(out)s/dump.XXXXXX)
{ for a in "$@"; do echo "arg=$a"; done; echo ---; cat; } > $f
mv $f $f.done
"""


def pipe_relay(t, line, main=None, **kw):
    """All mail goes to the service pp; (relay, directory that user nobody may write to)."""
    out = t.dir + "/out"
    os.mkdir(out)
    os.chmod(out, 0o777)
    os.chmod(t.dir, 0o755)
    settings = {"default_transport": "pp:hop.test", "minimal_backoff_time": "1000s"}
    settings.update(main or {})
    r = t.relay(start=False, main=settings, **kw)
    dump = t.dir + "/dump.sh"
    with open(dump, "w") as f:
        f.write(DUMP % {"out": out})
    os.chmod(dump, 0o755)
    r.master.append("pp unix - n n - - pipe " + line.replace("%DUMP", dump).replace("%OUT", out))
    r.write_config()
    r.start()
    return r, out


def dumps(t, out, count=1):
    def ready():
        return [n for n in sorted(os.listdir(out)) if n.endswith(".done")]
    t.wait("dump", lambda: len(ready()) >= count)
    texts = []
    for n in ready():
        with open(os.path.join(out, n)) as f:
            texts.append(f.read())
    return texts


def args_of(text):
    return [ln[4:] for ln in text.split("---\n")[0].splitlines()]


def test_macros(t):
    """Each macro, and a word with a recipient's macro once for each recipient."""
    r, out = pipe_relay(
        t, "flags=hu user=nobody argv=%DUMP ${sender} n=${nexthop} ${recipient} u=${user} e=${extension} m=${mailbox} "
        "d=${domain} o=${original_recipient} $$ $(queue_id) c=${client_address} h=${client_helo} p=${client_protocol} "
        "{two words}", {"recipient_delimiter": "+"})
    q = t.send(r, recipients=["A+x@Dest.example", "b@dest.example"])
    text = dumps(t, out)[0]
    equal(args_of(text), [
        "alice@client.example", "n=hop.test", "a+x@dest.example", "b@dest.example", "u=a", "u=b", "e=x", "e=",
        "m=a+x", "m=b", "d=dest.example", "d=dest.example", "o=a+x@dest.example", "o=b@dest.example", "$", q,
        "c=127.0.0.1", "h=client.example", "p=ESMTP", "two words"], "arguments")
    match(text, r"^Subject: a test$")
    r.log.wait_for(r"%s: to=<A\+x@Dest.example>, relay=pp, .*dsn=2.0.0, status=sent \(delivered via pp service\)" % q)
    r.wait_empty()


def test_headers_and_lines(t):
    """Flags that change the message, with line ends of its own."""
    r, out = pipe_relay(t, r"flags=FRODB.> eol=\r\n user=nobody argv=%DUMP",
                        {"pp_destination_recipient_limit": "1"})
    t.send(r, message="Subject: x\n\nFrom here\n..dot\nend\n")
    dumps(t, out)
    with open(os.path.join(out, os.listdir(out)[0]), "rb") as f:
        text = f.read().split(b"---\n")[1].decode()
    lines = text.split("\r\n")
    match(lines[0], r"^From alice@client.example  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$")
    equal(lines[1:4], ["Return-Path: <alice@client.example>", "X-Original-To: bob@dest.example",
                       "Delivered-To: bob@dest.example"], "prepended headers")
    equal(lines[-6:], ["", ">From here", "...dot", "end", "", ""], "end of the message")


def test_exit_statuses(t):
    """sysexits, other statuses, signals, output with a status code of its own."""
    r, _ = pipe_relay(t, "user=nobody argv=/bin/sh -c {case ${user} in sig) kill -9 $$$$;; dsn) echo 4.7.9 later; exit 65;; "
                      "ok) echo fine;; *) echo said; echo more; exit ${user};; esac}")
    for user, outcome in (
            ("65", r"dsn=5.6.0, status=bounced \(data format error. Command output: said more ?\)"),
            ("67", r"dsn=5.1.1, status=bounced \(user unknown. Command output: said more ?\)"),
            ("75", r"dsn=4.3.0, status=deferred \(temporary failure. Command output: said more ?\)"),
            ("99", r"dsn=5.3.0, status=bounced \(Command died with status 99: \"/bin/sh\". Command output: said more ?\)"),
            ("sig", r"dsn=4.3.0, status=deferred \(Command died with signal 9: \"/bin/sh\"\)"),
            ("dsn", r"dsn=4.7.9, status=deferred \(later ?\)"),
            ("ok", r"dsn=2.0.0, status=sent \(delivered via pp service \(fine ?\)\)")):
        q = t.send(r, sender="", recipients=[user + "@dest.example"])
        r.log.wait_for(r"%s: to=<%s@dest.example>.*%s" % (q, user, outcome))


def test_time_limit(t):
    """A command that takes too long is killed with everything it started, and the mail returned."""
    r, out = pipe_relay(t, "user=nobody argv=/bin/sh -c {echo $$$$ > %OUT/pid; sleep 1000; true}", {"pp_time_limit": "5s"})
    q = t.send(r, sender="")
    r.log.wait_for(r"%s: .*dsn=5.3.0, status=bounced \(Command time limit exceeded: \"/bin/sh\"\)" % q)
    with open(out + "/pid") as f:
        pid = int(f.read())
    t.wait("end of the command", lambda: not os.path.exists("/proc/%d" % pid))


def test_user_must_not_be_root(t):
    """No command runs as root or as the mail system; the mail waits."""
    r, out = pipe_relay(t, "user=root argv=%DUMP")
    q = t.send(r)
    r.log.wait_for(r"%s: .*dsn=4.3.5, status=deferred \(mail system configuration error\)" % q)
    r.log.wait_for(r"warning: service pp: user= command-line attribute specifies root privileges")
    equal(os.listdir(out), [], "nothing was run")


def test_rights_and_environment(t):
    """The command has the user's rights only, a clean environment and no descriptors but three."""
    r, out = pipe_relay(t, "user=nobody directory=/ argv=/bin/sh -c {id > %OUT/id; env > %OUT/env; ls /proc/self/fd > %OUT/fds; "
                        "pwd > %OUT/cwd; mv %OUT/cwd %OUT/cwd.done}")
    t.send(r)
    dumps(t, out)
    with open(out + "/id") as f:
        match(f.read(), r"^uid=65534\(nobody\) gid=65534\(nogroup\) groups=65534\(nogroup\)$")
    with open(out + "/env") as f:
        equal(sorted(ln.split("=")[0] for ln in f.read().splitlines() if not ln.startswith(("_=", "PWD=", "OLDPWD="))),
              ["LANG", "MAIL_CONFIG", "PATH", "TZ"], "environment")
    with open(out + "/fds") as f:
        equal(f.read().split(), ["0", "1", "2", "3"], "descriptors (3 is ls's own)")
    with open(out + "/cwd.done") as f:
        equal(f.read(), "/\n", "directory")


def test_large_content(t):
    """A content that is pulled from the queue in pieces arrives whole, twice."""
    r, out = pipe_relay(t, "user=nobody argv=/bin/sh -c {cat > %OUT/$$$$; md5sum < %OUT/$$$$ > %OUT/$$$$.sum; "
                        "mv %OUT/$$$$.sum %OUT/$$$$.done}", {"pp_destination_recipient_limit": "1"})
    t.send(r, recipients=["a@dest.example", "b@dest.example"],
           message="Subject: large\n\n" + "0123456789abcdef\n" * 150000)
    sums = dumps(t, out, 2)
    equal(sums[0], sums[1], "both copies")
    sizes = [os.path.getsize(os.path.join(out, n[:-5])) for n in os.listdir(out) if n.endswith(".done")]
    assert min(sizes) > 17 * 150000, sizes


def test_worker_dies(t):
    """A worker that is killed fails its delivery only, for now; the agent serves on."""
    r, out = pipe_relay(t, "user=nobody argv=/bin/sh -c {case ${user} in slow) echo $$PPID > %OUT/ppid.part; "
                        "mv %OUT/ppid.part %OUT/ppid; exec sleep 1000;; esac}")
    q = t.send(r, recipients=["slow@dest.example"])
    t.wait("start of the command", lambda: os.path.exists(out + "/ppid"))
    with open(out + "/ppid") as f:
        os.kill(int(f.read()), signal.SIGKILL)
    r.log.wait_for(r"%s: .*status=deferred \(the delivery process ended before it reported an outcome\)" % q)
    q = t.send(r, recipients=["fast@dest.example"])
    r.log.wait_for(r"%s: .*status=sent" % q)
    equal(len(r.log.find_all(r"pipe.*fatal|panic")), 0, "the agent itself")


def test_size_limit_and_loop(t):
    """size= and Delivered-To: loops return the mail without running anything."""
    r, out = pipe_relay(t, "flags=D size=2000 user=nobody argv=%DUMP", {"pp_destination_recipient_limit": "1"})
    q = t.send(r, sender="", message="Subject: x\n\n" + "x" * 70 + "\n" + "y\n" * 2000)
    r.log.wait_for(r"%s: .*dsn=5.2.3, status=bounced" % q)
    q = t.send(r, sender="", message="Delivered-To: BOB@dest.example\nSubject: x\n\nx\n")
    r.log.wait_for(r"%s: .*dsn=5.4.6, status=bounced \(mail forwarding loop for bob@dest.example\)" % q)
    equal(os.listdir(out), [], "nothing was run")
