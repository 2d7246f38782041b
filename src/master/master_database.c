/*
 * master_database.c - see master_database.h.
 *
 *	none -> made (initdb beside, then renamed: never half a cluster) -> starting -> ready -> gone -> starting ...
 *	running already, left by a master that died -> adopted = ready, watched through a pidfd instead of waitpid
 *
 * All files inside the cluster are written by a child that has become database_owner: root never writes where another
 * user may have put a link.
 */
#include "master/master_database.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/span.h"
#include "master/master_database_conf.h"
#include "master/master_dirs.h"
#include "master/master_int.h"
#include "service/service_database.h"

#define POLL        (20 * CLOCK_MILLI)
#define INIT_LIMIT  (120 * CLOCK_SECOND)
#define STOP_LIMIT  (60 * CLOCK_SECOND)
#define KILL_LIMIT  (10 * CLOCK_SECOND)
#define RETRY_FIRST (100 * CLOCK_MILLI)
#define RETRY_LAST  (5 * CLOCK_SECOND)

struct master_database {
	struct master *master;
	char *dir;  /* owned; the cluster */
	pid_t pid;  /* 0: not running */
	bool child; /* ours to reap; false: adopted */
	bool ready;
	bool stopping;
	int64_t started; /* mono us */
	unsigned restarts;
	struct task_cond changed;
	bool watched; /* the watcher task is alive */
};

/* ---- finding ------------------------------------------------------------------------------------------------ */

/* The major version of the cluster in `dir` ("15"), or an empty text. */
static void
cluster_version(const char *dir, char *ret, size_t size)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/PG_VERSION", dir);
	FILE *f = fopen(path, "re");

	ret[0] = '\0';
	if (f == NULL)
		return;
	if (fgets(ret, (int)size, f) == NULL)
		ret[0] = '\0';
	(void)fclose(f);
	ret[strspn(ret, "0123456789.")] = '\0';
}

static bool
has_programs(const char *dir)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/postgres", dir);

	return access(path, X_OK) == 0;
}

bool
master_database_programs(const struct conf *c, struct buf *ret, struct err *err)
{
	const char *own = conf_str(c, CONF_database_program_directory);
	char version[16];

	if (own[0] != '\0') {
		if (!has_programs(own))
			return err_set(err, ERR_CONFIG, "",
			    "database_program_directory = %s: no postgres there", own);
		buf_add_str(ret, own);
		return true;
	}
	cluster_version(conf_str(c, CONF_database_directory), version, sizeof(version));
	/* An existing cluster wants its own version; a new one gets the newest. */
	for (int v = 40; v >= 13; v--) {
		char *dir CLEANUP(mem_free_str) = mem_printf("/usr/lib/postgresql/%d/bin", v);
		char number[16];

		(void)snprintf(number, sizeof(number), "%d", v);
		if ((version[0] == '\0' || strcmp(version, number) == 0) && has_programs(dir)) {
			buf_add_str(ret, dir);
			return true;
		}
	}
	return err_set(err, ERR_CONFIG, "",
	    "PostgreSQL %s is not installed, and queue_databases is empty: install the package "
	    "postgresql, or set queue_databases or database_program_directory",
	    version[0] != '\0' ? version : "13 or later");
}

/* True when process `pid` is a server on `dir`: PostgreSQL works in its cluster's directory. */
static bool
is_server_on(pid_t pid, const char *dir)
{
	char *link CLEANUP(mem_free_str) = mem_printf("/proc/%d/cwd", (int)pid);
	struct stat at, want;

	return stat(link, &at) == 0 && stat(dir, &want) == 0 && at.st_dev == want.st_dev &&
	       at.st_ino == want.st_ino;
}

