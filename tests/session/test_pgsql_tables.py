"""Lookup tables in PostgreSQL (pgsql_table(5)): who may send what where, asked of servers that come and go."""
import os

from session import equal, limit, match

ALICE = "alice@client.example"
SCHEMA = """
CREATE TABLE domain (name text PRIMARY KEY);
INSERT INTO domain VALUES ('here.test'), ('rcpt.test');
CREATE TABLE alias (name text, target text, other text);
INSERT INTO alias VALUES ('all@v.test', 'a@dest.test', 'b@dest.test'), ('all@v.test', 'c@dest.test', NULL),
	('o''brien@v.test', 'ob@dest.test', NULL), ('list', 'd@dest.test', 'e@dest.test');
CREATE TABLE route (name text, host text);
CREATE TABLE people (name text);
INSERT INTO people VALUES ('secret');
CREATE TABLE access (name text, verdict text);
INSERT INTO access VALUES ('bad@client.example', 'REJECT we know you');
"""


def server(t, **kw):
    """A PostgreSQL with the tables."""
    pg = t.cluster(**kw)
    pg.create_database("mail")
    pg.sql(SCHEMA, "mail")
    return pg


def table(r, name, *servers, **settings):
    """The specification of a table that asks these servers."""
    settings = dict({"hosts": ", ".join("unix:" + pg.base for pg in servers), "user": "postgres", "dbname": "mail",
                     "retry_interval": "1"}, **settings)
    return "pgsql:" + r.write_file(name + ".cf", "".join("%s = %s\n" % s for s in settings.items()))


def code(t, relay, rcpt, sender=ALICE):
    """The code of RCPT TO in a session of its own."""
    with t.client(relay) as c:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % sender, 250)
        return c.cmd("RCPT TO:<%s>" % rcpt).code


def test_where_mail_goes(t):
    """Domains, aliases, access and routes from a database; a change there counts at once."""
    pg = server(t)
    sink, other = t.sink(), t.sink()
    r = t.relay(sink=sink, start=False)
    r.write_config(
        mydestination="local.test", mynetworks="192.0.2.0/24",
        relay_domains=table(r, "domains", pg, query="SELECT name FROM domain WHERE name = '%s'"),
        virtual_alias_domains="v.test",
        virtual_alias_maps=table(r, "aliases", pg, query="SELECT target, other FROM alias WHERE name = '%u@%d'",
                                 domain="v.test"),
        transport_maps=table(r, "routes", pg, query="SELECT host FROM route WHERE name = '%s'",
                             result_format="smtp:%s"),
        smtpd_sender_restrictions="check_sender_access " + table(
            r, "access", pg, query="SELECT verdict FROM access WHERE name = '%s'"),
        alias_maps=table(r, "local", pg, select_field="target || ',' || other", table="alias", where_field="name"),
        local_recipient_maps="$alias_maps")
    r.start()
    equal(code(t, r, "x@here.test"), 250, "in the table")
    equal(code(t, r, "x@there.test"), 454, "not in the table")
    equal(code(t, r, "x@here.test", "bad@client.example"), 554, "a sender who is known")
    t.send(r, recipients=["all@v.test", "o'brien@v.test", "list@local.test"])
    got = sink.wait(2)
    equal(sorted(x for m in got for x in m.recipients),
          ["%s@dest.test" % x for x in ("a", "b", "c", "d", "e", "ob")], "recipients")
    pg.sql("INSERT INTO domain VALUES ('moved.test'); INSERT INTO route VALUES ('moved.test', '%s')" % other.nexthop,
           "mail")
    t.send(r, recipients=["x@moved.test"])
    equal(other.wait(1)[0].recipients, ["x@moved.test"], "over the other way")
    r.wait_empty()


