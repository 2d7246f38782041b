/*
 * sched_job.c - see sched_job.h: jobs and peers, and which entry is next. Their order, and who may overtake whom: sched_job_order.c.
 */
#include "sched/sched_job.h"

#include "base/mem.h"
#include "sched/sched_heap.h"
#include "sched/sched_job_order.h"

void
sched_entry_free(struct sched_entry **e)
{
	if (*e == NULL)
		return;
	MUST(!list_is_linked(&(*e)->node));
	mem_free((*e)->rcpts);
	mem_free(*e);
	*e = NULL;
}

void
sched_job_init_transport(struct sched_transport *t)
{
	list_init(&t->jobs);
	list_init(&t->jobs_by_time);
	list_init(&t->dead);
	list_init(&t->suspended);
	list_init(&t->agents);
}

void
sched_job_done_transport(struct sched_transport *t)
{
	MUST(list_is_empty(&t->jobs) && t->ready.count == 0);
	mem_free(t->ready.items);
}

void
sched_job_init_destination(struct sched_destination *d, struct sched_transport *t)
{
	d->transport = t;
	list_init(&d->peers);
	d->cluster_slots = t->cluster_limit > 0 ? 0 : -1;
	sched_window_init(&d->window, &t->limits);
}

/* ---- ready or not ------------------------------------------------------------------------------------------------ */

static bool
sched_job_is_ready(const struct sched_destination *d)
{
	if (d->failure.on || list_is_linked(&d->suspended) || list_is_empty(&d->peers))
		return false;
	if (d->cluster_slots >= 0 && d->busy >= d->cluster_slots)
		return false;
	return d->transport->limits.limit == 0 || d->busy < d->window.window;
}

void
sched_job_check(struct sched_destination *d)
{
	struct sched_heap *h = &d->transport->ready;

	if (!sched_job_is_ready(d)) {
		if (d->ready_at != 0)
			sched_heap_remove(h, d);
		return;
	}
	if (d->ready_at == 0)
		sched_heap_add(h, d);
	else
		sched_heap_move(h, d);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static struct sched_job *
sched_job_new(struct sched_transport *t, const struct sched_job_owner *owner)
{
	struct sched_job *job = mem_new(struct sched_job);

	job->transport = t;
	job->message = owner->message;
	job->queued = owner->queued;
	list_init(&job->peers);
	list_init(&job->children);
	sched_job_order_append(job);
	list_add(&t->jobs_by_time, &job->by_time);
	list_add(owner->jobs, &job->siblings);
	return job;
}

/* The job of this message on `t`; a message has few. */
static struct sched_job *
sched_job_of(struct sched_transport *t, const struct sched_job_owner *owner)
{
	LIST_FOREACH (job, owner->jobs, struct sched_job, siblings) {
		if (job->transport == t)
			return job;
	}
	return sched_job_new(t, owner);
}

static void
sched_job_free(struct sched_job *job)
{
	struct sched_transport *t = job->transport;

	MUST(list_is_empty(&job->peers));
	sched_job_order_leave(job);
	if (t->look_at == job)
		t->look_at = job->by_time.next != &t->jobs_by_time
				 ? CONTAINER_OF(job->by_time.next, struct sched_job, by_time)
				 : NULL;
	list_remove(&job->node);
	list_remove(&job->by_time);
	list_remove(&job->siblings);
	mem_free(job);
}

/* ---- peers and entries ------------------------------------------------------------------------------------------- */

/* The peer of `job` for `d`: looked for from the end, since most additions are to the youngest job. */
static struct sched_peer *
sched_peer_for(struct sched_job *job, struct sched_destination *d)
{
	struct list *at = d->peers.prev;
	struct sched_peer *peer;

	for (; at != &d->peers; at = at->prev) {
		peer = CONTAINER_OF(at, struct sched_peer, by_destination);
		if (peer->job == job)
			return peer;
		if (peer->job->rank < job->rank)
			break;
	}
	peer = mem_new(struct sched_peer);
	peer->job = job;
	peer->destination = d;
	list_init(&peer->entries);
	list_add(&job->peers, &peer->by_job);
	list_insert_before(at->next, &peer->by_destination); /* J2 */
	return peer;
}

/* J3. The destination is to be checked afterwards. */
static void
sched_peer_leave(struct sched_peer *peer)
{
	struct sched_job *job = peer->job;

	if (!list_is_empty(&peer->entries))
		return;
	list_remove(&peer->by_job);
	list_remove(&peer->by_destination);
	mem_free(peer);
	if (list_is_empty(&job->peers))
		sched_job_free(job);
}

/* The last waiting entry of the peer if it has room for one more recipient, else a new one. */
static struct sched_entry *
sched_entry_for(struct sched_peer *peer, const struct sched_job_owner *owner)
{
	size_t limit = owner->singly ? 1 : peer->destination->transport->recipient_limit;
	struct sched_entry *e = NULL;

	if (!list_is_empty(&peer->entries))
		e = CONTAINER_OF(peer->entries.prev, struct sched_entry, node);
	if (e != NULL && (limit == 0 || e->rcpt_count < limit) &&
	    e->bytes + owner->bytes <= SCHED_ENTRY_BYTES)
		return e;
	e = mem_new(struct sched_entry);
	e->destination = peer->destination;
	e->message = peer->job->message;
	e->peer = peer;
	list_add(&peer->entries, &e->node);
	peer->job->entries++;
	peer->destination->todo_count++;
	return e;
}

void
sched_job_add(struct sched_destination *d, const struct sched_job_owner *owner, uint32_t rcpt)
{
	struct sched_job *job = sched_job_of(d->transport, owner);
	struct sched_entry *e = sched_entry_for(sched_peer_for(job, d), owner);

	job->unread = owner->unread;
	/* Grown by doubling: entries of large lists reach the recipient limit one by one. */
	if ((e->rcpt_count & (e->rcpt_count - 1)) == 0)
		e->rcpts = mem_resize(
		    e->rcpts, e->rcpt_count != 0 ? e->rcpt_count * 2 : 1, sizeof(*e->rcpts));
	e->rcpts[e->rcpt_count++] = rcpt;
	e->bytes += owner->bytes;
	d->transport->waiting++;
	sched_job_check(d);
}

struct sched_entry *
sched_job_first(const struct sched_destination *d)
{
	struct sched_peer *peer = LIST_FIRST(&d->peers, struct sched_peer, by_destination);

	return peer != NULL ? LIST_FIRST(&peer->entries, struct sched_entry, node) : NULL;
}

static void
sched_entry_leave(struct sched_entry *e)
{
	struct sched_peer *peer = e->peer;

	list_remove(&e->node);
	e->peer = NULL;
	e->destination->todo_count--;
	e->destination->transport->waiting -= e->rcpt_count;
	sched_peer_leave(peer);
	sched_job_check(e->destination);
}

struct sched_destination *
sched_job_next(const struct sched_transport *t)
{
	return t->ready.count != 0 ? t->ready.items[0] : NULL;
}

struct sched_entry *
sched_job_take(struct sched_destination *d)
{
	struct sched_entry *e = sched_job_first(d);

	MUST(e != NULL);
	e->peer->job->selected++;
	e->peer->job->slots++;
	e->peer->turn = ++d->transport->turn;
	d->busy++;
	sched_entry_leave(e);
	return e;
}

void
sched_job_withdraw(struct sched_entry *e)
{
	e->peer->job->entries--;
	sched_entry_leave(e);
}
