/*
 * mail_msgid.h - the Message-Id that cleanup gives to a message without one.
 */
#ifndef MAIL_MAIL_MSGID_H
#define MAIL_MAIL_MSGID_H

#include "base/base.h"
#include "base/buf.h"

/*
 * Appends "<YYYYMMDDHHMMSS.QUEUEID@HOST>" (UTC; Postfix with short queue ids), or with `stamp` false "<QUEUEID@HOST>"
 * (with long ones). `second` since 1970.
 */
void mail_msgid_write(
    struct buf *out, bool stamp, int64_t second, const char *queue_id, const char *host);

#endif
