/*
 * local_indirect.c - recipients that get the mail in a new message: one for each sender that the list owners make of it.
 */
#include <string.h>

#include "mailbox/local_int.h"
#include "service/delivery_forward.h"

/* So many members get a transaction of their own at another transport, as from Postfix; of a longer list more go together. */
#define LOCAL_PASSED_SINGLY 100

static struct local_forward *
local_forward_for(
    struct local_delivery *d, const char *sender, const char *delivered, const char *pass)
{
	struct local_forward **at = &d->forwards;

	for (size_t n = 0; *at != NULL; n++) {
		bool singly = pass[0] != '\0' && n < LOCAL_PASSED_SINGLY;

		if (!singly && strcmp((*at)->sender, sender) == 0 &&
		    strcmp((*at)->delivered, delivered) == 0 && strcmp((*at)->pass, pass) == 0)
			return *at;
		at = &(*at)->next;
	}
	*at = arena_new(&d->work->arena, struct local_forward);
	(*at)->sender = sender;
	(*at)->delivered = delivered;
	(*at)->pass = pass;
	return *at;
}

static void
local_forward_add(struct local_delivery *d, struct local_forward *f, const struct local_context *c,
    const char *addr)
{
	struct delivery_forward_rcpt r = {
	    .addr = span_str(addr),
	    .orig_addr = span_str(d->orig_addr),
	    .dsn_orcpt = d->rcpt->dsn_orcpt,
	    .dsn_notify = d->notify,
	};

	/* A mailing list speaks for itself. */
	if (c->list)
		r.orig_addr = r.dsn_orcpt = (struct span){0};
	delivery_forward_add(&f->rcpts, &r);
}

void
local_indirect(struct local_delivery *d, const struct local_context *c, const char *addr)
{
	bool marked = conf_has(d->work->conf, CONF_prepend_delivered_header, "forward");

	if (local_first_time(d, "indirect %s", addr) &&
	    !local_probe(d, addr, arena_printf(&d->work->arena, "forwards to %s", addr)))
		local_forward_add(
		    d, local_forward_for(d, c->sender, marked ? c->delivered : "", ""), c, addr);
}

void
local_indirect_pass(
    struct local_delivery *d, const struct local_context *c, const char *addr, const char *pass)
{
	local_forward_add(d, local_forward_for(d, c->sender, "", pass), c, addr);
}
