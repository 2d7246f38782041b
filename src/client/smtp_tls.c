/*
 * smtp_tls.c - see smtp_tls.h. The handshake takes any certificate; what it is worth is decided behind it, so that the reason can be told
 * and QUIT be said.
 */
#include "client/smtp_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/smtp_int.h"
#include "table/table.h"
#include "table/table_address.h"
#include "tls/tls.h"

struct smtp_tls {
	struct conf *conf; /* borrowed from the setup */
	bool lmtp;
	enum smtp_tls_level level;
	struct tls_context *context; /* counted; NULL: it cannot be used */
	struct table_list *policies;
};

/* What counts for one destination. */
struct smtp_tls_policy {
	enum smtp_tls_level level;
	struct buf match; /* names or fingerprints; empty: the level's default */
};

static const struct {
	const char *word;
	enum smtp_tls_level level;
} smtp_tls_levels[] = {
    {"none", SMTP_TLS_NONE},
    {"may", SMTP_TLS_MAY},
    {"encrypt", SMTP_TLS_ENCRYPT},
    {"fingerprint", SMTP_TLS_FINGERPRINT},
    {"verify", SMTP_TLS_VERIFY},
    {"secure", SMTP_TLS_SECURE},
    /* Without TLSA records "dane" is "may" (RFC 7672 section 2.2), and "dane-only" has nothing to go by. */
    {"dane", SMTP_TLS_MAY},
    {"dane-only", SMTP_TLS_UNKNOWN},
};

static enum conf_param
smtp_tls_param(const struct smtp_tls *t, enum conf_param smtp, enum conf_param lmtp)
{
	return t->lmtp ? lmtp : smtp;
}

static enum smtp_tls_level
smtp_tls_level_of(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(smtp_tls_levels); i++)
		if (span_equal_nocase_str(word, smtp_tls_levels[i].word))
			return smtp_tls_levels[i].level;
	return SMTP_TLS_UNKNOWN;
}

/* smtp_use_tls and smtp_enforce_tls are what there was before levels. */
static enum smtp_tls_level
smtp_tls_level_for_all(const struct smtp_tls *t)
{
	const struct conf *c = t->conf;
	const char *word = conf_str(
	    c, smtp_tls_param(t, CONF_smtp_tls_security_level, CONF_lmtp_tls_security_level));
	bool enforce =
	    conf_bool(c, smtp_tls_param(t, CONF_smtp_enforce_tls, CONF_lmtp_enforce_tls));
	bool name = conf_bool(
	    c, smtp_tls_param(t, CONF_smtp_tls_enforce_peername, CONF_lmtp_tls_enforce_peername));

	if (word[0] != '\0')
		return smtp_tls_level_of(span_str(word));
	if (enforce)
		return name ? SMTP_TLS_VERIFY : SMTP_TLS_ENCRYPT;
	return conf_bool(c, smtp_tls_param(t, CONF_smtp_use_tls, CONF_lmtp_use_tls))
		   ? SMTP_TLS_MAY
		   : SMTP_TLS_NONE;
}

static const char *
smtp_tls_text(const struct smtp_tls *t, enum conf_param smtp, enum conf_param lmtp)
{
	const char *text = conf_str(t->conf, smtp_tls_param(t, smtp, lmtp));

	return text[0] != '\0' ? text : NULL;
}

static void
smtp_tls_load(struct smtp_tls *t)
{
	bool must = t->level >= SMTP_TLS_ENCRYPT;
	struct tls_settings settings = {
	    .cert_file = smtp_tls_text(t, CONF_smtp_tls_cert_file, CONF_lmtp_tls_cert_file),
	    .key_file = smtp_tls_text(t, CONF_smtp_tls_key_file, CONF_lmtp_tls_key_file),
	    .ca_file = smtp_tls_text(t, CONF_smtp_tls_CAfile, CONF_lmtp_tls_CAfile),
	    .ca_path = smtp_tls_text(t, CONF_smtp_tls_CApath, CONF_lmtp_tls_CApath),
	    .protocols = must ? smtp_tls_text(t, CONF_smtp_tls_mandatory_protocols,
				    CONF_lmtp_tls_mandatory_protocols)
			      : smtp_tls_text(t, CONF_smtp_tls_protocols, CONF_lmtp_tls_protocols),
	};
	struct err err;

	t->context = tls_context_new(&settings, &err);
	if (t->context == NULL)
		log_warn("TLS of the %s client: %s", t->lmtp ? "LMTP" : "SMTP", err.text);
}

