/*
 * qmgr_decide.h - what follows from an outcome: whether a failure is final, when a deferred recipient is tried again, until when it
 * lives, who is to be told. Pure.
 */
#ifndef QMGR_QMGR_DECIDE_H
#define QMGR_QMGR_DECIDE_H

#include "base/base.h"
#include "conf/conf.h"
#include "queue/queue_order.h"
#include "queue/queue_record.h"

struct qmgr_outcome;

/* From main.cf; times in us. */
struct qmgr_rules {
	int64_t lifetime;        /* maximal_queue_lifetime */
	int64_t bounce_lifetime; /* bounce_queue_lifetime: of mail with the null sender */
	int64_t warning;         /* delay_warning_time; 0: never */
	int64_t backoff_min;     /* minimal_backoff_time */
	int64_t backoff_max;     /* maximal_backoff_time */
	bool soft_bounce;
	bool confirm; /* confirm_delay_cleared */
	bool probe;   /* sendmail -bv: any answer ends it, and is told by qmgr_trace.h alone */
};
struct qmgr_rules qmgr_decide_rules(const struct conf *conf);

/*
 * Fills in the outcome of `r`, its times and its notification; r->envelope, r->rcpt and r->at are set. `order`: what an operator wants
 * instead of another attempt; 0: nothing.
 */
void qmgr_decide(const struct qmgr_rules *rules, enum queue_verb order,
    const struct qmgr_outcome *o, struct queue_result *r);

#endif
