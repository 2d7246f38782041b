/*
 * local_indirect.c - recipients that get the mail in a new message: one for each sender that the list owners make of it.
 */
#include <string.h>

#include "mailbox/local_int.h"
#include "service/delivery_forward.h"

static struct local_forward *
local_forward_for(struct local_delivery *d, const struct local_context *c)
{
	struct local_forward **at = &d->forwards;
	const char *delivered =
	    conf_has(d->work->conf, CONF_prepend_delivered_header, "forward") ? c->delivered : "";

	while (*at != NULL) {
		if (strcmp((*at)->sender, c->sender) == 0 &&
		    strcmp((*at)->delivered, delivered) == 0)
			return *at;
		at = &(*at)->next;
	}
	*at = arena_new(&d->work->arena, struct local_forward);
	(*at)->sender = c->sender;
	(*at)->delivered = delivered;
	return *at;
}

void
local_indirect(struct local_delivery *d, const struct local_context *c, const char *addr)
{
	struct delivery_forward_rcpt r = {
	    .addr = span_str(addr),
	    .orig_addr = span_str(d->orig_addr),
	    .dsn_orcpt = d->rcpt->dsn_orcpt,
	    .dsn_notify = d->notify,
	};

	if (!local_first_time(d, "indirect %s", addr))
		return;
	/* A mailing list speaks for itself. */
	if (c->list)
		r.orig_addr = r.dsn_orcpt = (struct span){0};
	delivery_forward_add(&local_forward_for(d, c)->rcpts, &r);
}
