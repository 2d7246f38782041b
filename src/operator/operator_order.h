/*
 * operator_order.h - postsuper: what is to be done with which messages. Ids are looked up where the action may find them
 * (the queues named on the command line, or the action's own: hold leaves alone what is held, release what is not), counted
 * and logged as Postfix does. Messages in a scheduler's hands get a pending order, which it obeys.
 *
 * -r sends mail the way that Postfix's goes: on hold, a file in maildrop, deleted; pickup brings it in again, with a new id. A crash
 * in between leaves it on hold, or twice: there on hold. What is in a scheduler's hands is made due anew where it is.
 */
#ifndef OPERATOR_OPERATOR_ORDER_H
#define OPERATOR_OPERATOR_ORDER_H

#include "base/base.h"
#include "base/err.h"
#include "operator/operator_session.h"

/* In the order in which they are carried out, and in which their totals are printed. */
enum operator_action {
	OPERATOR_REQUEUE, /* -r */
	OPERATOR_DELETE,  /* -d */
	OPERATOR_EXPIRE,  /* -e */
	OPERATOR_FINISH,  /* -f: expire, also what is on hold */
	OPERATOR_HOLD,    /* -h */
	OPERATOR_RELEASE, /* -H */
	OPERATOR_ACTIONS
};

/* Zero-filled asks for nothing. */
struct operator_order {
	struct operator_target {
		bool asked;
		bool all;
		const char **names; /* array owned, texts borrowed; "-": those on standard input */
		size_t count;
	} targets[OPERATOR_ACTIONS];
	unsigned places; /* bits 1u << enum queue_place; 0: none was named */
	bool files;      /* maildrop was named */
	bool elsewhere;  /* a queue was named that holds no message here (bounce, flush, ...) */
};

void operator_order_done(struct operator_order *o);

/* The argument of an option: an id, "-" or "ALL". */
void operator_order_add(struct operator_order *o, enum operator_action action, const char *name);

/* The name of a queue; false: there is no such queue. */
bool operator_order_queue(struct operator_order *o, const char *name) MUST_CHECK;

/* Gives all orders and logs what was done, then the totals; `arg` is the struct operator_order. Waits. */
bool operator_order_run(struct operator_session *s, void *arg, struct err *err) MUST_CHECK;

/* The queues where `action` looks: `places` if not 0, else its own; bits as above. For tests. */
unsigned operator_order_places(enum operator_action action, unsigned places);

#endif
