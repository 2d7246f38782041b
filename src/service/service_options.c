/*
 * service_options.c - see service_options.h.
 */
#include "service/service_options.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define SLOTS_MAX    1000000
#define INSTANCE_MAX 10000

static bool
parse_size(const char *option, const char *text, uint64_t max, size_t *ret, struct err *err)
{
	uint64_t v;

	if (!span_number(span_str(text), max, &v))
		return err_set(err, ERR_CONFIG, "", "bad argument of -%s: %s", option, text);
	*ret = (size_t)v;
	return true;
}

/* "0/2" */
static bool
parse_instance(const char *text, struct service_options *o, struct err *err)
{
	struct span all = span_str(text);
	size_t slash = span_find(all, '/');
	uint64_t instance, instances;

	if (!span_number(span_head(all, slash), INSTANCE_MAX, &instance) ||
	    !span_number(span_from(all, slash + 1), INSTANCE_MAX, &instances) ||
	    instance >= instances)
		return err_set(err, ERR_CONFIG, "", "bad argument of -i: %s", text);
	o->instance = (size_t)instance;
	o->instances = (size_t)instances;
	return true;
}

/* "name=value"; the name is cut off in place, as getopt's argument is ours. */
static bool
parse_override(char *text, struct service_options *o, struct err *err)
{
	char *equals = strchr(text, '=');

	if (equals == NULL || equals == text)
		return err_set(err, ERR_CONFIG, "", "bad argument of -o: %s", text);
	*equals = '\0';
	o->overrides = mem_resize(o->overrides, o->override_count + 1, sizeof(o->overrides[0]));
	o->overrides[o->override_count].name = text;
	o->overrides[o->override_count++].value = equals + 1;
	return true;
}

static bool
parse_fd(const char *option, const char *text, int *ret, struct err *err)
{
	size_t fd;

	if (!parse_size(option, text, 65535, &fd, err))
		return false;
	*ret = (int)fd;
	return true;
}

static bool
parse_option(int option, char *arg, struct service_options *o, struct err *err)
{
	switch (option) {
	case 'c':
		o->conf_dir = arg;
		return true;
	case 'n':
		o->name = arg;
		return true;
	case 't':
		o->type = arg;
		return true;
	case 'i':
		return parse_instance(arg, o, err);
	case 's':
		return parse_size("s", arg, SLOTS_MAX, &o->slots, err);
	case 'L':
		return parse_size("L", arg, SERVICE_LISTEN_MAX, &o->listen_count, err);
	case 'C':
		return parse_fd("C", arg, &o->control_fd, err);
	case 'K':
		return parse_fd("K", arg, &o->lock_fd, err);
	case 'M':
		return parse_fd("M", arg, &o->shelf_fd, err);
	case 'o':
		return parse_override(arg, o, err);
	case 'v':
		o->verbose++;
		return true;
	default:
		return err_set(
		    err, ERR_CONFIG, "", "unknown option or missing argument: -%c", optopt);
	}
}

bool
service_options_parse(int argc, char **argv, struct service_options *ret, struct err *err)
{
	struct service_options o = {.name = "",
	    .type = "unix",
	    .instances = 1,
	    .slots = 1,
	    .control_fd = -1,
	    .lock_fd = -1,
	    .shelf_fd = -1};
	int option;

	optind = 1;
	opterr = 0;
	while ((option = getopt(argc, argv, "+:c:n:t:i:s:L:C:K:M:o:v")) != -1) {
		if (!parse_option(option, optarg, &o, err)) {
			service_options_done(&o);
			return false;
		}
	}
	if (o.conf_dir == NULL) {
		service_options_done(&o);
		return err_set(err, ERR_CONFIG, "", "no configuration directory: use -c");
	}
	o.args = argv + optind;
	o.arg_count = (size_t)(argc - optind);
	*ret = o;
	return true;
}

void
service_options_done(struct service_options *o)
{
	mem_free(o->overrides);
	*o = (struct service_options){0};
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

struct words {
	char **list;
	size_t count;
};

static void
add_word(struct words *w, char *word)
{
	w->list = mem_resize(w->list, w->count + 2, sizeof(w->list[0]));
	w->list[w->count++] = word;
	w->list[w->count] = NULL;
}

static void
add_option(struct words *w, const char *option, char *value)
{
	add_word(w, mem_strdup(option));
	add_word(w, value);
}

char **
service_options_argv(const char *program, const struct service_options *o)
{
	struct words w = {0};

	add_word(&w, mem_strdup(program));
	add_option(&w, "-c", mem_strdup(o->conf_dir));
	add_option(&w, "-n", mem_strdup(o->name));
	add_option(&w, "-t", mem_strdup(o->type));
	add_option(&w, "-i", mem_printf("%zu/%zu", o->instance, o->instances));
	add_option(&w, "-s", mem_printf("%zu", o->slots));
	add_option(&w, "-L", mem_printf("%zu", o->listen_count));
	if (o->control_fd >= 0)
		add_option(&w, "-C", mem_printf("%d", o->control_fd));
	if (o->lock_fd >= 0)
		add_option(&w, "-K", mem_printf("%d", o->lock_fd));
	if (o->shelf_fd >= 0)
		add_option(&w, "-M", mem_printf("%d", o->shelf_fd));
	for (int i = 0; i < o->verbose; i++)
		add_word(&w, mem_strdup("-v"));
	for (size_t i = 0; i < o->override_count; i++)
		add_option(
		    &w, "-o", mem_printf("%s=%s", o->overrides[i].name, o->overrides[i].value));
	if (o->arg_count > 0)
		add_word(&w, mem_strdup("--"));
	for (size_t i = 0; i < o->arg_count; i++)
		add_word(&w, mem_strdup(o->args[i]));
	return w.list;
}

void
service_options_free_argv(char ***argv)
{
	for (size_t i = 0; *argv != NULL && (*argv)[i] != NULL; i++)
		mem_free((*argv)[i]);
	mem_free(*argv);
	*argv = NULL;
}
