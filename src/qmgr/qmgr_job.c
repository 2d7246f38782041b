/*
 * qmgr_job.c - see qmgr_job.h: jobs and peers, and which entry is next. Their order, and who may overtake whom: qmgr_job_order.c.
 */
#include "qmgr/qmgr_job.h"

#include "base/mem.h"
#include "qmgr/qmgr_heap.h"
#include "qmgr/qmgr_job_order.h"

void
qmgr_entry_free(struct qmgr_entry **e)
{
	if (*e == NULL)
		return;
	MUST(!list_is_linked(&(*e)->node));
	mem_free((*e)->rcpts);
	mem_free(*e);
	*e = NULL;
}

void
qmgr_job_init_transport(struct qmgr_transport *t)
{
	list_init(&t->jobs);
	list_init(&t->jobs_by_time);
	list_init(&t->dead);
	list_init(&t->suspended);
	list_init(&t->agents);
}

void
qmgr_job_done_transport(struct qmgr_transport *t)
{
	MUST(list_is_empty(&t->jobs) && t->ready.count == 0);
	mem_free(t->ready.items);
}

void
qmgr_job_init_destination(struct qmgr_destination *d, struct qmgr_transport *t)
{
	d->transport = t;
	list_init(&d->peers);
	d->cluster_slots = t->cluster_limit > 0 ? 0 : -1;
	qmgr_window_init(&d->window, &t->limits);
}

/* ---- ready or not ------------------------------------------------------------------------------------------------ */

static bool
qmgr_job_is_ready(const struct qmgr_destination *d)
{
	if (d->failure.on || list_is_linked(&d->suspended) || list_is_empty(&d->peers))
		return false;
	if (d->cluster_slots >= 0 && d->busy >= d->cluster_slots)
		return false;
	return d->transport->limits.limit == 0 || d->busy < d->window.window;
}

