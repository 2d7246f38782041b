/*
 * sendmail.c - see sendmail.h: the options, and what is done by other programs.
 */
#include "pickup/sendmail.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "pickup/pickup_int.h"
#include "pickup/submit_conf.h"
#include "queue/queue_types.h"

#define OPTIONS   "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx"
#define WORDS_MAX 64

/* Like Postfix, this program exits with EX_TEMPFAIL whatever is wrong: a caller that keeps the message may try again. */
#define FATAL(...) log_fatal(EX_TEMPFAIL, __VA_ARGS__)

enum mode {
	MODE_ENQUEUE,
	MODE_LIST,
	MODE_FLUSH,
	MODE_DAEMON,
	MODE_ALIASES,
	MODE_SMTP,
	MODE_IGNORE,
};

struct sendmail {
	enum mode mode;
	const char *dir;
	const char *aliases; /* -oA; NULL: alias_database */
	const char *site;    /* -qR */
	const char *id;      /* -qI */
	bool verify;         /* -bv */
	struct sendmail_request request;
};

/* ---- options ---------------------------------------------------------------------------------------------------- */

static enum mode
mode_by_name(const char *program)
{
	const char *slash = strrchr(program, '/');
	const char *name = slash != NULL ? slash + 1 : program;

	if (strcmp(name, "mailq") == 0)
		return MODE_LIST;
	if (strcmp(name, "newaliases") == 0)
		return MODE_ALIASES;
	return strcmp(name, "smtpd") == 0 ? MODE_DAEMON : MODE_ENQUEUE;
}

/* "success,failure", "never": RFC 3461 section 4.1; 0 for what is neither. */
static unsigned
parse_notify(const char *text)
{
	static const struct {
		const char *name;
		unsigned bit;
	} words[] = {
	    {"never", QUEUE_NOTIFY_NEVER},
	    {"success", QUEUE_NOTIFY_SUCCESS},
	    {"failure", QUEUE_NOTIFY_FAILURE},
	    {"delay", QUEUE_NOTIFY_DELAY},
	};
	struct span rest = span_str(text);
	struct span word;
	unsigned mask = 0;

	while (span_word(&rest, ", \t\r\n", &word)) {
		unsigned bit = 0;

		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (span_equal_nocase_str(word, words[i].name))
				bit = words[i].bit;
		if (bit == 0) {
			log_warn("unknown DSN NOTIFY command value \"%.*s\" in \"%s\"",
			    SPAN_ARG(word), text);
			return 0;
		}
		mask |= bit;
	}
	return (mask & QUEUE_NOTIFY_NEVER) != 0 && mask != QUEUE_NOTIFY_NEVER ? 0 : mask;
}

static const char *
parse_ret(const char *text)
{
	if (span_equal_nocase_str(span_str(text), "full"))
		return "FULL";
	return span_equal_nocase_str(span_str(text), "hdrs") ? "HDRS" : NULL;
}

static const char *
parse_body(const char *text)
{
	if (strcmp(text, "8BITMIME") == 0)
		return "8BITMIME";
	if (strcmp(text, "7BIT") != 0)
		FATAL("-B option needs 8BITMIME or 7BIT");
	return "7BIT";
}

static const char *
parse_envid(const char *text)
{
	if (strlen(text) > 100) {
		log_warn("too long -V option value -- ignored");
		return NULL;
	}
	for (const char *p = text; *p != '\0'; p++) {
		if (!isascii((unsigned char)*p) || !isprint((unsigned char)*p)) {
			log_warn("bad syntax in -V option value -- ignored");
			return NULL;
		}
	}
	return text;
}

static const char *
parse_verp(const struct conf *conf, const char *text)
{
	const char *filter = conf_str(conf, CONF_verp_delimiter_filter);

	if (text[0] == '\0')
		return conf_str(conf, CONF_default_verp_delimiters);
	if (strlen(text) != 2 || strchr(filter, text[0]) == NULL || strchr(filter, text[1]) == NULL)
		FATAL("-V requires two characters from %s", filter);
	return text;
}

static void
parse_mode(struct sendmail *s, const char *text)
{
	switch (*text) {
	case 'd':
	case 'l':
		if (s->mode == MODE_FLUSH)
			log_warn("ignoring -q option in daemon mode");
		s->mode = MODE_DAEMON;
		break;
	case 'h':
	case 'H':
		s->mode = MODE_IGNORE;
		break;
	case 'i':
		s->mode = MODE_ALIASES;
		break;
	case 'm':
		s->mode = MODE_ENQUEUE;
		break;
	case 'p':
		s->mode = MODE_LIST;
		break;
	case 's':
		s->mode = MODE_SMTP;
		break;
	case 'v':
		s->verify = true;
		break;
	default:
		FATAL("unsupported: -b%c", *text);
	}
}

