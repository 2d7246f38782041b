/*
 * postcat.c - show a message in the queue (postcat(1)).
 *
 *	postcat [-bdehoqrv] [-c DIR] -q ID... | FILE...
 *
 * Messages in the databases are named by -q; files are those of maildrop. -s (skip to an offset in the file) is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_cat.h"
#include "operator/operator_session.h"

struct request {
	struct operator_program program;
	struct operator_cat_form form;
	bool queue;
	char **ids;
};

NO_RETURN static void
usage(void)
{
	log_fatal(EXIT_FAILURE,
	    "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] "
	    "[-e (envelope records)] [-h (header text)] [-q (access queue)] [-v] [file(s)...]");
}

static bool *
flag(struct request *r, int option)
{
	switch (option) {
	case 'b':
		return &r->form.body;
	case 'd':
		return &r->form.types;
	case 'e':
		return &r->form.envelope;
	case 'h':
		return &r->form.header;
	case 'o':
		return &r->form.offsets;
	case 'q':
		return &r->queue;
	default:
		return NULL;
	}
}

static void
parse(int argc, char **argv, struct request *r)
{
	int option;

	while ((option = getopt(argc, argv, "+bc:dehoqrs:v")) != -1) {
		bool *on = flag(r, option);

		if (on != NULL)
			*on = true;
		else if (option == 'c')
			r->program.conf_dir = optarg;
		else if (option == 'v')
			r->form.names = true;
		else if (option == 's')
			log_fatal(EXIT_FAILURE, "option -s needs a queue file: there are none");
		else if (option != 'r')
			usage();
	}
	r->ids = argv + optind;
	if (!r->form.envelope && !r->form.header && !r->form.body)
		r->form.envelope = r->form.header = r->form.body = true;
}

static bool
cat_path(const struct operator_cat_form *form, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return err_set(err, ERR_GONE, "", "open %s: %s", path, strerror(errno));
	good = operator_cat_file(form, fd, path, err);
	(void)close(fd);
	return good;
}

static bool
work(struct operator_session *s, void *arg, struct err *err)
{
	const struct request *r = arg;

	for (char **id = r->ids; *id != NULL; id++) {
		if (!r->queue) {
			if (!cat_path(&r->form, *id, err))
				return false;
			continue;
		}
		if (!mail_queue_id_looks_valid(span_str(*id)))
			return err_set(err, ERR_PERM, "", "bad mail queue ID: %s", *id);
		if (!operator_cat_print(s, &r->form, span_str(*id), err))
			return err_prefix(err, "open queue file %s", *id);
	}
	return true;
}

int
main(int argc, char **argv)
{
	struct request r = {
	    .program = {.name = "postcat", .unlogged = true, .failure = EXIT_FAILURE}};
	struct conf *conf;
	struct err err;

	operator_session_log(r.program.name);
	parse(argc, argv, &r);
	conf = operator_session_start(&r.program);
	if (!operator_session_run(conf, work, &r, &err))
		log_fatal(EXIT_FAILURE, "%s", err.text);
	conf_unref(&conf);
	return EXIT_SUCCESS;
}
