/*
 * sched_job_order.h - the order of the jobs of a transport: inside the scheduler's arithmetic only (sched_job.c). Jobs have ranks, numbers
 * with gaps, so that two of them can be compared without walking the list.
 */
#ifndef SCHED_SCHED_JOB_ORDER_H
#define SCHED_SCHED_JOB_ORDER_H

struct sched_job;

/* A new job goes to the end of its transport's list. */
void sched_job_order_append(struct sched_job *job);

/* A job is about to end: what it bought and did not use goes back to its parent; its children become its parent's. */
void sched_job_order_leave(struct sched_job *job);

#endif
