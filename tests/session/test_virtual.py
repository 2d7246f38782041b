"""virtual(8): maildirs and mailboxes by table, their rights, limits and locks."""
import fcntl
import os
import stat

from session import equal, match

UID = 65534


def virtual_relay(t, maps, main=None):
    """A relay for vm.test with mailboxes below t.dir/vmail, which user nobody owns."""
    base = t.dir + "/vmail"
    os.mkdir(base)
    os.chown(base, UID, UID)
    settings = {
        "virtual_mailbox_domains": "vm.test",
        "virtual_mailbox_base": base,
        "virtual_mailbox_maps": "inline:{ %s }" % ", ".join("{ %s = %s }" % kv for kv in maps.items()),
        "virtual_uid_maps": "static:%d" % UID,
        "virtual_gid_maps": "static:%d" % UID,
        "minimal_backoff_time": "1000s",
        "recipient_delimiter": "+",
    }
    settings.update(main or {})
    return t.relay(main=settings), base


def read(path):
    with open(path, "rb") as f:
        return f.read().decode()


def files_of(maildir):
    return sorted(os.listdir(maildir + "/new")) if os.path.isdir(maildir + "/new") else []


def test_maildir(t):
    """A maildir is made for its user only; the message stands in new/ whole, and tmp/ is empty."""
    r, base = virtual_relay(t, {"a@vm.test": "deep/a/"})
    q = t.send(r, recipients=["a+x@vm.test"])
    r.log.wait_for(r"%s: to=<a\+x@vm.test>, relay=virtual, .*dsn=2.0.0, status=sent \(delivered to maildir\)" % q)
    (name,) = files_of(base + "/deep/a")
    match(name, r"^\d+\.V[0-9a-f]+I[0-9a-f]+M\d+\.[^/:]+$")
    path = base + "/deep/a/new/" + name
    st = os.stat(path)
    equal((st.st_uid, stat.S_IMODE(st.st_mode), st.st_nlink), (UID, 0o600, 1), "owner, mode, links")
    equal(stat.S_IMODE(os.stat(base + "/deep").st_mode), 0o700, "mode of a directory made")
    text = read(path)
    equal(text.splitlines()[:3], ["Return-Path: <alice@client.example>", "X-Original-To: a+x@vm.test",
                                  "Delivered-To: a+x@vm.test"], "headers")
    assert text.endswith("Hello.\n"), text
    equal(os.listdir(base + "/deep/a/tmp"), [], "tmp")


def test_mailbox(t):
    """Messages are appended to an mbox, "From " lines quoted, an empty line between them."""
    r, base = virtual_relay(t, {"b@vm.test": "b"})
    for n in range(2):
        q = t.send(r, recipients=["b@vm.test"], message="Subject: %d\n\nFrom me\n>From you\n" % n)
        r.log.wait_for(r"%s: .*status=sent \(delivered to mailbox\)" % q)
    text = read(base + "/b")
    equal(text.count("\nFrom alice@client.example  "), 1, "second message")
    assert text.startswith("From alice@client.example  "), text
    equal(text.count("\n\n>From me\n>From you\n\n"), 2, "bodies")
    equal(os.path.exists(base + "/b.lock"), False, "lock file is gone")


def test_lookup_order(t):
    """user+ext@domain, user@domain, @domain; letters of either case."""
    r, base = virtual_relay(t, {"a+x@vm.test": "ax/", "a@vm.test": "a/", "@vm.test": "all/"})
    t.send(r, recipients=["A+X@VM.test", "a+y@vm.test", "b@vm.test"])
    r.wait_empty()
    equal([len(files_of(base + "/" + d)) for d in ("ax", "a", "all")], [1, 1, 1], "deliveries")


def test_unknown_user_and_bad_ids(t):
    """No mailbox: returned. No good user id: the mail waits."""
    r, base = virtual_relay(t, {"a@vm.test": "a/"}, {"virtual_uid_maps": "static:5", "smtpd_reject_unlisted_recipient": "no"})
    q = t.send(r, sender="", recipients=["x@vm.test", "a@vm.test"])
    r.log.wait_for(r"%s: to=<x@vm.test>, .*dsn=5.1.1, status=bounced \(unknown user: \"x@vm.test\"\)" % q)
    r.log.wait_for(r"%s: to=<a@vm.test>, .*dsn=4.3.5, status=deferred \(mail system configuration error\)" % q)
    r.log.wait_for(r"warning: recipient a@vm.test: bad uid 5 in virtual_uid_maps")
    equal(os.listdir(base), [], "nothing was made")


