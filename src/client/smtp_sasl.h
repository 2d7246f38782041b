/*
 * smtp_sasl.h - AUTH as a client (RFC 4954): PLAIN and LOGIN, with user and password by server, destination or sender.
 */
#ifndef CLIENT_SMTP_SASL_H
#define CLIENT_SMTP_SASL_H

#include "base/base.h"
#include "conf/conf.h"

struct agent_job;
struct smtp_sasl;
struct smtp_session;

struct smtp_sasl *smtp_sasl_new(struct conf *conf, bool lmtp);
void smtp_sasl_free(struct smtp_sasl **a);

/*
 * After the last EHLO: says who we are, if the server offers AUTH and there is a password for it. False: session->trouble
 * says why. Waits.
 */
bool smtp_sasl_start(struct smtp_session *session, const struct agent_job *job) MUST_CHECK;

#endif
