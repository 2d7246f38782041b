/*
 * smtpd_reply.c - every line that goes to the client passes here, and what it means for the session's counters and for
 * the log.
 */
#include "smtpd/smtpd_int.h"

#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "conf/macro.h"
#include "mail/mail_log.h"
#include "table/table.h"

static void smtpd_vreply(struct smtpd_session *s, int code, const char *dsn, const char *fmt,
    va_list args) PRINTF_LIKE(4, 0);

/* The text that goes behind replies like this one; false: none. */
static bool
smtpd_reply_footer(struct smtpd_session *s, struct buf *out)
{
	const struct smtpd_setup *setup = s->setup;
	struct buf footer CLEANUP(buf_done) = {0};
	struct access_request request;
	struct access_macros macros = {.request = &request, .conf = setup->conf};
	const struct macro_source source = {
	    .lookup = access_macro,
	    .arg = &macros,
	    .filter = access_expansion_filter(setup->access),
	};
	struct err err;
	bool good;

	if (table_list_is_empty(setup->footer_maps) ||
	    table_list_lookup(setup->footer_maps, buf_span(&s->reply), TABLE_KEY_FULL, &footer,
		&err) != TABLE_FOUND) {
		buf_clear(&footer);
		buf_add_str(&footer, conf_str(setup->conf, CONF_smtpd_reject_footer));
	}
	if (footer.len == 0)
		return false;
	smtpd_access_request(s, &request);
	good = macro_expand(buf_span(&footer), &source, out, &err);
	if (!good)
		log_warn("smtpd_reject_footer: %s", err.text);
	buf_done(&macros.scratch);
	return good;
}

/* Cuts the next line off: up to "\n" in two characters. */
static struct span
smtpd_footer_line(struct span *rest)
{
	const char *end = memmem(rest->ptr, rest->len, "\\n", 2);
	size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
	struct span line = span_head(*rest, len);

	*rest = span_from(*rest, end != NULL ? len + 2 : len);
	return line;
}

/* "\c" in front: the first line continues the reply; every further line repeats codes (smtpd_reject_footer). */
static void
smtpd_reply_add_footer(struct smtpd_session *s, size_t code_len)
{
	struct buf footer CLEANUP(buf_done) = {0};
	struct buf codes CLEANUP(buf_done) = {0};
	size_t last = 0;
	struct span rest;

	if (!smtpd_reply_footer(s, &footer))
		return;
	buf_add_span(&codes, span_head(buf_span(&s->reply), code_len));
	rest = buf_span(&footer);
	if (span_starts(rest, "\\c")) {
		rest = span_from(rest, 2);
		buf_add_span(&s->reply, smtpd_footer_line(&rest));
	}
	while (rest.len != 0) {
		struct span line = smtpd_footer_line(&rest);

		s->reply.ptr[last + 3] = '-';
		buf_add_str(&s->reply, "\r\n");
		last = s->reply.len;
		buf_add_span(&s->reply, buf_span(&codes));
		s->reply.ptr[last + 3] = ' ';
		buf_add_span(&s->reply, line);
	}
}

/* smtpd_reject_filter_maps: another reply in place of this one. */
static void
smtpd_reply_filter(struct smtpd_session *s)
{
	struct buf other CLEANUP(buf_done) = {0};
	struct err err;

	if (table_list_is_empty(s->setup->filter_maps) ||
	    table_list_lookup(s->setup->filter_maps, buf_span(&s->reply), TABLE_KEY_FULL, &other,
		&err) != TABLE_FOUND)
		return;
	buf_clear(&s->reply);
	buf_add_span(&s->reply, buf_span(&other));
}

static void
smtpd_vreply(struct smtpd_session *s, int code, const char *dsn, const char *fmt, va_list args)
{
	bool soft = code >= 500 && s->setup->soft_bounce;
	size_t code_len;

	buf_clear(&s->reply);
	buf_printf(&s->reply, "%d ", soft ? code - 100 : code);
	if (dsn != NULL && dsn[0] != '\0')
		buf_printf(&s->reply, "%c%s ", soft && dsn[0] == '5' ? '4' : dsn[0], dsn + 1);
	code_len = s->reply.len;
	buf_vprintf(&s->reply, fmt, args);
	/* RFC 5321 section 4.5.3.1.5: 512 bytes, the line end included */
	if (s->reply.len > 510)
		buf_truncate(&s->reply, 510);
	if (code >= 400) {
		s->failed = true;
		s->errors++;
		smtpd_notice_refused(s, code, dsn);
		smtpd_reply_filter(s);
		/* A text from a table does not begin a line of its own. */
		buf_mask_controls(&s->reply, 0, ' ');
		smtpd_reply_add_footer(s, MIN(code_len, s->reply.len));
	}
	buf_add_str(&s->reply, "\r\n");
	smtpd_notice_said(s, buf_span(&s->reply));
	(void)stream_write_span(s->stream, buf_span(&s->reply));
}

void
smtpd_reply(struct smtpd_session *s, int code, const char *dsn, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	smtpd_vreply(s, code, dsn, fmt, args);
	va_end(args);
}

void
smtpd_reply_err(struct smtpd_session *s, const struct err *err)
{
	int code = err->smtp_code;

	if (code == 0)
		code = err->kind == ERR_PERM ? 550 : 451;
	smtpd_reply(s, code, err->dsn[0] != '\0' ? err->dsn : "4.3.0", "%s", err->text);
}

void
smtpd_reply_syntax(
    struct smtpd_session *s, struct span args, const char *word, const struct err *err)
{
	struct span address;

	/* The code says whether it was the address: there are floods of those. One that is cut short is not worth a line. */
	if (strncmp(err->dsn, "5.1.", 4) == 0 &&
	    smtp_command_first_word(span_from(args, strlen(word)), &address))
		log_warn("Illegal address syntax from %s[%s] in %s command: %.*s", s->client_name,
		    s->client_address, s->where, SPAN_ARG(span_head(address, 200)));
	smtpd_reply_err(s, err);
}

void
smtpd_reply_improper(struct smtpd_session *s, struct span args, const char *word, const char *dsn)
{
	struct err err;

	(void)err_set_smtp(&err, ERR_PERM, 501, dsn, "Bad %s address syntax",
	    strcmp(dsn, "5.1.7") == 0 ? "sender" : "recipient");
	smtpd_reply_syntax(s, args, word, &err);
}

void
smtpd_give_up(struct smtpd_session *s, const char *dsn, const char *fmt, ...)
{
	struct buf text CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&text, fmt, args);
	va_end(args);
	smtpd_reply(s, 421, dsn, "%s %s", s->setup->hostname, buf_str(&text));
	smtpd_enter(s, SMTPD_STATE_CLOSED);
}

struct mail_log_client
smtpd_log_client(const struct smtpd_session *s)
{
	return (struct mail_log_client){
	    .name = s->client_name,
	    .addr = s->client_address,
	    .port =
		conf_bool(s->setup->conf, CONF_smtpd_client_port_logging) ? s->client_port : NULL,
	};
}

void
smtpd_log_lost(const struct smtpd_session *s, const char *why, const char *stage, int64_t bytes)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_client client = smtpd_log_client(s);

	mail_log_lost(&text, why, stage, bytes, &client);
	log_info("%s", buf_str(&text));
}
