#!/usr/bin/env python3
"""Do the benchmark's own tools count right? Load against sink with every kind of trouble, both ledgers compared."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib

import ledger
import measure
import mta
import mta_postfix
import mta_rowpost
import tools

BUILD = "build"
PATIENCE = 120      # seconds, for what never comes


class ToolsCase(unittest.TestCase):
    """A directory, and a sink that is stopped at the end."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="rowpost-bench-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.sink = None
        self.addCleanup(self.stop_sink)

    def start_sink(self, **options):
        self.stop_sink()
        self.sink = tools.Sink(BUILD, self.directory, **options)

    def stop_sink(self):
        sink, self.sink = self.sink, None
        return sink.stop() if sink else None

    def load(self, **options):
        options.setdefault("deadline", PATIENCE)
        self.load_ledger = os.path.join(self.directory, "load.ledger")
        return tools.run_load(BUILD, self.sink.port, ledger=self.load_ledger, **options)

    def compare(self):
        with open(self.load_ledger, encoding="utf-8") as f:
            attempts = ledger.parse_attempts(f)
        arrivals = ledger.parse_arrivals(self.sink.new_ledger_lines(self.sink.counts().messages))
        self.assertEqual(len(arrivals), self.sink.counts().messages)
        return ledger.compare(attempts, arrivals)

    def assert_all_delivered(self, load, messages, recipients=1):
        counts = self.sink.counts()
        self.assertEqual(load["accepted"], messages)
        self.assertEqual(load["recipients"], messages * recipients)
        self.assertEqual(counts.messages, messages)
        self.assertEqual(counts.recipients, messages * recipients)
        comparison = self.compare()
        self.assertTrue(comparison.ok(), comparison)
        self.assertEqual(comparison.accepted, messages)


class CountsAgree(ToolsCase):
    def check(self, *, size=1024, messages=300, recipients=1, processes=1, **options):
        self.start_sink(processes=processes)
        load = self.load(size=size, messages=messages, recipients=recipients, **options)
        self.assert_all_delivered(load, messages, recipients)
        counts = self.sink.counts()
        # A body that would end in a lone CR is one octet shorter.
        self.assertLessEqual(counts.bytes, messages * size)
        self.assertGreaterEqual(counts.bytes, messages * (size - 1))
        return load, counts

    def test_reused_connections(self):
        load, counts = self.check(sessions=20)
        self.assertTrue(load["pipelined"])
        self.assertEqual(load["connects"], 20)
        self.assertEqual(counts.connections, 20)

    def test_connection_per_message(self):
        load, counts = self.check(sessions=20, new=True)
        self.assertEqual(load["connects"], 300)
        self.assertEqual(counts.connections, 300)

    def test_one_command_at_a_time(self):
        load, _ = self.check(sessions=5, no_pipelining=True, recipients=4)
        self.assertFalse(load["pipelined"])

    def test_many_recipients_and_domains(self):
        self.check(sessions=3, messages=20, recipients=1500, domains=7)

    def test_large_messages(self):
        self.check(sessions=10, size=1 << 20, messages=40)

    def test_more_sessions_than_messages(self):
        self.check(sessions=200, messages=50)

    def test_two_sink_processes(self):
        self.check(sessions=50, new=True, processes=2)

    def test_stops_on_time(self):
        self.start_sink()
        load = self.load(sessions=10, seconds=2)
        self.assertGreater(load["accepted"], 0)
        self.assert_all_delivered(load, load["accepted"])
        self.assertGreaterEqual(load["seconds"], 2)
        self.assertLess(load["seconds"], PATIENCE / 2)

    def test_keeps_the_rate(self):
        self.start_sink()
        load = self.load(sessions=10, messages=100, rate=250)
        self.assert_all_delivered(load, 100)
        self.assertGreaterEqual(load["seconds"], 99 / 250)

    def test_closing_figures(self):
        self.start_sink()
        self.load(sessions=2, messages=30)
        counts = self.sink.counts()
        printed = self.stop_sink()
        self.assertEqual(printed["messages"], 30)
        self.assertEqual(printed["bytes"], counts.bytes)
        self.assertGreater(printed["cpu_ms"], 0)


