/*
 * queue_history.h - one row for each recipient's end (rule 5a.16), and the partitions that keep them.
 */
#ifndef QUEUE_QUEUE_HISTORY_H
#define QUEUE_QUEUE_HISTORY_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_record.h"

struct queue_desk;
struct queue_columns;

/* Does this outcome end a recipient? */
bool queue_history_wants(const struct queue_desk *d, enum queue_outcome outcome);

/* Rows gather in columns; `columns` zero-filled is empty. */
void queue_history_add(struct queue_columns *columns, const struct queue_result *r);

/* Adds the statement that stores them to a batch / runs it in an open transaction. Nothing for no rows. */
void queue_history_send(struct queue_columns *columns, struct db_batch *b);
bool queue_history_run(
    struct queue_columns *columns, struct db_conn *c, int64_t deadline, struct err *err) MUST_CHECK;

/* Makes the partition of the day of `at`. Outside any transaction. Waits. */
bool queue_history_grow(
    struct db_conn *c, int64_t at, int64_t deadline, struct err *err) MUST_CHECK;

/* Makes the partitions of the next days, closes old ones, drops those beyond `keep` us. Waits. */
bool queue_history_keep(
    struct db_conn *c, int64_t keep, int64_t deadline, struct err *err) MUST_CHECK;

#endif
