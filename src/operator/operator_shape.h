/*
 * operator_shape.h - how mail in the queue is distributed over domains and ages, as qshape(1) shows it. Counting and printing are
 * pure; operator_shape_print() feeds them from the databases, and from maildrop.
 */
#ifndef OPERATOR_OPERATOR_SHAPE_H
#define OPERATOR_OPERATOR_SHAPE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hmap.h"
#include "operator/operator_session.h"

#define OPERATOR_SHAPE_BUCKETS_MAX 1000

struct operator_shape_settings {
	bool senders;   /* -s: of senders, a message once; else of recipients */
	bool parents;   /* -p: sums for the parents of domains too ... */
	size_t subs;    /* -m: ... that have at least so many different ones below them */
	size_t buckets; /* -b: columns of ages */
	int64_t
	    tick; /* -t: minutes in the first one; each further one is as long as all before it, */
	bool linear;  /* -l: or as long as the first */
	size_t width; /* -w: of a line, at least 80 */
	size_t
	    every;  /* -N: on a terminal: what there is so far, after so many messages; 0: never */
	size_t top; /* -n: on a terminal: so many domains only; 0: all */
	unsigned places; /* queues to look into: bits 1u << enum queue_place */
	bool files;      /* maildrop too */
};

struct operator_shape {
	struct operator_shape_settings settings;
	struct hmap rows; /* by domain */
};
void operator_shape_done(struct operator_shape *s);

/* Counts one address; `age` in seconds. */
void operator_shape_add(struct operator_shape *s, struct span address, int64_t age);

/* Appends the table. */
void operator_shape_table(struct operator_shape *s, struct buf *out);

/* Looks into the queues and prints the table on standard output; `arg` is the settings. Waits. */
bool operator_shape_print(struct operator_session *s, void *arg, struct err *err) MUST_CHECK;

#endif
