/*
 * db_fixture.h - for the tests of this room: a private PostgreSQL of the test program's own (UNIX socket only, gone
 * afterwards), a proxy in front of it that cuts connections at chosen moments, and a test body run as a task.
 */
#ifndef TESTS_DB_FIXTURE_H
#define TESTS_DB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/db.h"
#include "task/task.h"

#define POSTGRES_BIN  "/usr/lib/postgresql/15/bin/"
#define TEST_PATIENCE (60 * CLOCK_SECOND)

static char cluster_dir[64];
static pid_t cluster_pid;
static char cluster_ip[32]; /* where it listens besides, with TLS; "": nowhere */

/* ---- the server ------------------------------------------------------------------------------------------------ */

/* Becomes the server's user; it refuses to be root. */
static void
cluster_drop(void)
{
	const struct passwd *pw = getpwnam("postgres");

	if (geteuid() != 0 || pw == NULL)
		return;
	if (setgroups(0, NULL) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0)
		_exit(127);
}

static pid_t
cluster_spawn(const char *const *argv)
{
	pid_t pid = fork();

	if (pid == 0) {
		int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0666);

		cluster_drop();
		(void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
		(void)dup2(log, 1);
		(void)dup2(log, 2);
		(void)execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

static bool
cluster_answers(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool up;

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/.s.PGSQL.5432", cluster_dir);
	up = connect(fd, (void *)&sun, sizeof(sun)) == 0;
	close(fd);
	return up;
}

/* Starts the server and waits until it listens; "starting up" errors after that are the pool's to get over. */
static void
cluster_start(void)
{
	char listen[64];
	char ssl[16];
	const char *argv[] = {POSTGRES_BIN "postgres", "-D", "data", "-k", cluster_dir, "-c", ssl,
	    "-c", listen, "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_wal_senders=2",
	    "-c", "autovacuum=off", "-c", "wal_level=replica", NULL};
	int64_t deadline = clock_deadline(TEST_PATIENCE);
	char file[128];
	struct stat st;

	(void)snprintf(ssl, sizeof(ssl), "ssl=%s", cluster_ip[0] != '\0' ? "on" : "off");
	(void)snprintf(listen, sizeof(listen), "listen_addresses=%s", cluster_ip);
	cluster_pid = cluster_spawn(argv);
	(void)snprintf(file, sizeof(file), "%s/.s.PGSQL.5432", cluster_dir);
	while (stat(file, &st) != 0 || !cluster_answers()) {
		assert_true(clock_mono_us() < deadline);
		(void)poll(NULL, 0, 10);
	}
}

static void
cluster_stop(int signo)
{
	(void)kill(cluster_pid, signo);
	(void)waitpid(cluster_pid, NULL, 0);
	cluster_pid = 0;
}

static int
cluster_setup(void **state UNUSED)
{
	const char *initdb[] = {POSTGRES_BIN "initdb", "-N", "-A", "trust", "-U", "postgres", "-E",
	    "UTF8", "--locale=C", "-D", "data", NULL};
	const struct passwd *pw = getpwnam("postgres");
	int status = -1;

	(void)snprintf(cluster_dir, sizeof(cluster_dir), "/tmp/db-test-XXXXXX");
	if (mkdtemp(cluster_dir) == NULL || chdir(cluster_dir) != 0)
		return -1;
	if (geteuid() == 0 && pw != NULL && chown(cluster_dir, pw->pw_uid, pw->pw_gid) != 0)
		return -1;
	(void)waitpid(cluster_spawn(initdb), &status, 0);
	if (status != 0)
		return -1;
	cluster_start();
	return 0;
}

static int
cluster_teardown(void **state UNUSED)
{
	char command[128];

	if (cluster_pid > 0)
		cluster_stop(SIGQUIT);
	(void)snprintf(command, sizeof(command), "rm -rf %s", cluster_dir);
	return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

/* ---- settings and tasks ---------------------------------------------------------------------------------------- */

static char test_conninfo[256];

/* `where` is the directory of the socket; NULL: the server's own. */
static struct db_settings
test_settings(const char *where)
{
	(void)snprintf(test_conninfo, sizeof(test_conninfo),
	    "host=%s user=postgres dbname=postgres", where != NULL ? where : cluster_dir);
	return (struct db_settings){
	    .conninfo = test_conninfo,
	    .application_name = "rowpost/test",
	    .connections = 4,
	    .connect_timeout = 5 * CLOCK_SECOND,
	    .statement_timeout = 10 * CLOCK_SECOND,
	    .backoff_min = 20 * CLOCK_MILLI,
	    .backoff_max = 100 * CLOCK_MILLI,
	};
}

static int64_t
soon(void)
{
	return clock_deadline(TEST_PATIENCE);
}

struct test_body {
	void (*fn)(void);
	bool done;
};

static void
test_task(void *arg)
{
	struct test_body *body = arg;

	body->fn();
	body->done = true;
	task_stop(TEST_PATIENCE);
}

static void
run_as_task(void (*fn)(void))
{
	struct test_body body = {.fn = fn};

	task_init(NULL);
	assert_non_null(task_start("test", test_task, &body));
	task_run();
	task_done();
	assert_true(body.done);
}

/* A connection of the pool, got over all troubles of a server that is just starting. */
static UNUSED struct db_conn *
take(struct db_pool *p)
{
	int64_t deadline = soon();
	struct err err = {0};

	for (;;) {
		struct db_conn *c = db_pool_take(p, deadline, &err);

		if (c != NULL)
			return c;
		if (clock_mono_us() >= deadline)
			fail_msg("no connection: %s", err.text);
		(void)task_sleep_until(clock_deadline(10 * CLOCK_MILLI));
	}
}

static UNUSED void
script(struct db_conn *c, const char *sql)
{
	struct err err = {0};

	if (!db_script(c, sql, soon(), &err))
		fail_msg("%s: %s", sql, err.text);
}

/* Statements have to outlive the connections that know them. */
static const struct db_statement *
lasting(const char *name, const char *sql)
{
	static struct db_statement all[64];
	static size_t count;

	for (size_t i = 0; i < count; i++)
		if (strcmp(all[i].name, name) == 0 && strcmp(all[i].sql, sql) == 0)
			return &all[i];
	assert_true(count < ARRAY_LEN(all));
	all[count] = (struct db_statement){mem_strdup(name), mem_strdup(sql)};
	return &all[count++];
}

/* The number that `sql` gives. */
static UNUSED int64_t
number(struct db_conn *c, const char *name, const char *sql)
{
	const struct db_statement *st = lasting(name, sql);
	struct db_result *r = NULL;
	struct err err = {0};
	int64_t n;

	if (!db_exec(c, st, NULL, 0, soon(), &r, &err))
		fail_msg("%s: %s", sql, err.text);
	n = db_result_int(r, 0, 0);
	db_result_free(&r);
	return n;
}

/* ---- the proxy ------------------------------------------------------------------------------------------------- */

enum proxy_mode {
	PROXY_FORWARD,
	PROXY_CUT_REQUEST, /* the next bytes from the client are dropped and the connection is cut */
	PROXY_CUT_REPLY, /* they are forwarded, and the connection is cut before the answer gets back */
	PROXY_SILENCE, /* nothing is forwarded any more, nothing is cut */
};

static struct {
	char dir[80];
	int fd;
	enum proxy_mode mode;
	size_t accepted;
	struct task *task;
} proxy;

struct proxy_pair {
	int fds[2]; /* client, server */
	struct task_fd *watch[2];
	int ends; /* pumps still running */
	bool cut;
};

struct proxy_pump {
	struct proxy_pair *pair;
	int from;
};

static bool
proxy_send(struct proxy_pair *pair, int to, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(pair->fds[to], bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			if (task_fd_wait_write(pair->watch[to], soon()) != TASK_READY)
				return false;
			continue;
		}
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* What happens to bytes on their way; false: cut. */
static bool
proxy_pass(struct proxy_pump *pump, const char *bytes, size_t len)
{
	bool request = pump->from == 0;

	if (proxy.mode == PROXY_SILENCE)
		return true;
	if (proxy.mode == (request ? PROXY_CUT_REQUEST : PROXY_CUT_REPLY)) {
		proxy.mode = PROXY_FORWARD;
		return false;
	}
	return proxy_send(pump->pair, !pump->from, bytes, len);
}

static void
proxy_pump_task(void *arg)
{
	struct proxy_pump *pump = arg;
	struct proxy_pair *pair = pump->pair;
	char *bytes = mem_alloc(65536);

	while (!pair->cut) {
		ssize_t n = recv(pair->fds[pump->from], bytes, 65536, 0);

		if (n < 0 && errno == EAGAIN) {
			if (task_fd_wait_read(pair->watch[pump->from], CLOCK_NEVER) != TASK_READY)
				break;
			continue;
		}
		if (n <= 0 || !proxy_pass(pump, bytes, (size_t)n))
			break;
	}
	pair->cut = true;
	(void)shutdown(pair->fds[0], SHUT_RDWR);
	(void)shutdown(pair->fds[1], SHUT_RDWR);
	if (--pair->ends == 0) {
		for (int i = 0; i < 2; i++) {
			task_fd_free(&pair->watch[i]);
			close(pair->fds[i]);
		}
		mem_free(pair);
	}
	mem_free(bytes);
	mem_free(pump);
}

static void
proxy_serve(int client)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct proxy_pair *pair = mem_new(struct proxy_pair);

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/.s.PGSQL.5432", cluster_dir);
	pair->fds[0] = client;
	pair->fds[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	(void)connect(pair->fds[1], (void *)&sun, sizeof(sun));
	pair->ends = 2;
	for (int i = 0; i < 2; i++) {
		struct proxy_pump *pump = mem_new(struct proxy_pump);

		*pump = (struct proxy_pump){pair, i};
		pair->watch[i] = task_fd_new(pair->fds[i]);
		assert_non_null(task_start("proxy-pump", proxy_pump_task, pump));
	}
}

static void
proxy_accept_task(void *arg UNUSED)
{
	struct task_fd *watch = task_fd_new(proxy.fd);

	for (;;) {
		int client = accept4(proxy.fd, NULL, NULL, SOCK_NONBLOCK);

		if (client >= 0) {
			proxy.accepted++;
			proxy_serve(client);
		} else if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY) {
			break;
		}
	}
	task_fd_free(&watch);
	close(proxy.fd);
	(void)rmdir(proxy.dir);
}

/* Starts the proxy; its directory is what test_settings() wants. Ends with the test. */
static UNUSED const char *
proxy_start(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	memset(&proxy, 0, sizeof(proxy));
	(void)snprintf(proxy.dir, sizeof(proxy.dir), "%s/proxy", cluster_dir);
	(void)mkdir(proxy.dir, 0700);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/.s.PGSQL.5432", proxy.dir);
	(void)unlink(sun.sun_path);
	proxy.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(proxy.fd, (void *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(proxy.fd, 16), 0);
	proxy.task = task_start("proxy", proxy_accept_task, NULL);
	return proxy.dir;
}

#endif
