/*
 * access_action.c - the results of access tables (access(5)): REJECT, DEFER, 4NN, 5NN, OK, DUNNO, the actions on the message, or a
 * list of restrictions. Texts, enhanced codes and warnings are Postfix's.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "access/access_int.h"
#include "base/log.h"
#include "mail/mail_header.h"

/* One result while it is looked at. */
struct access_act {
	struct access_context *ctx;
	enum access_thing thing;
	const char *table;
	const char *key;   /* what was looked up */
	const char *value; /* all of it */
	struct span text;  /* what follows the action */
	const char *rest;  /* the same as a string */
};

static bool
access_is_digits(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!isdigit((unsigned char)s.ptr[i]))
			return false;
	return s.len != 0;
}

/* Length of "X.Y.Z" at the front, 0 if there is none: X one of 2, 4, 5, the others up to three digits (RFC 3463). */
static size_t
access_dsn_length(struct span s)
{
	size_t at = 1;

	if (s.len < 5 || strchr("245", s.ptr[0]) == NULL)
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		if (at >= s.len || s.ptr[at++] != '.')
			return 0;
		while (at < s.len && digits < 4 && isdigit((unsigned char)s.ptr[at])) {
			at++;
			digits++;
		}
		if (digits < 1 || digits > 3)
			return 0;
	}
	return at == s.len || isspace((unsigned char)s.ptr[at]) ? at : 0;
}

struct span
access_action_dsn(struct span text, const char *fallback, char dsn[12])
{
	size_t len = access_dsn_length(text);

	if (len == 0) {
		(void)snprintf(dsn, 12, "%s", fallback);
		return text;
	}
	(void)snprintf(dsn, 12, "%.*s", (int)len, text.ptr);
	return span_trim(span_from(text, len));
}

/* What an X.1.Z code about an address becomes where it does not fit: at senders, at recipients, elsewhere (RFC 3463 section 3.2). */
void
access_action_fit_dsn(enum access_thing thing, char dsn[12])
{
	static const char senders[] = "0787707780";
	static const char rcpts[] = "0123456320";

	if (strncmp(dsn + 1, ".1.", 3) != 0 || !isdigit((unsigned char)dsn[4]) || dsn[5] != '\0')
		return;
	if (thing == ACCESS_THING_SENDER)
		dsn[4] = senders[dsn[4] - '0'];
	else if (thing == ACCESS_THING_RCPT)
		dsn[4] = rcpts[dsn[4] - '0'];
	else
		memcpy(dsn + 2, "0.0", 4);
}

static enum access_result
access_act_reject(const struct access_act *act, int code, const char *fallback_dsn)
{
	char dsn[12];
	struct span text = access_action_dsn(act->text, fallback_dsn, dsn);

	access_action_fit_dsn(act->thing, dsn);
	if (text.len == 0)
		text = SPAN_LIT("Access denied");
	return access_reject_thing(act->ctx, act->thing, code, dsn, "%.*s", SPAN_ARG(text));
}

static enum access_result
access_act_defer_if(const struct access_act *act, bool permit)
{
	char dsn[12];
	struct span text = access_action_dsn(act->text, "4.7.1", dsn);
	struct buf reason CLEANUP(buf_done) = {0};
	int code = conf_int(act->ctx->access->conf, CONF_access_map_defer_code);

	access_action_fit_dsn(act->thing, dsn);
	if (text.len == 0)
		text = SPAN_LIT("Service unavailable");
	buf_add_span(&reason, text);
	if (permit)
		return access_defer_if_permit(act->ctx, act->thing, code, dsn, buf_str(&reason));
	return access_defer_if_reject(act->ctx, act->thing, code, dsn, buf_str(&reason));
}

static enum access_result
access_act_warn(const struct access_act *act, const char *what)
{
	log_warn("access table %s: %s", act->table, what);
	return ACCESS_DUNNO;
}

/* FILTER and its kin say something about a message: there must be one. */
static bool
access_act_is_allowed(const struct access_act *act, const char *action)
{
	if (act->ctx->request->sender != NULL)
		return true;
	log_warn(
	    "access table %s: with smtpd_delay_reject=no, action %s is always skipped in Client host or "
	    "Helo command restrictions",
	    act->table, action);
	return false;
}

