/*
 * local_mailbox.c - a user's mail: another transport, a command, a maildir or mailbox at home or in the spool directory.
 */
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/log.h"
#include "mailbox/local_int.h"
#include "mailbox/mailbox.h"

/* Gives an address to another transport, the value of mailbox_transport and the like: the recipient as a whole, or a member of it. */
static void
local_pass(struct local_delivery *d, const struct local_item *item, const struct local_address *a,
    const char *transport)
{
	struct agent_work *w = d->work;
	struct span text = span_str(transport);
	size_t colon = span_find(text, ':');
	struct span nexthop = span_from(text, colon + 1);

	if (colon == 0 || span_equal_str(span_head(text, colon), w->service->name)) {
		log_warn("%s: a local recipient cannot be passed to transport \"%s\"", a->addr,
		    transport);
		local_note(d, a->addr, DELIVERY_DEFERRED, "4.3.5",
		    "mail system configuration error", NULL);
		return;
	}
	if (nexthop.len == 0)
		nexthop = w->request.nexthop;
	transport = arena_printf(
	    &w->arena, "%.*s:%.*s", SPAN_ARG(span_head(text, colon)), SPAN_ARG(nexthop));
	if (strcasecmp(a->addr, d->rcpt->addr.ptr) == 0)
		d->pass = transport;
	else if (!local_probe(d, a->addr, arena_printf(&w->arena, "passes to %s", transport)))
		local_indirect_pass(d, item->context, a->addr, transport);
}

bool
local_pass_by(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, enum conf_param maps, const char *maps_name,
    const char *transport)
{
	struct buf value CLEANUP(buf_done) = {0};

	switch (agent_work_lookup(d->work, maps, AGENT_WORK_WHOLE, span_str(a->user), &value)) {
	case AGENT_WORK_FOUND:
		local_pass(d, item, a, buf_str(&value));
		return true;
	case AGENT_WORK_TRY_AGAIN:
		local_note_table(d, a->addr, maps_name, &value);
		return true;
	case AGENT_WORK_ABSENT:
		break;
	}
	if (transport[0] != '\0')
		local_pass(d, item, a, transport);
	return transport[0] != '\0';
}

/* True: a command has it, or the tables cannot say. */
static bool
local_mailbox_command(
    struct local_delivery *d, const struct local_context *c, const struct local_address *a)
{
	struct agent_work *w = d->work;
	const char *command = conf_str(w->conf, CONF_mailbox_command);
	struct buf value CLEANUP(buf_done) = {0};

	switch (agent_work_lookup(
	    w, CONF_mailbox_command_maps, AGENT_WORK_WHOLE, span_str(a->user), &value)) {
	case AGENT_WORK_FOUND:
		local_command(d, c, arena_strdup(&w->arena, buf_str(&value)));
		return true;
	case AGENT_WORK_TRY_AGAIN:
		local_note_table(d, a->addr, "mailbox_command_maps", &value);
		return true;
	case AGENT_WORK_ABSENT:
		break;
	}
	if (command[0] != '\0')
		local_command(d, c, command);
	return command[0] != '\0';
}

static void
local_to_maildir(struct local_delivery *d, const struct local_context *c,
    const struct local_address *a, const char *path)
{
	const struct maildir dir = {
	    .path = path,
	    .uid = c->user.uid,
	    .gid = c->user.gid,
	    .limit = conf_size(d->work->conf, CONF_mailbox_size_limit),
	    .default_dsn = "5.2.0",
	};
	const struct mailbox_copy copy = local_copy(d, c, MAILBOX_COPY_MAILDIR, "file");
	struct err err;

	if (local_probe(d, a->addr, "delivers to maildir"))
		return;
	if (maildir_deliver(d->work, &dir, &copy, &err)) {
		local_note(d, a->addr, DELIVERY_SENT, "2.0.0", "delivered to maildir", NULL);
		return;
	}
	(void)err_prefix(&err, "maildir delivery failed");
	local_note_err(d, a->addr, &err);
}

/*
 * Who creates and locks a mailbox in the spool directory: everybody may, or its group may, or only root, who then gives it to the
 * user.
 */
