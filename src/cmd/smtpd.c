/*
 * smtpd.c - the SMTP server process; started by master, or with -S for one session on standard input (sendmail -bs).
 */
#include "smtpd/smtpd.h"
#include "backend/backend.h"
#include "pickup/submit_postdrop.h"
#include "smtpd/smtpd_standalone.h"

int
main(int argc, char **argv)
{
	backend_link();
	if (smtpd_standalone_is_wanted(argc, argv))
		return smtpd_standalone_main(argc, argv, submit_postdrop_message);
	return service_main(argc, argv, &smtpd_kind);
}
