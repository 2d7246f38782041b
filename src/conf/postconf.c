/*
 * postconf.c - options and dispatch of postconf(1): see postconf.h.
 */
#include "conf/postconf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/postconf_int.h"

#define OPTIONS "+aAbc:C:deEfFhHlmMno:pPtT:vxX#"
#define USAGE                                                                                        \
	"usage: postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] " \
	"[-c config_dir] [-C param_class] [-d (parameter defaults)] [-e (edit configuration)] "      \
	"[-f (fold lines)] [-F (master.cf fields)] [-h (no names)] [-H (no values)] "                \
	"[-l (lock types)] [-m (map types)] [-M (master.cf)] [-n (non-default parameters)] "         \
	"[-o name=value (override parameter value)] [-p (main.cf, default)] "                        \
	"[-P (master.cf parameters)] [-t (bounce templates)] "                                       \
	"[-T compile-version|run-version|public-key-algorithms] [-v (verbose)] "                     \
	"[-x (expand parameter values)] [-X (exclude)] [-# (comment-out)] [name...]"

/* What the command line asks for, beside what is in struct postconf. */
struct command {
	char seen[sizeof(OPTIONS)]; /* option letters given, each once */
	const char *tls_mode;       /* -T */
	const char **overrides;     /* owned; -o */
	size_t override_count;
};

static bool
is_given(const struct command *cmd, char option)
{
	return strchr(cmd->seen, option) != NULL;
}

/* The options of `letters` that are given, as " -a -b"; their number. Both lists go by the alphabet, small letters first. */
static size_t
given_of(const struct command *cmd, const char *letters, struct buf *ret)
{
	size_t count = 0;

	for (; *letters != '\0'; letters++) {
		if (!is_given(cmd, *letters))
			continue;
		buf_printf(ret, " -%c", *letters);
		count++;
	}
	return count;
}

/* Sets of options of which one may be given. */
static void
check_exclusive(const struct command *cmd)
{
	static const char *const sets[] = {
	    "aAbFlmMpPtT", "denX#", "hH", "efX#", "ehX#", "eHX#", "exX#"};

	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		struct buf given CLEANUP(buf_done) = {0};

		if (given_of(cmd, sets[i], &given) > 1)
			log_fatal(1, "specify one of%s", buf_str(&given));
	}
}

static void
check_together(const struct command *cmd)
{
	static const struct {
		const char *views;
		const char *without;
	} rules[] = {{"M", "dhHn"}, {"F", "dnX#"}, {"P", "dn#"}, {"aAblmtT", "defhHnoxX#"}};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		struct buf given CLEANUP(buf_done) = {0};
		const char *view = rules[i].views;

		while (*view != '\0' && !is_given(cmd, *view))
			view++;
		if (*view != '\0' && given_of(cmd, rules[i].without, &given) > 0)
			log_fatal(1, "with option -%c, do not specify%s", *view, buf_str(&given));
	}
}

static unsigned
parse_classes(const char *text)
{
	static const struct {
		const char *name;
		unsigned bits;
	} classes[] = {{"builtin", POSTCONF_CLASS_BUILTIN}, {"service", POSTCONF_CLASS_SERVICE},
	    {"user", POSTCONF_CLASS_USER},
	    {"all", POSTCONF_CLASS_BUILTIN | POSTCONF_CLASS_SERVICE | POSTCONF_CLASS_USER}};
	struct span rest = span_str(text), word;
	unsigned bits = 0;

	while (span_word(&rest, ", \t", &word)) {
		size_t i = 0;

		while (i < ARRAY_LEN(classes) && !span_equal_nocase_str(word, classes[i].name))
			i++;
		if (i == ARRAY_LEN(classes))
			log_fatal(
			    1, "unknown -C option value \"%.*s\" in \"%s\"", SPAN_ARG(word), text);
		bits |= classes[i].bits;
	}
	return bits;
}

static void
take_option(struct postconf *pc, struct command *cmd, int option)
{
	if (option == '?')
		log_fatal(1, "%s", USAGE);
	if (!is_given(cmd, (char)option))
		cmd->seen[strlen(cmd->seen)] = (char)option;
	switch (option) {
	case 'c':
		pc->dir = optarg;
		pc->dir_is_given = true;
		break;
	case 'C':
		pc->classes = parse_classes(optarg);
		break;
	case 'o':
		cmd->overrides =
		    mem_resize(cmd->overrides, cmd->override_count + 1, sizeof(*cmd->overrides));
		cmd->overrides[cmd->override_count++] = optarg;
		break;
	case 'T':
		cmd->tls_mode = optarg;
		break;
	default:
		break;
	}
}

/* "postconf name=value" means -e; `arg` is the first one behind the options, NULL: there is none. */
static void
imply_edit(struct command *cmd, const char *arg)
{
	struct buf others CLEANUP(buf_done) = {0};

	if (arg != NULL && strchr(arg, '=') != NULL && !is_given(cmd, 'e') &&
	    given_of(cmd, "aAblmtT", &others) == 0)
		cmd->seen[strlen(cmd->seen)] = 'e';
}

