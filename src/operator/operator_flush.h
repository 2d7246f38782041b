/*
 * operator_flush.h - postqueue -f, -i and -s: deferred mail is due now. While no scheduler runs in the whole cluster they fail.
 */
#ifndef OPERATOR_OPERATOR_FLUSH_H
#define OPERATOR_OPERATOR_FLUSH_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "operator/operator_session.h"

/* All deferred mail, and no destination counts as dead. Waits. */
bool operator_flush_all(struct operator_session *s, struct err *err) MUST_CHECK;

/* One message; one that is not there is no error. Waits. */
bool operator_flush_message(
    struct operator_session *s, struct span queue_id, struct err *err) MUST_CHECK;

/* Mail for recipients in `domain`, which must be in fast_flush_domains, or whose nexthop it is. Waits. */
bool operator_flush_site(
    struct operator_session *s, const char *domain, struct err *err) MUST_CHECK;

#endif