class Misbehaviour(ToolsCase):
    """Rules act by chance: each test makes so many tries (a connection per message) that none acting is out of the question."""

    def test_refused_recipients(self):
        self.start_sink(rules=["451@rcpt=0.2", "550@rcpt=0.1"])
        load = self.load(sessions=10, messages=300)
        counts = self.sink.counts()
        self.assertGreater(load["refused_4xx"], 0)
        self.assertGreater(load["refused_5xx"], 0)
        self.assertEqual(load["refused_4xx"] + load["refused_5xx"], counts.refused)
        self.assertEqual(load["accepted"] + counts.refused, 300)
        self.assertTrue(self.compare().ok())

    def test_refused_at_each_step_and_retried(self):
        for step in ("connect", "ehlo", "mail", "rcpt", "data", "dot"):
            with self.subTest(step):
                self.start_sink(rules=[f"451@{step}=0.3"])
                load = self.load(sessions=10, messages=50, new=True, retry=True)
                self.assertGreater(self.sink.counts().refused, 0)
                self.assert_all_delivered(load, 50)

    def test_dropped_at_each_step_and_retried(self):
        for step in ("connect", "ehlo", "mail", "rcpt", "data"):
            with self.subTest(step):
                self.start_sink(rules=[f"drop@{step}=0.3"])
                load = self.load(sessions=10, messages=50, new=True, retry=True, no_pipelining=True)
                self.assertGreater(self.sink.counts().dropped, 0)
                self.assert_all_delivered(load, 50)

    def test_dropped_after_the_dot_is_in_doubt(self):
        self.start_sink(rules=["drop@dot=0.2"])
        load = self.load(sessions=10, messages=100)
        self.assertGreater(load["in_doubt"], 0)
        self.assertEqual(load["in_doubt"], self.sink.counts().dropped)
        self.assertEqual(load["accepted"], 100 - load["in_doubt"])
        self.assertTrue(self.compare().ok())

    def test_short_stall_only_delays(self):
        self.start_sink(rules=["stall@connect=0.1:0.05", "stall@rcpt=0.1:0.05", "stall@dot=0.1:0.05"])
        load = self.load(sessions=20, messages=200)
        self.assertGreater(self.sink.counts().stalled, 0)
        self.assertGreater(load["latency_ms"]["max"], 40)
        self.assert_all_delivered(load, 200)

    def test_long_stall_times_out(self):
        self.start_sink(rules=["stall@mail=1:60"])
        load = self.load(sessions=3, messages=3, timeout=0.3)
        self.assertEqual(load["timeouts"], 3)
        self.assertEqual(load["failed"], 3)
        self.assertEqual(load["accepted"], 0)

    def test_nobody_there(self):
        port = tools.free_port()
        load = tools.run_load(BUILD, port, sessions=2, messages=4, retry=True, deadline=2)
        self.assertTrue(load["cut_off"])
        self.assertGreater(load["connect_errors"], 0)
        self.assertEqual(load["accepted"], 0)


class Idle(ToolsCase):
    def test_sessions_are_held_and_answer(self):
        self.start_sink()
        command = tools.load_command(BUILD, self.sink.port, {"sessions": 300, "idle": True, "window": 50, "hold": 60})
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            ready = json.loads(process.stdout.readline())
            self.assertEqual(ready["ready"], 300)
            process.send_signal(signal.SIGUSR1)
            done = json.loads(process.stdout.readline())
        self.assertEqual(done["noops_answered"], 300)
        self.assertEqual(self.sink.counts().messages, 0)


class OneByOneServer(threading.Thread):
    """Keeps the octets of the messages on `connections` connections, one after the other, without PIPELINING; may hang
    up after the first message of each."""

    def __init__(self, connections=1, hang_up=False):
        super().__init__(daemon=True)
        self.connections = connections
        self.hang_up = hang_up
        self.messages = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        with self.listener:
            for _ in range(self.connections):
                connection, _ = self.listener.accept()
                with connection, connection.makefile("rwb", buffering=0) as stream:
                    self.serve(connection, stream)

    def serve(self, connection, stream):
        stream.write(b"220 test\r\n")
        for line in stream:
            if line.startswith(b"DATA"):
                stream.write(b"354 go\r\n")
                self.messages.append(b"".join(iter(stream.readline, b".\r\n")))
                if self.hang_up:    # the reply and the end in one packet
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                stream.write(b"250 2.0.0 Ok: queued as Q%d\r\n" % len(self.messages))
                if self.hang_up:
                    return
            elif line.startswith(b"QUIT"):
                stream.write(b"221 bye\r\n")
                return
            else:
                stream.write(b"250 ok\r\n")


class MessageText(ToolsCase):
    def test_messages_look_like_mail(self):
        server = OneByOneServer()
        path = os.path.join(self.directory, "load.ledger")
        tools.run_load(BUILD, server.port, messages=40, size=10240, ledger=path, deadline=PATIENCE)
        server.join(PATIENCE)
        self.assertEqual(len(server.messages), 40)
        bodies = [m.partition(b"\r\n\r\n")[2] for m in server.messages]
        self.assertEqual(len(set(bodies)), 40)
        for message in server.messages:
            self.assertIn(len(message), (10239, 10240))
            self.assertNotIn(b"\r", message.replace(b"\r\n", b""))
            self.assertNotIn(b"\n.", message)
            self.assertLess(max(len(line) for line in message.split(b"\r\n")), 200)
            self.assertTrue(1.7 < len(message) / len(zlib.compress(message)) < 2.7)
        with open(path, encoding="utf-8") as f:
            attempts = ledger.parse_attempts(f)
        self.assertEqual([a.queue_id for a in attempts], [f"Q{n}" for n in range(1, 41)])
        self.assertEqual([a.body_bytes for a in attempts], [len(b) for b in bodies])