/* postmaster.pid: line 1 the pid, line 8 the state. */
pid_t
master_database_running(const char *dir, bool *ret_ready)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/postmaster.pid", dir);
	FILE *f = fopen(path, "re");
	char line[1024];
	uint64_t pid = 0;

	*ret_ready = false;
	if (f == NULL)
		return 0;
	for (int number = 1; fgets(line, sizeof(line), f) != NULL; number++) {
		struct span text = span_trim(span_str(line));

		if (number == 1 && !span_number(text, INT32_MAX, &pid))
			break;
		if (number == 8)
			*ret_ready = span_equal_str(text, "ready");
	}
	(void)fclose(f);
	if (pid == 0 || !is_server_on((pid_t)pid, dir)) {
		*ret_ready = false;
		return 0;
	}
	return (pid_t)pid;
}

/* ---- files -------------------------------------------------------------------------------------------------- */

struct text_file {
	char *path;
	struct buf text;
	bool append;
};

static int
write_file(void *arg)
{
	struct text_file *file = arg;
	int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | (file->append ? O_APPEND : O_TRUNC);
	int fd = open(file->path, flags, 0600);

	if (fd < 0 || write(fd, file->text.ptr, file->text.len) != (ssize_t)file->text.len ||
	    fsync(fd) != 0) {
		(void)dprintf(STDERR_FILENO, "%s: %s", file->path, strerror(errno));
		return EX_IOERR;
	}
	return EX_OK;
}

/* Writes a file of the cluster as database_owner; releases the text. */
static bool
put_file(struct master *m, const char *dir, const char *name, struct buf *text, bool append,
    struct err *err)
{
	struct text_file file = {mem_printf("%s/%s", dir, name), *text, append};
	struct buf output CLEANUP(buf_done) = {0};
	int status;
	bool good = master_process_call(m, SERVICE_DATABASE, write_file, &file,
	    clock_deadline(INIT_LIMIT), &output, &status, err);

	mem_free(file.path);
	buf_done(text);
	return good;
}

static bool
write_settings(struct master *m, const char *dir, struct err *err)
{
	struct master_database_machine machine;
	struct buf settings = {0}, rules = {0};

	master_database_conf_machine(dir, &machine);
	master_database_conf_settings(m->conf, &machine, &settings);
	master_database_conf_access(m->conf, &rules);
	if (!put_file(m, dir, "rowpost.conf", &settings, false, err)) {
		buf_done(&rules);
		return false;
	}
	return put_file(m, dir, "pg_hba.conf", &rules, false, err);
}

/* ---- making the cluster ------------------------------------------------------------------------------------- */

static bool
run_initdb(struct master *m, const char *programs, const char *dir, struct err *err)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/initdb", programs);
	const char *const argv[] = {path, "-D", dir, "-U", "root", "-E", "UTF8", "--locale=C",
	    "--auth=peer", "--data-checksums", "--no-instructions", NULL};
	struct buf output CLEANUP(buf_done) = {0};
	int status;

	return master_process_run(
	    m, SERVICE_DATABASE, argv, clock_deadline(INIT_LIMIT), &output, &status, err);
}

/* What an interrupted start left. */
static bool
empty_dir(struct master *m, const char *dir, struct err *err)
{
	const char *const argv[] = {"/usr/bin/find", dir, "-mindepth", "1", "-delete", NULL};
	struct buf output CLEANUP(buf_done) = {0};
	int status;

	return master_process_run(
	    m, SERVICE_DATABASE, argv, clock_deadline(INIT_LIMIT), &output, &status, err);
}

static bool
make_cluster(struct master *m, const char *programs, const char *dir, struct err *err)
{
	char *fresh CLEANUP(mem_free_str) = mem_printf("%s.new", dir);
	struct buf include = {0};

	log_info("making the embedded PostgreSQL cluster in %s", dir);
	buf_add_str(&include, "\ninclude 'rowpost.conf'\n");
	if (!master_dirs_make(m->conf, fresh, SERVICE_DATABASE, 0700, err) ||
	    !empty_dir(m, fresh, err) || !run_initdb(m, programs, fresh, err)) {
		buf_done(&include);
		return false;
	}
	if (!put_file(m, fresh, "postgresql.conf", &include, true, err))
		return false;
	(void)rmdir(dir);
	if (rename(fresh, dir) != 0)
		return err_set(err, ERR_CONFIG, "", "rename %s: %s", fresh, strerror(errno));
	return true;
}

