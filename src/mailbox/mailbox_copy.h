/*
 * mailbox_copy.h - a message as a mailbox or a command gets it: prepended lines, quoted "From " lines, its own line ends. Pure,
 * except mailbox_copy_write().
 */
#ifndef MAILBOX_MAILBOX_COPY_H
#define MAILBOX_MAILBOX_COPY_H

#include "agent/agent_worker_side.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"

enum mailbox_copy_flags {
	MAILBOX_COPY_FROM = 1 << 0,        /* "From sender  date" in front */
	MAILBOX_COPY_QUOTE_FROM = 1 << 1,  /* "From " at the beginning of a line becomes ">From " */
	MAILBOX_COPY_DOT = 1 << 2,         /* "." at the beginning of a line becomes ".." */
	MAILBOX_COPY_RETURN_PATH = 1 << 3, /* Return-Path: <sender> */
	MAILBOX_COPY_ORIG_RCPT =
	    1 << 4, /* X-Original-To: (left out when there is no original recipient) */
	MAILBOX_COPY_DELIVERED = 1 << 5, /* Delivered-To: */
	MAILBOX_COPY_BLANK = 1 << 6,     /* an empty line behind it */
};

#define MAILBOX_COPY_MAILDIR                                                                       \
	(MAILBOX_COPY_RETURN_PATH | MAILBOX_COPY_ORIG_RCPT | MAILBOX_COPY_DELIVERED)
#define MAILBOX_COPY_MBOX                                                                          \
	(MAILBOX_COPY_MAILDIR | MAILBOX_COPY_FROM | MAILBOX_COPY_QUOTE_FROM | MAILBOX_COPY_BLANK)

/* The flags without what the configuration does not want (enable_original_recipient). */
unsigned mailbox_copy_wanted(const struct conf *conf, unsigned flags);

/* Addresses in internal form. */
struct mailbox_copy {
	unsigned flags;
	const char *sender;    /* for Return-Path: and From; "" = null sender */
	const char *null_from; /* what stands for the null sender in the From line */
	const char *orig_rcpt;
	const char *delivered;
	const char *eol; /* "\n" */
};

/* Appends the lines that go in front of the content. `second` since 1970. */
void mailbox_copy_head(const struct mailbox_copy *c, int64_t second, struct buf *out);

/* The content's way through, in pieces of any size. */
struct mailbox_filter {
	const struct mailbox_copy *copy;
	size_t matched; /* bytes of "From " held back at the beginning of a line */
	bool in_line;   /* behind the beginning of a line */
	bool some;      /* there was content */
};
void mailbox_filter_add(struct mailbox_filter *f, struct span bytes, struct buf *out);
/* The end of the content: ends the last line, adds what goes behind. */
void mailbox_filter_end(struct mailbox_filter *f, struct buf *out);

/* How making a copy ended. */
enum mailbox_copy_result {
	MAILBOX_COPY_OK,
	MAILBOX_COPY_NO_CONTENT, /* the scheduler cannot give it now */
	MAILBOX_COPY_WRITE,      /* writing failed: errno */
};

/*
 * Makes the whole message and gives it to `sink`, piece by piece; false from it ends the copy with MAILBOX_COPY_WRITE. Blocks.
 */
enum mailbox_copy_result mailbox_copy_run(struct agent_work *w, const struct mailbox_copy *c,
    bool (*sink)(void *arg, struct span bytes), void *arg);

/* The same to `fd`, at most `limit` bytes (0: no limit; more is EFBIG). */
enum mailbox_copy_result mailbox_copy_write(
    struct agent_work *w, const struct mailbox_copy *c, int fd, uint64_t limit);

/* Is there a Delivered-To: header with `addr` in the content (letters of either case being equal)? False also when it cannot be read. */
bool mailbox_copy_is_loop(struct agent_work *w, const char *addr);

/* The values of the content's Delivered-To: headers, in internal form, one per LF. */
void mailbox_copy_delivered_to(struct agent_work *w, struct buf *ret);

#endif
