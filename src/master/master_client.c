/*
 * master_client.c - see master_client.h.
 */
#include "master/master_client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/span.h"

static int
open_below(const struct conf *c, const char *name, int flags)
{
	struct buf path CLEANUP(buf_done) = {0};

	buf_printf(&path, "%s/%s", conf_str(c, CONF_queue_directory), name);
	return open(buf_str(&path), flags | O_CLOEXEC | O_NOFOLLOW);
}

/* True when somebody holds a lock that `how` (LOCK_SH, LOCK_EX) is not compatible with. */
static bool
is_locked(int fd, int how)
{
	if (flock(fd, how | LOCK_NB) == 0) {
		(void)flock(fd, LOCK_UN);
		return false;
	}
	return errno == EWOULDBLOCK;
}

pid_t
master_client_pid(const struct conf *c)
{
	char text[32] = "";
	uint64_t pid = 0;
	int fd = open_below(c, MASTER_PID_FILE, O_RDONLY);

	if (fd < 0)
		return 0;
	if (is_locked(fd, LOCK_SH) && read(fd, text, sizeof(text) - 1) > 0)
		(void)!span_number(span_trim(span_str(text)), INT32_MAX, &pid);
	(void)close(fd);
	return (pid_t)pid;
}

bool
master_client_has_processes(const struct conf *c)
{
	int fd = open_below(c, MASTER_PROCESS_LOCK, O_RDONLY);
	bool locked;

	if (fd < 0)
		return false;
	locked = is_locked(fd, LOCK_EX);
	(void)close(fd);
	return locked;
}

/* Connects by way of /proc/self/fd, so that a long queue_directory does no harm. */
static int
connect_master(const struct conf *c, int seconds, struct err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = seconds};
	struct buf path CLEANUP(buf_done) = {0};
	int dir = open_below(c, "pid", O_RDONLY | O_DIRECTORY);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = false;

	if (dir >= 0 && fd >= 0) {
		buf_printf(
		    &path, "/proc/self/fd/%d/%s", dir, strrchr(MASTER_CONTROL_SOCKET, '/') + 1);
		memcpy(sa.sun_path, path.ptr, path.len + 1);
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		good = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
	}
	if (!good) {
		(void)err_set(err, ERR_TEMP, "", "%s/%s: %s", conf_str(c, CONF_queue_directory),
		    MASTER_CONTROL_SOCKET, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		fd = -1;
	}
	if (dir >= 0)
		(void)close(dir);
	return fd;
}

static bool
converse(int fd, const char *question, struct buf *text, struct err *err)
{
	struct buf line CLEANUP(buf_done) = {0};
	char room[4096];
	ssize_t n;

	buf_printf(&line, "%s\n", question);
	if (send(fd, line.ptr, line.len, MSG_NOSIGNAL) != (ssize_t)line.len)
		return err_set(err, ERR_TEMP, "", "master does not listen: %s", strerror(errno));
	while ((n = recv(fd, room, sizeof(room), 0)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			buf_add(text, room, (size_t)n);
	if (n < 0)
		return err_set(err, ERR_TEMP, "", "no answer from master: %s", strerror(errno));
	return true;
}

bool
master_client_ask(
    const struct conf *c, const char *question, int seconds, struct buf *ret, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};
	int fd = connect_master(c, seconds, err);
	struct span all, line;
	bool good;

	if (fd < 0)
		return false;
	good = converse(fd, question, &text, err);
	(void)close(fd);
	if (!good)
		return false;
	all = buf_span(&text);
	line = span_head(all, span_find(all, '\n'));
	if (span_starts(line, "error "))
		return err_set(err, ERR_PERM, "", "%.*s", SPAN_ARG(span_from(line, 6)));
	if (!span_equal_str(line, "ok"))
		return err_set(err, ERR_TEMP, "", "master went away without an answer");
	buf_add_span(ret, span_from(all, line.len + 1));
	return true;
}
