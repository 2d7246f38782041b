/*
 * access_restrictions.c - the single restrictions, one function each, and the table that names them. A function says DUNNO, OK, or
 * REJECT with the reply filled in. Texts and codes are Postfix's (postfix-features 3.2).
 */
#include "access/access_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "mail/mail_addr.h"
#include "task/task.h"

static enum access_result
access_permit(struct access_context *ctx, const struct access_item *item)
{
	return access_permitted(ctx, ctx->thing, item->word, "");
}

static enum access_result
access_reject_all(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_reject_thing(ctx, ctx->thing, conf_int(ctx->access->conf, CONF_reject_code),
	    "5.7.1", "Access denied");
}

static enum access_result
access_defer_all(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_reject_thing(ctx, ctx->thing, conf_int(ctx->access->conf, CONF_defer_code),
	    "4.3.2", "Try again later");
}

/* These two wait for what the other restrictions say. */
static enum access_result
access_defer_if_permit_all(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_defer_if_permit(ctx, ctx->thing, 450, "4.7.0", "defer_if_permit requested");
}

static enum access_result
access_defer_if_reject_all(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_defer_if_reject(ctx, ctx->thing, 450, "4.7.0", "defer_if_reject requested");
}

/* sleep SECONDS: for tests of clients, mostly. */
static enum access_result
access_sleep(struct access_context *ctx, const struct access_item *item)
{
	uint64_t seconds;

	if (!span_number(span_str(item->argument), 86400, &seconds)) {
		log_warn("restriction sleep must be followed by number");
		return access_reject_broken(ctx);
	}
	(void)task_sleep_until(clock_deadline((int64_t)seconds * CLOCK_SECOND));
	return ACCESS_DUNNO;
}

static enum access_result
access_reject_unauth_pipelining(struct access_context *ctx, const struct access_item *item UNUSED)
{
	if (!ctx->request->improper_pipelining)
		return ACCESS_DUNNO;
	return access_reject_thing(
	    ctx, ctx->thing, 503, "5.5.0", "Improper use of SMTP command pipelining");
}

/* No session is encrypted while STARTTLS is not offered. */
static enum access_result
access_reject_plaintext_session(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_reject(ctx, conf_int(ctx->access->conf, CONF_plaintext_reject_code), "4.7.1",
	    "Session encryption is required");
}

/* A bounce has one recipient; at RCPT the one in question is not counted yet. */
static enum access_result
access_reject_multi_recipient_bounce(
    struct access_context *ctx, const struct access_item *item UNUSED)
{
	const struct access_request *r = ctx->request;
	size_t count = r->rcpt_count + (ctx->stage == ACCESS_RCPT);

	if (r->sender == NULL || r->sender[0] != '\0' || count < 2)
		return ACCESS_DUNNO;
	return access_reject_thing(ctx, ctx->thing,
	    conf_int(ctx->access->conf, CONF_multi_recipient_bounce_reject_code), "5.5.3",
	    "Multi-recipient bounce");
}

static enum access_result
access_permit_mynetworks(struct access_context *ctx, const struct access_item *item)
{
	const struct access_request *r = ctx->request;
	struct err err;

	switch (table_nets_match_client(
	    ctx->access->networks, span_str(r->client_name), span_str(r->client_address), &err)) {
	case TABLE_FOUND:
		return access_permitted(ctx, ACCESS_THING_CLIENT, item->restriction->name, "");
	case TABLE_ERROR:
		return r->recipient_as_given != NULL
			   ? access_reject_lookup(ctx, r->recipient_as_given)
			   : access_reject_lookup(ctx, r->client_name);
	case TABLE_NOT_FOUND:
		break;
	}
	return ACCESS_DUNNO;
}

static enum access_result
access_permit_inet_interfaces(struct access_context *ctx, const struct access_item *item)
{
	const struct sockaddr *sa = ctx->request->connection;

	return sa != NULL && conf_addresses_has(&ctx->access->own, sa)
		   ? access_permitted(ctx, ACCESS_THING_CLIENT, item->restriction->name, "")
		   : ACCESS_DUNNO;
}

