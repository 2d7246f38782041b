/*
 * sendmail_enqueue.c - standard input becomes a stream of records for postdrop. The content passes through in pieces; only with -t
 * the header section is kept, to find recipients in it.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "mail/mail_addr_list.h"
#include "mail/mail_header.h"
#include "pickup/maildrop.h"
#include "pickup/pickup_int.h"
#include "pickup/submit_conf.h"
#include "pickup/submit_postdrop.h"
#include "queue/queue_types.h"

#define ROOM_SIZE 16384 /* for getpwuid_r() */

struct enqueue {
	const struct sendmail_request *request;
	unsigned uid;
	char *sender; /* owned; internal form */
	struct submit_postdrop postdrop;
	struct buf piece;
	struct buf headers; /* with -t, until the section has ended */
	bool headers_ended;
	size_t header_limit;
	size_t rcpts;
};

/* Like Postfix, every failure of this program is one that may be tried again. */
#define FAIL(e, ...) fail((e), mem_printf(__VA_ARGS__))

NO_RETURN static void
fail(const struct enqueue *e, const char *text)
{
	log_fatal(EX_TEMPFAIL, "%s(%u): %s", e->sender, e->uid, text);
}

/* ---- postdrop ------------------------------------------------------------------------------------------------- */

static void
put(struct enqueue *e, enum maildrop_type type, struct span data)
{
	submit_postdrop_put(&e->postdrop, type, data);
}

static void
put_str(struct enqueue *e, enum maildrop_type type, const char *text)
{
	submit_postdrop_put_str(&e->postdrop, type, text);
}

static void
finish(struct enqueue *e)
{
	switch (submit_postdrop_finish(&e->postdrop)) {
	case POSTDROP_OK:
		return;
	case POSTDROP_TOO_LARGE:
		log_warn("mail_stream_cleanup: close error");
		fail(e, "message file too big");
	case POSTDROP_WRITE_ERROR:
		fail(e, "queue file write error");
	}
}

/* ---- envelope --------------------------------------------------------------------------------------------------- */

static char *
login_name(unsigned uid)
{
	struct passwd pw, *found = NULL;
	char room[ROOM_SIZE];

	(void)getpwuid_r(uid, &pw, room, sizeof(room), &found);
	if (found == NULL)
		log_fatal(EX_TEMPFAIL, "no login name found for user ID %u", uid);
	return mem_strdup(found->pw_name);
}

/* The first address in the option's text; none is the null sender. */
static char *
find_sender(const struct sendmail_request *r, unsigned uid)
{
	struct mail_addr_list list;
	struct mail_addr_item item;
	struct buf first = {0};
	size_t count = 0;
	size_t len;

	if (r->sender == NULL)
		return login_name(uid);
	mail_addr_list_start(&list, span_str(r->sender));
	while (mail_addr_list_next(&list, &item)) {
		if (count++ != 0 || mail_addr_list_internal(&item, &first))
			continue;
		/* Words side by side are an address each. */
		len = MIN(strcspn(item.addr.ptr, " \t"), item.addr.len);
		count += len < item.addr.len;
		buf_add_span(&first, span_head(item.addr, len));
	}
	if (count > 1)
		log_warn("-f option specified malformed sender: %s", r->sender);
	return buf_take(&first);
}

/* $NAME, or the gecos field up to its first comma, '&' standing for the login name (as finger(1) has it). */
static void
find_full_name(unsigned uid, struct buf *ret)
{
	const char *name = getenv("NAME");
	struct passwd pw, *found = NULL;
	char room[ROOM_SIZE];

	if (name != NULL) {
		buf_add_str(ret, name);
		return;
	}
	(void)getpwuid_r(uid, &pw, room, sizeof(room), &found);
	if (found == NULL)
		return;
	for (const char *p = found->pw_gecos; *p != '\0' && strchr(",;%", *p) == NULL; p++) {
		char first = found->pw_name[0];

		if (*p != '&') {
			buf_add_char(ret, *p);
			continue;
		}
		buf_add_char(ret, (char)(first >= 'a' && first <= 'z' ? first - 'a' + 'A' : first));
		buf_add_str(ret, first != '\0' ? found->pw_name + 1 : "");
	}
}

static void
put_full_name(struct enqueue *e)
{
	struct buf name CLEANUP(buf_done) = {0};

	if (e->request->full_name != NULL)
		buf_add_str(&name, e->request->full_name);
	else
		find_full_name(e->uid, &name);
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.ptr[i] < ' ' || name.ptr[i] == 127)
			name.ptr[i] = ' ';
	buf_truncate(&name, MIN(name.len, (size_t)MAILDROP_FIELD_MAX));
	if (name.len != 0)
		put(e, MAILDROP_FULL_NAME, buf_span(&name));
}

static void
put_rcpt(struct enqueue *e, struct span addr)
{
	if (addr.len == 0)
		return;
	if (!queue_address_is_storable(addr))
		FAIL(e, "bad recipient address: %.*s", SPAN_ARG(addr));
	put(e, MAILDROP_RCPT, addr);
	e->rcpts++;
}

