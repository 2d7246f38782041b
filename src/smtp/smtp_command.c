/*
 * smtp_command.c - see smtp_command.h. Replies to bad commands are Postfix's, word for word: people and programs know
 * them.
 */
#include "smtp/smtp_command.h"

#include <ctype.h>
#include <stdio.h>

#include "base/utf8.h"
#include "mail/mail_addr.h"

static const struct smtp_command_options smtp_command_defaults;

static bool
smtp_command_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span
smtp_command_skip_space(struct span s)
{
	while (s.len != 0 && smtp_command_is_space(s.ptr[0]))
		s = span_from(s, 1);
	return s;
}

void
smtp_command_split(struct span line, struct span *ret_verb, struct span *ret_args)
{
	size_t end = 0;

	line = smtp_command_skip_space(line);
	while (end < line.len && !smtp_command_is_space(line.ptr[end]))
		end++;
	*ret_verb = span_head(line, end);
	*ret_args = smtp_command_skip_space(span_from(line, end));
}

/* ---- words ---- */

/* Length of the "..." at the front of `s`; 0 when it is not closed. */
static size_t
smtp_command_string(struct span s)
{
	for (size_t i = 1; i < s.len; i++) {
		if (s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == '"')
			return i + 1;
	}
	return 0;
}

/* Length of the <...> at the front of `s`, others nested within; 0 when it is not closed. */
static size_t
smtp_command_bracket(struct span s)
{
	size_t depth = 0;
	size_t n;

	for (size_t i = 0; i < s.len; i += n) {
		n = 1;
		if (s.ptr[i] == '\\')
			n = 2;
		else if (s.ptr[i] == '"')
			n = smtp_command_string(span_from(s, i));
		else if (s.ptr[i] == '<')
			depth++;
		else if (s.ptr[i] == '>' && --depth == 0)
			return i + 1;
		if (n == 0)
			return 0;
	}
	return 0;
}

enum smtp_command_word {
	SMTP_COMMAND_END,
	SMTP_COMMAND_WORD,
	SMTP_COMMAND_OPEN, /* a quote or bracket is not closed */
};

/* The next word; white space within <> and "" belongs to it. */
static enum smtp_command_word
smtp_command_word(struct span *rest, struct span *ret_word)
{
	struct span s = smtp_command_skip_space(*rest);
	size_t at = 0;

	*rest = s;
	if (s.len == 0)
		return SMTP_COMMAND_END;
	while (at < s.len && !smtp_command_is_space(s.ptr[at])) {
		size_t n = 1;

		if (s.ptr[at] == '<')
			n = smtp_command_bracket(span_from(s, at));
		else if (s.ptr[at] == '"')
			n = smtp_command_string(span_from(s, at));
		if (n == 0)
			return SMTP_COMMAND_OPEN;
		at += n;
	}
	*ret_word = span_head(s, at);
	*rest = span_from(s, at);
	return SMTP_COMMAND_WORD;
}

bool
smtp_command_first_word(struct span args, struct span *ret_word)
{
	return smtp_command_word(&args, ret_word) == SMTP_COMMAND_WORD;
}

/* "KEY=value" with KEY of either case; true with the value when `word` begins so. */
static bool
smtp_command_option(struct span word, const char *key, struct span *ret_value)
{
	if (!span_starts_nocase(word, key))
		return false;
	*ret_value = span_from(word, strlen(key));
	return true;
}

/* ---- xtext, DSN words ---- */

static int
smtp_command_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
smtp_command_xtext_decode(struct span in, struct buf *out)
{
	size_t begin = out->len;

	for (size_t i = 0; i < in.len; i++) {
		if (in.ptr[i] != '+') {
			buf_add_char(out, in.ptr[i]);
			continue;
		}
		if (i + 2 >= in.len || smtp_command_hex(in.ptr[i + 1]) < 0 ||
		    smtp_command_hex(in.ptr[i + 2]) < 0) {
			buf_truncate(out, begin);
			return false;
		}
		buf_add_char(out,
		    (char)(smtp_command_hex(in.ptr[i + 1]) * 16 + smtp_command_hex(in.ptr[i + 2])));
		i += 2;
	}
	return true;
}

