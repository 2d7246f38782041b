"""local(8): users, aliases, forward files, other transports. The user is nobody."""
import os
import stat

from session import equal, limit, match


def local_relay(t, aliases="", main=None, sink=None, **kw):
    """rp.test is local; aliases in a texthash table; mail for others goes to a sink."""
    os.mkdir(t.dir + "/mail")
    os.chmod(t.dir + "/mail", 0o1777)
    os.mkdir(t.dir + "/out")
    os.chmod(t.dir + "/out", 0o777)
    path = t.dir + "/aliases"
    with open(path, "w") as f:
        f.write(aliases.replace("%OUT", t.dir + "/out"))
    settings = {
        "mydestination": "rp.test",
        "alias_maps": "texthash:" + path,
        "mail_spool_directory": t.dir + "/mail",
        "minimal_backoff_time": "1000s",
        "recipient_delimiter": "+",
        "smtpd_reject_unlisted_recipient": "no",
    }
    settings.update(main or {})
    return t.relay(main=settings, sink=sink, **kw)


def read(path):
    with open(path, "rb") as f:
        return f.read().decode()


def test_spool_mailbox(t):
    """A mailbox in the spool directory belongs to its user, whatever the extension and the case of the address."""
    r = local_relay(t)
    q = t.send(r, recipients=["NoBody+x@rp.test"])
    r.log.wait_for(r"%s: to=<NoBody\+x@rp.test>, relay=local, .*status=sent \(delivered to mailbox\)" % q)
    st = os.stat(t.dir + "/mail/nobody")
    equal((st.st_uid, stat.S_IMODE(st.st_mode)), (65534, 0o600), "owner and mode")
    match(read(t.dir + "/mail/nobody"), r"^Delivered-To: NoBody\+x@rp.test$")
    r.wait_empty()


def test_spool_of_root(t):
    """Where users cannot create files root does, and gives the mailbox to its user."""
    r = local_relay(t)
    os.chmod(t.dir + "/mail", 0o755)
    q = t.send(r, recipients=["nobody@rp.test"])
    r.log.wait_for(r"%s: .*status=sent \(delivered to mailbox\)" % q)
    equal(os.stat(t.dir + "/mail/nobody").st_uid, 65534, "owner")


def test_unknown_user(t):
    """No user, no alias: returned; luser_relay and fallback_transport take it instead."""
    r = local_relay(t)
    q = t.send(r, sender="", recipients=["no-such-user@rp.test"])
    r.log.wait_for(r"%s: .*dsn=5.1.1, status=bounced \(unknown user: \"no-such-user\"\)" % q)
    r.write_config(luser_relay="nobody+$local")
    r.reload()
    q = t.send(r, sender="", recipients=["no-such-user@rp.test"])
    r.log.wait_for(r"%s: to=<nobody\+no-such-user@.*, orig_to=<no-such-user@rp.test>, .*delivered to mailbox" % q)


def test_aliases(t):
    """Members of each kind, in one message; a failure of one is told to the sender, the others are delivered."""
    sink = t.sink()
    r = local_relay(
        t, "a nobody, \"|cat > %OUT/cmd\", %OUT/file, remote@dest.example, no-such-user, b\nb %OUT/md/, a\n", sink=sink)
    q = t.send(r, recipients=["a@rp.test"])
    for line in (r"to=<nobody@rp.test>, orig_to=<a@rp.test>, relay=local, .*status=sent \(delivered to mailbox\)",
                 r"to=<a@rp.test>, .*status=sent \(delivered to command: cat > .*/cmd\)",
                 r"to=<a@rp.test>, .*status=sent \(delivered to file: .*/out/file\)",
                 r"to=<no-such-user@rp.test>, orig_to=<a@rp.test>, .*status=bounced \(unknown user",
                 r"to=<b@rp.test>, .*status=sent \(delivered to maildir\)",
                 r"to=<a@rp.test>, relay=local, .*status=sent \(forwarded as (\w+)\)"):
        r.log.wait_for("%s: %s" % (q, line))
    r.wait_empty()
    sink.wait(2)
    told = [m for m in sink.messages if m.sender == ""]
    went = [m for m in sink.messages if m.sender != ""]
    equal([len(told), len(went)], [1, 1], "reports, forwarded messages")
    match(told[0].data.decode(), r"unknown user: \"no-such-user\"")
    match(went[0].data.decode(), r"^Delivered-To: a@rp.test\r?$")
    match(read(t.dir + "/out/cmd"), r"^From alice@client.example  ")


def test_alias_deferred_is_whole(t):
    """While a part is deferred nothing is forwarded and nobody is told; the next attempt does it all, once."""
    sink = t.sink()
    flag = t.dir + "/out/go"
    r = local_relay(t, "a remote@dest.example, no-such-user, \"|test -e %OUT/go || exit 75\"\n", sink=sink)
    q = t.send(r, recipients=["a@rp.test"])
    r.log.wait_for(r"%s: to=<a@rp.test>, .*status=deferred \(temporary failure\)" % q)
    r.wait_queue(lambda entries: [e["queue_name"] for e in entries] == ["deferred"])
    equal(len(sink.messages), 0, "messages sent")
    open(flag, "w").close()
    r.must_run("postqueue", "-f")
    r.wait_empty()
    equal(sorted(m.sender for m in sink.messages), ["", "alice@client.example"], "report and forward")


