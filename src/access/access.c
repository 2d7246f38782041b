/*
 * access.c - evaluates the restriction lists at each stage of a session. Which list runs when: with smtpd_delay_reject the
 * client, HELO and sender lists wait for RCPT TO, so that every rejection can name its recipient.
 */
#include "access/access.h"

#include <stdarg.h>
#include <stdio.h>

#include "access/access_int.h"
#include "base/log.h"
#include "base/mem.h"

static const struct {
	enum conf_param param;
	const char *name;
} access_list_params[ACCESS_LIST_COUNT] = {
    [ACCESS_LIST_CLIENT] = {CONF_smtpd_client_restrictions, "smtpd_client_restrictions"},
    [ACCESS_LIST_HELO] = {CONF_smtpd_helo_restrictions, "smtpd_helo_restrictions"},
    [ACCESS_LIST_SENDER] = {CONF_smtpd_sender_restrictions, "smtpd_sender_restrictions"},
    [ACCESS_LIST_RELAY] = {CONF_smtpd_relay_restrictions, "smtpd_relay_restrictions"},
    [ACCESS_LIST_RCPT] = {CONF_smtpd_recipient_restrictions, "smtpd_recipient_restrictions"},
    [ACCESS_LIST_DATA] = {CONF_smtpd_data_restrictions, "smtpd_data_restrictions"},
    [ACCESS_LIST_END_OF_DATA] = {CONF_smtpd_end_of_data_restrictions,
	"smtpd_end_of_data_restrictions"},
    [ACCESS_LIST_ETRN] = {CONF_smtpd_etrn_restrictions, "smtpd_etrn_restrictions"},
};

/* Classes within classes; a class that names itself must not go on for ever. */
#define ACCESS_DEPTH_MAX 100

static const struct access_class *
access_class_find(const struct access *a, struct span name)
{
	for (size_t i = 0; i < a->class_count; i++)
		if (span_equal_str(name, a->classes[i].name))
			return &a->classes[i];
	return NULL;
}

static void
access_list_compile(const struct access *a, struct access_list *list, const char *text)
{
	struct span rest = span_str(text);
	struct span word;

	while (span_word(&rest, ", \t\r\n", &word)) {
		list->items = mem_resize(list->items, list->count + 1, sizeof(*list->items));
		list->items[list->count++] = (struct access_item){
		    .restriction = access_restriction_find(word),
		    .class = access_class_find(a, word),
		    .word = span_dup(word),
		};
	}
}

static void
access_list_done(struct access_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		mem_free(list->items[i].word);
	mem_free(list->items);
}

/* smtpd_restriction_classes: all names first, for a class may stand in another. */
static bool
access_compile_classes(struct access *a, struct err *err)
{
	struct span rest = span_str(conf_str(a->conf, CONF_smtpd_restriction_classes));
	struct span name;

	while (span_word(&rest, ", \t\r\n", &name)) {
		a->classes = mem_resize(a->classes, a->class_count + 1, sizeof(*a->classes));
		a->classes[a->class_count++] = (struct access_class){.name = span_dup(name)};
	}
	for (size_t i = 0; i < a->class_count; i++) {
		struct buf text CLEANUP(buf_done) = {0};

		err_clear(err);
		if (!conf_lookup(a->conf, span_str(a->classes[i].name), &text, err))
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "smtpd_restriction_classes: \"%s\" is not defined", a->classes[i].name);
		access_list_compile(a, &a->classes[i].list, buf_str(&text));
	}
	return true;
}

static bool
access_guards_relay(const struct access *a)
{
	for (size_t id = ACCESS_LIST_RELAY; id <= ACCESS_LIST_RCPT; id++)
		for (size_t i = 0; i < a->lists[id].count; i++)
			if (access_restriction_guards_relay(span_str(a->lists[id].items[i].word)))
				return true;
	return false;
}

bool
access_new(struct conf *conf, const struct rewrite *rewrite, struct access **ret, struct err *err)
{
	struct access *a = mem_new(struct access);

	a->conf = conf_ref(conf);
	a->rewrite = rewrite;
	a->delay_reject = conf_bool(conf, CONF_smtpd_delay_reject);
	a->relay_first = conf_bool(conf, CONF_smtpd_relay_before_recipient_restrictions);
	if (!access_compile_classes(a, err)) {
		access_free(&a);
		return false;
	}
	for (size_t id = 0; id < ACCESS_LIST_COUNT; id++)
		access_list_compile(a, &a->lists[id], conf_str(conf, access_list_params[id].param));
	if (!conf_net_list_parse(
		span_str(conf_str(conf, CONF_mynetworks)), "mynetworks", &a->networks, err) ||
	    !conf_host_own(conf, &a->own, err)) {
		access_free(&a);
		return false;
	}
	if (!access_guards_relay(a)) {
		access_free(&a);
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one "
		    "working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, "
		    "defer_if_permit or check_relay_domains");
	}
	*ret = a;
	return true;
}

