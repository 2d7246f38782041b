"""The programs that people and systems send mail with: unchanged, calling /usr/sbin/sendmail as they always do."""
import email
import email.policy
import os
import shutil
import stat
import subprocess

from session import equal, limit, match

ALICE, BOB = "alice@client.example", "bob@dest.example"
TRICKY = "Hello,\n.\n.dot\nFrom here\n\nlast: gr\u00fc\u00dfe\n"


def is_sanitized(r):
    with open(r.bin + "/postdrop", "rb") as f:
        return b"libasan" in f.read()


def install(t, r):
    """In this test's view of the file system Rowpost is installed: its configuration in /etc, sendmail and the set-gid
    postdrop where Postfix's were. /etc/git, a home with nothing in it."""
    os.chmod(t.dir, 0o755)
    r.must_run("rowpost", "set-permissions")
    for d in ("upper", "work", "programs", "home"):
        os.mkdir(t.dir + "/" + d)
    os.chmod(t.dir + "/home", 0o777)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    "lowerdir=/etc,upperdir=%s/upper,workdir=%s/work" % (t.dir, t.dir), "/etc"], check=True)
    shutil.rmtree("/etc/rowpost", ignore_errors=True)
    shutil.copytree(r.conf, "/etc/rowpost")
    # Commands of local(8) are told MAIL_CONFIG, which is another directory here.
    with open("/etc/rowpost/main.cf", "a") as f:
        f.write("alternate_config_directories = %s\n" % r.conf)
    for name in ("sendmail", "postdrop"):
        path = t.dir + "/programs/" + name
        shutil.copy2(r.bin + "/" + name, path)
        subprocess.run(["mount", "--bind", path, "/usr/sbin/" + name], check=True)
    if not is_sanitized(r):     # LeakSanitizer cannot look into a set-gid process
        st = os.stat(r.bin + "/postdrop")
        os.chown(t.dir + "/programs/postdrop", 0, st.st_gid)
        os.chmod(t.dir + "/programs/postdrop", stat.S_IMODE(st.st_mode))


def client(t, *argv, stdin=b"", check=True, **env):
    """Runs a client in an environment of its own."""
    p = subprocess.run(list(argv), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=t.dir + "/home",
                       env=dict({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": t.dir + "/home", "LANG": "C.UTF-8",
                                 "TZ": "UTC", "USER": "root", "LOGNAME": "root"}, **env), check=False)
    if check:
        equal(p.returncode, 0, "%s: %s" % (argv[0], p.stdout.decode()))
    return p.stdout.decode()


def setting(t, **main):
    """A sink, and a relay that is installed."""
    sink = t.sink()
    r = t.relay(sink=sink, main=main)
    install(t, r)
    return sink, r


def parts(m):
    """The message as a mail program reads it."""
    return email.message_from_bytes(m.data, policy=email.policy.default)


def body(m):
    """The bytes behind the header, as they went over the wire."""
    return m.data.partition(b"\r\n\r\n")[2]


def crlf(text):
    return text.encode().replace(b"\n", b"\r\n")


def test_mutt(t):
    """mutt: a text of all sorts of lines, an attachment, recipients in To, Cc and Bcc, the envelope sender."""
    sink, _ = setting(t)
    data = bytes(range(256)) * 4
    with open(t.dir + "/home/data.bin", "wb") as f:
        f.write(data)
    with open(t.dir + "/home/muttrc", "w") as f:
        f.write('set from="Alice \u00c4 <%s>"\nset use_envelope_from=yes\nset copy=no\nset send_charset=utf-8\n'
                'set sendmail="/usr/sbin/sendmail -oem -oi"\n' % ALICE)
    client(t, "mutt", "-n", "-F", t.dir + "/home/muttrc", "-s", "gr\u00fc\u00dfe", "-c", "carol@dest.example", "-b", "dave@dest.example",
           "-a", "data.bin", "--", BOB, stdin=TRICKY.encode())
    m = sink.wait(1)[0]
    equal((m.sender, sorted(m.recipients)), (ALICE, [BOB, "carol@dest.example", "dave@dest.example"]), "envelope")
    p = parts(m)
    equal((p["subject"], p["to"].addresses[0].addr_spec, p["cc"].addresses[0].addr_spec, p["bcc"]),
          ("gr\u00fc\u00dfe", BOB, "carol@dest.example", None), "header")
    text, attached = list(p.iter_parts())
    equal(text.get_content().replace("\r\n", "\n"), TRICKY, "text")
    equal(attached.get_content(), data, "attachment")


def test_mutt_plain(t):
    """mutt: a text without attachments arrives byte for byte."""
    sink, _ = setting(t)
    client(t, "mutt", "-n", "-e", "set from=%s use_envelope_from=yes copy=no allow_8bit=yes send_charset=utf-8" % ALICE,
           "-s", "plain", BOB, stdin=TRICKY.encode())
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), (ALICE, [BOB]), "envelope")
    equal(parts(m).get_content().replace("\r\n", "\n"), TRICKY, "text")
    match(m.data.decode(), r"\AReceived: by relay\.rp\.test \(\S+, from userid 0\)\r\n\tid \S+; .*\r\n")
    equal(m.data.count(b"Message-ID:"), 1, "Message-ID fields")


