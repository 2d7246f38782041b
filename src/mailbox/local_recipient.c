/*
 * local_recipient.c - what becomes of an address of ours, in this order: aliases; resubmission
 * where a list has an owner; the user's forward file; the mailbox; what is left for unknown users.
 */
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "mail/mail_addr.h"
#include "mailbox/local_int.h"

void
local_address_of(struct local_delivery *d, const char *addr, struct local_address *ret)
{
	struct arena *arena = &d->work->arena;
	const struct conf *c = d->work->conf;
	struct mail_addr a = mail_addr_split(span_str(addr));
	char *local = arena_dup(arena, a.local);
	size_t cut;

	mail_addr_fold(local, a.local.len);
	cut = mail_addr_extension(span_str(local), conf_str(c, CONF_recipient_delimiter),
	    !conf_bool(c, CONF_owner_request_special));
	ret->addr = addr;
	ret->local = local;
	ret->user = arena_dup(arena, span_head(span_str(local), cut));
	ret->extension = local[cut] != '\0' ? local + cut + 1 : NULL;
	ret->domain = arena_dup(arena, a.domain);
}

static void
local_user_fill(struct local_delivery *d, const struct passwd *pw, struct local_user *ret)
{
	struct arena *arena = &d->work->arena;

	*ret = (struct local_user){
	    .known = true,
	    .uid = pw->pw_uid,
	    .gid = pw->pw_gid,
	    .name = arena_strdup(arena, pw->pw_name),
	    .home = arena_strdup(arena, pw->pw_dir),
	    .shell = arena_strdup(arena, pw->pw_shell),
	};
}

bool
local_user_of(struct local_delivery *d, uid_t uid, struct local_user *ret)
{
	const struct passwd *pw = uid != 0 ? getpwuid(uid) : NULL;

	*ret = (struct local_user){0};
	if (pw != NULL)
		local_user_fill(d, pw, ret);
	return ret->known;
}

bool
local_find_user(
    struct local_delivery *d, const char *addr, const char *name, struct local_user *ret)
{
	const struct passwd *pw;

	*ret = (struct local_user){0};
	errno = 0;
	pw = getpwnam(name);
	if (pw == NULL) {
		if (errno == 0 || errno == ENOENT || errno == ESRCH || errno == EBADF ||
		    errno == EPERM)
			return true;
		log_warn("error looking up passwd info for %s: %s", name, strerror(errno));
		local_note(d, addr, DELIVERY_DEFERRED, "4.0.0", "user lookup error", NULL);
		return false;
	}
	local_user_fill(d, pw, ret);
	if (ret->shell[0] == '\0')
		ret->shell = "/bin/sh";
	return true;
}

/* ---- $name ---- */

struct local_values {
	struct local_delivery *delivery;
	const struct local_address *address;
	const struct local_user *user;
	bool undefined;
	bool extension;
	char delimiter[2];
};

static const char *
local_value(void *arg, struct span name)
{
	struct local_values *v = arg;
	const struct local_address *a = v->address;

	if (span_equal_str(name, "user"))
		return a->user;
	if (span_equal_str(name, "home"))
		return v->user != NULL ? v->user->home : NULL;
	if (span_equal_str(name, "shell"))
		return v->user != NULL ? v->user->shell : NULL;
	if (span_equal_str(name, "domain"))
		return a->domain;
	if (span_equal_str(name, "local"))
		return a->local;
	if (span_equal_str(name, "mailbox"))
		return a->local;
	if (span_equal_str(name, "recipient"))
		return a->addr;
	if (span_equal_str(name, "sender"))
		return v->delivery->work->request.sender.ptr;
	if (span_equal_str(name, "extension")) {
		v->extension = v->extension || a->extension != NULL;
		return a->extension;
	}
	if (!span_equal_str(name, "recipient_delimiter"))
		return NULL;
	/* The one that was found, or all that might have been. */
	if (a->extension == NULL)
		return conf_str(v->delivery->work->conf, CONF_recipient_delimiter);
	v->delimiter[0] = a->extension[-1];
	return v->delimiter;
}

static void
local_value_undefined(void *arg, struct span name UNUSED)
{
	struct local_values *v = arg;

	v->undefined = true;
}

