/*
 * test_sched_window.c - the feedback arithmetic against the figures of Postfix's documentation: with the defaults a destination is dead after
 * 1, 2, 3, 7, 13 consecutive failures from windows of 1, 2, 5, 10, 20.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "sched/sched_window.h"

static const struct sched_window_limits defaults = {
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
		struct sched_window w = {.window = cases[i][0]};
		int failures = 1;

		while (!sched_window_failure(&w, &defaults))
			failures++;
		assert_int_equal(failures, cases[i][1]);
	}
}

static void
test_failures_per_concurrency(void **state UNUSED)
{
	struct sched_window_limits limits = defaults;
	int windows[] = {1, 2, 5, 10, 20};

	limits.negative.by = SCHED_FEEDBACK_CONCURRENCY;
	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		struct sched_window w = {.window = windows[i]};
		int failures = 1;

		while (!sched_window_failure(&w, &limits))
			failures++;
		assert_true(failures >= windows[i] / 2 && failures <= windows[i]);
	}
}

static void
test_growth_needs_use(void **state UNUSED)
{
	struct sched_window w;

	sched_window_init(&w, &defaults);
	assert_int_equal(w.window, 5);
	for (int i = 0; i < 100; i++)
		sched_window_success(&w, &defaults, 1);
	assert_int_equal(w.window, 6);
	for (int i = 0; i < 100; i++)
		sched_window_success(&w, &defaults, w.window);
	assert_int_equal(w.window, 20);
}

static void
test_success_forgets_failures(void **state UNUSED)
{
	struct sched_window w = {.window = 5};

	assert_false(sched_window_failure(&w, &defaults));
	assert_false(sched_window_failure(&w, &defaults));
	sched_window_success(&w, &defaults, 1);
	assert_true(w.fail_cohorts == 0);
	assert_false(sched_window_failure(&w, &defaults));
}

static void
test_never_dead_and_floor(void **state UNUSED)
{
	struct sched_window_limits limits = defaults;
	struct sched_window w = {.window = 3};

	limits.failed_cohort_limit = 0;
	for (int i = 0; i < 50; i++)
		assert_false(sched_window_failure(&w, &limits));
	assert_int_equal(w.window, 1);
	sched_window_revive(&w, &limits, 0);
	assert_int_equal(w.window, 5);
	sched_window_revive(&w, &limits, 2);
	assert_int_equal(w.window, 2);
}

/* ---- how the window moves over time ------------------------------------------------------------------------------ */

/* Good deliveries, the window always in use, until it is `to`. */
static int
successes_until(struct sched_window *w, const struct sched_window_limits *limits, int to)
{
	int n = 0;

	while (w->window < to) {
		sched_window_success(w, limits, w->window);
		n++;
	}
	return n;
}

/*
 * From 5 to 20: with 1 a delivery each lets it grow by one (5-10-20 in two cohorts); with 1/N a cohort of N lets it grow by one, so it
 * takes 5 + 6 + ... + 19; with 1/sqrt(N) the square roots of these, rounded up.
 */
static void
test_growth_by_feedback(void **state UNUSED)
{
	static const struct {
		enum sched_feedback_by by;
		int successes;
	} cases[] = {
	    {SCHED_FEEDBACK_FIXED, 15},
	    {SCHED_FEEDBACK_CONCURRENCY, 180},
	};
	struct sched_window_limits limits = defaults;
	struct sched_window w;
	int n;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		limits.positive.by = cases[i].by;
		sched_window_init(&w, &limits);
		n = successes_until(&w, &limits, 20);
		assert_in_range(n, cases[i].successes - 8, cases[i].successes);
	}
	limits.positive.by = SCHED_FEEDBACK_SQRT_CONCURRENCY;
	sched_window_init(&w, &limits);
	n = successes_until(&w, &limits, 20);
	assert_in_range(n, 45, 60);
}

/* Exponential with 1: from one cohort to the next the window doubles. Linear with 1/N: it grows by one. */
static void
test_growth_by_cohort(void **state UNUSED)
{
	struct sched_window_limits limits = defaults;
	struct sched_window w;

	sched_window_init(&w, &limits);
	for (int cohort = w.window, i = 0; i < cohort; i++)
		sched_window_success(&w, &limits, cohort);
	assert_int_equal(w.window, 10);
	limits.positive.by = SCHED_FEEDBACK_CONCURRENCY;
	sched_window_init(&w, &limits);
	for (int cohort = w.window, i = 0; i < cohort; i++)
		sched_window_success(&w, &limits, cohort);
	assert_int_equal(w.window, 6);
}

