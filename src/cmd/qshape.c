/*
 * qshape.c - distribution of the queue over domains and ages (qshape(1)).
 *
 *	qshape [-s] [-p] [-m N] [-b N] [-t MINUTES] [-l] [-w COLUMNS] [-N N] [-n N] [-c DIR] [QUEUE...]
 *
 * Queues are named as Postfix's directories are, with or without their path.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "operator/operator_order.h"
#include "operator/operator_shape.h"

#define USAGE_STATUS 255

NO_RETURN static void
usage(void)
{
	(void)fprintf(stderr,
	    "Usage: qshape [ -s ] [ -p ] [ -m <min_subdomains> ] [ -l ]\n"
	    "\t[ -b <bucket_count> ] [ -t <bucket_time> ] [ -w <terminal_width> ]\n"
	    "\t[ -N <batch_msg_count> ] [ -n <batch_top_domains> ]\n"
	    "\t[ -c <config_directory> ] [ <queue_name> ... ]\n"
	    "-s: count domains of senders. -p: sums for parent domains too, those with at least\n"
	    "<min_subdomains> (5) below them. <bucket_count> (10) columns of ages; the first is\n"
	    "<bucket_time> (5) minutes long, each further one as long as all before it, or with\n"
	    "-l as long as the first. Queues: incoming and active, if none is named.\n");
	exit(USAGE_STATUS);
}

/* A number above 0; anything else leaves what was there. */
static void
number(const char *text, unsigned long most, size_t *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end == '\0' && n > 0 && text[0] != '-')
		*ret = MIN(n, most);
}

static void
parse(int argc, char **argv, struct operator_program *p, struct operator_shape_settings *s)
{
	size_t tick = 5;
	int option;

	while ((option = getopt(argc, argv, "+lhc:psw:b:t:m:n:N:")) != -1) {
		switch (option) {
		case 'l':
			s->linear = true;
			break;
		case 'p':
			s->parents = true;
			break;
		case 's':
			s->senders = true;
			break;
		case 'c':
			p->conf_dir = optarg;
			break;
		case 'w':
			number(optarg, 10000, &s->width);
			break;
		case 'b':
			number(optarg, OPERATOR_SHAPE_BUCKETS_MAX, &s->buckets);
			break;
		case 't':
			number(optarg, 1000000, &tick);
			break;
		case 'm':
			number(optarg, 1000000, &s->subs);
			break;
		case 'n':
			number(optarg, 1000000, &s->top);
			break;
		case 'N':
			number(optarg, 1000000000, &s->every);
			break;
		default:
			usage();
		}
	}
	s->tick = (int64_t)tick;
}

static void
add_queue(struct operator_order *o, const char *name)
{
	const char *slash = strrchr(name, '/');

	if (!operator_order_queue(o, slash != NULL ? slash + 1 : name))
		(void)fprintf(stderr, "Can't stat %s: No such file or directory\n", name);
}

int
main(int argc, char **argv)
{
	struct operator_program p = {.name = "qshape", .unlogged = true, .failure = EXIT_FAILURE};
	struct operator_shape_settings s = {
	    .subs = 5, .buckets = 10, .width = 80, .every = 1000, .top = 20};
	struct operator_order queues = {0};
	struct conf *conf;
	struct err err;

	operator_session_log(p.name);
	parse(argc, argv, &p, &s);
	if (!isatty(STDOUT_FILENO))
		s.every = s.top = 0;
	conf = operator_session_start(&p);
	if (optind == argc) {
		add_queue(&queues, "incoming");
		add_queue(&queues, "active");
	}
	for (int i = optind; i < argc; i++)
		add_queue(&queues, argv[i]);
	s.places = queues.places;
	s.files = queues.files;
	if (!operator_session_run(conf, operator_shape_print, &s, &err))
		log_fatal(EXIT_FAILURE, "%s", err.text);
	conf_unref(&conf);
	return EXIT_SUCCESS;
}
