/*
 * test_qmgr_receipt.c - agents are told of a delivery when its last outcome is recorded, and not before. The link is replaced here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_receipt.h"

/* ---- instead of the link ---- */

static uint32_t told[1000];
static size_t told_count;
static size_t frames;

bool
link_send(struct link *l UNUSED, uint8_t type, uint32_t delivery UNUSED, struct span payload)
{
	assert_int_equal(type, DELIVERY_RECORDED);
	while (delivery_next_recorded(&payload, &told[told_count]))
		told_count++;
	assert_int_equal(payload.len, 0);
	frames++;
	return true;
}

static void
agent_init(struct qmgr_agent *a)
{
	*a = (struct qmgr_agent){0};
	list_init(&a->receipts);
	told_count = frames = 0;
}

/* ---- the tests ---- */

static void
told_with_the_last_outcome(void **state UNUSED)
{
	struct qmgr_agent a;
	struct qmgr_receipt *first, *second;

	agent_init(&a);
	first = qmgr_receipt_new(&a, 7);
	second = qmgr_receipt_ref(first);
	qmgr_receipt_drop(&first);
	assert_null(first);
	qmgr_receipt_send(&a);
	assert_int_equal(frames, 0);
	qmgr_receipt_drop(&second);
	assert_int_equal(frames, 0);
	qmgr_receipt_send(&a);
	assert_int_equal(told_count, 1);
	assert_int_equal(told[0], 7);
	qmgr_receipt_send(&a);
	assert_int_equal(frames, 1);
	assert_null(qmgr_receipt_ref(NULL));
	qmgr_receipt_drop(&first);
	qmgr_receipt_agent_gone(&a);
}

static void
numbers_gather(void **state UNUSED)
{
	struct qmgr_agent a;

	agent_init(&a);
	for (uint32_t i = 0; i < 900; i++) {
		struct qmgr_receipt *r = qmgr_receipt_new(&a, i);

		qmgr_receipt_drop(&r);
	}
	assert_in_range(frames, 1, 9);
	qmgr_receipt_send(&a);
	assert_int_equal(told_count, 900);
	for (uint32_t i = 0; i < 900; i++)
		assert_int_equal(told[i], i);
	qmgr_receipt_agent_gone(&a);
}

static void
who_leaves_is_told_at_once(void **state UNUSED)
{
	struct qmgr_agent a;
	struct qmgr_receipt *r;

	agent_init(&a);
	a.leaving = true;
	r = qmgr_receipt_new(&a, 3);
	qmgr_receipt_drop(&r);
	assert_int_equal(told_count, 1);
	qmgr_receipt_agent_gone(&a);
}

static void
nobody_is_told_when_the_agent_is_gone(void **state UNUSED)
{
	struct qmgr_agent a;
	struct qmgr_receipt *r;

	agent_init(&a);
	r = qmgr_receipt_new(&a, 3);
	qmgr_receipt_agent_gone(&a);
	qmgr_receipt_drop(&r);
	assert_int_equal(told_count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(told_with_the_last_outcome),
	    cmocka_unit_test(numbers_gather),
	    cmocka_unit_test(who_leaves_is_told_at_once),
	    cmocka_unit_test(nobody_is_told_when_the_agent_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
