/*
 * postconf.c - show and edit the configuration (postconf(1)).
 */
#include "conf/postconf.h"
#include "backend/backend.h"

#include "base/buf.h"
#include "base/log.h"
#include "bounce/bounce_template.h"
#include "table/table.h"

int
main(int argc, char **argv)
{
	backend_link();
	struct buf map_types CLEANUP(buf_done) = {0};
	struct postconf_lists lists = {
	    .lock_types = "flock\nfcntl\ndotlock\n",
	    .server_sasl_types = "dovecot\n",
	    .templates = bounce_template_show,
	};

	for (size_t i = 0; table_type_name(i) != NULL; i++)
		buf_printf(&map_types, "%s\n", table_type_name(i));
	lists.map_types = buf_str(&map_types);
	log_setup(&(struct log_settings){.tag = "postconf", .fd = -1, .also_stderr = true});
	return postconf_main(argc, argv, &lists);
}
