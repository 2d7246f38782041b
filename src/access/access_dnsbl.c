/*
 * access_dnsbl.c - lists that are published in DNS: reject_rbl_client, the reject_rhsbl family, permit_dnswl_client and
 * permit_rhswl_client, with filters as "list.example=127.0.0.[2;4..9]", and the reply made of default_rbl_reply or rbl_reply_maps.
 */
#include "access/access_int.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "mail/mail_addr.h"

#define ACCESS_DNSBL_TIMEOUT (100 * CLOCK_SECOND)

enum access_listed {
	ACCESS_NOT_LISTED,
	ACCESS_LISTED,
	ACCESS_LISTED_UNKNOWN, /* the list did not answer */
};

/* One question to one list. */
struct access_dnsbl {
	struct access_context *ctx;
	enum access_thing thing;
	struct span domain; /* of the list, without the filter */
	struct span filter; /* empty: any answer counts */
	const char *what;   /* the address or name that is asked about */
	struct buf query;
	struct buf text;  /* what the list says in TXT records */
	struct buf macro; /* scratch */
};

static void
access_dnsbl_begin(struct access_dnsbl *q, struct access_context *ctx,
    const struct access_item *item, const char *what)
{
	struct span all = span_str(item->argument);
	size_t equals = span_find(all, '=');

	*q = (struct access_dnsbl){
	    .ctx = ctx,
	    .thing = item->restriction->thing,
	    .domain = span_head(all, equals),
	    .filter = span_from(all, equals + 1),
	    .what = what,
	};
}

static void
access_dnsbl_done(struct access_dnsbl *q)
{
	buf_done(&q->query);
	buf_done(&q->text);
	buf_done(&q->macro);
}

/* ---- filters ---- */

/* "7" or "2..5" */
static bool
access_filter_range(struct span item, unsigned value)
{
	const char *dots = memmem(item.ptr, item.len, "..", 2);
	uint64_t from;
	uint64_t to;

	if (dots == NULL)
		return span_number(item, 255, &from) && value == from;
	return span_number(span_head(item, (size_t)(dots - item.ptr)), 255, &from) &&
	       span_number(span_from(item, (size_t)(dots - item.ptr) + 2), 255, &to) &&
	       from <= value && value <= to;
}

/* One number of a filter: "7", or "[1;3..6;9]". */
static bool
access_filter_octet(struct span pattern, unsigned value)
{
	struct span item;

	if (pattern.len < 2 || pattern.ptr[0] != '[')
		return access_filter_range(pattern, value);
	pattern = span_of(pattern.ptr + 1, pattern.len - 2);
	while (span_word(&pattern, ";", &item))
		if (access_filter_range(item, value))
			return true;
	return false;
}

/* Cuts the next of four numbers off: up to a dot outside []. */
static struct span
access_filter_cut(struct span *rest)
{
	size_t len = 0;
	bool inside = false;
	struct span part;

	for (; len < rest->len && (inside || rest->ptr[len] != '.'); len++)
		inside = rest->ptr[len] == '[' || (inside && rest->ptr[len] != ']');
	part = span_head(*rest, len);
	*rest = span_from(*rest, len + 1);
	return part;
}

static bool
access_filter_matches(struct span filter, const unsigned char *address)
{
	if (filter.len == 0)
		return true;
	for (int i = 0; i < 4; i++)
		if (!access_filter_octet(access_filter_cut(&filter), address[i]))
			return false;
	return filter.len == 0;
}

/* ---- questions ---- */

/* The address backwards, as lists have it (RFC 5782 section 2). False: there is none. */
static bool
access_dnsbl_reverse(struct buf *out, const char *address)
{
	unsigned char ip[16];

	if (inet_pton(AF_INET, address, ip) == 1) {
		buf_printf(out, "%d.%d.%d.%d.", ip[3], ip[2], ip[1], ip[0]);
		return true;
	}
	if (inet_pton(AF_INET6, address, ip) != 1)
		return false;
	for (int i = 15; i >= 0; i--)
		buf_printf(out, "%x.%x.", ip[i] & 15, ip[i] >> 4);
	return true;
}