/* Length of the word at the front: up to white space outside of quotes. */
static size_t
word_length(struct span s)
{
	bool quoted = false;
	size_t n = 0;

	for (; n < s.len && (quoted || strchr(" \t\r\n", s.ptr[n]) == NULL); n++) {
		if (s.ptr[n] == '"')
			quoted = !quoted;
		else if (s.ptr[n] == '\\' && n + 1 < s.len)
			n++;
	}
	return MIN(n, s.len);
}

/* "a@x b@y", no address as a whole: each word is one, so that nobody is forgotten for a missing comma. */
static void
put_words(struct enqueue *e, struct span text)
{
	struct buf addr CLEANUP(buf_done) = {0};

	for (text = span_trim(text); text.len != 0; text = span_trim(text)) {
		struct mail_addr_item item = {.addr = span_head(text, word_length(text))};

		buf_clear(&addr);
		if (mail_addr_list_internal(&item, &addr))
			put_rcpt(e, buf_span(&addr));
		text = span_from(text, item.addr.len);
	}
}

/* All addresses in a header value or an argument. */
static void
put_rcpts(struct enqueue *e, struct span text)
{
	struct buf addr CLEANUP(buf_done) = {0};
	struct mail_addr_list list;
	struct mail_addr_item item;

	mail_addr_list_start(&list, text);
	while (mail_addr_list_next(&list, &item)) {
		buf_clear(&addr);
		if (mail_addr_list_internal(&item, &addr))
			put_rcpt(e, buf_span(&addr));
		else if (!item.bracketed)
			put_words(e, item.addr);
	}
}

static void
put_envelope(struct enqueue *e)
{
	const struct sendmail_request *r = e->request;

	put_str(e, MAILDROP_VERSION, "1");
	put_full_name(e);
	put_str(e, MAILDROP_SENDER, e->sender);
	if (r->verp != NULL && e->sender[0] == '\0')
		fail(e, "-V option requires non-null sender address");
	put_str(e, MAILDROP_VERP, r->verp);
	put_str(e, MAILDROP_BODY, r->body);
	put_str(e, MAILDROP_PURPOSE, r->purpose);
	put_str(e, MAILDROP_ENVID, r->envid);
	put_str(e, MAILDROP_RET, r->ret);
	if (r->gateway)
		put_str(e, MAILDROP_CONTEXT, "remote");
	submit_postdrop_put_notify(&e->postdrop, e->request->notify);
	for (char **rcpt = r->rcpts; *rcpt != NULL; rcpt++)
		put_rcpts(e, span_str(*rcpt));
	put(e, MAILDROP_CONTENT, (struct span){0});
}

/* ---- content ---------------------------------------------------------------------------------------------------- */

static void
flush_piece(struct enqueue *e)
{
	if (e->piece.len != 0)
		put(e, MAILDROP_PIECE, buf_span(&e->piece));
	buf_clear(&e->piece);
}

/* Keeps the header section for -t. `starts`: the line begins here. */
static void
keep_header(struct enqueue *e, struct span line, bool starts)
{
	if (!e->request->extract || e->headers_ended)
		return;
	if (starts && (line.len == 1 || (line.ptr[0] != ' ' && line.ptr[0] != '\t' &&
					    mail_header_name_length(line) == 0)))
		e->headers_ended = true;
	else
		buf_add_span(&e->headers, line);
	if (e->headers.len > e->header_limit)
		fail(e, "unable to extract recipients: message header length exceeds limit");
}

static void
put_line(struct enqueue *e, struct span line, bool starts)
{
	keep_header(e, line, starts);
	if (e->piece.len + line.len > MAILDROP_PIECE_MAX)
		flush_piece(e);
	buf_add_span(&e->piece, line);
}

/* One line of input, LF included, or the first part of a long one. False at the end. */
static bool
read_line(struct buf *line, size_t max)
{
	buf_clear(line);
	while (line->len < max) {
		int c = getc_unlocked(stdin);

		if (c == EOF)
			return line->len != 0;
		buf_add_char(line, (char)c);
		if (c == '\n')
			return true;
	}
	return true;
}

static bool
is_mbox_line(const struct buf *line)
{
	size_t quotes = strspn(buf_str(line), ">");

	return strncmp(buf_str(line) + quotes, "From ", 5) == 0;
}

/* Do CRs before LF go? Under `strict` the first line tells (sendmail_fix_line_endings). */
static void
strip_cr(const struct conf *conf, struct buf *line, int *state)
{
	if (line->len == 0 || line->ptr[line->len - 1] != '\n')
		return;
	if (*state == 0 && conf_is(conf, CONF_sendmail_fix_line_endings, "always"))
		*state = 1;
	else if (*state == 0 && conf_is(conf, CONF_sendmail_fix_line_endings, "never"))
		*state = -1;
	else if (*state == 0)
		*state = line->len > 1 && line->ptr[line->len - 2] == '\r' ? 1 : -1;
	if (*state < 0)
		return;
	buf_truncate(line, line->len - 1);
	while (line->len != 0 && line->ptr[line->len - 1] == '\r')
		buf_truncate(line, line->len - 1);
	buf_add_char(line, '\n');
}

