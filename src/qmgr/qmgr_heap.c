/*
 * qmgr_heap.c - see qmgr_heap.h. Places count from 1 as in every textbook; items[0] is place 1.
 */
#include "qmgr/qmgr_heap.h"

#include "base/mem.h"
#include "qmgr/qmgr_job.h"

bool
qmgr_heap_before(const struct qmgr_destination *a, const struct qmgr_destination *b)
{
	const struct qmgr_peer *p = CONTAINER_OF(a->peers.next, struct qmgr_peer, by_destination);
	const struct qmgr_peer *q = CONTAINER_OF(b->peers.next, struct qmgr_peer, by_destination);

	if (p->job->rank != q->job->rank)
		return p->job->rank < q->job->rank;
	return p->turn < q->turn;
}

static void
qmgr_heap_put(struct qmgr_heap *h, size_t at, struct qmgr_destination *d)
{
	h->items[at - 1] = d;
	d->ready_at = at;
}

static void
qmgr_heap_up(struct qmgr_heap *h, struct qmgr_destination *d)
{
	size_t at = d->ready_at;

	while (at > 1 && qmgr_heap_before(d, h->items[at / 2 - 1])) {
		qmgr_heap_put(h, at, h->items[at / 2 - 1]);
		at /= 2;
	}
	qmgr_heap_put(h, at, d);
}

static void
qmgr_heap_down(struct qmgr_heap *h, struct qmgr_destination *d)
{
	size_t at = d->ready_at;

	for (;;) {
		size_t child = at * 2;

		if (child < h->count && qmgr_heap_before(h->items[child], h->items[child - 1]))
			child++;
		if (child > h->count || !qmgr_heap_before(h->items[child - 1], d))
			break;
		qmgr_heap_put(h, at, h->items[child - 1]);
		at = child;
	}
	qmgr_heap_put(h, at, d);
}

void
qmgr_heap_move(struct qmgr_heap *h, struct qmgr_destination *d)
{
	qmgr_heap_up(h, d);
	qmgr_heap_down(h, d);
}

void
qmgr_heap_add(struct qmgr_heap *h, struct qmgr_destination *d)
{
	MUST(d->ready_at == 0);
	if (h->count == h->room) {
		h->room = h->room != 0 ? h->room * 2 : 16;
		h->items = mem_resize(h->items, h->room, sizeof(struct qmgr_destination *));
	}
	qmgr_heap_put(h, ++h->count, d);
	qmgr_heap_up(h, d);
}

void
qmgr_heap_remove(struct qmgr_heap *h, struct qmgr_destination *d)
{
	size_t at = d->ready_at;
	struct qmgr_destination *last = h->items[h->count - 1];

	MUST(at != 0 && at <= h->count);
	h->count--;
	d->ready_at = 0;
	if (last == d)
		return;
	qmgr_heap_put(h, at, last);
	qmgr_heap_move(h, last);
}
