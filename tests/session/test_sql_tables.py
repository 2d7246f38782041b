"""ldap:, mysql: and sqlite: tables (ldap_table(5), mysql_table(5), sqlite_table(5)) with real servers: what is found, addresses that try to be more than
values, settings for root only, and servers that are away."""
import os
import sqlite3
import subprocess

from session import equal, limit, match
from table_servers import MariaDb, Slapd

ALICE = "alice@client.example"
NOBODY = 65534
STRANGERS = "192.0.2.0/24"
EVIL = ("*@here.test", "x)(mail=*", "a\\b", "a\\2a", "' OR '1'='1", "' OR 1=1 -- ", "\\' OR 1=1 -- ", '" OR ""="', "%s%n%d", "a;b", "ä@b",
        "x'); DROP TABLE alias; --")


def reply(t, relay, rcpt):
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        return c.cmd("RCPT TO:<%s>" % rcpt)


def code(t, relay, rcpt):
    return reply(t, relay, rcpt).code


def person(name, **attributes):
    lines = ["dn: cn=%s,dc=example,dc=com" % name, "objectclass: extensibleObject", "objectclass: person", "sn: x", "cn: " + name]
    for key, values in attributes.items():
        lines += ["%s: %s" % (key, v) for v in ([values] if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n\n"


PEOPLE = (person("ann", mail="ann@here.test", maildrop=["ann@home.test", "ann2@home.test"]) +
          person("bob", mail=["bob@here.test", "bobby@here.test"], maildrop="bob@home.test") +
          person("star", mail="star*(x)\\y@here.test", maildrop="star@home.test") +
          person("team", mail="team@here.test", memberdn=["cn=ann,dc=example,dc=com", "cn=bob,dc=example,dc=com",
                                                          "cn=gone,dc=example,dc=com"]) +
          person("both", mail="both@here.test", maildrop="both@home.test", memberdn="cn=team,dc=example,dc=com") +
          person("url", mail="url@here.test", memberurl="ldap:///dc=example,dc=com?maildrop?sub?(cn=bob)") +
          person("ring1", mail="ring@here.test", memberdn="cn=ring2,dc=example,dc=com") +
          person("ring2", memberdn="cn=ring1,dc=example,dc=com"))


def start_slapd(t, **kw):
    server = Slapd(t.dir + "/slapd", PEOPLE, **kw)
    t.at_end(server.stop)
    server.start()
    return server


def settings(relay, name, text, **more):
    """A file of settings; its full name."""
    return relay.write_file(name, text + "".join("%s = %s\n" % i for i in more.items()))


def ask(relay, table, key):
    """What postmap says: the value, None for nothing, or the words of the error."""
    r = relay.run("postmap", "-q", key, table)
    out, errors = (x.decode() if isinstance(x, bytes) else x for x in (r.stdout, r.stderr))
    if r.returncode == 0:
        return out.rstrip("\n")
    return errors if "fatal" in errors or "unavailable" in errors else None


def ldap_settings(server, **more):
    text = "server_host = 127.0.0.1\nserver_port = %d\nsearch_base = dc=example,dc=com\nquery_filter = (mail=%%s)\n" % server.port
    return text + "".join("%s = %s\n" % i for i in more.items())


@limit(120)
def test_ldap_lookups(t):
    """Filters, results and groups as ldap_table(5) has them, asked by postmap."""
    server = start_slapd(t)
    r = t.relay(start=False)

    def table(**more):
        return "ldap:" + r.write_file("ldap.cf", ldap_settings(server, **more))

    def members(answer):
        return sorted((answer or "").split(","))

    equal(members(ask(r, table(), "ann@here.test")), ["ann2@home.test", "ann@home.test"])
    equal(ask(r, table(), "BOBBY@here.test"), "bob@home.test")
    equal(ask(r, table(), "nobody@here.test"), None)
    equal(ask(r, table(), "star*(x)\\y@here.test"), "star@home.test", "quoted")
    for key in EVIL:
        equal(ask(r, table(), key), None, key)
    equal(ask(r, table(query_filter="(&(cn=%u)(mail=*@%d))"), "bob@here.test"), "bob@home.test")
    equal(ask(r, table(query_filter="(cn=%u)"), "bob"), "bob@home.test")
    equal(ask(r, table(query_filter="(&(cn=%u)(mail=*.%1))"), "bob"), None, "no domain")
    equal(ask(r, table(search_base="cn=%u,dc=example,dc=com", query_filter="(mail=%s)"), "bob@here.test"), "bob@home.test")
    equal(ask(r, table(search_base="cn=%u,dc=example,dc=com", scope="base"), "nobody@here.test"), None, "no such base")
    equal(ask(r, table(search_base="cn=%u,dc=example,dc=com", query_filter="(cn=*)"), "x,cn=bob@here.test"), None)
    equal(ask(r, table(scope="base"), "bob@here.test"), None, "only the base itself")
    equal(ask(r, table(result_format="%u+%U@%d"), "bob@here.test"), "bob+bob@home.test")
    equal(ask(r, table(result_attribute="cn"), "bobby@here.test"), "bob")
    equal(ask(r, table(domain="other.test"), "bob@here.test"), None, "not for this domain")
    equal(ask(r, table(domain="other.test, here.test"), "bob@here.test"), "bob@home.test")
    group = {"special_result_attribute": "memberdn, memberurl"}
    equal(members(ask(r, table(**group), "team@here.test")), ["ann2@home.test", "ann@home.test", "bob@home.test"])
    equal(ask(r, table(**group), "url@here.test"), "bob@home.test")
    equal(members(ask(r, table(**group), "both@here.test")),
          ["ann2@home.test", "ann@home.test", "bob@home.test", "both@home.test"])
    equal(members(ask(r, table(result_attribute="", leaf_result_attribute="maildrop", **group), "both@here.test")),
          ["ann2@home.test", "ann@home.test", "bob@home.test"])
    equal(ask(r, table(result_attribute="", terminal_result_attribute="maildrop", **group), "both@here.test"), "both@home.test")
    match(ask(r, table(recursion_limit="20", **group), "ring@here.test"), "recursion limit exceeded")
    match(ask(r, table(expansion_limit="1"), "ann@here.test"), "(expansion limit exceeded|[Ss]ize limit)")
    match(ask(r, table(expansion_limit="1", size_limit="5"), "ann@here.test"), "expansion limit exceeded")
    equal(ask(r, table(expansion_limit="1"), "bob@here.test"), "bob@home.test")
    equal(ask(r, table(bind_dn="cn=admin,dc=example,dc=com", bind_pw="secret"), "bob@here.test"), "bob@home.test")
    match(ask(r, table(bind_dn="cn=admin,dc=example,dc=com", bind_pw="wrong"), "bob@here.test"), r"unable to bind.*49")
    match(ask(r, table(search_base="dc=nowhere"), "bob@here.test"), "search base 'dc=nowhere' not found")
    match(ask(r, table(timeout="soon"), "bob@here.test"), r"ldap\.cf, line 5: timeout: bad numerical value")
    equal(ask(r, table(server_host="127.0.0.1:1 ldap://127.0.0.1:%d" % server.port), "bob@here.test"), "bob@home.test")


@limit(120)
def test_ldap_in_main_cf(t):
    """Settings in main.cf, as Postfix had it before 2.1."""
    server = start_slapd(t)
    r = t.relay(start=False, main={"src_server_host": "ldap://127.0.0.1:%d" % server.port, "src_search_base": "dc=example,dc=com",
                                   "src_query_filter": "(mail=%s)"})
    equal(ask(r, "ldap:src", "bob@here.test"), "bob@home.test")


@limit(120)
def test_ldap_tls(t):
    """STARTTLS, and a certificate that does not convince."""
    cert, key = t.dir + "/cert.pem", t.dir + "/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
    server = start_slapd(t, tls=(cert, key))
    r = t.relay(start=False)

    def table(**more):
        return "ldap:" + r.write_file("ldap.cf", ldap_settings(server, start_tls="yes", **more))

    equal(ask(r, table(), "bob@here.test"), "bob@home.test", "any certificate")
    equal(ask(r, table(tls_require_cert="yes", tls_ca_cert_file=cert), "bob@here.test"), "bob@home.test", "the right one")
    match(ask(r, table(tls_require_cert="yes"), "bob@here.test"), "unable to set STARTTLS")


@limit(120)
def test_ldap_in_service(t):
    """Through proxymap, with settings that only root may read; the server goes, is frozen, and comes back: 451, then mail goes on."""
    server = start_slapd(t)
    sink = t.sink()
    r = t.relay(sink=sink, start=False)
    path = r.write_file("ldap.cf", ldap_settings(server, timeout="6", domain="here.test"))
    os.chmod(path, 0o600)
    r.write_config(virtual_alias_domains="here.test", virtual_alias_maps="ldap:" + path, mynetworks=STRANGERS,
                   mydestination="local.test", local_recipient_maps="proxy:unix:passwd.byname")
    r.start()
    equal(code(t, r, "bob@here.test"), 250)
    equal(code(t, r, "nobody@here.test"), 550)
    equal(code(t, r, "team@here.test"), 550, "a group, which these settings do not expand")
    t.send(r, recipients=["ann@here.test"])
    sink.wait(1)
    r.wait_empty()
    equal(sorted(x for m in sink.messages for x in m.recipients), ["ann2@home.test", "ann@home.test"])
    for key in ("'*'", "x)(cn=*", "\\*", "a\\28b"):
        assert code(t, r, '"%s"@here.test' % key.replace("\\", "\\\\").replace('"', '\\"')) == 550, key
    with t.client(r) as one, t.client(r) as other:
        for c in (one, other):
            c.ehlo()
            c.cmd("MAIL FROM:<%s>" % ALICE, 250)
        server.freeze()
        one.send("RCPT TO:<bob@here.test>")
        other.cmd("NOOP", 250)
        other.cmd("RCPT TO:<root@local.test>", 250)
        one.expect(451)
        server.thaw()
    t.wait("the thaw", lambda: code(t, r, "bob@here.test") == 250)
    server.stop()
    equal(code(t, r, "bob@here.test"), 451, "away")
    r.log.wait_for(r"proxymap\[\d+\]: warning: ldap:\S+ lookup error for \"bob@here\.test\"")
    server.start()
    t.wait("the server again", lambda: code(t, r, "bob@here.test") == 250)
    r.write_file("ldap.cf", ldap_settings(server, timeout="6", domain="other.test"))
    equal(code(t, r, "bob@here.test"), 250, "what only root may read is read again by a reload")
    r.must_run("rowpost", "reload")
    t.wait("the new settings", lambda: code(t, r, "bob@here.test") == 550)


ALIASES = """\
CREATE TABLE IF NOT EXISTS alias (address varchar(200), goto varchar(200), kind int);
DELETE FROM alias;
INSERT INTO alias VALUES ('ann@here.test', 'ann@home.test', 1), ('ann@here.test', 'ann2@home.test', 1);
INSERT INTO alias VALUES ('bob@here.test', 'bob@home.test', 1), ('old@here.test', 'old@home.test', 0), ('none@here.test', NULL, 1);
INSERT INTO alias VALUES ('o''neill@here.test', 'neill@home.test', 1), ('b\\\\s@here.test', 'bs@home.test', 1);
CREATE PROCEDURE IF NOT EXISTS find(IN k varchar(200)) READS SQL DATA SQL SECURITY INVOKER SELECT goto FROM alias WHERE address = k;
CREATE PROCEDURE IF NOT EXISTS silent(IN k varchar(200)) SQL SECURITY INVOKER DO 1;
"""


def start_mariadb(t):
    server = MariaDb(t.dir + "/mariadb", ALIASES)
    t.at_end(server.stop)
    server.start()
    return server


def mysql_settings(server, query="SELECT goto FROM alias WHERE address = '%s'", **more):
    settings = {"hosts": "unix:" + server.socket, "user": "postfix", "password": "secret", "dbname": "mail", "query": query,
                "retry_interval": "1"}
    settings.update(more)
    return "".join("%s = %s\n" % i for i in settings.items() if i[1] is not None)


@limit(120)
def test_mysql_lookups(t):
    """Queries and results as mysql_table(5) has them, asked by postmap."""
    server = start_mariadb(t)
    r = t.relay(start=False)

    def table(**more):
        return "mysql:" + r.write_file("mysql.cf", mysql_settings(server, **more))

    equal(ask(r, table(), "ann@here.test"), "ann@home.test,ann2@home.test")
    equal(ask(r, table(), "BOB@here.test"), "bob@home.test")
    equal(ask(r, table(), "nobody@here.test"), None)
    equal(ask(r, table(), "none@here.test"), None, "NULL")
    equal(ask(r, table(), "o'neill@here.test"), "neill@home.test", "quoted")
    equal(ask(r, table(), "b\\s@here.test"), "bs@home.test", "quoted")
    for key in EVIL:
        equal(ask(r, table(), key), None, key)
    equal(ask(r, table(query="SELECT goto FROM alias WHERE address = '%u@%d' AND kind = 1"), "old@here.test"), None)
    equal(ask(r, table(query="SELECT goto FROM alias WHERE address = '%u@%2.%1'"), "bob@here.test"), "bob@home.test")
    equal(ask(r, table(query="SELECT '%3'"), "bob@here.test"), None, "not so many labels")
    equal(ask(r, table(query="SELECT goto, kind FROM alias WHERE address = '%s'"), "bob@here.test"), "bob@home.test,1")
    equal(ask(r, table(result_format="smtp:[%d] for %S"), "bob@here.test"), "smtp:[home.test] for bob@here.test")
    equal(ask(r, table(query=None, select_field="goto", table="alias", where_field="address",
                       additional_conditions="AND kind = 1"), "bob@here.test"), "bob@home.test", "as before Postfix 2.2")
    equal(ask(r, table(domain="other.test"), "bob@here.test"), None, "not for this domain")
    match(ask(r, table(expansion_limit="1"), "ann@here.test"), "expansion limit exceeded")
    equal(ask(r, table(query="CALL find('%s')"), "bob@here.test"), "bob@home.test", "a procedure")
    match(ask(r, table(query="CALL silent('%s')"), "bob@here.test"), "no result set")
    equal(ask(r, table(query="CALL silent('%s')", require_result_set="no"), "bob@here.test"), None)
    match(ask(r, table(query="SELECT nothing FROM alias"), "bob@here.test"), "(query failed|servers are down)")
    match(ask(r, table(password="wrong"), "bob@here.test"), "(Access denied|servers are down)")
    options = r.write_file("my.cnf", "[client]\nuser = postfix\npassword = secret\n")
    equal(ask(r, table(user=None, password=None, option_file=options), "bob@here.test"), "bob@home.test")
    equal(ask(r, table(hosts="127.0.0.1:1, inet:127.0.0.1:%d" % server.port), "bob@here.test"), "bob@home.test", "the second one")
    match(ask(r, table(query="SELECT '%q'"), "bob@here.test"), r"mysql\.cf, line 5: query: invalid query template")
    match(ask(r, table(dbname=None), "bob@here.test"), "dbname: no database")
    r.write_config(virtual_alias_maps="mysql:/nonexistent/x.cf")
    match(r.run("rowpost", "check").stderr, "open /nonexistent/x.cf: No such file or directory")


@limit(120)
def test_mysql_in_service(t):
    """Virtual aliases from MariaDB through proxymap, asked for explicitly and not; the server goes and comes: 451, nothing lost."""
    server = start_mariadb(t)
    sink = t.sink()
    r = t.relay(sink=sink, start=False)
    path = r.write_file("mysql.cf", mysql_settings(server))
    os.chmod(path, 0o600)
    r.write_config(virtual_alias_domains="here.test", virtual_alias_maps="proxy:mysql:" + path, mynetworks=STRANGERS,
                   relay_domains="home.test", relay_recipient_maps="mysql:%s, static:x" % path, minimal_backoff_time="1s",
                   queue_run_delay="1s")
    r.start()
    equal(code(t, r, "o'neill@here.test"), 250)
    for key in ("' OR '1'='1", "x' OR 1=1 -- ", "\\\\' OR 1=1 -- "):
        equal(code(t, r, '"%s"@here.test' % key), 550, key)
    t.send(r, recipients=["ann@here.test"])
    sink.wait(1)
    with t.client(r) as c:
        c.ehlo()
        c.envelope(ALICE, ["ann@here.test"])
        server.stop()
        answer = c.content("Subject: x\r\n\r\nx\r\n", code=None).code
        assert answer in (250, 451), answer
    equal(code(t, r, "bob@here.test"), 451, "away")
    server.start()
    t.wait("the server again", lambda: code(t, r, "bob@here.test") == 250)
    t.send(r, recipients=["bob@here.test"])
    t.wait("bob's mail", lambda: any("bob@home.test" in m.recipients for m in sink.messages))
    r.wait_empty(60)


@limit(120)
def test_sqlite(t):
    """Queries and results as sqlite_table(5) has them, by postmap and through proxymap; a database that is broken, and mended."""
    r = t.relay(start=False)
    path = os.path.join(r.conf, "mail.db")

    def fill():
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE alias (address text, goto text)")
            db.executemany("INSERT INTO alias VALUES (?, ?)", [("ann@here.test", "ann@home.test"), ("ann@here.test", "ann2@home.test"),
                                                               ("o'neill@here.test", "neill@home.test"), ("none@here.test", None)])
        db.close()

    def table(**more):
        settings = {"dbpath": path, "query": "SELECT goto FROM alias WHERE address = '%s'"}
        settings.update(more)
        return "sqlite:" + r.write_file("sqlite.cf", "".join("%s = %s\n" % i for i in settings.items() if i[1] is not None))

    fill()
    equal(ask(r, table(), "ann@here.test"), "ann@home.test,ann2@home.test")
    equal(ask(r, table(), "o'neill@here.test"), "neill@home.test")
    equal(ask(r, table(), "none@here.test"), None)
    for key in EVIL:
        equal(ask(r, table(), key), None, key)
    equal(ask(r, table(query=None, table="alias", select_field="goto", where_field="address",
                       additional_conditions="LIMIT 1", result_format="%u of %d"), "ann@here.test"), "ann of home.test")
    match(ask(r, table(expansion_limit="1"), "ann@here.test"), "expansion limit exceeded")
    match(ask(r, table(query="SELECT x FROM alias"), "ann@here.test"), "no such column")
    match(ask(r, table(dbpath=None), "ann@here.test"), "dbpath: no database")
    r.write_config(virtual_alias_domains="here.test", virtual_alias_maps=table(), mynetworks=STRANGERS)
    r.start()
    equal(code(t, r, "ann@here.test"), 250)
    equal(code(t, r, "bob@here.test"), 550)
    os.rename(path, path + ".away")
    equal(code(t, r, "ann@here.test"), 451, "no database")
    r.write_file("mail.db", "this is none, but as long as one might be " * 100)
    equal(code(t, r, "ann@here.test"), 451, "no such database")
    os.rename(path + ".away", path)
    equal(code(t, r, "ann@here.test"), 250, "mended")


@limit(120)
def test_mysql_where_rights_are_given(t):
    """virtual(8) asks MariaDB itself; while the server does not answer, only the deliveries wait that need it."""
    server = start_mariadb(t)
    base = t.dir + "/vmail"
    os.mkdir(base)
    os.chown(base, NOBODY, NOBODY)
    r = t.relay(start=False)
    path = r.write_file("mysql.cf", mysql_settings(server))
    r.write_config(virtual_mailbox_domains="here.test", virtual_mailbox_base=base, smtpd_reject_unlisted_recipient="no",
                   virtual_mailbox_maps="inline:{{here@here.test=here/}}, mysql:" + path,
                   virtual_uid_maps="static:%d" % NOBODY, virtual_gid_maps="static:%d" % NOBODY,
                   minimal_backoff_time="1s", queue_run_delay="1s")
    r.start()
    q = t.send(r, recipients=["bob@here.test"])
    r.log.wait_for(r"%s: to=<bob@here.test>, relay=virtual, .*status=sent \(delivered to mailbox\)" % q)
    server.freeze()
    late = t.send(r, recipients=["bob@here.test"])
    for _ in range(3):
        q = t.send(r, recipients=["here@here.test"])
        r.log.wait_for(r"%s: to=<here@here.test>, relay=virtual, .*status=sent \(delivered to maildir\)" % q)
    equal(r.log.find_all(r"%s: to=<bob@here.test>, .*status=sent" % late), [], "answers of a server that stands still")
    server.thaw()
    r.log.wait_for(r"%s: to=<bob@here.test>, relay=virtual, .*status=sent \(delivered to mailbox\)" % late, 60)
