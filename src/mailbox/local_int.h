/*
 * local_int.h - what the files of local(8) share. A recipient becomes a stack of items: names and directives that are still to be
 * looked at. Aliases, forward files and includes put their members on it instead of recursing, so that depth costs no stack. Each
 * part that ends is noted in the delivery; when the stack is empty, the parts together are the recipient's outcome.
 */
#ifndef MAILBOX_LOCAL_INT_H
#define MAILBOX_LOCAL_INT_H

#include <sys/types.h>

#include "agent/agent_worker_side.h"
#include "base/base.h"
#include "base/hmap.h"
#include "conf/macro.h"
#include "mailbox/mailbox_copy.h"

/* Aliases of aliases of ... */
#define LOCAL_DEPTH_MAX 100
/* Items that one recipient may become. */
#define LOCAL_ITEMS_MAX 100000
/* Bytes of a forward or include file that are read. */
#define LOCAL_FILE_MAX  (8u << 20)

enum local_source {
	LOCAL_FROM_SENDER, /* the recipient itself, mailbox_command */
	LOCAL_FROM_ALIAS,
	LOCAL_FROM_FORWARD,
	LOCAL_FROM_INCLUDE,
};

/* Whose rights a command or file is used with. */
struct local_user {
	bool known; /* somebody in particular; else default_privs */
	uid_t uid;
	gid_t gid;
	const char *name;
	const char *home;
	const char *shell;
};

/* An address that we deliver, taken apart. */
struct local_address {
	const char *addr;
	const char *local;     /* lower case, with extension */
	const char *user;      /* without */
	const char *extension; /* NULL: none */
	const char *domain;
};

/* What members of an expansion inherit; in the arena, never changed once they have it. */
struct local_context {
	enum local_source source;
	const struct local_address
	    *address; /* that was expanded: whom commands and files are for */
	int depth;
	const char *sender;
	const char *
	    owner; /* NULL: none; else members that are other users are forwarded, not delivered here */
	const char
	    *expanded; /* the name that was expanded: it is not expanded again by its own members */
	const char *unmatched; /* address extension that members get; NULL: none */
	const char *delivered; /* for Delivered-To: */
	bool
	    list; /* it has an owner: a mailing list, about which the original sender is told nothing */
	struct local_user user;
};

/* Something on the stack: a member as it is written, or a recipient. */
struct local_item {
	const struct local_context *context;
	const char *text;
	bool is_recipient; /* `text` is an address that is delivered by us */
	bool is_address;   /* it stands where there is no command or file */
};

/* Recipients of a message that is queued anew. */
struct local_forward {
	const char *sender;
	const char *delivered;
	const char *pass; /* "transport:nexthop" that gets it as it is; "": none */
	struct buf rcpts; /* records of delivery_forward.h; owned */
	struct local_forward *next;
};

/* One recipient's delivery. */
struct local_delivery {
	struct agent_work *work;
	size_t index; /* of the recipient */
	const struct delivery_rcpt *rcpt;
	const char *orig_addr;
	struct buf loops; /* addresses of Delivered-To: headers of the message, one per LF */
	struct local_item *stack; /* owned */
	size_t depth;
	size_t room;
	size_t items;                        /* ever on the stack */
	struct hmap *seen;                   /* for this recipient: what was done already */
	const struct local_context *context; /* of the item that is looked at */
	struct local_forward *forwards;

	uint32_t notify; /* DSN NOTIFY for what comes of it */
	const char *
	    expanded; /* action of the report that it was expanded, which the sender asked for; NULL: none */
	bool deferred; /* a part is to be tried again: then all of it is */
	const char *defer_dsn, *defer_text, *defer_diagnostic;
	bool sent;
	const char *sent_text;
	struct buf failures; /* records of delivery_forward.h; for a probe of all parts */
	size_t failed;
	size_t
	    failed_apart; /* of these: others than the sender are told, or not what he asked for */
	const char *fail_addr, *fail_dsn, *fail_text, *fail_diagnostic;
	const char *pass; /* "transport:nexthop" that is to have this recipient; NULL: none */
	bool gone;        /* the lease is over: nothing more is to be done */
};

/* ---- local.c ---- */

