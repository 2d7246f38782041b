/*
 * master.c - see master.h. The main task does the start, waits for the word to stop, does the stop; everything between is
 * done by the keepers of the processes, the control socket and reloads.
 *
 *	start: lock -> directories -> sockets -> PostgreSQL (embedded) -> schema -> services -> "ok"
 *	stop:  services leave -> PostgreSQL stops -> end
 *
 * Sockets are bound before anything else starts, so that a mistake in an address fails the start at once, and so that
 * clients wait instead of being refused.
 */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "master/master_client.h"
#include "master/master_database.h"
#include "master/master_dirs.h"
#include "master/master_environ.h"
#include "master/master_int.h"
#include "master/master_programs.h"
#include "service/service_database.h"
#include "service/service_log.h"
#include "service/shelf.h"

#define READY_LIMIT  (60 * CLOCK_SECOND)
#define SCHEMA_LIMIT (600 * CLOCK_SECOND)
#define BIND_LIMIT   (10 * CLOCK_SECOND)
#define BIND_RETRY   (50 * CLOCK_MILLI)
#define LOCK_TRIES   100
#define OPEN_FILES   65536

static struct master master = {
    .process_lock = -1, .shelf = -1, .shelf_to_read = -1, .log_fd = -1, .start_fd = -1};

/* ---- word to whoever started us ----------------------------------------------------------------------------- */

static void
report_start(struct master *m, const char *text)
{
	if (m->start_fd < 0)
		return;
	(void)!write(m->start_fd, text, strlen(text));
	(void)close(m->start_fd);
	m->start_fd = -1;
}

/* Before the loop runs: nothing was started yet. */
NO_RETURN static void
refuse_start(struct master *m, int status, const char *text)
{
	report_start(m, text);
	log_fatal(status, "%s", text);
}

/* ---- start -------------------------------------------------------------------------------------------------- */

/*
 * After a kill -9 of master its processes close their listeners as soon as they see it: for that moment the addresses
 * are still taken.
 */
static bool
open_sockets(struct master *m, const struct master_plan *plan, struct err *err)
{
	int64_t deadline = clock_deadline(BIND_LIMIT);

	while (!master_sockets_open(&m->sockets, plan, err)) {
		if (err->kind != ERR_TEMP || clock_mono_us() >= deadline || !m->others_left ||
		    task_sleep_until(clock_deadline(BIND_RETRY)) == TASK_CANCELLED)
			return false;
	}
	return true;
}

/* Creates or checks the schema: in a process of its own, so that this one needs no database library. */
static bool
do_schema(struct master *m, struct err *err)
{
	bool embedded = service_database_is_embedded(m->conf);
	char *program CLEANUP(mem_free_str) = mem_printf("%s/rowpost", m->program_dir);
	const char *const argv[] = {
	    program, "-c", m->conf_dir, "schema", embedded ? NULL : "--check", NULL};
	struct buf output CLEANUP(buf_done) = {0};
	const char *text;
	int status = 0;

	if (master_process_run(
		m, SERVICE_ROOT, argv, clock_deadline(SCHEMA_LIMIT), &output, &status, err))
		return true;
	text = strstr(buf_str(&output), "fatal: ");
	if (text == NULL)
		return false;
	text += strlen("fatal: ");
	buf_truncate(&output, output.len - (output.ptr[output.len - 1] == '\n' ? 1 : 0));
	if (embedded || status != EX_TEMPFAIL)
		return err_set(err, ERR_CONFIG, "", "queue database: %.300s", text);
	/* Mail is refused for the time being, with 451: no reason not to start. */
	log_warn("queue database: %.300s", text);
	return true;
}

/* What a check would say, said once. */
static void
log_notes(struct master *m, const struct master_plan *plan)
{
	for (size_t i = 0; i < plan->note_count; i++)
		if (plan->notes[i].severity != CONF_INFO)
			log_warn("%s/master.cf: line %d: %s", m->conf_dir, plan->notes[i].line,
			    plan->notes[i].text);
}

/* NULL while a vital job is not ready; *ret_failed tells of one that has failed. */
static bool
all_ready(struct master *m, struct master_job **ret_failed)
{
	bool ready = true;

	*ret_failed = NULL;
	LIST_FOREACH (job, &m->jobs, struct master_job, node) {
		if (!job->plan.kind->vital)
			continue;
		ready = ready && master_job_is_ready(job);
		if (master_job_has_failed(job))
			*ret_failed = job;
	}
	return ready;
}

