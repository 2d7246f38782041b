/*
 * db_cancel.c - cancelling a statement without blocking. libpq 15 offers only PQcancel(), which connects, sends and
 * reads with blocking calls: against a database host that has just died that stops every session of the process. So the
 * packet goes out over a socket of ours. The secret key it needs is not to be had from libpq either, except that
 * PQtrace() prints every message of the connection's start; db_connect.c reads it from there.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "db/db_int.h"
#include "task/task.h"

#define CANCEL_REQUEST_CODE                                                                        \
	80877102 /* (1234 << 16) | 5678, protocol chapter "Canceling Requests" */
#define CANCEL_PATIENCE (1 * CLOCK_SECOND)

bool
db_cancel_key_parse(const char *trace, uint32_t *ret_pid, uint32_t *ret_secret)
{
	/* "B	12	BackendKeyData	 pid secret", the numbers being signed */
	const char *at = strstr(trace, "\tBackendKeyData\t");
	int32_t pid;
	int32_t secret;

	if (at == NULL)
		return false;
	at += strlen("\tBackendKeyData\t");
	if (sscanf(at, "%" SCNd32 " %" SCNd32, &pid, &secret) != 2)
		return false;
	*ret_pid = (uint32_t)pid;
	*ret_secret = (uint32_t)secret;
	return true;
}

/* Connects `fd` to the server. Waits. */
static bool
cancel_connect(int fd, struct task_fd *watch, const struct db_cancel_key *key, int64_t deadline)
{
	const struct sockaddr *addr = (const void *)&key->addr;
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t len = sizeof(error);

	if (connect(fd, addr, key->addr_len) == 0)
		return true;
	if (errno != EINPROGRESS)
		return false;
	while (poll(&ready, 1, 0) == 0)
		if (task_fd_wait_write(watch, deadline) != TASK_READY)
			return false;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
}

/* The server closes the connection once it has signalled the backend: only then is it certain to have been heard. */
static bool
cancel_await_end(int fd, struct task_fd *watch, int64_t deadline)
{
	char byte;

	for (;;) {
		ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

		if (n == 0)
			return true;
		if (n > 0 || errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return false;
		if (task_fd_wait_read(watch, deadline) != TASK_READY)
			return false;
	}
}

static bool
cancel_over(int fd, struct task_fd *watch, const struct db_cancel_key *key, int64_t deadline)
{
	struct buf packet CLEANUP(buf_done) = {0};

	if (!cancel_connect(fd, watch, key, deadline))
		return false;
	buf_add_u32(&packet, 16);
	buf_add_u32(&packet, CANCEL_REQUEST_CODE);
	buf_add_u32(&packet, key->pid);
	buf_add_u32(&packet, key->secret);
	/* Sixteen bytes always fit an empty socket buffer. */
	if (send(fd, packet.ptr, packet.len, MSG_NOSIGNAL) != (ssize_t)packet.len)
		return false;
	return cancel_await_end(fd, watch, deadline);
}

bool
db_cancel_send(const struct db_cancel_key *key, int64_t deadline)
{
	struct task_fd *watch;
	bool done;
	int fd;

	if (key->addr_len == 0)
		return false;
	fd = socket(key->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	watch = task_fd_new(fd);
	done = cancel_over(fd, watch, key, deadline);
	task_fd_free(&watch);
	close(fd);
	return done;
}

static void
cancel_task(void *arg)
{
	struct db_cancel_key *key = arg;

	(void)db_cancel_send(key, clock_deadline(CANCEL_PATIENCE));
	mem_free(key);
}

void
db_cancel_start(const struct db_cancel_key *key)
{
	struct db_cancel_key *copy;

	if (key->addr_len == 0)
		return;
	copy = mem_new(struct db_cancel_key);
	*copy = *key;
	if (task_start("db-cancel", cancel_task, copy) == NULL)
		mem_free(copy);
}