static enum access_result
access_act_note(
    const struct access_act *act, enum access_note_kind kind, const char *what, const char *value)
{
	struct buf text CLEANUP(buf_done) = {0};

	buf_add_char(&text, '<');
	access_thing_name(act->ctx, act->thing, &text);
	buf_printf(&text, ">: %s %s", access_thing_class(act->thing), what);
	if (value != NULL)
		buf_printf(&text, " %s", value);
	access_note(act->ctx, kind, buf_str(&text), value);
	return ACCESS_DUNNO;
}

static enum access_result
access_act_filter(const struct access_act *act)
{
	if (!access_act_is_allowed(act, "FILTER"))
		return ACCESS_DUNNO;
	if (act->text.len == 0) {
		log_warn("access table %s entry \"%s\" has FILTER entry without value", act->table,
		    act->key);
		return ACCESS_DUNNO;
	}
	if (span_find(act->text, ':') == act->text.len) {
		log_warn("access table %s entry \"%s\" requires transport:destination", act->table,
		    act->key);
		return ACCESS_DUNNO;
	}
	return access_act_note(act, ACCESS_NOTE_FILTER, "triggers FILTER", act->rest);
}

static enum access_result
access_act_hold(const struct access_act *act)
{
	if (!access_act_is_allowed(act, "HOLD"))
		return ACCESS_DUNNO;
	return access_act_note(
	    act, ACCESS_NOTE_HOLD, act->text.len != 0 ? act->rest : "triggers HOLD action", NULL);
}

static enum access_result
access_act_discard(const struct access_act *act)
{
	if (!access_act_is_allowed(act, "DISCARD"))
		return ACCESS_DUNNO;
	(void)access_act_note(act, ACCESS_NOTE_DISCARD,
	    act->text.len != 0 ? act->rest : "triggers DISCARD action", NULL);
	act->ctx->discarded = true;
	return ACCESS_OK;
}

/* REDIRECT and BCC. */
static enum access_result
access_act_address(const struct access_act *act, enum access_note_kind kind)
{
	bool bcc = kind == ACCESS_NOTE_BCC;

	if (!access_act_is_allowed(act, bcc ? "BCC" : "REDIRECT"))
		return ACCESS_DUNNO;
	if (span_find(act->text, '@') == act->text.len) {
		log_warn("access table %s entry \"%s\" requires user@domain target", act->table,
		    act->key);
		return ACCESS_DUNNO;
	}
	return access_act_note(act, kind, bcc ? "triggers BCC" : "triggers REDIRECT", act->rest);
}

static enum access_result
access_act_prepend(const struct access_act *act)
{
	struct mail_header_iter iter;
	struct mail_header header;

	if (!access_act_is_allowed(act, "PREPEND"))
		return ACCESS_DUNNO;
	if (act->ctx->stage == ACCESS_END_OF_DATA)
		return access_act_warn(
		    act, "action PREPEND must be used before smtpd_end_of_data_restrictions");
	mail_header_start(&iter, act->text);
	if (act->text.len == 0 || !mail_header_next(&iter, &header)) {
		log_warn(
		    "access table %s entry \"%s\" requires header: text", act->table, act->key);
		return ACCESS_DUNNO;
	}
	access_note(act->ctx, ACCESS_NOTE_PREPEND, act->rest, act->rest);
	return ACCESS_DUNNO;
}

/* A list of restrictions. Tables must be known before: only through a class. */
static enum access_result
access_act_list(const struct access_act *act)
{
	struct access_list list = {0};
	enum access_result result;

	if (strchr(act->value, ':') != NULL) {
		log_warn("access table %s has entry with lookup table: %s", act->table, act->value);
		log_warn("do not specify lookup tables inside SMTPD access maps");
		log_warn("define a restriction class and specify its name instead.");
		return access_reject_broken(act->ctx);
	}
	access_list_compile(act->ctx->access, ACCESS_THING_DATA, span_str(act->value), &list);
	result = access_run_list(act->ctx, &list);
	access_list_done(&list);
	return result;
}

