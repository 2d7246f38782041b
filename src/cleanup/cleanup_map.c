/*
 * cleanup_map.c - the envelope through the administrator's tables: canonical addresses and masquerading, copies, virtual
 * aliases (ADDRESS_REWRITING_README). A table that cannot be asked refuses the message for now.
 */
#include <string.h>

#include "base/mem.h"
#include "cleanup/cleanup_int.h"
#include "mail/mail_addr.h"
#include "rewrite/rewrite.h"
#include "rewrite/rewrite_map.h"

/* MAILER-DAEMON, here: whom nothing can be sent back to. */
static bool
is_mail_system(const struct cleanup *c, const char *sender)
{
	struct mail_addr a = mail_addr_split(span_str(sender));

	return span_equal_nocase_str(a.local, "MAILER-DAEMON") &&
	       (!a.has_domain || (c->settings->origin != NULL &&
				     span_equal_nocase_str(a.domain, c->settings->origin)));
}

void
cleanup_map_sender(struct cleanup *c)
{
	const char *mapped;

	if (c->sender_mapped || c->failed)
		return;
	c->sender_mapped = true;
	if (is_mail_system(c, c->envelope.sender))
		c->envelope.sender = "";
	if (c->settings->map == NULL)
		return;
	if (rewrite_map_address(c->settings->map, &c->arena, c->envelope.queue_id,
		REWRITE_ENVELOPE_SENDER, c->envelope.sender, &mapped, &c->err))
		c->envelope.sender = mapped;
	else
		cleanup_fail(c);
}

/* Canonical form of a recipient; NULL: the message has failed. */
static const char *
map_rcpt(struct cleanup *c, const char *addr)
{
	const char *mapped;

	if (rewrite_map_address(c->settings->map, &c->arena, c->envelope.queue_id,
		REWRITE_ENVELOPE_RECIPIENT, addr, &mapped, &c->err))
		return mapped;
	cleanup_fail(c);
	return NULL;
}

/* May it be an address without brackets (resolve_numeric_domain)? */
static bool
looks_numeric(struct span domain)
{
	char last = domain.ptr[domain.len - 1];

	return last >= '0' && last <= '9';
}

/*
 * user%remote@here is mail for user@remote, "user" and "user@" are somebody here, user@1.2.3.4 is
 * user@[1.2.3.4]: also in the queue. Most addresses show that they are what they are.
 */
static const char *
deliverable(struct cleanup *c, const char *addr)
{
	struct mail_addr parts = mail_addr_split(span_str(addr));
	bool plain = parts.domain.len != 0 && !looks_numeric(parts.domain);
	struct rewrite_route route;

	for (size_t i = 0; i < parts.local.len && plain; i++)
		plain = strchr("@%!", parts.local.ptr[i]) == NULL;
	if (plain)
		return addr;
	rewrite_resolve(c->settings->rewrite, &c->arena, span_str(addr), &route);
	return route.trouble ? addr : route.recipient;
}

/* Here the report of success ends: what the recipient became says so, and nobody else does (RFC 3461 section 5.2.7.3). */
static unsigned
note_expanded(struct cleanup *c, const char *addr, const char *orig, const struct queue_rcpt *r)
{
	if ((c->expanded_count & (c->expanded_count - 1)) == 0)
		c->expanded = mem_resize(c->expanded,
		    c->expanded_count != 0 ? c->expanded_count * 2 : 1, sizeof(*c->expanded));
	c->expanded[c->expanded_count++] = (struct queue_attr){
	    SPAN_LIT("expanded"),
	    span_str(arena_printf(&c->arena, "%u\t%s\t%s\t%s", r->dsn_notify, addr, orig,
		r->dsn_orcpt != NULL ? r->dsn_orcpt : "")),
	};
	return r->dsn_notify == QUEUE_NOTIFY_SUCCESS ? QUEUE_NOTIFY_NEVER
						     : r->dsn_notify & ~QUEUE_NOTIFY_SUCCESS;
}

/* The addresses that a recipient stands for. */
static void
add_aliases(struct cleanup *c, const char *addr, const struct queue_rcpt *r)
{
	const char *orig = r->orig_addr != NULL ? r->orig_addr : r->addr;
	unsigned notify = r->dsn_notify;
	struct rewrite_addresses found;

	if (!rewrite_map_aliases(
		c->settings->map, &c->arena, c->envelope.queue_id, addr, &found, &c->err))
		return cleanup_fail(c);
	if ((notify & QUEUE_NOTIFY_SUCCESS) != 0 &&
	    (found.count != 1 || strcmp(found.list[0], addr) != 0))
		notify = note_expanded(c, addr, orig, r);
	for (size_t i = 0; i < found.count; i++)
		cleanup_add_rcpt(c, deliverable(c, found.list[i]), orig, r->dsn_orcpt, notify);
}

/* One more recipient that the sender does not hear of; nobody gets a copy of a copy. */
static void
add_copy(struct cleanup *c, enum rewrite_bcc why, const char *addr)
{
	struct queue_rcpt copy = {.dsn_notify = QUEUE_NOTIFY_NEVER};
	const char *bcc, *mapped;

	if (c->failed || c->settings->no_copies)
		return;
	if (!rewrite_map_bcc(
		c->settings->map, &c->arena, c->envelope.queue_id, why, addr, &bcc, &c->err))
		return cleanup_fail(c);
	if (bcc == NULL || bcc[0] == '\0')
		return;
	/* One address, whatever it holds. */
	copy.addr = rewrite_address(c->settings->rewrite, &c->arena, span_str(bcc));
	mapped = map_rcpt(c, copy.addr);
	if (mapped != NULL)
		add_aliases(c, mapped, &copy);
}

static void
map_all(struct cleanup *c, const struct queue_rcpt *rcpts, size_t count)
{
	for (size_t i = 0; i < count && !c->failed; i++) {
		struct queue_rcpt r = rcpts[i];
		const char *mapped = map_rcpt(c, r.addr);

		if (mapped == NULL)
			return;
		/* Our own mail, too, has none but the canonical address. */
		if ((c->envelope.orcpt_as_mapped || c->settings->no_copies) &&
		    r.dsn_orcpt == NULL && strcmp(mapped, r.addr) != 0)
			r.dsn_orcpt = arena_printf(&c->arena, "rfc822;%s", mapped);
		add_aliases(c, mapped, &r);
		add_copy(c, REWRITE_BCC_RECIPIENT, mapped);
	}
	add_copy(c, REWRITE_BCC_ALWAYS, "");
	add_copy(c, REWRITE_BCC_SENDER, c->envelope.sender);
}

void
cleanup_map_rcpts(struct cleanup *c)
{
	struct queue_rcpt *given = c->rcpts;
	size_t count = c->rcpt_count;

	if (c->settings->map == NULL || c->failed)
		return;
	/* Duplicates are told apart by what comes out. */
	hmap_done(&c->dups);
	c->rcpts = NULL;
	c->rcpt_count = 0;
	map_all(c, given, count);
	mem_free(given);
	/* Aliases made nobody of all of them. */
	if (!c->failed && count != 0 && c->rcpt_count == 0)
		cleanup_discard(c);
}
