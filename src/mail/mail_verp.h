/*
 * mail_verp.h - variable envelope return paths: the sender of a message names its recipient, as in VERP_README.
 */
#ifndef MAIL_MAIL_VERP_H
#define MAIL_MAIL_VERP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/*
 * "list@a" for "user@b" with the delimiters "+=" becomes "list+user=b@a". `rcpt`: as the sender first gave it. Addresses in internal
 * form. False: there are no delimiters, or the sender is the null sender; `out` is untouched.
 */
bool mail_verp_write(struct buf *out, struct span delimiters, struct span sender, struct span rcpt);

#endif
