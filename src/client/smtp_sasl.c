/*
 * smtp_sasl.c - see smtp_sasl.h. A password that the server does not take is worth a wait, not a bounce
 * (smtp_sasl_auth_soft_bounce): it is our mistake, not the sender's.
 */
#include "client/smtp_sasl.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/smtp_int.h"
#include "client/smtp_tls.h"
#include "table/table.h"
#include "table/table_address.h"
#include "tls/tls.h"

struct smtp_sasl {
	struct conf *conf; /* borrowed from the setup */
	bool lmtp;
	struct table_list *passwords;
};

static enum conf_param
smtp_sasl_param(const struct smtp_sasl *a, enum conf_param smtp, enum conf_param lmtp)
{
	return a->lmtp ? lmtp : smtp;
}

struct smtp_sasl *
smtp_sasl_new(struct conf *conf, bool lmtp)
{
	struct smtp_sasl *a = mem_new(struct smtp_sasl);

	a->conf = conf;
	a->lmtp = lmtp;
	if (conf_bool(
		conf, smtp_sasl_param(a, CONF_smtp_sasl_auth_enable, CONF_lmtp_sasl_auth_enable)))
		a->passwords = table_list_of(conf,
		    smtp_sasl_param(a, CONF_smtp_sasl_password_maps, CONF_lmtp_sasl_password_maps),
		    0);
	return a;
}

void
smtp_sasl_free(struct smtp_sasl **sasl)
{
	struct smtp_sasl *a = *sasl;

	*sasl = NULL;
	if (a == NULL)
		return;
	table_list_close(&a->passwords);
	mem_free(a);
}

/* ---- user and password ---------------------------------------------------------------------------------------- */

static bool
smtp_sasl_by_sender(const struct smtp_sasl *a)
{
	return conf_bool(a->conf, smtp_sasl_param(a, CONF_smtp_sender_dependent_authentication,
				      CONF_lmtp_sender_dependent_authentication));
}

/* By sender if that is wanted, by the server's name, by the destination. */
static enum table_result
smtp_sasl_find(const struct smtp_session *session, const struct agent_job *job,
    const struct smtp_sasl *a, struct buf *ret)
{
	const struct table_address_rules rules = {
	    .forms = TABLE_ADDRESS_FULL | TABLE_ADDRESS_AT_DOMAIN};
	enum table_result r = TABLE_NOT_FOUND;
	struct span nexthop = job->request.nexthop;
	struct err err;

	if (smtp_sasl_by_sender(a) && job->request.sender.len != 0)
		r = table_address_lookup(
		    a->passwords, &rules, job->request.sender, ret, NULL, &err);
	if (r == TABLE_NOT_FOUND)
		r = table_list_lookup(
		    a->passwords, span_str(session->host.name), TABLE_KEY_FULL, ret, &err);
	/* lmtp's "inet:" says how to go there, not where. */
	if (a->lmtp && span_starts(nexthop, "inet:"))
		nexthop = span_from(nexthop, 5);
	if (r == TABLE_NOT_FOUND)
		r = table_list_lookup(a->passwords, nexthop, TABLE_KEY_FULL, ret, &err);
	return r;
}

static void
smtp_sasl_split(
    const struct smtp_sasl *a, struct span value, struct span *ret_user, struct span *ret_password)
{
	const char *delimiter =
	    conf_str(a->conf, smtp_sasl_param(a, CONF_smtp_sasl_password_result_delimiter,
				  CONF_lmtp_sasl_password_result_delimiter));
	size_t len = strlen(delimiter);

	*ret_user = value;
	*ret_password = (struct span){0};
	for (size_t i = 0; len != 0 && i + len <= value.len; i++) {
		if (memcmp(value.ptr + i, delimiter, len) != 0)
			continue;
		*ret_user = span_head(value, i);
		*ret_password = span_from(value, i + len);
		return;
	}
}

/* ---- mechanisms ----------------------------------------------------------------------------------------------- */

/* Passwords in the clear may be unwanted outside of TLS. */
static bool
smtp_sasl_allows_plain(const struct smtp_session *session, const struct smtp_sasl *a)
{
	const struct tls_peer *peer = stream_tls(session->stream);
	enum conf_param p =
	    smtp_sasl_param(a, CONF_smtp_sasl_security_options, CONF_lmtp_sasl_security_options);

	if (peer != NULL && peer->trusted)
		p = smtp_sasl_param(a, CONF_smtp_sasl_tls_verified_security_options,
		    CONF_lmtp_sasl_tls_verified_security_options);
	else if (peer != NULL)
		p = smtp_sasl_param(
		    a, CONF_smtp_sasl_tls_security_options, CONF_lmtp_sasl_tls_security_options);
	return !conf_has(a->conf, p, "noplaintext");
}

