/*
 * access_int.h - shared between the evaluation of lists (access.c), their compilation (access_list.c), and the single
 * restrictions.
 */
#ifndef ACCESS_ACCESS_INT_H
#define ACCESS_ACCESS_INT_H

#include "access/access.h"
#include "conf/conf_host.h"
#include "conf/macro.h"
#include "table/table.h"
#include "table/table_nets.h"

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

/* What a restriction looks at, and what a reply names: "<what>: CLASS rejected". */
enum access_thing {
	ACCESS_THING_CLIENT,
	ACCESS_THING_REVERSE_CLIENT,
	ACCESS_THING_HELO,
	ACCESS_THING_SENDER,
	ACCESS_THING_RCPT,
	ACCESS_THING_DATA,
	ACCESS_THING_END_OF_DATA,
	ACCESS_THING_ETRN,
};

/* What follows the name of a restriction in a list. */
enum access_argument {
	ACCESS_ARGUMENT_NONE,
	ACCESS_ARGUMENT_TABLE,  /* type:table; the list is broken without */
	ACCESS_ARGUMENT_DOMAIN, /* of a DNS list; the restriction is skipped without */
	ACCESS_ARGUMENT_NUMBER,
};

struct access_context;
struct access_item;

struct access_restriction {
	const char *name;
	enum access_thing thing;
	enum access_argument argument;
	enum access_result (*check)(struct access_context *ctx, const struct access_item *item);
};

struct access_class;

