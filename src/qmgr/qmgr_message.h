/*
 * qmgr_message.h - the life of a claimed message in this process: from its claim to its last recorded outcome.
 */
#ifndef QMGR_QMGR_MESSAGE_H
#define QMGR_QMGR_MESSAGE_H

#include "base/base.h"

struct qmgr;
struct qmgr_shard;
struct qmgr_message;
struct queue_claimed;

/*
 * Takes over `claimed`, logs it as active, and schedules its recipients. What is here already of the same message (an earlier page
 * of its recipients, or of another destination) and this one are each other's ->older and ->newer.
 */
void qmgr_message_take(struct qmgr_shard *s, struct queue_claimed *claimed);

/* The newest part of a message, or NULL; others follow by ->older. */
struct qmgr_message *qmgr_message_find(const struct qmgr *q, int64_t msg_id);

/* While outcomes are recorded (m->in_batch): with them, nothing of the message is left in our hands. */
bool qmgr_message_is_last(const struct qmgr_message *m);

/* Has any outcome of the message, in whatever part of it, a notification? */
bool qmgr_message_is_notified(const struct qmgr_message *m);

/* No further recipients of `m` are to be read: they are here, or there are none. */
void qmgr_message_is_read(struct qmgr_message *m);

/* One of its outcomes is stored, or its lease is lost. */
void qmgr_message_settled(struct qmgr *q, struct qmgr_message *m);

/*
 * The task that says "removed" of messages of a shard that may have recipients in other hands, or in nobody's: the queue knows.
 */
void qmgr_message_removed_task(void *shard);

/* Lets go of a hold (m->holds++); the message is freed with the last one when nothing of it is open. */
void qmgr_message_unhold(struct qmgr *q, struct qmgr_message *m);

/* "from=<>, status=expired, returned to sender": once for each recipient group that expires. */
void qmgr_message_log_expired(const struct qmgr_message *m);

/* Recipients of `m` that are not in memory yet, about: nobody has counted them. */
size_t qmgr_message_unread(const struct qmgr_message *m);

/*
 * How much more may be claimed from a shard of new mail, or of deferred mail. While there are more than qmgr_message_recipient_limit recipients in memory,
 * only the first few (qmgr_message_recipient_minimum) of each new message come, so that large lists do not hold back others.
 */
struct queue_budget;
bool qmgr_message_budget(const struct qmgr_shard *s, bool deferred, struct queue_budget *ret);

#endif
