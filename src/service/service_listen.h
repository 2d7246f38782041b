/*
 * service_listen.h - all sockets that master handed down to a service, a session for each connection.
 */
#ifndef SERVICE_SERVICE_LISTEN_H
#define SERVICE_SERVICE_LISTEN_H

#include "net/net_connect.h"
#include "service/service.h"

struct service_listen;

/* Accepts on all of them from now on. `like`: limit (of each socket), task_name, session and arg. Lives as long as the process. */
struct service_listen *service_listen_start(const struct service *s, const struct net_server *like);

/* For a process that leaves: what waits in the kernel's queues is served still, nothing after it. Waits until the doors are closed. */
void service_listen_stop(struct service_listen *l);

/* Waits until all sessions have ended, those that have not begun yet too. False: not so by `deadline`, or the task was cancelled. */
bool service_listen_wait(struct service_listen *l, int64_t deadline);

#endif
