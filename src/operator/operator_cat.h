/*
 * operator_cat.h - postcat: a message as Postfix's queue file would show it: envelope records by name, then the content. There
 * are no such files here; record offsets (-o) are those that one with these records would have.
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
	bool names;    /* -v: the name of the record's type before lines of the content too */
};

/* Formats a content that comes in pieces; zero-filled is a valid start. Pure. */
struct operator_cat_content {
	bool begun;      /* a line was there */
	bool in_body;    /* the header is over */
	bool in_line;    /* the beginning of the present line was printed */
	struct buf rest; /* what has come of a line whose end has not */
	uint64_t offset; /* of the next record */
};

/* Appends the envelope up to the content, whose offset goes to `c`. Pure. */
void operator_cat_envelope(const struct operator_cat_form *form, struct operator_cat_content *c,
    enum queue_place place, const struct queue_envelope *e, struct buf *out);

/* Appends what is to be shown of the next piece; `last`: it is the last one. */
void operator_cat_content(const struct operator_cat_form *form, struct operator_cat_content *c,
    struct span piece, bool last, struct buf *out);

/* Appends what follows the content. */
void operator_cat_end(const struct operator_cat_form *form, const struct operator_cat_content *c,
    enum queue_place place, const struct queue_envelope *e, struct buf *out);

/* Prints a file of maildrop, open as `fd`, under this name. ERR_PERM: it is none. */
bool operator_cat_file(
    const struct operator_cat_form *form, int fd, const char *name, struct err *err) MUST_CHECK;

/* Prints one message, in maildrop or a database, on standard output. ERR_GONE when there is none of that id. Waits. */
bool operator_cat_print(struct operator_session *s, const struct operator_cat_form *form,
    struct span queue_id, struct err *err) MUST_CHECK;

#endif
