/*
 * test_delivery_forward.c - what a local agent makes of a recipient: what is written is read back, and nothing else is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "service/delivery_forward.h"

#define SPAN_IS(s, expected) assert_true(span_equal_str(s, expected))

static void
test_round_trip(void **state)
{
	const struct delivery_forward message = {.sender = SPAN_LIT("s@x"),
	    .delivered = SPAN_LIT("d@x"),
	    .pass = SPAN_LIT("lmtp:unix:s")};
	const struct delivery_forward_rcpt rcpt = {
	    .addr = SPAN_LIT("a b@x"), .orig_addr = SPAN_LIT("o@x"), .dsn_notify = 4};
	const struct delivery_failure failure = {.addr = SPAN_LIT("f@x"),
	    .dsn = SPAN_LIT("5.1.1"),
	    .text = SPAN_LIT("two\nlines"),
	    .diagnostic = SPAN_LIT("x-unix; y"),
	    .owner = SPAN_LIT("owner-f@x"),
	    .of_list = true};
	struct delivery_forward_record r;
	struct buf b = {0};
	struct span rest;

	(void)state;
	delivery_forward_begin(&b, &message);
	delivery_forward_add(&b, &rcpt);
	delivery_forward_failure(&b, &failure);
	delivery_forward_expanded(&b, "expanded");
	rest = buf_span(&b);
	assert_int_equal(delivery_forward_next(&rest, &r), DELIVERY_FORWARD_MESSAGE);
	SPAN_IS(r.message.sender, "s@x");
	SPAN_IS(r.message.delivered, "d@x");
	SPAN_IS(r.message.pass, "lmtp:unix:s");
	assert_int_equal(delivery_forward_next(&rest, &r), DELIVERY_FORWARD_RCPT);
	SPAN_IS(r.rcpt.addr, "a b@x");
	SPAN_IS(r.rcpt.orig_addr, "o@x");
	SPAN_IS(r.rcpt.dsn_orcpt, "");
	assert_int_equal(r.rcpt.dsn_notify, 4);
	assert_int_equal(delivery_forward_next(&rest, &r), DELIVERY_FORWARD_FAILURE);
	SPAN_IS(r.failure.text, "two lines");
	SPAN_IS(r.failure.diagnostic, "x-unix; y");
	SPAN_IS(r.failure.owner, "owner-f@x");
	assert_true(r.failure.of_list);
	assert_int_equal(delivery_forward_next(&rest, &r), DELIVERY_FORWARD_EXPANDED);
	SPAN_IS(r.action, "expanded");
	assert_int_equal(delivery_forward_next(&rest, &r), DELIVERY_FORWARD_END);
	buf_done(&b);
}

static void
test_malformed(void **state)
{
	static const char *const bad[] = {"M", "Ms@x\n", "Ms@x\nX\n", "Ms@x\nDd@x\n",
	    "Ra\nO\nC\nN16\n", "Ra\nO\nC\nNx\n", "Ra\nO\nN0\n", "Fa\nS\nT\n", "Fa\nS\nT\nG\n",
	    "Fa\nS\nT\nG\nW\n", "Q\n", "\n", "E"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct span rest = span_str(bad[i]);
		struct delivery_forward_record r;

		assert_int_equal(delivery_forward_next(&rest, &r), DELIVERY_FORWARD_MALFORMED);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
