/*
 * test_qmgr_trace.c - what goes to the sender beside the outcomes: once, with the first attempt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_trace.h"

static const struct queue_attr attrs[] = {
    {SPAN_LIT("ret"), SPAN_LIT("HDRS")},
    {SPAN_LIT("expanded"), SPAN_LIT("2\ta@x.test\tb@x.test\trfc822;c")},
    {SPAN_LIT("expanded"), SPAN_LIT("6\td@x.test\t\t")},
};
static const struct queue_envelope envelope = {
    .sender = "s@x.test", .attrs = attrs, .attr_count = ARRAY_LEN(attrs)};
static const struct qmgr_message message = {.envelope = &envelope};

static void
free_arena(struct arena **a)
{
	if (*a != NULL)
		arena_done(*a);
	mem_free(*a);
}

static void
expanded(void **state UNUSED)
{
	struct arena *arena CLEANUP(free_arena) = NULL;
	const struct queue_rcpt rcpt = {.addr = "e@x.test"};
	struct queue_result r = {.rcpt = &rcpt, .at = 5};

	qmgr_trace_add(&message, &r, &arena);
	assert_int_equal(r.notice_count, 2);
	assert_int_equal(r.notices[0].rcpt_no, -1);
	assert_int_equal(r.notices[0].kind, QUEUE_NOTIFY_SUCCESS);
	assert_int_equal(r.notices[0].dsn_notify, 2);
	assert_string_equal(r.notices[0].action, "expanded");
	assert_string_equal(r.notices[0].addr, "a@x.test");
	assert_string_equal(r.notices[0].orig_addr, "b@x.test");
	assert_string_equal(r.notices[0].dsn_orcpt, "rfc822;c");
	assert_int_equal(r.notices[1].rcpt_no, -2);
	assert_string_equal(r.notices[1].addr, "d@x.test");
	assert_null(r.notices[1].orig_addr);
	assert_null(r.notices[1].dsn_orcpt);
}

static void
only_once(void **state UNUSED)
{
	struct arena *arena CLEANUP(free_arena) = NULL;
	const struct queue_rcpt second = {.rcpt_no = 1};
	const struct queue_rcpt again = {.attempts = 1};
	const struct queue_rcpt first = {0};
	struct queue_result results[] = {
	    {.rcpt = &second}, {.rcpt = &again}, {.rcpt = &first, .no_attempt = true}};

	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		qmgr_trace_add(&message, &results[i], &arena);
		assert_int_equal(results[i].notice_count, 0);
	}
	assert_null(arena);
}

static void
probe(void **state UNUSED)
{
	static const struct queue_notice given[] = {{.rcpt_no = -1, .addr = "member@x.test"}};
	struct arena *arena CLEANUP(free_arena) = NULL;
	const struct queue_rcpt rcpt = {.addr = "e@x.test", .attempts = 1};
	struct queue_result passed = {.rcpt = &rcpt,
	    .dsn = "5.1.1",
	    .text = "nobody",
	    .relay = "mx.x.test[192.0.2.1]:25",
	    .notices = given,
	    .notice_count = 1};
	struct queue_result told = passed;
	struct queue_result held = {.rcpt = &rcpt, .no_attempt = true};

	qmgr_trace_add_probe(&(struct qmgr_outcome){.status = DELIVERY_BOUNCED}, &passed, &arena);
	assert_int_equal(passed.notice_count, 2);
	assert_string_equal(passed.notices[0].addr, "member@x.test");
	assert_string_equal(passed.notices[1].addr, "e@x.test");
	assert_string_equal(passed.notices[1].action, "undeliverable");
	assert_string_equal(passed.notices[1].text, "delivery via mx.x.test[192.0.2.1]:25: nobody");
	qmgr_trace_add_probe(
	    &(struct qmgr_outcome){.status = DELIVERY_SENT, .told = true}, &told, &arena);
	assert_int_equal(told.notice_count, 1);
	qmgr_trace_add_probe(&(struct qmgr_outcome){.status = DELIVERY_DEFERRED}, &held, &arena);
	assert_int_equal(held.notice_count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(expanded),
	    cmocka_unit_test(only_once),
	    cmocka_unit_test(probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