/* -oX: all but these mean nothing here. */
static void
parse_old(struct sendmail *s, const char *text)
{
	if (*text == 'i') {
		s->request.dot_ends = false;
	} else if (*text == 'A') {
		if (text[1] == '\0')
			FATAL("-oA requires pathname");
		s->aliases = text + 1;
	}
}

static void
parse_queue(struct sendmail *s, const char *text)
{
	if (isdigit((unsigned char)text[0])) {
		/* There is no queue run to set the pace of: the daemon has its own. */
		if (s->mode != MODE_DAEMON)
			s->mode = MODE_IGNORE;
	} else if (text[0] == 'R') {
		s->site = text + 1;
		if (*s->site == '\0')
			FATAL("specify: -qRsitename");
	} else if (text[0] == 'I') {
		s->id = text + 1;
		if (*s->id == '\0')
			FATAL("specify: -qIqueueid");
	} else {
		FATAL("-q%c is not implemented", text[0]);
	}
}

static void
parse_option(struct sendmail *s, int option)
{
	struct sendmail_request *r = &s->request;

	switch (option) {
	case 'n':
		FATAL("-%c option not supported", option);
	case 'B':
		r->body = parse_body(optarg);
		break;
	case 'F':
		r->full_name = optarg;
		break;
	case 'G':
		r->gateway = true;
		break;
	case 'I':
		s->mode = MODE_ALIASES;
		break;
	case 'N':
		r->notify = parse_notify(optarg);
		if (r->notify == 0)
			log_warn("bad -N option value -- ignored");
		break;
	case 'R':
		r->ret = parse_ret(optarg);
		if (r->ret == NULL)
			log_warn("bad -R option value -- ignored");
		break;
	case 'V':
		r->envid = parse_envid(optarg);
		break;
	case 'X':
		if (*optarg != 'V')
			FATAL("unsupported: -X%c", *optarg);
		r->verp = parse_verp(r->conf, optarg + 1);
		break;
	case 'b':
		parse_mode(s, optarg);
		break;
	case 'f':
	case 'r':
		r->sender = optarg;
		break;
	case 'i':
		r->dot_ends = false;
		break;
	case 'o':
		parse_old(s, optarg);
		break;
	case 'q':
		parse_queue(s, optarg);
		break;
	case 't':
		r->extract = true;
		break;
	case 'v':
		r->verbose++;
		break;
	case '?':
		FATAL("usage: sendmail [options]");
	default:
		break;
	}
}

/* Words that getopt(3) would misread: "-q" and "-XV" alone, and the -V of old for VERP. True if it was one. */
static bool
parse_special(struct sendmail *s, char **word)
{
	if (strcmp(*word, "-q") == 0) {
		if (s->mode == MODE_DAEMON)
			log_warn("ignoring -q option in daemon mode");
		else
			s->mode = MODE_FLUSH;
		optind++;
		return true;
	}
	if (strcmp(*word, "-V") == 0 && word[1] != NULL && strlen(word[1]) == 2) {
		log_warn("option -V is deprecated with Postfix 2.3; specify -XV instead");
		*word = mem_strdup("-XV");
	}
	if (strncmp(*word, "-V", 2) == 0 && strlen(*word) == 4) {
		log_warn("option %s is deprecated with Postfix 2.3; specify -X%s instead", *word,
		    *word + 1);
		*word = mem_printf("-X%s", *word + 1);
	}
	if (strcmp(*word, "-XV") != 0)
		return false;
	s->request.verp = conf_str(s->request.conf, CONF_default_verp_delimiters);
	optind++;
	return true;
}

/* The configuration directory must be known before anything is judged. */
static const char *
find_dir(int argc, char **argv, int *ret_verbose)
{
	const char *dir = NULL;
	int option;

	opterr = 0;
	while (optind < argc) {
		if (strcmp(argv[optind], "-q") == 0) {
			optind++;
			continue;
		}
		option = getopt(argc, argv, "+" OPTIONS);
		if (option < 0)
			break;
		if (option == 'C')
			dir = optarg;
		*ret_verbose += option == 'v';
	}
	optind = 1;
	opterr = 1;
	if (dir != NULL && strlen(dir) > 8 && strcmp(dir + strlen(dir) - 8, "/main.cf") == 0)
		return mem_printf("%.*s", (int)(strlen(dir) - 8), dir);
	return dir;
}

static void
parse(struct sendmail *s, int argc, char **argv)
{
	int option;

	while (optind < argc) {
		if (parse_special(s, &argv[optind]))
			continue;
		option = getopt(argc, argv, "+" OPTIONS);
		if (option < 0)
			break;
		parse_option(s, option);
	}
	s->request.rcpts = argv + optind;
}

