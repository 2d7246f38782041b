/*
 * test_net_connect.c - connecting, listening, accepting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "net/net_connect.h"
#include "net/stream.h"
#include "task/task.h"

#define SOON  (10 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)

static char folder[] = "/tmp/rowpost-test-XXXXXX";

static int
make_folder(void **state UNUSED)
{
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state UNUSED)
{
	return rmdir(folder);
}

static int
set_up(void **state UNUSED)
{
	task_init(NULL);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	task_done();
	return 0;
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
	assert_int_equal(task_count(), 0);
}

static struct net_addr
address_of(int fd)
{
	struct net_addr a = {.len = sizeof(a.sa)};

	MUST(getsockname(fd, (struct sockaddr *)&a.sa, &a.len) == 0);
	return a;
}

/* Listens on a free port of `host`; the address is set to it. */
static int
listen_on(const char *host, struct net_addr *ret)
{
	struct err err = {0};
	int fd;

	MUST(net_addr_parse(host, 0, ret));
	fd = net_listen(ret, 100, 0, &err);
	MUST(fd >= 0);
	*ret = address_of(fd);
	return fd;
}

/* ---- connecting ------------------------------------------------------------------------------------------------ */

static void
greet(struct stream *s, const struct net_addr *peer, void *arg UNUSED)
{
	char text[NET_ADDR_TEXT];
	struct span line;

	net_addr_text(peer, text, sizeof(text));
	stream_set_deadline(s, clock_deadline(LATER));
	MUST(stream_printf(s, "220 hello %s\r\n", text) == STREAM_OK);
	MUST(stream_flush(s) == STREAM_OK);
	/* until the client goes, or all do */
	(void)stream_read_line(s, 100, &line, NULL);
	stream_free(&s);
}

static void
serve(void *arg)
{
	net_server_run(arg);
}

static void
expect_greeting(struct stream *s, const char *text)
{
	struct span line;

	MUST(s != NULL);
	stream_set_deadline(s, clock_deadline(LATER));
	MUST(stream_read_line(s, 100, &line, NULL) == STREAM_OK);
	MUST(span_equal_str(line, text));
}

static void
connect_and_talk(void *arg)
{
	struct net_addr to, from;
	struct net_server server = {
	    .fd = listen_on(arg, &to), .task_name = "session", .session = greet};
	struct task *listener = task_start("listener", serve, &server);
	struct err err = {0};
	struct stream *s = net_connect(&to, NULL, clock_deadline(LATER), &err);

	if (strcmp(arg, "::1") == 0) {
		expect_greeting(s, "220 hello ::1");
	} else {
		expect_greeting(s, "220 hello 127.0.0.1");
		stream_free(&s);
		MUST(net_addr_parse("127.0.0.7", 0, &from));
		s = net_connect(&to, &from, clock_deadline(LATER), &err);
		expect_greeting(s, "220 hello 127.0.0.7");
	}
	MUST(server.alive >= 1);
	stream_free(&s);
	task_cancel(listener);
	while (task_count() > 1)
		MUST(task_yield() == TASK_READY);
	MUST(server.alive == 0);
	(void)close(server.fd);
}

static char v4[] = "127.0.0.1", v6[] = "::1";

static void
connects_over_ipv4(void **state UNUSED)
{
	run(connect_and_talk, v4);
}

static void
connects_over_ipv6(void **state UNUSED)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct net_addr a;
	bool has_v6;

	assert_true(net_addr_parse("::1", 0, &a));
	has_v6 = fd >= 0 && bind(fd, (struct sockaddr *)&a.sa, a.len) == 0;
	if (fd >= 0)
		(void)close(fd);
	if (!has_v6)
		skip();
	run(connect_and_talk, v6);
}

static void
connect_in_vain(void *arg UNUSED)
{
	struct net_addr to;
	int fd = listen_on("127.0.0.1", &to);
	struct err err = {0};

	(void)close(fd);
	MUST(net_connect(&to, NULL, clock_deadline(LATER), &err) == NULL);
	MUST(err.kind == ERR_TEMP && strcmp(err.text, "Connection refused") == 0);
	/* an address that is not ours */
	MUST(net_addr_parse("192.0.2.1", 0, &to));
	MUST(net_connect(&to, &to, clock_deadline(LATER), &err) == NULL);
	MUST(strcmp(err.text, "bind 192.0.2.1: Cannot assign requested address") == 0);
}

static void
a_refusal_is_told(void **state UNUSED)
{
	run(connect_in_vain, NULL);
}

static struct stream *held[16];

/* Connects until the queue of the listener is full and it does not answer any more; why that ended. */
static struct err
connect_until_full(const struct net_addr *to, int64_t us)
{
	struct err err = {0};
	size_t n = 0;

	while ((held[n] = net_connect(to, NULL, clock_deadline(us), &err)) != NULL)
		MUST(++n < ARRAY_LEN(held));
	while (n > 0)
		stream_free(&held[--n]);
	return err;
}

/* Listens and accepts nothing. */
static int
listen_full(struct net_addr *ret)
{
	struct err err = {0};
	int fd;

	MUST(net_addr_parse("127.0.0.1", 0, ret));
	fd = net_listen(ret, 0, 0, &err);
	MUST(fd >= 0);
	*ret = address_of(fd);
	return fd;
}

static void
connect_too_late(void *arg UNUSED)
{
	struct net_addr to;
	int fd = listen_full(&to);
	struct err err = connect_until_full(&to, 2 * SOON);

	MUST(err.kind == ERR_TEMP && strcmp(err.text, "Connection timed out") == 0);
	(void)close(fd);
}

