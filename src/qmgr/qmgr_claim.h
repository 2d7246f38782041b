/*
 * qmgr_claim.h - the tasks that bring mail in: new mail from the ring, deferred mail that is due, the leases of dead nodes; and the housekeeping of the queue, once a second.
 */
#ifndef QMGR_QMGR_CLAIM_H
#define QMGR_QMGR_CLAIM_H

#include "base/base.h"

struct qmgr;

/* Each runs until qmgr->stopping. */
void qmgr_claim_incoming_task(void *qmgr);
void qmgr_claim_deferred_task(void *qmgr);
void qmgr_claim_upkeep_task(void *qmgr);

/* Takes over the leases of dead nodes, now. Waits. */
void qmgr_claim_takeover(struct qmgr *q);

/* After an outage: what we hold in the database against what we hold here. Waits. */
bool qmgr_claim_reread(struct qmgr *q);

#endif