def test_injection(t):
    """What a client writes is a value, whatever it looks like."""
    pg = server(t)
    r = t.relay(start=False)
    r.write_config(mynetworks="192.0.2.0/24", smtpd_reject_unlisted_recipient="no", relay_domains=table(
        r, "domains", pg, query="SELECT name FROM domain WHERE name = '%s'"), smtpd_recipient_restrictions=(
            "check_recipient_access %s, permit" % table(
                r, "access", pg, query="SELECT 'REJECT found' FROM people WHERE name = '%u' OR name = '%s'")))
    r.start()
    for user in (r"\"' OR '1'='1\"", r"\"'; DROP TABLE domain; --\"", r"\"\\\\' OR 1=1 --\"", "$$||$$",
                 "''", r"\"\\'\"", "E'x'", "u&'x'", "/*", "*/", "--", "a''''b"):
        user = user.replace('\\"', '"')
        got = code(t, r, user + "@rcpt.test")
        assert got in (250, 501, 553), "%s: %s" % (user, got)
    equal(pg.sql("SELECT count(*) FROM domain", "mail"), [["2"]], "domains")
    equal(r.log.find_all("query failed"), [], "failures")
    equal(code(t, r, "secret@rcpt.test"), 554, "a key that is there")
    for key in ("%s%u%d", "x' OR 'a'='a", "\\' OR 1=1 --", "'", "\xe9"):
        equal(r.run("postmap", "-q", key, table(r, "q", pg, query="SELECT name FROM domain WHERE name = '%s'")).returncode,
              1, "postmap -q " + key)


@limit(120)
def test_servers_come_and_go(t):
    """A dead one of two servers is not noticed; without any 451; with one of them back all is well, without a restart."""
    one, two = server(t), server(t)
    r = t.relay(start=False)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains=table(
        r, "domains", one, two, query="SELECT name FROM domain WHERE name = '%s'"))
    r.start()
    equal(code(t, r, "x@here.test"), 250, "both")
    one.kill9()
    for _ in range(3):
        equal(code(t, r, "x@here.test"), 250, "the second alone")
    one.start()
    two.stop("immediate")
    t.wait("the first alone", lambda: code(t, r, "x@here.test") == 250, 40)
    equal(code(t, r, "x@there.test"), 454, "unknown to the first")
    # A new connection after a restart: the broken one is not an answer.
    one.restart("immediate")
    t.wait("after a restart", lambda: code(t, r, "x@here.test") == 250, 40)
    one.stop("immediate")
    equal(code(t, r, "x@here.test"), 451, "none")
    equal(code(t, r, "x@there.test"), 451, "nobody knows what is not there")
    two.start()
    t.wait("the second back", lambda: code(t, r, "x@here.test") == 250, 40)
    equal(code(t, r, "x@there.test"), 454, "unknown to the second")
    match(r.log.text(), r"warning: connect to pgsql server /\S+: ")


