/*
 * qmgr_order.h - operators' orders about mail that this scheduler has claimed (protocol rule 5a.13).
 */
#ifndef QMGR_QMGR_ORDER_H
#define QMGR_QMGR_ORDER_H

#include "base/base.h"
#include "queue/queue_order.h"

struct qmgr;
struct qmgr_shard;
struct qmgr_message;

/*
 * Reads the pending orders of a shard and obeys them: waiting recipients at once, those under way when their outcome is known; deliveries
 * that have sent nothing yet are asked to end. Waits.
 */
void qmgr_order_run(struct qmgr_shard *s);

/* What is ordered for a recipient of `m` that was under way; 0: nothing. */
enum queue_verb qmgr_order_of(const struct qmgr_message *m, int32_t rcpt_no);

/* Recipient `rcpt` (an index) of `m` was under way and nothing was tried: it waits again, unless an order says otherwise. */
void qmgr_order_rcpt_untried(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt);

#endif
