"""Rowpost on its embedded PostgreSQL, with the same relay settings as the Postfix instances."""

import os
import subprocess

from mta import Mta, format_main_cf, loopback_master_cf, relay_settings, write_file

SHIPPED_MASTER_CF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "master.cf")


class Rowpost(Mta):
    name = "rowpost"
    build = "build"

    @classmethod
    def binary(cls):
        return os.path.abspath(os.path.join(cls.build, "bin", "rowpost"))

    @classmethod
    def available(cls):
        return os.path.exists(cls.binary()) and os.path.exists(SHIPPED_MASTER_CF)

    def write_config(self):
        os.makedirs(os.path.join(self.directory, "spool"))
        os.makedirs(os.path.join(self.directory, "data"))
        write_file(os.path.join(self.config, "main.cf"), format_main_cf(relay_settings(self)))
        with open(SHIPPED_MASTER_CF, encoding="utf-8") as f:
            write_file(os.path.join(self.config, "master.cf"), loopback_master_cf(f.read(), self.port))

    def command(self, verb):
        return [self.binary(), "-c", self.config, verb]

    def version(self):
        out = subprocess.run(["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        return out.stdout.strip()
