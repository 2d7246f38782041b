/*
 * service_worker.h - forked processes that may block (service_fork.h), lent for one request at a time: made when all others are lent,
 * kept for max_idle, replaced after max_use requests, after a reload and when the log is another file. What is said goes in frames
 * of service/link.h, with delivery number 0.
 */
#ifndef SERVICE_SERVICE_WORKER_H
#define SERVICE_SERVICE_WORKER_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "service/link.h"
#include "service/service.h"

struct service_worker;
struct service_worker_pool;

struct service_worker_kind {
	const char *word; /* "lookup": what such a process is called in the log */
	/* The life of a process: receives and sends for ever. */
	void (*body)(void *arg, int fd);
};

/* At most `most` processes at once; 0: no limit. `arg` is for body(). */
struct service_worker_pool *service_worker_pool_new(
    struct service *service, const struct service_worker_kind *kind, size_t most, void *arg);

/* The configuration is another: idle processes end, those that are lent after their request. */
void service_worker_pool_renew(struct service_worker_pool *p);

/* Sends the processes away; those that are lent end after their request. Waits a little. */
void service_worker_pool_stop(struct service_worker_pool *p);

/* Lends a process. NULL: none can be made, which was logged, or none was given back until the deadline (mono us). Waits. */
struct service_worker *service_worker_take(struct service_worker_pool *p, int64_t deadline);

/* Gives it back; `usable` false: what it does is of no use any more, it is killed. */
void service_worker_give(struct service_worker **worker, bool usable);

/* The way to it, while it is lent. Its end is seen there. */
struct link *service_worker_link(const struct service_worker *w);

pid_t service_worker_pid(const struct service_worker *w);

#endif
