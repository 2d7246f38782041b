/*
 * rowpost.c - the control command.
 *
 *	rowpost [-c DIR] [-v] COMMAND
 *
 *	start, start-fg   start the mail system, in the background or as this process
 *	stop              finish what is in flight and stop (stop keep-database: leave the embedded PostgreSQL)
 *	drain             the same, said by who takes a node out of the cluster
 *	abort             stop at once
 *	reload            read main.cf and master.cf again; refused when they have errors
 *	status            what runs
 *	check             judge the configuration
 *	flush             try to deliver all deferred mail now
 *	schema            create or migrate the tables in the queue databases (--check: only look)
 *	sql [ARGS]        psql on the first queue database
 *	set-permissions   create users and directories
 *	logrotate         start a new maillog_file
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "access/access.h"
#include "backend/backend.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/master_cf.h"
#include "db/db.h"
#include "dns/dns.h"
#include "mailbox/pipe.h"
#include "master/master_command.h"
#include "master/master_programs.h"
#include "queue/queue_login.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "rewrite/rewrite.h"
#include "service/service_database.h"
#include "service/service_log.h"
#include "table/table_check.h"
#include "table/table_proxy.h"
#include "task/task.h"

#define DEFAULT_DIR  "/etc/rowpost"
#define SCHEMA_LIMIT (600 * CLOCK_SECOND)

/* ---- schema ------------------------------------------------------------------------------------------------- */

struct schema_work {
	const struct conf *conf;
	bool check_only;
	bool good;
	struct err err;
};

static struct db_pool *
open_pool(const struct conf *c, const char *conninfo)
{
	struct db_settings settings;

	service_database_settings(c, &settings);
	settings.conninfo = conninfo;
	settings.application_name = "rowpost/schema";
	settings.options = queue_session_options(QUEUE_SESSION_OWNER);
	settings.statement_timeout = SCHEMA_LIMIT;
	settings.connections = 1;
	return db_pool_new(&settings);
}

/* Runs `work` on a connection of its own. */
static bool
with_connection(const struct conf *c, const char *conninfo,
    bool (*work)(struct db_conn *c, const struct conf *conf, struct err *err), struct err *err)
{
	struct db_pool *pool = open_pool(c, conninfo);
	struct db_conn *conn = db_pool_take(
	    pool, clock_deadline(conf_time(c, CONF_queue_database_connect_timeout)), err);
	bool good = conn != NULL && work(conn, c, err);

	if (conn != NULL)
		db_pool_give(pool, &conn);
	db_pool_free(&pool);
	return good;
}

static bool
make_database(struct db_conn *c, const struct conf *conf UNUSED, struct err *err)
{
	return queue_login_create_database(
	    c, SERVICE_DATABASE_NAME, clock_deadline(SCHEMA_LIMIT), err);
}

static bool
make_logins(struct db_conn *c, const struct conf *conf, struct err *err)
{
	static const struct {
		enum service_privilege user;
		enum queue_session role;
	} logins[] = {
	    {SERVICE_FRONT_END, QUEUE_SESSION_FRONT},
	    {SERVICE_SCHEDULER, QUEUE_SESSION_SCHEDULER},
	    {SERVICE_CONSOLE, QUEUE_SESSION_OPERATOR},
	};

	for (size_t i = 0; i < ARRAY_LEN(logins); i++)
		if (!queue_login_grant(c, service_privilege_user(conf, logins[i].user),
			queue_session_role(logins[i].role), clock_deadline(SCHEMA_LIMIT), err))
			return false;
	return true;
}

static bool
migrate(struct db_conn *c, const struct conf *conf UNUSED, struct err *err)
{
	int from, to;

	if (!queue_schema_migrate(c, clock_deadline(SCHEMA_LIMIT), &from, &to, err))
		return false;
	if (from != to)
		log_info("schema version %d, was %d", to, from);
	return true;
}

static bool
check(struct db_conn *c, const struct conf *conf UNUSED, struct err *err)
{
	return queue_schema_check(c, NULL, err);
}

