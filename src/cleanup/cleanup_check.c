/*
 * cleanup_check.c - header_checks, mime_header_checks, nested_header_checks and body_checks: what a table's answer makes of a
 * line, and the line in the log (header_checks(5)).
 */
#include <string.h>

#include "base/log.h"
#include "cleanup/cleanup_int.h"
#include "mail/mail_dsn.h"
#include "mail/mail_log.h"
#include "rewrite/rewrite.h"
#include "table/table.h"

static const char *const titles[CLEANUP_CLASS_COUNT] = {
    [CLEANUP_PRIMARY] = "header_checks",
    [CLEANUP_MIME] = "mime_header_checks",
    [CLEANUP_NESTED] = "nested_header_checks",
    [CLEANUP_BODY] = "body_checks",
};

/* As Postfix's cleanup would say it, whoever we are. */
#define warn(...) log_info_as("cleanup", "warning: " __VA_ARGS__)

/* One line under judgement. */
struct check {
	struct cleanup *c;
	enum cleanup_class where;
	const char *what; /* "header", "body", "content" */
	struct span text; /* the line */
	struct span arg;  /* what stands behind the action's name */
	struct buf *prepend;
	struct buf *ret;
};

/* ---- log ------------------------------------------------------------------------------------------------------- */

void
cleanup_check_origin(const struct cleanup *c, struct buf *ret)
{
	const struct cleanup_envelope *e = &c->envelope;

	if (e->local || e->client_name == NULL)
		buf_add_str(ret, "local");
	else if (e->forwarded)
		buf_printf(ret, "%s[%s]", e->log_client_name, e->log_client_address);
	else
		buf_printf(ret, "%s[%s]", e->client_name, e->client_address);
}

static const char *
last_rcpt(const struct cleanup *c)
{
	return c->last_rcpt != NULL ? c->last_rcpt : "unknown";
}

static void
log_action(const struct check *k, const char *action, struct span text)
{
	const struct cleanup_envelope *e = &k->c->envelope;
	struct buf line CLEANUP(buf_done) = {0};
	struct buf origin CLEANUP(buf_done) = {0};

	cleanup_check_origin(k->c, &origin);
	mail_log_content(&line, &(struct mail_log_content){
				    .queue_id = e->queue_id,
				    .action = action,
				    .what = k->what,
				    .content = k->text,
				    .origin = buf_str(&origin),
				    .sender = e->sender,
				    .recipient = last_rcpt(k->c),
				    .proto = e->local       ? NULL
					     : e->forwarded ? e->log_protocol
							    : e->client_protocol,
				    .helo = e->local       ? NULL
					    : e->forwarded ? e->log_helo
							   : e->client_helo,
				    .text = text,
				});
	log_info_as("cleanup", "%s", buf_str(&line));
}

/* ---- actions --------------------------------------------------------------------------------------------------- */

static void
refuse(struct check *k, struct span text, int code, const char *dsn)
{
	struct cleanup *c = k->c;
	struct buf reason CLEANUP(buf_done) = {0};

	buf_printf(&reason, "%s %.*s", dsn, SPAN_ARG(text));
	log_action(k, "reject", buf_span(&reason));
	(void)err_set_smtp(
	    &c->err, code < 500 ? ERR_TEMP : ERR_PERM, code, dsn, "%.*s", SPAN_ARG(text));
	cleanup_refuse(c);
}

static enum cleanup_verdict
act_reject(struct check *k)
{
	char dsn[MAIL_DSN_SIZE];
	struct span text = mail_dsn_split(k->arg, "5.7.1", dsn);

	if (text.len == 0)
		text = SPAN_LIT("message content rejected");
	if (dsn[0] != '4' && dsn[0] != '5') {
		warn("bad DSN action in %.*s -- need 4.x.x or 5.x.x", SPAN_ARG(k->arg));
		dsn[0] = '4';
	}
	refuse(k, text, dsn[0] == '4' ? 451 : 550, dsn);
	return k->c->failed ? CLEANUP_DROP : CLEANUP_KEEP;
}

