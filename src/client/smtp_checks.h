/*
 * smtp_checks.h - smtp_header_checks, smtp_mime_header_checks, smtp_nested_header_checks and smtp_body_checks: changes to a
 * content on its way out (header_checks(5), the actions that make sense there).
 */
#ifndef CLIENT_SMTP_CHECKS_H
#define CLIENT_SMTP_CHECKS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "conf/conf.h"

struct smtp_checks;
struct smtp_checking;

struct smtp_checks *smtp_checks_new(struct conf *conf, bool lmtp);
void smtp_checks_free(struct smtp_checks **c);

/* Is there any table? */
bool smtp_checks_is_on(const struct smtp_checks *c);

/* Begins one content; `queue_id` for the log, borrowed. */
struct smtp_checking *smtp_checking_new(struct smtp_checks *c, const char *queue_id);
void smtp_checking_free(struct smtp_checking **x);

/*
 * Feeds the next piece (LF line ends, cut anywhere) and appends what is ready; `last`: nothing follows. False: table
 * trouble. May wait.
 */
bool smtp_checking_write(
    struct smtp_checking *x, struct span content, bool last, struct buf *out) MUST_CHECK;

#endif
