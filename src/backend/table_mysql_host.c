/*
 * table_mysql_host.c - see table_mysql_host.h.
 */
#include "backend/table_mysql_host.h"

#include <mysql.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "conf/conf_value.h"

#define MYSQL_DEFAULT_INTERVAL 60 /* s: retry_interval, idle_interval */

/* The library waits without end otherwise. */
#define MYSQL_CONNECT_WAIT 15 /* s */
#define MYSQL_ANSWER_WAIT  60 /* s */

struct table_mysql_host {
	const char *given; /* as it is in the settings */
	const char *name;  /* host, or path of the socket; NULL: the library's own socket */
	unsigned port;
	bool is_unix;
	MYSQL *connection; /* owned; NULL: none */
	int64_t used;      /* mono us: when the connection was last given out */
	int64_t retry_at;  /* mono us: not before */
};

struct table_mysql_hosts {
	struct arena arena;
	struct table_mysql_host *hosts; /* in the arena */
	size_t count;
	int64_t retry_interval, idle_interval; /* s */
	const char *user, *password, *dbname, *charset, *option_file, *option_group;
	const char *tls_cert, *tls_key, *tls_ca_file, *tls_ca_path, *tls_ciphers;
	bool tls_verify;
};

/* ---- settings ---------------------------------------------------------------------------------------------------- */

/* The text, or NULL when there is none: the library, or the option file, has its own then. */
static const char *
table_mysql_text(struct table_mysql_hosts *h, const struct table_settings *s, const char *setting)
{
	const char *text = table_query_str(s, setting, "");

	return text[0] != '\0' ? arena_strdup(&h->arena, text) : NULL;
}

static bool
table_mysql_parse_host(struct table_mysql_hosts *h, const struct table_settings *s,
    struct span given, struct table_mysql_host *ret, struct err *err)
{
	struct span name = given;
	uint64_t port = 0;
	size_t colon;

	ret->given = arena_dup(&h->arena, given);
	if (span_starts(given, "unix:") || span_starts(given, "/")) {
		name = span_starts(given, "/") ? given : span_from(given, strlen("unix:"));
		ret->is_unix = true;
		ret->name = arena_dup(&h->arena, name);
		return true;
	}
	if (span_starts(name, "inet:"))
		name = span_from(name, strlen("inet:"));
	colon = span_find_last(name, ':');
	if (colon < name.len && !span_number(span_from(name, colon + 1), 65535, &port))
		return table_query_bad(s, "hosts", err, "bad port in \"%s\"", ret->given);
	ret->port = (unsigned)port;
	ret->name = arena_dup(&h->arena, span_head(name, colon));
	/* The library takes this name for its socket. */
	ret->is_unix = strcasecmp(ret->name, "localhost") == 0;
	if (ret->is_unix)
		ret->name = NULL;
	return true;
}

static bool
table_mysql_read_hosts(struct table_mysql_hosts *h, const struct table_settings *s, struct err *err)
{
	const char *text = table_query_str(s, "hosts", "");
	struct span rest = span_str(text[0] != '\0' ? text : "localhost");
	struct span counted = rest, item;

	while (conf_value_item(&counted, &item))
		h->count++;
	h->hosts = arena_alloc(&h->arena, h->count * sizeof(*h->hosts));
	for (size_t i = 0; conf_value_item(&rest, &item); i++)
		if (!table_mysql_parse_host(h, s, item, &h->hosts[i], err))
			return false;
	return true;
}

static bool
table_mysql_read(struct table_mysql_hosts *h, const struct table_settings *s, struct err *err)
{
	h->user = table_mysql_text(h, s, "user");
	h->password = table_mysql_text(h, s, "password");
	h->dbname = table_mysql_text(h, s, "dbname");
	h->option_file = table_mysql_text(h, s, "option_file");
	h->option_group = arena_strdup(&h->arena, table_query_str(s, "option_group", "client"));
	h->charset = arena_strdup(&h->arena, table_query_str(s, "charset", "utf8mb4"));
	h->tls_cert = table_mysql_text(h, s, "tls_cert_file");
	h->tls_key = table_mysql_text(h, s, "tls_key_file");
	h->tls_ca_file = table_mysql_text(h, s, "tls_CAfile");
	h->tls_ca_path = table_mysql_text(h, s, "tls_CApath");
	h->tls_ciphers = table_mysql_text(h, s, "tls_ciphers");
	if (h->dbname == NULL)
		return table_query_bad(s, "dbname", err, "no database");
	return table_query_bool(s, "tls_verify_cert", false, &h->tls_verify, err) &&
	       table_query_number(s, "retry_interval", MYSQL_DEFAULT_INTERVAL, 1, INT32_MAX,
		   &h->retry_interval, err) &&
	       table_query_number(s, "idle_interval", MYSQL_DEFAULT_INTERVAL, 1, INT32_MAX,
		   &h->idle_interval, err) &&
	       table_mysql_read_hosts(h, s, err);
}

