/*
 * submit_postdrop.h - a postdrop process that takes one message from us, as records (maildrop.h). Blocks.
 */
#ifndef PICKUP_SUBMIT_POSTDROP_H
#define PICKUP_SUBMIT_POSTDROP_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "pickup/maildrop.h"
#include "pickup/postdrop.h"

struct queue_message;

struct submit_postdrop {
	pid_t pid;
	int to;         /* its standard input */
	int from;       /* its standard output */
	struct buf out; /* not written yet */
	bool broken;    /* it does not listen any more: it has something to say */
};

/* Starts it. Its complaints go to our standard error. ERR_TEMP. */
bool submit_postdrop_start(
    struct submit_postdrop *p, const struct conf *conf, struct err *err) MUST_CHECK;

/* The next record; trouble shows at the end. */
void submit_postdrop_put(struct submit_postdrop *p, enum maildrop_type type, struct span data);
/* The same for a text; NULL: no record. */
void submit_postdrop_put_str(struct submit_postdrop *p, enum maildrop_type type, const char *text);
/* NOTIFY for the recipients that follow; 0: no record. */
void submit_postdrop_put_notify(struct submit_postdrop *p, unsigned notify);

/* The end record, and what postdrop says: POSTDROP_OK, the message is on disk. */
enum postdrop_status submit_postdrop_finish(struct submit_postdrop *p);

/* Gives up: postdrop forgets what it has. For the way out with an error; also after finish. */
void submit_postdrop_done(struct submit_postdrop *p);

/*
 * A whole message that somebody else has received: the shape of cleanup_settings.store_elsewhere; `arg` is a const struct conf.
 */
bool submit_postdrop_message(void *arg, const struct queue_message *m, struct err *err);

#endif
