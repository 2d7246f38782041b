/*
 * task_fd.c - waiting for descriptors. Each is registered edge-triggered for reading once; an edge that nobody waits for
 * is remembered until somebody does. Writing is watched from the first time that somebody had to wait for it, until an
 * edge comes that nobody wanted: a UNIX socket gives one for each read of its peer.
 */
#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/mem.h"
#include "task/task_int.h"

struct task_fd {
	int fd;
	uint64_t generation; /* of the loop that watches it */
	bool can_read;       /* an edge came since the last wait */
	bool can_write;
	bool closed;   /* the peer will send no more: what is left can be read without waiting */
	bool is_plain; /* a file, which epoll does not take: always ready */
	bool watches_write;
	struct task *reader; /* waits to read; NULL: nobody */
	struct task *writer;
	struct event read_event;
	struct event *write_event; /* owned; NULL until needed */
};

static void
wake_waiter(struct task *t)
{
	if (t != NULL)
		(void)task_wake(t, TASK_READY);
}

static void
on_readable(evutil_socket_t fd UNUSED, short what, void *arg)
{
	struct task_fd *f = arg;

	f->can_read = true;
	if ((what & EV_CLOSED) != 0)
		f->closed = true;
	wake_waiter(f->reader);
}

static void
on_writable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct task_fd *f = arg;

	f->can_write = true;
	if (f->writer == NULL) {
		(void)event_del(f->write_event);
		f->watches_write = false;
	}
	wake_waiter(f->writer);
}

struct task_fd *
task_fd_new(int fd)
{
	struct task_fd *f = mem_new(struct task_fd);

	MUST(task_loop.base != NULL);
	f->fd = fd;
	f->generation = task_loop.generation;
	MUST(event_assign(&f->read_event, task_loop.base, fd,
		 EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_readable, f) == 0);
	f->is_plain = event_add(&f->read_event, NULL) != 0;
	return f;
}

void
task_fd_free(struct task_fd **f)
{
	struct task_fd *gone = *f;

	if (gone == NULL)
		return;
	MUST(gone->reader == NULL && gone->writer == NULL);
	*f = NULL;
	/* After fork() and task_init() the events belong to a loop that is no more. */
	if (gone->generation == task_loop.generation) {
		(void)event_del(&gone->read_event);
		if (gone->write_event != NULL)
			event_free(gone->write_event);
	}
	mem_free(gone);
}

static void
watch_write(struct task_fd *f)
{
	if (f->watches_write)
		return;
	if (f->write_event == NULL) {
		f->write_event =
		    event_new(task_loop.base, f->fd, EV_WRITE | EV_ET | EV_PERSIST, on_writable, f);
		MUST(f->write_event != NULL);
	}
	MUST(event_add(f->write_event, NULL) == 0);
	f->watches_write = true;
}

enum task_wait
task_fd_wait_read(struct task_fd *f, int64_t deadline)
{
	enum task_wait r = TASK_READY;

	if (task_is_cancelled())
		return TASK_CANCELLED;
	if (!f->can_read && !f->closed && !f->is_plain) {
		MUST(f->reader == NULL);
		f->reader = task_self();
		r = task_park(deadline);
		f->reader = NULL;
	}
	if (r == TASK_READY)
		f->can_read = false;
	return r;
}

enum task_wait
task_fd_wait_write(struct task_fd *f, int64_t deadline)
{
	enum task_wait r = TASK_READY;

	if (task_is_cancelled())
		return TASK_CANCELLED;
	if (!f->can_write && !f->is_plain) {
		MUST(f->writer == NULL);
		watch_write(f);
		f->writer = task_self();
		r = task_park(deadline);
		f->writer = NULL;
	}
	if (r == TASK_READY)
		f->can_write = false;
	return r;
}

enum task_wait
task_fd_wait_any(struct task_fd *f, int64_t deadline)
{
	enum task_wait r = TASK_READY;

	if (task_is_cancelled())
		return TASK_CANCELLED;
	if (!f->can_read && !f->closed && !f->can_write && !f->is_plain) {
		MUST(f->reader == NULL && f->writer == NULL);
		watch_write(f);
		f->reader = f->writer = task_self();
		r = task_park(deadline);
		f->reader = f->writer = NULL;
	}
	if (r == TASK_READY)
		f->can_read = f->can_write = false;
	return r;
}