void
access_free(struct access **a)
{
	if (*a == NULL)
		return;
	for (size_t id = 0; id < ACCESS_LIST_COUNT; id++)
		access_list_done(&(*a)->lists[id]);
	for (size_t i = 0; i < (*a)->class_count; i++) {
		access_list_done(&(*a)->classes[i].list);
		mem_free((*a)->classes[i].name);
	}
	mem_free((*a)->classes);
	conf_net_list_free(&(*a)->networks);
	conf_addresses_done(&(*a)->own);
	conf_unref(&(*a)->conf);
	mem_free(*a);
	*a = NULL;
}

void
access_verdict_done(struct access_verdict *verdict)
{
	buf_done(&verdict->text);
	buf_done(&verdict->warning);
}

void
access_subject(const struct access_context *ctx, struct buf *out)
{
	const struct access_request *r = ctx->request;

	switch (ctx->list) {
	case ACCESS_LIST_CLIENT:
		buf_printf(
		    out, "<%s[%s]>: Client host rejected", r->client_name, r->client_address);
		return;
	case ACCESS_LIST_HELO:
		buf_printf(out, "<%s>: Helo command rejected", r->helo);
		return;
	case ACCESS_LIST_SENDER:
		buf_printf(out, "<%s>: Sender address rejected", r->sender_as_given);
		return;
	case ACCESS_LIST_RELAY:
	case ACCESS_LIST_RCPT:
		buf_printf(out, "<%s>: Recipient address rejected", r->recipient_as_given);
		return;
	case ACCESS_LIST_DATA:
		buf_add_str(out, "<DATA>: Data command rejected");
		return;
	case ACCESS_LIST_END_OF_DATA:
		buf_add_str(out, "<END-OF-MESSAGE>: End-of-data rejected");
		return;
	case ACCESS_LIST_ETRN:
		buf_printf(out, "<%s>: Etrn command rejected", r->etrn_domain);
		return;
	case ACCESS_LIST_COUNT:
		break;
	}
	UNREACHED();
}

enum access_result
access_reject(struct access_context *ctx, int code, const char *dsn, const char *fmt, ...)
{
	struct access_verdict *v = ctx->verdict;
	va_list args;

	if (conf_bool(ctx->access->conf, CONF_soft_bounce) && code >= 500)
		code -= 100;
	buf_clear(&v->text);
	va_start(args, fmt);
	buf_vprintf(&v->text, fmt, args);
	va_end(args);
	v->code = code;
	/* The class of the enhanced code follows the reply code (RFC 3463 section 2). */
	(void)snprintf(v->dsn, sizeof(v->dsn), "%d%s", code / 100, dsn + 1);
	return ACCESS_REJECT;
}

enum access_result
access_pend(struct access_context *ctx, struct access_pending *pending, const char *reason)
{
	if (pending->active)
		return ACCESS_DUNNO;
	pending->active = true;
	pending->code = 450;
	(void)snprintf(pending->dsn, sizeof(pending->dsn), "4.7.0");
	access_subject(ctx, &pending->text);
	buf_printf(&pending->text, ": %s", reason);
	return ACCESS_DUNNO;
}

static enum access_result
access_unknown_restriction(struct access_context *ctx)
{
	log_warn("unknown smtpd restriction: \"%s\"", ctx->word);
	return access_reject(ctx, 451, "4.3.5", "Server configuration error");
}

static enum access_result access_run_list(
    struct access_context *ctx, const struct access_list *list);

static enum access_result
access_run_class(struct access_context *ctx, const struct access_class *class)
{
	enum access_result result;

	if (ctx->depth >= ACCESS_DEPTH_MAX) {
		log_warn("restriction class %s: too many within each other", class->name);
		return access_reject(ctx, 451, "4.3.5", "Server configuration error");
	}
	ctx->depth++;
	result = access_run_list(ctx, &class->list);
	ctx->depth--;
	return result;
}

static enum access_result
access_run_item(struct access_context *ctx, const struct access_item *item)
{
	enum access_result result;

	ctx->word = item->word;
	if (item->restriction == NULL)
		return item->class != NULL ? access_run_class(ctx, item->class)
					   : access_unknown_restriction(ctx);
	result = item->restriction->check(ctx);
	if (result != ACCESS_REJECT || !ctx->warn_only)
		return result;
	buf_printf(&ctx->verdict->warning, "%d %s %s\n", ctx->verdict->code, ctx->verdict->dsn,
	    buf_str(&ctx->verdict->text));
	return ACCESS_DUNNO;
}

/* Runs one list. A rejection behind warn_if_reject becomes a line in verdict->warning. */
static enum access_result
access_run_list(struct access_context *ctx, const struct access_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct access_item *item = &list->items[i];
		enum access_result result;

		if (span_equal_nocase_str(span_str(item->word), "warn_if_reject")) {
			ctx->warn_only = true;
			continue;
		}
		result = access_run_item(ctx, item);
		ctx->warn_only = false;
		if (result != ACCESS_DUNNO)
			return result;
	}
	return ACCESS_DUNNO;
}

