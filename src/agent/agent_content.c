/*
 * agent_content.c - see agent_content.h. Pieces arrive in order of offset; one that does not continue where we are belongs to a pull
 * that a rewind has overtaken, and is dropped.
 */
#include "agent/agent_content.h"

#include "agent/agent.h"
#include "base/list.h"
#include "base/mem.h"
#include "service/link.h"
#include "service/shelf.h"

struct agent_piece {
	struct list node;
	size_t len;
	bool last;
	char bytes[];
};

struct agent_content {
	struct list pieces;      /* arrived, not yet given out */
	struct agent_piece *out; /* owned: given out by the last call */
	uint64_t arrived;        /* offset behind what arrived */
	uint64_t taken;          /* offset behind what was given out */
	uint64_t asked;          /* offset up to which we gave credit */
	struct buf shelved;      /* the piece that came from the shelf */
	bool complete;           /* the last piece has arrived */
	bool failed;
	struct task_cond cond;
};

static struct agent_content *
agent_content_get(struct agent_job *job)
{
	if (job->content == NULL) {
		job->content = mem_new(struct agent_content);
		list_init(&job->content->pieces);
	}
	return job->content;
}

static void
agent_content_drop(struct agent_content *c)
{
	LIST_FOREACH_SAFE (p, &c->pieces, struct agent_piece, node) {
		list_remove(&p->node);
		mem_free(p);
	}
	mem_free(c->out);
	c->out = NULL;
	buf_clear(&c->shelved);
}

void
agent_content_free(struct agent_job *job)
{
	if (job->content == NULL)
		return;
	agent_content_drop(job->content);
	buf_done(&job->content->shelved);
	mem_free(job->content);
	job->content = NULL;
}

void
agent_content_rewind(struct agent_job *job)
{
	struct agent_content *c = agent_content_get(job);

	agent_content_drop(c);
	c->arrived = c->taken = c->asked = 0;
	c->complete = false;
}

void
agent_content_arrived(struct agent_job *job, const struct delivery_content *piece)
{
	struct agent_content *c = agent_content_get(job);
	struct agent_piece *p;

	if (piece->failed)
		return agent_content_lost(job);
	if (piece->offset != c->arrived || c->complete)
		return;
	p = mem_alloc(sizeof(*p) + piece->bytes.len);
	*p = (struct agent_piece){.len = piece->bytes.len, .last = piece->last};
	if (p->len != 0)
		memcpy(p->bytes, piece->bytes.ptr, p->len);
	list_add(&c->pieces, &p->node);
	c->arrived += p->len;
	c->complete = p->last;
	task_cond_wake_all(&c->cond);
}

void
agent_content_lost(struct agent_job *job)
{
	struct agent_content *c = agent_content_get(job);

	c->failed = true;
	task_cond_wake_all(&c->cond);
}

/* Keeps up to the credit under way; asks in halves of it, so that a slow peer costs few frames. */
static bool
agent_content_ask(struct agent_job *job, struct agent_content *c)
{
	struct delivery_pull pull = {.offset = c->asked};
	struct buf payload CLEANUP(buf_done) = {0};
	uint64_t wanted = c->taken + AGENT_CONTENT_CREDIT;

	if (c->complete || (c->asked >= job->request.size && c->asked != 0) ||
	    wanted - c->asked < AGENT_CONTENT_CREDIT / 2)
		return true;
	pull.credit = (uint32_t)(wanted - c->asked);
	delivery_write_pull(&payload, &pull);
	c->asked = wanted;
	return job->agent->link != NULL &&
	       link_send(job->agent->link, DELIVERY_PULL, job->delivery, buf_span(&payload));
}

static bool
agent_content_pulled(
    struct agent_job *job, int64_t deadline, struct span *ret_piece, bool *ret_last)
{
	struct agent_content *c = agent_content_get(job);
	struct agent_piece *p;

	mem_free(c->out);
	c->out = NULL;
	while (list_is_empty(&c->pieces)) {
		if (c->failed || job->cancelled || !agent_content_ask(job, c) ||
		    task_cond_wait(&c->cond, deadline) != TASK_READY)
			return false;
	}
	p = LIST_FIRST(&c->pieces, struct agent_piece, node);
	list_remove(&p->node);
	c->out = p;
	c->taken += p->len;
	(void)agent_content_ask(job, c);
	*ret_piece = span_of(p->bytes, p->len);
	*ret_last = p->last;
	return true;
}

/* The next piece if it is in the memory of this node; not while the scheduler is to send it. */
static bool
agent_content_shelved(struct agent_job *job, struct span *ret_piece, bool *ret_last)
{
	struct agent_content *c = agent_content_get(job);

	if (c->asked != c->taken)
		return false;
	buf_clear(&c->shelved);
	if (!shelf_read(job->agent->service->shelf, job->request.msg_id, job->request.size,
		c->taken, AGENT_CONTENT_CREDIT, &c->shelved))
		return false;
	c->taken += c->shelved.len;
	c->arrived = c->asked = c->taken;
	*ret_piece = buf_span(&c->shelved);
	*ret_last = c->complete = c->taken >= job->request.size;
	return true;
}

bool
agent_content_next(struct agent_job *job, int64_t deadline, struct span *ret_piece, bool *ret_last)
{
	if (!job->request.content_inline)
		return agent_content_shelved(job, ret_piece, ret_last) ||
		       agent_content_pulled(job, deadline, ret_piece, ret_last);
	*ret_piece = job->request.content;
	*ret_last = true;
	return true;
}