void local_push(struct local_delivery *d, const struct local_item *item);
/* True the first time that this is seen for the recipient (letters of either case being equal). */
bool local_first_time(struct local_delivery *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Notes and logs the end of a part. `addr` is whom it was for. */
void local_note(struct local_delivery *d, const char *addr, enum delivery_status status,
    const char *dsn, const char *text, const char *diagnostic);
/* The same; a failure is told to the alias owner-name of `a`, if there is one. */
void local_note_to_owner(struct local_delivery *d, const struct local_address *a,
    enum delivery_status status, const char *dsn, const char *text, const char *diagnostic);
/* The same from an error: ERR_PERM bounces. */
void local_note_err(struct local_delivery *d, const char *addr, const struct err *err);
/* Nothing is delivered for a probe, which hears what would be done. True: it is one. */
bool local_probe(struct local_delivery *d, const char *addr, const char *what);
/* It is expanded: reports of success end here, with one about that. */
void local_note_expanded(struct local_delivery *d, bool list);
/* A table that cannot be asked. */
void local_note_table(
    struct local_delivery *d, const char *addr, const char *table, const struct buf *why);

/* ---- local_recipient.c: what becomes of an address of ours ---- */

void local_recipient(struct local_delivery *d, const struct local_item *item);
/* A user by name. False: noted as deferred. `ret->known` is false when there is none. */
bool local_find_user(
    struct local_delivery *d, const char *addr, const char *name, struct local_user *ret);
/* The owner of an alias table or include file. False: root, or nobody known; then `*ret` is empty. */
bool local_user_of(struct local_delivery *d, uid_t uid, struct local_user *ret);
/* A name with the values of a delivery: $user, $home, $extension, ... */
bool local_expand(struct local_delivery *d, const struct local_address *a,
    const struct local_user *user, const char *text, const char *filter, struct buf *out,
    bool *ret_used_extension);

/* ---- local_alias.c, local_forward.c: expansions; true: it was one ---- */

/* `bare`: `name` is the address without its extension. */
bool local_alias(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, const char *name, bool bare);
/* Who owns the alias or user: owner-name in alias_maps, its expansion by expand_owner_alias. NULL: nobody. False: not known now. */
bool local_owner_of(
    struct local_delivery *d, const struct local_address *a, const char **ret) MUST_CHECK;
bool local_forward_file(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, const char *unmatched);
/* False: noted as deferred. */
bool local_home_accessible(
    struct local_delivery *d, const struct local_address *a, const struct local_user *user);
void local_include(struct local_delivery *d, const struct local_context *context, const char *path);
/* Puts the members of a list on the stack, first one on top; their number. */
size_t local_push_members(
    struct local_delivery *d, const struct local_context *context, struct span list, bool lines);
/* A member: command, file, include or address. */
void local_member(struct local_delivery *d, const struct local_item *item);

/* ---- local_mailbox.c, local_command.c: deliveries ---- */

/* False: there is no such user. */
bool local_mailbox(
    struct local_delivery *d, const struct local_item *item, const struct local_address *a);
void local_command(
    struct local_delivery *d, const struct local_context *context, const char *command);
void local_file(struct local_delivery *d, const struct local_context *context, const char *path);
/* What a copy written for "command" or "file" looks like (prepend_delivered_header). */
struct mailbox_copy local_copy(const struct local_delivery *d, const struct local_context *c,
    unsigned flags, const char *delivered_for);
/*
 * Settles an address by giving it to another transport: what the tables of `maps` say of the user, else `transport` ("": none). True:
 * it is settled, perhaps only because the tables cannot say.
 */
bool local_pass_by(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, enum conf_param maps, const char *maps_name,
    const char *transport);

/* ---- local_indirect.c ---- */

/* `addr` gets the message in a new one. */
void local_indirect(
    struct local_delivery *d, const struct local_context *context, const char *addr);
/* `addr`, a member of the recipient, gets it as it is, by `pass`, "transport:nexthop". */
void local_indirect_pass(struct local_delivery *d, const struct local_context *context,
    const char *addr, const char *pass);

/* Takes an address of ours apart. */
void local_address_of(struct local_delivery *d, const char *addr, struct local_address *ret);

#endif
