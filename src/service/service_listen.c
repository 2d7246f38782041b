/*
 * service_listen.c - see service_listen.h.
 */
#include "service/service_listen.h"

#include "base/mem.h"
#include "task/task.h"

struct service_door {
	struct net_server net;
	struct task *task; /* NULL: it is closed */
};

struct service_listen {
	struct service_door *doors; /* owned; made once, as tasks point into it */
	size_t count;
	struct task_group listeners;
};

static void
service_listen_run(void *arg)
{
	struct service_door *d = arg;

	net_server_run(&d->net);
	net_server_leave(&d->net);
	d->task = NULL;
}

struct service_listen *
service_listen_start(const struct service *s, const struct net_server *like)
{
	struct service_listen *l = mem_new(struct service_listen);

	l->count = s->listen_count;
	l->doors = mem_zalloc(l->count * sizeof(*l->doors));
	for (size_t i = 0; i < l->count; i++) {
		struct service_door *d = &l->doors[i];

		d->net = *like;
		d->net.fd = s->listen_fds[i];
		d->task = task_group_start(&l->listeners, "listener", service_listen_run, d);
	}
	return l;
}

void
service_listen_stop(struct service_listen *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->doors[i].task != NULL)
			task_cancel(l->doors[i].task);
	(void)task_group_wait(&l->listeners, CLOCK_NEVER);
}

bool
service_listen_wait(struct service_listen *l, int64_t deadline)
{
	for (size_t i = 0; i < l->count; i++) {
		struct net_server *net = &l->doors[i].net;

		while (net->alive > 0)
			if (task_cond_wait(&net->freed, deadline) != TASK_READY)
				return false;
	}
	return true;
}
