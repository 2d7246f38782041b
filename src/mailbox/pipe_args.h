/*
 * pipe_args.h - the words of a pipe(8) line in master.cf: its attributes, and its command with macros, expanded for a delivery.
 * Pure.
 */
#ifndef MAILBOX_PIPE_ARGS_H
#define MAILBOX_PIPE_ARGS_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/span.h"

enum pipe_flags {
	PIPE_FLAG_BLANK = 1 << 0,       /* B */
	PIPE_FLAG_DELIVERED = 1 << 1,   /* D */
	PIPE_FLAG_FROM = 1 << 2,        /* F */
	PIPE_FLAG_ORIG_RCPT = 1 << 3,   /* O */
	PIPE_FLAG_RETURN_PATH = 1 << 4, /* R */
	PIPE_FLAG_FINAL = 1 << 5,       /* X */
	PIPE_FLAG_FOLD_HOST = 1 << 6,   /* h */
	PIPE_FLAG_QUOTE = 1 << 7,       /* q */
	PIPE_FLAG_FOLD_USER = 1 << 8,   /* u */
	PIPE_FLAG_DOT = 1 << 9,         /* . */
	PIPE_FLAG_QUOTE_FROM = 1 << 10, /* > */
};

struct pipe_args {
	unsigned flags;
	const char *user;      /* as written: "name" or "name:group" */
	const char *chroot;    /* NULL: none */
	const char *directory; /* NULL: none */
	const char *eol;
	const char *null_sender;
	uint64_t size_limit; /* 0: none */
	char *const *argv;   /* unexpanded, borrowed */
	size_t argc;
};

/* Reads the words behind "pipe". ERR_CONFIG for what is missing, unknown or wrong. Texts are in `arena` or borrowed. */
bool pipe_args_parse(char *const *words, size_t count, struct arena *arena, struct pipe_args *ret,
    struct err *err) MUST_CHECK;

/* The recipient of a macro. Internal form. */
struct pipe_args_rcpt {
	const char *addr;
	const char *orig_addr;
};

/* Names other than those of recipients and sender: "nexthop", "size", "client_address", ... NULL: no such macro. */
struct pipe_args_source {
	const char *sender;
	const char *delimiters; /* recipient_delimiter */
	bool owner_request_split;
	const struct pipe_args_rcpt *rcpts;
	size_t rcpt_count;
	const char *(*lookup)(void *arg, struct span name);
	void *arg;
};

/*
 * The command: a word with a macro of a recipient is there once for each recipient. NULL at the end; in `arena`. ERR_CONFIG for an
 * unknown macro.
 */
bool pipe_args_expand(const struct pipe_args *a, const struct pipe_args_source *s,
    struct arena *arena, const char ***ret, struct err *err) MUST_CHECK;

#endif
