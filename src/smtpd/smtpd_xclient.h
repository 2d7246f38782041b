/*
 * smtpd_xclient.h - what XCLIENT and XFORWARD leave behind; the handlers themselves are in smtpd_int.h.
 */
#ifndef SMTPD_SMTPD_XCLIENT_H
#define SMTPD_SMTPD_XCLIENT_H

struct smtpd_session;

/* Forgets what XFORWARD said: at the end of each transaction. */
void smtpd_forward_done(struct smtpd_session *s);

#endif
