/*
 * test_service_control.c - the words between master and a service, descriptors along with them, and the end of one side.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/service_control.h"

static void
open_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
}

static void
words_arrive_one_by_one(void **state UNUSED)
{
	enum service_message message;
	int pair[2], fd;

	open_pair(pair);
	assert_false(service_control_receive(pair[1], &message, &fd));
	assert_true(service_control_send(pair[0], SERVICE_RELOAD, -1));
	assert_true(service_control_send(pair[0], SERVICE_LEAVE, -1));
	assert_true(service_control_receive(pair[1], &message, &fd));
	assert_int_equal(message, SERVICE_RELOAD);
	assert_int_equal(fd, -1);
	assert_true(service_control_receive(pair[1], &message, &fd));
	assert_int_equal(message, SERVICE_LEAVE);
	assert_false(service_control_receive(pair[1], &message, &fd));
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void
a_descriptor_comes_along(void **state UNUSED)
{
	enum service_message message;
	int pair[2], pipe_fds[2], fd;
	char byte = 0;

	open_pair(pair);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_true(service_control_send(pair[0], SERVICE_NEW_LOG, pipe_fds[1]));
	(void)close(pipe_fds[1]);
	assert_true(service_control_receive(pair[1], &message, &fd));
	assert_int_equal(message, SERVICE_NEW_LOG);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	(void)close(fd);
	(void)close(pipe_fds[0]);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void
the_end_of_one_side(void **state UNUSED)
{
	enum service_message message;
	int pair[2], fd;

	open_pair(pair);
	assert_true(service_control_send(pair[0], SERVICE_READY, -1));
	(void)close(pair[0]);
	assert_true(service_control_receive(pair[1], &message, &fd));
	assert_int_equal(message, SERVICE_READY);
	for (int i = 0; i < 2; i++) {
		assert_true(service_control_receive(pair[1], &message, &fd));
		assert_int_equal(message, SERVICE_GONE);
	}
	assert_false(service_control_send(pair[1], SERVICE_READY, -1));
	(void)close(pair[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(words_arrive_one_by_one),
	    cmocka_unit_test(a_descriptor_comes_along),
	    cmocka_unit_test(the_end_of_one_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
