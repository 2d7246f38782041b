/*
 * db_connect.c - opening, watching and closing one connection. While it is being opened libpq may change its socket at
 * every step (next attempt, fall-back from TLS), so the socket is watched anew for each wait. Afterwards a duplicate of
 * the descriptor is watched: libpq closes its own as soon as it sees the end, and the number could be somebody else's
 * before we notice.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "db/db_int.h"
#include "task/task.h"

#define OPTIONS_MAX     80 /* connection options libpq knows: some 45 */
#define TRACE_SIZE      16384
#define CONNECT_TIMEOUT (10 * CLOCK_SECOND) /* where the settings name none */

void
db_connect_error_text(const PGconn *pg, char *out, size_t size)
{
	const char *from = PQerrorMessage(pg);
	size_t len = 0;

	/* libpq's messages end in a newline and carry a hint on a line of its own. */
	for (; *from != '\0' && *from != '\n' && len + 1 < size; from++)
		out[len++] = *from == '\t' ? ' ' : *from;
	out[len] = '\0';
	if (len == 0)
		(void)snprintf(out, size, "connection lost");
}

int64_t
db_connect_deadline(const struct db_conn *c, int64_t deadline)
{
	int64_t patience = clock_deadline(c->statement_timeout);

	return MIN(deadline, patience);
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

struct connect_params {
	const char *keywords[OPTIONS_MAX + 1];
	const char *values[OPTIONS_MAX + 1];
	size_t count;
};

/* Sets `keyword`, replacing what is there. Borrows both strings. */
static void
params_set(struct connect_params *p, const char *keyword, const char *value)
{
	size_t i = 0;

	while (i < p->count && strcmp(p->keywords[i], keyword) != 0)
		i++;
	if (i == p->count) {
		MUST(p->count < OPTIONS_MAX);
		p->count++;
	}
	p->keywords[i] = keyword;
	p->values[i] = value;
}

static void
params_default(struct connect_params *p, const char *keyword, const char *value)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->keywords[i], keyword) == 0)
			return;
	params_set(p, keyword, value);
}

/*
 * The server settings that go with the connection. None behind a pooler: it would refuse them, or give them to whoever
 * gets that server connection next.
 */
static void
params_server_options(
    struct buf *out, const struct db_settings *settings, const struct db_conninfo *info)
{
	buf_add_str(out, db_conninfo_get(info, "options"));
	if (settings->pooler)
		return;
	if (settings->options != NULL)
		buf_printf(out, " %s", settings->options);
	if (settings->role == NULL)
		return;
	buf_add_str(out, " -c role=");
	for (const char *r = settings->role; *r != '\0'; r++) {
		if (*r == ' ' || *r == '\\')
			buf_add_char(out, '\\');
		buf_add_char(out, *r);
	}
}

static void
params_fill(struct connect_params *p, const struct db_settings *settings,
    const struct db_conninfo *info, const struct db_host *host, const char *attrs,
    const char *options)
{
	for (const PQconninfoOption *o = info->options; o->keyword != NULL; o++)
		if (o->val != NULL && o->val[0] != '\0')
			params_set(p, o->keyword, o->val);
	params_set(p, "host", host->name);
	params_set(p, "hostaddr", host->addr);
	params_set(p, "port", host->port);
	params_set(p, "target_session_attrs", attrs);
	params_set(p, "options", options);
	params_set(p, "client_encoding", settings->encoding != NULL ? settings->encoding : "UTF8");
	/* GSSAPI would block on the network inside libpq. */
	params_set(p, "gssencmode", "disable");
	params_default(p, "fallback_application_name",
	    settings->application_name != NULL ? settings->application_name : "rowpost");
	params_default(p, "keepalives_idle", "30");
	params_default(p, "keepalives_interval", "10");
	params_default(p, "keepalives_count", "3");
}

/* ---- one attempt --------------------------------------------------------------------------------------------- */

/* libpq trusts that the socket is ready when it goes on, so a spurious wake-up must not get that far. */
static enum task_wait
attempt_wait(int fd, bool write, int64_t deadline)
{
	struct pollfd ready = {.fd = fd, .events = write ? POLLOUT : POLLIN};
	struct task_fd *watch = NULL;
	enum task_wait w = TASK_READY;

	while (w == TASK_READY && poll(&ready, 1, 0) == 0) {
		if (watch == NULL)
			watch = task_fd_new(fd);
		w = write ? task_fd_wait_write(watch, deadline)
			  : task_fd_wait_read(watch, deadline);
	}
	task_fd_free(&watch);
	return w;
}

