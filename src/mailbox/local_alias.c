/*
 * local_alias.c - aliases(5), members of lists, and addresses that lead elsewhere.
 */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "mailbox/local_int.h"
#include "mailbox/local_list.h"

/* ---- where an address goes ---- */

struct local_route {
	const char *addr; /* standard form */
	const char *transport;
	const char *nexthop;
};

static bool
local_route(struct local_delivery *d, const char *text, struct local_route *ret)
{
	struct agent_work *w = d->work;
	struct buf value CLEANUP(buf_done) = {0};
	char *rest, *copy;

	if (agent_work_lookup(w, CONF_COUNT, AGENT_WORK_ROUTE, span_str(text), &value) !=
	    AGENT_WORK_FOUND)
		return false;
	rest = copy = arena_strdup(&w->arena, buf_str(&value));
	ret->addr = strsep(&rest, "\n");
	ret->transport = rest != NULL ? strsep(&rest, "\n") : "";
	ret->nexthop = rest != NULL ? rest : "";
	return true;
}

/* user@domain and "ext" become user+ext@domain. */
static const char *
local_with_extension(struct local_delivery *d, const char *addr, const char *extension)
{
	struct mail_addr a = mail_addr_split(span_str(addr));
	const char *delimiters = conf_str(d->work->conf, CONF_recipient_delimiter);

	if (extension == NULL || delimiters[0] == '\0')
		return addr;
	return arena_printf(&d->work->arena, "%.*s%c%s%s%.*s", SPAN_ARG(a.local), delimiters[0],
	    extension, a.has_domain ? "@" : "", SPAN_ARG(a.domain));
}

static void
local_member_address(struct local_delivery *d, const struct local_item *item)
{
	const struct local_context *c = item->context;
	struct local_item next = {.context = c, .is_recipient = true};
	struct buf plain CLEANUP(buf_done) = {0};
	struct local_route route;
	const char *text = item->text;

	/* "\user" is "user": the parser of addresses takes the backslash away, as in Postfix. */
	text += text[0] == '\\';
	if (!mail_addr_unquote(&plain, span_str(text))) {
		buf_clear(&plain);
		buf_add_str(&plain, text);
	}
	if (strcmp(buf_str(&plain), "@") == 0 || plain.len == 0) {
		log_warn("%s: member \"%s\" is no address", c->address->addr, item->text);
		return;
	}
	if (!local_route(d, buf_str(&plain), &route)) {
		local_note(d, c->address->addr, DELIVERY_DEFERRED, "4.3.0",
		    "address resolver failure", NULL);
		return;
	}
	if (strcmp(route.transport, "error") == 0 &&
	    span_starts(span_str(route.nexthop), "5.1.3 ")) {
		local_note(d, c->address->addr, DELIVERY_BOUNCED, "5.1.3",
		    arena_printf(&d->work->arena, "bad recipient address syntax: %s", route.addr),
		    NULL);
		return;
	}
	route.addr = local_with_extension(d, route.addr, c->unmatched);
	if (strcmp(route.transport, d->work->service->name) == 0) {
		next.text = route.addr;
		local_push(d, &next);
	} else {
		local_indirect(d, c, route.addr);
	}
}

void
local_member(struct local_delivery *d, const struct local_item *item)
{
	static const char include[] = ":include:";
	const struct local_context *c = item->context;
	const char *text = item->text;

	if (item->is_address) {
		local_member_address(d, item);
	} else if (strncasecmp(text, include, sizeof(include) - 1) == 0) {
		local_include(d, c, text + sizeof(include) - 1);
	} else if (text[0] == '|') {
		local_command(d, c, text + 1);
	} else if (text[0] == '/') {
		local_file(d, c, text);
	} else if (strncmp(text, "~/", 2) == 0 && c->user.known) {
		local_file(d, c, arena_printf(&d->work->arena, "%s/%s", c->user.home, text + 2));
	} else {
		local_member_address(d, item);
	}
}

/* ---- lists ---- */

struct local_members {
	const char **list;
	size_t count;
	size_t room;
};

static void
local_members_add(struct local_members *m, struct span text, struct arena *arena)
{
	const char *one;

	while (m->count < LOCAL_ITEMS_MAX && (one = local_list_next(&text, arena)) != NULL) {
		if (m->count == m->room) {
			m->room = m->room * 2 + 16;
			m->list = mem_resize(m->list, m->room, sizeof(m->list[0]));
		}
		m->list[m->count++] = one;
	}
}

size_t
local_push_members(
    struct local_delivery *d, const struct local_context *context, struct span list, bool lines)
{
	struct local_members m = {0};

