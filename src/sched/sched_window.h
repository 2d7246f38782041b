/*
 * sched_window.h - the concurrency window of one destination: how many deliveries may run to it at once. Postfix's feedback
 * arithmetic (SCHEDULER_README, postfix-features 6.3), pure: no clocks, no queues.
 *
 *	success: no cohort has failed; the window grows by the positive feedback while it is in use, up to the limit
 *	site failure: 1/window of a cohort failed; enough failed cohorts make the destination dead, else the window shrinks
 */
#ifndef SCHED_SCHED_WINDOW_H
#define SCHED_SCHED_WINDOW_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"

/* A feedback: a number, or a number divided by the window or its square root. */
enum sched_feedback_by {
	SCHED_FEEDBACK_FIXED,
	SCHED_FEEDBACK_CONCURRENCY,      /* "1/concurrency" */
	SCHED_FEEDBACK_SQRT_CONCURRENCY, /* "1/sqrt_concurrency" */
};

struct sched_feedback {
	double base;
	enum sched_feedback_by by;
};

struct sched_window_limits {
	int initial;             /* initial_destination_concurrency */
	int limit;               /* destination_concurrency_limit; 0 = none */
	int failed_cohort_limit; /* 0 = a destination is never dead */
	struct sched_feedback positive;
	struct sched_feedback negative;
};

struct sched_window {
	int window;
	double success;
	double failure;
	double fail_cohorts;
};

/* Parses "1", "0.5", "1/8", "1/concurrency", "1/sqrt_concurrency"; values outside 0..1 are refused. */
bool sched_feedback_parse(struct span text, struct sched_feedback *ret, struct err *err) MUST_CHECK;

/* The feedback of one delivery at this window. */
double sched_feedback_value(const struct sched_feedback *f, int window);

void sched_window_init(struct sched_window *w, const struct sched_window_limits *limits);

/* Other limits are in force: the window keeps to them. */
void sched_window_limit(struct sched_window *w, const struct sched_window_limits *limits);

/* A delivery ended without trouble of the site; `busy` = deliveries running, this one included. */
void sched_window_success(
    struct sched_window *w, const struct sched_window_limits *limits, int busy);

/* The site itself failed. True: the destination is dead now. */
bool sched_window_failure(struct sched_window *w, const struct sched_window_limits *limits);

/* The pause of a dead destination is over: start anew, with what still runs. */
void sched_window_revive(
    struct sched_window *w, const struct sched_window_limits *limits, int busy);

#endif