struct smtp_tls *
smtp_tls_new(struct conf *conf, bool lmtp)
{
	struct smtp_tls *t = mem_new(struct smtp_tls);

	t->conf = conf;
	t->lmtp = lmtp;
	t->level = smtp_tls_level_for_all(t);
	t->policies = table_list_of(
	    conf, smtp_tls_param(t, CONF_smtp_tls_policy_maps, CONF_lmtp_tls_policy_maps), 0);
	if (t->level != SMTP_TLS_NONE || !table_list_is_empty(t->policies))
		smtp_tls_load(t);
	return t;
}

void
smtp_tls_free(struct smtp_tls **tls)
{
	struct smtp_tls *t = *tls;

	*tls = NULL;
	if (t == NULL)
		return;
	table_list_close(&t->policies);
	tls_context_unref(&t->context);
	mem_free(t);
}

/* ---- policy --------------------------------------------------------------------------------------------------- */

/* "secure match=example.com:.example.com" */
static void
smtp_tls_parse_policy(struct span text, struct smtp_tls_policy *ret)
{
	struct span word;

	ret->level = SMTP_TLS_UNKNOWN;
	if (span_word(&text, ", \t", &word))
		ret->level = smtp_tls_level_of(word);
	while (span_word(&text, ", \t", &word))
		if (span_starts_nocase(word, "match="))
			buf_printf(&ret->match, "%s%.*s", ret->match.len != 0 ? ":" : "",
			    SPAN_ARG(span_from(word, 6)));
}

/* The nexthop as it is written, then, for a plain domain, the domains above it. */
static void
smtp_tls_find_policy(const struct smtp_tls *t, struct span nexthop, struct smtp_tls_policy *ret)
{
	struct buf value CLEANUP(buf_done) = {0};
	enum table_result r;
	struct err err;
	bool plain;

	if (t->lmtp && span_starts(nexthop, "inet:"))
		nexthop = span_from(nexthop, 5);
	plain = nexthop.len != 0 && nexthop.ptr[0] != '[' && span_find(nexthop, ':') == nexthop.len;

	ret->level = t->level;
	if (table_list_is_empty(t->policies))
		return;
	if (plain)
		r = table_domain_lookup(t->policies, nexthop, false, &value, &err);
	else
		r = table_list_lookup(t->policies, nexthop, TABLE_KEY_FULL, &value, &err);
	if (r == TABLE_FOUND)
		smtp_tls_parse_policy(buf_span(&value), ret);
	else if (r == TABLE_ERROR)
		ret->level = SMTP_TLS_UNKNOWN;
}

/* ---- the certificate ------------------------------------------------------------------------------------------ */

/* The domain of "[example.com]:25". */
static struct span
smtp_tls_domain(struct span nexthop)
{
	if (nexthop.len != 0 && nexthop.ptr[0] == '[')
		return span_head(span_from(nexthop, 1), span_find(nexthop, ']') - 1);
	return span_head(nexthop, span_find(nexthop, ':'));
}

/* One word of a match list: nexthop, dot-nexthop, hostname, a name, a .domain. */
static bool
smtp_tls_matches_name(
    const struct smtp_session *session, const struct agent_job *job, struct span word)
{
	struct span domain = smtp_tls_domain(job->request.nexthop);
	char name[DNS_NAME_MAX + 1];

	if (span_equal_nocase_str(word, "nexthop"))
		(void)snprintf(name, sizeof(name), "%.*s", SPAN_ARG(domain));
	else if (span_equal_nocase_str(word, "dot-nexthop"))
		(void)snprintf(name, sizeof(name), ".%.*s", SPAN_ARG(domain));
	else if (span_equal_nocase_str(word, "hostname"))
		(void)snprintf(name, sizeof(name), "%s", session->host.name);
	else
		(void)snprintf(name, sizeof(name), "%.*s", SPAN_ARG(word));
	return stream_tls_matches(session->stream, name);
}

