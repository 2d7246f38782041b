/*
 * test_qmgr_window.c - the feedback arithmetic against the figures of Postfix's documentation: with the defaults a destination is dead after
 * 1, 2, 3, 7, 13 consecutive failures from windows of 1, 2, 5, 10, 20.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "qmgr/qmgr_window.h"

static const struct qmgr_window_limits defaults = {
    .initial = 5,
    .limit = 20,
    .failed_cohort_limit = 1,
    .positive = {.base = 1},
    .negative = {.base = 1},
};

static void
test_failures_until_dead(void **state UNUSED)
{
	static const int cases[][2] = {{1, 1}, {2, 2}, {5, 3}, {10, 7}, {20, 13}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct qmgr_window w = {.window = cases[i][0]};
		int failures = 1;

		while (!qmgr_window_failure(&w, &defaults))
			failures++;
		assert_int_equal(failures, cases[i][1]);
	}
}

static void
test_failures_per_concurrency(void **state UNUSED)
{
	struct qmgr_window_limits limits = defaults;
	int windows[] = {1, 2, 5, 10, 20};

	limits.negative.by = QMGR_FEEDBACK_CONCURRENCY;
	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		struct qmgr_window w = {.window = windows[i]};
		int failures = 1;

		while (!qmgr_window_failure(&w, &limits))
			failures++;
		assert_true(failures >= windows[i] / 2 && failures <= windows[i]);
	}
}

static void
test_growth_needs_use(void **state UNUSED)
{
	struct qmgr_window w;

	qmgr_window_init(&w, &defaults);
	assert_int_equal(w.window, 5);
	for (int i = 0; i < 100; i++)
		qmgr_window_success(&w, &defaults, 1);
	assert_int_equal(w.window, 6);
	for (int i = 0; i < 100; i++)
		qmgr_window_success(&w, &defaults, w.window);
	assert_int_equal(w.window, 20);
}

static void
test_success_forgets_failures(void **state UNUSED)
{
	struct qmgr_window w = {.window = 5};

	assert_false(qmgr_window_failure(&w, &defaults));
	assert_false(qmgr_window_failure(&w, &defaults));
	qmgr_window_success(&w, &defaults, 1);
	assert_true(w.fail_cohorts == 0);
	assert_false(qmgr_window_failure(&w, &defaults));
}

static void
test_never_dead_and_floor(void **state UNUSED)
{
	struct qmgr_window_limits limits = defaults;
	struct qmgr_window w = {.window = 3};

	limits.failed_cohort_limit = 0;
	for (int i = 0; i < 50; i++)
		assert_false(qmgr_window_failure(&w, &limits));
	assert_int_equal(w.window, 1);
	qmgr_window_revive(&w, &limits, 0);
	assert_int_equal(w.window, 5);
	qmgr_window_revive(&w, &limits, 2);
	assert_int_equal(w.window, 2);
}

static void
test_feedback_syntax(void **state UNUSED)
{
	struct qmgr_feedback f;
	struct err err;

	assert_true(qmgr_feedback_parse(SPAN_LIT("1"), &f, &err) && f.base == 1.0 &&
		    f.by == QMGR_FEEDBACK_FIXED);
	assert_true(qmgr_feedback_parse(SPAN_LIT("1/concurrency"), &f, &err) &&
		    f.by == QMGR_FEEDBACK_CONCURRENCY);
	assert_true(qmgr_feedback_parse(SPAN_LIT("1/8"), &f, &err) && f.base == 0.125);
	assert_true(qmgr_feedback_parse(SPAN_LIT("0.5 / concurrency"), &f, &err) && f.base == 0.5);
	assert_false(qmgr_feedback_parse(SPAN_LIT("2"), &f, &err));
	assert_false(qmgr_feedback_parse(SPAN_LIT("x"), &f, &err));
	assert_false(qmgr_feedback_parse(SPAN_LIT(""), &f, &err));
	assert_false(qmgr_feedback_parse(SPAN_LIT("1/0"), &f, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_failures_until_dead),
	    cmocka_unit_test(test_failures_per_concurrency),
	    cmocka_unit_test(test_growth_needs_use),
	    cmocka_unit_test(test_success_forgets_failures),
	    cmocka_unit_test(test_never_dead_and_floor),
	    cmocka_unit_test(test_feedback_syntax),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
