/*
 * smtpd_setup.h - what one configuration compiles to for this room; counted, so that sessions outlive a reload.
 */
#ifndef SMTPD_SMTPD_SETUP_H
#define SMTPD_SMTPD_SETUP_H

#include "base/err.h"
#include "conf/conf.h"

struct smtpd_setup;
struct net_addr;
struct smtpd_session;

bool smtpd_setup_new(struct conf *conf, struct smtpd_setup **ret, struct err *err) MUST_CHECK;
struct smtpd_setup *smtpd_setup_ref(struct smtpd_setup *setup);
/* inet_protocols = ipv4: IPv6 addresses are no addresses then, wherever they come from. */
bool smtpd_setup_is_ipv4_only(const struct smtpd_setup *setup);
/* Does smtpd_forbid_bare_newline hold for this client? */
bool smtpd_setup_forbids_bare_lf(const struct smtpd_setup *setup, const struct net_addr *peer);
/*
 * Fills s->authorized for the client that the session has now. XFORWARD and XVERP are settled when it connects (`first`): a
 * proxy that speaks for others by XCLIENT keeps them.
 */
void smtpd_setup_authorize(struct smtpd_session *s, bool first);
void smtpd_setup_unref(struct smtpd_setup **setup);

#endif
