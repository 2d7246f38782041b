/*
 * sched_job_order.c - see sched_job_order.h; and preemption: which job overtakes, at what price. The price is paid in slots: a job
 * gathers one with each entry it hands out, and `cost` of them buy one entry's delay. So a list of n entries is delayed by
 * at most n / cost entries, however many small mails wait; with preempters preempted in turn, by the factor
 * cost / (cost - 1).
 */
#include "sched/sched_job_order.h"

#include "base/clock.h"
#include "sched/sched_heap.h"
#include "sched/sched_job.h"

/* Between neighbours: room for 20 insertions at one place before the list is numbered anew. */
#define SCHED_RANK_STEP (INT64_C(1) << 20)
/* Jobs that one search for a candidate looks at; the next one goes on there. */
#define SCHED_LOOK_MAX  2000

/* ---- ranks ------------------------------------------------------------------------------------------------------- */

static struct sched_job *
sched_job_at(struct list *node)
{
	return CONTAINER_OF(node, struct sched_job, node);
}

void
sched_job_order_append(struct sched_job *job)
{
	struct list *jobs = &job->transport->jobs;

	job->rank = list_is_empty(jobs) ? 0 : sched_job_at(jobs->prev)->rank + SCHED_RANK_STEP;
	list_add(jobs, &job->node);
}

/* The same order, with gaps. */
static void
sched_job_renumber(struct list *jobs)
{
	int64_t rank = 0;

	LIST_FOREACH (job, jobs, struct sched_job, node)
		job->rank = rank += SCHED_RANK_STEP;
}

static void
sched_job_insert_before(struct sched_job *next, struct sched_job *job)
{
	struct list *jobs = &next->transport->jobs;
	int64_t from;

	if (next->node.prev != jobs && next->rank - sched_job_at(next->node.prev)->rank < 2)
		sched_job_renumber(jobs);
	from = next->node.prev != jobs ? sched_job_at(next->node.prev)->rank
				       : next->rank - 2 * SCHED_RANK_STEP;
	job->rank = from + (next->rank - from) / 2;
	list_insert_before(&next->node, &job->node);
}

/* A peer whose job has moved forward takes its new place: J2. */
static void
sched_peer_reorder(struct sched_peer *peer)
{
	struct list *peers = &peer->destination->peers;
	struct list *at;

	list_remove(&peer->by_destination);
	for (at = peers->next; at != peers; at = at->next)
		if (CONTAINER_OF(at, struct sched_peer, by_destination)->job->rank >
		    peer->job->rank)
			break;
	list_insert_before(at, &peer->by_destination);
}

static void
sched_job_move_before(struct sched_job *next, struct sched_job *job)
{
	/* Many keys of the heap change at once: those destinations stay out of it meanwhile. */
	LIST_FOREACH (peer, &job->peers, struct sched_peer, by_job)
		if (peer->destination->ready_at != 0)
			sched_heap_remove(&job->transport->ready, peer->destination);
	list_remove(&job->node);
	sched_job_insert_before(next, job);
	LIST_FOREACH (peer, &job->peers, struct sched_peer, by_job)
		sched_peer_reorder(peer);
	LIST_FOREACH (peer, &job->peers, struct sched_peer, by_job)
		sched_job_check(peer->destination);
}

/* ---- what an entry costs ----------------------------------------------------------------------------------------- */

/* Entries that the job will still need, at most: recipients not in memory may need one each. */
static size_t
sched_job_needs(const struct sched_job *job)
{
	return job->entries + job->unread - job->selected;
}

/* What the job bought and did not use, or not yet. */
static void
sched_job_give_back(struct sched_job *job)
{
	size_t used = job->selected - job->selected_before;

	if (job->parent == NULL)
		return;
	if (used < job->bought)
		job->parent->slots += (int64_t)(job->bought - used) * job->transport->slots.cost;
	list_remove(&job->child_node);
	job->parent = NULL;
	job->bought = 0;
}