void
smtp_command_xtext_encode(struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.len; i++) {
		unsigned char c = (unsigned char)in.ptr[i];

		if (c == '+' || c == '=' || c <= ' ' || c >= 127)
			buf_printf(out, "+%02X", c);
		else
			buf_add_char(out, (char)c);
	}
}

static const struct {
	unsigned bit;
	const char *word;
} smtp_command_notify_words[] = {
    {SMTP_NOTIFY_NEVER, "NEVER"},
    {SMTP_NOTIFY_SUCCESS, "SUCCESS"},
    {SMTP_NOTIFY_FAILURE, "FAILURE"},
    {SMTP_NOTIFY_DELAY, "DELAY"},
};

unsigned
smtp_command_notify_parse(struct span text)
{
	unsigned notify = 0;
	struct span word;

	while (span_word(&text, ", \t", &word)) {
		unsigned bit = 0;

		for (size_t i = 0; i < ARRAY_LEN(smtp_command_notify_words); i++)
			if (span_equal_nocase_str(word, smtp_command_notify_words[i].word))
				bit = smtp_command_notify_words[i].bit;
		if (bit == 0)
			return 0;
		notify |= bit;
	}
	/* RFC 3461 section 4.1: NEVER stands alone */
	return (notify & SMTP_NOTIFY_NEVER) != 0 && notify != SMTP_NOTIFY_NEVER ? 0 : notify;
}

const char *
smtp_command_notify_text(unsigned notify)
{
	static const char *const texts[] = {"", "SUCCESS", "FAILURE", "SUCCESS,FAILURE", "DELAY",
	    "SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"};

	return (notify & SMTP_NOTIFY_NEVER) != 0 ? "NEVER" : texts[(notify >> 1) & 7];
}

const char *
smtp_command_ret_text(enum smtp_command_ret ret)
{
	static const char *const texts[] = {"", "FULL", "HDRS"};

	return texts[ret];
}

/* ---- addresses ---- */

static bool
smtp_command_unsupported(struct span word, struct err *err)
{
	return err_set_smtp(err, ERR_PERM, 555, "5.5.4", "Unsupported option: %.*s",
	    SPAN_ARG(span_head(word, 300)));
}

/* Parses a path into *ret_addr and *ret_given; false without a word about it. */
static bool
smtp_command_path(struct span word, const struct smtp_command_options *options, struct arena *arena,
    const char **ret_addr, const char **ret_given)
{
	struct buf addr CLEANUP(buf_done) = {0};
	struct span given;

	if (memchr(word.ptr, '\0', word.len) != NULL ||
	    !mail_addr_parse_path(word, options->strict_envelopes, &addr, &given))
		return false;
	*ret_addr = arena_dup(arena, buf_span(&addr));
	*ret_given = arena_dup(arena, given);
	return true;
}

/* SMTPUTF8 was not asked for, but the local part needs it (RFC 6531 section 3.4). */
static bool
smtp_command_needs_utf8(const char *addr, bool smtputf8, const struct smtp_command_options *options)
{
	struct span local = span_head(span_str(addr), span_find_last(span_str(addr), '@'));

	return options->strict_smtputf8 && !smtputf8 && !utf8_is_ascii(local);
}

/* ---- MAIL ---- */

static bool
smtp_command_mail_size(struct span value, struct smtp_mail *mail, struct err *err)
{
	for (size_t i = 0; i < value.len; i++)
		if (!isdigit((unsigned char)value.ptr[i]))
			value.len = 0;
	if (value.len == 0)
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Bad message size syntax");
	if (!span_number(value, INT64_MAX, &mail->size))
		return err_set_smtp(
		    err, ERR_PERM, 552, "5.3.4", "Message size exceeds file system imposed limit");
	mail->has_size = true;
	return true;
}

static bool
smtp_command_dsn_allowed(const struct smtp_command_options *options, struct err *err)
{
	if (!options->no_dsn)
		return true;
	return err_set_smtp(err, ERR_PERM, 501, "5.7.1", "DSN support is disabled");
}

