"""What reads Postfix's log reads ours: pflogsumm's totals are those of the history, fail2ban's filter finds the right hosts."""
import re
import subprocess

from load import KINDS, Mail, mail_sink
from session import equal, match
from smtp_client import SmtpClient

FRIEND = {"mynetworks": "127.0.0.1/32", "minimal_backoff_time": "1h", "smtpd_relay_restrictions":
          "permit_mynetworks, reject_unauth_destination", "relay_domains": "dest.example",
          "smtpd_recipient_restrictions": "check_recipient_access inline:{{closed@dest.example = REJECT}}"}
STRANGER = "127.0.0.9"


def stranger_tries(relay, rcpt):
    with SmtpClient(relay.port, source=STRANGER) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<spam@else.example>", 250)
        c.cmd("RCPT TO:<%s>" % rcpt, 554)
        c.quit()


def traffic(t):
    """A relay with a log of everything: sent, deferred, bounced with a notice, refused."""
    sink = mail_sink()
    t.at_end(sink.close)
    relay = t.relay(sink=sink, main=FRIEND)
    for n, kind in enumerate(["small"] * 12 + ["many"] * 2 + ["bounced"] * 3 + ["never"] * 4):
        mail = Mail(t.ledger, kind, n)
        with SmtpClient(relay.port) as c:
            c.ehlo()
            t.ledger.record(mail.id, mail.recipients, c.message(mail.sender, mail.recipients, mail.text))
            c.quit()
    relay.wait_queue(lambda q: len(q) == 4 and all(r.get("delay_reason") for e in q for r in e["recipients"]))
    stranger_tries(relay, "closed@dest.example")
    for n in range(5):
        stranger_tries(relay, "victim%d@away.example" % n)
    return relay


def history(relay, outcome):
    return int(relay.sql("SELECT count(*) FROM rowpost.history WHERE outcome = '%s'" % outcome)[0][0])


def total(text, word):
    return int(match(text, r"^\s*(\d+)k?\s+%s\b" % word).group(1))


def test_pflogsumm(t):
    """Its grand totals are those of the history."""
    relay = traffic(t)
    p = subprocess.run(["pflogsumm", "--smtpd-stats", relay.log.path], capture_output=True, text=True)
    equal((p.returncode, p.stderr), (0, ""), "pflogsumm")
    equal(total(p.stdout, "received"), 12 + 2 + 3 + 4, "received")
    equal(total(p.stdout, "delivered"), history(relay, "sent"), "delivered")
    equal(history(relay, "sent"), 12 + 2 * len(KINDS["many"]) + 3, "sent, notices included")
    equal(total(p.stdout, "bounced"), history(relay, "bounced"), "bounced")
    equal(total(p.stdout, "deferred"), 4, "deferred")
    equal(total(p.stdout, "rejected"), 6, "rejected")
    match(p.stdout, r"^\s*21\s+\S*\s*client\.example")
    # Per-hour and per-host tables, and the details of what went wrong, have our words in them.
    match(p.stdout, r"(?s)message deferral detail.*4\.2\.0 never")
    match(p.stdout, r"(?s)message bounce detail.*5\.1\.1 no such user")
    match(p.stdout, r"(?s)message reject detail.*Relay access denied")


def test_fail2ban(t):
    """Its postfix filter finds each relay attempt of the stranger, and nobody else (it has no rule for our access tables)."""
    relay = traffic(t)
    p = subprocess.run(["fail2ban-regex", "-o", "ip", relay.log.path, "/etc/fail2ban/filter.d/postfix.conf"],
                       capture_output=True, text=True)
    equal(p.returncode, 0, "fail2ban-regex: " + p.stderr)
    found = re.findall(r"^\d+\.\d+\.\d+\.\d+$", p.stdout, re.M)
    equal(found, [STRANGER] * 5, "hosts found")
