/*
 * smtp_checks.c - see smtp_checks.h. Line by line: headers are gathered with their folds and looked up as a whole, in the table of where they
 * stand; other lines are the body's. Boundaries of open multiparts tell where the headers of a part begin.
 */
#include "client/smtp_checks.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_header.h"
#include "mail/mail_mime.h"
#include "table/table.h"

#define SMTP_CHECKS_DEPTH 20
/* A header or line longer than this is looked up in pieces. */
#define SMTP_CHECKS_LONG  65536
#define SMTP_CHECKS_SHOWN 60 /* bytes of what was found, in the log */

enum smtp_checks_where {
	SMTP_CHECKS_PRIMARY, /* the message's own headers */
	SMTP_CHECKS_MIME,    /* those of a part, and MIME headers of the message */
	SMTP_CHECKS_NESTED,  /* those of an attached message */
	SMTP_CHECKS_BODY,
	SMTP_CHECKS_COUNT,
};

struct smtp_checks {
	struct conf *conf; /* borrowed from the setup */
	bool lmtp;
	struct table_list *tables[SMTP_CHECKS_COUNT];
	size_t body_limit; /* bytes of a part that are looked at */
};

struct smtp_checking {
	struct smtp_checks *checks; /* borrowed */
	const char *queue_id;       /* borrowed */
	enum smtp_checks_where where;
	enum smtp_checks_where asked;   /* the table that spoke last */
	enum mail_mime_type type;       /* of the present part */
	struct buf boundary;            /* its boundary, while its headers are read */
	char *stack[SMTP_CHECKS_DEPTH]; /* owned: boundaries of open multiparts */
	bool
	    digests[SMTP_CHECKS_DEPTH]; /* ... whose parts are messages unless they say otherwise */
	size_t depth;
	size_t body_seen; /* bytes of the present part's body */
	struct buf field; /* the header being gathered, with its line ends */
	struct buf line;  /* an unfinished line */
};

struct smtp_checks *
smtp_checks_new(struct conf *conf, bool lmtp)
{
	struct smtp_checks *c = mem_new(struct smtp_checks);

	c->conf = conf;
	c->lmtp = lmtp;
	c->tables[SMTP_CHECKS_PRIMARY] = table_list_of(
	    conf, lmtp ? CONF_lmtp_header_checks : CONF_smtp_header_checks, TABLE_BYTES);
	c->tables[SMTP_CHECKS_MIME] = table_list_of(
	    conf, lmtp ? CONF_lmtp_mime_header_checks : CONF_smtp_mime_header_checks, TABLE_BYTES);
	c->tables[SMTP_CHECKS_NESTED] = table_list_of(conf,
	    lmtp ? CONF_lmtp_nested_header_checks : CONF_smtp_nested_header_checks, TABLE_BYTES);
	c->tables[SMTP_CHECKS_BODY] =
	    table_list_of(conf, lmtp ? CONF_lmtp_body_checks : CONF_smtp_body_checks, TABLE_BYTES);
	c->body_limit = conf_size(conf, CONF_body_checks_size_limit);
	return c;
}

void
smtp_checks_free(struct smtp_checks **checks)
{
	struct smtp_checks *c = *checks;

	*checks = NULL;
	if (c == NULL)
		return;
	for (size_t i = 0; i < SMTP_CHECKS_COUNT; i++)
		table_list_close(&c->tables[i]);
	mem_free(c);
}

bool
smtp_checks_is_on(const struct smtp_checks *c)
{
	for (size_t i = 0; i < SMTP_CHECKS_COUNT; i++)
		if (!table_list_is_empty(c->tables[i]))
			return true;
	return false;
}

struct smtp_checking *
smtp_checking_new(struct smtp_checks *c, const char *queue_id)
{
	struct smtp_checking *x = mem_new(struct smtp_checking);

	x->checks = c;
	x->queue_id = queue_id;
	return x;
}

static void
smtp_checking_pop(struct smtp_checking *x, size_t depth)
{
	while (x->depth > depth)
		mem_free(x->stack[--x->depth]);
}

void
smtp_checking_free(struct smtp_checking **checking)
{
	struct smtp_checking *x = *checking;

	*checking = NULL;
	if (x == NULL)
		return;
	smtp_checking_pop(x, 0);
	buf_done(&x->boundary);
	buf_done(&x->field);
	buf_done(&x->line);
	mem_free(x);
}

/* ---- actions -------------------------------------------------------------------------------------------------- */

