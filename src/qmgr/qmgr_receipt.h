/*
 * qmgr_receipt.h - what agents are told of results that are recorded. An agent keeps the result of a delivery until then, and says it
 * again to the next scheduler if this one dies first. Numbers gather, and travel with the next request to the agent, or within a
 * second: they cost no system call of their own.
 */
#ifndef QMGR_QMGR_RECEIPT_H
#define QMGR_QMGR_RECEIPT_H

#include "base/base.h"

struct qmgr;
struct qmgr_agent;

/* One delivery with outcomes that are not recorded yet. Counted: with the last reference its agent is told. */
struct qmgr_receipt;

/* Delivery `delivery` of `a`; the caller has the first reference. */
struct qmgr_receipt *qmgr_receipt_new(struct qmgr_agent *a, uint32_t delivery);

/* Accepts NULL, and returns it. */
struct qmgr_receipt *qmgr_receipt_ref(struct qmgr_receipt *r);
void qmgr_receipt_drop(struct qmgr_receipt **r);

/* Sends what has gathered for one agent, or for all. Never waits. */
void qmgr_receipt_send(struct qmgr_agent *a);
void qmgr_receipt_send_all(struct qmgr *q);

/* `a` ends: nobody is left to be told. */
void qmgr_receipt_agent_gone(struct qmgr_agent *a);

#endif