/* The embedded PostgreSQL's maintenance database, as its superuser. */
static bool
prepare_embedded(const struct conf *c, struct err *err)
{
	struct buf conninfo CLEANUP(buf_done) = {0};

	service_database_conninfo(c, SERVICE_ROOT, 0, &conninfo);
	/* Of two dbname words the last counts. */
	buf_add_str(&conninfo, " dbname=postgres");
	return with_connection(c, buf_str(&conninfo), make_database, err);
}

static bool
do_schema(const struct schema_work *work, struct err *err)
{
	const struct conf *c = work->conf;
	bool embedded = service_database_is_embedded(c);

	if (embedded && !work->check_only && !prepare_embedded(c, err))
		return false;
	for (size_t i = 0; i < service_database_count(c); i++) {
		struct buf conninfo CLEANUP(buf_done) = {0};

		service_database_conninfo(c, SERVICE_ROOT, i, &conninfo);
		if (!with_connection(
			c, buf_str(&conninfo), work->check_only ? check : migrate, err))
			return false;
		if (embedded && !work->check_only &&
		    !with_connection(c, buf_str(&conninfo), make_logins, err))
			return false;
	}
	return true;
}

static void
schema_task(void *arg)
{
	struct schema_work *work = arg;
	struct dns_settings dns = {0};

	work->good = dns_init(&dns, &work->err) && do_schema(work, &work->err);
	dns_done();
}

/* Behind a transaction pooler there are no startup options: the administrator sets them for the login roles. */
static void
print_pooler_advice(void)
{
	static const struct {
		const char *who;
		enum queue_session session;
	} roles[] = {
	    {"front ends", QUEUE_SESSION_FRONT},
	    {"scheduler", QUEUE_SESSION_SCHEDULER},
	    {"operators", QUEUE_SESSION_OPERATOR},
	};

	(void)printf(
	    "queue_database_pooler = yes: ALTER ROLE login IN DATABASE ... SET these for the "
	    "login roles of\n");
	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		(void)printf("  %-11s %s\n", roles[i].who, queue_session_options(roles[i].session));
}

static void
run_schema(struct schema_work *work)
{
	task_init(NULL);
	MUST(task_start("schema", schema_task, work) != NULL);
	task_run();
	task_done();
}

static int
command_schema(struct master_command *cmd, int argc, char **argv)
{
	struct schema_work work = {.conf = cmd->conf};

	if (argc > 1 || (argc == 1 && strcmp(argv[0], "--check") != 0))
		log_fatal(EX_USAGE, "usage: rowpost schema [--check]");
	work.check_only = argc == 1;
	run_schema(&work);
	if (!work.good) {
		log_line(LOG_LEVEL_FATAL, "%s", work.err.text);
		return work.err.kind == ERR_TEMP ? EX_TEMPFAIL : EX_CONFIG;
	}
	if (!work.check_only && conf_bool(cmd->conf, CONF_queue_database_pooler))
		print_pooler_advice();
	return EX_OK;
}

/* ---- other programs ----------------------------------------------------------------------------------------- */

static int
command_sql(struct master_command *cmd, int argc, char **argv)
{
	struct buf conninfo = {0};
	char psql[] = "psql", dash_d[] = "-d";
	char **words = mem_zalloc(((size_t)argc + 4) * sizeof(words[0]));

	service_database_conninfo(cmd->conf, SERVICE_ROOT, 0, &conninfo);
	words[0] = psql;
	words[1] = dash_d;
	words[2] = buf_take(&conninfo);
	for (int i = 0; i < argc; i++)
		words[3 + i] = argv[i];
	(void)execvp(words[0], words);
	log_fatal(EX_UNAVAILABLE, "psql: %s", strerror(errno));
}

