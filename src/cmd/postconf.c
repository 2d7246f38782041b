/*
 * postconf.c - show and edit the configuration (postconf(1)).
 */
#include "conf/postconf.h"

#include "base/log.h"

int
main(int argc, char **argv)
{
	static const struct postconf_lists lists = {
	    .lock_types = "flock\nfcntl\ndotlock\n",
	    .server_sasl_types = "dovecot\n",
	};

	log_setup(&(struct log_settings){.tag = "postconf", .fd = -1, .also_stderr = true});
	return postconf_main(argc, argv, &lists);
}