bool
table_mysql_hosts_open(
    const struct table_settings *s, struct table_mysql_hosts **ret, struct err *err)
{
	struct table_mysql_hosts *h = mem_new(struct table_mysql_hosts);

	if (!table_mysql_read(h, s, err)) {
		table_mysql_hosts_close(&h);
		return false;
	}
	*ret = h;
	return true;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void
table_mysql_disconnect(struct table_mysql_host *host)
{
	if (host->connection != NULL)
		mysql_close(host->connection);
	host->connection = NULL;
}

void
table_mysql_hosts_close(struct table_mysql_hosts **hosts)
{
	struct table_mysql_hosts *h = *hosts;

	*hosts = NULL;
	if (h == NULL)
		return;
	for (size_t i = 0; h->hosts != NULL && i < h->count; i++)
		table_mysql_disconnect(&h->hosts[i]);
	arena_done(&h->arena);
	mem_free(h);
}

static void
table_mysql_set_options(const struct table_mysql_hosts *h, MYSQL *db)
{
	unsigned connect_wait = MYSQL_CONNECT_WAIT, answer_wait = MYSQL_ANSWER_WAIT;
	my_bool verify = h->tls_verify;

	(void)mysql_options(db, MYSQL_OPT_CONNECT_TIMEOUT, &connect_wait);
	(void)mysql_options(db, MYSQL_OPT_READ_TIMEOUT, &answer_wait);
	(void)mysql_options(db, MYSQL_OPT_WRITE_TIMEOUT, &answer_wait);
	if (h->option_file != NULL)
		(void)mysql_options(db, MYSQL_READ_DEFAULT_FILE, h->option_file);
	if (h->option_group[0] != '\0')
		(void)mysql_options(db, MYSQL_READ_DEFAULT_GROUP, h->option_group);
	if (h->charset[0] != '\0')
		(void)mysql_options(db, MYSQL_SET_CHARSET_NAME, h->charset);
	if (h->tls_key != NULL || h->tls_cert != NULL || h->tls_ca_file != NULL ||
	    h->tls_ca_path != NULL || h->tls_ciphers != NULL)
		(void)mysql_ssl_set(
		    db, h->tls_key, h->tls_cert, h->tls_ca_file, h->tls_ca_path, h->tls_ciphers);
	if (h->tls_verify)
		(void)mysql_options(db, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
}

static bool
table_mysql_connect(
    const struct table_mysql_hosts *h, struct table_mysql_host *host, struct err *err)
{
	MYSQL *db = mysql_init(NULL);

	MUST(db != NULL);
	table_mysql_set_options(h, db);
	/* CLIENT_MULTI_RESULTS: CALL of a procedure answers with a result and a status. */
	if (mysql_real_connect(db, host->is_unix ? NULL : host->name, h->user, h->password,
		h->dbname, host->port, host->is_unix ? host->name : NULL,
		CLIENT_MULTI_RESULTS) != NULL) {
		host->connection = db;
		return true;
	}
	(void)err_set(
	    err, ERR_TEMP, "4.3.0", "connect to mysql server %s: %s", host->given, mysql_error(db));
	log_warn("%s", err->text);
	mysql_close(db);
	return false;
}

void
table_mysql_host_failed(struct table_mysql_hosts *h, struct table_mysql_host *host)
{
	table_mysql_disconnect(host);
	host->retry_at = clock_deadline(h->retry_interval * CLOCK_SECOND);
}

/* One by chance of those that are connected or not, and on a UNIX socket or not, and may be tried; NULL: none. */
static struct table_mysql_host *
table_mysql_choose(struct table_mysql_hosts *h, bool connected, bool is_unix)
{
	struct table_mysql_host *chosen = NULL;
	uint32_t seen = 0;

	for (size_t i = 0; i < h->count; i++) {
		struct table_mysql_host *host = &h->hosts[i];

		if ((host->connection != NULL) == connected && host->is_unix == is_unix &&
		    host->retry_at <= clock_mono_us() && random_below(++seen) == 0)
			chosen = host;
	}
	return chosen;
}

static void
table_mysql_drop_idle(struct table_mysql_hosts *h)
{
	int64_t limit = h->idle_interval * CLOCK_SECOND;

	for (size_t i = 0; i < h->count; i++)
		if (h->hosts[i].connection != NULL && clock_mono_us() - h->hosts[i].used >= limit)
			table_mysql_disconnect(&h->hosts[i]);
}

struct table_mysql_host *
table_mysql_hosts_take(struct table_mysql_hosts *h, struct err *err)
{
	struct table_mysql_host *host;

	table_mysql_drop_idle(h);
	(void)err_set(err, ERR_TEMP, "4.3.0", "all servers are down or have failed just now");
	for (;;) {
		host = table_mysql_choose(h, true, true);
		if (host == NULL)
			host = table_mysql_choose(h, true, false);
		if (host == NULL)
			host = table_mysql_choose(h, false, true);
		if (host == NULL)
			host = table_mysql_choose(h, false, false);
		if (host == NULL)
			return NULL;
		host->used = clock_mono_us();
		if (host->connection != NULL || table_mysql_connect(h, host, err))
			return host;
		table_mysql_host_failed(h, host);
	}
}

MYSQL *
table_mysql_host_connection(struct table_mysql_host *host)
{
	return host->connection;
}

const char *
table_mysql_host_name(const struct table_mysql_host *host)
{
	return host->given;
}
