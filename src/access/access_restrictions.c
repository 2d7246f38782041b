/*
 * access_restrictions.c - the single restrictions, one function each, and the table that names them. A function says DUNNO, OK, or
 * REJECT with the reply filled in. Texts and codes are Postfix's (postfix-features 3.2).
 */
#include "access/access_int.h"

#include "mail/mail_addr.h"

static enum access_result
access_permit(struct access_context *ctx UNUSED)
{
	return ACCESS_OK;
}

/* Code parameter, "<what>: CLASS rejected: reason". */
static enum access_result
access_reject_subject(
    struct access_context *ctx, enum conf_param code, const char *dsn, const char *reason)
{
	struct buf subject CLEANUP(buf_done) = {0};

	access_subject(ctx, &subject);
	return access_reject(
	    ctx, conf_int(ctx->access->conf, code), dsn, "%s: %s", buf_str(&subject), reason);
}

static enum access_result
access_reject_all(struct access_context *ctx)
{
	return access_reject_subject(ctx, CONF_reject_code, "5.7.1", "Access denied");
}

static enum access_result
access_defer_all(struct access_context *ctx)
{
	return access_reject_subject(ctx, CONF_defer_code, "4.3.2", "Try again later");
}

/* These two wait for what the other restrictions say. */
static enum access_result
access_defer_if_permit(struct access_context *ctx)
{
	return access_pend(ctx, &ctx->if_permit, "defer_if_permit requested");
}

static enum access_result
access_defer_if_reject(struct access_context *ctx)
{
	return access_pend(ctx, &ctx->if_reject, "defer_if_reject requested");
}

static enum access_result
access_reject_unauth_pipelining(struct access_context *ctx)
{
	struct buf subject CLEANUP(buf_done) = {0};

	if (!ctx->request->improper_pipelining)
		return ACCESS_DUNNO;
	access_subject(ctx, &subject);
	return access_reject(
	    ctx, 503, "5.5.0", "%s: Improper use of SMTP command pipelining", buf_str(&subject));
}

/* No session is encrypted while STARTTLS is not offered. */
static enum access_result
access_reject_plaintext_session(struct access_context *ctx)
{
	return access_reject(ctx, conf_int(ctx->access->conf, CONF_plaintext_reject_code), "4.7.1",
	    "Session encryption is required");
}

/* A bounce has one recipient; at RCPT the one in question is not counted yet. */
static enum access_result
access_reject_multi_recipient_bounce(struct access_context *ctx)
{
	const struct access_request *r = ctx->request;
	size_t count = r->rcpt_count + (r->recipient != NULL);

	if (r->sender == NULL || r->sender[0] != '\0' || count < 2)
		return ACCESS_DUNNO;
	return access_reject_subject(
	    ctx, CONF_multi_recipient_bounce_reject_code, "5.5.3", "Multi-recipient bounce");
}

static enum access_result
access_permit_mynetworks(struct access_context *ctx)
{
	return access_is_mynetworks(ctx->access, ctx->request->client_sa) ? ACCESS_OK
									  : ACCESS_DUNNO;
}

static enum access_result
access_permit_inet_interfaces(struct access_context *ctx)
{
	const struct sockaddr *sa = ctx->request->client_sa;

	return sa != NULL && conf_addresses_has(&ctx->access->own, sa) ? ACCESS_OK : ACCESS_DUNNO;
}

/* Nobody is authenticated while AUTH is not offered: these two never permit, as in Postfix without SASL. */
static enum access_result
access_permit_authenticated(struct access_context *ctx UNUSED)
{
	return ACCESS_DUNNO;
}

/* Is the recipient's domain one that this host answers for, without routing tricks inside the local part? */
static bool
access_is_auth_destination(const struct access_context *ctx)
{
	struct span rcpt = span_str(ctx->request->recipient);
	struct span domain = rewrite_domain_of(rcpt);
	struct span local = span_head(rcpt, rcpt.len - domain.len - (domain.len != 0));

	if (rewrite_class_of(ctx->access->rewrite, domain) == REWRITE_DEFAULT)
		return false;
	/* user@elsewhere@here, user%elsewhere@here, elsewhere!user@here would be sent on: that is relaying. */
	return span_find(local, '@') == local.len &&
	       (span_find(local, '%') == local.len ||
		   !conf_bool(ctx->access->conf, CONF_allow_percent_hack)) &&
	       (span_find(local, '!') == local.len ||
		   !conf_bool(ctx->access->conf, CONF_swap_bangpath));
}

static enum access_result
access_permit_auth_destination(struct access_context *ctx)
{
	if (ctx->request->recipient == NULL)
		return ACCESS_DUNNO;
	return access_is_auth_destination(ctx) ? ACCESS_OK : ACCESS_DUNNO;
}

static enum access_result
access_unauth_destination(struct access_context *ctx, int code)
{
	if (ctx->request->recipient == NULL || access_is_auth_destination(ctx))
		return ACCESS_DUNNO;
	return access_reject(
	    ctx, code, "5.7.1", "<%s>: Relay access denied", ctx->request->recipient_as_given);
}

static enum access_result
access_reject_unauth_destination(struct access_context *ctx)
{
	return access_unauth_destination(
	    ctx, conf_int(ctx->access->conf, CONF_relay_domains_reject_code));
}

static enum access_result
access_defer_unauth_destination(struct access_context *ctx)
{
	return access_unauth_destination(
	    ctx, conf_int(ctx->access->conf, CONF_relay_domains_reject_code) - 100);
}

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