static bool
wait_ready(struct master *m, struct err *err)
{
	int64_t deadline = clock_deadline(READY_LIMIT);
	struct master_job *failed;

	while (!all_ready(m, &failed)) {
		if (failed != NULL)
			return err_set(err, ERR_CONFIG, "",
			    "service %s (%s) does not start: see the log", failed->plan.name,
			    failed->plan.program);
		if (m->stopping)
			return err_set(err, ERR_TEMP, "", "stopped while starting");
		if (task_cond_wait(&m->changed, deadline) != TASK_READY)
			return err_set(
			    err, ERR_TEMP, "", "the services do not become ready in time");
	}
	return true;
}

static bool
start_services(struct master *m, struct err *err)
{
	struct master_plan plan = {0};
	bool good = master_reload_plan(m, m->conf, &plan, err) && open_sockets(m, &plan, err);

	if (good && service_database_is_embedded(m->conf))
		good = master_database_start(m, &m->database, err);
	good = good && do_schema(m, err);
	if (good && !m->stopping) {
		log_notes(m, &plan);
		master_reload_apply(m, &plan);
		good = wait_ready(m, err);
	}
	master_plan_done(&plan);
	return good;
}

/* ---- stop --------------------------------------------------------------------------------------------------- */

void
master_stop(struct master *m, enum master_end end)
{
	m->stopping = true;
	m->end = end;
	task_cond_wake_all(&m->changed);
}

static void
stop_services(struct master *m)
{
	/* Nothing new can be added: reload is refused from now on. */
	(void)task_lock_take(&m->change, CLOCK_NEVER);
	/* First the sockets: a connection that comes while only we have them open would wait for nobody. */
	master_sockets_close(&m->sockets, NULL);
	LIST_FOREACH_SAFE (job, &m->jobs, struct master_job, node)
		master_job_leave(job);
	while (!list_is_empty(&m->leaving)) {
		/* The order to abort may come while we wait. */
		if (m->end == MASTER_END_ABORT)
			LIST_FOREACH (job, &m->leaving, struct master_job, node)
				master_job_signal(job, SIGKILL);
		(void)task_cond_wait(&m->changed, CLOCK_NEVER);
	}
	if (m->database != NULL)
		master_database_stop(&m->database, m->end == MASTER_END_KEEP_DATABASE);
	task_lock_give(&m->change);
}

static void
main_run(void *arg)
{
	struct master *m = arg;
	struct err err;
	bool good;

	(void)task_lock_take(&m->change, CLOCK_NEVER);
	good = start_services(m, &err);
	task_lock_give(&m->change);
	if (good) {
		report_start(m, "ok");
	} else {
		log_line(LOG_LEVEL_FATAL, "%s", err.text);
		report_start(m, err.text);
		m->exit_status = 1;
		m->stopping = true;
	}
	while (!m->stopping)
		(void)task_cond_wait(&m->changed, CLOCK_NEVER);
	stop_services(m);
	(void)unlink(MASTER_CONTROL_SOCKET);
	task_stop(CLOCK_SECOND);
}

/* ---- signals ------------------------------------------------------------------------------------------------ */

static void
reload_run(void *arg)
{
	struct err err;

	(void)!master_reload(arg, &err);
}

static void
on_signal(int signo, void *arg)
{
	struct master *m = arg;

	if (signo == SIGHUP) {
		(void)task_start("reload", reload_run, m);
		return;
	}
	log_info("terminating on signal %d", signo);
	master_stop(m, MASTER_END_ALL);
}

/* ---- before the loop ---------------------------------------------------------------------------------------- */

/* The pid file stays locked as long as we live; the lock goes with us, however we die. */
static void
take_pid_file(struct master *m)
{
	int fd = open(MASTER_PID_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	char text[32];
	int tries = 0;

	if (fd < 0)
		refuse_start(m, EX_CANTCREAT, "cannot open " MASTER_PID_FILE);
	/* `rowpost status` holds the lock for an instant while it looks. */
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (++tries > LOCK_TRIES)
			refuse_start(m, EX_TEMPFAIL, "the Rowpost mail system is already running");
		(void)usleep(10000);
	}
	(void)snprintf(text, sizeof(text), "%10d\n", (int)getpid());
	if (ftruncate(fd, 0) != 0 || write(fd, text, strlen(text)) < 0)
		refuse_start(m, EX_IOERR, "cannot write " MASTER_PID_FILE);
}

