/*
 * operator_session.c - see operator_session.h.
 */
#include "operator/operator_session.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "queue/queue_session.h"
#include "service/poke.h"
#include "service/service_database.h"
#include "service/service_log.h"
#include "task/task.h"

#define DEFAULT_DIR "/etc/rowpost"

/* A terminal or a pipe may keep us waiting as long as it likes. */
#define NO_STALL (365 * 86400 * CLOCK_SECOND)

struct shard {
	struct db_pool *pool; /* owned; NULL until it is needed */
	struct db_conn *conn; /* owned; NULL until it is needed */
};

struct operator_session {
	const struct conf *conf;
	struct shard *shards; /* owned */
	size_t shard_count;
	char user[64];
};

/* ---- start -------------------------------------------------------------------------------------------------- */

void
operator_session_log(const char *shown)
{
	log_setup(&(struct log_settings){.tag = shown, .fd = -1, .also_stderr = true});
}

static bool
has_extra_rights(void)
{
	return getuid() != 0 && (geteuid() != getuid() || getegid() != getgid());
}

static struct conf *
load(const struct operator_program *p, const char *dir)
{
	struct conf_source source = {.dir = dir, .program = p->name};
	struct conf *conf;
	struct err err;

	if (!conf_load(&source, &conf, &err))
		log_fatal(p->failure, "%s", err.text);
	return conf;
}

/* A person must not choose the log file, or the database, that we use with rights that are not the person's. */
static void
check_dir(const struct operator_program *p, const char *dir)
{
	struct conf *standard;

	if (!has_extra_rights() || strcmp(dir, DEFAULT_DIR) == 0)
		return;
	standard = load(p, DEFAULT_DIR);
	if (!conf_has(standard, CONF_alternate_config_directories, dir))
		log_fatal(p->failure, "unauthorized configuration directory name: %s", dir);
	conf_unref(&standard);
}

/* libpq takes settings and files from PG* variables. */
static void
clean_environment(void)
{
	extern char **environ;
	size_t i = 0;

	if (!has_extra_rights())
		return;
	while (environ[i] != NULL) {
		char name[256];
		size_t len = strcspn(environ[i], "=");

		if (strncmp(environ[i], "PG", 2) != 0 || len >= sizeof(name)) {
			i++;
			continue;
		}
		memcpy(name, environ[i], len);
		name[len] = '\0';
		(void)unsetenv(name);
	}
}

struct conf *
operator_session_start(const struct operator_program *p)
{
	const char *shown = p->shown != NULL ? p->shown : p->name;
	struct service_log log = {
	    .program = p->name, .stderr_tag = shown, .also_stderr = true, .verbose = p->verbose};
	const char *dir = p->conf_dir != NULL ? p->conf_dir : getenv("MAIL_CONFIG");
	char absolute[PATH_MAX];
	struct conf *conf;
	struct err err;

	if (dir == NULL)
		dir = DEFAULT_DIR;
	check_dir(p, dir);
	clean_environment();
	if (realpath(dir, absolute) != NULL)
		dir = absolute;
	conf = load(p, dir);
	/* People without a right to the log still get an answer on their terminal. */
	if (!p->unlogged && !service_log_setup(conf, &log, &err))
		log_debug("%s", err.text);
	return conf;
}

/* ---- the task ----------------------------------------------------------------------------------------------- */

struct run {
	struct operator_session session;
	bool (*work)(struct operator_session *s, void *arg, struct err *err);
	void *arg;
	struct err *err;
	bool good;
};

static void
find_user(char *out, size_t size)
{
	struct passwd pw, *found = NULL;
	char room[4096];

	(void)getpwuid_r(getuid(), &pw, room, sizeof(room), &found);
	if (found != NULL)
		(void)snprintf(out, size, "%s", found->pw_name);
	else
		(void)snprintf(out, size, "uid %ld", (long)getuid());
}

static void
close_shards(struct operator_session *s)
{
	for (size_t i = 0; i < s->shard_count; i++) {
		struct shard *shard = &s->shards[i];

		if (shard->conn != NULL)
			db_pool_give(shard->pool, &shard->conn);
		db_pool_free(&shard->pool);
	}
	mem_free(s->shards);
	s->shards = NULL;
}

