/*
 * qmgr_order.h - operators' orders about mail that this scheduler has claimed (protocol rule 5a.13).
 */
#ifndef QMGR_QMGR_ORDER_H
#define QMGR_QMGR_ORDER_H

struct qmgr;

/* Reads the pending orders and obeys them: waiting recipients at once, those under way when their outcome is known. Waits. */
void qmgr_order_run(struct qmgr *q);

#endif