/* The correction for overload comes at the beginning of a series of failures, further ones one feedback later. */
static void
test_reverse_hysteresis(void **state UNUSED)
{
	struct sched_window_limits limits = defaults;
	struct sched_window w = {.window = 10};
	int at[3] = {0}, n = 0;

	limits.failed_cohort_limit = 0;
	limits.negative.by = SCHED_FEEDBACK_CONCURRENCY;
	for (int i = 1; n < 3; i++) {
		int before = w.window;

		assert_false(sched_window_failure(&w, &limits));
		if (w.window < before)
			at[n++] = i;
	}
	assert_int_equal(at[0], 1);
	assert_in_range(at[1], 9, 11);
	assert_in_range(at[2], 16, 20);
}

/* A server that takes five at a time, 2 s each; who gets no place within 30 s fails. The last to come is served first. */
struct server {
	double since[64]; /* of clients that wait */
	int waiting;
	double busy[5]; /* until when */
};

struct trial {
	double average;  /* concurrency of the client */
	double deferred; /* percent */
};

static struct trial
run_trial(enum sched_feedback_by by)
{
	struct sched_window_limits limits = {.initial = 20,
	    .limit = 20,
	    .failed_cohort_limit = 1,
	    .positive = {1, by},
	    .negative = {1, by}};
	struct server s = {0};
	struct sched_window w;
	double area = 0, last = 0, started = -1;
	int running = 0, good = 0, bad = 0;

	sched_window_init(&w, &limits);
	for (double now = 0; good + bad < 1000; now += 0.01) {
		for (int i = 0; i < 5; i++)
			if (s.busy[i] > 0 && s.busy[i] <= now) {
				s.busy[i] = 0;
				sched_window_success(&w, &limits, running--);
				good++;
			}
		while (s.waiting > 0 && now - s.since[0] > 30) {
			memmove(s.since, s.since + 1, (size_t)--s.waiting * sizeof(double));
			assert_false(sched_window_failure(&w, &limits)); /* never dead */
			running--;
			bad++;
		}
		/* Not all in one moment: a client that starts a process for each. */
		if (running < w.window && now - started > 0.2) {
			s.since[s.waiting++] = started = now;
			running++;
		}
		for (int i = 0; i < 5 && s.waiting > 0; i++)
			if (s.busy[i] == 0) {
				s.waiting--;
				s.busy[i] = now + 2;
			}
		area += w.window * (now - last);
		last = now;
	}
	return (struct trial){.average = area / last, .deferred = 100.0 * bad / (good + bad)};
}

/*
 * SCHEDULER_README's experiment: a client that may use 20 connections, a server that can take 5. Whatever the feedback, the average
 * concurrency stays between 19 and 20, a tenth or so of the mail is deferred, and the server is never taken for dead.
 */
static void
test_busy_server(void **state UNUSED)
{
	static const enum sched_feedback_by styles[] = {
	    SCHED_FEEDBACK_CONCURRENCY, SCHED_FEEDBACK_SQRT_CONCURRENCY, SCHED_FEEDBACK_FIXED};

	for (size_t i = 0; i < ARRAY_LEN(styles); i++) {
		struct trial t = run_trial(styles[i]);

		assert_true(t.average > 18.5 && t.average <= 20);
		assert_true(t.deferred > 5 && t.deferred < 20);
	}
}

static void
test_feedback_syntax(void **state UNUSED)
{
	struct sched_feedback f;
	struct err err;

	assert_true(sched_feedback_parse(SPAN_LIT("1"), &f, &err) && f.base == 1.0 &&
		    f.by == SCHED_FEEDBACK_FIXED);
	assert_true(sched_feedback_parse(SPAN_LIT("1/concurrency"), &f, &err) &&
		    f.by == SCHED_FEEDBACK_CONCURRENCY);
	assert_true(sched_feedback_parse(SPAN_LIT("1/8"), &f, &err) && f.base == 0.125);
	assert_true(sched_feedback_parse(SPAN_LIT("0.5 / concurrency"), &f, &err) && f.base == 0.5);
	assert_true(sched_feedback_parse(SPAN_LIT("1/sqrt_concurrency"), &f, &err) &&
		    f.by == SCHED_FEEDBACK_SQRT_CONCURRENCY);
	assert_true(sched_feedback_value(&f, 16) == 0.25);
	assert_false(sched_feedback_parse(SPAN_LIT("1/"), &f, &err));
	assert_false(sched_feedback_parse(SPAN_LIT("1/nothing"), &f, &err));
	assert_false(sched_feedback_parse(SPAN_LIT("2"), &f, &err));
	assert_false(sched_feedback_parse(SPAN_LIT("x"), &f, &err));
	assert_false(sched_feedback_parse(SPAN_LIT(""), &f, &err));
	assert_false(sched_feedback_parse(SPAN_LIT("1/0"), &f, &err));
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
	    cmocka_unit_test(test_growth_by_feedback),
	    cmocka_unit_test(test_growth_by_cohort),
	    cmocka_unit_test(test_reverse_hysteresis),
	    cmocka_unit_test(test_busy_server),
	    cmocka_unit_test(test_feedback_syntax),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
