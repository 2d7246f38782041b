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
#include "net/net_int.h"
#include "task/task.h"

static const struct sockaddr *
sockaddr_of(const struct net_addr *a)
{
	return (const struct sockaddr *)&a->sa;
}

/* ---- connecting ------------------------------------------------------------------------------------------------ */

/* Not an errno: the task was cancelled. */
#define CANCELLED (-1)

/* Waits for the end of connect(); 0, its errno or CANCELLED. */
static int
wait_connected(int fd, struct task_fd *watch, int64_t deadline)
{
	int error = 0;
	socklen_t len = sizeof(error);

	switch (task_fd_wait_write(watch, deadline)) {
	case TASK_CANCELLED:
		return CANCELLED;
	case TASK_TIMEOUT:
		return ETIMEDOUT;
	case TASK_READY:
		break;
	}
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

static int
bind_to(int fd, const struct net_addr *from)
{
	int on = 1;

	/* The port is chosen by connect(), which can use one for several peers. */
	if (net_addr_port(from) == 0)
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(fd, sockaddr_of(from), from->len) == 0 ? 0 : errno;
}

/* 0, an errno or CANCELLED. *ret_watch is set as soon as there is something to watch. */
static int
connect_to(int fd, const struct net_addr *to, int64_t deadline, struct task_fd **ret_watch)
{
	int error = connect(fd, sockaddr_of(to), to->len) == 0 ? 0 : errno;

	/* The queue of a UNIX listener is full, and nothing would tell when it is not. */
	if (error == EAGAIN)
		return ECONNREFUSED;
	if (error != 0 && error != EINPROGRESS)
		return error;
	*ret_watch = task_fd_new(fd);
	return error == 0 ? 0 : wait_connected(fd, *ret_watch, deadline);
}

static bool
bind_failed(const struct net_addr *from, int error, struct err *err)
{
	char text[NET_ADDR_TEXT];

	net_addr_text(from, text, sizeof(text));
	return err_set(err, ERR_CONFIG, "4.4.0", "bind %s: %s", text, strerror(error));
}

struct stream *
net_connect(
    const struct net_addr *to, const struct net_addr *from, int64_t deadline, struct err *err)
{
	int fd = socket(net_addr_family(to), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int bind_error = fd >= 0 && from != NULL ? bind_to(fd, from) : 0;
	int error = fd < 0 ? errno : bind_error;
	struct task_fd *watch = NULL;

	if (error == 0)
		error = connect_to(fd, to, deadline, &watch);
	if (error == 0)
		return stream_new_watched(fd, watch);
	task_fd_free(&watch);
	if (fd >= 0)
		(void)close(fd);
	if (bind_error != 0)
		(void)bind_failed(from, bind_error, err);
	else if (error == CANCELLED)
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