bool
local_expand(struct local_delivery *d, const struct local_address *a, const struct local_user *user,
    const char *text, const char *filter, struct buf *out, bool *ret_used_extension)
{
	struct local_values values = {.delivery = d, .address = a, .user = user};
	const struct macro_source source = {
	    .lookup = local_value,
	    .arg = &values,
	    .filter = filter,
	    .undefined = local_value_undefined,
	};
	struct err err;

	if (!macro_expand(span_str(text), &source, out, &err)) {
		log_warn("%s: %s", text, err.text);
		return false;
	}
	if (ret_used_extension != NULL)
		*ret_used_extension = values.extension;
	return !values.undefined;
}

/* ---- unknown users ---- */

/* True: the address of luser_relay has it. */
static bool
local_unknown_relay(
    struct local_delivery *d, const struct local_item *item, const struct local_address *a)
{
	const char *relay = conf_str(d->work->conf, CONF_luser_relay);
	struct local_context *context;
	struct buf out CLEANUP(buf_done) = {0};

	if (relay[0] == '\0')
		return false;
	(void)local_expand(d, a, NULL, relay, NULL, &out, NULL);
	if (!local_first_time(d, "luser %s", buf_str(&out)))
		return false;
	context = arena_new(&d->work->arena, struct local_context);
	*context = *item->context;
	context->address = a;
	context->unmatched = NULL;
	context->depth++;
	local_push(d, &(struct local_item){
			  .context = context,
			  .text = arena_strdup(&d->work->arena, buf_str(&out)),
			  .is_address = true,
		      });
	return true;
}

static void
local_unknown(
    struct local_delivery *d, const struct local_item *item, const struct local_address *a)
{
	if (local_pass_by(d, item, a, CONF_fallback_transport_maps, "fallback_transport_maps",
		conf_str(d->work->conf, CONF_fallback_transport)) ||
	    local_unknown_relay(d, item, a))
		return;
	if (strcasecmp(a->user, "mailer-daemon") == 0 || strcasecmp(a->user, "postmaster") == 0) {
		log_warn("required alias not found: %s", a->user);
		local_note(d, a->addr, DELIVERY_SENT, "2.0.0", "discarded", NULL);
		return;
	}
	local_note(d, a->addr, DELIVERY_BOUNCED, "5.1.1",
	    arena_printf(&d->work->arena, "unknown user: \"%s\"", a->user), NULL);
}

static void
local_user_mailbox(
    struct local_delivery *d, const struct local_item *item, const struct local_address *a)
{
	if (!local_mailbox(d, item, a))
		local_unknown(d, item, a);
}

/* ---- the switch ---- */

static bool
local_is_loop(const struct local_delivery *d, const char *addr)
{
	struct span rest = buf_span(&d->loops);

	while (rest.len != 0) {
		struct span one = span_head(rest, span_find(rest, '\n'));

		rest = span_from(rest, one.len + 1);
		if (span_equal_nocase_str(one, addr))
			return true;
	}
	return false;
}

/* Members that are other users of this host get a message of their own where a list has an owner, and from include files. */
static bool
local_wants_own_message(const struct local_item *item, const struct local_address *a)
{
	const struct local_context *c = item->context;

	if (c->owner != NULL && strcasecmp(c->owner, a->user) != 0)
		return true;
	return c->source == LOCAL_FROM_INCLUDE;
}

static bool
local_home_is_there(struct local_delivery *d, const struct local_address *a)
{
	struct local_user user;

	if (!conf_bool(d->work->conf, CONF_require_home_directory))
		return true;
	if (!local_find_user(d, a->addr, a->user, &user))
		return false;
	return !user.known || local_home_accessible(d, a, &user);
}

void
local_recipient(struct local_delivery *d, const struct local_item *item)
{
	struct local_address *a = arena_new(&d->work->arena, struct local_address);

	local_address_of(d, item->text + (item->text[0] == '\\'), a);
	if (!local_first_time(d, "recipient %d %s", item->context->depth, a->addr))
		return;
	if (local_is_loop(d, a->addr)) {
		local_note_to_owner(d, a, DELIVERY_BOUNCED, "5.4.6",
		    arena_printf(&d->work->arena, "mail forwarding loop for %s", a->addr), NULL);
		return;
	}
	if (local_alias(d, item, a, a->local, false) ||
	    (a->extension != NULL && local_alias(d, item, a, a->user, true)))
		return;
	if (local_wants_own_message(item, a)) {
		local_indirect(d, item->context, a->addr);
		return;
	}
	if (!local_home_is_there(d, a) || local_forward_file(d, item, a, a->extension))
		return;
	local_user_mailbox(d, item, a);
}