static enum cleanup_verdict
act_warn(struct check *k)
{
	log_action(k, "warning", k->arg);
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_info(struct check *k)
{
	log_action(k, "info", k->arg);
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_filter(struct check *k)
{
	char *filter = arena_dup(&k->c->arena, k->arg);

	if (filter[0] == '\0') {
		warn("missing FILTER command argument in %s map", titles[k->where]);
		return CLEANUP_KEEP;
	}
	if (strchr(filter, ':') == NULL) {
		warn("bad FILTER command %s in %s -- need transport:destination", filter,
		    titles[k->where]);
		return CLEANUP_KEEP;
	}
	log_action(k, "filter", k->arg);
	cleanup_filter(k->c, filter);
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_discard(struct check *k)
{
	log_action(k, "discard", k->arg);
	cleanup_discard(k->c);
	k->c->unchecked = true;
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_hold(struct check *k)
{
	if (k->c->held == NULL)
		log_action(k, "hold", k->arg);
	cleanup_hold(k->c, titles[k->where]);
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_prepend(struct check *k)
{
	if (k->arg.len == 0) {
		warn("PREPEND action without text in %s map", titles[k->where]);
	} else if (k->where != CLEANUP_BODY && mail_header_name_length(k->arg) == 0) {
		warn(
		    "bad PREPEND header text \"%.*s\" in %s map -- need \"headername: headervalue\"",
		    SPAN_ARG(k->arg), titles[k->where]);
	} else {
		log_action(k, "prepend", k->arg);
		buf_add_span(k->prepend, k->arg);
		buf_add_char(k->prepend, '\n');
	}
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_replace(struct check *k)
{
	if (k->arg.len == 0) {
		warn("REPLACE action without text in %s map", titles[k->where]);
		return CLEANUP_KEEP;
	}
	if (k->where != CLEANUP_BODY && mail_header_name_length(k->arg) == 0) {
		warn(
		    "bad REPLACE header text \"%.*s\" in %s map -- need \"headername: headervalue\"",
		    SPAN_ARG(k->arg), titles[k->where]);
		return CLEANUP_KEEP;
	}
	log_action(k, "replace", k->arg);
	buf_add_span(k->ret, k->arg);
	return CLEANUP_REPLACE;
}

static bool
is_address(struct check *k, const char *action)
{
	if (span_find(k->arg, '@') < k->arg.len)
		return true;
	warn("bad %s \"%.*s\" in %s map -- need user@domain", action, SPAN_ARG(k->arg),
	    titles[k->where]);
	return false;
}

static enum cleanup_verdict
act_redirect(struct check *k)
{
	if (!is_address(k, "REDIRECT target"))
		return CLEANUP_KEEP;
	log_action(k, "redirect", k->arg);
	cleanup_redirect(k->c, arena_dup(&k->c->arena, k->arg));
	k->c->unchecked = true;
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_bcc(struct check *k)
{
	if (!is_address(k, "BCC address"))
		return CLEANUP_KEEP;
	log_action(k, "bcc", k->arg);
	cleanup_add_bcc(k->c, arena_dup(&k->c->arena, k->arg));
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_pass(struct check *k)
{
	log_action(k, "pass", k->arg);
	k->c->unchecked = true;
	return CLEANUP_KEEP;
}

static enum cleanup_verdict
act_strip(struct check *k)
{
	log_action(k, "strip", k->arg);
	return CLEANUP_DROP;
}

static enum cleanup_verdict
act_ignore(struct check *k UNUSED)
{
	return CLEANUP_DROP;
}

static enum cleanup_verdict
act_dunno(struct check *k UNUSED)
{
	return CLEANUP_KEEP;
}

static const struct {
	const char *name;
	enum cleanup_verdict (*act)(struct check *k);
} actions[] = {
    {"REJECT", act_reject},
    {"WARN", act_warn},
    {"INFO", act_info},
    {"FILTER", act_filter},
    {"PASS", act_pass},
    {"DISCARD", act_discard},
    {"HOLD", act_hold},
    {"PREPEND", act_prepend},
    {"REPLACE", act_replace},
    {"REDIRECT", act_redirect},
    {"BCC", act_bcc},
    {"STRIP", act_strip},
    {"IGNORE", act_ignore},
    {"DUNNO", act_dunno},
    {"OK", act_dunno},
};

static enum cleanup_verdict
act(struct check *k, struct span value)
{
	size_t len = 0;

	while (len < value.len && value.ptr[len] != ' ' && value.ptr[len] != '\t')
		len++;
	k->arg = span_trim(span_from(value, len));
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (span_equal_nocase_str(span_head(value, len), actions[i].name))
			return actions[i].act(k);
	warn("unknown command in %s map: %.*s", titles[k->where], SPAN_ARG(value));
	return CLEANUP_KEEP;
}

enum cleanup_verdict
cleanup_check(struct cleanup *c, enum cleanup_class where, struct span text, struct buf *prepend,
    struct buf *ret)
{
	struct table_list *tables = c->settings->checks[where];
	struct buf value CLEANUP(buf_done) = {0};
	struct check k = {.c = c, .where = where, .text = text, .prepend = prepend, .ret = ret};
	struct err err;

	if (c->unchecked || c->settings->no_checks || table_list_is_empty(tables))
		return CLEANUP_KEEP;
	k.what = where == CLEANUP_BODY ? "body" : "header";
	switch (table_list_lookup(tables, text, TABLE_KEY_FULL, &value, &err)) {
	case TABLE_FOUND:
		return act(&k, buf_span(&value));
	case TABLE_ERROR:
		warn("%s: %s map lookup problem -- message not accepted, try again later",
		    c->envelope.queue_id, titles[where]);
		(void)err_set_smtp(
		    &c->err, ERR_TEMP, 451, "4.3.0", "Error: queue file write error");
		cleanup_fail(c);
		return CLEANUP_DROP;
	case TABLE_NOT_FOUND:
		break;
	}
	return CLEANUP_KEEP;
}

void
cleanup_check_refuse_mime(struct cleanup *c, const char *why, struct span text)
{
	const struct cleanup_envelope *e = &c->envelope;
	struct buf origin CLEANUP(buf_done) = {0};

	cleanup_check_origin(c, &origin);
	log_info_as("cleanup", "%s: reject: mime-error %s: %.*s from %s; from=<%s> to=<%s>",
	    e->queue_id, why, SPAN_ARG(span_head(text, 100)), buf_str(&origin), e->sender,
	    last_rcpt(c));
	(void)err_set_smtp(&c->err, ERR_PERM, 550, "5.6.0", "%s", why);
	cleanup_refuse(c);
}

void
cleanup_check_refuse_characters(struct cleanup *c, struct span text)
{
	struct check k = {.c = c, .where = CLEANUP_BODY, .what = "content"};

	/* The character may be one that ends the log line. */
	k.text = span_head(text, span_find(text, '\0'));
	refuse(&k, SPAN_LIT("disallowed character"), 550, "5.7.1");
}