static void
smtp_checking_log(
    const struct smtp_checking *x, const char *action, struct span text, struct span found)
{
	log_info("%s: %s: %s %.*s%s%.*s", x->queue_id, action,
	    x->where == SMTP_CHECKS_BODY ? "body" : "header",
	    SPAN_ARG(span_head(found, SMTP_CHECKS_SHOWN)), text.len != 0 ? ": " : "",
	    SPAN_ARG(text));
}

static void
smtp_checking_add(struct buf *out, struct span text)
{
	buf_add_span(out, text);
	buf_add_char(out, '\n');
}

/* The parameter whose table spoke. */
static const char *
smtp_checking_table(const struct smtp_checking *x)
{
	static const char *const names[][SMTP_CHECKS_COUNT] = {
	    {
		[SMTP_CHECKS_PRIMARY] = "smtp_header_checks",
		[SMTP_CHECKS_MIME] = "smtp_mime_header_checks",
		[SMTP_CHECKS_NESTED] = "smtp_nested_header_checks",
		[SMTP_CHECKS_BODY] = "smtp_body_checks",
	    },
	    {
		[SMTP_CHECKS_PRIMARY] = "lmtp_header_checks",
		[SMTP_CHECKS_MIME] = "lmtp_mime_header_checks",
		[SMTP_CHECKS_NESTED] = "lmtp_nested_header_checks",
		[SMTP_CHECKS_BODY] = "lmtp_body_checks",
	    },
	};

	return names[x->checks->lmtp][x->asked];
}

/* What stands behind PREPEND and REPLACE: in a header section it must be a header. */
static bool
smtp_checking_has_text(const struct smtp_checking *x, const char *action, struct span text)
{
	if (text.len == 0) {
		log_warn("%s action without text in %s map", action, smtp_checking_table(x));
		return false;
	}
	if (x->where == SMTP_CHECKS_BODY || mail_header_name_length(text) != 0)
		return true;
	log_warn("bad %s header text \"%.*s\" in %s map -- need \"headername: headervalue\"",
	    action, SPAN_ARG(text), smtp_checking_table(x));
	return false;
}

static bool
smtp_checking_is_known(struct span word)
{
	return span_equal_nocase_str(word, "DUNNO") || span_equal_nocase_str(word, "OK") ||
	       span_equal_nocase_str(word, "REPLACE") || span_equal_nocase_str(word, "PREPEND");
}

/* Does what the table says with `found`, which is appended, changed or not, with a line end. */
static void
smtp_checking_act(
    const struct smtp_checking *x, struct span action, struct span found, struct buf *out)
{
	struct span text = action;
	struct span word = {0};

	(void)span_word(&text, " \t", &word);
	text = span_trim(text);
	if (span_equal_nocase_str(word, "IGNORE"))
		return;
	if (span_equal_nocase_str(word, "REPLACE") && smtp_checking_has_text(x, "REPLACE", text)) {
		smtp_checking_log(x, "replace", text, found);
		return smtp_checking_add(out, text);
	}
	if (span_equal_nocase_str(word, "STRIP"))
		return smtp_checking_log(x, "strip", text, found);
	if (span_equal_nocase_str(word, "PREPEND") && smtp_checking_has_text(x, "PREPEND", text)) {
		smtp_checking_log(x, "prepend", text, found);
		smtp_checking_add(out, text);
	} else if (span_equal_nocase_str(word, "WARN")) {
		smtp_checking_log(x, "warning", text, found);
	} else if (span_equal_nocase_str(word, "INFO")) {
		smtp_checking_log(x, "info", text, found);
	} else if (!smtp_checking_is_known(word)) {
		log_warn("unsupported command in %s map: %.*s", smtp_checking_table(x),
		    SPAN_ARG(action));
	}
	smtp_checking_add(out, found);
}

static bool
smtp_checking_look_up(
    struct smtp_checking *x, enum smtp_checks_where where, struct span found, struct buf *out)
{
	struct table_list *tables = x->checks->tables[where];
	struct buf action CLEANUP(buf_done) = {0};
	struct err err;

	if (found.len != 0 && !table_list_is_empty(tables)) {
		switch (table_list_lookup(tables, found, TABLE_KEY_FULL, &action, &err)) {
		case TABLE_ERROR:
			return false;
		case TABLE_FOUND:
			x->asked = where;
			smtp_checking_act(x, buf_span(&action), found, out);
			return true;
		case TABLE_NOT_FOUND:
			break;
		}
	}
	smtp_checking_add(out, found);
	return true;
}

/* ---- headers -------------------------------------------------------------------------------------------------- */