static bool
prepare(struct master *m, const char *programs, const char *dir, struct err *err)
{
	struct buf sockets CLEANUP(buf_done) = {0};
	char version[16];

	service_database_socket_dir(m->conf, &sockets);
	if (!master_dirs_make(m->conf, buf_str(&sockets), SERVICE_DATABASE, 0755, err))
		return false;
	cluster_version(dir, version, sizeof(version));
	if (version[0] == '\0' && !make_cluster(m, programs, dir, err))
		return false;
	return write_settings(m, dir, err);
}

/* ---- starting ----------------------------------------------------------------------------------------------- */

struct server {
	char *program;
	char *dir;
};

static int
exec_server(void *arg)
{
	struct server *s = arg;
	char dash_d[] = "-D";
	char *argv[] = {s->program, dash_d, s->dir, NULL};
	char log[] = "start.log";
	int fd = -1;

	/* Only what goes wrong before PostgreSQL's own log is open ends up here. */
	if (chdir(s->dir) == 0)
		fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		return EX_IOERR;
	(void)execv(s->program, argv);
	return EX_UNAVAILABLE;
}

/* The end of start.log, for the error text. */
static void
add_start_log(const char *dir, struct buf *out)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/start.log", dir);
	FILE *f = fopen(path, "re");
	char room[300] = "";
	size_t n;

	if (f == NULL)
		return;
	if (fseek(f, -(long)sizeof(room) + 1, SEEK_END) != 0)
		rewind(f);
	n = fread(room, 1, sizeof(room) - 1, f);
	room[n] = '\0';
	(void)fclose(f);
	buf_add_str(out, room);
}

static bool
launch(struct master_database *db, const char *programs, struct err *err)
{
	struct server server = {mem_printf("%s/postgres", programs), db->dir};

	db->pid = master_process_detach(db->master, SERVICE_DATABASE, exec_server, &server, err);
	mem_free(server.program);
	db->child = db->pid > 0;
	db->started = clock_mono_us();
	return db->pid > 0;
}

/* Until it takes connections, dies, or the time is up. An adopted one may still be recovering. */
static bool
wait_ready(struct master_database *db, struct err *err)
{
	int64_t deadline = clock_deadline(conf_time(db->master->conf, CONF_database_start_timeout));
	int status = 0;

	while (clock_mono_us() < deadline) {
		struct buf text CLEANUP(buf_done) = {0};
		bool ready;
		pid_t running = master_database_running(db->dir, &ready);

		if (ready && running == db->pid) {
			db->ready = true;
			return true;
		}
		if (db->child &&
		    task_child_wait(db->pid, &status, clock_deadline(POLL)) == TASK_READY) {
			db->pid = 0;
			add_start_log(db->dir, &text);
			return err_set(
			    err, ERR_TEMP, "", "PostgreSQL does not start: %s", buf_str(&text));
		}
		if (!db->child && running != db->pid)
			return err_set(err, ERR_TEMP, "", "PostgreSQL went away");
		if (!db->child && task_sleep_until(clock_deadline(POLL)) == TASK_CANCELLED)
			break;
	}
	/* Killing it would throw away what the recovery has done. */
	return err_set(err, ERR_TEMP, "",
	    "PostgreSQL (pid %d) did not finish its recovery within database_start_timeout; it goes on: try again later",
	    (int)db->pid);
}

/* One attempt: adopts or starts. */
static bool
bring_up(struct master_database *db, struct err *err)
{
	struct buf programs CLEANUP(buf_done) = {0};
	pid_t running;
	bool ready;

	running = master_database_running(db->dir, &ready);
	if (running > 0 && running == db->pid)
		return wait_ready(db, err);
	db->ready = false;
	db->pid = running;
	if (db->pid > 0) {
		db->child = false;
		db->started = clock_mono_us();
		log_info("adopting the running PostgreSQL, pid %d", (int)db->pid);
		return wait_ready(db, err);
	}
	if (!master_database_programs(db->master->conf, &programs, err) ||
	    !prepare(db->master, buf_str(&programs), db->dir, err))
		return false;
	/* Whoever stops us has looked for a process to tell, and found none. */
	if (db->stopping)
		return err_set(err, ERR_TEMP, "", "PostgreSQL is not started: we are stopping");
	return launch(db, buf_str(&programs), err) && wait_ready(db, err);
}

