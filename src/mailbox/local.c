/*
 * local.c - local(8): recipients that are users of this host. Here is what holds a delivery together: the stack of what is still to be
 * done, what was seen before, and the outcome of all parts.
 */
#include "mailbox/local.h"

#include <stdarg.h>
#include <string.h>

#include "agent/agent_worker.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "mailbox/local_int.h"
#include "mailbox/mailbox.h"
#include "service/delivery_forward.h"

/* ---- the stack ---- */

void
local_push(struct local_delivery *d, const struct local_item *item)
{
	if (d->items == LOCAL_ITEMS_MAX) {
		local_note(d, d->rcpt->addr.ptr, DELIVERY_BOUNCED, "5.4.6",
		    "too many recipients after expansion", NULL);
		d->items++;
	}
	if (d->items > LOCAL_ITEMS_MAX)
		return;
	if (d->depth == d->room) {
		d->room = d->room * 2 + 16;
		d->stack = mem_resize(d->stack, d->room, sizeof(d->stack[0]));
	}
	d->stack[d->depth++] = *item;
	d->items++;
}

bool
local_first_time(struct local_delivery *d, const char *fmt, ...)
{
	size_t limit = conf_size(d->work->conf, CONF_duplicate_filter_limit);
	struct buf key CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&key, fmt, args);
	va_end(args);
	mail_addr_fold(key.ptr, key.len);
	if (hmap_get(d->seen, buf_span(&key)) != NULL)
		return false;
	if (limit == 0 || d->seen->count <= limit)
		(void)hmap_put(d->seen, buf_span(&key), d);
	return true;
}

/* ---- parts ---- */

static void
local_note_part(struct local_delivery *d, const char *addr, const char *owner, const char *dsn,
    const char *text, const char *diagnostic)
{
	const struct delivery_failure part = {
	    .addr = span_str(addr),
	    .dsn = span_str(dsn),
	    .text = span_str(text),
	    .diagnostic = span_str(diagnostic),
	    .owner = span_str(owner),
	    .of_list = d->context->list,
	};

	delivery_forward_failure(&d->failures, &part);
}

static void
local_note_failure(struct local_delivery *d, const char *addr, const char *owner, const char *dsn,
    const char *text, const char *diagnostic)
{
	local_note_part(d, addr, owner, dsn, text, diagnostic);
	d->failed++;
	d->failed_apart += owner != NULL || d->context->list;
	d->fail_addr = addr;
	d->fail_dsn = dsn;
	d->fail_text = text;
	d->fail_diagnostic = diagnostic;
}

static void
local_note_told(struct local_delivery *d, const char *addr, const char *owner,
    enum delivery_status status, const char *dsn, const char *text, const char *diagnostic)
{
	struct agent_work *w = d->work;

	dsn = arena_strdup(&w->arena, dsn);
	text = arena_strdup(&w->arena, text);
	agent_work_filter(w, &status, &dsn, &text);
	agent_work_log(w, d->index, addr, status, dsn, text);
	text = arena_dup(&w->arena, span_trim(span_str(text)));
	if (w->request.verify_only) {
		local_note_part(d, addr, owner, dsn, text, diagnostic);
		return;
	}
	switch (status) {
	case DELIVERY_SENT:
		d->sent = true;
		d->sent_text = text;
		return;
	case DELIVERY_DEFERRED:
		if (!d->deferred) {
			d->defer_dsn = dsn;
			d->defer_text = text;
			d->defer_diagnostic = diagnostic;
		}
		d->deferred = true;
		return;
	case DELIVERY_BOUNCED:
		local_note_failure(d, addr, owner, dsn, text, diagnostic);
		return;
	case DELIVERY_UNTRIED:
	case DELIVERY_PASSED:
		break;
	}
	UNREACHED();
}

bool
local_probe(struct local_delivery *d, const char *addr, const char *what)
{
	if (d->work->request.verify_only)
		local_note(d, addr, DELIVERY_SENT, "2.0.0", what, NULL);
	return d->work->request.verify_only;
}

void
local_note(struct local_delivery *d, const char *addr, enum delivery_status status, const char *dsn,
    const char *text, const char *diagnostic)
{
	local_note_told(d, addr, NULL, status, dsn, text, diagnostic);
}

void
local_note_to_owner(struct local_delivery *d, const struct local_address *a,
    enum delivery_status status, const char *dsn, const char *text, const char *diagnostic)
{
	const char *owner = NULL;

	if (status == DELIVERY_BOUNCED && !local_owner_of(d, a, &owner)) {
		local_note(
		    d, a->addr, DELIVERY_DEFERRED, "4.3.0", "alias database unavailable", NULL);
		return;
	}
	local_note_told(d, a->addr, owner, status, dsn, text, diagnostic);
}

void
local_note_err(struct local_delivery *d, const char *addr, const struct err *err)
{
	if (err->kind == ERR_GONE) {
		d->gone = true;
		return;
	}
	local_note(d, addr, err->kind == ERR_PERM ? DELIVERY_BOUNCED : DELIVERY_DEFERRED, err->dsn,
	    err->text, NULL);
}

void
local_note_expanded(struct local_delivery *d, bool list)
{
	if ((d->notify & DELIVERY_NOTIFY_SUCCESS) == 0)
		return;
	d->expanded = list ? "delivered" : "expanded";
	d->notify &= ~DELIVERY_NOTIFY_SUCCESS;
	if (d->notify == 0)
		d->notify = DELIVERY_NOTIFY_NEVER;
}