static bool
smtp_command_mail_ret(struct span value, const struct smtp_command_options *options,
    struct smtp_mail *mail, struct err *err)
{
	if (!smtp_command_dsn_allowed(options, err))
		return false;
	if (mail->ret == SMTP_RET_NONE && span_equal_nocase_str(value, "FULL"))
		mail->ret = SMTP_RET_FULL;
	else if (mail->ret == SMTP_RET_NONE && span_equal_nocase_str(value, "HDRS"))
		mail->ret = SMTP_RET_HDRS;
	else
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Bad RET parameter syntax");
	return true;
}

/* Printable ASCII, white space included. */
static bool
smtp_command_is_printable(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < ' ' || s.ptr[i] == 127)
			return false;
	return true;
}

static bool
smtp_command_mail_envid(struct span value, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_mail *mail, struct err *err)
{
	struct buf decoded CLEANUP(buf_done) = {0};

	if (!smtp_command_dsn_allowed(options, err))
		return false;
	if (value.len == 0 || mail->envid != NULL || !smtp_command_xtext_decode(value, &decoded) ||
	    !smtp_command_is_printable(buf_span(&decoded)))
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Bad ENVID parameter syntax");
	mail->envid = arena_dup(arena, value);
	return true;
}

static bool
smtp_command_mail_verp(struct span value, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_mail *mail, struct err *err)
{
	const char *filter = options->verp_filter != NULL ? options->verp_filter : "-=+";

	if (value.len == 0 && options->verp_delimiters != NULL)
		value = span_str(options->verp_delimiters);
	else if (value.len != 0)
		value = span_from(value, 1); /* "=" */
	if (value.len != 2 || strchr(filter, value.ptr[0]) == NULL ||
	    strchr(filter, value.ptr[1]) == NULL)
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4",
		    "Error: XVERP needs two characters from %s", filter);
	mail->verp = arena_dup(arena, value);
	return true;
}

/* AUTH=<> or AUTH=xtext (RFC 4954 section 5); what it is worth the session decides. */
static void
smtp_command_mail_auth(struct span value, struct arena *arena, struct smtp_mail *mail)
{
	struct buf decoded CLEANUP(buf_done) = {0};

	if (span_equal_str(value, "<>"))
		mail->auth = "";
	else if (smtp_command_xtext_decode(value, &decoded))
		mail->auth = arena_dup(arena, buf_span(&decoded));
}

static bool
smtp_command_mail_option(struct span word, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_mail *mail, struct err *err)
{
	struct span value;

	if (span_equal_nocase_str(word, "BODY=8BITMIME"))
		mail->body = SMTP_BODY_8BITMIME;
	else if (span_equal_nocase_str(word, "BODY=7BIT"))
		mail->body = SMTP_BODY_7BIT;
	else if (!options->no_smtputf8 && span_equal_nocase_str(word, "SMTPUTF8"))
		mail->smtputf8 = true;
	else if (smtp_command_option(word, "SIZE=", &value))
		return smtp_command_mail_size(value, mail, err);
	else if (smtp_command_option(word, "RET=", &value))
		return smtp_command_mail_ret(value, options, mail, err);
	else if (smtp_command_option(word, "ENVID=", &value))
		return smtp_command_mail_envid(value, options, arena, mail, err);
	else if (!options->no_auth && smtp_command_option(word, "AUTH=", &value))
		smtp_command_mail_auth(value, arena, mail);
	else if (options->verp && smtp_command_option(word, "XVERP", &value) &&
		 (value.len == 0 || value.ptr[0] == '='))
		return smtp_command_mail_verp(value, options, arena, mail, err);
	else
		return smtp_command_unsupported(word, err);
	return true;
}

