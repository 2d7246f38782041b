/*
 * qmgr_trace.h - what a sender is told beside what becomes of each recipient in the end: which recipients cleanup expanded to others,
 * how the first attempt went (sendmail -v), and whether it could be delivered (sendmail -bv).
 */
#ifndef QMGR_QMGR_TRACE_H
#define QMGR_QMGR_TRACE_H

#include "base/arena.h"
#include "queue/queue_record.h"

struct qmgr_message;
struct qmgr_outcome;

/*
 * Adds the notices that go with this result, in an arena: the one given or a new one, which is then the caller's. They go with the first
 * attempt for the message's first recipient, which happens once.
 */
void qmgr_trace_add(
    const struct qmgr_message *m, struct queue_result *result, struct arena **arena);

/*
 * The same for a recipient of a probe (sendmail -bv): its answer, unless o->notices have the answers of what it expanded to.
 */
void qmgr_trace_add_probe(
    const struct qmgr_outcome *o, struct queue_result *result, struct arena **arena);

#endif
