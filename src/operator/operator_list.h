/*
 * operator_list.h - the listing of the queue, as postqueue -p (mailq) and postqueue -j print it. The formatter is pure:
 * rows in, text out, never more than one message's reason in memory; operator_list_print() feeds it from the databases.
 *
 * A message some of whose recipients wait while others are being delivered is listed once for each place where it is.
 */
#ifndef OPERATOR_OPERATOR_LIST_H
#define OPERATOR_OPERATOR_LIST_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "operator/operator_session.h"
#include "queue/queue_list.h"

enum operator_list_form {
	OPERATOR_LIST_SHORT, /* table with columns for Postfix's short queue ids */
	OPERATOR_LIST_LONG,  /* table with columns for long ones */
	OPERATOR_LIST_JSON,  /* a JSON object a message, one a line */
};

/* Zero-filled except for `form` is valid. */
struct operator_list {
	enum operator_list_form form;
	bool open; /* a message was begun: */
	enum queue_place place;
	int64_t msg_id;
	const char
	    *file; /* while rows come from a file in maildrop: its name; NULL: from a database */
	size_t recipients; /* of it, so far */
	struct buf reason; /* printed last, for recipients that follow with the same one */
	uint64_t messages;
	uint64_t bytes;
};

void operator_list_done(struct operator_list *l);

/* Appends what the next row adds to the listing. */
void operator_list_row(struct operator_list *l, const struct queue_list_row *row, struct buf *out);

/* Appends the end: the footer, or "Mail queue is empty". */
void operator_list_end(struct operator_list *l, struct buf *out);

/* The table that enable_long_queue_ids asks for. (Our ids are always long.) */
enum operator_list_form operator_list_table(const struct conf *c);

/*
 * Prints the whole queue on standard output, what is in maildrop first. A database that cannot be read fails it at the end, after the others were
 * listed, and without the footer. Waits.
 */
bool operator_list_print(
    struct operator_session *s, enum operator_list_form form, struct err *err) MUST_CHECK;

#endif
