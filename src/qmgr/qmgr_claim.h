/*
 * qmgr_claim.h - the tasks that bring mail in: new mail from the ring, deferred mail that is due, the leases of dead nodes; and the housekeeping of the queue, once a second.
 */
#ifndef QMGR_QMGR_CLAIM_H
#define QMGR_QMGR_CLAIM_H

#include "base/base.h"

struct qmgr_shard;

/* Each runs until qmgr->stopping, for one shard. */
void qmgr_claim_incoming_task(void *shard);
void qmgr_claim_deferred_task(void *shard);
void qmgr_claim_upkeep_task(void *shard);

/* Takes over the leases of dead nodes, now. Waits. */
void qmgr_claim_takeover(struct qmgr_shard *s);

/* After an outage: what we hold in the database against what we hold here. Waits. */
bool qmgr_claim_reread(struct qmgr_shard *s);

#endif
