/*
 * smtpd.h - the SMTP server as a service of master: what src/cmd/smtpd.c starts.
 */
#ifndef SMTPD_SMTPD_H
#define SMTPD_SMTPD_H

#include "service/service.h"

extern const struct service_kind smtpd_kind;

#endif