bool
smtp_command_parse_mail(struct span args, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_mail *ret, struct err *err)
{
	struct smtp_mail mail = {0};
	enum smtp_command_word more;
	struct span word;

	args = smtp_command_skip_space(args);
	if (!smtp_command_option(args, "FROM:", &args))
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
	more = smtp_command_word(&args, &word);
	if (more == SMTP_COMMAND_END)
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
	if (more == SMTP_COMMAND_OPEN ||
	    !smtp_command_path(word, options, arena, &mail.addr, &mail.given))
		return err_set_smtp(err, ERR_PERM, 501, "5.1.7", "Bad sender address syntax");
	while ((more = smtp_command_word(&args, &word)) == SMTP_COMMAND_WORD)
		if (!smtp_command_mail_option(word, options, arena, &mail, err))
			return false;
	if (more == SMTP_COMMAND_OPEN)
		return smtp_command_unsupported(args, err);
	if (smtp_command_needs_utf8(mail.addr, mail.smtputf8, options))
		return err_set_smtp(
		    err, ERR_PERM, 553, "5.6.7", "Must declare SMTPUTF8 to send unicode address");
	*ret = mail;
	return true;
}

/* ---- RCPT, VRFY ---- */

static bool
smtp_command_rcpt_notify(struct span value, const struct smtp_command_options *options,
    struct smtp_rcpt *rcpt, struct err *err)
{
	if (!smtp_command_dsn_allowed(options, err))
		return false;
	if (rcpt->notify == 0)
		rcpt->notify = smtp_command_notify_parse(value);
	else
		rcpt->notify = 0;
	if (rcpt->notify == 0)
		return err_set_smtp(
		    err, ERR_PERM, 501, "5.5.4", "Error: Bad NOTIFY parameter syntax");
	return true;
}

/* "\\x{HEX}" at the front of `s`: the character as UTF-8 into `out`; its length, 0 when it is none. */
static size_t
smtp_command_utf8_escape(struct span s, struct buf *out)
{
	size_t end = span_find(s, '}');
	uint32_t c = 0;

	if (!span_starts(s, "\\x{") || end == s.len || end < 4 || end > 9)
		return 0;
	for (size_t i = 3; i < end; i++) {
		if (smtp_command_hex(s.ptr[i]) < 0)
			return 0;
		c = c * 16 + (uint32_t)smtp_command_hex(s.ptr[i]);
	}
	return utf8_put(out, c) ? end + 1 : 0;
}

/* What addr-type says of its address: utf-8 (RFC 6533 section 3) has escapes of its own. */
static bool
smtp_command_orcpt_decode(struct span type, struct span in, struct buf *out)
{
	if (!span_equal_nocase_str(type, "utf-8"))
		return smtp_command_xtext_decode(in, out);
	while (in.len != 0) {
		size_t n = 1;

		if (in.ptr[0] != '\\')
			buf_add_char(out, in.ptr[0]);
		else if ((n = smtp_command_utf8_escape(in, out)) == 0)
			return false;
		in = span_from(in, n);
	}
	return true;
}

void
smtp_command_utf8_encode(struct span in, struct buf *out)
{
	while (in.len != 0) {
		uint32_t c;
		size_t n = utf8_get(in, &c);

		if (n == 0) {
			c = (unsigned char)in.ptr[0];
			n = 1;
		}
		if (c == '+' || c == '=' || c == '\\' || c <= ' ' || c >= 127)
			buf_printf(out, "\\x{%02X}", c);
		else
			buf_add_char(out, (char)c);
		in = span_from(in, n);
	}
}

/* addr-type ";" xtext (RFC 3461 section 4.2) */
static bool
smtp_command_rcpt_orcpt(struct span value, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_rcpt *rcpt, struct err *err)
{
	struct buf decoded CLEANUP(buf_done) = {0};
	size_t semicolon = span_find(value, ';');

	if (!smtp_command_dsn_allowed(options, err))
		return false;
	buf_add(&decoded, value.ptr, MIN(semicolon + 1, value.len));
	if (semicolon == 0 || semicolon == value.len || rcpt->orcpt != NULL ||
	    !smtp_command_orcpt_decode(
		span_head(value, semicolon), span_from(value, semicolon + 1), &decoded) ||
	    memchr(decoded.ptr, '\0', decoded.len) != NULL)
		return err_set_smtp(
		    err, ERR_PERM, 501, "5.5.4", "Error: Bad ORCPT parameter syntax");
	rcpt->orcpt = arena_dup(arena, buf_span(&decoded));
	return true;
}