static void
a_silent_host_times_out(void **state UNUSED)
{
	run(connect_too_late, NULL);
}

static void
connect_cancelled(void *arg)
{
	struct err err = connect_until_full(arg, LATER);

	MUST(err.kind == ERR_GONE && task_is_cancelled());
}

static void
cancel_connect(void *arg UNUSED)
{
	struct net_addr to;
	int fd = listen_full(&to);
	struct task *t = task_start("connect", connect_cancelled, &to);

	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	task_cancel(t);
	while (task_count() > 1)
		MUST(task_yield() == TASK_READY);
	(void)close(fd);
}

static void
connecting_can_be_cancelled(void **state UNUSED)
{
	run(cancel_connect, NULL);
}

/* ---- listening ------------------------------------------------------------------------------------------------- */

static void
ports_are_exclusive(void **state UNUSED)
{
	struct net_addr at;
	struct err err = {0};
	int fd = listen_on("127.0.0.1", &at);

	assert_int_equal(net_listen(&at, 10, 0, &err), -1);
	assert_non_null(strstr(err.text, "listen on [127.0.0.1]:"));
	assert_non_null(strstr(err.text, "Address already in use"));
	assert_int_equal(err.kind, ERR_CONFIG);
	/* for those who inherit it */
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	(void)close(fd);
}

static void
unix_sockets_replace_their_file(void **state UNUSED)
{
	char path[64];
	struct net_addr at;
	struct err err = {0};
	struct stat st;
	int first, second;

	(void)snprintf(path, sizeof(path), "%s/socket", folder);
	assert_true(net_addr_unix(path, &at));
	first = net_listen(&at, 10, 0600, &err);
	assert_true(first >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	second = net_listen(&at, 10, 0666, &err);
	assert_true(second >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	(void)close(first);
	(void)close(second);
	(void)unlink(path);
}

static void
a_file_is_not_removed(void **state UNUSED)
{
	char path[64];
	struct net_addr at;
	struct err err = {0};
	int file;

	(void)snprintf(path, sizeof(path), "%s/precious", folder);
	file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	(void)close(file);
	assert_true(net_addr_unix(path, &at));
	assert_int_equal(net_listen(&at, 10, 0600, &err), -1);
	assert_non_null(strstr(err.text, "File exists"));
	assert_int_equal(access(path, F_OK), 0);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/no/such/folder", folder);
	assert_true(net_addr_unix(path, &at));
	assert_int_equal(net_listen(&at, 10, 0600, &err), -1);
}

/* ---- accepting ------------------------------------------------------------------------------------------------- */

#define CLIENTS 100

static size_t most_alive;
static size_t served;

static void
count_session(struct stream *s, const struct net_addr *peer UNUSED, void *arg)
{
	struct net_server *server = arg;

	most_alive = MAX(most_alive, server->alive);
	for (int i = 0; i < 10; i++)
		MUST(task_yield() == TASK_READY);
	MUST(stream_printf(s, "bye\n") == STREAM_OK && stream_flush(s) == STREAM_OK);
	stream_free(&s);
	served++;
}

static void
be_client(void *arg)
{
	struct err err = {0};
	struct stream *s = net_connect(arg, NULL, clock_deadline(LATER), &err);

	expect_greeting(s, "bye");
	stream_free(&s);
}

static void
serve_limited(void *arg UNUSED)
{
	struct net_addr to;
	struct net_server server = {.fd = listen_on("127.0.0.1", &to),
	    .limit = 7,
	    .task_name = "session",
	    .session = count_session};
	struct task_group clients = {0};
	struct task *listener;

	server.arg = &server;
	listener = task_start("listener", serve, &server);
	for (int i = 0; i < CLIENTS; i++)
		MUST(task_group_start(&clients, "client", be_client, &to) != NULL);
	MUST(task_group_wait(&clients, clock_deadline(LATER)) == TASK_READY);
	MUST(served == CLIENTS && most_alive == 7);
	task_cancel(listener);
	(void)task_yield();
	(void)close(server.fd);
}

static void
sessions_are_limited(void **state UNUSED)
{
	served = most_alive = 0;
	run(serve_limited, NULL);
}

static void
serve_without_tasks(void *arg UNUSED)
{
	struct net_addr to;
	struct net_server server = {
	    .fd = listen_on("127.0.0.1", &to), .task_name = "session", .session = count_session};
	struct task *listener;
	int fd;

	server.arg = &server;
	listener = task_start("listener", serve, &server);
	MUST(task_yield() == TASK_READY);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	(void)connect(fd, (struct sockaddr *)&to.sa, to.len);
	/* the connection is dropped, and accepting goes on a second later: still alive */
	MUST(task_sleep_until(clock_deadline(5 * SOON)) == TASK_TIMEOUT);
	MUST(served == 0 && server.alive == 0 && task_count() == 2);
	task_cancel(listener);
	(void)task_yield();
	(void)close(fd);
	(void)close(server.fd);
}

static void
running_out_of_tasks_is_survived(void **state UNUSED)
{
	struct task_settings settings = {.task_limit = 2};
	struct log_settings log = {.tag = "test", .fd = open("/dev/null", O_WRONLY | O_CLOEXEC)};

	log_setup(&log);
	served = 0;
	task_done();
	task_init(&settings);
	run(serve_without_tasks, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(connects_over_ipv4),
	    T(connects_over_ipv6),
	    T(a_refusal_is_told),
	    T(a_silent_host_times_out),
	    T(connecting_can_be_cancelled),
	    T(ports_are_exclusive),
	    T(unix_sockets_replace_their_file),
	    T(a_file_is_not_removed),
	    T(sessions_are_limited),
	    T(running_out_of_tasks_is_survived),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
