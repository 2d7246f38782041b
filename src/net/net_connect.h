/*
 * net_connect.h - outgoing and incoming connections.
 */
#ifndef NET_NET_CONNECT_H
#define NET_NET_CONNECT_H

#include "base/base.h"
#include "net/net_addr.h"
#include "task/task.h"

struct stream;
struct err;

/*
 * Connects to `to`, from `from` unless NULL (its port may be 0). NULL on failure with err->text = the plain reason
 * ("Connection refused", "Connection timed out", ...), ERR_TEMP; ERR_CONFIG when `from` cannot be used. Waits.
 */
struct stream *net_connect(
    const struct net_addr *to, const struct net_addr *from, int64_t deadline, struct err *err);

/*
 * A listening socket (SO_REUSEADDR; non-blocking; close-on-exec off: master hands it down). -1 on failure. For UNIX
 * sockets the old file is removed and `mode` set.
 */
int net_listen(const struct net_addr *at, int backlog, unsigned mode, struct err *err);

/*
 * Accepts on the listening descriptor `fd` for ever, starting a task session(stream, peer, arg) per connection, at most
 * `limit` at once (0 = no limit); at the limit new connections wait in the kernel's queue. Ends when cancelled. The session
 * owns its stream. Waits. Resource trouble (EMFILE, the task limit) pauses accepting for a second and is logged.
 */
struct net_server {
	int fd;
	size_t limit;
	const char *task_name;
	void (*session)(struct stream *s, const struct net_addr *peer, void *arg);
	void *arg;
	/* read only; sessions count themselves out here, so the struct outlives them all */
	size_t alive;
	struct task_cond freed; /* private: a session ended */
};
void net_server_run(struct net_server *server);

/*
 * For a process that leaves, after net_server_run(): serves the connections that wait in the kernel's queue, whatever the limit,
 * and closes the descriptor. What waits there when the last process closes it is reset; so it must not lie open for long. Never waits.
 */
void net_server_leave(struct net_server *server);

#endif