static void
take_process_lock(struct master *m)
{
	int fd = open(MASTER_PROCESS_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		refuse_start(m, EX_CANTCREAT, "cannot open " MASTER_PROCESS_LOCK);
	m->others_left = flock(fd, LOCK_EX | LOCK_NB) != 0;
	if (flock(fd, LOCK_SH) != 0)
		refuse_start(m, EX_OSERR, "cannot lock " MASTER_PROCESS_LOCK);
	m->process_lock = fd;
}

/* Without it everything works, at a higher price. */
static void
make_shelf(struct master *m)
{
	size_t size = conf_size(m->conf, CONF_content_shelf_size);

	if (size == 0)
		return;
	m->shelf = shelf_create(size);
	m->shelf_to_read = m->shelf < 0 ? -1 : shelf_read_only(m->shelf);
	if (m->shelf_to_read < 0)
		log_warn("content_shelf_size = %zu: %s; contents are read from the database", size,
		    strerror(errno));
}

static void
prepare_limits(void)
{
	struct rlimit limit;
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_max = MAX(limit.rlim_max, OPEN_FILES);
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0 &&
		    getrlimit(RLIMIT_NOFILE, &limit) == 0) {
			limit.rlim_cur = limit.rlim_max;
			(void)setrlimit(RLIMIT_NOFILE, &limit);
		}
	}
	/* When memory runs out, take a process that we can start again. */
	if (fd >= 0) {
		(void)!write(fd, "-800\n", 5);
		(void)close(fd);
	}
}

static void
parse_options(struct master *m, int argc, char **argv, int *ret_verbose)
{
	int option;

	*ret_verbose = 0;
	while ((option = getopt(argc, argv, "c:S:v")) != -1) {
		if (option == 'c')
			m->conf_dir = optarg;
		else if (option == 'S')
			m->start_fd = (int)strtol(optarg, NULL, 10);
		else if (option == 'v')
			(*ret_verbose)++;
		else
			log_fatal(EX_USAGE, "usage: master -c DIR [-S FD] [-v]");
	}
	if (m->conf_dir == NULL || m->conf_dir[0] != '/')
		log_fatal(EX_USAGE, "usage: master -c DIR [-S FD] [-v], DIR absolute");
	if (m->start_fd >= 0 && fcntl(m->start_fd, F_SETFD, FD_CLOEXEC) != 0)
		m->start_fd = -1;
}

static void
prepare(struct master *m, int verbose)
{
	struct conf_source source = {.dir = m->conf_dir, .program = "master"};
	struct service_log log = {.program = "master", .verbose = verbose};
	struct buf programs = {0};
	struct err err;

	if (!conf_load(&source, &m->conf, &err) || !service_log_setup(m->conf, &log, &err))
		refuse_start(m, EX_CONFIG, err.text);
	if (geteuid() != 0)
		refuse_start(m, EX_NOPERM, "master must be started by root");
	if (!master_dirs_users_exist(m->conf, &err) || !master_dirs_prepare(m->conf, &err) ||
	    !master_programs_dir(m->conf, &programs, &err))
		refuse_start(m, EX_CONFIG, err.text);
	m->program_dir = buf_take(&programs);
	if (chdir(conf_str(m->conf, CONF_queue_directory)) != 0)
		refuse_start(m, EX_CONFIG, "cannot change to queue_directory");
	take_pid_file(m);
	take_process_lock(m);
	make_shelf(m);
	prepare_limits();
	master_environ_clean(m->conf);
	(void)umask(022);
	(void)signal(SIGPIPE, SIG_IGN);
	list_init(&m->jobs);
	list_init(&m->leaving);
	m->started = clock_real_us();
	log_info("daemon started -- version %s, configuration %s",
	    conf_str(m->conf, CONF_mail_version), m->conf_dir);
}

int
master_main(int argc, char **argv)
{
	struct master *m = &master;
	struct err err;
	int verbose;

	parse_options(m, argc, argv, &verbose);
	prepare(m, verbose);
	task_init(NULL);
	log_buffered(true);
	task_on_signal(SIGHUP, on_signal, m);
	task_on_signal(SIGTERM, on_signal, m);
	task_on_signal(SIGINT, on_signal, m);
	if (!master_control_start(m, &err))
		refuse_start(m, EX_CONFIG, err.text);
	master_postlog_start(m);
	MUST(task_start("main", main_run, m) != NULL);
	task_run();
	log_flush();
	if (task_count() == 0)
		task_done();
	conf_unref(&m->conf);
	mem_free(m->program_dir);
	return m->exit_status;
}