/* Goes through libpq's steps up to an open connection. */
static bool
attempt_poll(PGconn *pg, int64_t deadline, struct err *err)
{
	PostgresPollingStatusType step = PGRES_POLLING_WRITING;
	char reason[256];

	while (PQstatus(pg) != CONNECTION_BAD && step != PGRES_POLLING_OK) {
		enum task_wait w =
		    attempt_wait(PQsocket(pg), step == PGRES_POLLING_WRITING, deadline);

		if (w == TASK_CANCELLED)
			return err_set(err, ERR_GONE, "4.3.0", "connecting was cancelled");
		if (w == TASK_TIMEOUT)
			return err_set(err, ERR_TEMP, "4.3.0",
			    "connection to server at \"%s\" timed out", PQhost(pg));
		step = PQconnectPoll(pg);
		if (step == PGRES_POLLING_FAILED)
			break;
	}
	if (step == PGRES_POLLING_OK)
		return true;
	db_connect_error_text(pg, reason, sizeof(reason));
	return err_set(err, ERR_TEMP, "4.3.0", "%s", reason);
}

static void
attempt_learn_key(struct db_conn *c, FILE *trace, const char *text)
{
	c->cancel.addr_len = sizeof(c->cancel.addr);
	if (fflush(trace) != 0 || !db_cancel_key_parse(text, &c->cancel.pid, &c->cancel.secret) ||
	    getpeername(c->fd, (void *)&c->cancel.addr, &c->cancel.addr_len) != 0)
		c->cancel.addr_len = 0;
}

/* Makes the fresh connection ours. */
static struct db_conn *
attempt_adopt(PGconn *pg, const struct db_settings *settings)
{
	struct db_conn *c = mem_new(struct db_conn);

	c->pg = pg;
	c->pooler = settings->pooler;
	c->statement_timeout =
	    settings->statement_timeout > 0 ? settings->statement_timeout : CLOCK_NEVER;
	c->fd = fcntl(PQsocket(pg), F_DUPFD_CLOEXEC, 0);
	if (c->fd >= 0)
		c->watch = task_fd_new(c->fd);
	(void)PQsetNoticeReceiver(pg, db_flight_on_notice, c);
	c->broken = c->fd < 0 || PQsetnonblocking(pg, 1) != 0 || PQenterPipelineMode(pg) != 1;
	return c;
}

/* Notices of the server while it lets us in (expiring passwords and the like) are nobody's. */
static void
attempt_drop_notice(void *arg UNUSED, const PGresult *notice UNUSED)
{
}

static struct db_conn *
attempt(const struct db_settings *settings, const struct connect_params *params, struct err *err)
{
	int64_t patience =
	    settings->connect_timeout > 0 ? settings->connect_timeout : CONNECT_TIMEOUT;
	char *text = mem_zalloc(TRACE_SIZE);
	FILE *trace = fmemopen(text, TRACE_SIZE, "w");
	PGconn *pg = PQconnectStartParams(params->keywords, params->values, 0);
	struct db_conn *c = NULL;

	MUST(trace != NULL && pg != NULL);
	(void)PQsetNoticeReceiver(pg, attempt_drop_notice, NULL);
	PQtrace(pg, trace);
	PQsetTraceFlags(pg, PQTRACE_SUPPRESS_TIMESTAMPS);
	if (attempt_poll(pg, clock_deadline(patience), err)) {
		c = attempt_adopt(pg, settings);
		attempt_learn_key(c, trace, text);
	}
	PQuntrace(pg);
	if (c == NULL)
		PQfinish(pg);
	(void)fclose(trace);
	/* The trace may hold the password. */
	explicit_bzero(text, TRACE_SIZE);
	mem_free(text);
	if (c != NULL && c->broken) {
		db_connect_close(&c);
		(void)err_set(err, ERR_TEMP, "4.3.0", "out of descriptors or memory");
	}
	return c;
}

/* ---- all hosts ----------------------------------------------------------------------------------------------- */

struct connect_round {
	const struct db_settings *settings;
	const struct db_conninfo *info;
	const char *attrs;   /* target_session_attrs of this round */
	const char *options; /* server settings */
	struct buf reasons;  /* why each host failed */
};

static char *
host_key(const struct db_host *h)
{
	return mem_printf("%s,%s,%s", h->name, h->addr, h->port);
}

