/*
 * queue_settle.h - the transaction that records outcomes of any kind; used by queue_record.c.
 *
 * Steps, in the order of their locks: leases, destinations, messages, recipients. Whoever records for a batch first locks its
 * lease, whoever owns it: so a late `sent` of the former owner and a deferral by the present one see each other (rule 5a.4).
 */
#ifndef QUEUE_QUEUE_SETTLE_H
#define QUEUE_QUEUE_SETTLE_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_record.h"

enum queue_settled {
	QUEUE_SETTLED, /* committed: each result says STORED or FENCED */
	QUEUE_SETTLE_REFUSED, /* the server said no: a lock, a key, a missing partition; nothing was stored */
	QUEUE_SETTLE_NO_DAY, /* the same: the history has no partition for this day */
	QUEUE_SETTLE_AWAY,   /* no connection, or the commit is in doubt */
};

enum queue_settled queue_settle(struct queue_desk *d, struct db_conn *c,
    struct queue_result *const *results, size_t count, int64_t deadline, struct err *err);

#endif