/* Names that end in a number are skipped: some lists take the question for one about an address. */
static bool
access_dnsbl_name(struct buf *out, const char *what)
{
	struct span name = rewrite_domain_of(span_str(what));
	struct span last;
	uint64_t number;

	if (strchr(what, '@') == NULL)
		name = span_str(what);
	last = span_from(name, span_find_last(name, '.') + 1);
	if (last.len == 0)
		last = name;
	if (!mail_addr_is_host(name) || span_number(last, UINT64_MAX, &number))
		return false;
	buf_printf(out, "%.*s.", SPAN_ARG(name));
	return true;
}

/* The reasons that the list gives, several with " / " between. */
static void
access_dnsbl_texts(struct access_dnsbl *q)
{
	char **texts = NULL;
	size_t count;
	struct err err;

	if (dns_txt(buf_str(&q->query), clock_deadline(ACCESS_DNSBL_TIMEOUT), &texts, &count,
		&err) != DNS_FOUND)
		return;
	for (size_t i = 0; i < count; i++)
		buf_printf(&q->text, "%s%s", i != 0 ? " / " : "", texts[i]);
	mem_free(texts);
	buf_mask_controls(&q->text, 0, '?');
}

/* Asks; the query is set up. */
static enum access_listed
access_dnsbl_ask(struct access_dnsbl *q)
{
	struct dns_ip *ips = NULL;
	size_t count;
	struct err err;
	bool listed = false;
	enum dns_status status;

	buf_add_span(&q->query, q->domain);
	status = dns_ip(buf_str(&q->query), AF_INET, clock_deadline(ACCESS_DNSBL_TIMEOUT), &ips,
	    &count, NULL, &err);
	if (status == DNS_RETRY || status == DNS_CANCELLED) {
		log_warn(
		    "%s: RBL lookup error: Host or domain name not found. Name service error for "
		    "name=%s type=A: Host not found, try again",
		    buf_str(&q->query), buf_str(&q->query));
		return ACCESS_LISTED_UNKNOWN;
	}
	if (status != DNS_FOUND)
		return ACCESS_NOT_LISTED;
	for (size_t i = 0; i < count; i++)
		listed = listed || access_filter_matches(q->filter, ips[i].addr);
	mem_free(ips);
	return listed ? ACCESS_LISTED : ACCESS_NOT_LISTED;
}

/* ---- the reply ---- */

/* What only replies of DNS lists know. */
static const char *
access_dnsbl_macro(void *arg, struct span name)
{
	struct access_dnsbl *q = arg;

	if (span_equal_str(name, "rbl_reason") || span_equal_str(name, "rbl_txt"))
		return buf_str(&q->text);
	if (span_equal_str(name, "rbl_what"))
		return q->what;
	if (span_equal_str(name, "rbl_class"))
		return access_thing_class(q->thing);
	buf_clear(&q->macro);
	if (span_equal_str(name, "rbl_code"))
		buf_printf(
		    &q->macro, "%d", conf_int(q->ctx->access->conf, CONF_maps_rbl_reject_code));
	else if (span_equal_str(name, "rbl_domain"))
		buf_add_span(&q->macro, q->domain);
	else
		return NULL;
	return buf_str(&q->macro);
}

/* The template: by the list with its filter, by the list, or the default. False: a table is broken. */
static bool
access_dnsbl_template(struct access_dnsbl *q, struct span argument, struct buf *out)
{
	const struct access *a = q->ctx->access;
	const struct span keys[] = {argument, q->domain};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(keys) && !table_list_is_empty(a->rbl_replies); i++) {
		switch (table_list_lookup(a->rbl_replies, keys[i], TABLE_KEY_FULL, out, &err)) {
		case TABLE_FOUND:
			return true;
		case TABLE_ERROR:
			return false;
		case TABLE_NOT_FOUND:
			break;
		}
	}
	buf_clear(out);
	buf_add_str(out, conf_written(a->conf, CONF_default_rbl_reply));
	return true;
}

static bool
access_dnsbl_expand(struct access_dnsbl *q, struct span template, struct buf *out)
{
	struct access_macros macros = {.request = q->ctx->request, .conf = q->ctx->access->conf};
	const struct macro_source session = {
	    .lookup = access_macro,
	    .arg = &macros,
	    .filter = access_expansion_filter(q->ctx->access),
	};
	const struct macro_source source = {
	    .lookup = access_dnsbl_macro,
	    .arg = q,
	    .filter = session.filter,
	    .fallback = &session,
	};
	struct err err;
	bool good = macro_expand(template, &source, out, &err);

	if (!good)
		log_warn("rbl reply template: %s", err.text);
	buf_done(&macros.scratch);
	return good;
}

