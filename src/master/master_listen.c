/*
 * master_listen.c - see master_listen.h.
 */
#include "master/master_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

#define BACKLOG SOMAXCONN

struct master_socket {
	char *key; /* owned */
	int fd;    /* -1: a family that the kernel does not have */
};

static bool
fail(int fd, const struct master_want *w, const char *what, struct err *err)
{
	enum err_kind kind = errno == EADDRINUSE ? ERR_TEMP : ERR_CONFIG;

	(void)err_set(err, kind, "", "%s %s: %s", what, w->key, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return false;
}

static bool
open_inet(const struct master_want *w, int *ret_fd, struct err *err)
{
	socklen_t len =
	    w->family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int fd = socket(w->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0 && w->wildcard && errno == EAFNOSUPPORT) {
		*ret_fd = -1;
		return true;
	}
	if (fd < 0)
		return fail(fd, w, "socket for", err);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Each family has a socket of its own, so that [::] does not take the IPv4 ones. */
	if (w->family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&w->addr, len) != 0) {
		if (w->wildcard && errno == EADDRNOTAVAIL) {
			(void)close(fd);
			*ret_fd = -1;
			return true;
		}
		return fail(fd, w, "bind", err);
	}
	if (listen(fd, BACKLOG) != 0)
		return fail(fd, w, "listen on", err);
	*ret_fd = fd;
	return true;
}

/* The directories belong to root, so nobody can put something else in the place of the path meanwhile. */
static bool
open_unix(const struct master_want *w, int *ret_fd, struct err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *path = w->key + strlen("unix:");
	int fd;

	errno = ENAMETOOLONG;
	if (strlen(path) >= sizeof(sa.sun_path))
		return fail(-1, w, "bind", err);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(fd, w, "socket for", err);
	(void)unlink(path);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0)
		return fail(fd, w, "bind", err);
	if (lchown(path, w->uid, w->gid) != 0 || chmod(path, w->mode) != 0)
		return fail(fd, w, "permissions of", err);
	if (listen(fd, BACKLOG) != 0)
		return fail(fd, w, "listen on", err);
	*ret_fd = fd;
	return true;
}

static struct master_socket *
find(const struct master_sockets *set, const char *key)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->list[i].key, key) == 0)
			return &set->list[i];
	return NULL;
}

int
master_sockets_fd(const struct master_sockets *set, const char *key)
{
	const struct master_socket *s = find(set, key);

	MUST(s != NULL);
	return s->fd;
}

static void
socket_done(struct master_socket *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	mem_free(s->key);
}

static bool
open_want(struct master_sockets *set, const struct master_want *w, struct err *err)
{
	int fd;

	if (find(set, w->key) != NULL)
		return true;
	if (!(w->family == AF_UNIX ? open_unix(w, &fd, err) : open_inet(w, &fd, err)))
		return false;
	set->list = mem_resize(set->list, set->count + 1, sizeof(set->list[0]));
	set->list[set->count++] = (struct master_socket){mem_strdup(w->key), fd};
	return true;
}

bool
master_sockets_open(struct master_sockets *set, const struct master_plan *plan, struct err *err)
{
	size_t before = set->count;

	for (size_t i = 0; i < plan->count; i++) {
		const struct master_plan_service *s = &plan->services[i];

		for (size_t j = 0; j < s->want_count; j++) {
			if (open_want(set, &s->wants[j], err))
				continue;
			while (set->count > before)
				socket_done(&set->list[--set->count]);
			return false;
		}
	}
	return true;
}

static bool
is_wanted(const struct master_plan *plan, const char *key)
{
	for (size_t i = 0; plan != NULL && i < plan->count; i++)
		for (size_t j = 0; j < plan->services[i].want_count; j++)
			if (strcmp(plan->services[i].wants[j].key, key) == 0)
				return true;
	return false;
}

void
master_sockets_close(struct master_sockets *set, const struct master_plan *plan)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		if (is_wanted(plan, set->list[i].key)) {
			set->list[kept++] = set->list[i];
			continue;
		}
		if (strncmp(set->list[i].key, "unix:", 5) == 0)
			(void)unlink(set->list[i].key + 5);
		socket_done(&set->list[i]);
	}
	set->count = kept;
	if (kept == 0) {
		mem_free(set->list);
		set->list = NULL;
	}
}
