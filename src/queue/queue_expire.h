/*
 * queue_expire.h - messages that were deferred for too long, and warnings about those that are late: by message, in
 * slices, also behind dead destinations (rule 5a.7); what can be tried now is tried first. Recipients in somebody's hands are left to him: a scheduler
 * bounces what it would defer beyond the message's life. A message that an operator wants to expire is returned as a whole,
 * when it would be tried again and nobody has any of it.
 */
#ifndef QUEUE_QUEUE_EXPIRE_H
#define QUEUE_QUEUE_EXPIRE_H

#include "base/base.h"
#include "base/err.h"
#include "queue/queue_desk.h"

struct queue_expiry {
	/* Called after the commit for each message that expired / was warned about: log it. Must not wait. May be NULL. */
	void (*on_expired)(void *arg, int64_t msg_id, const char *sender, bool forced);
	void (*on_warned)(void *arg, int64_t msg_id, const char *sender);
	void (*on_removed)(void *arg, int64_t msg_id); /* nothing of it is left in the queue */
	void *arg;
};

/* One slice of each; *ret_more (may be NULL) = there is more to do at once. Waits. */
bool queue_expire_run(struct queue_desk *d, const struct queue_expiry *how, int64_t deadline,
    bool *ret_more, struct err *err) MUST_CHECK;

#endif
