/*
 * sched_heap.h - the destinations of a transport that could take an entry now, the one whose turn it is at the top. A destination knows
 * its place in the heap (ready_at), so it can be moved and removed by itself. The order is given by sched_heap_before().
 */
#ifndef SCHED_SCHED_HEAP_H
#define SCHED_SCHED_HEAP_H

#include "base/base.h"

struct sched_destination;
struct sched_heap;

/* Is the first peer of `a` served before that of `b`? Both have one. */
bool sched_heap_before(const struct sched_destination *a, const struct sched_destination *b);

void sched_heap_add(struct sched_heap *h, struct sched_destination *d);
void sched_heap_remove(struct sched_heap *h, struct sched_destination *d);

/* The order of `d` has changed, in either direction. */
void sched_heap_move(struct sched_heap *h, struct sched_destination *d);

#endif
