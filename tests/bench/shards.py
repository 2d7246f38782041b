"""Queue databases on PostgreSQL servers of their own: one against two. One machine holds them all, so more of them give no more
messages a second here; what shows that they would is that a message costs the same while each shard has as many sessions."""

import os
import subprocess
import sys

from mta_rowpost import Rowpost
from stage import Figures, Stage, median

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import pgtest  # noqa: E402

SETTINGS = {"shared_buffers": "'512MB'", "wal_compression": "lz4", "wal_buffers": "'32MB'", "autovacuum_naptime": "'10s'"}


SESSIONS = 100      # for each shard


class ShardedRowpost(Rowpost):
    """On `shards` servers below its meter instead of the embedded one."""

    shards = 1

    def write_config(self):
        self.servers = [self._server(number) for number in range(self.shards)]
        self.extra["queue_databases"] = ", ".join(server.uri() for server in self.servers)
        super().write_config()

    def _server(self, number):
        base = os.path.join(self.directory, f"shard{number}")
        os.mkdir(base)
        server = pgtest.Cluster(fsync=True, base=base, max_connections=100, settings=SETTINGS)
        server.init()
        return server

    def prepare(self):
        with self.meter.entered():
            for server in self.servers:
                server.start()
        subprocess.run(self.command("schema"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        super().stop()
        for server in self.servers:
            server.destroy()


def measured(args, count):
    class Relay(ShardedRowpost):
        shards = count

    with Stage(args, relay=Relay) as stage:
        runs = [stage.run(sessions=SESSIONS * count) for _ in range(args.runs)]
        shares = [float(pgtest.run_sql(s.uri(), "SELECT count(*) FROM mailq.history")[0][0]) for s in stage.relay.servers]
    return runs, [share / sum(shares) for share in shares]


def shards(args):
    figures = Figures("shards: one PostgreSQL server against two")
    one, _ = measured(args, 1)
    two, shares = measured(args, 2)
    cost = median(two, "relay_cpu_ms") / median(one, "relay_cpu_ms")
    figures.add("CPU per message with one", median(one, "relay_cpu_ms"), "ms")
    figures.add("CPU per message with two", median(two, "relay_cpu_ms"), "ms", "<= 1.1x", cost <= 1.1)
    figures.add("end to end with two, against one", median(two, "end_to_end_per_s") / median(one, "end_to_end_per_s"), "x")
    figures.add("share of the messages of the smaller", min(shares), "", ">= 0.25", min(shares) >= 0.25)
