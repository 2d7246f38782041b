/*
 * qmgr_doubt.h - recipients that an agent of this node has sent the final dot for, by order of a scheduler that is gone, and whose
 * reply it still waits for. Agents name them when they enlist; until the outcome is here, or its agent has gone, nobody delivers
 * them a second time.
 */
#ifndef QMGR_QMGR_DOUBT_H
#define QMGR_QMGR_DOUBT_H

#include "base/base.h"
#include "service/delivery.h"

struct qmgr;
struct qmgr_agent;
struct qmgr_message;

/* `a` names recipients of a message: they are in doubt until it reports them. */
void qmgr_doubt_add(struct qmgr *q, struct qmgr_agent *a, const struct delivery_doubt *doubt);

/* If recipient `rcpt` of `m` is in doubt: keeps it back and returns true; qmgr_doubt_end() gives it back. */
bool qmgr_doubt_hold(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt);

/*
 * Recipient `rcpt_no` of a message is not in doubt any more. True when it was kept back: *ret_message and *ret_rcpt are now in the
 * caller's hands, who must schedule it or add its outcome.
 */
bool qmgr_doubt_end(struct qmgr *q, int64_t msg_id, uint32_t rcpt_no,
    struct qmgr_message **ret_message, uint32_t *ret_rcpt);

/* `a` has gone without a word about these: what was kept back is deferred. */
void qmgr_doubt_agent_gone(struct qmgr *q, struct qmgr_agent *a);

/* After the lease was lost: what is kept back for it is somebody else's now. */
void qmgr_doubt_drop_lost(struct qmgr *q);

/* Recipients in doubt, into parallel arrays with room for q->doubts.count; their number. */
size_t qmgr_doubt_list(const struct qmgr *q, int64_t *ret_msg_ids, int32_t *ret_rcpt_nos);

#endif
