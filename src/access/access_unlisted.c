/*
 * access_unlisted.c - does an address exist in its address class? reject_unlisted_recipient and reject_unlisted_sender, with the
 * tables that each class has for it (Postfix's ADDRESS_CLASS_README). A class without a table knows all addresses.
 */
#include "access/access_int.h"
#include "table/table_address.h"

/* Can nothing but the class of an address make it undeliverable? Then the way to its next hop need not be found here. */
static bool
access_is_routed_by_class(const struct conf *conf)
{
	static const enum conf_param tables[] = {CONF_transport_maps, CONF_relocated_maps,
	    CONF_sender_dependent_relayhost_maps, CONF_sender_dependent_default_transport_maps};
	static const enum conf_param transports[] = {CONF_local_transport, CONF_virtual_transport,
	    CONF_relay_transport, CONF_default_transport};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		if (conf_str(conf, tables[i])[0] != '\0')
			return false;
	for (size_t i = 0; i < ARRAY_LEN(transports); i++)
		if (span_starts(span_str(conf_str(conf, transports[i])), "error") ||
		    span_starts(span_str(conf_str(conf, transports[i])), "retry"))
			return false;
	return true;
}

bool
access_unlisted_open(struct access *a, struct err *err UNUSED)
{
	a->canonical = table_list_of(a->conf, CONF_canonical_maps, 0);
	a->rcpt_canonical = table_list_of(a->conf, CONF_recipient_canonical_maps, 0);
	a->sender_canonical = table_list_of(a->conf, CONF_sender_canonical_maps, 0);
	a->virtual_alias = table_list_of(a->conf, CONF_virtual_alias_maps, 0);
	a->local_rcpts = table_list_of(a->conf, CONF_local_recipient_maps, 0);
	a->relay_rcpts = table_list_of(a->conf, CONF_relay_recipient_maps, 0);
	a->virtual_mailbox = table_list_of(a->conf, CONF_virtual_mailbox_maps, 0);
	a->routed_by_class = access_is_routed_by_class(a->conf);
	return true;
}

void
access_unlisted_close(struct access *a)
{
	table_list_close(&a->canonical);
	table_list_close(&a->rcpt_canonical);
	table_list_close(&a->sender_canonical);
	table_list_close(&a->virtual_alias);
	table_list_close(&a->local_rcpts);
	table_list_close(&a->relay_rcpts);
	table_list_close(&a->virtual_mailbox);
}

/* $myorigin, mydestination and this host's addresses: there a table may leave the domain out. */
static enum table_result
access_is_local_domain(void *arg, struct span domain, struct err *err UNUSED)
{
	const struct access *a = arg;
	bool local = span_equal_nocase(domain, span_str(conf_str(a->conf, CONF_myorigin))) ||
		     rewrite_class_of(a->rewrite, domain) == REWRITE_LOCAL;

	return local ? TABLE_FOUND : TABLE_NOT_FOUND;
}

enum table_result
access_address_lookup(const struct access *a, struct table_list *l, const char *address,
    struct buf *value, struct err *err)
{
	const struct table_address_rules rules = {
	    .forms = TABLE_ADDRESS_REWRITE,
	    .delimiters = conf_str(a->conf, CONF_recipient_delimiter),
	    .owner_request_split = !conf_bool(a->conf, CONF_owner_request_special),
	    .is_local = access_is_local_domain,
	    .arg = (void *)(uintptr_t)a,
	};

	if (table_list_is_empty(l))
		return TABLE_NOT_FOUND;
	return table_address_lookup(l, &rules, span_str(address), value, NULL, err);
}

/* The address as this file sees it. */
struct access_unlisted {
	struct access_context *ctx;
	enum access_thing thing;
	const char *address;
	struct arena arena;
};

/* Tables that turn it into another address make it exist. */
static enum table_result
access_unlisted_is_rewritten(const struct access_unlisted *u)
{
	const struct access *a = u->ctx->access;
	struct table_list *lists[] = {
	    a->rcpt_canonical,
	    u->thing == ACCESS_THING_SENDER ? a->sender_canonical : NULL,
	    a->canonical,
	    a->virtual_alias,
	};
	struct buf value CLEANUP(buf_done) = {0};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		enum table_result found =
		    access_address_lookup(a, lists[i], u->address, &value, &err);

		if (found != TABLE_NOT_FOUND)
			return found;
	}
	return TABLE_NOT_FOUND;
}

static enum access_result
access_unlisted_reject(const struct access_unlisted *u, enum conf_param code, const char *where)
{
	const struct conf *conf = u->ctx->access->conf;
	bool tell = conf_bool(conf, CONF_show_user_unknown_table_name);

	return access_reject_thing(u->ctx, u->thing, conf_int(conf, code),
	    u->thing == ACCESS_THING_SENDER ? "5.1.0" : "5.1.1", "User unknown%s",
	    tell ? where : "");
}

/* Known to the table of its class? */
/* A table cannot be asked: said of the address as the client gave it. */
static enum access_result
access_unlisted_trouble(const struct access_unlisted *u)
{
	struct buf name CLEANUP(buf_done) = {0};

	access_thing_name(u->ctx, u->thing, &name);
	return access_reject_lookup(u->ctx, buf_str(&name));
}