	if (!lines)
		local_members_add(&m, list, &d->work->arena);
	while (lines && list.len > 0) {
		struct span line = span_head(list, span_find(list, '\n'));

		list = span_from(list, line.len + 1);
		if (!span_starts(line, "#"))
			local_members_add(&m, line, &d->work->arena);
	}
	for (size_t i = m.count; i-- > 0;)
		local_push(d, &(struct local_item){.context = context, .text = m.list[i]});
	mem_free(m.list);
	return m.count;
}

/* ---- aliases ---- */

/* The address owner-name, if there is such an alias. */
static enum agent_work_lookup
local_find_owner(struct local_delivery *d, const char *name, const char **ret)
{
	struct agent_work *w = d->work;
	struct buf value CLEANUP(buf_done) = {0};
	const char *owner = arena_printf(&w->arena, "owner-%s", name);
	enum agent_work_lookup found;
	struct local_route route;

	*ret = NULL;
	if (!conf_bool(w->conf, CONF_owner_request_special))
		return AGENT_WORK_ABSENT;
	found = agent_work_lookup(w, CONF_alias_maps, AGENT_WORK_ALIAS, span_str(owner), &value);
	if (found != AGENT_WORK_FOUND)
		return found;
	if (conf_bool(w->conf, CONF_expand_owner_alias))
		owner = strchr(buf_str(&value), ' ') + 1;
	if (!local_route(d, owner, &route))
		route.addr = owner;
	*ret = arena_strdup(&w->arena, route.addr);
	return AGENT_WORK_FOUND;
}

bool
local_owner_of(struct local_delivery *d, const struct local_address *a, const char **ret)
{
	enum agent_work_lookup found = local_find_owner(d, a->local, ret);

	if (found == AGENT_WORK_ABSENT && a->extension != NULL)
		found = local_find_owner(d, a->user, ret);
	return found != AGENT_WORK_TRY_AGAIN;
}

/* The owner of a list: its sender from here on. False: noted as deferred. */
static bool
local_alias_owner(struct local_delivery *d, const struct local_address *a, const char *name,
    struct local_context *c)
{
	const char *owner;

	switch (local_find_owner(d, name, &owner)) {
	case AGENT_WORK_TRY_AGAIN:
		local_note(
		    d, a->addr, DELIVERY_DEFERRED, "4.3.0", "alias database unavailable", NULL);
		return false;
	case AGENT_WORK_ABSENT:
		if (conf_bool(d->work->conf, CONF_reset_owner_alias))
			c->owner = NULL;
		return true;
	case AGENT_WORK_FOUND:
		break;
	}
	c->sender = c->owner = owner;
	c->list = true;
	return true;
}

/* Commands and files of an alias are its table's owner's; root's are default_privs'. */
static void
local_alias_rights(struct local_delivery *d, unsigned uid, struct local_context *c)
{
	(void)local_user_of(d, uid, &c->user);
}

static void
local_alias_expand(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, const char *name, bool bare, const char *value)
{
	struct local_context *c = arena_new(&d->work->arena, struct local_context);
	char *members;
	unsigned long uid = strtoul(value, &members, 10);

	*c = *item->context;
	c->source = LOCAL_FROM_ALIAS;
	c->depth++;
	c->address = a;
	c->expanded = name;
	c->unmatched = bare && conf_has(d->work->conf, CONF_propagate_unmatched_extensions, "alias")
			   ? a->extension
			   : NULL;
	local_alias_rights(d, (unsigned)uid, c);
	if (!local_alias_owner(d, a, name, c))
		return;
	if (local_push_members(d, c, span_str(members), false) == 0) {
		log_warn("no recipient in alias lookup result for %s", name);
		local_note(
		    d, a->addr, DELIVERY_DEFERRED, "4.3.0", "alias database unavailable", NULL);
		return;
	}
	local_note_expanded(d, c->list);
}

bool
local_alias(struct local_delivery *d, const struct local_item *item, const struct local_address *a,
    const char *name, bool bare)
{
	struct agent_work *w = d->work;
	struct buf value CLEANUP(buf_done) = {0};

	/* An alias that lists itself means the user. */
	if (item->context->expanded != NULL && strcasecmp(item->context->expanded, name) == 0)
		return false;
	if (item->context->depth > LOCAL_DEPTH_MAX) {
		log_warn("alias database loop for %s", name);
		local_note(d, a->addr, DELIVERY_BOUNCED, "5.4.6",
		    arena_printf(&w->arena, "alias database loop for %s", name), NULL);
		return true;
	}
	switch (agent_work_lookup(w, CONF_alias_maps, AGENT_WORK_ALIAS, span_str(name), &value)) {
	case AGENT_WORK_ABSENT:
		return false;
	case AGENT_WORK_TRY_AGAIN:
		local_note(
		    d, a->addr, DELIVERY_DEFERRED, "4.3.0", "alias database unavailable", NULL);
		return true;
	case AGENT_WORK_FOUND:
		break;
	}
	local_alias_expand(d, item, a, name, bare, arena_strdup(&w->arena, buf_str(&value)));
	return true;
}