def test_s_nail(t):
    """s-nail: -r sets the sender, -a a copy; a dot alone does not end a text that is piped in."""
    sink, _ = setting(t)
    client(t, "s-nail", "-n", "-S", "v15-compat", "-S", "mta=file:///usr/sbin/sendmail", "-S", "ttycharset=utf-8", "-r", ALICE,
           "-s", "from s-nail", "-c", "carol@dest.example", "-b", "dave@dest.example", BOB, stdin=TRICKY.encode())
    m = sink.wait(1)[0]
    equal((m.sender, sorted(m.recipients)), (ALICE, [BOB, "carol@dest.example", "dave@dest.example"]), "envelope")
    equal((parts(m)["subject"], parts(m)["bcc"]), ("from s-nail", None), "header")
    equal(parts(m).get_content().replace("\r\n", "\n"), TRICKY, "text")


def test_mail(t):
    """mail -s of bsd-mailx, as scripts use it: the caller is the sender, and the machine's domain completes it."""
    sink, _ = setting(t)
    client(t, "bsd-mailx", "-s", "disk is full", BOB, "operator", stdin=b"/dev/sda1 100%\n")
    m = sink.wait(1)[0]
    equal((m.sender, sorted(m.recipients)), ("root@rp.test", [BOB, "operator@rp.test"]), "envelope")
    equal(parts(m)["subject"], "disk is full", "subject")
    match(m.data.decode(), r"(?m)^From: .*root@rp\.test.*$")
    match(m.data.decode(), r"(?m)^To: <?bob@dest\.example>?,\s+<?operator@rp\.test>?\r$")
    equal(body(m), b"/dev/sda1 100%\r\n", "text")


def test_logwatch(t):
    """logwatch mails its report through sendmail -t."""
    sink, _ = setting(t)
    client(t, "logwatch", "--output", "mail", "--mailto", BOB, "--service", "zz-sys", "--range", "today", "--format", "text",
           "--hostname", "host.rp.test")
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), ("root@rp.test", [BOB]), "envelope")
    match(parts(m)["subject"], r"Logwatch for host\.rp\.test")
    assert b"Logwatch End" in body(m), m.data


CRON = """\
From: root (Cron Daemon)
To: operator
Subject: Cron <root@host> /usr/local/bin/backup
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
X-Cron-Env: <SHELL=/bin/sh>
X-Cron-Env: <LOGNAME=root>

"""


def test_cron(t):
    """What cron writes to its sendmail: the recipient out of the header, the sender of -f, local names completed."""
    sink, _ = setting(t)
    client(t, "/usr/sbin/sendmail", "-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root", stdin=(CRON + TRICKY).encode())
    m = sink.wait(1)[0]
    equal((m.sender, m.recipients), ("root@rp.test", ["operator@rp.test"]), "envelope")
    match(m.data.decode(), r"(?m)^From: root@rp\.test \(Cron Daemon\)\r$")
    match(m.data.decode(), r"(?m)^To: operator@rp\.test\r$")
    match(m.data.decode(), r"(?m)^X-Cron-Env: <LOGNAME=root>\r$")
    equal(body(m), crlf(TRICKY), "text")
    # Without a From: line the name of -F is in the one that is made.
    client(t, "/usr/sbin/sendmail", "-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root", stdin=b"To: operator\nSubject: x\n\ny\n")
    match(sink.wait(2)[1].data.decode(), r"(?m)^From: CronDaemon <root@rp\.test>\r$")


@limit(120)
def test_git_send_email(t):
    """git send-email: a series of patches, as git format-patch made them, each with its own envelope."""
    sink, _ = setting(t)
    home = t.dir + "/home"
    author = {"GIT_AUTHOR_NAME": "Alice \u00c4", "GIT_AUTHOR_EMAIL": ALICE, "GIT_COMMITTER_NAME": "Alice",
              "GIT_COMMITTER_EMAIL": ALICE, "GIT_CONFIG_NOSYSTEM": "1"}
    os.mkdir(home + "/work")

    def git(*argv):
        return client(t, "git", "-C", home + "/work", *argv, **author)
    git("init", "-q", ".")
    for n, text in enumerate((".\n..dots\n", "From nobody\ngr\u00fc\u00dfe\n")):
        with open(home + "/work/file%d" % n, "w") as f:
            f.write(text)
        git("add", ".")
        git("commit", "-q", "-m", "patch %d: with \u00fc\n\n.\nFrom the body" % n)
    git("format-patch", "-q", "--root", "-o", home + "/patches")
    patches = sorted(os.listdir(home + "/patches"))
    git("send-email", "--quiet", "--confirm=never", "--sendmail-cmd=/usr/sbin/sendmail", "--envelope-sender", "bounces@client.example",
        "--from", "Alice \u00c4 <%s>" % ALICE, "--to", BOB, "--cc", "list@dest.example", "--suppress-cc=all", "--8bit-encoding=UTF-8",
        "--transfer-encoding=8bit", *[home + "/patches/" + p for p in patches])
    sent = sorted(sink.wait(2), key=lambda m: parts(m)["subject"])
    for n, (m, patch) in enumerate(zip(sent, patches)):
        equal((m.sender, sorted(m.recipients)), ("bounces@client.example", [BOB, "list@dest.example"]), "envelope")
        equal(parts(m)["subject"], "[PATCH %d/2] patch %d: with \u00fc" % (n + 1, n), "subject")
        equal(parts(m)["from"].addresses[0].addr_spec, ALICE, "author")
        with open(home + "/patches/" + patch, "rb") as f:
            equal(body(m), f.read().partition(b"\n\n")[2].replace(b"\n", b"\r\n"), "patch")
    equal(parts(sent[1])["in-reply-to"], parts(sent[0])["message-id"], "thread")


