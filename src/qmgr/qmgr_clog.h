/*
 * qmgr_clog.h - the warning that mail for one destination fills the scheduler (qmgr_clog_warn_time, helpful_warnings), with advice: it has
 * more entries waiting than a fifth of what qmgr_message_active_limit allows.
 */
#ifndef QMGR_QMGR_CLOG_H
#define QMGR_QMGR_CLOG_H

struct qmgr;
struct sched_destination;

/* To be called when an entry was added; cheap. */
void qmgr_clog_check(struct qmgr *q, struct sched_destination *d);

#endif
