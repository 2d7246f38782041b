/*
 * sched_window.c - see sched_window.h.
 */
#include "sched/sched_window.h"

#include <math.h>
#include <stdlib.h>

/* A change happens only when the feedback gathered exceeds a whole step by half a feedback (hysteresis 1). */
#define SCHED_WINDOW_STEP 1.0

static bool
sched_feedback_refuse(struct span text, struct err *err)
{
	return err_set(
	    err, ERR_CONFIG, "4.3.5", "malformed or unreasonable feedback: %.*s", SPAN_ARG(text));
}

/* A decimal number, whole. */
static bool
sched_feedback_number(struct span text, double *ret)
{
	char number[32];
	char *end;

	if (text.len == 0 || text.len >= sizeof(number))
		return false;
	memcpy(number, text.ptr, text.len);
	number[text.len] = '\0';
	*ret = strtod(number, &end);
	return *end == '\0';
}

bool
sched_feedback_parse(struct span text, struct sched_feedback *ret, struct err *err)
{
	size_t slash = span_find(text, '/');
	struct span divisor = span_trim(span_from(text, slash + 1));
	struct sched_feedback f = {0};
	double by = 1;

	if (!sched_feedback_number(span_trim(span_head(text, slash)), &f.base))
		return sched_feedback_refuse(text, err);
	if (span_equal_nocase_str(divisor, "concurrency"))
		f.by = SCHED_FEEDBACK_CONCURRENCY;
	else if (span_equal_nocase_str(divisor, "sqrt_concurrency"))
		f.by = SCHED_FEEDBACK_SQRT_CONCURRENCY;
	else if (slash < text.len && (!sched_feedback_number(divisor, &by) || by < 1e-6))
		return sched_feedback_refuse(text, err);
	f.base /= by;
	if (!(f.base >= 0 && f.base <= 1))
		return sched_feedback_refuse(text, err);
	*ret = f;
	return true;
}

double
sched_feedback_value(const struct sched_feedback *f, int window)
{
	switch (f->by) {
	case SCHED_FEEDBACK_FIXED:
		return f->base;
	case SCHED_FEEDBACK_CONCURRENCY:
		return f->base / window;
	case SCHED_FEEDBACK_SQRT_CONCURRENCY:
		return f->base / sqrt(window);
	}
	UNREACHED();
}

static int
sched_window_cap(const struct sched_window_limits *limits, int window)
{
	if (limits->limit > 0 && window > limits->limit)
		window = limits->limit;
	return window < 1 ? 1 : window;
}

void
sched_window_init(struct sched_window *w, const struct sched_window_limits *limits)
{
	*w = (struct sched_window){.window = sched_window_cap(limits, limits->initial)};
}

void
sched_window_limit(struct sched_window *w, const struct sched_window_limits *limits)
{
	w->window = sched_window_cap(limits, w->window);
}

void
sched_window_success(struct sched_window *w, const struct sched_window_limits *limits, int busy)
{
	double feedback;

	w->fail_cohorts = 0;
	/* Grow only while the window is nearly in use: an idle destination proves nothing. */
	if ((limits->limit > 0 && w->window >= limits->limit) ||
	    w->window >= busy + limits->initial)
		return;
	feedback = sched_feedback_value(&limits->positive, w->window);
	w->success += feedback;
	while (w->success + feedback / 2 >= SCHED_WINDOW_STEP) {
		w->window += (int)SCHED_WINDOW_STEP;
		w->success -= SCHED_WINDOW_STEP;
		w->failure = 0;
		if (feedback <= 0)
			break;
	}
	w->window = sched_window_cap(limits, w->window);
}

bool
sched_window_failure(struct sched_window *w, const struct sched_window_limits *limits)
{
	double feedback;

	if (limits->failed_cohort_limit > 0) {
		w->fail_cohorts += 1.0 / w->window;
		if (w->fail_cohorts >= limits->failed_cohort_limit - 1e-9)
			return true;
	}
	feedback = sched_feedback_value(&limits->negative, w->window);
	w->failure -= feedback;
	while (w->failure - feedback / 2 < 0) {
		w->window -= (int)SCHED_WINDOW_STEP;
		w->failure += SCHED_WINDOW_STEP;
		w->success = 0;
		if (feedback <= 0)
			break;
	}
	w->window = sched_window_cap(limits, w->window);
	return false;
}

void
sched_window_revive(struct sched_window *w, const struct sched_window_limits *limits, int busy)
{
	sched_window_init(w, limits);
	if (busy > 0)
		w->window = sched_window_cap(limits, busy);
}
