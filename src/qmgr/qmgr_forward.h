/*
 * qmgr_forward.h - what a local agent makes of a recipient besides delivering it (service/delivery_forward.h): mail that goes on in new
 * messages, stored in the transaction that completes the recipient: one forward, exactly; failures of addresses that it expanded to;
 * and recipients that it gives to another transport.
 */
#ifndef QMGR_QMGR_FORWARD_H
#define QMGR_QMGR_FORWARD_H

#include "base/base.h"
#include "service/delivery.h"

struct qmgr;
struct qmgr_message;
struct qmgr_receipt;

/*
 * If the report is of that kind: sees to it and returns true; the outcome of the recipient is added as soon as its content has been
 * read. `transport` and `nexthop` are where it was delivered to; `receipt` is borrowed (NULL: none).
 */
bool qmgr_forward_takes(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, const char *transport, const char *nexthop,
    struct qmgr_receipt *receipt);

/* Was the recipient passed on, and something else is to come of it once it is delivered? */
bool qmgr_forward_waits(const struct qmgr_message *m, uint32_t rcpt);

#endif
