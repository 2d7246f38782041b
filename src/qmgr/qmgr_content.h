/*
 * qmgr_content.h - contents that did not come with the claim, read from the database as agents pull them.
 */
#ifndef QMGR_QMGR_CONTENT_H
#define QMGR_QMGR_CONTENT_H

struct qmgr;
struct qmgr_agent;
struct sched_entry;
struct delivery_pull;

/* Serves one pull by a task of its own. Never waits. */
void qmgr_content_pull(
    struct qmgr *q, struct qmgr_agent *a, struct sched_entry *e, const struct delivery_pull *pull);

#endif