/* Index of the host to try first. */
static size_t
round_start(const struct connect_round *round, const char *preferred)
{
	for (size_t i = 0; preferred != NULL && i < round->info->count; i++) {
		char *key CLEANUP(mem_free_str) = host_key(&round->info->hosts[i]);

		if (strcmp(key, preferred) == 0)
			return i;
	}
	return 0;
}

static struct db_conn *
round_try(struct connect_round *round, const struct db_host *host, struct err *err)
{
	const struct db_settings *settings = round->settings;
	struct connect_params params = {0};
	struct db_conn *c;

	params_fill(&params, settings, round->info, host, round->attrs, round->options);
	c = attempt(settings, &params, err);
	if (c != NULL && settings->on_connect != NULL &&
	    !settings->on_connect(c, settings->on_connect_arg, err))
		db_connect_close(&c);
	if (c == NULL)
		buf_printf(&round->reasons, "%s%s", round->reasons.len > 0 ? "; " : "", err->text);
	return c;
}

/* Tries each host once, from the preferred one on. */
static struct db_conn *
round_run(struct connect_round *round, char **preferred, struct err *err)
{
	size_t count = round->info->count;
	size_t start = round_start(round, *preferred);

	for (size_t i = 0; i < count && !task_is_cancelled(); i++) {
		/* The preferred host first, then the others in the order they were written. */
		size_t at = i == 0 ? start : i <= start ? i - 1 : i;
		const struct db_host *host = &round->info->hosts[at];
		struct db_conn *c = round_try(round, host, err);

		if (c == NULL)
			continue;
		mem_free(*preferred);
		*preferred = host_key(host);
		return c;
	}
	return NULL;
}

struct db_conn *
db_connect_open(const struct db_settings *settings, char **preferred, struct err *err)
{
	struct db_conninfo info;
	struct buf options = {0};
	struct connect_round round = {.settings = settings, .info = &info};
	struct db_conn *c;

	if (!db_conninfo_read(settings->conninfo, clock_deadline(CONNECT_TIMEOUT), &info, err))
		return NULL;
	params_server_options(&options, settings, &info);
	round.options = buf_str(&options);
	round.attrs = db_conninfo_get(&info, "target_session_attrs");
	/* This one is about all hosts together, so libpq cannot decide it host by host. */
	if (strcmp(round.attrs, "prefer-standby") == 0) {
		round.attrs = "standby";
		c = round_run(&round, preferred, err);
		round.attrs = "any";
		if (c == NULL)
			c = round_run(&round, preferred, err);
	} else {
		c = round_run(&round, preferred, err);
	}
	if (c == NULL && round.reasons.len > 0)
		(void)err_set(err, err->kind, "4.3.0", "%s", buf_str(&round.reasons));
	buf_done(&round.reasons);
	buf_done(&options);
	db_conninfo_done(&info);
	return c;
}

/* ---- an open connection --------------------------------------------------------------------------------------- */

void
db_connect_close(struct db_conn **c)
{
	struct db_conn *conn = *c;

	*c = NULL;
	if (conn == NULL)
		return;
	MUST(!list_is_linked(&conn->link));
	db_flight_done(conn);
	hmap_done(&conn->prepared);
	task_fd_free(&conn->watch);
	if (conn->fd >= 0)
		close(conn->fd);
	PQfinish(conn->pg);
	mem_free(conn);
}

enum db_outcome
db_connect_wait(struct db_conn *c, bool write, int64_t deadline)
{
	struct pollfd ready = {.fd = c->fd, .events = (short)(write ? POLLIN | POLLOUT : POLLIN)};
	enum task_wait w;

	/*
	 * One reading by libpq need not empty the socket, and then no further edge comes; asking the kernel first makes
	 * that harmless.
	 */
	if (poll(&ready, 1, 0) > 0)
		return task_is_cancelled() ? DB_OUTCOME_CANCELLED : DB_OUTCOME_DONE;
	w = write ? task_fd_wait_any(c->watch, deadline) : task_fd_wait_read(c->watch, deadline);
	if (w == TASK_TIMEOUT)
		return DB_OUTCOME_TIMEOUT;
	return w == TASK_CANCELLED ? DB_OUTCOME_CANCELLED : DB_OUTCOME_DONE;
}

bool
db_connect_is_alive(struct db_conn *c)
{
	char byte;

	/* A few messages may wait (changed settings, a farewell); a server that talks without end is not sane. */
	for (int i = 0; i < 16 && !c->broken; i++) {
		ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return PQstatus(c->pg) == CONNECTION_OK;
		if (n <= 0 || PQconsumeInput(c->pg) == 0 || PQisBusy(c->pg))
			return false;
	}
	return false;
}
