/*
 * smtp_tls.h - when the SMTP and LMTP client encrypts, and whom it trusts: levels none, may, encrypt, fingerprint, verify and
 * secure, for all or by nexthop (smtp_tls_policy_maps).
 */
#ifndef CLIENT_SMTP_TLS_H
#define CLIENT_SMTP_TLS_H

#include "base/base.h"
#include "conf/conf.h"

struct agent_job;
struct smtp_session;
struct smtp_tls;

enum smtp_tls_level {
	SMTP_TLS_NONE,
	SMTP_TLS_MAY,
	SMTP_TLS_ENCRYPT,
	SMTP_TLS_FINGERPRINT,
	SMTP_TLS_VERIFY,
	SMTP_TLS_SECURE,
	SMTP_TLS_UNKNOWN, /* a policy that cannot be understood: mail waits */
};

/* Reads certificates; what is wrong with them is logged, and mail that needs TLS waits. */
struct smtp_tls *smtp_tls_new(struct conf *conf, bool lmtp);
void smtp_tls_free(struct smtp_tls **t);

/*
 * After EHLO: STARTTLS and the handshake if the level says so. *ret_started: the session is encrypted now, and EHLO is
 * to be said again. False: session->trouble says why. Waits.
 */
bool smtp_tls_start(
    struct smtp_session *session, const struct agent_job *job, bool *ret_started) MUST_CHECK;

/* smtp_tls_wrappermode: is TLS to begin before the greeting? Then this begins it. Waits. */
bool smtp_tls_is_wrapped(const struct smtp_tls *t);
bool smtp_tls_wrap(struct smtp_session *session, const struct agent_job *job) MUST_CHECK;

#endif
