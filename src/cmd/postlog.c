/*
 * postlog.c - write a line into the mail log (postlog(1)).
 *
 *	postlog [-iv] [-c DIR] [-p PRIORITY] [-t TAG] [TEXT...]
 *
 * Without TEXT each line of standard input is one. -i has no effect: the process id is always there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "service/service_log.h"

#define DEFAULT_DIR "/etc/rowpost"

static const struct {
	const char *name;
	enum log_level level;
} priorities[] = {
    {"info", LOG_LEVEL_INFO},
    {"warn", LOG_LEVEL_WARN},
    {"warning", LOG_LEVEL_WARN},
    {"error", LOG_LEVEL_ERROR},
    {"err", LOG_LEVEL_ERROR},
    {"fatal", LOG_LEVEL_FATAL},
    {"crit", LOG_LEVEL_FATAL},
    {"panic", LOG_LEVEL_PANIC},
};

struct request {
	const char *dir;
	const char *tag;
	enum log_level level;
	int verbose;
};

static void
parse_priority(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(priorities); i++) {
		if (strcmp(priorities[i].name, name) == 0) {
			*ret = priorities[i].level;
			return;
		}
	}
	log_fatal(1, "invalid severity: %s", name);
}

static void
parse(int argc, char **argv, struct request *r)
{
	int option;

	while ((option = getopt(argc, argv, "+c:ip:t:v")) != -1) {
		switch (option) {
		case 'c':
			r->dir = optarg;
			break;
		case 'i':
			break;
		case 'p':
			parse_priority(optarg, &r->level);
			break;
		case 't':
			r->tag = optarg;
			break;
		case 'v':
			r->verbose++;
			break;
		default:
			log_fatal(
			    1, "usage: postlog [-iv] [-c DIR] [-p PRIORITY] [-t TAG] [TEXT...]");
		}
	}
}

static void
log_words(const struct request *r, int count, char **words)
{
	struct buf text CLEANUP(buf_done) = {0};

	for (int i = 0; i < count; i++)
		buf_printf(&text, "%s%s", i > 0 ? " " : "", words[i]);
	log_line(r->level, "%s", buf_str(&text));
}

static void
log_input(const struct request *r)
{
	char line[4096];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		log_line(r->level, "%s", line);
	}
}

int
main(int argc, char **argv)
{
	struct request r = {.dir = getenv("MAIL_CONFIG"), .level = LOG_LEVEL_INFO};
	struct conf_source source = {.program = "postlog"};
	struct service_log log = {.program = "postlog", .also_stderr = isatty(STDERR_FILENO)};
	struct conf *conf;
	struct err err;

	parse(argc, argv, &r);
	source.dir = r.dir != NULL ? r.dir : DEFAULT_DIR;
	if (!conf_load(&source, &conf, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	log.tag = r.tag != NULL ? r.tag : getenv("MAIL_LOGTAG");
	log.verbose = r.verbose;
	if (!service_log_setup(conf, &log, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	if (optind < argc)
		log_words(&r, argc - optind, argv + optind);
	else
		log_input(&r);
	log_flush();
	conf_unref(&conf);
	return EX_OK;
}