static int
command_flush(struct master_command *cmd, int argc UNUSED, char **argv UNUSED)
{
	struct buf path = {0};
	struct err err;

	if (!master_programs_dir(cmd->conf, &path, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	buf_add_str(&path, "/postqueue");
	(void)execl(buf_str(&path), "postqueue", "-c", cmd->conf_dir, "-f", (char *)NULL);
	log_fatal(EX_UNAVAILABLE, "%s: %s", buf_str(&path), strerror(errno));
}

/* ---- commands of the room master ---------------------------------------------------------------------------- */

/* A database that is away is no mistake in the configuration: mail is refused with 451 until it is back. */
static int
check_database(struct master_command *cmd)
{
	struct schema_work work = {.conf = cmd->conf, .check_only = true};
	bool away;

	run_schema(&work);
	if (work.good)
		return 0;
	away = work.err.kind == ERR_TEMP;
	(void)fprintf(
	    stderr, "rowpost: %s: queue database: %s\n", away ? "warning" : "error", work.err.text);
	return away ? 0 : 1;
}

/* A table that is not there yet defers mail until it is. */
static void
warn_table(void *arg UNUSED, const char *parameter, const char *table, const char *why)
{
	(void)fprintf(stderr, "rowpost: warning: parameter %s: %s: %s\n", parameter, table, why);
}

static void
warn_proxied(void *arg UNUSED, const char *parameter, const char *table)
{
	(void)fprintf(stderr,
	    "rowpost: warning: parameter %s: %s is asked through proxymap, which master.cf does not "
	    "start: mail would wait\n",
	    parameter, table);
}

static void
check_proxymap(struct master_command *cmd, const struct master_cf *services)
{
	const char *name = conf_str(cmd->conf, CONF_proxymap_service_name);

	if (master_cf_find(services, name, "unix") == NULL)
		table_check_proxied(cmd->conf, warn_proxied, NULL);
}

/* A line of master.cf, or NULL: main.cf. */
static void
warn_restriction(void *arg, const char *parameter, const char *text)
{
	const struct master_service *line = arg;
	bool own = line == NULL;

	/* A line repeats the mistakes of main.cf. */
	for (size_t i = 0; line != NULL && i < line->override_count; i++)
		own = own || strcmp(line->overrides[i].name, parameter) == 0;
	if (own)
		(void)fprintf(stderr,
		    "rowpost: warning: %s%s%sparameter %s: %s: clients would get 451\n",
		    line == NULL ? "" : "service ",
		    line == NULL ? "" : line->fields[MASTER_CF_FIELD_NAME],
		    line == NULL ? "" : ": ", parameter, text);
}

/* The lists of main.cf, or those of a line for smtpd. False: smtpd would not start. */
static bool
check_restrictions(struct master_command *cmd, struct master_service *line)
{
	struct conf_source source = {.dir = cmd->conf_dir, .program = "smtpd"};
	struct rewrite *rewrite = NULL;
	struct access *access = NULL;
	struct conf *conf;
	struct err err;
	bool ok;

	if (line != NULL) {
		source.service = line->fields[MASTER_CF_FIELD_NAME];
		source.overrides = line->overrides;
		source.override_count = line->override_count;
	}
	/* Bad values have been told. */
	if (!conf_load(&source, &conf, &err))
		return true;
	ok = rewrite_new(conf, &rewrite, &err) && access_new(conf, rewrite, &access, &err);
	if (ok)
		access_mistakes(access, warn_restriction, line);
	else
		(void)fprintf(stderr, "rowpost: error: %s: smtpd does not start\n", err.text);
	access_free(&access);
	rewrite_free(&rewrite);
	conf_unref(&conf);
	return ok;
}

static void
check_pipe(struct master_command *cmd, const struct master_service *line)
{
	struct err err;

	if (!pipe_check(cmd->conf, line, &err))
		(void)fprintf(stderr,
		    "rowpost: warning: %s/master.cf: line %d: service %s: %s: its mail would wait\n",
		    cmd->conf_dir, line->line, line->fields[MASTER_CF_FIELD_NAME], err.text);
}

/* What the programs behind the lines of master.cf would say only at work. A file that cannot be read was told before. */
static bool
check_services(struct master_command *cmd)
{
	struct master_cf services = {0};
	struct err err;
	bool ok;

	if (!master_cf_load(cmd->conf_dir, &services, &err))
		return true;
	check_proxymap(cmd, &services);
	ok = check_restrictions(cmd, NULL);
	for (size_t i = 0; i < services.count; i++) {
		struct master_service *line = &services.services[i];

		/* A line repeats the mistakes of main.cf. */
		if (ok && strcmp(master_cf_command(line), "smtpd") == 0 && line->override_count > 0)
			ok = check_restrictions(cmd, line);
		if (strcmp(master_cf_command(line), "pipe") == 0)
			check_pipe(cmd, line);
	}
	master_cf_done(&services);
	return ok;
}

static int
command_check(struct master_command *cmd, int argc UNUSED, char **argv UNUSED)
{
	int status = master_command_check_files(cmd, false);

	table_check(cmd->conf, warn_table, NULL);
	if (!check_services(cmd))
		status = 1;
	/* The embedded database runs only while the system does. */
	if (!service_database_is_embedded(cmd->conf) && check_database(cmd) != 0)
		status = 1;
	return status;
}

static int
command_stop(struct master_command *cmd, int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "keep-database") == 0)
		return master_command_stop_keep(cmd);
	return master_command_stop(cmd);
}