static enum access_result
access_non_fqdn(struct access_context *ctx, const char *what, struct span name, const char *subject)
{
	if (access_is_fqdn(name))
		return ACCESS_DUNNO;
	return access_reject(ctx, conf_int(ctx->access->conf, CONF_non_fqdn_reject_code), "4.5.2",
	    "<%s>: %s rejected: need fully-qualified %s", what, subject,
	    subject[0] == 'H' ? "hostname" : "address");
}

static enum access_result
access_reject_non_fqdn_helo(struct access_context *ctx)
{
	const char *helo = ctx->request->helo;

	return helo == NULL ? ACCESS_DUNNO
			    : access_non_fqdn(ctx, helo, span_str(helo), "Helo command");
}

static enum access_result
access_reject_non_fqdn_sender(struct access_context *ctx)
{
	const char *sender = ctx->request->sender_received;

	if (sender == NULL || sender[0] == '\0')
		return ACCESS_DUNNO;
	return access_non_fqdn(ctx, ctx->request->sender_as_given,
	    rewrite_domain_of(span_str(sender)), "Sender address");
}

static enum access_result
access_reject_non_fqdn_recipient(struct access_context *ctx)
{
	const char *rcpt = ctx->request->recipient_received;

	if (rcpt == NULL)
		return ACCESS_DUNNO;
	return access_non_fqdn(ctx, ctx->request->recipient_as_given,
	    rewrite_domain_of(span_str(rcpt)), "Recipient address");
}

static enum access_result
access_reject_invalid_helo(struct access_context *ctx)
{
	const char *helo = ctx->request->helo;
	struct span name;
	bool literal;

	if (helo == NULL)
		return ACCESS_DUNNO;
	name = span_str(helo);
	literal = helo[0] == '[';
	if (literal ? mail_addr_is_literal(name, NULL)
		    : mail_addr_is_ipv4(name) || mail_addr_is_ipv6(name) || mail_addr_is_host(name))
		return ACCESS_DUNNO;
	return access_reject(ctx, conf_int(ctx->access->conf, CONF_invalid_hostname_reject_code),
	    "5.5.2", "<%s>: Helo command rejected: %s", helo,
	    literal ? "invalid ip address" : "Invalid name");
}

enum access_result
access_unlisted_recipient(struct access_context *ctx)
{
	const char *rcpt = ctx->request->recipient;

	ctx->seen_unlisted = true;
	if (rcpt == NULL)
		return ACCESS_DUNNO;
	if (rewrite_class_of(ctx->access->rewrite, rewrite_domain_of(span_str(rcpt))) !=
	    REWRITE_VIRTUAL_ALIAS)
		return ACCESS_DUNNO;
	return access_reject(ctx,
	    conf_int(ctx->access->conf, CONF_unknown_virtual_alias_reject_code), "5.1.1",
	    "<%s>: Recipient address rejected: User unknown%s", ctx->request->recipient_as_given,
	    conf_bool(ctx->access->conf, CONF_show_user_unknown_table_name)
		? " in virtual alias table"
		: "");
}

/* clang-format off */
static const struct access_restriction access_table[] = {
	{ "permit",                          access_permit },
	{ "reject",                          access_reject_all },
	{ "defer",                           access_defer_all },
	{ "defer_if_permit",                 access_defer_if_permit },
	{ "defer_if_reject",                 access_defer_if_reject },
	{ "reject_unauth_pipelining",        access_reject_unauth_pipelining },
	{ "reject_plaintext_session",        access_reject_plaintext_session },
	{ "reject_multi_recipient_bounce",   access_reject_multi_recipient_bounce },
	{ "permit_mynetworks",               access_permit_mynetworks },
	{ "permit_inet_interfaces",          access_permit_inet_interfaces },
	{ "permit_sasl_authenticated",       access_permit_authenticated },
	{ "permit_tls_clientcerts",          access_permit_authenticated },
	{ "permit_tls_all_clientcerts",      access_permit_authenticated },
	{ "permit_auth_destination",         access_permit_auth_destination },
	{ "reject_unauth_destination",       access_reject_unauth_destination },
	{ "defer_unauth_destination",        access_defer_unauth_destination },
	{ "reject_non_fqdn_helo_hostname",   access_reject_non_fqdn_helo },
	{ "reject_non_fqdn_hostname",        access_reject_non_fqdn_helo },
	{ "reject_non_fqdn_sender",          access_reject_non_fqdn_sender },
	{ "reject_non_fqdn_recipient",       access_reject_non_fqdn_recipient },
	{ "reject_invalid_helo_hostname",    access_reject_invalid_helo },
	{ "reject_invalid_hostname",         access_reject_invalid_helo },
	{ "reject_unlisted_recipient",       access_unlisted_recipient },
	{ "check_recipient_maps",            access_unlisted_recipient },
};
/* clang-format on */

const struct access_restriction *
access_restriction_find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(access_table); i++)
		if (span_equal_nocase_str(name, access_table[i].name))
			return &access_table[i];
	return NULL;
}

bool
access_restriction_guards_relay(struct span name)
{
	static const char *const guards[] = {"reject", "defer", "defer_if_permit",
	    "reject_unauth_destination", "defer_unauth_destination"};

	for (size_t i = 0; i < ARRAY_LEN(guards); i++)
		if (span_equal_nocase_str(name, guards[i]))
			return true;
	return false;
}