static bool
smtp_checking_end_field(struct smtp_checking *x, struct buf *out)
{
	enum smtp_checks_where where = x->where;
	struct mail_header_iter iter;
	struct mail_header h;
	bool ok;

	if (x->field.len == 0)
		return true;
	mail_header_start(&iter, buf_span(&x->field));
	if (mail_header_next(&iter, &h)) {
		if (h.id == MAIL_HEADER_CONTENT_TYPE) {
			buf_clear(&x->boundary);
			x->type = mail_mime_parse_type(h.value, &x->boundary);
		}
		/* MIME headers of messages too are looked up with those of parts. */
		if ((mail_header_flags(h.id) & MAIL_HEADER_MIME) != 0)
			where = SMTP_CHECKS_MIME;
	}
	ok = smtp_checking_look_up(x, where, span_head(buf_span(&x->field), x->field.len - 1), out);
	buf_clear(&x->field);
	return ok;
}

static void
smtp_checking_begin(struct smtp_checking *x, enum smtp_checks_where where)
{
	x->where = where;
	x->type = MAIL_MIME_LEAF;
	x->body_seen = 0;
}

/* The headers of a part have ended. */
static bool
smtp_checking_end_headers(struct smtp_checking *x, struct buf *out)
{
	if (!smtp_checking_end_field(x, out))
		return false;
	if (x->type == MAIL_MIME_MESSAGE || x->type == MAIL_MIME_GLOBAL) {
		smtp_checking_begin(x, SMTP_CHECKS_NESTED);
		return true;
	}
	if (x->type != MAIL_MIME_LEAF && x->boundary.len != 0 && x->depth < SMTP_CHECKS_DEPTH) {
		x->digests[x->depth] = x->type == MAIL_MIME_DIGEST;
		x->stack[x->depth++] = mem_strdup(buf_str(&x->boundary));
	}
	smtp_checking_begin(x, SMTP_CHECKS_BODY);
	return true;
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

/* Is it a boundary of an open multipart? Then headers of a part, or the rest behind the last part, follow. */
static bool
smtp_checking_is_boundary(struct smtp_checking *x, struct span line)
{
	struct span text = span_from(line, 2);

	if (x->depth == 0 || !span_starts(line, "--"))
		return false;
	for (size_t i = x->depth; i-- > 0;) {
		if (!span_starts(text, x->stack[i]))
			continue;
		if (span_starts(span_from(text, strlen(x->stack[i])), "--")) {
			smtp_checking_pop(x, i);
			smtp_checking_begin(x, SMTP_CHECKS_BODY);
		} else {
			smtp_checking_pop(x, i + 1);
			smtp_checking_begin(x, SMTP_CHECKS_MIME);
			if (x->digests[i])
				x->type = MAIL_MIME_MESSAGE;
		}
		return true;
	}
	return false;
}

static bool
smtp_checking_body(struct smtp_checking *x, struct span line, struct buf *out)
{
	if (x->body_seen > x->checks->body_limit) {
		smtp_checking_add(out, line);
		return true;
	}
	x->body_seen += line.len + 1;
	return smtp_checking_look_up(x, SMTP_CHECKS_BODY, line, out);
}

static bool
smtp_checking_line(struct smtp_checking *x, struct span line, struct buf *out)
{
	bool fold = line.len != 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t');

	if (smtp_checking_is_boundary(x, line)) {
		smtp_checking_add(out, line);
		return true;
	}
	if (x->where == SMTP_CHECKS_BODY)
		return smtp_checking_body(x, line, out);
	if (fold && x->field.len != 0 && x->field.len < SMTP_CHECKS_LONG) {
		smtp_checking_add(&x->field, line);
		return true;
	}
	if (mail_header_name_length(line) != 0) {
		if (!smtp_checking_end_field(x, out))
			return false;
		smtp_checking_add(&x->field, line);
		return true;
	}
	if (!smtp_checking_end_headers(x, out))
		return false;
	if (line.len != 0 && x->where == SMTP_CHECKS_BODY)
		return smtp_checking_body(x, line, out);
	smtp_checking_add(out, line);
	return true;
}

bool
smtp_checking_write(struct smtp_checking *x, struct span content, bool last, struct buf *out)
{
	bool ok = true;

	while (ok && content.len != 0) {
		size_t lf = span_find(content, '\n');
		bool whole = lf < content.len;

		buf_add_span(&x->line, span_head(content, lf));
		content = span_from(content, lf + whole);
		if (!whole && x->line.len < SMTP_CHECKS_LONG)
			break;
		ok = smtp_checking_line(x, buf_span(&x->line), out);
		buf_clear(&x->line);
	}
	if (ok && last && x->line.len != 0) {
		ok = smtp_checking_line(x, buf_span(&x->line), out);
		buf_clear(&x->line);
	}
	return ok && (!last || x->where == SMTP_CHECKS_BODY || smtp_checking_end_field(x, out));
}