MAILMAN = """\
#!/usr/bin/python3
# What a list manager does with a post: it comes in by a pipe, and goes out to all members from the list's bounce address.
import email, os, subprocess, sys
post = sys.stdin.buffer.read()
with open("%(out)s/post", "wb") as f:
    f.write(post)
with open("%(out)s/environment", "w") as f:
    f.write("\\n".join(sorted("%%s=%%s" %% v for v in os.environ.items())) + "\\n" + " ".join(sys.argv[1:]) + "\\n")
head, _, text = post.partition(b"\\n\\n")
lines = head.split(b"\\n")[1:]        # without the From_ line
message = b"List-Id: <list.rp.test>\\n" + b"\\n".join(lines) + b"\\n\\n" + text
members = ["member%%d@dest.example" %% n for n in range(%(members)d)]
sys.exit(subprocess.run(["/usr/sbin/sendmail", "-oi", "-f", "list-bounces@rp.test"] + members, input=message).returncode)
"""


@limit(120)
def test_mailman(t):
    """A list manager behind an alias: a post goes to it by a pipe, and from it to many members; a member's bounce comes back to it."""
    members = 120
    out = t.dir + "/out"
    os.mkdir(out)
    os.chmod(out, 0o777)
    with open(t.dir + "/manager", "w") as f:
        f.write(MAILMAN % {"out": out, "members": members})
    os.chmod(t.dir + "/manager", 0o755)
    with open(t.dir + "/aliases", "w") as f:
        f.write('list: "|%s/manager post list"\nlist-bounces: %s/bounces\n' % (t.dir, out))
    sink = t.sink().on("rcpt", "550 5.1.1 no such user", match="member7@")
    r = t.relay(sink=sink, main={"mydestination": "rp.test", "alias_maps": "hash:%s/aliases" % t.dir, "mail_spool_directory": out},
                start=False)
    if is_sanitized(r):
        return      # the manager runs as nobody, for whom postdrop must be set-gid
    r.must_run("postalias", "hash:%s/aliases" % t.dir)
    r.start()
    install(t, r)
    q = t.send(r, recipients=["list@rp.test"], message="From: <%s>\nTo: list@rp.test\nSubject: a post\n\n%s" % (ALICE, TRICKY))
    r.log.wait_for(r"%s: to=<list@rp.test>, relay=local, .*dsn=2.0.0, status=sent \(delivered to command: %s/manager post list\)" % (q, t.dir),
                   limit=60)
    t.wait("all members", lambda: sum(len(m.recipients) for m in sink.messages) >= members - 1, 60)
    got = sorted(rcpt for m in sink.messages for rcpt in m.recipients)
    equal(got, sorted("member%d@dest.example" % n for n in range(members) if n != 7), "members")
    for m in sink.messages:
        equal(m.sender, "list-bounces@rp.test", "envelope sender")
        equal((parts(m)["list-id"], parts(m)["subject"]), ("<list.rp.test>", "a post"), "header")
        equal(body(m), crlf(TRICKY), "text")
    t.wait("the bounce", lambda: os.path.exists(out + "/bounces") and "member7@dest.example" in open(out + "/bounces").read(), 60)
    with open(out + "/post", "rb") as f:
        post = f.read()
    match(post.decode(), r"\AFrom %s  ?\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\n" % ALICE)
    match(post.decode(), r"(?m)^Delivered-To: list@rp\.test$")
    assert post.endswith(b"\n\n" + TRICKY.encode()), post
    with open(out + "/environment") as f:
        environment = f.read()
    for line in ("SENDER=" + ALICE, "RECIPIENT=list@rp.test", "LOCAL=list", "DOMAIN=rp.test", "post list"):
        assert line in environment.split("\n"), "%s is not in %s" % (line, environment)
    r.wait_empty(60)
