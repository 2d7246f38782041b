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

struct bounce_templates;

/* From main.cf, once per configuration; strings are borrowed from it. */
struct bounce_settings {
	const char *hostname;
	const char *origin;
	const char *mail_name;
	const char *double_bounce_sender; /* local part; the domain is hostname */
	const char *bounce_notice;        /* bounce_notice_recipient */
	const char *double_bounce_notice; /* 2bounce_notice_recipient */
	const char *delay_notice;         /* delay_notice_recipient */
	bool notify_bounce;               /* notify_classes */
	bool notify_double;
	bool notify_delay;
	size_t size_limit;     /* bounce_size_limit */
	int64_t delay_warning; /* us */
	int64_t lifetime;      /* us */
	bool threaded;
	bool verp_bounces;                  /* not disable_verp_bounces */
	bool smtputf8;                      /* smtputf8_enable */
	bool stamped_ids;                   /* enable_long_queue_ids = no */
	struct bounce_templates *templates; /* owned; NULL: the built-in texts */
	/*
	 * What cleanup makes of a report: other recipients, headers. Changes the message, with texts in the arena; false: it is
	 * dropped. NULL: nothing.
	 */
	bool (*cleanup)(void *arg, struct queue_message *m, struct arena *arena);
	void *cleanup_arg;
};

/* Reads bounce_template_file too: trouble with it is logged, and the built-in texts hold. */
struct bounce_settings bounce_settings_from(const struct conf *conf);
void bounce_settings_done(struct bounce_settings *settings);

/*
 * Fills `ret` with the messages that tell of `b`: none, when nobody is to be told (a notification about a notification, without a
 * postmaster who wants it). In `arena`; ids are taken from `ids`. Returns their number, at most `max`.
 */
size_t bounce_compose(const struct bounce_settings *settings, const struct queue_bounce *b,
    const int64_t *ids, struct queue_message *ret, size_t max, struct arena *arena);

/* The line by which cleanup says that it has seen a message: for mail of our own that does not go through it. */
void bounce_log_id(const struct queue_message *m);

#endif