static bool
smtp_tls_is_matched(const struct smtp_session *session, const struct agent_job *job,
    const struct smtp_tls *t, const struct smtp_tls_policy *policy)
{
	const struct tls_peer *peer = stream_tls(session->stream);
	bool print = policy->level == SMTP_TLS_FINGERPRINT;
	const char *list =
	    print ? conf_str(t->conf, smtp_tls_param(t, CONF_smtp_tls_fingerprint_cert_match,
					  CONF_lmtp_tls_fingerprint_cert_match))
	    : policy->level == SMTP_TLS_SECURE
		? conf_str(t->conf, smtp_tls_param(t, CONF_smtp_tls_secure_cert_match,
					CONF_lmtp_tls_secure_cert_match))
		: conf_str(t->conf, smtp_tls_param(t, CONF_smtp_tls_verify_cert_match,
					CONF_lmtp_tls_verify_cert_match));
	struct span rest = policy->match.len != 0 ? buf_span(&policy->match) : span_str(list);
	struct span word;

	if (print) {
		/* A fingerprint has colons itself. */
		while (span_word(&rest, ", \t|", &word))
			if (span_equal_nocase_str(word, peer->fingerprint))
				return true;
		return false;
	}
	while (span_word(&rest, ":, \t", &word))
		if (smtp_tls_matches_name(session, job, word))
			return true;
	return false;
}

/* Where names count, a trusted certificate of somebody else is no better than any. */
static void
smtp_tls_log(const struct smtp_session *session, const struct smtp_tls *t, bool names, bool matched)
{
	const struct tls_peer *peer = stream_tls(session->stream);

	if (strtol(conf_str(
		       t->conf, smtp_tls_param(t, CONF_smtp_tls_loglevel, CONF_lmtp_tls_loglevel)),
		NULL, 10) < 1)
		return;
	log_info("%s TLS connection established to %s[%s]:%u: %s with cipher %s (%d/%d bits)%s",
	    !peer->has_cert           ? "Anonymous"
	    : matched                 ? "Verified"
	    : peer->trusted && !names ? "Trusted"
				      : "Untrusted",
	    session->host.name, session->address, net_addr_port(&session->host.addr),
	    peer->protocol, peer->cipher, peer->bits, peer->algorithm_bits, peer->details);
}

/* Is the server who it should be? */
static bool
smtp_tls_judge(struct smtp_session *session, const struct agent_job *job, const struct smtp_tls *t,
    const struct smtp_tls_policy *policy)
{
	const struct tls_peer *peer = stream_tls(session->stream);
	bool names = policy->level >= SMTP_TLS_VERIFY;
	bool matched = policy->level >= SMTP_TLS_FINGERPRINT && (peer->trusted || !names) &&
		       smtp_tls_is_matched(session, job, t, policy);

	smtp_tls_log(session, t, names, matched);
	if (policy->level >= SMTP_TLS_FINGERPRINT && !matched)
		return smtp_session_object(
		    session, SMTP_STEP_STARTTLS, "4.7.5", "Server certificate not verified");
	return true;
}

/* ---- starting ------------------------------------------------------------------------------------------------- */