static enum access_result
access_permit_authenticated(struct access_context *ctx, const struct access_item *item)
{
	if (!ctx->request->sasl_enabled || ctx->request->sasl_username == NULL)
		return ACCESS_DUNNO;
	return access_permitted(ctx, ACCESS_THING_CLIENT, item->restriction->name, "");
}

/* No client shows a certificate while STARTTLS is not offered. */
static enum access_result
access_permit_certificate(struct access_context *ctx UNUSED, const struct access_item *item UNUSED)
{
	return ACCESS_DUNNO;
}

/* ---- who owns a sender address ---- */

/* Is the authenticated user among the owners of the sender? */
static bool
access_is_owner(const struct access_context *ctx, struct span owners)
{
	struct span owner;

	while (span_word(&owners, ", \t\r\n", &owner))
		if (span_equal_nocase_str(owner, ctx->request->sasl_username))
			return true;
	return false;
}

/* `unknown_ok`: a sender whom nobody owns may be used by all. */
static enum access_result
access_login_mismatch(struct access_context *ctx, bool authenticated, bool unknown_ok)
{
	const struct access_request *r = ctx->request;
	struct buf owners CLEANUP(buf_done) = {0};
	enum table_result found;
	struct err err;

	if (!ctx->request->sasl_enabled || r->sender == NULL || r->sender[0] == '\0' ||
	    (r->sasl_username != NULL) != authenticated)
		return ACCESS_DUNNO;
	found = access_address_lookup(
	    ctx->access, ctx->access->sender_logins, r->sender, &owners, &err);
	if (found == TABLE_ERROR)
		return access_reject_lookup(ctx, r->sender);
	if (!authenticated)
		return found == TABLE_FOUND ? access_reject_thing(ctx, ACCESS_THING_SENDER, 553,
						  "5.7.1", "not logged in")
					    : ACCESS_DUNNO;
	if (found == TABLE_NOT_FOUND ? unknown_ok : access_is_owner(ctx, buf_span(&owners)))
		return ACCESS_DUNNO;
	return access_reject_thing(
	    ctx, ACCESS_THING_SENDER, 553, "5.7.1", "not owned by user %s", r->sasl_username);
}

static enum access_result
access_sender_login(struct access_context *ctx, const struct access_item *item UNUSED)
{
	enum access_result result = access_login_mismatch(ctx, true, false);

	return result != ACCESS_DUNNO ? result : access_login_mismatch(ctx, false, false);
}

static enum access_result
access_known_sender_login(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_login_mismatch(ctx, true, true);
}

static enum access_result
access_auth_sender_login(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_login_mismatch(ctx, true, false);
}

static enum access_result
access_unauth_sender_login(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_login_mismatch(ctx, false, false);
}

/* ---- destinations ---- */

bool
access_is_routed(struct span address)
{
	struct span domain = rewrite_domain_of(address);
	struct span local = span_head(address, address.len - domain.len - (domain.len != 0));

	return span_find(local, '@') < local.len || span_find(local, '%') < local.len ||
	       span_find(local, '!') < local.len;
}

bool
access_is_untrusted_route(const struct access_context *ctx, struct span address)
{
	return !conf_bool(ctx->access->conf, CONF_allow_untrusted_routing) &&
	       access_is_routed(address);
}