def test_full_mailbox(t):
    """A message that does not fit is returned, and the file is what it was before."""
    r, base = virtual_relay(t, {"b@vm.test": "b"}, {"virtual_mailbox_limit": "50000", "message_size_limit": "45000"})
    q = t.send(r, recipients=["b@vm.test"], message="Subject: x\n\n" + ("y" * 60 + "\n") * 300)
    r.log.wait_for(r"%s: .*status=sent" % q)
    before = read(base + "/b")
    q = t.send(r, sender="", recipients=["b@vm.test"], message="Subject: x\n\n" + ("y" * 60 + "\n") * 600)
    r.log.wait_for(r"%s: .*dsn=5.2.2, status=bounced \(delivery failed to mailbox %s/b: error writing message: File too large\)"
                   % (q, base))
    equal(read(base + "/b"), before, "mailbox")


def test_limit_below_message_size(t):
    """A limit that lets messages in which can never be delivered is an operator's mistake: the mail waits."""
    r, _ = virtual_relay(t, {"b@vm.test": "b"}, {"virtual_mailbox_limit": "50000", "message_size_limit": "60000"})
    q = t.send(r, recipients=["b@vm.test"])
    r.log.wait_for(r"%s: .*dsn=4.3.5, status=deferred \(mail system configuration error\)" % q)


def test_locked_mailbox(t):
    """Who holds the lock is waited for, and then the mail is deferred."""
    r, base = virtual_relay(t, {"b@vm.test": "b", "c@vm.test": "c"},
                            {"deliver_lock_attempts": "2", "deliver_lock_delay": "1s"})
    open(base + "/b.lock", "w").close()
    with open(base + "/c", "w") as f:
        os.fchown(f.fileno(), UID, UID)
        fcntl.lockf(f, fcntl.LOCK_EX)
        q = t.send(r, recipients=["b@vm.test", "c@vm.test"])
        r.log.wait_for(r"%s: to=<b@vm.test>.*dsn=4.2.0, status=deferred \(.*unable to create lock file .*/b.lock: File exists" % q)
        r.log.wait_for(r"%s: to=<c@vm.test>.*dsn=4.2.0, status=deferred \(.*unable to lock for exclusive access" % q)


def test_stale_lock(t):
    """A lock file that is older than stale_lock_time is removed."""
    r, base = virtual_relay(t, {"b@vm.test": "b"}, {"stale_lock_time": "500s", "deliver_lock_delay": "1s"})
    open(base + "/b.lock", "w").close()
    os.utime(base + "/b.lock", (1, 1))
    q = t.send(r, recipients=["b@vm.test"])
    r.log.wait_for(r"%s: .*status=sent" % q)


def test_ownership(t):
    """A mailbox of somebody else, a link and a second hard link are not written to."""
    r, base = virtual_relay(t, {"b@vm.test": "b", "l@vm.test": "l", "h@vm.test": "h"})
    for name in ("b", "target", "h"):
        with open(base + "/" + name, "w") as f:
            os.fchown(f.fileno(), 1 if name == "b" else UID, UID)
            os.fchmod(f.fileno(), 0o666)
    os.symlink(base + "/target", base + "/l")
    os.lchown(base + "/l", UID, UID)
    os.link(base + "/h", base + "/h2")
    q = t.send(r, sender="", recipients=["b@vm.test", "l@vm.test", "h@vm.test"])
    r.log.wait_for(r"%s: to=<b@vm.test>.*dsn=4.2.0, status=deferred \(.*is not owned by recipient\)" % q)
    r.log.wait_for(r"%s: to=<l@vm.test>.*status=(deferred|bounced)" % q)
    r.log.wait_for(r"%s: to=<h@vm.test>.*status=bounced \(.*hard links\)" % q)
    equal([os.path.getsize(base + "/" + n) for n in ("b", "target", "h")], [0, 0, 0], "sizes")


def test_workers_are_reused(t):
    """Deliveries one after the other have the same worker; a reload brings new ones."""
    r, base = virtual_relay(t, {"a@vm.test": "a/"})
    pids = []
    for n in range(3):
        if n == 2:
            r.reload()
            r.log.wait_for(r"postfix/master.*reload")
        q = t.send(r, recipients=["a@vm.test"])
        pids.append(r.log.wait_for(r"virtual\[(\d+)\]: %s: .*status=sent" % q).group(1))
    equal(pids[0], pids[1], "worker of the second delivery")
    equal(len(files_of(base + "/a")), 3, "messages")
