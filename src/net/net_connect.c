/*
 * net_connect.c - outgoing connections and listening sockets: see net_connect.h. Accepting is in net_server.c.
 */
#include "net/net_connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "net/stream.h"
#include "task/task.h"

static const struct sockaddr *
sockaddr_of(const struct net_addr *a)
{
	return (const struct sockaddr *)&a->sa;
}

/* ---- connecting ------------------------------------------------------------------------------------------------ */

/* Waits for the end of connect(); 0 or its errno, -1 when cancelled. */
static int
wait_connected(int fd, int64_t deadline)
{
	struct task_fd *watch = task_fd_new(fd);
	enum task_wait r = task_fd_wait_write(watch, deadline);
	int error = 0;
	socklen_t len = sizeof(error);

	task_fd_free(&watch);
	if (r == TASK_CANCELLED)
		return -1;
	if (r == TASK_TIMEOUT)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

static int
bind_and_connect(int fd, const struct net_addr *to, const struct net_addr *from, int64_t deadline)
{
	int on = 1;

	if (from != NULL) {
		/* The port is chosen by connect(), which can use one for several peers. */
		if (net_addr_port(from) == 0)
			(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(fd, sockaddr_of(from), from->len) != 0)
			return errno;
	}
	if (connect(fd, sockaddr_of(to), to->len) == 0)
		return 0;
	/* EAGAIN: the queue of a UNIX listener is full, which nobody tells the end of. */
	if (errno != EINPROGRESS)
		return errno == EAGAIN ? ECONNREFUSED : errno;
	return wait_connected(fd, deadline);
}

struct stream *
net_connect(
    const struct net_addr *to, const struct net_addr *from, int64_t deadline, struct err *err)
{
	int fd = socket(net_addr_family(to), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = fd >= 0 ? bind_and_connect(fd, to, from, deadline) : errno;

	if (error == 0)
		return stream_new(fd);
	if (fd >= 0)
		(void)close(fd);
	if (error < 0)
		(void)err_set(err, ERR_GONE, "4.3.2", "shutting down");
	else
		(void)err_set(err, ERR_TEMP, "4.4.1", "%s", strerror(error));
	return NULL;
}

/* ---- listening ------------------------------------------------------------------------------------------------- */

static bool
remove_old_socket(const struct net_addr *at)
{
	const char *path = ((const struct sockaddr_un *)&at->sa)->sun_path;
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return false;
	}
	return unlink(path) == 0 || errno == ENOENT;
}

static bool
listen_unix(int fd, const struct net_addr *at, int backlog, unsigned mode)
{
	const char *path = ((const struct sockaddr_un *)&at->sa)->sun_path;

	/* The mode before listen(): nobody connects while it is still wrong. */
	return remove_old_socket(at) && bind(fd, sockaddr_of(at), at->len) == 0 &&
	       chmod(path, (mode_t)mode) == 0 && listen(fd, backlog) == 0;
}

static bool
listen_inet(int fd, const struct net_addr *at, int backlog)
{
	int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (net_addr_family(at) == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	return bind(fd, sockaddr_of(at), at->len) == 0 && listen(fd, backlog) == 0;
}

int
net_listen(const struct net_addr *at, int backlog, unsigned mode, struct err *err)
{
	int fd = socket(net_addr_family(at), SOCK_STREAM | SOCK_NONBLOCK, 0);
	char text[NET_ADDR_TEXT];
	int error;

	if (fd >= 0 && (net_addr_family(at) == AF_UNIX ? listen_unix(fd, at, backlog, mode)
						       : listen_inet(fd, at, backlog)))
		return fd;
	error = errno;
	if (fd >= 0)
		(void)close(fd);
	net_addr_text(at, text, sizeof(text));
	if (net_addr_family(at) == AF_UNIX)
		(void)err_set(err, ERR_CONFIG, "4.3.5", "listen on %s: %s", text, strerror(error));
	else
		(void)err_set(err, ERR_CONFIG, "4.3.5", "listen on [%s]:%u: %s", text,
		    (unsigned)net_addr_port(at), strerror(error));
	return -1;
}