static enum access_result
access_act_reject_word(const struct access_act *act)
{
	return access_act_reject(
	    act, conf_int(act->ctx->access->conf, CONF_access_map_reject_code), "5.7.1");
}

static enum access_result
access_act_defer_word(const struct access_act *act)
{
	return access_act_reject(
	    act, conf_int(act->ctx->access->conf, CONF_access_map_defer_code), "4.7.1");
}

static enum access_result
access_act_defer_if_permit(const struct access_act *act)
{
	return access_act_defer_if(act, true);
}

static enum access_result
access_act_defer_if_reject(const struct access_act *act)
{
	return access_act_defer_if(act, false);
}

static enum access_result
access_act_info(const struct access_act *act)
{
	access_note(act->ctx, ACCESS_NOTE_INFO, act->rest, NULL);
	return ACCESS_DUNNO;
}

static enum access_result
access_act_warn_word(const struct access_act *act)
{
	access_note(act->ctx, ACCESS_NOTE_WARN, act->rest, NULL);
	return ACCESS_DUNNO;
}

static enum access_result
access_act_redirect(const struct access_act *act)
{
	return access_act_address(act, ACCESS_NOTE_REDIRECT);
}

static enum access_result
access_act_bcc(const struct access_act *act)
{
	return access_act_address(act, ACCESS_NOTE_BCC);
}

static enum access_result
access_act_dunno(const struct access_act *act UNUSED)
{
	return ACCESS_DUNNO;
}

static enum access_result
access_act_ok(const struct access_act *act)
{
	struct buf from CLEANUP(buf_done) = {0};
	struct buf action CLEANUP(buf_done) = {0};

	buf_printf(&from, "from %s", act->table);
	buf_printf(&action, "%.*s", (int)strcspn(act->value, " \t"), act->value);
	return access_permitted(act->ctx, act->thing, buf_str(&action), buf_str(&from));
}

static const struct {
	const char *word;
	enum access_result (*act)(const struct access_act *act);
} access_actions[] = {
    {"DUNNO", access_act_dunno},
    {"REJECT", access_act_reject_word},
    {"DEFER", access_act_defer_word},
    {"DEFER_IF_PERMIT", access_act_defer_if_permit},
    {"DEFER_IF_REJECT", access_act_defer_if_reject},
    {"INFO", access_act_info},
    {"WARN", access_act_warn_word},
    {"FILTER", access_act_filter},
    {"HOLD", access_act_hold},
    {"DISCARD", access_act_discard},
    {"REDIRECT", access_act_redirect},
    {"BCC", access_act_bcc},
    {"PREPEND", access_act_prepend},
    {"OK", access_act_ok},
    {"RELAY", access_act_ok},
};

enum access_result
access_action(struct access_context *ctx, enum access_thing thing, const char *table,
    const char *key, const char *value)
{
	struct span word = span_head(span_str(value), strcspn(value, " \t"));
	const char *rest = value + word.len + strspn(value + word.len, " \t");
	const struct access_act act = {ctx, thing, table, key, value, span_str(rest), rest};

	for (size_t i = 0; i < ARRAY_LEN(access_actions); i++)
		if (span_equal_nocase_str(word, access_actions[i].word))
			return access_actions[i].act(&act);
	/* All digits: a time stamp of some programs that keep tables. */
	if (access_is_digits(span_str(value)))
		return access_act_ok(&act);
	if (word.len == 3 && access_is_digits(word) && (word.ptr[0] == '4' || word.ptr[0] == '5')) {
		int code = (word.ptr[0] - '0') * 100 + (word.ptr[1] - '0') * 10 + word.ptr[2] - '0';

		return access_act_reject(&act, code, code >= 500 ? "5.7.1" : "4.7.1");
	}
	if (word.len == 0) {
		log_warn("access table %s entry \"%s\" has empty value", table, key);
		return ACCESS_OK;
	}
	return access_act_list(&act);
}
