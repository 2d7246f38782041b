/*
 * master_control.c - the socket over which `rowpost status|reload|stop|drain|logrotate` speak to master: pid/master.sock
 * below queue_directory, for root alone. One line asks, text answers, the first line of which is "ok" or "error REASON".
 * The answer to stop and drain ends, by EOF, when master does.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "master/master_client.h"
#include "master/master_int.h"

#define LINE_MAX_BYTES 256
#define ASK_TIMEOUT    (10 * CLOCK_SECOND)

struct caller {
	struct master *master;
	int fd;
	struct task_fd *watch;
};

/* ---- bytes -------------------------------------------------------------------------------------------------- */

/* One line, without its LF. */
static bool
read_line(struct caller *c, char *line, size_t size)
{
	int64_t deadline = clock_deadline(ASK_TIMEOUT);
	size_t len = 0;

	while (len < size - 1) {
		ssize_t n = read(c->fd, line + len, size - 1 - len);

		if (n > 0) {
			len += (size_t)n;
			line[len] = '\0';
			if (line[len - 1] == '\n') {
				line[len - 1] = '\0';
				return true;
			}
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			return false;
		} else if (task_fd_wait_read(c->watch, deadline) != TASK_READY) {
			return false;
		}
	}
	return false;
}

static void
write_all(struct caller *c, struct span bytes)
{
	int64_t deadline = clock_deadline(ASK_TIMEOUT);

	while (bytes.len > 0) {
		ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n > 0)
			bytes = span_from(bytes, (size_t)n);
		else if (errno != EAGAIN && errno != EINTR)
			return;
		else if (task_fd_wait_write(c->watch, deadline) != TASK_READY)
			return;
	}
}

static void
answer(struct caller *c, bool good, const struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};

	if (good)
		buf_add_str(&text, "ok\n");
	else
		buf_printf(&text, "error %s\n", err->text);
	write_all(c, buf_span(&text));
}

/* ---- questions ---------------------------------------------------------------------------------------------- */

static void
ask_status(struct caller *c)
{
	struct buf text CLEANUP(buf_done) = {0};

	buf_add_str(&text, "ok\n");
	master_status_write(c->master, &text);
	write_all(c, buf_span(&text));
}

static void
ask_reload(struct caller *c)
{
	struct err err;

	answer(c, master_reload(c->master, &err), &err);
}

static void
ask_logrotate(struct caller *c)
{
	struct err err;

	answer(c, master_postlog_reopen(c->master, &err), &err);
}

/* The caller sees EOF when this process is gone. */
static void
ask_stop(struct caller *c, enum master_end end)
{
	answer(c, true, NULL);
	master_stop(c->master, end);
	c->fd = -1;
}

static void
serve(struct caller *c, const char *line)
{
	struct err err;

	if (strcmp(line, MASTER_ASK_STATUS) == 0)
		ask_status(c);
	else if (strcmp(line, MASTER_ASK_RELOAD) == 0)
		ask_reload(c);
	else if (strcmp(line, MASTER_ASK_LOGROTATE) == 0)
		ask_logrotate(c);
	else if (strcmp(line, MASTER_ASK_STOP) == 0)
		ask_stop(c, MASTER_END_ALL);
	else if (strcmp(line, MASTER_ASK_STOP_KEEP) == 0)
		ask_stop(c, MASTER_END_KEEP_DATABASE);
	else if (strcmp(line, MASTER_ASK_ABORT) == 0)
		ask_stop(c, MASTER_END_ABORT);
	else
		answer(c, err_set(&err, ERR_PERM, "", "unknown question"), &err);
}

static void
caller_run(void *arg)
{
	struct caller *c = arg;
	char line[LINE_MAX_BYTES];

	c->watch = task_fd_new(c->fd);
	if (read_line(c, line, sizeof(line)))
		serve(c, line);
	task_fd_free(&c->watch);
	if (c->fd >= 0)
		(void)close(c->fd);
	mem_free(c);
}

/* ---- the listener ------------------------------------------------------------------------------------------- */

static bool
is_root(int fd)
{
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == 0;
}

static void
accept_one(struct master *m, int fd)
{
	struct caller *c;

	if (!is_root(fd)) {
		(void)close(fd);
		return;
	}
	c = mem_new(struct caller);
	c->master = m;
	c->fd = fd;
	if (task_start("control-caller", caller_run, c) == NULL) {
		(void)close(fd);
		mem_free(c);
	}
}

struct listener {
	struct master *master;
	int fd;
};

static void
listener_run(void *arg)
{
	struct listener *l = arg;
	struct task_fd *watch = task_fd_new(l->fd);

	for (;;) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			accept_one(l->master, fd);
		else if (errno == EMFILE || errno == ENFILE)
			(void)task_sleep_until(clock_deadline(CLOCK_SECOND));
		else if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
	}
	task_fd_free(&watch);
	(void)close(l->fd);
	mem_free(l);
}

static int
open_socket(struct err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = MASTER_CONTROL_SOCKET};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)unlink(MASTER_CONTROL_SOCKET);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
	    chmod(MASTER_CONTROL_SOCKET, 0600) != 0 || listen(fd, 16) != 0) {
		(void)err_set(
		    err, ERR_CONFIG, "", "%s: %s", MASTER_CONTROL_SOCKET, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	return fd;
}

bool
master_control_start(struct master *m, struct err *err)
{
	struct listener *l;
	int fd = open_socket(err);

	if (fd < 0)
		return false;
	l = mem_new(struct listener);
	*l = (struct listener){m, fd};
	MUST(task_start("control", listener_run, l) != NULL);
	return true;
}
