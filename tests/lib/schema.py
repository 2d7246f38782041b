"""A database with Rowpost's schema, to be copied (CREATE DATABASE ... TEMPLATE) for every test."""
import os
import shutil
import subprocess
import tempfile

import relay
from deadline import STRETCH

NAME = "rowpost_template"

MAIN = """\
compatibility_level = 3.6
myhostname = mail.rp.test
inet_interfaces = 127.0.0.1
queue_databases = %(uri)s
queue_directory = %(dir)s/q
data_directory = %(dir)s/d
maillog_file = %(dir)s/maillog
maillog_file_prefixes = %(dir)s
"""


def make_template(bin_dir, pg):
    """(name, "") of the template in cluster pg, or (None, why not): the tests then say so one by one."""
    d = tempfile.mkdtemp(prefix="rptpl")
    try:
        uri = pg.create_database(NAME)
        for sub in ("/q", "/d"):
            os.mkdir(d + sub)
        with open(d + "/main.cf", "w") as f:
            f.write(MAIN % {"uri": uri, "dir": d})
        with open(d + "/master.cf", "w") as f:
            f.write("127.0.0.1:10025 inet n - n - - smtpd\n")
        p = subprocess.run([os.path.join(bin_dir, "rowpost"), "-c", d, "schema"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * STRETCH)
        if p.returncode:
            said = p.stdout.decode(errors="replace") + relay.Log(d + "/maillog").tail()
            return None, "exit status %d\n%s" % (p.returncode, said[-2000:])
        return NAME, ""
    except (OSError, subprocess.TimeoutExpired) as e:
        return None, str(e)
    finally:
        shutil.rmtree(d, ignore_errors=True)
