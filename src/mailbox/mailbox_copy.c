/*
 * mailbox_copy.c - see mailbox_copy.h.
 */
#include "mailbox/mailbox_copy.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "mail/mail_addr.h"

/* A header section longer than this is not searched further. */
#define MAILBOX_HEADERS_MAX (1u << 20)

static const char mailbox_from[] = "From ";

unsigned
mailbox_copy_wanted(const struct conf *conf, unsigned flags)
{
	return conf_bool(conf, CONF_enable_original_recipient)
		   ? flags
		   : flags & ~(unsigned)MAILBOX_COPY_ORIG_RCPT;
}

static void
mailbox_copy_line(const struct mailbox_copy *c, const char *name, const char *addr, bool brackets,
    struct buf *out)
{
	buf_printf(out, "%s: %s", name, brackets ? "<" : "");
	mail_addr_quote(out, span_str(addr));
	buf_printf(out, "%s%s", brackets ? ">" : "", c->eol);
}

void
mailbox_copy_head(const struct mailbox_copy *c, int64_t second, struct buf *out)
{
	if ((c->flags & MAILBOX_COPY_FROM) != 0) {
		char date[64];

		clock_format_local(second, "%a %b %e %H:%M:%S %Y", date, sizeof(date));
		buf_add_str(out, mailbox_from);
		mail_addr_quote(out, span_str(c->sender[0] != '\0' ? c->sender : c->null_from));
		buf_printf(out, "  %s%s", date, c->eol);
	}
	if ((c->flags & MAILBOX_COPY_RETURN_PATH) != 0)
		mailbox_copy_line(c, "Return-Path", c->sender, true, out);
	if ((c->flags & MAILBOX_COPY_ORIG_RCPT) != 0 && c->orig_rcpt[0] != '\0')
		mailbox_copy_line(c, "X-Original-To", c->orig_rcpt, false, out);
	if ((c->flags & MAILBOX_COPY_DELIVERED) != 0)
		mailbox_copy_line(c, "Delivered-To", c->delivered, false, out);
}

/* ---- the content ---- */

/* What was held back turned out to be no "From ". */
static void
mailbox_filter_let_go(struct mailbox_filter *f, struct buf *out)
{
	if (f->matched == 0)
		return;
	buf_add(out, mailbox_from, f->matched);
	f->matched = 0;
	f->in_line = true;
}

/* One byte at the beginning of a line. True: it was taken (held back, or as the last one of "From "). */
static bool
mailbox_filter_match(struct mailbox_filter *f, char c, struct buf *out)
{
	if ((f->copy->flags & MAILBOX_COPY_QUOTE_FROM) == 0 || c != mailbox_from[f->matched])
		return false;
	if (mailbox_from[++f->matched] == '\0') {
		buf_add_char(out, '>');
		mailbox_filter_let_go(f, out);
	}
	return true;
}

void
mailbox_filter_add(struct mailbox_filter *f, struct span bytes, struct buf *out)
{
	f->some = f->some || bytes.len != 0;
	while (bytes.len != 0) {
		size_t len;

		if (!f->in_line) {
			if (mailbox_filter_match(f, bytes.ptr[0], out)) {
				bytes = span_from(bytes, 1);
				continue;
			}
			if (f->matched == 0 && bytes.ptr[0] == '.' &&
			    (f->copy->flags & MAILBOX_COPY_DOT) != 0)
				buf_add_char(out, '.');
			mailbox_filter_let_go(f, out);
		}
		len = span_find(bytes, '\n');
		buf_add_span(out, span_head(bytes, len));
		f->in_line = true;
		if (len < bytes.len) {
			buf_add_str(out, f->copy->eol);
			f->in_line = false;
			len++;
		}
		bytes = span_from(bytes, len);
	}
}

void
mailbox_filter_end(struct mailbox_filter *f, struct buf *out)
{
	mailbox_filter_let_go(f, out);
	if (f->in_line)
		buf_add_str(out, f->copy->eol);
	f->in_line = false;
	if ((f->copy->flags & MAILBOX_COPY_BLANK) != 0)
		buf_add_str(out, f->copy->eol);
}

/* ---- writing ---- */

enum mailbox_copy_result
mailbox_copy_run(struct agent_work *w, const struct mailbox_copy *c,
    bool (*sink)(void *arg, struct span bytes), void *arg)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct mailbox_filter filter = {.copy = c};
	struct span piece;
	bool last = false;

	agent_work_rewind(w);
	mailbox_copy_head(c, clock_real_us() / CLOCK_SECOND, &out);
	while (!last) {
		if (!agent_work_piece(w, &piece, &last))
			return MAILBOX_COPY_NO_CONTENT;
		mailbox_filter_add(&filter, piece, &out);
		if (last)
			mailbox_filter_end(&filter, &out);
		if (!sink(arg, buf_span(&out)))
			return MAILBOX_COPY_WRITE;
		buf_clear(&out);
	}
	return MAILBOX_COPY_OK;
}

struct mailbox_target {
	int fd;
	uint64_t limit;
	uint64_t written;
};

static bool
mailbox_write_all(void *arg, struct span bytes)
{
	struct mailbox_target *t = arg;

	t->written += bytes.len;
	if (t->limit != 0 && t->written > t->limit) {
		errno = EFBIG;
		return false;
	}
	while (bytes.len > 0) {
		ssize_t n = write(t->fd, bytes.ptr, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes = span_from(bytes, (size_t)n);
	}
	return true;
}

enum mailbox_copy_result
mailbox_copy_write(struct agent_work *w, const struct mailbox_copy *c, int fd, uint64_t limit)
{
	struct mailbox_target target = {.fd = fd, .limit = limit};

	return mailbox_copy_run(w, c, mailbox_write_all, &target);
}

/* ---- loops ---- */

/* The header section, as far as it is looked at. */
static void
mailbox_headers(struct agent_work *w, struct buf *ret)
{
	struct span piece;
	bool last = false;

	agent_work_rewind(w);
	while (!last && ret->len < MAILBOX_HEADERS_MAX) {
		if (!agent_work_piece(w, &piece, &last))
			return;
		buf_add_span(ret, piece);
		if (memmem(ret->ptr, ret->len, "\n\n", 2) != NULL)
			return;
	}
}

void
mailbox_copy_delivered_to(struct agent_work *w, struct buf *ret)
{
	static const char name[] = "Delivered-To:";
	struct buf headers CLEANUP(buf_done) = {0};
	struct span rest, line;

	mailbox_headers(w, &headers);
	rest = buf_span(&headers);
	while (rest.len != 0 && rest.ptr[0] != '\n') {
		line = span_head(rest, span_find(rest, '\n'));
		rest = span_from(rest, line.len + 1);
		if (!span_starts_nocase(line, name))
			continue;
		line = span_trim(span_from(line, sizeof(name) - 1));
		/* Only what looks as we would have written it, quoted or not. */
		if (!span_starts(line, "\"") || !mail_addr_unquote(ret, line))
			buf_add_span(ret, line);
		buf_add_char(ret, '\n');
	}
}

bool
mailbox_copy_is_loop(struct agent_work *w, const char *addr)
{
	struct buf found CLEANUP(buf_done) = {0};
	struct span rest, one;

	mailbox_copy_delivered_to(w, &found);
	rest = buf_span(&found);
	while (rest.len != 0) {
		one = span_head(rest, span_find(rest, '\n'));
		rest = span_from(rest, one.len + 1);
		if (span_equal_nocase_str(one, addr))
			return true;
	}
	return false;
}