static void
run_task(void *arg)
{
	struct run *run = arg;
	struct operator_session *s = &run->session;

	s->shard_count = service_database_count(s->conf);
	s->shards = mem_zalloc(s->shard_count * sizeof(s->shards[0]));
	find_user(s->user, sizeof(s->user));
	run->good =
	    dns_init(&(struct dns_settings){0}, run->err) && run->work(s, run->arg, run->err);
	close_shards(s);
	dns_done();
}

bool
operator_session_run(const struct conf *c,
    bool (*work)(struct operator_session *s, void *arg, struct err *err), void *arg,
    struct err *err)
{
	struct run run = {.session.conf = c, .work = work, .arg = arg, .err = err};

	task_init(&(struct task_settings){.stall_report = NO_STALL});
	MUST(task_start("operator", run_task, &run) != NULL);
	task_run();
	task_done();
	return run.good;
}

/* ---- databases ---------------------------------------------------------------------------------------------- */

const struct conf *
operator_session_conf(const struct operator_session *s)
{
	return s->conf;
}

size_t
operator_session_shards(const struct operator_session *s)
{
	return s->shard_count;
}

const char *
operator_session_user(const struct operator_session *s)
{
	return s->user;
}

static void
conninfo(const struct operator_session *s, size_t shard, struct buf *out)
{
	service_database_conninfo(s->conf, SERVICE_ROOT, shard, out);
	/* Who is not root logs in as himself, if the administrator gave him a role. Of two user words the last counts. */
	if (service_database_is_embedded(s->conf) && geteuid() != 0)
		buf_printf(out, " user='%s'", s->user);
}

static struct db_pool *
open_pool(const struct operator_session *s, size_t shard)
{
	struct buf info CLEANUP(buf_done) = {0};
	struct db_settings settings;

	conninfo(s, shard, &info);
	service_database_settings(s->conf, &settings);
	queue_session_settings(QUEUE_SESSION_OPERATOR, &settings);
	settings.conninfo = buf_str(&info);
	settings.application_name = "rowpost/operator";
	settings.statement_timeout = OPERATOR_PATIENCE;
	settings.connections = 2; /* one that we keep, and one to read contents */
	return db_pool_new(&settings);
}

struct db_pool *
operator_session_pool(struct operator_session *s, size_t shard)
{
	MUST(shard < s->shard_count);
	if (s->shards[shard].pool == NULL)
		s->shards[shard].pool = open_pool(s, shard);
	return s->shards[shard].pool;
}

/* "pg_hba.conf rejects" is true, but does not help. */
static void
explain_missing_role(const struct operator_session *s, struct err *err)
{
	if (service_database_is_embedded(s->conf) && geteuid() != 0 &&
	    strstr(err->text, "pg_hba.conf") != NULL)
		(void)err_set(err, ERR_TEMP, "4.3.0",
		    "user %s has no role in the queue database; root can make one: CREATE ROLE \"%s\" "
		    "LOGIN; GRANT rowpost_operator TO \"%s\"",
		    s->user, s->user, s->user);
}

struct db_conn *
operator_session_conn(struct operator_session *s, size_t shard, struct err *err)
{
	struct db_pool *pool = operator_session_pool(s, shard);
	struct shard *at = &s->shards[shard];

	if (at->conn == NULL)
		at->conn = db_pool_take(pool,
		    clock_deadline(conf_time(s->conf, CONF_queue_database_connect_timeout)), err);
	if (at->conn == NULL)
		explain_missing_role(s, err);
	return at->conn;
}

/* ---- the rest ----------------------------------------------------------------------------------------------- */

void
operator_session_poke(const struct operator_session *s)
{
	struct poke poke;

	poke_init(&poke, conf_str(s->conf, CONF_queue_directory));
	poke_send_order(&poke);
	poke_done(&poke);
}

void
operator_session_print(const void *ptr, size_t len)
{
	if (len != 0 && (fwrite(ptr, 1, len, stdout) != len || fflush(stdout) != 0))
		log_fatal(EX_IOERR, "write to standard output: %s", strerror(errno));
}
