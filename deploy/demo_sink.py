#!/usr/bin/env python3
"""The next hop of `make run`: an SMTP server that keeps each message as a file. Only for showing.

Usage: demo_sink.py ADDRESS PORT DIRECTORY
"""
import asyncio
import os
import sys
import time

REPLIES = {"MAIL": b"250 2.1.0 Ok", "RCPT": b"250 2.1.5 Ok", "RSET": b"250 2.0.0 Ok", "NOOP": b"250 2.0.0 Ok"}


def store(directory, envelope, content):
    name = "%s/%d.eml" % (directory, time.time_ns())
    with open(name + ".new", "wb") as f:
        f.write(b"".join(b"X-Demo-Envelope: %s\n" % e for e in envelope))
        f.write(content.replace(b"\r\n", b"\n"))
    os.rename(name + ".new", name)


async def read_content(reader):
    content = b""
    while True:
        line = await reader.readline()
        if line in (b".\r\n", b""):
            return content
        content += line[1:] if line.startswith(b".") else line


async def session(reader, writer, directory):
    envelope = []
    writer.write(b"220 sink.demo.example ESMTP\r\n")
    while True:
        line = (await reader.readline()).strip()
        verb = line[:4].upper().decode("ascii", "replace")
        if not line or verb == "QUIT":
            break
        if verb in ("EHLO", "HELO"):
            writer.write(b"250-sink.demo.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
        elif verb == "DATA":
            writer.write(b"354 go on\r\n")
            store(directory, envelope, await read_content(reader))
            envelope = []
            writer.write(b"250 2.0.0 Ok: kept\r\n")
        else:
            if verb in ("MAIL", "RCPT"):
                envelope.append(line)
            writer.write(REPLIES.get(verb, b"502 5.5.2 unknown") + b"\r\n")
        await writer.drain()
    writer.close()


async def main():
    address, port, directory = sys.argv[1:]
    server = await asyncio.start_server(lambda r, w: session(r, w, directory), address, int(port))
    async with server:
        await server.serve_forever()

asyncio.run(main())
