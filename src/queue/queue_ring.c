/*
 * queue_ring.c - rotation and truncation, as functions of the schema that any scheduler may call at any time.
 */
#include "queue/queue_ring.h"

#include "base/crash.h"
#include "base/log.h"
#include "queue/queue_int.h"

#define PAUSE_MIN   CLOCK_SECOND
#define PAUSE_MAX   (30 * CLOCK_SECOND)
#define MANY_CLOSED 16 /* closed sets that nobody can empty: somebody should know */
#define WARN_PAUSE  (300 * CLOCK_SECOND)
/*
 * Rotations that a set stays closed before it is emptied: with the default 90 s, which is longer than a front end tries to store
 * a message whose commit was in doubt (queue_database_commit_timeout, rule 5a.10).
 */
#define CLOSED_FOR  3

static const struct db_statement sql_rotate = {
    "ring_rotate", "SELECT mailq.ring_rotate($1::int8 * interval '1 microsecond', $2, $3)"};
static const struct db_statement sql_truncate = {"ring_truncate",
    "SELECT mailq.ring_truncate($1::int4::int2, $2::int8 * interval '1 microsecond')"};

static bool
rotate(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	char n[3][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], d->settings.rotate),
	    db_param_int8(n[1], (int64_t)d->settings.set_bytes),
	    db_param_int4(n[2], (int32_t)d->settings.set_limit),
	};
	struct db_result *r = NULL;

	CRASH_POINT("rotate-before");
	if (!db_exec(c, &sql_rotate, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	CRASH_POINT("rotate-after");
	if (!db_result_is_null(r, 0, 0))
		d->sets_known = 0; /* read the states anew */
	db_result_free(&r);
	return true;
}

static bool
truncate_set(
    struct queue_desk *d, struct db_conn *c, int16_t set, int64_t deadline, struct err *err)
{
	struct queue_set *s = &d->sets[set];
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int4(n[0], set),
	    db_param_int8(n[1], CLOSED_FOR * d->settings.rotate),
	};
	struct db_result *r = NULL;
	bool done;

	CRASH_POINT("truncate-before");
	if (!db_exec(c, &sql_truncate, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	CRASH_POINT("truncate-after");
	done = db_result_bool(r, 0, 0);
	db_result_free(&r);
	s->truncate_pause = done ? 0 : MIN(MAX(2 * s->truncate_pause, PAUSE_MIN), PAUSE_MAX);
	s->truncate_at = clock_deadline(s->truncate_pause);
	if (done)
		d->sets_known = 0;
	return true;
}

static void
warn_of_closed(const struct queue_desk *d)
{
	static int64_t next_warning;
	size_t closed = 0;

	for (size_t i = 0; i < d->set_count; i++)
		closed += d->sets[i].draining;
	if (closed < MANY_CLOSED || clock_mono_us() < next_warning)
		return;
	next_warning = clock_deadline(WARN_PAUSE);
	log_warn(
	    "queue database: %zu sets of the ring are closed and not empty yet: see rowpost.ring",
	    closed);
}

bool
queue_ring_keep(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	int64_t now = clock_mono_us();

	if (!queue_desk_know_ring(d, c, deadline, err) || !rotate(d, c, deadline, err))
		return false;
	warn_of_closed(d);
	for (size_t i = 0; i < d->set_count; i++) {
		const struct queue_set *s = &d->sets[i];

		if (s->draining && now - s->since > CLOSED_FOR * d->settings.rotate &&
		    now >= s->truncate_at)
			return truncate_set(d, c, (int16_t)i, deadline, err);
	}
	return true;
}
