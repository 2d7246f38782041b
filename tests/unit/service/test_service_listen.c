/*
 * test_service_listen.c - the end of a service's doors: whoever the kernel has already is served, and waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/stream.h"
#include "service/service_listen.h"
#include "task/task.h"

#define LIMIT   (10 * CLOCK_SECOND)
#define CLIENTS 20

static struct sockaddr_in address;
static size_t served;

static int
open_door(void)
{
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	address =
	    (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, CLIENTS), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	return fd;
}

static void
knock(int *fd)
{
	*fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(*fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

/* Takes a few turns of the loop, as any session does. */
static void
serve(struct stream *s, const struct net_addr *peer UNUSED, void *arg UNUSED)
{
	for (int i = 0; i < 3; i++)
		(void)task_yield();
	served++;
	stream_free(&s);
}

static void
leave_body(void *arg UNUSED)
{
	struct service s = {.listen_count = 1};
	const struct net_server door = {.task_name = "session", .session = serve};
	static struct service_listen *l; /* lives as long as the process */
	int clients[CLIENTS];

	s.listen_fds[0] = open_door();
	l = service_listen_start(&s, &door);
	/* The listener waits; then all come at once with the word to leave. */
	(void)task_yield();
	for (int i = 0; i < CLIENTS; i++)
		knock(&clients[i]);
	service_listen_stop(l);
	assert_true(service_listen_wait(l, clock_deadline(LIMIT)));
	assert_int_equal(served, CLIENTS);
	/* A second time there is nothing left to close. */
	service_listen_stop(l);
	for (int i = 0; i < CLIENTS; i++)
		(void)close(clients[i]);
	task_stop(LIMIT);
}

static void
clients_before_the_door(void **state UNUSED)
{
	task_init(NULL);
	assert_non_null(task_start("test", leave_body, NULL));
	task_run();
	task_done();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clients_before_the_door),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
