/*
 * test_pipe_args.c - the words of a pipe line: attributes, and macros for one and several recipients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "mailbox/pipe_args.h"

static const struct pipe_args_rcpt one[] = {{"Us Er+Ext@Dom.Example", "Orig@Dom.Example"}};
static const struct pipe_args_rcpt two[] = {
    {"a+x@d.example", "a@d.example"}, {"b@d.example", "b@d.example"}};

static const char *
lookup(void *arg, struct span name)
{
	(void)arg;
	return span_equal_str(name, "nexthop") ? "Hop.Example" : NULL;
}

static struct pipe_args_source
source(const struct pipe_args_rcpt *rcpts, size_t count, const char *sender)
{
	return (struct pipe_args_source){
	    .sender = sender,
	    .delimiters = "+",
	    .rcpts = rcpts,
	    .rcpt_count = count,
	    .lookup = lookup,
	};
}

/* The words of "flags=... user=u argv=x WORD" after expansion, joined by '|'; NULL: refused. */
static char *
expanded(const char *flags, const char *word, const struct pipe_args_source *s)
{
	char *words[] = {(char *)(uintptr_t)flags, (char *)(uintptr_t) "user=u",
	    (char *)(uintptr_t) "argv=x", (char *)(uintptr_t)word};
	struct arena arena = {0};
	struct pipe_args args;
	struct buf out = {0};
	const char **argv;
	struct err err;
	bool ok;

	assert_true(pipe_args_parse(words, ARRAY_LEN(words), &arena, &args, &err));
	ok = pipe_args_expand(&args, s, &arena, &argv, &err);
	for (size_t i = 1; ok && argv[i] != NULL; i++)
		buf_printf(&out, "%s%s", i > 1 ? "|" : "", argv[i]);
	arena_done(&arena);
	if (ok)
		return buf_take(&out);
	assert_int_equal(err.kind, ERR_CONFIG);
	return NULL;
}

static void
check(const char *flags, const char *word, const struct pipe_args_source *s, const char *expected)
{
	char *got = expanded(flags, word, s);

	if (expected == NULL) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_string_equal(got, expected);
	mem_free(got);
}

static void
test_macros(void **state)
{
	const struct pipe_args_source s = source(one, 1, "S nd@c.example");

	(void)state;
	check("flags=", "$recipient ${user}/$(extension)", &s, "Us Er+Ext@Dom.Example Us Er/Ext");
	check("flags=", "${mailbox} ${domain} ${original_recipient}", &s,
	    "Us Er+Ext Dom.Example Orig@Dom.Example");
	check("flags=", "$$recipient $nexthop a$$", &s, "$recipient Hop.Example a$");
	check("flags=hu", "${recipient} ${domain} ${nexthop}", &s,
	    "us er+ext@dom.example dom.example hop.example");
	check("flags=q", "${sender} ${recipient} ${user}", &s,
	    "\"S nd\"@c.example \"Us Er+Ext\"@Dom.Example Us Er");
}

static void
test_null_sender(void **state)
{
	const struct pipe_args_source s = source(one, 1, "");

	(void)state;
	check("flags=", "<${sender}>", &s, "<MAILER-DAEMON>");
	check("null_sender=", "<${sender}>", &s, "<>");
	check("null_sender=no body", "<${sender}>", &s, "<no body>");
}

static void
test_once_for_each_recipient(void **state)
{
	const struct pipe_args_source s = source(two, 2, "s@c.example");

	(void)state;
	check("flags=", "-r${recipient}", &s, "-ra+x@d.example|-rb@d.example");
	check("flags=", "${extension}", &s, "x|");
	check("flags=", "${sender}", &s, "s@c.example");
	check("flags=", "plain", &s, "plain");
}

static void
test_refused_macros(void **state)
{
	const struct pipe_args_source s = source(one, 1, "s@c.example");

	(void)state;
	check("flags=", "${nosuch}", &s, NULL);
	check("flags=", "${extension?x}", &s, NULL);
	check("flags=", "${recipient", &s, NULL);
	check("flags=", "a$", &s, NULL);
	check("flags=", "$-", &s, NULL);
}

static void
refused(const char *word)
{
	char *words[] = {
	    (char *)(uintptr_t)word, (char *)(uintptr_t) "user=u", (char *)(uintptr_t) "argv=x"};
	struct arena arena = {0};
	struct pipe_args args;
	struct err err;

	assert_false(pipe_args_parse(words, ARRAY_LEN(words), &arena, &args, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	arena_done(&arena);
}

static void
test_attributes(void **state)
{
	char *words[] = {(char *)(uintptr_t) "flags=DRhu>.",
	    (char *)(uintptr_t) "eol=\\r\\n\\101\\\\", (char *)(uintptr_t) "size=1000",
	    (char *)(uintptr_t) "directory=/d", (char *)(uintptr_t) "user=u:g",
	    (char *)(uintptr_t) "argv=/bin/x", (char *)(uintptr_t) "flags=Z"};
	struct arena arena = {0};
	struct pipe_args a;
	struct err err;

	(void)state;
	assert_true(pipe_args_parse(words, ARRAY_LEN(words), &arena, &a, &err));
	assert_int_equal(a.flags, PIPE_FLAG_DELIVERED | PIPE_FLAG_RETURN_PATH |
				      PIPE_FLAG_FOLD_HOST | PIPE_FLAG_FOLD_USER |
				      PIPE_FLAG_QUOTE_FROM | PIPE_FLAG_DOT);
	assert_string_equal(a.eol, "\r\nA\\");
	assert_int_equal(a.size_limit, 1000);
	assert_string_equal(a.directory, "/d");
	assert_string_equal(a.user, "u:g");
	assert_int_equal(a.argc, 2);
	assert_string_equal(a.argv[1], "flags=Z");
	arena_done(&arena);
	refused("flags=Z");
	refused("size=big");
	refused("nosuch=1");
	refused("word");
	refused("argv=");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_macros),
	    cmocka_unit_test(test_null_sender),
	    cmocka_unit_test(test_once_for_each_recipient),
	    cmocka_unit_test(test_refused_macros),
	    cmocka_unit_test(test_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