enum table_result
access_auth_destination(const struct access_context *ctx)
{
	struct span rcpt = span_str(ctx->request->recipient);
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;
	enum rewrite_class class;
	struct err err;

	if (!access_is_routed(rcpt)) {
		if (!rewrite_class_find(
			ctx->access->rewrite, rewrite_domain_of(rcpt), &class, &err))
			return TABLE_ERROR;
		if (class != REWRITE_DEFAULT)
			return TABLE_FOUND;
		if (ctx->access->routed_by_class)
			return TABLE_NOT_FOUND;
		/* Nobody is refused for good while a table that routes cannot be asked. */
		rewrite_resolve(ctx->access->rewrite, &arena, rcpt, &route);
		return route.trouble ? TABLE_ERROR : TABLE_NOT_FOUND;
	}
	/* user%remote@here is for user@remote: that may be one of ours too. */
	rewrite_resolve(ctx->access->rewrite, &arena, rcpt, &route);
	if (route.trouble)
		return TABLE_ERROR;
	return route.address_class != REWRITE_DEFAULT &&
		       !access_is_untrusted_route(ctx, span_str(route.recipient))
		   ? TABLE_FOUND
		   : TABLE_NOT_FOUND;
}

static enum access_result
access_permit_auth_destination(struct access_context *ctx, const struct access_item *item)
{
	if (ctx->request->recipient == NULL)
		return ACCESS_DUNNO;
	switch (access_auth_destination(ctx)) {
	case TABLE_FOUND:
		return access_permitted(ctx, ACCESS_THING_RCPT, item->restriction->name, "");
	case TABLE_ERROR:
		return access_reject_lookup(ctx, ctx->request->recipient_as_given);
	case TABLE_NOT_FOUND:
		break;
	}
	return ACCESS_DUNNO;
}

static enum access_result
access_unauth_destination(struct access_context *ctx, int code)
{
	const char *given = ctx->request->recipient_as_given;

	if (ctx->request->recipient == NULL)
		return ACCESS_DUNNO;
	switch (access_auth_destination(ctx)) {
	case TABLE_FOUND:
		return ACCESS_DUNNO;
	case TABLE_ERROR:
		return access_reject_lookup(ctx, given);
	case TABLE_NOT_FOUND:
		break;
	}
	return access_reject(ctx, code, "5.7.1", "<%s>: Relay access denied", given);
}

static enum access_result
access_reject_unauth_destination(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_unauth_destination(
	    ctx, conf_int(ctx->access->conf, CONF_relay_domains_reject_code));
}

static enum access_result
access_defer_unauth_destination(struct access_context *ctx, const struct access_item *item UNUSED)
{
	return access_unauth_destination(
	    ctx, conf_int(ctx->access->conf, CONF_relay_domains_reject_code) - 100);
}

/* ---- names that cannot be right ---- */

/* A name of at least two labels, no empty ones; an address literal counts as full. */
static bool
access_is_fqdn(struct span name)
{
	bool dot = false;

	if (name.len != 0 && name.ptr[0] == '[')
		return true;
	if (name.len != 0 && name.ptr[name.len - 1] == '.')
		name.len--;
	for (size_t i = 0; i < name.len; i++) {
		if (name.ptr[i] != '.')
			continue;
		if (i == 0 || name.ptr[i - 1] == '.')
			return false;
		dot = true;
	}
	return dot && name.ptr[name.len - 1] != '.';
}

/* Without the dot that ends it. */
static struct span
access_helo_name(const char *helo)
{
	struct span name = span_str(helo);

	return name.len > 1 && name.ptr[name.len - 1] == '.' ? span_head(name, name.len - 1) : name;
}

static enum access_result
access_reject_invalid_helo(struct access_context *ctx, const struct access_item *item UNUSED)
{
	const char *helo = ctx->request->helo;
	struct span name;
	bool literal;

	if (helo == NULL)
		return ACCESS_DUNNO;
	name = access_helo_name(helo);
	literal = helo[0] == '[';
	if (literal ? mail_addr_is_literal(name, NULL)
		    : mail_addr_is_ipv4(name) || mail_addr_is_ipv6(name) ||
			  (utf8_is_ascii(name) && mail_addr_is_host(name)))
		return ACCESS_DUNNO;
	return access_reject_thing(ctx, ACCESS_THING_HELO,
	    conf_int(ctx->access->conf, CONF_invalid_hostname_reject_code), "5.5.2", "%s",
	    literal ? "invalid ip address" : "Invalid name");
}

