"""smtpd_client_*_limit: what one client may do, counted over all nodes of a cluster."""
import subprocess

from session import equal, limit, match

EVERYBODY = {"smtpd_client_event_limit_exceptions": "", "smtpd_error_sleep_time": "0"}


def greeting(t, relay, **kw):
    """A new connection, and what it is greeted with."""
    c = t.client(relay, greet=False, **kw)
    return c, c.reply()


@limit(90)
def test_connections_in_the_cluster(t):
    """A connection to one node is one too many at the other."""
    database = t.database()
    main = dict(EVERYBODY, smtpd_client_connection_count_limit="1")
    # Two hosts with a service of the same name.
    for address in ("127.0.0.2/8", "127.0.0.3/8"):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    one, two = [t.relay(database=database, master=["2526 inet n - n - - smtpd"], main=dict(main, inet_interfaces=a))
                for a in ("127.0.0.2", "127.0.0.3")]
    first, said = greeting(t, 2526, host="127.0.0.2", source="127.0.0.1")
    equal(said.code, 220, "first")

    def at_two(code):
        c, r = greeting(t, 2526, host="127.0.0.3", source="127.0.0.1")
        c.close()
        return r if r.code == code else None

    said = t.wait("a refusal by the other node", lambda: at_two(421))
    match(str(said.text), "Error: too many connections from 127.0.0.1")
    two.log.wait_for(r"warning: Connection concurrency limit exceeded: \d+ from localhost\[127.0.0.1\] for service 2526$")
    first.cmd("QUIT")
    t.wait("a welcome by the other node", lambda: at_two(220), 30)


def test_rates(t):
    """Connections, messages and recipients in a time unit."""
    r = t.relay(main=dict(EVERYBODY, smtpd_client_connection_rate_limit="2", smtpd_client_message_rate_limit="2",
                          smtpd_client_recipient_rate_limit="3"))
    c = t.client(r)
    c.cmd("EHLO client.example")
    for _ in range(2):
        equal(c.cmd("MAIL FROM:<a@client.example>").code, 250, "MAIL")
        equal(c.cmd("RCPT TO:<b@dest.example>").code, 250, "RCPT")
        c.cmd("RSET")
    c.cmd("MAIL FROM:<a@client.example>", 450, "^4.7.1 Error: too much mail from 127.0.0.1$")
    c.cmd("MAIL FROM", 501, "^5.5.4 Syntax: MAIL FROM:<address>$")
    c.cmd("QUIT")
    c = t.client(r)
    c.cmd("QUIT")
    _, said = greeting(t, r)
    equal(said.code, 421, "third connection")
    for what in ("Connection rate", "Message delivery request rate"):
        r.log.wait_for(r"warning: %s limit exceeded: 3 from localhost\[127.0.0.1\] for service " % what)


def test_spared(t):
    """mynetworks are spared unless told otherwise; so is who may use XCLIENT; names are known too."""
    r = t.relay(main={"smtpd_client_connection_rate_limit": "1"})
    for _ in range(3):
        t.client(r).cmd("QUIT")
    r = t.relay(main=dict(EVERYBODY, smtpd_client_connection_rate_limit="1", smtpd_authorized_xclient_hosts="127.0.0.1"))
    for code in (220, 421):
        c = t.client(r)
        equal(c.cmd("XCLIENT NAME=x.example ADDR=192.0.2.1").code, code, "XCLIENT")
        c.close()


def test_alone(t):
    """No database: clients are counted all the same, by each process alone."""
    cluster = t.cluster()
    cluster.create_database("queue")
    r = t.relay(database=cluster.uri("queue"), start=False, main=dict(EVERYBODY, smtpd_client_connection_rate_limit="2"))
    r.must_run("rowpost", "schema")
    r.start()
    cluster.stop("immediate")
    for code in (220, 220, 421):
        c, said = greeting(t, r)
        equal(said.code, code, "connection")
        c.close()