def test_alias_table_owner(t):
    """A table's commands run with the rights of who owns the file that was read, whatever stands beside it."""
    r = local_relay(t, "who: \"|id -u > %OUT/uid\"\n", main={"alias_maps": "lmdb:" + t.dir + "/aliases"}, start=False)
    r.must_run("postalias", "lmdb:" + t.dir + "/aliases")
    os.chown(t.dir + "/aliases.lmdb", 65534, -1)
    os.chown(t.dir + "/aliases", 1, -1)
    r.start()
    t.send(r, recipients=["who@rp.test"])
    r.wait_empty()
    equal(read(t.dir + "/out/uid"), "65534\n", "uid")


def test_owner_alias(t):
    """A list's owner is its sender; a failing member is reported to him."""
    sink = t.sink().on("rcpt", "550 5.1.1 gone", match="bad@")
    r = local_relay(t, "lst bad@dest.example, nobody\nowner-lst boss@dest.example\n", sink=sink)
    t.send(r, recipients=["lst@rp.test"])
    r.wait_empty()
    sink.wait(1)
    equal([(m.sender, m.recipients) for m in sink.messages], [("", ["boss@dest.example"])], "report")
    match(read(t.dir + "/mail/nobody"), r"^Return-Path: <owner-lst@rp.test>$")


def test_alias_to_virtual_alias(t):
    """Members of aliases are mapped by the tables for new mail, as if cleanup had them."""
    sink = t.sink()
    r = local_relay(t, "a x@va.test\n", {"virtual_alias_maps": "inline:{ x@va.test=y@va.test, y@va.test=z@dest.example }",
                                        "virtual_alias_domains": "va.test"}, sink=sink)
    t.send(r, recipients=["a@rp.test"])
    r.wait_empty()
    sink.wait(1)
    equal([m.recipients for m in sink.messages], [["z@dest.example"]], "recipients")


def test_mailbox_transport(t):
    """mailbox_transport has the user; what the alias made besides happens when it has delivered, and only then."""
    sink = t.sink().on("rcpt", "450 4.2.0 busy", match="nobody@", times=1)
    r = local_relay(t, "nobody \\nobody, other@dest.example\n", {"mailbox_transport": "relay:" + sink.nexthop}, sink=sink)
    q = t.send(r, recipients=["nobody@rp.test"])
    r.log.wait_for(r"smtp\[.*%s: to=<nobody@rp.test>.*status=deferred" % q)
    equal(len(sink.messages), 0, "messages sent")
    r.must_run("postqueue", "-f")
    r.wait_empty()
    sink.wait(2)
    equal(sorted(m.recipients[0] for m in sink.messages), ["nobody@rp.test", "other@dest.example"], "recipients")


@limit(90)
def test_forward_large(t):
    """A message that does not come with its claim is forwarded whole, and its new content is kept in chunks, too."""
    sink = t.sink().on("rcpt", "450 4.2.0 busy", match="remote@", times=1)
    r = local_relay(t, "a remote@dest.example\n", sink=sink)
    body = "0123456789abcdef\n" * 80000
    t.send(r, recipients=["a@rp.test"], message="Subject: large\n\n" + body)
    r.log.wait_for(r"smtp\[.*to=<remote@dest.example>.*status=deferred")
    t.wait("a deferred message with its content in chunks", lambda: r.sql(
        "SELECT count(*) FROM mailq.deferred_message m JOIN mailq.large l USING (content_id) "
        "WHERE m.content IS NULL AND l.state = 'queued' AND l.msg_id = m.msg_id") == [["1"]])
    r.must_run("postqueue", "-f")
    sink.wait(1)
    got = sink.messages[0].data.decode().replace("\r\n", "\n")
    assert got.endswith("\n\n" + body), len(got)
    r.wait_empty()


def test_alias_table_broken(t):
    """Aliases that cannot be asked defer; they never make a user unknown."""
    r = local_relay(t, main={"alias_maps": "hash:%s/missing" % t.dir})
    q = t.send(r, recipients=["nobody@rp.test"])
    r.log.wait_for(r"%s: .*dsn=4.3.0, status=deferred \(alias database unavailable\)" % q)


def test_alias_loop(t):
    """Aliases that never end are found out."""
    r = local_relay(t, "".join("a%d a%d, b%d\nb%d b%d, a%d\n" % (n, (n + 1) % 120, n, n, (n + 1) % 120, n)
                               for n in range(120)), {"duplicate_filter_limit": "1000"})
    q = t.send(r, sender="", recipients=["a0@rp.test"])
    r.log.wait_for(r"%s: .*dsn=5.4.6, status=bounced \(alias database loop for" % q)


def test_killed_worker_and_agent(t):
    """Processes that are killed between deliveries are replaced, and no mail is lost."""
    r = local_relay(t)
    for n in range(2):
        q = t.send(r, recipients=["nobody@rp.test"])
        r.log.wait_for(r"%s: .*status=sent" % q)
        if n == 0:
            r.kill("local")
            r.log.wait_for(r"warning: process .*/local pid \d+ killed by signal 9")
    equal(read(t.dir + "/mail/nobody").count("Subject: a test"), 2, "messages")