void
sched_job_order_leave(struct sched_job *job)
{
	struct sched_job *parent = job->parent;

	sched_job_give_back(job);
	while (!list_is_empty(&job->children)) {
		struct sched_job *child = LIST_FIRST(&job->children, struct sched_job, child_node);

		list_remove(&child->child_node);
		child->parent = parent;
		if (parent != NULL)
			list_add(&parent->children, &child->child_node);
	}
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

/* A job with a destination that could take an entry. */
static bool
sched_job_is_free(const struct sched_job *job)
{
	LIST_FOREACH (peer, &job->peers, struct sched_peer, by_job) {
		if (peer->destination->ready_at != 0)
			return true;
	}
	return false;
}

static bool
sched_job_may_overtake(const struct sched_job *job, const struct sched_job *current)
{
	int64_t room = ((int64_t)(current->entries - current->selected) + current->slots) /
		       current->transport->slots.cost;

	return job->rank > current->rank && list_is_empty(&job->children) &&
	       (int64_t)sched_job_needs(job) <= room;
}

static double
sched_job_age(const struct sched_job *job, int64_t now)
{
	return now > job->queued ? (double)((now - job->queued) / CLOCK_SECOND) : 0;
}

/*
 * The best job behind `current`: old and small. Jobs are looked at from the oldest on; as soon as not even a younger job with a
 * single entry could be better, the search ends.
 */
static struct sched_job *
sched_job_candidate(const struct sched_job *current, int64_t now)
{
	struct sched_transport *t = current->transport;
	struct list *at = t->look_at != NULL ? &t->look_at->by_time : t->jobs_by_time.next;
	struct sched_job *best = NULL;
	double best_score = 0;
	size_t looks = 0;

	t->look_at = NULL;
	for (; at != &t->jobs_by_time; at = at->next) {
		struct sched_job *job = CONTAINER_OF(at, struct sched_job, by_time);
		double score = sched_job_age(job, now) + 1;

		if (best_score >= score)
			break;
		if (++looks > SCHED_LOOK_MAX) {
			t->look_at = best == NULL ? job : NULL;
			break;
		}
		if (!sched_job_may_overtake(job, current))
			continue;
		score /= (double)sched_job_needs(job);
		if (score <= best_score || !sched_job_is_free(job))
			continue;
		best = job;
		best_score = score;
	}
	return best;
}

/* ---- preemption -------------------------------------------------------------------------------------------------- */

static struct sched_job *
sched_job_current(const struct sched_transport *t)
{
	const struct sched_destination *d = sched_job_next(t);

	return d != NULL ? CONTAINER_OF(d->peers.next, struct sched_peer, by_destination)->job
			 : NULL;
}

bool
sched_job_could_preempt(const struct sched_transport *t)
{
	const struct sched_job *current = sched_job_current(t);

	return current != NULL && current->slots > 0 && t->slots.cost >= 2 &&
	       current->node.next != &t->jobs &&
	       (int64_t)(current->entries + current->unread) >=
		   (int64_t)t->slots.minimum * t->slots.cost;
}

bool
sched_job_preempt(struct sched_transport *t, int64_t now)
{
	struct sched_job *current = sched_job_current(t);
	struct sched_job *job;
	int64_t needs;

	if (!sched_job_could_preempt(t))
		return false;
	job = sched_job_candidate(current, now);
	if (job == NULL)
		return false;
	needs = (int64_t)sched_job_needs(job);
	if ((current->slots / t->slots.cost + t->slots.loan) * 100 <
	    needs * (100 - t->slots.discount))
		return false;
	sched_job_give_back(job);
	current->slots -= needs * t->slots.cost;
	job->parent = current;
	list_add(&current->children, &job->child_node);
	job->bought = (size_t)needs;
	job->selected_before = job->selected;
	sched_job_move_before(current, job);
	return true;
}
