/*
 * mail_qp.h - 8BITMIME to 7-bit conversion of a message for a peer without 8BITMIME (RFC 6152, RFC 2045 section 6.7):
 * leaf parts with "8bit" or "binary" encoding become quoted-printable, composite ones "7bit". Incremental: contents
 * flow through in pieces. Headers stay as they are except Content-Transfer-Encoding.
 */
#ifndef MAIL_MAIL_QP_H
#define MAIL_MAIL_QP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

struct mail_qp;

/* A fresh converter; mail_qp_free() releases it. */
struct mail_qp *mail_qp_new(void);
void mail_qp_free(struct mail_qp **qp);

/* Feeds the next piece of the content (LF line ends, cut anywhere) and appends what is ready. */
void mail_qp_write(struct mail_qp *qp, struct span content, struct buf *out);

/* The end of the content: appends the rest. */
void mail_qp_finish(struct mail_qp *qp, struct buf *out);

/* Is there a byte above 127? If not, no conversion is needed. */
bool mail_qp_is_needed(struct span content);

#endif
