/*
 * tls_protocols.c - Postfix's protocol lists: "!SSLv2, !SSLv3", ">=TLSv1.2", "TLSv1.2 TLSv1.3".
 */
#include <string.h>

#include "base/span.h"
#include "tls/tls_int.h"

#define SEPARATORS " \t\r\n,:"

/* In the mask of what is allowed: "SSLv2" alone allows nothing, which is not the same as an empty list. */
#define SOME_ALLOWED 1

static const struct protocol {
	const char *name;
	int version; /* 0: OpenSSL has it no more, it is never spoken */
	uint64_t refuse;
} protocols[] = {
    {"SSLv2", 0, 0},
    {"SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3},
    {"TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1},
    {"TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
    {"TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
    {"TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};

static const struct protocol *
find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
		if (span_equal_nocase_str(name, protocols[i].name))
			return &protocols[i];
	return NULL;
}

/* Takes in one word; false: unknown. */
static bool
read_word(struct span word, struct tls_protocols *out, uint64_t *allowed)
{
	bool from = span_starts(word, ">=");
	bool to = span_starts(word, "<=");
	bool refused = span_starts(word, "!");
	const struct protocol *p = find(span_from(word, from || to ? 2 : refused ? 1 : 0));

	/* ">=" alone lifts a limit. */
	if ((from || to) && word.len == 2)
		*(from ? &out->min : &out->max) = 0;
	else if (p == NULL)
		return false;
	else if (from)
		out->min = p->version;
	else if (to)
		out->max = p->version;
	else if (refused)
		out->refuse |= p->refuse;
	else
		*allowed |= p->refuse | SOME_ALLOWED;
	return true;
}

/* True if some protocol is still possible. */
static bool
leaves_one(const struct tls_protocols *p)
{
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		int v = protocols[i].version;

		if (v != 0 && (p->min == 0 || v >= p->min) && (p->max == 0 || v <= p->max) &&
		    (p->refuse & protocols[i].refuse) == 0)
			return true;
	}
	return false;
}

bool
tls_protocols_parse(const char *text, struct tls_protocols *ret, struct err *err)
{
	struct tls_protocols out = {0};
	struct span rest = span_str(text);
	struct span word;
	uint64_t allowed = 0;

	while (span_word(&rest, SEPARATORS, &word))
		if (!read_word(word, &out, &allowed))
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "unknown TLS protocol \"%.*s\" in \"%s\"", SPAN_ARG(word), text);
	for (size_t i = 0; allowed != 0 && i < ARRAY_LEN(protocols); i++)
		if ((protocols[i].refuse & allowed) == 0)
			out.refuse |= protocols[i].refuse;
	if (!leaves_one(&out))
		return err_set(err, ERR_CONFIG, "4.3.5", "no TLS protocol is left by \"%s\"", text);
	*ret = out;
	return true;
}
