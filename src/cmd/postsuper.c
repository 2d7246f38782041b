/*
 * postsuper.c - delete, hold, release, requeue and expire messages (postsuper(1)); root only.
 *
 *	postsuper [-psSv] [-c DIR] [-d ID] [-e ID] [-f ID] [-h ID] [-H ID] [-r ID] [QUEUE...]
 *
 * ID: a queue id, "-" for those on standard input, "ALL". -p, -s and -S mend a queue of files; a database has nothing to mend.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "operator/operator_order.h"
#include "operator/operator_session.h"

static const char letters[] = {
    [OPERATOR_REQUEUE] = 'r',
    [OPERATOR_DELETE] = 'd',
    [OPERATOR_EXPIRE] = 'e',
    [OPERATOR_FINISH] = 'f',
    [OPERATOR_HOLD] = 'h',
    [OPERATOR_RELEASE] = 'H',
};

NO_RETURN static void
usage(void)
{
	log_fatal(EXIT_FAILURE,
	    "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] "
	    "[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] "
	    "[-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] "
	    "[-S (redundant structure fix)][-v (verbose)] [queue...]");
}

/* True when some message is to be touched. */
static bool
parse(int argc, char **argv, struct operator_program *p, struct operator_order *o)
{
	bool asked = false;
	int option;

	while ((option = getopt(argc, argv, "+c:d:e:f:h:H:pr:sSv")) != -1) {
		const char *at = memchr(letters, option, sizeof(letters));

		if (at != NULL) {
			operator_order_add(o, (enum operator_action)(at - letters), optarg);
			asked = true;
		} else if (option == 'c') {
			p->conf_dir = optarg;
		} else if (option == 'v') {
			p->verbose++;
		} else if (option == '?') {
			usage();
		}
	}
	return asked;
}

int
main(int argc, char **argv)
{
	struct operator_program p = {.name = "postsuper", .failure = EXIT_FAILURE};
	struct operator_order order = {0};
	struct conf *conf;
	struct err err;
	bool asked;

	operator_session_log(p.name);
	asked = parse(argc, argv, &p, &order);
	if (getuid() != 0)
		log_fatal(EXIT_FAILURE, "use of this command is reserved for the superuser");
	conf = operator_session_start(&p);
	for (int i = optind; i < argc; i++)
		if (!operator_order_queue(&order, argv[i]))
			log_fatal(EXIT_FAILURE, "invalid directory name: %s", argv[i]);
	if (asked && !operator_session_run(conf, operator_order_run, &order, &err))
		log_fatal(EXIT_FAILURE, "%s", err.text);
	operator_order_done(&order);
	conf_unref(&conf);
	return EXIT_SUCCESS;
}
