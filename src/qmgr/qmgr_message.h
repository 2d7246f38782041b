/*
 * qmgr_message.h - the life of a claimed message in this process: from its claim to its last recorded outcome.
 */
#ifndef QMGR_QMGR_MESSAGE_H
#define QMGR_QMGR_MESSAGE_H

#include "base/base.h"

struct qmgr;
struct qmgr_message;
struct queue_claimed;

/*
 * Takes over `claimed`, logs it as active, and schedules its recipients. `stays`: some of it is known to stay in the queue (an earlier
 * page of its recipients).
 */
void qmgr_message_take(struct qmgr *q, struct queue_claimed *claimed, bool stays);

/* One of its outcomes is stored, or its lease is lost. */
void qmgr_message_settled(struct qmgr *q, struct qmgr_message *m);

/* Lets go of a hold (m->holds++); the message is freed with the last one when nothing of it is open. */
void qmgr_message_unhold(struct qmgr *q, struct qmgr_message *m);

/* "from=<>, status=expired, returned to sender": once for each recipient group that expires. */
void qmgr_message_log_expired(const struct qmgr_message *m);

/* Recipients of `m` that are not in memory yet, about: nobody has counted them. */
size_t qmgr_message_unread(const struct qmgr_message *m);

/* How much more may be claimed. */
struct queue_budget;
bool qmgr_message_budget(const struct qmgr *q, struct queue_budget *ret);

#endif