static enum access_result
access_reject_non_fqdn_helo(struct access_context *ctx, const struct access_item *item)
{
	const char *helo = ctx->request->helo;
	struct span name;

	if (helo == NULL)
		return ACCESS_DUNNO;
	if (helo[0] == '[')
		return access_reject_invalid_helo(ctx, item);
	name = access_helo_name(helo);
	if (span_find(name, '.') < name.len && utf8_is_ascii(name) && mail_addr_is_host(name))
		return ACCESS_DUNNO;
	return access_reject_thing(ctx, ACCESS_THING_HELO,
	    conf_int(ctx->access->conf, CONF_non_fqdn_reject_code), "4.5.2",
	    "need fully-qualified hostname");
}

static enum access_result
access_reject_non_fqdn_address(struct access_context *ctx, const struct access_item *item)
{
	bool sender = item->restriction->thing == ACCESS_THING_SENDER;
	const char *address =
	    sender ? ctx->request->sender_received : ctx->request->recipient_received;

	if (address == NULL || address[0] == '\0' ||
	    access_is_fqdn(rewrite_domain_of(span_str(address))))
		return ACCESS_DUNNO;
	return access_reject_thing(ctx, item->restriction->thing,
	    conf_int(ctx->access->conf, CONF_non_fqdn_reject_code), "4.5.2",
	    "need fully-qualified address");
}

/* Postfix took them out in 3.9; before, they warned and did this. */
static enum access_result
access_removed(struct access_context *ctx, const struct access_item *item)
{
	log_warn("support for restriction \"%s\" has been removed", item->word);
	return access_reject_broken(ctx);
}

static enum access_result
access_permit_naked_address(struct access_context *ctx, const struct access_item *item)
{
	const char *helo = ctx->request->helo;

	log_warn("restriction %s is deprecated. Use permit_mynetworks or permit_sasl_authenticated "
		 "instead",
	    item->word);
	if (helo == NULL ||
	    !(mail_addr_is_ipv4(span_str(helo)) || mail_addr_is_ipv6(span_str(helo))))
		return ACCESS_DUNNO;
	return access_permitted(ctx, ACCESS_THING_HELO, item->word, "");
}

/* clang-format off */
#define CLIENT  ACCESS_THING_CLIENT
#define REVERSE ACCESS_THING_REVERSE_CLIENT
#define HELO    ACCESS_THING_HELO
#define SENDER  ACCESS_THING_SENDER
#define RCPT    ACCESS_THING_RCPT
#define ETRN    ACCESS_THING_ETRN
#define NONE    ACCESS_ARGUMENT_NONE
#define TABLE   ACCESS_ARGUMENT_TABLE
#define DOMAIN  ACCESS_ARGUMENT_DOMAIN
#define NUMBER  ACCESS_ARGUMENT_NUMBER

