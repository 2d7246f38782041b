/*
 * qmgr_notice.h - notices to the postmaster about sessions of the SMTP and LMTP clients (notify_classes): agents say what was said, the
 * scheduler makes a message of it and puts it into the queue.
 */
#ifndef QMGR_QMGR_NOTICE_H
#define QMGR_QMGR_NOTICE_H

#include "base/base.h"
#include "service/delivery.h"

struct qmgr;

/* Sees to it in a task of its own. What cannot be queued is not worth more than a line in the log. Never waits. */
void qmgr_notice(struct qmgr *q, const struct delivery_notice *notice);

#endif
