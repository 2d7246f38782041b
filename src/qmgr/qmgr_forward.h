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

/*
 * If the report is of that kind: sees to it and returns true; the outcome of the recipient is added as soon as its content has been
 * read. `transport` and `nexthop` are where it was delivered to.
 */
bool qmgr_forward_takes(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, const char *transport, const char *nexthop);

#endif