/* "CODE X.Y.Z text"; without a code in front it is a mistake of the configuration. */
static enum access_result
access_dnsbl_reject(struct access_dnsbl *q, const struct access_item *item)
{
	struct buf template CLEANUP(buf_done) = {0};
	struct buf reply CLEANUP(buf_done) = {0};
	struct span text;
	uint64_t code = 0;
	char dsn[12];

	access_dnsbl_texts(q);
	if (!access_dnsbl_template(q, span_str(item->argument), &template) ||
	    !access_dnsbl_expand(q, buf_span(&template), &reply))
		return access_reject_broken(q->ctx);
	text = buf_span(&reply);
	if (text.len < 4 || !isspace((unsigned char)text.ptr[3]) ||
	    !span_number(span_head(text, 3), 599, &code) || code < 400) {
		log_warn("rbl response code configuration error: %s", buf_str(&reply));
		return access_reject(q->ctx, 450, "4.7.1", "Service unavailable");
	}
	text = access_action_dsn(span_trim(span_from(text, 3)), "4.7.1", dsn);
	if (text.len == 0)
		text = SPAN_LIT("Service unavailable");
	return access_reject(q->ctx, (int)code, dsn, "%.*s", SPAN_ARG(text));
}

/* ---- restrictions ---- */

/* What is asked about; NULL: nothing at this stage. */
static const char *
access_dnsbl_subject(const struct access_context *ctx, const struct access_item *item, bool address)
{
	const char *what = address ? ctx->request->client_address
				   : access_thing_value(ctx, item->restriction->thing);

	return what != NULL && what[0] != '\0' && strcmp(what, "unknown") != 0 ? what : NULL;
}

static enum access_result
access_dnsbl_check(struct access_context *ctx, const struct access_item *item, bool address)
{
	const char *what = access_dnsbl_subject(ctx, item, address);
	enum access_result result = ACCESS_DUNNO;
	struct access_dnsbl q;

	if (what == NULL)
		return ACCESS_DUNNO;
	access_dnsbl_begin(&q, ctx, item, what);
	/* A list that does not answer keeps nobody out. */
	if ((address ? access_dnsbl_reverse(&q.query, what) : access_dnsbl_name(&q.query, what)) &&
	    access_dnsbl_ask(&q) == ACCESS_LISTED)
		result = access_dnsbl_reject(&q, item);
	access_dnsbl_done(&q);
	return result;
}

enum access_result
access_reject_listed_address(struct access_context *ctx, const struct access_item *item)
{
	return access_dnsbl_check(ctx, item, true);
}

enum access_result
access_reject_listed_domain(struct access_context *ctx, const struct access_item *item)
{
	return access_dnsbl_check(ctx, item, false);
}

/* Lists that permit. They never permit relaying, and what could not be asked makes a later refusal a deferral. */
static enum access_result
access_dnswl_check(struct access_context *ctx, const struct access_item *item, bool address)
{
	const char *what = access_dnsbl_subject(ctx, item, address);
	enum access_listed listed = ACCESS_NOT_LISTED;
	struct access_dnsbl q;

	if (what == NULL)
		return ACCESS_DUNNO;
	access_dnsbl_begin(&q, ctx, item, what);
	if (address ? access_dnsbl_reverse(&q.query, what) : access_dnsbl_name(&q.query, what))
		listed = access_dnsbl_ask(&q);
	access_dnsbl_done(&q);
	if (listed == ACCESS_LISTED_UNKNOWN)
		return access_defer_listed(ctx, what);
	if (listed == ACCESS_NOT_LISTED ||
	    (ctx->request->recipient != NULL && access_auth_destination(ctx) != TABLE_FOUND))
		return ACCESS_DUNNO;
	return access_permitted(ctx, item->restriction->thing, item->restriction->name, "");
}

enum access_result
access_permit_listed_address(struct access_context *ctx, const struct access_item *item)
{
	return access_dnswl_check(ctx, item, true);
}

enum access_result
access_permit_listed_domain(struct access_context *ctx, const struct access_item *item)
{
	return access_dnswl_check(ctx, item, false);
}
