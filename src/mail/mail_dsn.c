/*
 * mail_dsn.c - see mail_dsn.h.
 */
#include "mail/mail_dsn.h"

#include <ctype.h>

/* Digits at s[at...], at most three; 0: none, or too many. */
static size_t
mail_dsn_digits(struct span s, size_t at)
{
	size_t n = 0;

	while (at + n < s.len && isdigit((unsigned char)s.ptr[at + n]))
		n++;
	return n <= 3 ? n : 0;
}

size_t
mail_dsn_length(struct span s)
{
	size_t at = 1;

	if (s.len < 5 || (s.ptr[0] != '2' && s.ptr[0] != '4' && s.ptr[0] != '5'))
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t n;

		if (at >= s.len || s.ptr[at] != '.')
			return 0;
		n = mail_dsn_digits(s, at + 1);
		if (n == 0)
			return 0;
		at += 1 + n;
	}
	return at == s.len || isspace((unsigned char)s.ptr[at]) ? at : 0;
}

bool
mail_dsn_is_valid(struct span s)
{
	return s.len != 0 && mail_dsn_length(s) == s.len;
}

int
mail_dsn_class(const char *dsn)
{
	return dsn[0] == '2' || dsn[0] == '4' || dsn[0] == '5' ? dsn[0] - '0' : 0;
}

static void
mail_dsn_copy(char ret[MAIL_DSN_SIZE], struct span dsn)
{
	MUST(dsn.len < MAIL_DSN_SIZE);
	memcpy(ret, dsn.ptr, dsn.len);
	ret[dsn.len] = '\0';
}

struct span
mail_dsn_split(struct span text, const char *otherwise, char ret_dsn[MAIL_DSN_SIZE])
{
	size_t n = mail_dsn_length(text);

	if (n == 0) {
		mail_dsn_copy(ret_dsn, span_str(otherwise));
		return text;
	}
	mail_dsn_copy(ret_dsn, span_head(text, n));
	text = span_from(text, n);
	while (text.len != 0 && isspace((unsigned char)text.ptr[0]))
		text = span_from(text, 1);
	return text;
}

void
mail_dsn_of_reply(int code, struct span text, char ret_dsn[MAIL_DSN_SIZE])
{
	int reply_class = code / 100;
	size_t n = mail_dsn_length(text);

	if (reply_class != 2 && reply_class != 4 && reply_class != 5)
		return mail_dsn_copy(ret_dsn, SPAN_LIT("5.5.0"));
	if (n != 0 && text.ptr[0] - '0' == reply_class)
		return mail_dsn_copy(ret_dsn, span_head(text, n));
	mail_dsn_copy(ret_dsn, SPAN_LIT("2.0.0"));
	ret_dsn[0] = (char)('0' + reply_class);
}

const char *
mail_dsn_default(int code)
{
	static const struct {
		int code;
		const char *dsn;
	} known[] = {
	    {421, "4.3.2"},
	    {450, "4.7.1"},
	    {451, "4.3.0"},
	    {452, "4.3.1"},
	    {454, "4.7.1"},
	    {500, "5.5.2"},
	    {501, "5.5.4"},
	    {502, "5.5.1"},
	    {503, "5.5.1"},
	    {550, "5.7.1"},
	    {551, "5.7.1"},
	    {552, "5.3.4"},
	    {553, "5.1.3"},
	    {554, "5.7.1"},
	    {555, "5.5.4"},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].code == code)
			return known[i].dsn;
	if (code >= 400 && code < 500)
		return "4.0.0";
	return code >= 500 ? "5.0.0" : "2.0.0";
}

void
mail_dsn_fit(char dsn[MAIL_DSN_SIZE], int code)
{
	int reply_class = code / 100;

	if (dsn[0] != '\0' && (reply_class == 2 || reply_class == 4 || reply_class == 5))
		dsn[0] = (char)('0' + reply_class);
}
