/*
 * qmgr_page.h - large lists of recipients are read page by page, so that memory stays flat: a transport has room for a number of
 * recipients (*_recipient_limit), which its lists share, the oldest first; room that gets free is used when there is enough
 * (*_recipient_refill_limit) or after a while (*_recipient_refill_delay).
 */
#ifndef QMGR_QMGR_PAGE_H
#define QMGR_QMGR_PAGE_H

#include "base/base.h"
#include "sched/sched_job.h"

struct qmgr;

/* What decides about the next page of a message. */
struct qmgr_page_state {
	size_t waiting;  /* recipients in memory that wait for the transport */
	size_t here;     /* recipients of the message in memory */
	size_t open;     /* of these, without a stored outcome */
	bool overtook;   /* it has overtaken another: the extra room is for it */
	int64_t elapsed; /* us since its last page was read */
	size_t minimum;  /* qmgr_message_recipient_minimum */
	size_t most;     /* queue_claim_recipient_limit */
};

/* How many recipients to read now; 0: none yet. Pure. */
size_t qmgr_page_size(const struct sched_pool *pool, const struct qmgr_page_state *s);

/* The task that reads pages of a shard, to the end of the process. */
void qmgr_page_task(void *shard);

#endif
