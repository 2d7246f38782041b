/*
 * pickup_int.h - shared inside the room: what sendmail's options ask for, and the parts of the pickup service.
 */
#ifndef PICKUP_PICKUP_INT_H
#define PICKUP_PICKUP_INT_H

#include "base/base.h"
#include "base/err.h"
#include "bounce/bounce.h"
#include "cleanup/cleanup.h"
#include "cleanup/cleanup_front.h"
#include "conf/conf.h"
#include "rewrite/rewrite.h"

/* A message to be submitted. Texts are borrowed from argv; NULL: not given. */
struct sendmail_request {
	struct conf *conf;
	const char *sender;    /* -f, -r, as given */
	const char *full_name; /* -F */
	const char *envid;     /* -V */
	const char *ret;       /* -R: "FULL", "HDRS" */
	const char *body;      /* -B: "8BITMIME", "7BIT" */
	const char *verp;      /* -XV: two delimiters */
	const char *purpose;   /* "record" (-v), "verify" (-bv) */
	unsigned notify;       /* -N: QUEUE_NOTIFY_ bits */
	bool extract;          /* -t */
	bool dot_ends;         /* no -i */
	bool gateway;          /* -G */
	int verbose;
	char **rcpts; /* as given; NULL behind the last */
};

/* Reads the message from standard input and has postdrop store it. Trouble: log_fatal(). */
void sendmail_enqueue(const struct sendmail_request *r);

/* What one configuration compiles to for pickup; counted, so that messages in the making outlive a reload. */
struct pickup_setup {
	size_t refs;
	struct conf *conf; /* owned */
	struct rewrite *rewrite;
	struct cleanup_settings cleanup;
	struct bounce_settings bounce;
};

/* maildrop, open. Renames are made durable together: whoever needs it first does it for all. */
struct pickup_dir {
	int fd;
	uint64_t renamed; /* counts renames ... */
	uint64_t synced;  /* ... and up to which they are durable */
};

/* Takes one file of maildrop into the queue, of any shard that is ready, and removes it. Waits. */
enum pickup_done {
	PICKUP_DONE, /* in the queue, or refused and its sender told, or no message at all: the file is gone */
	PICKUP_KEPT,  /* not finished yet, or somebody else is at it */
	PICKUP_AGAIN, /* temporary trouble: once more after a while */
};
enum pickup_done pickup_message_take(const struct pickup_setup *setup, struct cleanup_front *fronts,
    struct pickup_dir *dir, const char *name);

#endif