void
local_note_table(
    struct local_delivery *d, const char *addr, const char *table, const struct buf *why)
{
	log_warn("%s: lookup failed: %s", table, buf_str(why));
	local_note(d, addr, DELIVERY_DEFERRED, "4.3.5", "mail system configuration error", NULL);
}

/* ---- the outcome ---- */

static struct span
local_records(struct local_delivery *d)
{
	struct buf all = {0};
	char *copy;
	size_t len;

	for (const struct local_forward *f = d->forwards; f != NULL; f = f->next) {
		const struct delivery_forward message = {
		    .sender = span_str(f->sender),
		    .delivered = span_str(f->delivered),
		    .pass = span_str(f->pass),
		};

		delivery_forward_begin(&all, &message);
		buf_add_span(&all, buf_span(&f->rcpts));
	}
	/* A failure of the recipient itself is the outcome, and needs no record. */
	if (d->failed > 1 || d->failed_apart != 0 || d->work->request.verify_only ||
	    (d->failed == 1 && (d->sent || d->forwards != NULL || d->pass != NULL ||
				   strcmp(d->fail_addr, d->rcpt->addr.ptr) != 0)))
		buf_add_span(&all, buf_span(&d->failures));
	if (d->expanded != NULL)
		delivery_forward_expanded(&all, d->expanded);
	copy = arena_dup(&d->work->arena, buf_span(&all));
	len = all.len;
	buf_done(&all);
	return span_of(copy, len);
}

static void
local_outcome(struct local_delivery *d)
{
	struct delivery_outcome *o = &d->work->outcomes[d->index];

	if (d->gone && !d->sent)
		return;
	o->relay = SPAN_LIT("local");
	if (d->deferred || d->gone) {
		o->status = DELIVERY_DEFERRED;
		o->dsn = span_str(d->deferred ? d->defer_dsn : "4.3.0");
		o->text = span_str(d->deferred ? d->defer_text : "interrupted");
		o->diagnostic = span_str(d->defer_diagnostic);
		return;
	}
	o->forwards = local_records(d);
	o->passed_on = d->expanded != NULL;
	if (d->pass != NULL) {
		o->status = DELIVERY_PASSED;
		o->dsn = SPAN_LIT("2.0.0");
		o->text = span_str(d->pass);
	} else if (d->failed > 0 && !d->sent && d->forwards == NULL) {
		o->status = DELIVERY_BOUNCED;
		o->dsn = span_str(d->fail_dsn);
		o->text = span_str(d->fail_text);
		o->diagnostic = span_str(d->fail_diagnostic);
	} else {
		o->status = DELIVERY_SENT;
		o->final = d->sent;
		o->dsn = SPAN_LIT("2.0.0");
		o->text = span_str(d->sent ? d->sent_text : d->forwards != NULL ? "forwarded" : "");
	}
}

static void
local_delivery_done(struct local_delivery *d)
{
	for (struct local_forward *f = d->forwards; f != NULL; f = f->next)
		buf_done(&f->rcpts);
	buf_done(&d->failures);
	buf_done(&d->loops);
	mem_free(d->stack);
}

static void
local_deliver(struct agent_work *w, size_t index)
{
	struct hmap seen = {0};
	const struct delivery_rcpt *rcpt = &w->request.rcpts[index];
	const struct local_context root = {
	    .source = LOCAL_FROM_SENDER,
	    .sender = w->request.sender.ptr,
	    .delivered = rcpt->addr.ptr,
	};
	struct local_delivery d = {
	    .work = w,
	    .index = index,
	    .rcpt = rcpt,
	    .notify = rcpt->dsn_notify,
	    .orig_addr = rcpt->orig_addr.len != 0 ? rcpt->orig_addr.ptr : rcpt->addr.ptr,
	    .seen = &seen,
	};
	const struct local_item first = {
	    .context = &root, .text = rcpt->addr.ptr, .is_recipient = true};
	struct err err;

	if (!mailbox_limit_is_good(w->conf, CONF_mailbox_size_limit, "mailbox_size_limit", &err)) {
		agent_work_settle(w, index, DELIVERY_DEFERRED, err.dsn, err.text, NULL);
		return;
	}
	mailbox_copy_delivered_to(w, &d.loops);
	local_push(&d, &first);
	while (d.depth > 0 && !d.gone) {
		struct local_item item = d.stack[--d.depth];

		d.context = item.context;
		if (item.is_recipient)
			local_recipient(&d, &item);
		else
			local_member(&d, &item);
	}
	local_outcome(&d);
	local_delivery_done(&d);
	hmap_done(&seen);
}

static void
local_work(struct agent_work *w)
{
	w->relay = "local";
	w->filter = CONF_local_delivery_status_filter;
	for (size_t i = 0; i < w->request.rcpt_count; i++)
		local_deliver(w, i);
}

static const enum conf_param local_tables[] = {
    CONF_mailbox_transport_maps,
    CONF_mailbox_command_maps,
    CONF_fallback_transport_maps,
    CONF_local_delivery_status_filter,
    CONF_COUNT,
};

static const struct agent_worker_kind local_worker_kind = {
    .work = local_work,
    .tables = local_tables,
    .owned_tables = CONF_alias_maps,
};

static void
local_configure(struct agent *agent)
{
	agent_worker_configure(agent, &local_worker_kind);
}

const struct agent_kind local_agent_kind = {
    .service = {.program = "local", .privilege = SERVICE_ROOT},
    .deliver = agent_worker_deliver,
    .configure = local_configure,
    .stopping = agent_worker_stopping,
};