def test_settings(t):
    """What the settings file can say, as postmap sees it; a changed file counts without a restart."""
    pg = server(t)
    r = t.relay(start=False)

    def ask(key, **settings):
        p = r.run("postmap", "-q", key, table(r, "t", pg, **settings))
        return p.stdout.rstrip("\n") if p.returncode == 0 else "-" if "fatal" not in p.stderr else "!"
    alias = "SELECT target, other FROM alias WHERE name = '%s'"
    equal(ask("all@v.test", query=alias), "a@dest.test,b@dest.test,c@dest.test", "rows and columns")
    equal(ask("ALL@V.test", query=alias), "a@dest.test,b@dest.test,c@dest.test", "in lower case")
    equal(ask("all@v.test", query=alias, expansion_limit="3"), "a@dest.test,b@dest.test,c@dest.test", "at the limit")
    equal(ask("all@v.test", query=alias, expansion_limit="2"), "!", "over the limit")
    equal(ask("all@v.test", query=alias, result_format="%u at %d of %U"),
          "a at dest.test of all,b at dest.test of all,c at dest.test of all", "result_format")
    equal(ask("list", query=alias, domain="v.test"), "-", "not in the domain")
    equal(ask("list", query="SELECT '%d'"), "-", "no domain to ask for")
    equal(ask("a@b.c.d", query="SELECT '%1 %2 %3 %% %U'"), "d c b % a", "parts")
    equal(ask("list", select_function="upper"), "LIST", "select_function")
    equal(ask("list", select_field="target", table="alias", where_field="name",
              additional_conditions="AND other <> ''"), "d@dest.test", "the oldest way")
    equal(ask("x", query="SELECT current_setting('client_encoding')", encoding="LATIN1"), "LATIN1", "encoding")
    equal(ask("x", query="SELECT current_setting('client_encoding')"), "UTF8", "encoding by itself")
    equal(ask("x", query="SET work_mem = '1MB'; SELECT current_setting('work_mem')"), "1MB", "two statements")
    equal(ask("x", query="SELECT 1 WHERE false"), "-", "no rows")
    equal(ask("x", query="SELECT NULL"), "-", "NULL")
    equal(ask("x", query="SELEC 1"), "!", "no SQL")
    equal(ask("x", query="COPY alias TO STDOUT"), "!", "a copy")
    equal(ask("x", query="SELECT 1", dbname=""), "!", "no database named")
    uri = "postgresql://postgres@/mail?host=" + pg.base.replace("/", "%2F")
    equal(ask("x", query="SELECT current_database()", hosts=uri, dbname=""), "mail", "URI")
    equal(ask("x", query="SELECT 1", hosts="inet:127.0.0.1:1, /nowhere, [::1]:1, unix:" + pg.base), "1", "many hosts")
    equal(ask("x", query="SELECT 1", idle_interval="0"), "!", "a number that is none")
    r.write_config(old_hosts="unix:" + pg.base, old_user="postgres", old_dbname="mail", old_query="SELECT 'old %s'")
    equal(r.must_run("postmap", "-q", "x", "pgsql:old").stdout, "old x\n", "parameters of main.cf")
    spec = table(r, "live", pg, query="SELECT 'x' WHERE '%s' = 'one.test'")
    r.write_config(relay_domains=spec, mynetworks="192.0.2.0/24")
    r.start()
    equal(code(t, r, "x@one.test"), 250, "before")
    table(r, "live", pg, query="SELECT 'x' WHERE '%s' = 'two.test'")
    t.wait("the new settings", lambda: code(t, r, "x@two.test") == 250)
    equal(code(t, r, "x@one.test"), 454, "after")


def test_settings_for_root_only(t):
    """Passwords that no peer-facing process may read: proxymap has read them in time, and answers."""
    pg = server(t)
    r = t.relay(start=False)
    spec = table(r, "domains", pg, query="SELECT name FROM domain WHERE name = '%s'")
    os.chmod(spec.partition(":")[2], 0o600)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains=spec)
    r.start()
    equal(code(t, r, "x@here.test"), 250, "in the table")
    equal(code(t, r, "x@there.test"), 454, "not in the table")


def test_idle_connections(t):
    """They are closed when nobody asks, and few however many ask."""
    pg = server(t)
    r = t.relay(start=False)
    r.write_config(mynetworks="192.0.2.0/24", relay_domains=table(
        r, "domains", pg, query="SELECT name FROM domain WHERE name = '%s'", idle_interval="1"))
    r.start()

    def connections():
        return int(pg.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rowpost/table'")[0][0])
    clients = [t.client(r) for _ in range(30)]
    for c in clients:
        c.ehlo()
        c.cmd("MAIL FROM:<%s>" % ALICE, 250)
    for c in clients:
        c.send("RCPT TO:<x@here.test>")
    for c in clients:
        equal(c.reply().code, 250, "all at once")
    assert connections() <= 4 * len(r.pids("smtpd")), connections()
    t.wait("the end of idle connections", lambda: connections() == 0, 30)
    equal(code(t, r, "x@here.test"), 250, "with a new one")
