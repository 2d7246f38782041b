/*
 * qmgr_job_order.h - the order of the jobs of a transport: inside the scheduler's arithmetic only (qmgr_job.c). Jobs have ranks, numbers
 * with gaps, so that two of them can be compared without walking the list.
 */
#ifndef QMGR_QMGR_JOB_ORDER_H
#define QMGR_QMGR_JOB_ORDER_H

struct qmgr_job;

/* A new job goes to the end of its transport's list. */
void qmgr_job_order_append(struct qmgr_job *job);

/* A job is about to end: what it bought and did not use goes back to its parent; its children become its parent's. */
void qmgr_job_order_leave(struct qmgr_job *job);

#endif
