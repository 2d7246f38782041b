/*
 * qmgr_heap.h - the destinations of a transport that could take an entry now, the one whose turn it is at the top. A destination knows
 * its place in the heap (ready_at), so it can be moved and removed by itself. The order is given by qmgr_heap_before().
 */
#ifndef QMGR_QMGR_HEAP_H
#define QMGR_QMGR_HEAP_H

#include "base/base.h"

struct qmgr_destination;
struct qmgr_heap;

/* Is the first peer of `a` served before that of `b`? Both have one. */
bool qmgr_heap_before(const struct qmgr_destination *a, const struct qmgr_destination *b);

void qmgr_heap_add(struct qmgr_heap *h, struct qmgr_destination *d);
void qmgr_heap_remove(struct qmgr_heap *h, struct qmgr_destination *d);

/* The order of `d` has changed, in either direction. */
void qmgr_heap_move(struct qmgr_heap *h, struct qmgr_destination *d);

#endif
