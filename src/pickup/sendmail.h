/*
 * sendmail.h - sendmail(1), Postfix's compatibility interface: options, modes, and a message handed to postdrop. Needs neither a running
 * mail system nor a database to take a message.
 */
#ifndef PICKUP_SENDMAIL_H
#define PICKUP_SENDMAIL_H

#include "base/base.h"

/* Also under the names mailq and newaliases. */
int sendmail_main(int argc, char **argv);

#endif
