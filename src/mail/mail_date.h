/*
 * mail_date.h - dates as Postfix writes them in headers: "Sat, 21 Nov 2026 12:00:00 +0100 (CET)", the day of the month
 * padded with a blank ("Sun,  1 Nov"), local zone (RFC 5322 section 3.3).
 */
#ifndef MAIL_MAIL_DATE_H
#define MAIL_MAIL_DATE_H

#include "base/base.h"
#include "base/buf.h"

/* Appends the date of `second` since 1970. */
void mail_date_write(struct buf *out, int64_t second);

#endif