class HangUp(unittest.TestCase):
    def test_server_hangs_up_while_the_session_waits_for_its_turn(self):
        server = OneByOneServer(connections=4, hang_up=True)
        load = tools.run_load(BUILD, server.port, messages=4, rate=1, retry=True, deadline=PATIENCE)
        server.join(PATIENCE)
        self.assertEqual(load["accepted"], 4)
        self.assertEqual(load["connects"], 4)
        # One whose turn had come by then, for the machine was busy, goes into the connection that ends.
        self.assertLess(load["failed"] + load["in_doubt"] + load["timeouts"], 3)
        self.assertEqual(len(server.messages), 4)


class LedgerComparison(unittest.TestCase):
    attempts = ledger.parse_attempts([
        "accepted r-0 Q 2 100 1 2", "accepted r-1 Q 1 100 1 2", "refused r-2 - 0 0 1 2", "in_doubt r-3 - 1 100 1 2"])

    def compare(self, *lines):
        return ledger.compare(self.attempts, ledger.parse_arrivals(lines))

    def test_all_well(self):
        self.assertTrue(self.compare("r-0 100 5 a", "r-0 100 6 b", "r-1 100 7 a", "r-3 100 8 a", "r-3 100 9 a").ok())

    def test_finds_a_missing_recipient(self):
        self.assertEqual(self.compare("r-0 100 5 a", "r-1 100 7 a").missing, ["r-0"])

    def test_finds_a_duplicate_beside_a_missing_one(self):
        found = self.compare("r-0 100 5 a", "r-0 100 6 a", "r-1 100 7 a")
        self.assertEqual((found.missing, found.duplicates), (["r-0"], ["r-0"]))

    def test_finds_a_shortened_body(self):
        self.assertEqual(self.compare("r-0 100 5 a,b", "r-1 99 7 a").altered, ["r-1"])

    def test_finds_what_was_never_accepted(self):
        self.assertEqual(self.compare("r-0 100 5 a,b", "r-1 100 7 a", "r-2 10 8 a").unpromised, ["r-2"])


class Meters(ToolsCase):
    """Both meters see short-lived grandchildren."""

    WORK = "import subprocess, sys\nfor _ in range(3): subprocess.run([sys.executable, '-c', 'sum(range(3000000))'])\n"

    def check(self, meter):
        code = self.WORK + "sys.stdout.write('done\\n'); sys.stdout.flush(); sys.stdin.read()"
        before = meter.cpu_ms()
        with subprocess.Popen([sys.executable, "-c", code, self.directory + "/"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, preexec_fn=meter.enter) as process:
            process.stdout.readline()
            used = meter.cpu_ms() - before
            self.assertIn(process.pid, meter.pids())
            self.assertGreater(measure.pss_kb([process.pid]), 1000)
            process.stdin.close()
        self.assertGreater(used, 60)
        meter.close()

    def test_proc(self):
        self.check(measure.ProcMeter(self.directory))

    def test_best(self):
        self.check(measure.new_meter(f"rowpost-bench-test-{os.getpid()}", self.directory))

    def test_waits_until_quiet(self):
        class Busy:
            """Ten looks long."""

            looks = 0

            def cpu_ms(self):
                self.looks += 1
                return 40 * min(self.looks, 10)

        meter = Busy()
        measure.wait_quiet(meter, limit=60)
        self.assertEqual(meter.looks, 11)


class Configuration(unittest.TestCase):
    def test_only_the_smtp_listener_is_moved(self):
        text = ("# comment\nsmtp      inet  n       -       y       -       -       smtpd\n"
                "#submission inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n  -o a=b\n"
                "relay     unix  -       -       y       -       -       smtp\n        -o syslog_name=postfix/x\n"
                "uucp      unix  -       n       n       -       -       pipe\n  flags=Fqhu user=uucp argv=uux\n")
        self.assertEqual(mta.loopback_master_cf(text, 2525),
                         "127.0.0.1:2525 inet n - n - - smtpd\nrelay unix - - n - - smtp\n"
                         "        -o syslog_name=postfix/x\n")

    def test_more_settings(self):
        """What a scenario adds stands beside what each kind of relay has of its own."""
        for kind in (mta_postfix.PostfixShipped, mta_postfix.PostfixTuned, mta_rowpost.Rowpost):
            with self.subTest(kind.name), tempfile.TemporaryDirectory() as directory:
                relay = kind(directory, 25, {"anvil_rate_time_unit": "7s"})
                os.makedirs(relay.config)
                relay.write_config()
                with open(os.path.join(relay.config, "main.cf"), encoding="utf-8") as f:
                    text = f.read()
                self.assertIn("anvil_rate_time_unit = 7s\n", text)
                self.assertEqual("max_use" in text, kind is mta_postfix.PostfixTuned)


def main():
    global BUILD
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=BUILD)
    args, rest = parser.parse_known_args()
    BUILD = args.build
    unittest.main(argv=[sys.argv[0]] + rest)


if __name__ == "__main__":
    main()