static bool
smtp_command_rcpt_option(struct span word, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_rcpt *rcpt, struct err *err)
{
	struct span value;

	if (smtp_command_option(word, "NOTIFY=", &value))
		return smtp_command_rcpt_notify(value, options, rcpt, err);
	if (smtp_command_option(word, "ORCPT=", &value))
		return smtp_command_rcpt_orcpt(value, options, arena, rcpt, err);
	return smtp_command_unsupported(word, err);
}

static bool
smtp_command_bad_rcpt(struct err *err)
{
	return err_set_smtp(err, ERR_PERM, 501, "5.1.3", "Bad recipient address syntax");
}

bool
smtp_command_parse_rcpt(struct span args, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_rcpt *ret, struct err *err)
{
	struct smtp_rcpt rcpt = {0};
	enum smtp_command_word more;
	struct span word;

	args = smtp_command_skip_space(args);
	if (!smtp_command_option(args, "TO:", &args))
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Syntax: RCPT TO:<address>");
	more = smtp_command_word(&args, &word);
	if (more == SMTP_COMMAND_END)
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Syntax: RCPT TO:<address>");
	if (more == SMTP_COMMAND_OPEN ||
	    !smtp_command_path(word, options, arena, &rcpt.addr, &rcpt.given) ||
	    rcpt.addr[0] == '\0')
		return smtp_command_bad_rcpt(err);
	while ((more = smtp_command_word(&args, &word)) == SMTP_COMMAND_WORD)
		if (!smtp_command_rcpt_option(word, options, arena, &rcpt, err))
			return false;
	if (more == SMTP_COMMAND_OPEN)
		return smtp_command_unsupported(args, err);
	*ret = rcpt;
	return true;
}

bool
smtp_command_parse_vrfy(struct span args, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_rcpt *ret, struct err *err)
{
	struct smtp_rcpt rcpt = {0};

	args = span_trim(args);
	if (!options->no_smtputf8 && span_ends_nocase(args, " SMTPUTF8")) {
		args = span_trim(span_head(args, args.len - 9));
		rcpt.smtputf8 = true;
	}
	if (args.len == 0)
		return err_set_smtp(err, ERR_PERM, 501, "5.5.4", "Syntax: VRFY address%s",
		    options->no_smtputf8 ? "" : " [SMTPUTF8]");
	if (!smtp_command_path(args, &smtp_command_defaults, arena, &rcpt.addr, &rcpt.given) ||
	    rcpt.addr[0] == '\0')
		return smtp_command_bad_rcpt(err);
	rcpt.given = arena_dup(arena, args);
	*ret = rcpt;
	return true;
}

/* ---- BDAT ---- */

bool
smtp_command_parse_bdat(struct span args, struct smtp_bdat *ret, struct err *err)
{
	struct smtp_bdat bdat = {0};
	struct span word;
	bool good = span_word(&args, " \t\r\n", &word) && span_number(word, INT64_MAX, &bdat.size);

	if (good && span_word(&args, " \t\r\n", &word)) {
		bdat.last = span_equal_nocase_str(word, "LAST");
		good = bdat.last && !span_word(&args, " \t\r\n", &word);
	}
	if (!good)
		return err_set_smtp(err, ERR_PERM, 521, "5.5.4", "Syntax: BDAT count [LAST]");
	*ret = bdat;
	return true;
}

/* ---- client ---- */

void
smtp_command_write_mail(struct buf *out, struct span addr)
{
	buf_add_str(out, "MAIL FROM:<");
	mail_addr_quote(out, addr);
	buf_add_char(out, '>');
}

void
smtp_command_write_rcpt(struct buf *out, struct span addr)
{
	buf_add_str(out, "RCPT TO:<");
	mail_addr_quote(out, addr);
	buf_add_char(out, '>');
}
