/*
 * smtpd_standalone.h - one SMTP session on standard input and output (sendmail -bs), without master and without a way to the
 * queue: messages go where `drop` puts them.
 */
#ifndef SMTPD_SMTPD_STANDALONE_H
#define SMTPD_SMTPD_STANDALONE_H

#include "base/base.h"
#include "base/err.h"

struct queue_message;

/* Is this command line ours: is there a -S? */
bool smtpd_standalone_is_wanted(int argc, char **argv);

/* smtpd -S [-v] [-c DIR]. `drop`: see cleanup_settings.store_elsewhere; its argument is the struct conf. Returns main()'s status. */
int smtpd_standalone_main(
    int argc, char **argv, bool (*drop)(void *arg, const struct queue_message *m, struct err *err));

#endif