static bool
smtp_sasl_has_mechanism(
    const struct smtp_session *session, const struct smtp_sasl *a, const char *name)
{
	enum conf_param p =
	    smtp_sasl_param(a, CONF_smtp_sasl_mechanism_filter, CONF_lmtp_sasl_mechanism_filter);
	struct span rest = span_str(session->ehlo.auth);
	struct span word;

	if (conf_str(a->conf, p)[0] != '\0' && !conf_has(a->conf, p, name))
		return false;
	while (span_word(&rest, " ", &word))
		if (span_equal_nocase_str(word, name))
			return true;
	return false;
}

static void
smtp_sasl_base64(struct buf *out, struct span in)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < in.len; i += 3) {
		size_t n = MIN(in.len - i, (size_t)3);
		unsigned v = 0;

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (k < n ? (unsigned char)in.ptr[i + k] : 0);
		buf_add_char(out, digits[v >> 18]);
		buf_add_char(out, digits[v >> 12 & 63]);
		buf_add_char(out, n > 1 ? digits[v >> 6 & 63] : '=');
		buf_add_char(out, n > 2 ? digits[v & 63] : '=');
	}
}

/* ---- the exchange --------------------------------------------------------------------------------------------- */

/* The last reply, if it is not 2xx, is the trouble. */
static bool
smtp_sasl_result(struct smtp_session *session, const struct smtp_sasl *a)
{
	session->retire = session->retire || smtp_sasl_by_sender(a);
	if (smtp_reply_class(&session->reply) == 2)
		return true;
	if (session->reply.dsn[0] == '5' &&
	    conf_bool(a->conf, smtp_sasl_param(a, CONF_smtp_sasl_auth_soft_bounce,
				   CONF_lmtp_sasl_auth_soft_bounce)))
		session->reply.dsn[0] = '4';
	session->retire = true;
	return smtp_session_refused(session, SMTP_STEP_AUTH);
}

static bool
smtp_sasl_plain(struct smtp_session *session, struct span user, struct span password)
{
	struct buf secret CLEANUP(buf_done) = {0};
	struct buf text CLEANUP(buf_done) = {0};

	buf_add_char(&secret, '\0');
	buf_add_span(&secret, user);
	buf_add_char(&secret, '\0');
	buf_add_span(&secret, password);
	smtp_sasl_base64(&text, buf_span(&secret));
	return smtp_session_ask(
	    session, SMTP_STEP_AUTH, session->setup->mail_timeout, "AUTH PLAIN %s", buf_str(&text));
}

static bool
smtp_sasl_login(struct smtp_session *session, struct span user, struct span password)
{
	const struct span answers[] = {user, password};
	int64_t timeout = session->setup->mail_timeout;

	if (!smtp_session_ask(session, SMTP_STEP_AUTH, timeout, "AUTH LOGIN"))
		return false;
	for (size_t i = 0; i < 2 && session->reply.code / 100 == 3; i++) {
		struct buf text CLEANUP(buf_done) = {0};

		smtp_sasl_base64(&text, answers[i]);
		if (!smtp_session_ask(session, SMTP_STEP_AUTH, timeout, "%s", buf_str(&text)))
			return false;
	}
	return true;
}

static bool
smtp_sasl_exchange(
    struct smtp_session *session, const struct smtp_sasl *a, struct span user, struct span password)
{
	bool allowed = smtp_sasl_allows_plain(session, a);

	if (allowed && smtp_sasl_has_mechanism(session, a, "PLAIN"))
		return smtp_sasl_plain(session, user, password) && smtp_sasl_result(session, a);
	if (allowed && smtp_sasl_has_mechanism(session, a, "LOGIN"))
		return smtp_sasl_login(session, user, password) && smtp_sasl_result(session, a);
	log_warn("SASL authentication failure: No worthy mechs found");
	return smtp_session_object(session, SMTP_STEP_AUTH, "4.7.0",
	    "SASL authentication failed; cannot authenticate to server %s[%s]: no mechanism available",
	    session->host.name, session->address);
}

bool
smtp_sasl_start(struct smtp_session *session, const struct agent_job *job)
{
	const struct smtp_sasl *a = session->setup->sasl;
	struct buf value CLEANUP(buf_done) = {0};
	struct span user;
	struct span password;
	bool ok = true;

	if (a->passwords != NULL && smtp_session_offers(session, SMTP_EHLO_AUTH)) {
		enum table_result r = smtp_sasl_find(session, job, a, &value);

		smtp_sasl_split(a, buf_span(&value), &user, &password);
		if (r == TABLE_ERROR)
			ok = smtp_session_table_trouble(session, SMTP_STEP_AUTH);
		else if (r == TABLE_FOUND && user.len != 0)
			ok = smtp_sasl_exchange(session, a, user, password);
	}
	return ok;
}
