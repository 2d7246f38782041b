#!/usr/bin/env python3
"""Send one message by SMTP and print what the server answers: the client of `make run`.

Usage: demo_send.py HOST PORT SENDER RECIPIENT [SUBJECT]
"""
import email.utils
import smtplib
import sys

host, port, sender, recipient = sys.argv[1:5]
subject = sys.argv[5] if len(sys.argv) > 5 else "Hello from Rowpost"
message = """From: <%s>
To: <%s>
Subject: %s
Date: %s

This message was accepted only after PostgreSQL had made it durable.
""" % (sender, recipient, subject, email.utils.formatdate(localtime=True))

with smtplib.SMTP(host, int(port), timeout=30) as client:
    client.ehlo("client.demo.example")
    for command, reply in (("MAIL FROM:<%s>" % sender, client.mail(sender)),
                           ("RCPT TO:<%s>" % recipient, client.rcpt(recipient)),
                           ("DATA ... .", client.data(message))):
        code, text = reply
        print("    C: %-40s S: %d %s" % (command, code, text.decode("utf-8", "replace")))
        if code >= 400:
            sys.exit(1)
