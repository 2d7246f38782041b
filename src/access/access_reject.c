/*
 * access_reject.c - what a restriction says when it has decided: the text of a rejection, deferrals that wait for the outcome
 * of the other restrictions, and which permissions are logged.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "access/access_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* RFC 5321 section 4.5.3.1.5: 512 bytes, the line end included. */
#define ACCESS_REPLY_MAX 510

static bool
access_is_warn_only(const struct access_context *ctx)
{
	return ctx->warn_depth != 0 && ctx->depth >= ctx->warn_depth;
}

void
access_verdict_defer(struct access_verdict *verdict, const struct access_pending *pending)
{
	verdict->code = pending->code;
	memcpy(verdict->dsn, pending->dsn, sizeof(verdict->dsn));
	buf_clear(&verdict->text);
	buf_add_span(&verdict->text, buf_span(&pending->text));
}

static enum access_result
access_reject_text(struct access_context *ctx, int code, const char *dsn, struct span text)
{
	struct access_verdict *v = ctx->verdict;

	if (ctx->access->soft_bounce && code >= 500)
		code -= 100;
	buf_clear(&v->text);
	buf_add_span(&v->text, span_head(text, ACCESS_REPLY_MAX));
	v->code = code;
	/* The class of the enhanced code follows the reply code (RFC 3463 section 2). */
	(void)snprintf(v->dsn, sizeof(v->dsn), "%d%s", code / 100, dsn + 1);
	if (!access_is_warn_only(ctx) && ctx->if_reject.active && code >= 500)
		access_verdict_defer(v, &ctx->if_reject);
	if (access_is_warn_only(ctx)) {
		struct buf line CLEANUP(buf_done) = {0};

		buf_printf(&line, "%d %s %s", v->code, v->dsn, buf_str(&v->text));
		access_note(ctx, ACCESS_NOTE_REJECT_WARNING, buf_str(&line), NULL);
		return ACCESS_DUNNO;
	}
	return ACCESS_REJECT;
}

enum access_result
access_reject(struct access_context *ctx, int code, const char *dsn, const char *fmt, ...)
{
	struct buf text CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&text, fmt, args);
	va_end(args);
	return access_reject_text(ctx, code, dsn, buf_span(&text));
}

static void
access_subject(const struct access_context *ctx, enum access_thing thing, struct buf *out)
{
	buf_add_char(out, '<');
	access_thing_name(ctx, thing, out);
	buf_printf(out, ">: %s rejected: ", access_thing_class(thing));
}

enum access_result
access_reject_thing(struct access_context *ctx, enum access_thing thing, int code, const char *dsn,
    const char *fmt, ...)
{
	struct buf text CLEANUP(buf_done) = {0};
	va_list args;

	access_subject(ctx, thing, &text);
	va_start(args, fmt);
	buf_vprintf(&text, fmt, args);
	va_end(args);
	return access_reject_text(ctx, code, dsn, buf_span(&text));
}

enum access_result
access_reject_broken(struct access_context *ctx)
{
	ctx->warn_depth = 0;
	return access_reject(ctx, 451, "4.3.5", "Server configuration error");
}

enum access_result
access_reject_lookup(struct access_context *ctx, const char *address)
{
	ctx->warn_depth = 0;
	return access_reject(ctx, 451, "4.3.0", "<%s>: Temporary lookup failure", address);
}

static enum access_result
access_pend(struct access_context *ctx, struct access_pending *pending, int code, const char *dsn,
    struct span text)
{
	if (access_is_warn_only(ctx))
		return access_reject_text(ctx, code, dsn, text);
	if (pending->active)
		return ACCESS_DUNNO;
	pending->active = true;
	pending->code = code;
	(void)snprintf(pending->dsn, sizeof(pending->dsn), "%d%s", code / 100, dsn + 1);
	buf_add_span(&pending->text, span_head(text, ACCESS_REPLY_MAX));
	return ACCESS_DUNNO;
}

enum access_result
access_defer_if_permit(struct access_context *ctx, enum access_thing thing, int code,
    const char *dsn, const char *text)
{
	struct buf whole CLEANUP(buf_done) = {0};

	access_subject(ctx, thing, &whole);
	buf_add_str(&whole, text);
	return access_pend(ctx, &ctx->if_permit, code, dsn, buf_span(&whole));
}