static void
local_spool_rights(const char *spool, struct mailbox_rights *r)
{
	struct stat st;

	r->open_uid = r->uid;
	r->open_gid = r->gid;
	if (spool == NULL || stat(spool, &st) != 0 || (st.st_mode & S_IWOTH) != 0)
		return;
	if ((st.st_mode & S_IWGRP) != 0)
		r->open_gid = st.st_gid;
	else
		r->open_uid = r->open_gid = 0;
}

static void
local_to_mailbox(struct local_delivery *d, const struct local_context *c,
    const struct local_address *a, const char *path, const char *spool)
{
	const struct conf *conf = d->work->conf;
	struct mailbox_file file = {
	    .path = path,
	    .rights =
		{
		    .uid = c->user.uid,
		    .gid = c->user.gid,
		    .strict_owner = conf_bool(conf, CONF_strict_mailbox_ownership),
		},
	    .locks = mailbox_locks_of(conf, CONF_mailbox_delivery_lock),
	    .limit = conf_size(conf, CONF_mailbox_size_limit),
	    .default_dsn = "5.2.0",
	};
	const struct mailbox_copy copy = local_copy(d, c, MAILBOX_COPY_MBOX, "file");
	struct err err;

	if (local_probe(d, a->addr, "delivers to mailbox"))
		return;
	local_spool_rights(spool, &file.rights);
	if (mailbox_deliver(d->work, &file, &copy, &err)) {
		local_note(d, a->addr, DELIVERY_SENT, "2.0.0", "delivered to mailbox", NULL);
		return;
	}
	if (err.kind != ERR_GONE) {
		char text[sizeof(err.text)];

		memcpy(text, err.text, sizeof(text));
		(void)err_set(&err, err.kind, arena_strdup(&d->work->arena, err.dsn),
		    "cannot update mailbox %s for user %s. %s", path, a->user, text);
	}
	local_note_err(d, a->addr, &err);
}

static bool
local_ends_in_slash(const char *path)
{
	size_t len = strlen(path);

	return len > 0 && path[len - 1] == '/';
}

/* Postfix's order: a maildir at home, a maildir in the spool directory, a file at home, a file in the spool directory. */
static void
local_mailbox_file(
    struct local_delivery *d, const struct local_context *c, const struct local_address *a)
{
	struct arena *arena = &d->work->arena;
	const char *home = conf_str(d->work->conf, CONF_home_mailbox);
	const char *spool = conf_str(d->work->conf, CONF_mail_spool_directory);

	if (local_ends_in_slash(home))
		local_to_maildir(d, c, a, arena_printf(arena, "%s/%s", c->user.home, home));
	else if (local_ends_in_slash(spool))
		local_to_maildir(d, c, a, arena_printf(arena, "%s%s/", spool, a->user));
	else if (home[0] != '\0')
		local_to_mailbox(d, c, a, arena_printf(arena, "%s/%s", c->user.home, home), NULL);
	else
		local_to_mailbox(d, c, a, arena_printf(arena, "%s/%s", spool, a->user), spool);
}

bool
local_mailbox(
    struct local_delivery *d, const struct local_item *item, const struct local_address *a)
{
	struct local_context *c = arena_new(&d->work->arena, struct local_context);

	/* Back at somebody unknown by luser_relay: he stays unknown. */
	if (!local_first_time(d, "mailbox %s", a->local))
		return local_first_time(d, "unknown %s", a->local);
	if (local_pass_by(d, item, a, CONF_mailbox_transport_maps, "mailbox_transport_maps",
		conf_str(d->work->conf, CONF_mailbox_transport)))
		return true;
	*c = *item->context;
	c->source = LOCAL_FROM_SENDER;
	c->address = a;
	if (!local_find_user(d, a->addr, a->user, &c->user))
		return true;
	if (!c->user.known) {
		(void)local_first_time(d, "unknown %s", a->local);
		return false;
	}
	if (!local_mailbox_command(d, c, a))
		local_mailbox_file(d, c, a);
	return true;
}