/* ---- watching ----------------------------------------------------------------------------------------------- */

/* Until the process is gone. */
static void
wait_gone(struct master_database *db)
{
	struct task_fd *watch;
	int status, fd;

	if (db->child) {
		(void)task_child_wait(db->pid, &status, CLOCK_NEVER);
		return;
	}
	fd = (int)syscall(SYS_pidfd_open, db->pid, O_NONBLOCK);
	if (fd < 0)
		return;
	watch = task_fd_new(fd);
	(void)task_fd_wait_read(watch, CLOCK_NEVER);
	task_fd_free(&watch);
	(void)close(fd);
}

/* Brings it back after it died; the backends of a killed server may need a moment to go. */
static void
revive(struct master_database *db)
{
	int64_t delay = RETRY_FIRST;
	struct err err;

	while (!db->stopping && !bring_up(db, &err)) {
		log_warn("%s", err.text);
		(void)task_cond_wait(&db->changed, clock_deadline(delay));
		delay = MIN(delay * 2, RETRY_LAST);
	}
}

static void
watch_run(void *arg)
{
	struct master_database *db = arg;

	while (db->pid > 0) {
		pid_t pid = db->pid;

		wait_gone(db);
		db->pid = 0;
		db->ready = false;
		if (db->stopping)
			break;
		log_warn("PostgreSQL pid %d went away, starting it again", (int)pid);
		db->restarts++;
		revive(db);
	}
	db->watched = false;
	task_cond_wake_all(&db->changed);
}

/* ---- public ------------------------------------------------------------------------------------------------- */

static void
database_free(struct master_database **db)
{
	mem_free((*db)->dir);
	mem_free(*db);
	*db = NULL;
}

bool
master_database_start(struct master *m, struct master_database **ret, struct err *err)
{
	struct master_database *db = mem_new(struct master_database);

	db->master = m;
	db->dir = mem_strdup(conf_str(m->conf, CONF_database_directory));
	if (!bring_up(db, err)) {
		database_free(&db);
		return false;
	}
	db->watched = true;
	MUST(task_start("database", watch_run, db) != NULL);
	*ret = db;
	return true;
}

void
master_database_reload(struct master_database *db)
{
	struct err err;

	if (!write_settings(db->master, db->dir, &err))
		log_warn("settings of PostgreSQL: %s", err.text);
	else if (db->pid > 0)
		(void)kill(db->pid, SIGHUP);
}

static bool
stop_with(struct master_database *db, int signo, int64_t limit)
{
	int64_t deadline = clock_deadline(limit);

	if (db->pid > 0)
		(void)kill(db->pid, signo);
	while (db->watched)
		if (task_cond_wait(&db->changed, deadline) != TASK_READY)
			return false;
	return true;
}

void
master_database_stop(struct master_database **database, bool keep)
{
	struct master_database *db = *database;

	db->stopping = true;
	task_cond_wake_all(&db->changed);
	if (keep) {
		/* Its watcher goes with this process. */
		*database = NULL;
		return;
	}
	if (!stop_with(db, SIGINT, STOP_LIMIT)) {
		log_warn(
		    "PostgreSQL does not stop, ending it at once; it will recover at the next start");
		if (!stop_with(db, SIGQUIT, KILL_LIMIT))
			(void)stop_with(db, SIGKILL, KILL_LIMIT);
	}
	if (!db->watched)
		database_free(&db);
	*database = NULL;
}

struct master_database_status
master_database_status(const struct master_database *db)
{
	return (struct master_database_status){
	    .state = !db->ready  ? "starting"
		     : db->child ? "ready"
				 : "adopted",
	    .pid = db->pid,
	    .age = clock_mono_us() - db->started,
	    .restarts = db->restarts,
	};
}