enum access_result
access_defer_if_reject(struct access_context *ctx, enum access_thing thing, int code,
    const char *dsn, const char *text)
{
	struct buf whole CLEANUP(buf_done) = {0};

	access_subject(ctx, thing, &whole);
	buf_add_str(&whole, text);
	return access_pend(ctx, &ctx->if_reject, code, dsn, buf_span(&whole));
}

enum access_result
access_defer_listed(struct access_context *ctx, const char *what)
{
	struct buf whole CLEANUP(buf_done) = {0};

	buf_printf(&whole, "<%s>: %s rejected: Service unavailable", what,
	    access_thing_class(ACCESS_THING_CLIENT));
	return access_pend(ctx, &ctx->if_reject, 450, "4.7.1", buf_span(&whole));
}

/* "Nov 21 13:14:23", as logs have it. */
static void
access_macro_time(struct buf *out)
{
	time_t now = (time_t)(clock_real_us() / CLOCK_SECOND);
	char text[32];
	struct tm tm;

	if (localtime_r(&now, &tm) != NULL &&
	    strftime(text, sizeof(text), "%b %d %H:%M:%S", &tm) > 0)
		buf_add_str(out, text);
}

const char *
access_macro(void *arg, struct span name)
{
	struct access_macros *m = arg;
	const struct access_request *r = m->request;
	struct span sender = span_str(r->sender_received);
	struct span rcpt = span_str(r->recipient_received);
	const struct {
		const char *name;
		struct span value;
	} values[] = {
	    {"client_address", span_str(r->client_address)},
	    {"client_name", span_str(r->client_name)},
	    {"client_port", span_str(r->client_port)},
	    {"reverse_client_name", span_str(r->client_reverse_name)},
	    {"helo_name", span_str(r->helo)},
	    {"sender", sender},
	    {"sender_name", span_head(sender, span_find_last(sender, '@'))},
	    {"sender_domain", rewrite_domain_of(sender)},
	    {"recipient", rcpt},
	    {"recipient_name", span_head(rcpt, span_find_last(rcpt, '@'))},
	    {"recipient_domain", rewrite_domain_of(rcpt)},
	    {"server_name", span_str(conf_str(m->conf, CONF_myhostname))},
	};

	buf_clear(&m->scratch);
	if (span_equal_str(name, "client")) {
		buf_printf(&m->scratch, "%s[%s]", r->client_name, r->client_address);
		return buf_str(&m->scratch);
	}
	if (span_equal_str(name, "localtime")) {
		access_macro_time(&m->scratch);
		return buf_str(&m->scratch);
	}
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		if (!span_equal_str(name, values[i].name))
			continue;
		buf_add_span(&m->scratch, values[i].value);
		return buf_str(&m->scratch);
	}
	return NULL;
}

static bool
access_table_has(const struct access *a, struct span spec, const char *key)
{
	struct table *table = table_open(a->conf, spec, 0);
	struct buf value CLEANUP(buf_done) = {0};
	struct err err;
	bool found =
	    table_lookup(table, span_str(key), TABLE_KEY_FULL, &value, &err) == TABLE_FOUND;

	table_close(&table);
	return found;
}

/* smtpd_log_access_permit_actions: names, !names, type:table (the result does not matter); the first that matches decides. */
static bool
access_logs_permit(const struct access *a, const char *action)
{
	struct span rest = span_str(conf_str(a->conf, CONF_smtpd_log_access_permit_actions));
	struct span word;

	while (access_list_word(&rest, &word)) {
		bool wanted = word.ptr[0] != '!';

		if (!wanted)
			word = span_from(word, 1);
		if (table_is_spec(word) ? access_table_has(a, word, action)
					: span_equal_nocase_str(word, action))
			return wanted;
	}
	return false;
}

enum access_result
access_permitted(
    struct access_context *ctx, enum access_thing thing, const char *action, const char *from)
{
	struct buf text CLEANUP(buf_done) = {0};

	if (!access_logs_permit(ctx->access, action))
		return ACCESS_OK;
	buf_printf(&text, "action=%s for %s=", action, access_thing_class(thing));
	access_thing_name(ctx, thing, &text);
	buf_printf(&text, " %s", from);
	access_note(ctx, ACCESS_NOTE_PERMIT, buf_str(&text), NULL);
	return ACCESS_OK;
}