void
qmgr_job_check(struct qmgr_destination *d)
{
	struct qmgr_heap *h = &d->transport->ready;

	if (!qmgr_job_is_ready(d)) {
		if (d->ready_at != 0)
			qmgr_heap_remove(h, d);
		return;
	}
	if (d->ready_at == 0)
		qmgr_heap_add(h, d);
	else
		qmgr_heap_move(h, d);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static struct qmgr_job *
qmgr_job_new(struct qmgr_transport *t, const struct qmgr_job_owner *owner)
{
	struct qmgr_job *job = mem_new(struct qmgr_job);

	job->transport = t;
	job->message = owner->message;
	job->queued = owner->queued;
	list_init(&job->peers);
	list_init(&job->children);
	qmgr_job_order_append(job);
	list_add(&t->jobs_by_time, &job->by_time);
	list_add(owner->jobs, &job->siblings);
	return job;
}

/* The job of this message on `t`; a message has few. */
static struct qmgr_job *
qmgr_job_of(struct qmgr_transport *t, const struct qmgr_job_owner *owner)
{
	LIST_FOREACH (job, owner->jobs, struct qmgr_job, siblings) {
		if (job->transport == t)
			return job;
	}
	return qmgr_job_new(t, owner);
}

static void
qmgr_job_free(struct qmgr_job *job)
{
	struct qmgr_transport *t = job->transport;

	MUST(list_is_empty(&job->peers));
	qmgr_job_order_leave(job);
	if (t->look_at == job)
		t->look_at = job->by_time.next != &t->jobs_by_time
				 ? CONTAINER_OF(job->by_time.next, struct qmgr_job, by_time)
				 : NULL;
	list_remove(&job->node);
	list_remove(&job->by_time);
	list_remove(&job->siblings);
	mem_free(job);
}

/* ---- peers and entries ------------------------------------------------------------------------------------------- */

/* The peer of `job` for `d`: looked for from the end, since most additions are to the youngest job. */
static struct qmgr_peer *
qmgr_peer_for(struct qmgr_job *job, struct qmgr_destination *d)
{
	struct list *at = d->peers.prev;
	struct qmgr_peer *peer;

	for (; at != &d->peers; at = at->prev) {
		peer = CONTAINER_OF(at, struct qmgr_peer, by_destination);
		if (peer->job == job)
			return peer;
		if (peer->job->rank < job->rank)
			break;
	}
	peer = mem_new(struct qmgr_peer);
	peer->job = job;
	peer->destination = d;
	list_init(&peer->entries);
	list_add(&job->peers, &peer->by_job);
	list_insert_before(at->next, &peer->by_destination); /* J2 */
	return peer;
}

/* J3. The destination is to be checked afterwards. */
static void
qmgr_peer_leave(struct qmgr_peer *peer)
{
	struct qmgr_job *job = peer->job;

	if (!list_is_empty(&peer->entries))
		return;
	list_remove(&peer->by_job);
	list_remove(&peer->by_destination);
	mem_free(peer);
	if (list_is_empty(&job->peers))
		qmgr_job_free(job);
}

/* The last waiting entry of the peer if it has room for one more recipient, else a new one. */
static struct qmgr_entry *
qmgr_entry_for(struct qmgr_peer *peer, bool singly)
{
	size_t limit = singly ? 1 : peer->destination->transport->recipient_limit;
	struct qmgr_entry *e = NULL;

	if (!list_is_empty(&peer->entries))
		e = CONTAINER_OF(peer->entries.prev, struct qmgr_entry, node);
	if (e != NULL && (limit == 0 || e->rcpt_count < limit))
		return e;
	e = mem_new(struct qmgr_entry);
	e->destination = peer->destination;
	e->message = peer->job->message;
	e->peer = peer;
	list_add(&peer->entries, &e->node);
	peer->job->entries++;
	peer->destination->todo_count++;
	return e;
}

void
qmgr_job_add(struct qmgr_destination *d, const struct qmgr_job_owner *owner, uint32_t rcpt)
{
	struct qmgr_job *job = qmgr_job_of(d->transport, owner);
	struct qmgr_entry *e = qmgr_entry_for(qmgr_peer_for(job, d), owner->singly);

	job->unread = owner->unread;
	/* Grown by doubling: entries of large lists reach the recipient limit one by one. */
	if ((e->rcpt_count & (e->rcpt_count - 1)) == 0)
		e->rcpts = mem_resize(
		    e->rcpts, e->rcpt_count != 0 ? e->rcpt_count * 2 : 1, sizeof(*e->rcpts));
	e->rcpts[e->rcpt_count++] = rcpt;
	d->transport->waiting++;
	qmgr_job_check(d);
}

struct qmgr_entry *
qmgr_job_first(const struct qmgr_destination *d)
{
	struct qmgr_peer *peer = LIST_FIRST(&d->peers, struct qmgr_peer, by_destination);

	return peer != NULL ? LIST_FIRST(&peer->entries, struct qmgr_entry, node) : NULL;
}

static void
qmgr_entry_leave(struct qmgr_entry *e)
{
	struct qmgr_peer *peer = e->peer;

	list_remove(&e->node);
	e->peer = NULL;
	e->destination->todo_count--;
	e->destination->transport->waiting -= e->rcpt_count;
	qmgr_peer_leave(peer);
	qmgr_job_check(e->destination);
}

struct qmgr_destination *
qmgr_job_next(const struct qmgr_transport *t)
{
	return t->ready.count != 0 ? t->ready.items[0] : NULL;
}

struct qmgr_entry *
qmgr_job_take(struct qmgr_destination *d)
{
	struct qmgr_entry *e = qmgr_job_first(d);

	MUST(e != NULL);
	e->peer->job->selected++;
	e->peer->job->slots++;
	e->peer->turn = ++d->transport->turn;
	d->busy++;
	qmgr_entry_leave(e);
	return e;
}

void
qmgr_job_withdraw(struct qmgr_entry *e)
{
	e->peer->job->entries--;
	qmgr_entry_leave(e);
}