static void
parse_options(int argc, char **argv, struct postconf *pc, struct command *cmd)
{
	const char *environment = getenv("MAIL_CONFIG");
	int option;

	pc->classes = POSTCONF_CLASS_BUILTIN | POSTCONF_CLASS_SERVICE | POSTCONF_CLASS_USER;
	pc->dir = environment != NULL ? environment : conf_param_info(CONF_config_directory)->def;
	pc->dir_is_given = environment != NULL;
	while ((option = getopt(argc, argv, OPTIONS)) != -1)
		take_option(pc, cmd, option);
	imply_edit(cmd, argv[optind]);
	check_exclusive(cmd);
	check_together(cmd);
	pc->defaults = is_given(cmd, 'd');
	pc->only_set = is_given(cmd, 'n');
	pc->expand = is_given(cmd, 'x');
	pc->fold = is_given(cmd, 'f');
	pc->hide_names = is_given(cmd, 'h');
	pc->hide_values = is_given(cmd, 'H');
	pc->view = is_given(cmd, 'M')   ? POSTCONF_MASTER
		   : is_given(cmd, 'F') ? POSTCONF_FIELDS
		   : is_given(cmd, 'P') ? POSTCONF_PARAMS
					: POSTCONF_MAIN;
	pc->action = is_given(cmd, 'e')   ? POSTCONF_SET
		     : is_given(cmd, 'X') ? POSTCONF_EXCLUDE
		     : is_given(cmd, '#') ? POSTCONF_COMMENT
					  : POSTCONF_SHOW;
	pc->args = argv + optind;
	pc->arg_count = (size_t)(argc - optind);
	if (pc->action != POSTCONF_SHOW && pc->arg_count == 0)
		log_fatal(1, pc->action == POSTCONF_SET ? "-e requires name=value argument"
							: "missing service argument");
}

static void
show_list(struct postconf *pc, const char *list)
{
	buf_add_str(&pc->out, list != NULL ? list : "");
}

static void
show_templates(struct postconf *pc, bool expand, const struct postconf_lists *lists)
{
	struct conf_source source = {.dir = pc->dir, .program = "postconf"};
	struct conf *c CLEANUP(conf_unref) = NULL;
	struct err err;

	if (lists->templates == NULL)
		return;
	if (!conf_load(&source, &c, &err) ||
	    !lists->templates(c, pc->arg_count > 0 ? pc->args[0] : NULL, expand, &pc->out, &err))
		log_fatal(1, "%s", err.text);
}

static void
show_tls(struct postconf *pc, const char *mode, const struct postconf_lists *lists)
{
	const char *text = lists->tls != NULL ? lists->tls(mode) : NULL;

	if (text == NULL) {
		log_warn("unknown 'postconf -T' mode: %s", mode);
		pc->failed = true;
		return;
	}
	buf_add_str(&pc->out, text);
}

/* The options that show something other rooms know. */
static bool
show_other(struct postconf *pc, const struct command *cmd, const struct postconf_lists *lists)
{
	if (is_given(cmd, 'a'))
		show_list(pc, lists->server_sasl_types);
	else if (is_given(cmd, 'A'))
		show_list(pc, lists->client_sasl_types);
	else if (is_given(cmd, 'l'))
		show_list(pc, lists->lock_types);
	else if (is_given(cmd, 'm'))
		show_list(pc, lists->map_types);
	else if (is_given(cmd, 'b') || is_given(cmd, 't'))
		show_templates(pc, is_given(cmd, 'b'), lists);
	else if (is_given(cmd, 'T'))
		show_tls(pc, cmd->tls_mode, lists);
	else
		return false;
	return true;
}

static void
warn_lines(const char *lines)
{
	struct span rest = span_str(lines), line;

	while (span_word(&rest, "\n", &line))
		log_warn("%.*s", SPAN_ARG(line));
}

static void
read_main(struct postconf *pc, const struct command *cmd)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s/main.cf", pc->dir);
	struct err err;

	if (!pc->defaults && !main_cf_load(file, &pc->main_cf, &err))
		log_fatal(1, "%s", err.text);
	warn_lines(pc->main_cf.warnings);
	for (size_t i = 0; i < cmd->override_count; i++) {
		const char *text = cmd->overrides[i];

		if (!main_cf_assign(&pc->main_cf, span_str(text), &err))
			log_fatal(1, "invalid parameter override: %s: %s", text, err.text);
	}
}

static void
read_master(struct postconf *pc)
{
	struct buf text CLEANUP(buf_done) = {0};
	char *file CLEANUP(mem_free_str) = mem_printf("%s/master.cf", pc->dir);
	struct err err;

	if (main_cf_read(file, &text, &err) &&
	    master_cf_parse_all(buf_span(&text), file, &pc->master_cf, &err)) {
		warn_lines(pc->master_cf.warnings);
		return;
	}
	/* The parameters of main.cf can be shown where there is no master.cf at all. */
	if (pc->view != POSTCONF_MAIN || access(file, F_OK) == 0)
		log_fatal(1, "%s", postconf_master_problem(&err));
	log_warn("%s", err.text);
}

static void
show(struct postconf *pc, const struct command *cmd)
{
	read_main(pc, cmd);
	read_master(pc);
	conf_usage_find(&pc->main_cf, &pc->master_cf, &pc->usage);
	if (pc->view == POSTCONF_MAIN)
		postconf_show_main(pc);
	else
		postconf_show_master(pc);
}

static void
done(struct postconf *pc, struct command *cmd)
{
	conf_usage_done(&pc->usage);
	main_cf_done(&pc->main_cf);
	master_cf_done(&pc->master_cf);
	conf_unref(&pc->host);
	buf_done(&pc->out);
	mem_free(cmd->overrides);
}

int
postconf_main(int argc, char **argv, const struct postconf_lists *lists)
{
	struct postconf pc = {0};
	struct command cmd = {0};

	parse_options(argc, argv, &pc, &cmd);
	if (pc.action != POSTCONF_SHOW)
		postconf_edit(&pc);
	else if (!show_other(&pc, &cmd, lists))
		show(&pc, &cmd);
	if (fwrite(buf_str(&pc.out), 1, pc.out.len, stdout) != pc.out.len || fflush(stdout) != 0)
		log_fatal(1, "write error: %s", strerror(errno));
	if (!pc.defaults)
		postconf_warn_unused(&pc);
	done(&pc, &cmd);
	return pc.failed ? 1 : 0;
}