static const struct access_restriction access_table[] = {
	{ "permit",                                 CLIENT,  NONE,   access_permit },
	{ "reject",                                 CLIENT,  NONE,   access_reject_all },
	{ "defer",                                  CLIENT,  NONE,   access_defer_all },
	{ "defer_if_permit",                        CLIENT,  NONE,   access_defer_if_permit_all },
	{ "defer_if_reject",                        CLIENT,  NONE,   access_defer_if_reject_all },
	{ "sleep",                                  CLIENT,  NUMBER, access_sleep },
	{ "reject_unauth_pipelining",               CLIENT,  NONE,   access_reject_unauth_pipelining },
	{ "reject_plaintext_session",               CLIENT,  NONE,   access_reject_plaintext_session },
	{ "reject_multi_recipient_bounce",          SENDER,  NONE,   access_reject_multi_recipient_bounce },
	{ "permit_mynetworks",                      CLIENT,  NONE,   access_permit_mynetworks },
	{ "permit_inet_interfaces",                 CLIENT,  NONE,   access_permit_inet_interfaces },
	{ "permit_sasl_authenticated",              CLIENT,  NONE,   access_permit_authenticated },
	{ "permit_tls_clientcerts",                 CLIENT,  NONE,   access_permit_certificate },
	{ "permit_tls_all_clientcerts",             CLIENT,  NONE,   access_permit_certificate },
	{ "check_client_access",                    CLIENT,  TABLE,  access_check_client_table },
	{ "check_client_a_access",                  CLIENT,  TABLE,  access_check_a_table },
	{ "check_client_mx_access",                 CLIENT,  TABLE,  access_check_mx_table },
	{ "check_client_ns_access",                 CLIENT,  TABLE,  access_check_ns_table },
	{ "check_reverse_client_hostname_access",   REVERSE, TABLE,  access_check_client_table },
	{ "check_reverse_client_hostname_a_access", REVERSE, TABLE,  access_check_a_table },
	{ "check_reverse_client_hostname_mx_access", REVERSE, TABLE, access_check_mx_table },
	{ "check_reverse_client_hostname_ns_access", REVERSE, TABLE, access_check_ns_table },
	{ "reject_unknown_client_hostname",         CLIENT,  NONE,   access_unknown_client },
	{ "reject_unknown_client",                  CLIENT,  NONE,   access_unknown_client },
	{ "reject_unknown_reverse_client_hostname", REVERSE, NONE,   access_unknown_client },
	{ "reject_rbl_client",                      CLIENT,  DOMAIN, access_reject_listed_address },
	{ "reject_rbl",                             CLIENT,  DOMAIN, access_reject_listed_address },
	{ "reject_rhsbl_client",                    CLIENT,  DOMAIN, access_reject_listed_domain },
	{ "reject_rhsbl_reverse_client",            REVERSE, DOMAIN, access_reject_listed_domain },
	{ "permit_dnswl_client",                    CLIENT,  DOMAIN, access_permit_listed_address },
	{ "permit_rhswl_client",                    CLIENT,  DOMAIN, access_permit_listed_domain },
	{ "check_helo_access",                      HELO,    TABLE,  access_check_helo_table },
	{ "check_helo_a_access",                    HELO,    TABLE,  access_check_a_table },
	{ "check_helo_mx_access",                   HELO,    TABLE,  access_check_mx_table },
	{ "check_helo_ns_access",                   HELO,    TABLE,  access_check_ns_table },
	{ "reject_invalid_helo_hostname",           HELO,    NONE,   access_reject_invalid_helo },
	{ "reject_invalid_hostname",                HELO,    NONE,   access_reject_invalid_helo },
	{ "reject_non_fqdn_helo_hostname",          HELO,    NONE,   access_reject_non_fqdn_helo },
	{ "reject_non_fqdn_hostname",               HELO,    NONE,   access_reject_non_fqdn_helo },
	{ "reject_unknown_helo_hostname",           HELO,    NONE,   access_unknown_helo },
	{ "reject_unknown_hostname",                HELO,    NONE,   access_unknown_helo },
	{ "reject_rhsbl_helo",                      HELO,    DOMAIN, access_reject_listed_domain },
	{ "check_sender_access",                    SENDER,  TABLE,  access_check_address_table },
	{ "check_sender_a_access",                  SENDER,  TABLE,  access_check_a_table },
	{ "check_sender_mx_access",                 SENDER,  TABLE,  access_check_mx_table },
	{ "check_sender_ns_access",                 SENDER,  TABLE,  access_check_ns_table },
	{ "reject_non_fqdn_sender",                 SENDER,  NONE,   access_reject_non_fqdn_address },
	{ "reject_unknown_sender_domain",           SENDER,  NONE,   access_unknown_domain },
	{ "reject_unknown_address",                 SENDER,  NONE,   access_unknown_domain },
	{ "reject_unlisted_sender",                 SENDER,  NONE,   access_unlisted_sender },
	{ "reject_rhsbl_sender",                    SENDER,  DOMAIN, access_reject_listed_domain },
	{ "reject_sender_login_mismatch",           SENDER,  NONE,   access_sender_login },
	{ "reject_known_sender_login_mismatch",     SENDER,  NONE,   access_known_sender_login },
	{ "reject_authenticated_sender_login_mismatch", SENDER, NONE, access_auth_sender_login },
	{ "reject_unauthenticated_sender_login_mismatch", SENDER, NONE, access_unauth_sender_login },
	{ "check_recipient_access",                 RCPT,    TABLE,  access_check_address_table },
	{ "check_recipient_a_access",               RCPT,    TABLE,  access_check_a_table },
	{ "check_recipient_mx_access",              RCPT,    TABLE,  access_check_mx_table },
	{ "check_recipient_ns_access",              RCPT,    TABLE,  access_check_ns_table },
	{ "permit_auth_destination",                RCPT,    NONE,   access_permit_auth_destination },
	{ "permit_mx_backup",                       RCPT,    NONE,   access_permit_mx_backup },
	{ "reject_unauth_destination",              RCPT,    NONE,   access_reject_unauth_destination },
	{ "defer_unauth_destination",               RCPT,    NONE,   access_defer_unauth_destination },
	{ "reject_non_fqdn_recipient",              RCPT,    NONE,   access_reject_non_fqdn_address },
	{ "reject_unknown_recipient_domain",        RCPT,    NONE,   access_unknown_domain },
	{ "reject_unlisted_recipient",              RCPT,    NONE,   access_unlisted_recipient },
	{ "check_recipient_maps",                   RCPT,    NONE,   access_unlisted_recipient },
	{ "reject_rhsbl_recipient",                 RCPT,    DOMAIN, access_reject_listed_domain },
	{ "check_etrn_access",                      ETRN,    TABLE,  access_check_helo_table },
	{ "check_relay_domains",                    RCPT,    NONE,   access_removed },
	{ "permit_naked_ip_address",                HELO,    NONE,   access_permit_naked_address },
	{ "reject_maps_rbl",                        CLIENT,  NONE,   access_removed },
};