static void
check(struct sendmail *s)
{
	if (s->request.extract && s->mode != MODE_ENQUEUE)
		FATAL("-t can be used only in delivery mode");
	if (s->site != NULL && s->mode != MODE_ENQUEUE)
		FATAL("-qR can be used only in delivery mode");
	if (s->id != NULL && s->mode != MODE_ENQUEUE)
		FATAL("-qI can be used only in delivery mode");
	/* Twice is for debugging only. */
	if (s->request.verbose == 1 && s->mode == MODE_ENQUEUE)
		s->request.purpose = "record";
	if (!s->verify)
		return;
	if (s->request.extract)
		FATAL("-t option cannot be used with -bv");
	if (s->request.notify != 0)
		FATAL("-N option cannot be used with -bv");
	if (s->request.ret != NULL)
		FATAL("-R option cannot be used with -bv");
	if (s->request.verbose == 1)
		FATAL("-v option cannot be used with -bv");
	s->request.purpose = "verify";
}

/* ---- what others do ----------------------------------------------------------------------------------------------- */

/* Becomes `program` with our configuration, these words and those of `list` (separated by comma or white space). */
NO_RETURN static void
become(struct sendmail *s, const char *program, const char *const words[], const char *list)
{
	struct buf path CLEANUP(buf_done) = {0};
	const char *argv[WORDS_MAX + 1] = {NULL, "-c", conf_dir(s->request.conf)};
	struct span rest = span_str(list);
	struct span word;
	size_t n = 3;
	struct err err;

	if (!submit_conf_program(program, &path, &err))
		FATAL("%s", err.text);
	argv[0] = buf_str(&path);
	for (size_t i = 0; words[i] != NULL && n < WORDS_MAX; i++)
		argv[n++] = words[i];
	while (n < WORDS_MAX && span_word(&rest, ", \t\r\n", &word))
		argv[n++] = span_dup(word);
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	FATAL("execute %s: %s", argv[0], strerror(errno));
}

static void
require_no_rcpt(const struct sendmail *s, const char *what)
{
	if (s->request.rcpts[0] != NULL)
		FATAL("%s requires no recipient", what);
}

static void
enqueue(struct sendmail *s)
{
	if (s->site != NULL) {
		require_no_rcpt(s, "flush site");
		become(s, "postqueue", (const char *const[]){"-s", s->site, NULL}, NULL);
	}
	if (s->id != NULL) {
		require_no_rcpt(s, "flush queue_id");
		become(s, "postqueue", (const char *const[]){"-i", s->id, NULL}, NULL);
	}
	sendmail_enqueue(&s->request);
}

static void
make_aliases(struct sendmail *s)
{
	const char *aliases =
	    s->aliases != NULL ? s->aliases : conf_str(s->request.conf, CONF_alias_database);

	require_no_rcpt(s, "alias initialization mode");
	if (aliases[strspn(aliases, ", \t\r\n")] != '\0')
		become(s, "postalias", (const char *const[]){NULL}, aliases);
}

static void
run(struct sendmail *s)
{
	switch (s->mode) {
	case MODE_ENQUEUE:
		return enqueue(s);
	case MODE_LIST:
		require_no_rcpt(s, "display queue mode");
		become(s, "postqueue", (const char *const[]){"-p", NULL}, NULL);
	case MODE_FLUSH:
		require_no_rcpt(s, "flush queue mode");
		become(s, "postqueue", (const char *const[]){"-f", NULL}, NULL);
	case MODE_DAEMON:
		require_no_rcpt(s, "daemon mode");
		become(s, "rowpost", (const char *const[]){"start", NULL}, NULL);
	case MODE_ALIASES:
		return make_aliases(s);
	case MODE_SMTP:
		require_no_rcpt(s, "stand-alone mode");
		become(s, "smtpd", (const char *const[]){"-S", NULL}, NULL);
	case MODE_IGNORE:
		break;
	}
}

int
sendmail_main(int argc, char **argv)
{
	struct sendmail s = {.mode = mode_by_name(argv[0]), .request.dot_ends = true};
	struct conf *conf;
	int verbose = 0;

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(EX_OSERR);
	(void)signal(SIGPIPE, SIG_IGN);
	log_setup(&(struct log_settings){.tag = "sendmail", .fd = -1, .also_stderr = true});
	s.dir = find_dir(argc, argv, &verbose);
	conf = submit_conf_start("sendmail", s.dir, MAX(verbose - 1, 0), EX_TEMPFAIL);
	s.request.conf = conf;
	parse(&s, argc, argv);
	check(&s);
	run(&s);
	conf_unref(&conf);
	return EX_OK;
}
