/*
 * fuzz_conf.c - everything that parses text of a configuration: main.cf, master.cf, expressions, network lists, values.
 */
#include <stddef.h>
#include <stdint.h>

#include "conf/conf_net_list.h"
#include "conf/conf_param.h"
#include "conf/conf_value.h"
#include "conf/macro.h"
#include "conf/main_cf.h"
#include "conf/master_cf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Names of one letter refer to text that refers on: cycles and depth. */
static const char *
lookup(void *arg, struct span name)
{
	return name.len == 1 ? arg : NULL;
}

static void
ignore_name(void *arg, struct span name)
{
	(void)arg;
	(void)name;
}

static void
expand(struct span text)
{
	struct macro_source source = {.lookup = lookup,
	    .arg = (void *)(uintptr_t) "${b?{x}:{y}}$$",
	    .filter = "abc",
	    .recursive = text.len % 2 == 0};
	struct buf out = {.max = 65536};
	struct err err;

	(void)!macro_expand(text, &source, &out, &err);
	macro_names(text, ignore_name, NULL);
	buf_done(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of((const char *)data, size), item;
	struct main_cf main_cf = {0};
	struct master_cf master_cf = {0};
	struct conf_net_list *list = NULL;
	struct err err;
	int64_t us;

	/* Files with a NUL byte are refused before they are parsed. */
	if (size > 4096 || memchr(data, '\0', size) != NULL)
		return 0;
	expand(text);
	if (main_cf_parse(text, "main.cf", &main_cf, &err))
		main_cf_done(&main_cf);
	if (master_cf_parse(text, "master.cf", &master_cf, &err))
		master_cf_done(&master_cf);
	/* "/file" would make the fuzzer read this machine's files. */
	if (memchr(data, '/', size) == NULL && conf_net_list_parse(text, "mynetworks", &list, &err))
		conf_net_list_free(&list);
	while (conf_value_item(&text, &item))
		(void)!conf_value_time(item, 's', &us);
	return 0;
}
