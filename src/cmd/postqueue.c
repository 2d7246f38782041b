/*
 * postqueue.c - list and flush the queue (postqueue(1)).
 *
 *	postqueue [-v] [-c DIR] -f | -i ID | -j | -p | -s SITE
 *
 * Whatever fails gives EX_UNAVAILABLE, as with Postfix; a database without our schema EX_CONFIG.
 */
#include "backend/backend.h"
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "mail/mail_addr.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_flush.h"
#include "operator/operator_list.h"
#include "operator/operator_permit.h"
#include "operator/operator_session.h"

struct request {
	char mode; /* the option letter; 0: none was given */
	const char *arg;
	struct operator_program program;
};

NO_RETURN static void
usage(void)
{
	log_fatal(EX_UNAVAILABLE, "usage: postqueue -f | postqueue -i queueid | postqueue -j | "
				  "postqueue -p | postqueue -s site");
}

static void
parse(int argc, char **argv, struct request *r)
{
	int option;

	while ((option = getopt(argc, argv, "+c:fi:jps:v")) != -1) {
		switch (option) {
		case 'c':
			r->program.conf_dir = optarg;
			break;
		case 'v':
			r->program.verbose++;
			break;
		case 'f':
		case 'i':
		case 'j':
		case 'p':
		case 's':
			if (r->mode != 0)
				usage();
			r->mode = (char)option;
			r->arg = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind < argc || r->mode == 0)
		usage();
	/* Debugging shows what is not meant for everybody. */
	if (getuid() != 0)
		r->program.verbose = 0;
}

static bool
is_listing(const struct request *r)
{
	return r->mode == 'j' || r->mode == 'p';
}

static void
check(const struct request *r)
{
	struct span arg = span_str(r->arg);

	if (r->mode == 'i' && !mail_queue_id_looks_valid(arg))
		log_fatal(EX_UNAVAILABLE, "Cannot flush queue ID - invalid name: \"%s\"", r->arg);
	if (r->mode == 's' && !mail_addr_is_domain(arg))
		log_fatal(EX_UNAVAILABLE, "Cannot flush mail queue - invalid destination: \"%s\"",
		    r->arg);
}

static bool
work(struct operator_session *s, void *arg, struct err *err)
{
	const struct request *r = arg;
	const struct conf *c = operator_session_conf(s);
	bool lists = is_listing(r);

	if (!operator_permit_user(s,
		lists ? CONF_authorized_mailq_users : CONF_authorized_flush_users,
		lists ? "view the mail queue" : "flush the mail queue", err))
		return false;
	switch (r->mode) {
	case 'f':
		return operator_flush_all(s, err);
	case 'i':
		return operator_flush_message(s, span_str(r->arg), err);
	case 's':
		return operator_flush_site(s, r->arg, err);
	case 'j':
		return operator_list_print(s, OPERATOR_LIST_JSON, err);
	default:
		return operator_list_print(s, operator_list_table(c), err);
	}
}

NO_RETURN static void
fail(const struct request *r, const struct err *err)
{
	/* Whoever may not is told so; a site that is not served is no matter of rights. */
	if (err->kind == ERR_PERM)
		log_fatal(r->mode == 's' && strncmp(err->text, "User ", 5) != 0 ? EX_UNAVAILABLE
										: EX_NOPERM,
		    "%s", err->text);
	log_fatal(err->kind == ERR_CONFIG ? EX_CONFIG : EX_UNAVAILABLE, "%s - %s",
	    is_listing(r) ? "Queue report unavailable" : "Cannot flush mail queue", err->text);
}

int
main(int argc, char **argv)
{
	backend_link();
	struct request r = {.program = {.name = "postqueue", .failure = EX_UNAVAILABLE}};
	struct conf *conf;
	struct err err;

	operator_session_log(r.program.name);
	parse(argc, argv, &r);
	conf = operator_session_start(&r.program);
	check(&r);
	if (!operator_session_run(conf, work, &r, &err))
		fail(&r, &err);
	conf_unref(&conf);
	return EX_OK;
}