static enum access_result
access_unlisted_ask(
    const struct access_unlisted *u, struct table_list *l, enum conf_param code, const char *where)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct err err;

	if (table_list_is_empty(l))
		return ACCESS_DUNNO;
	switch (access_address_lookup(u->ctx->access, l, u->address, &value, &err)) {
	case TABLE_FOUND:
		return ACCESS_DUNNO;
	case TABLE_ERROR:
		return access_unlisted_trouble(u);
	case TABLE_NOT_FOUND:
		break;
	}
	return access_unlisted_reject(u, code, where);
}

/* Names that a host answers for by itself: bounces come from them, and postmaster always exists. */
static bool
access_unlisted_is_special(const struct access_unlisted *u)
{
	const char *const names[] = {
	    "postmaster",
	    "MAILER-DAEMON",
	    conf_str(u->ctx->access->conf, CONF_double_bounce_sender),
	};
	struct span local =
	    span_head(span_str(u->address), span_find_last(span_str(u->address), '@'));

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (span_equal_nocase_str(local, names[i]))
			return true;
	/* "@here" is for empty_address_recipient. */
	return local.len == 0;
}

/* A route to the error transport: the address is known not to be deliverable, and its text says why. */
static enum access_result
access_unlisted_error(const struct access_unlisted *u, const struct rewrite_route *route)
{
	bool retry = route->transport[0] == 'r';
	int code = retry ? 450 : 550;
	char dsn[12];
	const char *usual = u->thing == ACCESS_THING_SENDER ? "5.1.0" : "5.1.1";
	struct span text =
	    access_action_dsn(span_str(route->nexthop), retry ? "4.1.1" : usual, dsn);

	access_action_fit_dsn(u->thing, dsn);
	if (route->address_class == REWRITE_VIRTUAL_ALIAS && span_starts(text, "User unknown"))
		code = conf_int(u->ctx->access->conf, CONF_unknown_virtual_alias_reject_code);
	return access_reject_thing(u->ctx, u->thing, code, dsn, "%.*s", SPAN_ARG(text));
}

static enum access_result
access_unlisted_in_class(const struct access_unlisted *u, enum rewrite_class class)
{
	const struct access *a = u->ctx->access;

	switch (class) {
	case REWRITE_LOCAL:
		if (access_unlisted_is_special(u))
			return ACCESS_DUNNO;
		return access_unlisted_ask(u, a->local_rcpts,
		    CONF_unknown_local_recipient_reject_code, " in local recipient table");
	case REWRITE_VIRTUAL_MAILBOX:
		return access_unlisted_ask(u, a->virtual_mailbox,
		    CONF_unknown_virtual_mailbox_reject_code, " in virtual mailbox table");
	case REWRITE_RELAY:
		return access_unlisted_ask(u, a->relay_rcpts,
		    CONF_unknown_relay_recipient_reject_code, " in relay recipient table");
	case REWRITE_VIRTUAL_ALIAS:
	case REWRITE_DEFAULT:
		return ACCESS_DUNNO;
	}
	UNREACHED();
}

static enum access_result
access_unlisted_check(struct access_unlisted *u)
{
	struct rewrite_route route;
	enum rewrite_class class;
	struct err err;

	if (conf_has(
		u->ctx->access->conf, CONF_receive_override_options, "no_unknown_recipient_checks"))
		return ACCESS_DUNNO;
	switch (access_unlisted_is_rewritten(u)) {
	case TABLE_FOUND:
		return ACCESS_DUNNO;
	case TABLE_ERROR:
		return access_unlisted_trouble(u);
	case TABLE_NOT_FOUND:
		break;
	}
	if (!rewrite_class_find(
		u->ctx->access->rewrite, rewrite_domain_of(span_str(u->address)), &class, &err))
		return access_unlisted_trouble(u);
	if (u->ctx->access->routed_by_class && class != REWRITE_VIRTUAL_ALIAS &&
	    !access_is_routed(span_str(u->address)))
		return access_unlisted_in_class(u, class);
	/* Sender-dependent routes are those of recipients. */
	rewrite_route(u->ctx->access->rewrite, &u->arena,
	    u->thing == ACCESS_THING_RCPT ? u->ctx->request->sender : NULL, span_str(u->address),
	    &route);
	if (route.trouble)
		return access_unlisted_trouble(u);
	if (strcmp(route.transport, "error") == 0 || strcmp(route.transport, "retry") == 0)
		return access_unlisted_error(u, &route);
	/* user%here@here is user@here in the table. */
	if (access_is_routed(span_str(u->address)))
		u->address = route.recipient;
	return access_unlisted_in_class(u, route.address_class);
}

static enum access_result
access_unlisted(struct access_context *ctx, enum access_thing thing, const char *address)
{
	struct access_unlisted u = {.ctx = ctx, .thing = thing, .address = address};
	enum access_result result;

	if (address == NULL || address[0] == '\0')
		return ACCESS_DUNNO;
	result = access_unlisted_check(&u);
	arena_done(&u.arena);
	return result;
}

enum access_result
access_unlisted_recipient(struct access_context *ctx, const struct access_item *item UNUSED)
{
	if (ctx->seen_unlisted_rcpt)
		return ACCESS_DUNNO;
	ctx->seen_unlisted_rcpt = true;
	return access_unlisted(ctx, ACCESS_THING_RCPT, ctx->request->recipient);
}

enum access_result
access_unlisted_sender(struct access_context *ctx, const struct access_item *item UNUSED)
{
	if (ctx->seen_unlisted_sender)
		return ACCESS_DUNNO;
	ctx->seen_unlisted_sender = true;
	return access_unlisted(ctx, ACCESS_THING_SENDER, ctx->request->sender);
}
