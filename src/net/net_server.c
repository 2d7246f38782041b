/*
 * net_server.c - accepting connections: see net_connect.h. Several processes may accept on one socket; each takes a few
 * connections and lets its sessions and the other processes have a turn.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/net_connect.h"
#include "net/stream.h"

#define ACCEPT_BURST 16

/* After which accepting is tried again when descriptors or tasks have run out. */
#define TROUBLE_PAUSE CLOCK_SECOND

struct session_start {
	struct net_server *server; /* borrowed */
	int fd;
	struct net_addr peer;
};

static void
session_run(void *arg)
{
	struct session_start *start = arg;
	struct net_server *server = start->server;

	server->session(stream_new(start->fd), &start->peer, server->arg);
	mem_free(start);
	server->alive--;
	task_cond_wake_one(&server->freed);
}

/* False when no task can be had: the connection is closed. */
static bool
start_session(struct net_server *server, int fd, const struct net_addr *peer)
{
	struct session_start *start = mem_new(struct session_start);

	*start = (struct session_start){.server = server, .fd = fd, .peer = *peer};
	if (task_start(server->task_name, session_run, start) == NULL) {
		(void)close(fd);
		mem_free(start);
		return false;
	}
	server->alive++;
	return true;
}

static enum task_wait
pause_for(struct net_server *server, const char *why)
{
	enum task_wait r;

	log_warn("%s: cannot accept connections: %s", server->task_name, why);
	r = task_sleep_until(clock_deadline(TROUBLE_PAUSE));
	return r == TASK_TIMEOUT ? TASK_READY : r;
}

/* What accept4() reports of connections that are already gone again, and of the network in general (accept(2)). */
static bool
is_passing(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENONET:
		return true;
	default:
		return false;
	}
}

/* Accepts one connection, or waits for the reason why it cannot. */
static enum task_wait
accept_one(struct net_server *server, struct task_fd *watch)
{
	struct net_addr peer = {.len = sizeof(peer.sa)};
	int fd = accept4(
	    server->fd, (struct sockaddr *)&peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		return start_session(server, fd, &peer) ? TASK_READY
							: pause_for(server, "no task left");
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return task_fd_wait_read(watch, CLOCK_NEVER);
	if (is_passing(errno))
		return task_yield();
	return pause_for(server, strerror(errno));
}

void
net_server_leave(struct net_server *server)
{
	struct net_addr peer = {.len = sizeof(peer.sa)};
	int fd;

	while ((fd = accept4(server->fd, (struct sockaddr *)&peer.sa, &peer.len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (!start_session(server, fd, &peer))
			break;
		peer = (struct net_addr){.len = sizeof(peer.sa)};
	}
	(void)close(server->fd);
	server->fd = -1;
}

void
net_server_run(struct net_server *server)
{
	struct task_fd *watch = task_fd_new(server->fd);
	enum task_wait r = TASK_READY;

	for (unsigned n = 1; r == TASK_READY; n++) {
		if (server->limit != 0 && server->alive >= server->limit)
			r = task_cond_wait(&server->freed, CLOCK_NEVER);
		else if (n % ACCEPT_BURST == 0)
			r = task_yield();
		else
			r = accept_one(server, watch);
	}
	task_fd_free(&watch);
}
