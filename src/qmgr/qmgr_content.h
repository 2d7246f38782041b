/*
 * qmgr_content.h - contents that did not come with the claim: from the node's shelf, or read from the database as agents pull
 * them.
 */
#ifndef QMGR_QMGR_CONTENT_H
#define QMGR_QMGR_CONTENT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

struct qmgr;
struct qmgr_agent;
struct sched_entry;
struct qmgr_message;
struct delivery_pull;

/* Appends up to `len` bytes of the content from `offset` on; fewer only at the end. Errors as queue_content_read(). Waits. */
bool qmgr_content_read(struct qmgr *q, const struct qmgr_message *m, uint64_t offset, size_t len,
    struct buf *ret, struct err *err) MUST_CHECK;

/* Serves one pull by a task of its own. Never waits. */
void qmgr_content_pull(
    struct qmgr *q, struct qmgr_agent *a, struct sched_entry *e, const struct delivery_pull *pull);

#endif
