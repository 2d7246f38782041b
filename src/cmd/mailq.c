/*
 * mailq.c - list the queue (mailq(1)): what sendmail -bp does, under the name that people type.
 *
 *	mailq [-v] [-C DIR]
 *
 * Takes all options of sendmail, of which only these mean something here.
 */
#include "backend/backend.h"
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "operator/operator_list.h"
#include "operator/operator_permit.h"
#include "operator/operator_session.h"

#define SENDMAIL_OPTIONS "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx"

static void
parse(int argc, char **argv, struct operator_program *p)
{
	int option;

	while ((option = getopt(argc, argv, SENDMAIL_OPTIONS)) != -1) {
		if (option == 'C')
			p->conf_dir = optarg;
		else if (option == 'v' && getuid() == 0)
			p->verbose++;
		else if (option == '?')
			log_fatal(EX_TEMPFAIL, "usage: mailq [options]");
	}
	if (optind < argc)
		log_fatal(EX_TEMPFAIL, "display queue mode requires no recipient");
}

static bool
work(struct operator_session *s, void *arg UNUSED, struct err *err)
{
	return operator_permit_user(s, CONF_authorized_mailq_users, "view the mail queue", err) &&
	       operator_list_print(s, operator_list_table(operator_session_conf(s)), err);
}

int
main(int argc, char **argv)
{
	backend_link();
	struct operator_program p = {.name = "sendmail", .shown = "mailq", .failure = EX_TEMPFAIL};
	struct conf *conf;
	struct err err;

	operator_session_log(p.shown);
	parse(argc, argv, &p);
	/* From here on Postfix is in postqueue. */
	p.name = p.shown = "postqueue";
	p.failure = EX_UNAVAILABLE;
	conf = operator_session_start(&p);
	if (!operator_session_run(conf, work, NULL, &err)) {
		if (err.kind == ERR_PERM)
			log_fatal(EX_NOPERM, "%s", err.text);
		log_fatal(err.kind == ERR_CONFIG ? EX_CONFIG : EX_UNAVAILABLE,
		    "Queue report unavailable - %s", err.text);
	}
	conf_unref(&conf);
	return EX_OK;
}
