/*
 * task_chan.c - bounded queues of pointers between tasks: a ring with one condition at each end.
 */
#include "base/mem.h"
#include "task/task_int.h"

struct task_chan {
	void **items; /* owned ring */
	size_t capacity;
	size_t head; /* index of the oldest item */
	size_t count;
	bool closed;
	struct task_cond has_item;
	struct task_cond has_room;
};

struct task_chan *
task_chan_new(size_t capacity)
{
	struct task_chan *c = mem_new(struct task_chan);

	MUST(capacity > 0);
	c->capacity = capacity;
	c->items = mem_resize(NULL, capacity, sizeof(*c->items));
	return c;
}

void
task_chan_free(struct task_chan **c)
{
	if (*c == NULL)
		return;
	MUST(!task_cond_has_waiters(&(*c)->has_item) && !task_cond_has_waiters(&(*c)->has_room));
	mem_free((*c)->items);
	mem_free(*c);
	*c = NULL;
}

bool
task_chan_try_send(struct task_chan *c, void *item)
{
	if (c->closed || c->count == c->capacity)
		return false;
	c->items[(c->head + c->count) % c->capacity] = item;
	c->count++;
	task_cond_wake_one(&c->has_item);
	return true;
}

bool
task_chan_try_receive(struct task_chan *c, void **ret_item)
{
	if (c->count == 0)
		return false;
	*ret_item = c->items[c->head];
	c->head = (c->head + 1) % c->capacity;
	c->count--;
	task_cond_wake_one(&c->has_room);
	return true;
}

enum task_wait
task_chan_send(struct task_chan *c, void *item, int64_t deadline)
{
	if (task_is_cancelled())
		return TASK_CANCELLED;
	while (!task_chan_try_send(c, item)) {
		enum task_wait r =
		    c->closed ? TASK_CANCELLED : task_cond_wait(&c->has_room, deadline);

		if (r != TASK_READY)
			return r;
	}
	return TASK_READY;
}

enum task_wait
task_chan_receive(struct task_chan *c, void **ret_item, int64_t deadline)
{
	if (task_is_cancelled())
		return TASK_CANCELLED;
	while (!task_chan_try_receive(c, ret_item)) {
		enum task_wait r =
		    c->closed ? TASK_CANCELLED : task_cond_wait(&c->has_item, deadline);

		if (r != TASK_READY)
			return r;
	}
	return TASK_READY;
}

void
task_chan_close(struct task_chan *c)
{
	c->closed = true;
	task_cond_wake_all(&c->has_item);
	task_cond_wake_all(&c->has_room);
}

size_t
task_chan_count(const struct task_chan *c)
{
	return c->count;
}