static const struct {
	const char *name;
	int (*simple)(struct master_command *cmd);
	int (*full)(struct master_command *cmd, int argc, char **argv);
} commands[] = {
    {"start", master_command_start, NULL},
    {"start-fg", master_command_start_fg, NULL},
    {"stop", NULL, command_stop},
    {"drain", master_command_drain, NULL},
    {"abort", master_command_abort, NULL},
    {"reload", master_command_reload, NULL},
    {"status", master_command_status, NULL},
    {"logrotate", master_command_logrotate, NULL},
    {"set-permissions", master_command_set_permissions, NULL},
    {"check", NULL, command_check},
    {"flush", NULL, command_flush},
    {"schema", NULL, command_schema},
    {"sql", NULL, command_sql},
};

NO_RETURN static void
usage(void)
{
	(void)fprintf(stderr, "usage: rowpost [-c DIR] [-v]");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(stderr, "%s%s", i == 0 ? " " : "|", commands[i].name);
	(void)fprintf(stderr, "\n");
	exit(EX_USAGE);
}

static void
prepare(struct master_command *cmd, const char *dir, bool checks)
{
	static char absolute[PATH_MAX];
	struct conf_source source = {.program = "postfix-script"};
	struct service_log log = {
	    .program = "postfix-script", .verbose = cmd->verbose, .also_stderr = true};
	struct err err;

	if (realpath(dir, absolute) == NULL)
		log_fatal(1, "configuration directory %s: %s", dir, strerror(errno));
	cmd->conf_dir = source.dir = absolute;
	if (!conf_load(&source, &cmd->conf, &err)) {
		/* All that is wrong, with file and line: not one of it twice. */
		if (checks && master_command_check_files(cmd, false) != 0)
			exit(1);
		log_fatal(1, "%s", err.text);
	}
	if (!service_log_setup(cmd->conf, &log, &err))
		log_warn("%s", err.text);
}

int
main(int argc, char **argv)
{
	struct master_command cmd = {0};
	const char *dir = getenv("MAIL_CONFIG");
	int option;

	backend_link_all();
	table_proxy_ask_directly();
	while ((option = getopt(argc, argv, "+c:vD")) != -1) {
		if (option == 'c')
			dir = optarg;
		else if (option == 'v' || option == 'D')
			cmd.verbose++;
		else
			usage();
	}
	if (optind >= argc)
		usage();
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		int status;

		if (strcmp(commands[i].name, argv[optind]) != 0)
			continue;
		prepare(&cmd, dir != NULL ? dir : DEFAULT_DIR, commands[i].full == command_check);
		status = commands[i].simple != NULL
			     ? commands[i].simple(&cmd)
			     : commands[i].full(&cmd, argc - optind - 1, argv + optind + 1);
		conf_unref(&cmd.conf);
		return status;
	}
	usage();
}
