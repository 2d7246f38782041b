/*
 * operator_maildrop.h - mail in files: what sendmail(1) left in maildrop and pickup has not taken yet is listed and can be
 * deleted; and what postsuper -r requeues goes there, to come in again as Postfix's does.
 */
#ifndef OPERATOR_OPERATOR_MAILDROP_H
#define OPERATOR_OPERATOR_MAILDROP_H

#include "base/base.h"
#include "base/err.h"
#include "operator/operator_list.h"
#include "operator/operator_session.h"

/*
 * Adds the messages in maildrop to a listing; text is appended to `out` and printed as it grows. A directory that the
 * caller may not read is passed over in silence: it is not everybody's.
 */
void operator_maildrop_list(const struct conf *c, struct operator_list *l, struct buf *out);

/* Calls fn with a row for each recipient of each of them; rows of a message have the same msg_id, which is no message's. */
void operator_maildrop_each(
    const struct conf *c, void (*fn)(void *arg, const struct queue_list_row *row), void *arg);

/*
 * Deletes one file by its name, or all (name NULL), and calls on_removed (may be NULL) for each. Returns how many there
 * were.
 */
uint64_t operator_maildrop_delete(
    const struct conf *c, const char *name, void (*on_removed)(const char *name));

/*
 * Writes a message of a queue database into maildrop, durable and ready to be taken, under its queue id; a file that is
 * there already, finished, is left. The message itself stays as it is: the caller removes it then. ERR_GONE: there
 * is no such message, or no maildrop on this host. Waits.
 */
bool operator_maildrop_requeue(
    struct operator_session *s, size_t shard, int64_t msg_id, struct err *err) MUST_CHECK;

/* A finished file by its name, open for reading; -1: there is none. */
int operator_maildrop_open(const struct conf *c, struct span name);

/* Tells pickup to look. */
void operator_maildrop_wake(const struct conf *c);

#endif
