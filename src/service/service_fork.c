/*
 * service_fork.c - see service_fork.h.
 */
#include "service/service_fork.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "service/delivery.h"
#include "service/link.h"
#include "task/task.h"

/* So many descriptors in a row that are not open: there are no more. */
#define SERVICE_FORK_GAP 4096

struct service_forking {
	void (*body)(void *arg, int fd);
	void *arg;
	struct task_cond done;
	pid_t pid; /* 0: not yet; -1: cannot */
	int error; /* errno of that */
	int fd;
};

/* Files are the log and locks; the way to syslog is a datagram socket. */
static bool
service_fork_may_keep(int fd, const struct stat *st)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (S_ISREG(st->st_mode) || S_ISCHR(st->st_mode))
		return true;
	return S_ISSOCK(st->st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	       type == SOCK_DGRAM;
}

static void
service_fork_close_rest(int keep)
{
	int top = (int)sysconf(_SC_OPEN_MAX);

	for (int fd = STDERR_FILENO + 1, missed = 0; fd < top && missed < SERVICE_FORK_GAP; fd++) {
		struct stat st;

		missed++;
		if (fd == keep || fstat(fd, &st) != 0)
			continue;
		missed = 0;
		if (!service_fork_may_keep(fd, &st))
			(void)close(fd);
	}
}

static void
service_fork_reset_signals(void)
{
	sigset_t none;

	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
service_fork_now(void *arg)
{
	struct service_forking *f = arg;
	int pair[2];

	log_flush();
	task_cond_wake_all(&f->done);
	f->pid = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		f->error = errno;
		return;
	}
	f->pid = fork();
	if (f->pid == 0) {
		service_fork_reset_signals();
		service_fork_close_rest(pair[1]);
		log_buffered(false);
		f->body(f->arg, pair[1]);
		UNREACHED();
	}
	f->error = errno;
	f->fd = pair[0];
	(void)close(pair[1]);
	if (f->pid < 0)
		(void)close(pair[0]);
	else
		(void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
}

pid_t
service_fork(void (*body)(void *arg, int fd), void *arg, int *ret_fd, struct err *err)
{
	struct service_forking f = {.body = body, .arg = arg};
	struct task_hook hook = {.fn = service_fork_now, .arg = &f};

	task_hook_at_turn_end(&hook);
	task_shield(true);
	while (f.pid == 0)
		(void)task_cond_wait(&f.done, CLOCK_NEVER);
	task_shield(false);
	if (f.pid < 0) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "%s", strerror(f.error));
		return 0;
	}
	*ret_fd = f.fd;
	return f.pid;
}

/* ---- in the process ------------------------------------------------------------------------------------------------ */

NO_RETURN static void
service_fork_end(void)
{
	log_flush();
	_exit(EX_OK);
}

static void
service_fork_read(int fd, void *ptr, size_t len)
{
	char *at = ptr;

	while (len > 0) {
		ssize_t n = recv(fd, at, len, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			service_fork_end();
		at += n;
		len -= (size_t)n;
	}
}

static void
service_fork_write(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			service_fork_end();
		bytes = span_from(bytes, (size_t)n);
	}
}

void
service_fork_send(int fd, uint8_t type, struct span payload)
{
	struct buf frame CLEANUP(buf_done) = {0};

	buf_add_u32(&frame, (uint32_t)(payload.len + LINK_HEAD_SIZE - 4));
	buf_add_u8(&frame, type);
	buf_add_u32(&frame, 0);
	buf_add_span(&frame, payload);
	service_fork_write(fd, buf_span(&frame));
}

void
service_fork_receive(int fd, uint8_t type, struct buf *ret)
{
	unsigned char head[LINK_HEAD_SIZE];
	size_t len;

	service_fork_read(fd, head, sizeof(head));
	len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	MUST(
	    head[4] == type && len >= sizeof(head) - 4 && len <= DELIVERY_FRAME_MAX + sizeof(head));
	len -= sizeof(head) - 4;
	buf_clear(ret);
	service_fork_read(fd, buf_room(ret, len), len);
	buf_added(ret, len);
}
