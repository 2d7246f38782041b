/*
 * smtpd_setup.h - what one configuration compiles to for this room; counted, so that sessions outlive a reload.
 */
#ifndef SMTPD_SMTPD_SETUP_H
#define SMTPD_SMTPD_SETUP_H

#include "base/err.h"
#include "conf/conf.h"

struct smtpd_setup;

bool smtpd_setup_new(struct conf *conf, struct smtpd_setup **ret, struct err *err) MUST_CHECK;
struct smtpd_setup *smtpd_setup_ref(struct smtpd_setup *setup);
void smtpd_setup_unref(struct smtpd_setup **setup);

#endif
