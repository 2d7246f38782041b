"""Debian's Postfix, as shipped and tuned, as private instances: own configuration, queue, data, log and port.

The system's own instance (/etc/postfix, /var/spool/postfix) is never started, stopped or changed.
"""

import os
import pwd
import shutil
import subprocess

from mta import Mta, format_main_cf, loopback_master_cf, relay_settings, write_file

POSTFIX = "/usr/sbin/postfix"
SHIPPED_MASTER_CF = "/usr/share/postfix/master.cf.dist"
POLICY = "/usr/sbin/policy-rc.d"


def installed():
    return os.path.exists(POSTFIX) and os.path.exists(SHIPPED_MASTER_CF)


def other_mta_installed():
    """Installing Postfix would remove it."""
    return os.path.exists("/usr/sbin/sendmail")


def install():
    """From Debian's archive, without configuration and without starting it. True when it is there afterwards."""
    if installed():
        return True
    if other_mta_installed() or not shutil.which("apt-get") or os.geteuid() != 0:
        return False
    own_policy = not os.path.exists(POLICY)
    if own_policy:
        write_file(POLICY, "#!/bin/sh\nexit 101\n")
        os.chmod(POLICY, 0o755)
    try:
        _apt_install()
    finally:
        if own_policy:
            os.unlink(POLICY)
    return installed()


def _apt_install():
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["debconf-set-selections"], input="postfix postfix/main_mailer_type select No configuration\n",
                   text=True, check=False)
    install_command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postfix"]
    if subprocess.run(install_command, env=env, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], env=env, stdout=subprocess.DEVNULL, check=False)
        subprocess.run(install_command, env=env, stdout=subprocess.DEVNULL, check=False)
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "postfix"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       check=False)


class PostfixShipped(Mta):
    """Debian's defaults; only what the job and a private instance need is set."""

    name = "postfix"

    def settings(self):
        return relay_settings(self)

    def write_config(self):
        spool, data = (os.path.join(self.directory, d) for d in ("spool", "data"))
        os.makedirs(spool)
        os.makedirs(data)
        owner = pwd.getpwnam("postfix")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        write_file(os.path.join(self.config, "main.cf"), format_main_cf(self.settings()))
        with open(SHIPPED_MASTER_CF, encoding="utf-8") as f:
            write_file(os.path.join(self.config, "master.cf"), loopback_master_cf(f.read(), self.port))

    def command(self, verb):
        return [POSTFIX, "-c", self.config, verb]

    def version(self):
        out = subprocess.run(["/usr/sbin/postconf", "-dh", "mail_version"], stdout=subprocess.PIPE, text=True,
                             check=False)
        return out.stdout.strip()


class PostfixTuned(PostfixShipped):
    """What its tuning guides advise for a busy relay with one next hop, chosen by measurement on two cores: more than
    20 deliveries at once and the connection cache (worth it for a distant next hop) both cost throughput here."""

    name = "postfix-tuned"

    def settings(self):
        return relay_settings(self) | {
            "default_process_limit": "1000",
            "in_flow_delay": "0",
            "qmgr_message_active_limit": "40000",
            "qmgr_message_recipient_limit": "40000",
            "initial_destination_concurrency": "20",
            "default_destination_concurrency_limit": "20",
            "smtp_connection_cache_on_demand": "no",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_peername_lookup": "no",
            "max_use": "1000",
        }
