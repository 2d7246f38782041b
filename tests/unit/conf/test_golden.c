/*
 * test_golden.c - the pairs of tests/golden/conf: each line or block of x.in is put through the code, and the result
 * must be x.ref. GOLDEN_UPDATE=1 in the environment writes the .ref files anew, for a person to read and commit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "conf/main_cf.h"
#include "conf/master_cf.h"

static void
read_golden(const char *name, const char *suffix, struct buf *ret)
{
	char *file CLEANUP(mem_free_str) = mem_printf("tests/golden/conf/%s.%s", name, suffix);
	struct err err;

	if (!main_cf_read(file, ret, &err))
		fail_msg("%s", err.text);
}

static void
compare(const char *name, const struct buf *out)
{
	struct buf ref CLEANUP(buf_done) = {0};

	if (getenv("GOLDEN_UPDATE") != NULL) {
		char *file CLEANUP(mem_free_str) = mem_printf("tests/golden/conf/%s.ref", name);
		FILE *f = fopen(file, "w");

		assert_non_null(f);
		(void)fputs(buf_str(out), f);
		(void)fclose(f);
	}
	read_golden(name, "ref", &ref);
	assert_string_equal(buf_str(out), buf_str(&ref));
}

static bool
next_line(struct span *rest, struct span *ret_line)
{
	if (rest->len == 0)
		return false;
	size_t n = span_find(*rest, '\n');
	*ret_line = span_head(*rest, n);
	*rest = span_from(*rest, n + 1);
	return true;
}

/* Text up to a line "--", without it. */
static bool
next_block(struct span *rest, struct span *ret_block)
{
	struct span start = *rest, line;

	if (rest->len == 0)
		return false;
	while (next_line(rest, &line)) {
		*ret_block = span_head(start, (size_t)(line.ptr - start.ptr));
		if (span_equal_str(line, "--"))
			return true;
	}
	*ret_block = start;
	return true;
}

static void
macro_pairs(void **state UNUSED)
{
	struct buf in CLEANUP(buf_done) = {0};
	struct buf out CLEANUP(buf_done) = {0};
	struct span block, line;
	struct main_cf main_cf CLEANUP(main_cf_done) = {0};
	struct err err;

	read_golden("macro", "in", &in);
	struct span rest = buf_span(&in);
	assert_true(next_block(&rest, &block));
	char *settings CLEANUP(mem_free_str) = span_dup(block);
	struct conf *c CLEANUP(conf_unref) = conf_from_text(settings);
	while (next_line(&rest, &line)) {
		struct buf value CLEANUP(buf_done) = {0};

		if (conf_expand(c, line, NULL, &value, &err))
			buf_printf(&out, "%.*s => [%s]\n", SPAN_ARG(line), buf_str(&value));
		else
			buf_printf(&out, "%.*s => error: %s\n", SPAN_ARG(line), err.text);
	}
	compare("macro", &out);
}

static void
show_main(const struct main_cf *m, struct buf *out)
{
	for (size_t i = 0; i < m->count; i++)
		buf_printf(out, "%d-%d %s = [%s]\n", m->entries[i].line, m->entries[i].last_line,
		    m->entries[i].name, m->entries[i].value);
	buf_add_str(out, m->warnings != NULL ? m->warnings : "");
}

static void
main_cf_pairs(void **state UNUSED)
{
	struct buf in CLEANUP(buf_done) = {0};
	struct buf out CLEANUP(buf_done) = {0};
	struct span block;
	struct err err;

	read_golden("main_cf", "in", &in);
	struct span rest = buf_span(&in);
	while (next_block(&rest, &block)) {
		struct main_cf m CLEANUP(main_cf_done) = {0};

		buf_printf(&out, "%.*s==>\n", SPAN_ARG(block));
		if (main_cf_parse(block, "main.cf", &m, &err))
			show_main(&m, &out);
		else
			buf_printf(&out, "error: %s\n", err.text);
		buf_add_str(&out, "--\n");
	}
	compare("main_cf", &out);
}

static void
show_service(const struct master_service *s, struct buf *out)
{
	static const char *const types[] = {"inet", "unix", "unix-dgram", "fifo", "pass"};

	buf_printf(out,
	    "%d-%d %s/%s private=%d unpriv=%d chroot=%d wakeup=%d%s maxproc=%d verbose=%d %s\n",
	    s->line, s->last_line, s->fields[MASTER_CF_FIELD_NAME], types[s->type], s->is_private,
	    s->unpriv, s->chroot, s->wakeup, s->wakeup_if_used ? "?" : "", s->maxproc, s->verbose,
	    master_cf_command(s));
	for (size_t i = 0; i < s->override_count; i++)
		buf_printf(out, "    -o %s = [%s]\n", s->overrides[i].name, s->overrides[i].value);
	for (size_t i = 0; i < s->arg_count; i++) {
		char *seen CLEANUP(mem_free_str) = master_cf_argument(s->args[i]);

		if (i >= s->option_count)
			buf_printf(out, "    [%s] [%s]\n", s->args[i], seen);
	}
}

static void
master_cf_pairs(void **state UNUSED)
{
	struct buf in CLEANUP(buf_done) = {0};
	struct buf out CLEANUP(buf_done) = {0};
	struct span block;
	struct err err;

	read_golden("master_cf", "in", &in);
	struct span rest = buf_span(&in);
	while (next_block(&rest, &block)) {
		struct master_cf m CLEANUP(master_cf_done) = {0};

		buf_printf(&out, "%.*s==>\n", SPAN_ARG(block));
		if (master_cf_parse(block, "master.cf", &m, &err)) {
			for (size_t i = 0; i < m.count; i++)
				show_service(&m.services[i], &out);
			buf_add_str(&out, m.warnings != NULL ? m.warnings : "");
		} else {
			buf_printf(&out, "error: %s\n", err.text);
		}
		buf_add_str(&out, "--\n");
	}
	compare("master_cf", &out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(macro_pairs),
	    cmocka_unit_test(main_cf_pairs),
	    cmocka_unit_test(master_cf_pairs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
