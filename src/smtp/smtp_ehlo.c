/*
 * smtp_ehlo.c - see smtp_ehlo.h.
 */
#include "smtp/smtp_ehlo.h"

#include <ctype.h>
#include <stdio.h>

/* In the order in which Postfix announces them. */
static const struct {
	unsigned bit;
	const char *word;
} smtp_ehlo_words[] = {
    {SMTP_EHLO_PIPELINING, "PIPELINING"},
    {SMTP_EHLO_SIZE, "SIZE"},
    {SMTP_EHLO_VRFY, "VRFY"},
    {SMTP_EHLO_ETRN, "ETRN"},
    {SMTP_EHLO_STARTTLS, "STARTTLS"},
    {SMTP_EHLO_AUTH, "AUTH"},
    {SMTP_EHLO_XVERP, "XVERP"},
    {SMTP_EHLO_XCLIENT, "XCLIENT"},
    {SMTP_EHLO_XFORWARD, "XFORWARD"},
    {SMTP_EHLO_ENHANCED, "ENHANCEDSTATUSCODES"},
    {SMTP_EHLO_8BITMIME, "8BITMIME"},
    {SMTP_EHLO_DSN, "DSN"},
    {SMTP_EHLO_SMTPUTF8, "SMTPUTF8"},
    {SMTP_EHLO_CHUNKING, "CHUNKING"},
    {SMTP_EHLO_REQUIRETLS, "REQUIRETLS"},
    {SMTP_EHLO_HELP, "HELP"},
    {SMTP_EHLO_SILENT, "SILENT-DISCARD"},
};

static const char *const smtp_ehlo_xforward_words[] = {
    "NAME", "ADDR", "PROTO", "HELO", "SOURCE", "PORT", "IDENT"};

#define SMTP_EHLO_SPACE " \t"

unsigned
smtp_ehlo_keyword(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(smtp_ehlo_words); i++)
		if (span_equal_nocase_str(word, smtp_ehlo_words[i].word))
			return smtp_ehlo_words[i].bit;
	return 0;
}

bool
smtp_ehlo_parse_discard(struct span list, unsigned *ret, struct err *err)
{
	bool good = true;
	struct span word;

	*ret = 0;
	while (span_word(&list, ", \t\r\n", &word)) {
		unsigned bit = smtp_ehlo_keyword(word);

		if (bit == 0)
			good = err_set(err, ERR_CONFIG, "4.3.5", "unknown EHLO keyword \"%.*s\"",
			    SPAN_ARG(span_head(word, 100)));
		*ret |= bit;
	}
	return good;
}

/* ---- client ---- */

/* The mechanisms of all AUTH lines, upper case, each once as far as they fit. */
static void
smtp_ehlo_add_auth(struct smtp_ehlo *ehlo, struct span args)
{
	size_t used = strlen(ehlo->auth);
	struct span word;

	while (span_word(&args, SMTP_EHLO_SPACE, &word)) {
		if (used + 1 + word.len + 1 > sizeof(ehlo->auth))
			continue;
		if (used > 0)
			ehlo->auth[used++] = ' ';
		for (size_t i = 0; i < word.len; i++)
			ehlo->auth[used++] = (char)toupper((unsigned char)word.ptr[i]);
		ehlo->auth[used] = '\0';
	}
}

static void
smtp_ehlo_add_xforward(struct smtp_ehlo *ehlo, struct span args)
{
	struct span word;

	while (span_word(&args, SMTP_EHLO_SPACE, &word))
		for (size_t i = 0; i < ARRAY_LEN(smtp_ehlo_xforward_words); i++)
			if (span_equal_nocase_str(word, smtp_ehlo_xforward_words[i]))
				ehlo->xforward |= 1u << i;
}

static void
smtp_ehlo_parse_line(struct smtp_ehlo *ehlo, struct span line, unsigned discard)
{
	struct span rest = line;
	struct span word;
	unsigned bit;

	if (!span_word(&rest, SMTP_EHLO_SPACE, &word))
		return;
	/* "AUTH=LOGIN PLAIN": servers that please very old clients */
	if (span_starts_nocase(word, "AUTH=")) {
		rest = span_from(line, (size_t)(word.ptr - line.ptr) + 5);
		word = span_head(word, 4);
	}
	bit = smtp_ehlo_keyword(word) & ~discard;
	ehlo->features |= bit & ~SMTP_EHLO_SILENT;
	if (bit == SMTP_EHLO_SIZE) {
		if (!span_word(&rest, SMTP_EHLO_SPACE, &word) ||
		    !span_number(word, INT64_MAX, &ehlo->size))
			ehlo->size = 0;
	} else if (bit == SMTP_EHLO_AUTH) {
		smtp_ehlo_add_auth(ehlo, rest);
	} else if (bit == SMTP_EHLO_XFORWARD) {
		smtp_ehlo_add_xforward(ehlo, rest);
	}
}

void
smtp_ehlo_parse(struct span reply_text, unsigned discard, struct smtp_ehlo *ret)
{
	bool first = true;
	struct span line;

	*ret = (struct smtp_ehlo){0};
	while (span_word(&reply_text, "\n", &line)) {
		struct span word;

		line = span_from(line, 4); /* "250-" */
		if (!first) {
			smtp_ehlo_parse_line(ret, line, discard);
			continue;
		}
		first = false;
		if (span_word(&line, SMTP_EHLO_SPACE, &word))
			(void)snprintf(ret->name, sizeof(ret->name), "%.*s", SPAN_ARG(word));
	}
}

/* ---- server ---- */

/* What follows the keyword. */
static void
smtp_ehlo_write_args(struct buf *line, const struct smtp_ehlo_offer *offer, unsigned bit)
{
	if (bit == SMTP_EHLO_SIZE && offer->size_limit != 0)
		buf_printf(line, " %llu", (unsigned long long)offer->size_limit);
	if (bit == SMTP_EHLO_AUTH && offer->auth != NULL)
		buf_printf(line, " %s", offer->auth);
	if (bit == SMTP_EHLO_XCLIENT && offer->xclient != NULL)
		buf_printf(line, " %s", offer->xclient);
	if (bit == SMTP_EHLO_XFORWARD)
		for (size_t i = 0; i < ARRAY_LEN(smtp_ehlo_xforward_words); i++)
			buf_printf(line, " %s", smtp_ehlo_xforward_words[i]);
}

void
smtp_ehlo_write(struct buf *out, const struct smtp_ehlo_offer *offer)
{
	size_t last = out->len;

	buf_printf(out, "250-%s\r\n", offer->host);
	for (size_t i = 0; i < ARRAY_LEN(smtp_ehlo_words); i++) {
		unsigned bit = smtp_ehlo_words[i].bit;

		if ((offer->features & bit) == 0 || bit == SMTP_EHLO_SILENT)
			continue;
		last = out->len;
		buf_printf(out, "250-%s", smtp_ehlo_words[i].word);
		smtp_ehlo_write_args(out, offer, bit);
		buf_add_str(out, "\r\n");
		if (bit == SMTP_EHLO_AUTH && offer->broken_auth && offer->auth != NULL) {
			last = out->len;
			buf_printf(out, "250-AUTH=%s\r\n", offer->auth);
		}
	}
	out->ptr[last + 3] = ' ';
}
