/*
 * test_operator_order.c - what postsuper's words ask for. Carrying it out: tests/session/test_queue_tools.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "operator/operator_order.h"
#include "queue/queue_types.h"

#define INCOMING (1u << QUEUE_INCOMING)
#define ACTIVE   (1u << QUEUE_ACTIVE)
#define DEFERRED (1u << QUEUE_DEFERRED_PLACE)
#define HOLD     (1u << QUEUE_HOLD)

static void
test_places(void **state)
{
	(void)state;
	assert_int_equal(
	    operator_order_places(OPERATOR_DELETE, 0), INCOMING | ACTIVE | DEFERRED | HOLD);
	assert_int_equal(operator_order_places(OPERATOR_HOLD, 0), INCOMING | ACTIVE | DEFERRED);
	assert_int_equal(operator_order_places(OPERATOR_RELEASE, 0), HOLD);
	assert_int_equal(operator_order_places(OPERATOR_RELEASE, DEFERRED), DEFERRED);
}

static void
test_queue_names(void **state)
{
	struct operator_order o = {0};

	(void)state;
	assert_true(operator_order_queue(&o, "hold"));
	assert_true(operator_order_queue(&o, "deferred"));
	assert_int_equal(o.places, HOLD | DEFERRED);
	assert_false(o.elsewhere);
	assert_true(operator_order_queue(&o, "bounce"));
	assert_true(o.elsewhere);
	assert_false(operator_order_queue(&o, "corrupt"));
	assert_false(operator_order_queue(&o, "HOLD"));
	operator_order_done(&o);
}

static void
test_arguments(void **state)
{
	struct operator_order o = {0};

	(void)state;
	operator_order_add(&o, OPERATOR_DELETE, "ALL");
	operator_order_add(&o, OPERATOR_HOLD, "all");
	operator_order_add(&o, OPERATOR_HOLD, "-");
	assert_true(o.targets[OPERATOR_DELETE].all);
	assert_int_equal(o.targets[OPERATOR_DELETE].count, 0);
	/* only in upper case: a safety measure */
	assert_false(o.targets[OPERATOR_HOLD].all);
	assert_int_equal(o.targets[OPERATOR_HOLD].count, 2);
	assert_false(o.targets[OPERATOR_RELEASE].asked);
	operator_order_done(&o);
	assert_null(o.targets[OPERATOR_HOLD].names);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_places),
	    cmocka_unit_test(test_queue_names),
	    cmocka_unit_test(test_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