static bool
smtp_tls_handshake(struct smtp_session *session, const struct agent_job *job,
    const struct smtp_tls *t, const struct smtp_tls_policy *policy)
{
	int64_t timeout = conf_time(
	    t->conf, smtp_tls_param(t, CONF_smtp_starttls_timeout, CONF_lmtp_starttls_timeout));
	struct err err;

	/* What came behind the reply in the clear is nobody's (RFC 3207 section 5). */
	stream_discard_input(session->stream);
	stream_set_deadline(session->stream, clock_deadline(timeout));
	if (!stream_start_tls_client(session->stream, t->context, session->host.name, &err)) {
		log_info("SSL_connect error to %s[%s]:%u: %s", session->host.name, session->address,
		    net_addr_port(&session->host.addr), err.text);
		session->broken = true;
		session->plain_next = policy->level == SMTP_TLS_MAY;
		return smtp_session_object(
		    session, SMTP_STEP_STARTTLS, "4.7.5", "Cannot start TLS: handshake failure");
	}
	/* Kept connections are taken by nexthop alone, whatever TLS policy it has by then. */
	session->retire =
	    session->retire || !conf_bool(t->conf, smtp_tls_param(t, CONF_smtp_tls_connection_reuse,
						       CONF_lmtp_tls_connection_reuse));
	return smtp_tls_judge(session, job, t, policy);
}

/* The server offers it, or should have. */
static bool
smtp_tls_by_policy(struct smtp_session *session, const struct agent_job *job,
    const struct smtp_tls *t, const struct smtp_tls_policy *policy, bool *ret_started)
{
	bool must = policy->level >= SMTP_TLS_ENCRYPT;
	int64_t timeout = conf_time(
	    t->conf, smtp_tls_param(t, CONF_smtp_starttls_timeout, CONF_lmtp_starttls_timeout));

	if (policy->level == SMTP_TLS_UNKNOWN || (must && t->context == NULL))
		return smtp_session_object(
		    session, SMTP_STEP_STARTTLS, "4.7.5", "client TLS configuration problem");
	if (policy->level == SMTP_TLS_NONE && smtp_session_offers(session, SMTP_EHLO_STARTTLS) &&
	    conf_bool(t->conf, smtp_tls_param(t, CONF_smtp_tls_note_starttls_offer,
				   CONF_lmtp_tls_note_starttls_offer)))
		log_info("Host offered STARTTLS: [%s]", session->host.name);
	if (policy->level == SMTP_TLS_NONE || session->no_tls || t->context == NULL)
		return true;
	if (!smtp_session_offers(session, SMTP_EHLO_STARTTLS))
		return !must || smtp_session_object(session, SMTP_STEP_STARTTLS, "4.7.4",
				    "TLS is required, but was not offered by host %s[%s]",
				    session->host.name, session->address);
	if (!smtp_session_ask(session, SMTP_STEP_STARTTLS, timeout, "STARTTLS"))
		return false;
	if (smtp_reply_class(&session->reply) != 2)
		return !must || smtp_session_refused(session, SMTP_STEP_STARTTLS);
	*ret_started = true;
	return smtp_tls_handshake(session, job, t, policy);
}

bool
smtp_tls_start(struct smtp_session *session, const struct agent_job *job, bool *ret_started)
{
	const struct smtp_tls *t = session->setup->tls;
	struct smtp_tls_policy policy = {0};
	bool ok;

	*ret_started = false;
	smtp_tls_find_policy(t, job->request.nexthop, &policy);
	ok = stream_tls(session->stream) != NULL ||
	     smtp_tls_by_policy(session, job, t, &policy, ret_started);
	buf_done(&policy.match);
	return ok;
}

bool
smtp_tls_is_wrapped(const struct smtp_tls *t)
{
	return t->level >= SMTP_TLS_ENCRYPT &&
	       conf_bool(t->conf,
		   smtp_tls_param(t, CONF_smtp_tls_wrappermode, CONF_lmtp_tls_wrappermode));
}

bool
smtp_tls_wrap(struct smtp_session *session, const struct agent_job *job)
{
	const struct smtp_tls *t = session->setup->tls;
	struct smtp_tls_policy policy = {0};
	bool ok;

	smtp_tls_find_policy(t, job->request.nexthop, &policy);
	if (t->context == NULL)
		ok = smtp_session_object(
		    session, SMTP_STEP_STARTTLS, "4.7.5", "client TLS configuration problem");
	else
		ok = smtp_tls_handshake(session, job, t, &policy);
	buf_done(&policy.match);
	return ok;
}
