/*
 * test_operator_shape.c - tables beside those that qshape prints of the same mail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "base/buf.h"
#include "operator/operator_shape.h"

static const struct operator_shape_settings plain = {
    .subs = 5, .buckets = 10, .tick = 5, .width = 80};

#define LONG "x@averyveryverylongdomainnamethatdoesnotfit.inthe.columns.example.net"

static void
add_few(struct operator_shape *s)
{
	operator_shape_add(s, SPAN_LIT("a@b.c.d.example.org"), 10);
	operator_shape_add(s, SPAN_LIT("b@C.d..example.org."), 10);
	operator_shape_add(s, SPAN_LIT(LONG), 10);
	operator_shape_add(s, SPAN_LIT("local"), 400);
	operator_shape_add(s, SPAN_LIT("u@z.example"), 99999999);
	operator_shape_add(s, SPAN_LIT("u@future.example"), -500);
}

static void
assert_table(struct operator_shape_settings settings, const char *table)
{
	struct operator_shape s = {.settings = settings};
	struct buf out = {0};

	add_few(&s);
	operator_shape_table(&s, &out);
	assert_string_equal(buf_str(&out), table);
	operator_shape_done(&s);
	buf_done(&out);
}

static void
test_plain(void **state UNUSED)
{
	assert_table(plain,
	    "                                         T  5 10 20 40 80 160 320 640 1280 1280+\n"
	    "                                  TOTAL  6  4  1  0  0  0   0   0   0    0     1\n"
	    "                                  local  1  0  1  0  0  0   0   0   0    0     0\n"
	    "                              z.example  1  0  0  0  0  0   0   0   0    0     1\n"
	    "                         future.example  1  1  0  0  0  0   0   0   0    0     0\n"
	    "                        c.d.example.org  1  1  0  0  0  0   0   0   0    0     0\n"
	    "                      b.c.d.example.org  1  1  0  0  0  0   0   0   0    0     0\n"
	    "+atdoesnotfit.inthe.columns.example.net  1  1  0  0  0  0   0   0   0    0     0\n");
}

static void
test_linear(void **state UNUSED)
{
	struct operator_shape_settings s = plain;

	s.linear = true;
	s.buckets = 3;
	s.tick = 1;
	assert_table(s,
	    "                                                                      T  1  2 2+\n"
	    "                                                               TOTAL  6  4  0  2\n"
	    "                                                               local  1  0  0  1\n"
	    "                                                           z.example  1  0  0  1\n"
	    "                                                      future.example  1  1  0  0\n"
	    "                                                     c.d.example.org  1  1  0  0\n"
	    "                                                   b.c.d.example.org  1  1  0  0\n"
	    " averyveryverylongdomainnamethatdoesnotfit.inthe.columns.example.net  1  1  0  0\n");
}

static void
test_parents(void **state UNUSED)
{
	struct operator_shape_settings s = plain;

	s.parents = true;
	s.subs = 1;
	s.buckets = 5;
	s.width = 50; /* is less than it may be */
	assert_table(s,
	    "                                                               T  5 10 20 40 40+\n"
	    "                                                        TOTAL  6  4  1  0  0   1\n"
	    "                                                 .example.org  2  2  0  0  0   0\n"
	    "                                               .d.example.org  2  2  0  0  0   0\n"
	    "                                                        local  1  0  1  0  0   0\n"
	    "                                                    z.example  1  0  0  0  0   1\n"
	    "                                                 .example.net  1  1  0  0  0   0\n"
	    "                                               future.example  1  1  0  0  0   0\n"
	    "                                              c.d.example.org  1  1  0  0  0   0\n"
	    "                                             .c.d.example.org  1  1  0  0  0   0\n"
	    "                                            b.c.d.example.org  1  1  0  0  0   0\n"
	    "                                         .columns.example.net  1  1  0  0  0   0\n"
	    "                                   .inthe.columns.example.net  1  1  0  0  0   0\n"
	    "+ryverylongdomainnamethatdoesnotfit.inthe.columns.example.net  1  1  0  0  0   0\n");
	s.subs = 2;
	s.top = 3;
	assert_table(s,
	    "                                                               T  5 10 20 40 40+\n"
	    "                                                        TOTAL  6  4  1  0  0   1\n"
	    "                                               .d.example.org  2  2  0  0  0   0\n"
	    "                                                        local  1  0  1  0  0   0\n");
}

static void
test_one_column(void **state UNUSED)
{
	struct operator_shape_settings s = plain;

	s.buckets = 1;
	s.top = 1;
	assert_table(s,
	    "                                                                            T 0+\n"
	    "                                                                     TOTAL  6  6\n");
}

/* Columns grow with their numbers; a thousand of them have ages that nobody reaches. */
static void
test_many(void **state UNUSED)
{
	struct operator_shape s = {.settings = plain};
	struct buf out = {0};

	for (int i = 0; i < 1200; i++)
		operator_shape_add(&s, SPAN_LIT("MAILER-daemon@x.example"), i * 60);
	operator_shape_add(&s, SPAN_LIT(""), 0);
	operator_shape_table(&s, &out);
	assert_string_equal(buf_str(&out),
	    "                                         T  5 10 20 40 80 160 320 640 1280 1280+\n"
	    "                                TOTAL 1201  6  5 10 20 40  80 160 320  560     0\n"
	    "                            x.example 1200  5  5 10 20 40  80 160 320  560     0\n"
	    "                        MAILER-DAEMON    1  1  0  0  0  0   0   0   0    0     0\n");
	operator_shape_done(&s);
	buf_clear(&out);
	s = (struct operator_shape){.settings = plain};
	s.settings.buckets = OPERATOR_SHAPE_BUCKETS_MAX;
	operator_shape_add(&s, SPAN_LIT("a@x.example"), INT64_MAX);
	operator_shape_table(&s, &out);
	assert_true(out.len > 0);
	operator_shape_done(&s);
	buf_done(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_linear),
	    cmocka_unit_test(test_parents),
	    cmocka_unit_test(test_one_column),
	    cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