#undef CLIENT
#undef REVERSE
#undef HELO
#undef SENDER
#undef RCPT
#undef ETRN
#undef NONE
#undef TABLE
#undef DOMAIN
#undef NUMBER
/* clang-format on */

const struct access_restriction *
access_restriction_find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(access_table); i++)
		if (span_equal_nocase_str(name, access_table[i].name))
			return &access_table[i];
	return NULL;
}

const struct access_restriction *
access_restriction_for_table(enum access_thing thing)
{
	switch (thing) {
	case ACCESS_THING_CLIENT:
		return access_restriction_find(SPAN_LIT("check_client_access"));
	case ACCESS_THING_HELO:
		return access_restriction_find(SPAN_LIT("check_helo_access"));
	case ACCESS_THING_SENDER:
		return access_restriction_find(SPAN_LIT("check_sender_access"));
	case ACCESS_THING_RCPT:
		return access_restriction_find(SPAN_LIT("check_recipient_access"));
	case ACCESS_THING_ETRN:
		return access_restriction_find(SPAN_LIT("check_etrn_access"));
	case ACCESS_THING_REVERSE_CLIENT:
	case ACCESS_THING_DATA:
	case ACCESS_THING_END_OF_DATA:
		return NULL;
	}
	UNREACHED();
}

bool
access_restriction_guards_relay(struct span name)
{
	static const char *const guards[] = {"reject", "defer", "defer_if_permit",
	    "reject_unauth_destination", "defer_unauth_destination", "check_relay_domains"};

	for (size_t i = 0; i < ARRAY_LEN(guards); i++)
		if (span_equal_nocase_str(name, guards[i]))
			return true;
	return false;
}
