/*
 * cleanup_rewrite.c - addresses in headers, brought into standard form for local clients (local_header_rewrite_clients), or with
 * remote_header_rewrite_domain for strangers. A header in which nothing changes stays as it is, byte for byte; one that
 * changes is written anew as Postfix writes it (mail/mail_addr_field.h).
 */
#include "cleanup/cleanup_int.h"
#include "mail/mail_addr_field.h"
#include "rewrite/rewrite.h"
#include "rewrite/rewrite_map.h"

bool
cleanup_rewrite_wanted(const struct cleanup *c)
{
	const char *domain = c->settings->remote_domain;

	return c->envelope.complete_headers || (domain != NULL && domain[0] != '\0');
}

/* What the tables make of the address; after trouble the message is refused, and the address does not matter. */
static const char *
map_one(struct cleanup *c, struct arena *arena, enum mail_header_id id, const char *addr)
{
	enum rewrite_place place = (mail_header_flags(id) & MAIL_HEADER_SENDERS) != 0
				       ? REWRITE_HEADER_SENDER
				       : REWRITE_HEADER_RECIPIENT;
	const char *mapped;

	if (c->settings->map == NULL || c->failed)
		return addr;
	if (rewrite_map_address(
		c->settings->map, arena, c->envelope.queue_id, place, addr, &mapped, &c->err))
		return mapped;
	cleanup_fail(c);
	return addr;
}

/* What changes the addresses of one header. */
struct change {
	struct cleanup *c;
	enum mail_header_id id;
};

static bool
change_one(void *arg, struct span internal, struct buf *ret)
{
	const struct change *k = arg;
	struct cleanup *c = k->c;
	struct arena arena CLEANUP(arena_done) = {0};
	const char *now = c->envelope.complete_headers
			      ? rewrite_address(c->settings->rewrite, &arena, internal)
			      : rewrite_address_in(c->settings->rewrite, &arena, internal,
				    c->settings->remote_domain);

	now = map_one(c, &arena, k->id, now);
	/* What a table makes nobody's address is a pair of quotes in a header. */
	buf_add_str(ret, now[0] != '\0' ? now : "@");
	return !c->failed;
}

bool
cleanup_rewrite_header(struct cleanup *c, const struct mail_header *h, struct buf *ret)
{
	struct change k = {c, h->id};
	bool changed;

	if (!cleanup_rewrite_wanted(c) || c->settings->rewrite == NULL)
		return false;
	return mail_addr_field_rewrite(
		   h->name, h->value, c->settings->token_limit, change_one, &k, ret, &changed) &&
	       changed;
}