static void
put_content(struct enqueue *e)
{
	size_t max = conf_size(e->request->conf, CONF_line_length_limit);
	struct buf line CLEANUP(buf_done) = {0};
	bool starts = true, any = false;
	int crlf = 0;

	while (read_line(&line, MIN(MAX(max, (size_t)512), (size_t)MAILDROP_PIECE_MAX))) {
		bool ends = line.ptr[line.len - 1] == '\n';

		strip_cr(e->request->conf, &line, &crlf);
		/* A mailbox's separator may stand on top. */
		if (!any && starts && ends && is_mbox_line(&line))
			continue;
		if (e->request->dot_ends && starts &&
		    (strcmp(buf_str(&line), ".\n") == 0 || strcmp(buf_str(&line), ".") == 0))
			break;
		any = true;
		put_line(e, buf_span(&line), starts);
		starts = ends;
	}
	if (ferror(stdin))
		FAIL(e, "error reading input: %s", strerror(errno));
	if (!starts)
		put_line(e, SPAN_LIT("\n"), false);
	flush_piece(e);
}

/* Nobody gets to see it but the sender: a header section alone, and nothing of it is read. */
static void
put_probe(struct enqueue *e)
{
	char **rcpts = e->request->rcpts;

	if (e->sender[0] != '\0')
		buf_printf(&e->piece, "From: %s\n", e->sender);
	buf_add_str(&e->piece, "Subject: probe\nTo:");
	for (; *rcpts != NULL; rcpts++) {
		if (e->piece.len + strlen(*rcpts) + 4 > MAILDROP_PIECE_MAX)
			flush_piece(e);
		buf_printf(&e->piece, "\t%s%s\n", *rcpts, rcpts[1] != NULL ? "," : "");
	}
	flush_piece(e);
}

/* ---- recipients from the headers -------------------------------------------------------------------------------- */

static bool
has_resent(struct span headers)
{
	struct mail_header_scan scan;

	mail_header_scan(headers, &scan);
	return mail_header_has(&scan, MAIL_HEADER_RESENT_TO) ||
	       mail_header_has(&scan, MAIL_HEADER_RESENT_CC) ||
	       mail_header_has(&scan, MAIL_HEADER_RESENT_BCC);
}

/* To, Cc, Bcc; or, if there are any, only the Resent- ones (RFC 5322 section 3.6.6). */
static void
put_extracted(struct enqueue *e)
{
	unsigned resent = has_resent(buf_span(&e->headers)) ? MAIL_HEADER_RESENT : 0;
	struct mail_header_iter iter;
	struct mail_header header;

	submit_postdrop_put_notify(&e->postdrop, e->request->notify);
	mail_header_start(&iter, buf_span(&e->headers));
	while (mail_header_next(&iter, &header)) {
		unsigned flags = mail_header_flags(header.id);

		if ((flags & MAIL_HEADER_EXTRACT) != 0 && (flags & MAIL_HEADER_RESENT) == resent)
			put_rcpts(e, header.value);
	}
}

static void
require_rcpts(const struct enqueue *e)
{
	if (e->rcpts != 0 || (!e->request->extract && e->request->rcpts[0] != NULL))
		return;
	if (e->request->extract)
		fail(e, "No recipient addresses found in message header");
	fail(e, "Recipient addresses must be specified on the command line or via the -t option");
}

/* The rules are enforced by postdrop; here they are told in a way that helps. */
static void
require_permission(const struct enqueue *e)
{
	struct buf name CLEANUP(buf_done) = {0};
	bool allowed;
	struct err err;

	if (!submit_conf_allows(e->request->conf, e->uid, &name, &allowed, &err))
		log_fatal(EX_TEMPFAIL, "%s", err.text);
	if (!allowed)
		log_fatal(EX_TEMPFAIL, "User %s(%u) is not allowed to submit mail", buf_str(&name),
		    e->uid);
}

void
sendmail_enqueue(const struct sendmail_request *r)
{
	struct enqueue e = {.request = r, .uid = getuid()};
	struct err err;

	require_permission(&e);
	e.header_limit = conf_size(r->conf, CONF_header_size_limit);
	e.sender = find_sender(r, e.uid);
	if (e.sender[0] != '\0' && !queue_address_is_storable(span_str(e.sender)))
		fail(&e, "bad sender address");
	if (!submit_postdrop_start(&e.postdrop, r->conf, &err))
		fail(&e, err.text);
	put_envelope(&e);
	if (r->purpose != NULL && strcmp(r->purpose, "verify") == 0)
		put_probe(&e);
	else
		put_content(&e);
	if (r->extract)
		put_extracted(&e);
	require_rcpts(&e);
	finish(&e);
	if (r->purpose != NULL)
		(void)printf("Mail Delivery Status Report will be mailed to <%s>.\n", e.sender);
	submit_postdrop_done(&e.postdrop);
	buf_done(&e.piece);
	buf_done(&e.headers);
	mem_free(e.sender);
}