/* Runs the lists of a stage in order; only a rejection ends them. */
static bool
access_run(struct access_context *ctx, const enum access_list_id *lists, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		ctx->list = lists[i];
		if (access_run_list(ctx, &ctx->access->lists[ctx->list]) == ACCESS_REJECT)
			return false;
	}
	return true;
}

static const enum access_list_id access_delayed[] = {
    ACCESS_LIST_CLIENT, ACCESS_LIST_HELO, ACCESS_LIST_SENDER};

static bool
access_run_delayed(struct access_context *ctx, size_t count)
{
	return !ctx->access->delay_reject || access_run(ctx, access_delayed, count);
}

static bool
access_run_rcpt(struct access_context *ctx)
{
	static const enum access_list_id relay_first[] = {ACCESS_LIST_RELAY, ACCESS_LIST_RCPT};
	static const enum access_list_id rcpt_first[] = {ACCESS_LIST_RCPT, ACCESS_LIST_RELAY};
	bool permit;

	/* RFC 5321 section 4.5.1: whatever the rules say. */
	if (span_equal_nocase_str(span_str(ctx->request->recipient_received), "postmaster"))
		return true;
	permit = access_run_delayed(ctx, ARRAY_LEN(access_delayed)) &&
		 access_run(ctx, ctx->access->relay_first ? relay_first : rcpt_first, 2);
	if (permit && !ctx->seen_unlisted &&
	    conf_bool(ctx->access->conf, CONF_smtpd_reject_unlisted_recipient)) {
		ctx->list = ACCESS_LIST_RCPT;
		permit = access_unlisted_recipient(ctx) != ACCESS_REJECT;
	}
	return permit;
}

static bool
access_run_stage(struct access_context *ctx, enum access_stage stage)
{
	static const enum access_list_id stages[] = {
	    [ACCESS_CONNECT] = ACCESS_LIST_CLIENT,
	    [ACCESS_HELO] = ACCESS_LIST_HELO,
	    [ACCESS_MAIL] = ACCESS_LIST_SENDER,
	    [ACCESS_RCPT] = ACCESS_LIST_RCPT,
	    [ACCESS_DATA] = ACCESS_LIST_DATA,
	    [ACCESS_END_OF_DATA] = ACCESS_LIST_END_OF_DATA,
	    [ACCESS_ETRN] = ACCESS_LIST_ETRN,
	};

	if (stage == ACCESS_RCPT)
		return access_run_rcpt(ctx);
	if (stage <= ACCESS_MAIL && ctx->access->delay_reject)
		return true;
	/* ETRN waits for the lists of client and HELO as RCPT does. */
	if (stage == ACCESS_ETRN && !access_run_delayed(ctx, 2))
		return false;
	return access_run(ctx, &stages[stage], 1);
}

/* A pending deferral takes the place of the verdict. */
static void
access_verdict_defer(struct access_verdict *verdict, struct access_pending *pending)
{
	verdict->permit = false;
	verdict->code = pending->code;
	memcpy(verdict->dsn, pending->dsn, sizeof(verdict->dsn));
	buf_clear(&verdict->text);
	buf_add_span(&verdict->text, buf_span(&pending->text));
}

void
access_check(const struct access *a, enum access_stage stage, const struct access_request *request,
    struct access_verdict *verdict)
{
	struct access_context ctx = {.access = a, .request = request, .verdict = verdict};

	buf_clear(&verdict->text);
	buf_clear(&verdict->warning);
	verdict->code = 0;
	verdict->permit = access_run_stage(&ctx, stage);
	if (verdict->permit && ctx.if_permit.active)
		access_verdict_defer(verdict, &ctx.if_permit);
	else if (!verdict->permit && verdict->code >= 500 && ctx.if_reject.active)
		access_verdict_defer(verdict, &ctx.if_reject);
	buf_done(&ctx.if_permit.text);
	buf_done(&ctx.if_reject.text);
}

bool
access_is_mynetworks(const struct access *a, const struct sockaddr *client)
{
	bool found = false;
	struct err err;

	return client != NULL && conf_net_list_match(a->networks, client, NULL, &found, &err) &&
	       found;
}

bool
access_is_rewrite_client(const struct access *a, const struct sockaddr *client)
{
	struct span rest = span_str(conf_str(a->conf, CONF_local_header_rewrite_clients));
	struct span word;

	while (client != NULL && span_word(&rest, ", \t\r\n", &word)) {
		if (span_equal_nocase_str(word, "permit_inet_interfaces") &&
		    conf_addresses_has(&a->own, client))
			return true;
		if (span_equal_nocase_str(word, "permit_mynetworks") &&
		    access_is_mynetworks(a, client))
			return true;
	}
	return false;
}