struct access_item {
	const struct access_restriction *restriction; /* NULL: a class, or a word nobody knows */
	const struct access_class *class; /* a name of smtpd_restriction_classes; or NULL */
	bool warn_if_reject;              /* the next item only warns */
	bool broken;                      /* the argument is missing or wrong */
	char *word;                       /* owned: as written */
	char *argument;                   /* owned; NULL: none */
	struct table_list *tables;        /* owned: the argument; NULL: none */
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

struct access {
	struct conf *conf;                  /* counted */
	const struct rewrite *rewrite;      /* borrowed */
	struct table_nets *networks;        /* mynetworks */
	struct table_nets *mx_networks;     /* permit_mx_backup_networks */
	struct conf_addresses own;          /* inet_interfaces */
	struct table_list *rewrite_clients; /* the tables of local_header_rewrite_clients */
	struct conf_addresses proxy;        /* proxy_interfaces */
	struct access_list lists[ACCESS_LIST_COUNT];
	struct access_class *classes; /* owned */
	size_t class_count;
	bool delay_reject;
	bool relay_first;
	bool parents_match; /* smtpd_access_maps is in parent_domain_matches_subdomains */
	bool soft_bounce;
	bool guards_relay;    /* else nothing is accepted */
	bool routed_by_class; /* no table and no transport makes an address undeliverable */
	struct buf expansion_filter;
	struct table_list *rbl_replies;
	struct table_list *sender_logins;
	/* tables that know recipients, or make them known */
	struct table_list *canonical;
	struct table_list *rcpt_canonical;
	struct table_list *sender_canonical;
	struct table_list *virtual_alias;
	struct table_list *local_rcpts;
	struct table_list *relay_rcpts;
	struct table_list *virtual_mailbox;
};

/* One evaluation. */
struct access_context {
	const struct access *access;
	const struct access_request *request;
	struct access_verdict *verdict;
	enum access_stage stage;
	enum access_thing thing; /* what the present list is about */
	unsigned depth;          /* of lists within lists */
	unsigned
	    warn_depth; /* warn_if_reject holds for lists from this depth on; 0: it does not hold */
	bool seen_unlisted_rcpt; /* reject_unlisted_recipient has been asked */
	bool seen_unlisted_sender;
	bool discarded; /* DISCARD: whether the recipient exists does not matter */
	struct access_pending if_permit;
	struct access_pending if_reject;
};

/* ---- access_list.c ---- */

/* Compiles the words of `text`. `thing` says what type:table alone means; ACCESS_THING_DATA and later: it is an error. */
void access_list_compile(
    const struct access *a, enum access_thing thing, struct span text, struct access_list *list);
void access_list_done(struct access_list *list);
/* Cuts the next word off; {...} belongs to it, with what is inside. */
bool access_list_word(struct span *rest, struct span *ret_word);

/* ---- access.c ---- */

/* Runs a list that an access table or class has given. */
enum access_result access_run_list(struct access_context *ctx, const struct access_list *list);

/*
 * Fills the verdict with "CODE DSN text"; ACCESS_REJECT, or with warn_if_reject a note and ACCESS_DUNNO. A pending
 * defer_if_reject takes the place of a 5xx; with soft_bounce 5xx becomes 4xx.
 */
enum access_result access_reject(
    struct access_context *ctx, int code, const char *dsn, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* The same with "<what>: CLASS rejected: " in front. */
enum access_result access_reject_thing(struct access_context *ctx, enum access_thing thing,
    int code, const char *dsn, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* The configuration or a table is broken: 451, whatever warn_if_reject says. */
enum access_result access_reject_broken(struct access_context *ctx);
enum access_result access_reject_lookup(struct access_context *ctx, const char *address);

/* A pending deferral takes the place of the verdict. */
void access_verdict_defer(struct access_verdict *verdict, const struct access_pending *pending);

/*
 * Remembers 450 (`code`) "<what>: CLASS rejected: text" for the end; the first one counts. Under warn_if_reject it is rejected, that is
 * warned of, at once.
 */
enum access_result access_defer_if_permit(struct access_context *ctx, enum access_thing thing,
    int code, const char *dsn, const char *text);
enum access_result access_defer_if_reject(struct access_context *ctx, enum access_thing thing,
    int code, const char *dsn, const char *text);

/* The same for what a DNS list could not be asked about. */
enum access_result access_defer_listed(struct access_context *ctx, const char *what);

/* Adds a note; `value` may be NULL. */
void access_note(
    struct access_context *ctx, enum access_note_kind kind, const char *text, const char *value);

/* A permitting action, for smtpd_log_access_permit_actions: "action=ACTION for CLASS=what from". Returns ACCESS_OK. */
enum access_result access_permitted(
    struct access_context *ctx, enum access_thing thing, const char *action, const char *from);

/* Appends what a thing is called in replies, "name[address]" and the like; and its class, "Client host". */
void access_thing_name(const struct access_context *ctx, enum access_thing thing, struct buf *out);
const char *access_thing_class(enum access_thing thing);
/* The value to look at, NULL: not known at this stage. Addresses in standard form. */
const char *access_thing_value(const struct access_context *ctx, enum access_thing thing);

/* ---- access_restrictions.c ---- */

/* Finds a restriction by name, letters of either case; NULL if nobody knows it. */
const struct access_restriction *access_restriction_find(struct span name);
/* What type:table alone means in a list; NULL: nothing. */
const struct access_restriction *access_restriction_for_table(enum access_thing thing);
/* True for the ones of which relay control needs at least one in its lists. */
bool access_restriction_guards_relay(struct span name);

/* Is the recipient one that this host answers for, or relays to on purpose, without routing tricks? */
enum table_result access_auth_destination(const struct access_context *ctx);
/* user@elsewhere@here, user%elsewhere@here, elsewhere!user@here: we (allow_percent_hack, swap_bangpath) or the next host would send it on. */
bool access_is_routed(struct span address);
/* ... and allow_untrusted_routing does not let strangers do that. */
bool access_is_untrusted_route(const struct access_context *ctx, struct span address);

/* ---- access_unlisted.c: does the address exist in its class? ---- */

enum access_result access_unlisted_recipient(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_unlisted_sender(
    struct access_context *ctx, const struct access_item *item);
bool access_unlisted_open(struct access *a, struct err *err);
void access_unlisted_close(struct access *a);
/* Looks up an address in the usual order of address tables. */
enum table_result access_address_lookup(const struct access *a, struct table_list *l,
    const char *address, struct buf *value, struct err *err);

/* ---- access_table.c: check_*_access ---- */

enum access_result access_check_client_table(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_check_helo_table(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_check_address_table(
    struct access_context *ctx, const struct access_item *item);
/* A name with its parent domains, or an address with its networks, of the thing of `item`; *ret_found: the table has it. */
enum access_result access_check_name(
    struct access_context *ctx, const struct access_item *item, const char *name, bool *ret_found);
enum access_result access_check_network(struct access_context *ctx, const struct access_item *item,
    const char *address, bool *ret_found);
/* A table may not permit by what a stranger's DNS says. */
enum access_result access_forbid_ok(struct access_context *ctx, const struct access_item *item,
    const char *name, enum access_result result);

/* ---- access_action.c: access(5) ---- */

/* Does what the table's result `value` says. Warnings name the table and `key`, what was looked up. */
enum access_result access_action(struct access_context *ctx, enum access_thing thing,
    const char *table, const char *key, const char *value);

/* Cuts "X.Y.Z" off the front of `text`; returns it in `dsn` if it is there, else `fallback`. */
struct span access_action_dsn(struct span text, const char *fallback, char dsn[12]);
/* What an X.1.Z code about an address becomes where it does not fit: at senders, at recipients, elsewhere (RFC 3463 section 3.2). */
void access_action_fit_dsn(enum access_thing thing, char dsn[12]);

/* ---- access_dns.c: what DNS says of names ---- */

enum access_result access_unknown_client(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_unknown_helo(struct access_context *ctx, const struct access_item *item);
enum access_result access_unknown_domain(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_check_a_table(struct access_context *ctx, const struct access_item *item);
enum access_result access_check_mx_table(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_check_ns_table(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_permit_mx_backup(
    struct access_context *ctx, const struct access_item *item);

/* ---- access_dnsbl.c: DNS lists ---- */

enum access_result access_reject_listed_address(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_reject_listed_domain(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_permit_listed_address(
    struct access_context *ctx, const struct access_item *item);
enum access_result access_permit_listed_domain(
    struct access_context *ctx, const struct access_item *item);

#endif
