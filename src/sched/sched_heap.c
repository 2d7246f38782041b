/*
 * sched_heap.c - see sched_heap.h. Places count from 1 as in every textbook; items[0] is place 1.
 */
#include "sched/sched_heap.h"

#include "base/mem.h"
#include "sched/sched_job.h"

bool
sched_heap_before(const struct sched_destination *a, const struct sched_destination *b)
{
	const struct sched_peer *p = CONTAINER_OF(a->peers.next, struct sched_peer, by_destination);
	const struct sched_peer *q = CONTAINER_OF(b->peers.next, struct sched_peer, by_destination);

	if (p->job->rank != q->job->rank)
		return p->job->rank < q->job->rank;
	return p->turn < q->turn;
}

static void
sched_heap_put(struct sched_heap *h, size_t at, struct sched_destination *d)
{
	h->items[at - 1] = d;
	d->ready_at = at;
}

static void
sched_heap_up(struct sched_heap *h, struct sched_destination *d)
{
	size_t at = d->ready_at;

	while (at > 1 && sched_heap_before(d, h->items[at / 2 - 1])) {
		sched_heap_put(h, at, h->items[at / 2 - 1]);
		at /= 2;
	}
	sched_heap_put(h, at, d);
}

static void
sched_heap_down(struct sched_heap *h, struct sched_destination *d)
{
	size_t at = d->ready_at;

	for (;;) {
		size_t child = at * 2;

		if (child < h->count && sched_heap_before(h->items[child], h->items[child - 1]))
			child++;
		if (child > h->count || !sched_heap_before(h->items[child - 1], d))
			break;
		sched_heap_put(h, at, h->items[child - 1]);
		at = child;
	}
	sched_heap_put(h, at, d);
}

void
sched_heap_move(struct sched_heap *h, struct sched_destination *d)
{
	sched_heap_up(h, d);
	sched_heap_down(h, d);
}

void
sched_heap_add(struct sched_heap *h, struct sched_destination *d)
{
	MUST(d->ready_at == 0);
	if (h->count == h->room) {
		h->room = h->room != 0 ? h->room * 2 : 16;
		h->items = mem_resize(h->items, h->room, sizeof(struct sched_destination *));
	}
	sched_heap_put(h, ++h->count, d);
	sched_heap_up(h, d);
}

void
sched_heap_remove(struct sched_heap *h, struct sched_destination *d)
{
	size_t at = d->ready_at;
	struct sched_destination *last = h->items[h->count - 1];

	MUST(at != 0 && at <= h->count);
	h->count--;
	d->ready_at = 0;
	if (last == d)
		return;
	sched_heap_put(h, at, last);
	sched_heap_move(h, last);
}
