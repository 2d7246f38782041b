/*
 * mail_retry.h - when a deferred message is tried again: Postfix's qmgr_active_defer arithmetic. No doubling, no
 * jitter: the delay is the message's age, between two limits.
 */
#ifndef MAIL_MAIL_RETRY_H
#define MAIL_MAIL_RETRY_H

#include "base/base.h"

/* Microseconds from now to the next attempt: now - arrival, at least `min`, at most `max`. All in microseconds. */
int64_t mail_retry_delay(int64_t now, int64_t arrival, int64_t min, int64_t max);

/* Has it been queued for longer than `lifetime`? A lifetime of 0 means one attempt. */
bool mail_retry_is_expired(int64_t now, int64_t arrival, int64_t lifetime);

#endif
