/*
 * operator_cat.h - postcat -q: a message as Postfix's queue file would show it: envelope records by name, then the content.
 * There are no files here, so record offsets (-o) count from the start of the content, and the envelope has none.
 */
#ifndef OPERATOR_OPERATOR_CAT_H
#define OPERATOR_OPERATOR_CAT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "operator/operator_session.h"
#include "queue/queue_types.h"

struct operator_cat_form {
	bool envelope; /* -e */
	bool header;   /* -h */
	bool body;     /* -b */
	bool types;    /* -d: the number of each record's type in front */
	bool offsets;  /* -o */
};

/* Formats a content that comes in pieces; zero-filled is a valid start. Pure. */
struct operator_cat_content {
	bool in_body;    /* the header is over */
	bool in_line;    /* the beginning of the present line was printed */
	struct buf rest; /* what has come of a line whose end has not */
	uint64_t offset; /* of that rest */
};

/* Appends the envelope up to the content. Pure. */
void operator_cat_envelope(const struct operator_cat_form *form, enum queue_place place,
    const struct queue_envelope *e, struct buf *out);

/* Appends what is to be shown of the next piece; `last`: it is the last one. */
void operator_cat_content(const struct operator_cat_form *form, struct operator_cat_content *c,
    struct span piece, bool last, struct buf *out);

/* Appends what follows the content. */
void operator_cat_end(const struct operator_cat_form *form, enum queue_place place,
    const struct queue_envelope *e, struct buf *out);

/* Prints one message on standard output. ERR_GONE when there is none of that id. Waits. */
bool operator_cat_print(struct operator_session *s, const struct operator_cat_form *form,
    struct span queue_id, struct err *err) MUST_CHECK;

#endif
