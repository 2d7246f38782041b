/*
 * master_environ.c - see master_environ.h.
 */
#include "master/master_environ.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/mem.h"
#include "base/span.h"

#define SAFE_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Names of the build's own tools: crash points, sanitizers. A release build lets none of them through. */
static const char *const test_names[] = {
#ifdef CRASHPOINTS
    "ROWPOST_CRASH",
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(CRASHPOINTS)
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "LSAN_OPTIONS",
#endif
    NULL,
};

struct kept {
	char **list; /* owned, "NAME=VALUE" */
	size_t count;
};

static void
keep(struct kept *k, char *assignment)
{
	k->list = mem_resize(k->list, k->count + 1, sizeof(k->list[0]));
	k->list[k->count++] = assignment;
}

/* "NAME" keeps what is there, "NAME=VALUE" sets. */
static void
keep_item(struct kept *k, struct span item)
{
	char *name CLEANUP(mem_free_str) = span_dup(item);
	const char *value;

	if (strchr(name, '=') != NULL) {
		keep(k, mem_strdup(name));
		return;
	}
	value = getenv(name);
	if (value != NULL)
		keep(k, mem_printf("%s=%s", name, value));
}

void
master_environ_clean(const struct conf *c)
{
	struct span rest = span_str(conf_str(c, CONF_import_environment));
	struct kept k = {0};
	struct span item;

	keep(&k, mem_strdup("PATH=" SAFE_PATH));
	while (span_word(&rest, ", \t\r\n", &item))
		keep_item(&k, item);
	for (size_t i = 0; test_names[i] != NULL; i++)
		keep_item(&k, span_str(test_names[i]));
	(void)clearenv();
	for (size_t i = 0; i < k.count; i++) {
		char *equals = strchr(k.list[i], '=');

		*equals = '\0';
		(void)setenv(k.list[i], equals + 1, 1);
		mem_free(k.list[i]);
	}
	mem_free(k.list);
}
