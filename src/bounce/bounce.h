/*
 * bounce.h - who is told about what became of a message, and in what words: from notices to the messages that carry them
 * (RFC 3461, RFC 3464). Called while the queue removes the recipients, in the same transaction: nothing here waits.
 */
#ifndef BOUNCE_BOUNCE_H
#define BOUNCE_BOUNCE_H

#include "base/arena.h"
#include "base/base.h"
#include "conf/conf.h"
#include "queue/queue_desk.h"

/* From main.cf, once per configuration; strings are borrowed from it. */
struct bounce_settings {
	const char *hostname;
	const char *origin;
	const char *mail_name;
	const char *double_bounce_sender; /* local part */
	const char *double_bounce_notice; /* 2bounce_notice_recipient */
	bool notify_double;               /* notify_classes has 2bounce or bounce */
	size_t size_limit;                /* bounce_size_limit */
	int64_t delay_warning;            /* us */
	int64_t lifetime;                 /* us */
	bool threaded;
};
struct bounce_settings bounce_settings_from(const struct conf *conf);

/*
 * Fills `ret` with the messages that tell of `b`: none, when nobody is to be told (a notification about a notification, without a
 * postmaster who wants it). In `arena`; ids are taken from `ids`. Returns their number, at most `max`.
 */
size_t bounce_compose(const struct bounce_settings *settings, const struct queue_bounce *b,
    const int64_t *ids, struct queue_message *ret, size_t max, struct arena *arena);

#endif
