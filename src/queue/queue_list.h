/*
 * queue_list.h - what is in the queue, row by row, for postqueue -p and -j, postcat and qshape: read in pages by key, so
 * that neither end holds more than a page, and no snapshot stays open.
 */
#ifndef QUEUE_QUEUE_LIST_H
#define QUEUE_QUEUE_LIST_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_types.h"

struct queue_list;

/* One recipient. Rows of a message that are in the same place follow each other. Borrowed until the next call. */
struct queue_list_row {
	enum queue_place place;
	int64_t msg_id;
	const char *sender;
	uint64_t size;
	int64_t arrival; /* real us */
	bool forced_expire;
	int32_t rcpt_no;
	const char *addr;
	const char *orig_addr; /* NULL: same */
	const char *reason;    /* "" if none */
	int32_t attempts;
	int64_t next_attempt; /* real us; 0: not known */
	const char *transport;
	const char *nexthop;
};

struct queue_list_filter {
	const int64_t *msg_id;         /* only this message; NULL: all */
	const enum queue_place *place; /* only this place; NULL: all */
};

struct queue_list *queue_list_new(struct db_conn *c, const struct queue_list_filter *filter);
void queue_list_free(struct queue_list **l);

/* True with the next row; at the end *ret_end is true and the row untouched. False: the database failed. Waits. */
bool queue_list_next(struct queue_list *l, int64_t deadline, struct queue_list_row *ret,
    bool *ret_end, struct err *err) MUST_CHECK;

/* The whole envelope of a message wherever it is, for postcat; `arena` owns it. ERR_GONE: no such message. Waits. */
bool queue_list_envelope(struct db_conn *c, int64_t msg_id, int64_t deadline, struct arena *arena,
    enum queue_place *ret_place, struct queue_envelope *ret, int64_t *ret_content_id,
    int16_t *ret_set, struct err *err) MUST_CHECK;

#endif
