/*
 * access_int.h - shared between the evaluation of lists and the single restrictions.
 */
#ifndef ACCESS_ACCESS_INT_H
#define ACCESS_ACCESS_INT_H

#include "access/access.h"
#include "conf/conf_host.h"
#include "conf/conf_net_list.h"

enum access_list_id {
	ACCESS_LIST_CLIENT,
	ACCESS_LIST_HELO,
	ACCESS_LIST_SENDER,
	ACCESS_LIST_RELAY,
	ACCESS_LIST_RCPT,
	ACCESS_LIST_DATA,
	ACCESS_LIST_END_OF_DATA,
	ACCESS_LIST_ETRN,
	ACCESS_LIST_COUNT,
};

enum access_result {
	ACCESS_DUNNO, /* ask the next restriction */
	ACCESS_OK,    /* this list is content */
	ACCESS_REJECT,
};

struct access_context;

struct access_restriction {
	const char *name;
	enum access_result (*check)(struct access_context *ctx);
};

struct access_class;

struct access_item {
	const struct access_restriction *restriction; /* NULL: a class, or a name nobody knows */
	const struct access_class *class; /* a name of smtpd_restriction_classes; or NULL */
	char *word;                       /* owned: as written */
};

struct access_list {
	struct access_item *items; /* owned */
	size_t count;
};

/* A list that main.cf defines under a name of its own. */
struct access_class {
	char *name; /* owned */
	struct access_list list;
};

/* A decision that waits for what the other restrictions say: defer_if_permit, defer_if_reject. */
struct access_pending {
	bool active;
	int code;
	char dsn[12];
	struct buf text;
};

struct access {
	struct conf *conf;              /* counted */
	const struct rewrite *rewrite;  /* borrowed */
	struct conf_net_list *networks; /* mynetworks */
	struct conf_addresses own;      /* inet_interfaces */
	struct access_list lists[ACCESS_LIST_COUNT];
	struct access_class *classes; /* owned */
	size_t class_count;
	bool delay_reject;
	bool relay_first;
};

/* One evaluation of one list. */
struct access_context {
	const struct access *access;
	const struct access_request *request;
	struct access_verdict *verdict;
	enum access_list_id list;
	const char *word;   /* the restriction as written */
	bool warn_only;     /* after warn_if_reject */
	bool seen_unlisted; /* reject_unlisted_recipient has been asked */
	unsigned depth;     /* of classes within classes */
	struct access_pending if_permit;
	struct access_pending if_reject;
};

/* Finds a restriction by name, letters of either case; NULL if nobody knows it. */
const struct access_restriction *access_restriction_find(struct span name);

/* True for the ones of which relay control needs at least one in its lists. */
bool access_restriction_guards_relay(struct span name);

/* User unknown in the class of the recipient: what reject_unlisted_recipient does. */
enum access_result access_unlisted_recipient(struct access_context *ctx);

/*
 * Fills the verdict: "CODE DSN <what>: CLASS rejected: reason"; returns ACCESS_REJECT. With soft_bounce 5xx becomes 4xx.
 */
enum access_result access_reject(
    struct access_context *ctx, int code, const char *dsn, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Remembers "CODE DSN <what>: CLASS rejected: reason" for the end; the first one counts. Returns ACCESS_DUNNO. */
enum access_result access_pend(
    struct access_context *ctx, struct access_pending *pending, const char *reason);

/* The "<what>: CLASS rejected" of the present list. */
void access_subject(const struct access_context *ctx, struct buf *out);

#endif
