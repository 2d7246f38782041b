/*
 * test_qmgr_decide.c - what follows from an outcome: final or not, when again, who is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "qmgr/qmgr_decide.h"
#include "qmgr/qmgr_outcome.h"

#define S     CLOCK_SECOND
#define NOW   (INT64_C(1000000) * S)
#define NEVER QUEUE_NOTIFY_NEVER
#define OK    QUEUE_NOTIFY_SUCCESS
#define FAIL  QUEUE_NOTIFY_FAILURE
#define DELAY QUEUE_NOTIFY_DELAY

static const struct qmgr_rules rules = {
    .lifetime = 432000 * S,
    .bounce_lifetime = 3600 * S,
    .warning = 14400 * S,
    .backoff_min = 300 * S,
    .backoff_max = 4000 * S,
};

static struct queue_result
decide(const struct qmgr_rules *how, const char *sender, int64_t age, unsigned wanted,
    enum queue_verb order, struct qmgr_outcome o)
{
	static struct queue_envelope envelope;
	static struct queue_rcpt rcpt;
	struct queue_result r = {.envelope = &envelope, .rcpt = &rcpt, .at = NOW};

	envelope = (struct queue_envelope){.sender = sender, .arrival = NOW - age};
	rcpt = (struct queue_rcpt){.dsn_notify = wanted};
	qmgr_decide(how, order, &o, &r);
	return r;
}

static void
outcomes(void **state UNUSED)
{
	static const struct {
		const char *what;
		struct qmgr_outcome o;
		unsigned wanted;
		enum queue_verb order;
		enum queue_outcome outcome;
		unsigned notify;
	} cases[] = {
	    {"sent", {.status = DELIVERY_SENT}, 0, 0, QUEUE_SENT, 0},
	    {"sent, to be told", {.status = DELIVERY_SENT}, OK | FAIL, 0, QUEUE_SENT, OK},
	    {"sent, and the next server tells", {.status = DELIVERY_SENT, .passed_on = true}, OK, 0,
		QUEUE_SENT, 0},
	    {"discarded", {.status = DELIVERY_SENT, .discarded = true}, 0, 0, QUEUE_DISCARDED, 0},
	    {"discarded, to be told", {.status = DELIVERY_SENT, .discarded = true}, OK, 0,
		QUEUE_DISCARDED, OK},
	    {"bounced", {.status = DELIVERY_BOUNCED}, 0, 0, QUEUE_BOUNCED, FAIL},
	    {"bounced, only success wanted", {.status = DELIVERY_BOUNCED}, OK, 0, QUEUE_BOUNCED, 0},
	    {"bounced, nothing wanted", {.status = DELIVERY_BOUNCED}, NEVER, 0, QUEUE_BOUNCED, 0},
	    {"bounced, told already", {.status = DELIVERY_BOUNCED, .told = true}, 0, 0,
		QUEUE_BOUNCED, 0},
	    {"deferred", {.status = DELIVERY_DEFERRED}, FAIL | DELAY, 0, QUEUE_DEFERRED, 0},
	    {"untried", {.status = DELIVERY_UNTRIED}, 0, 0, QUEUE_DEFERRED, 0},
	    {"deferred, hold", {.status = DELIVERY_DEFERRED}, 0, QUEUE_VERB_HOLD, QUEUE_HELD, 0},
	    {"deferred, delete", {.status = DELIVERY_DEFERRED}, 0, QUEUE_VERB_DELETE, QUEUE_DELETED,
		0},
	    {"deferred, flush", {.status = DELIVERY_DEFERRED}, 0, QUEUE_VERB_FLUSH, QUEUE_DEFERRED,
		0},
	    {"the outcome's own order comes first",
		{.status = DELIVERY_DEFERRED, .order = QUEUE_VERB_DELETE}, 0, QUEUE_VERB_HOLD,
		QUEUE_DELETED, 0},
	    {"sent, whatever is ordered", {.status = DELIVERY_SENT}, 0, QUEUE_VERB_DELETE,
		QUEUE_SENT, 0},
	    {"bounced, whatever is ordered", {.status = DELIVERY_BOUNCED}, 0, QUEUE_VERB_HOLD,
		QUEUE_BOUNCED, FAIL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct queue_result r =
		    decide(&rules, "a@b", S, cases[i].wanted, cases[i].order, cases[i].o);

		if (r.outcome != cases[i].outcome || r.notify != cases[i].notify)
			fail_msg("%s: %s, notify %u", cases[i].what, queue_outcome_name(r.outcome),
			    r.notify);
	}
}

/* sendmail -bv: whatever the answer, the recipient is done and gets no report of another kind. */
static void
probes(void **state UNUSED)
{
	static const enum delivery_status statuses[] = {
	    DELIVERY_SENT, DELIVERY_DEFERRED, DELIVERY_BOUNCED};
	struct qmgr_rules probing = rules;
	struct queue_result r;

	probing.probe = true;
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		r = decide(&probing, "a@b", S, OK | FAIL, 0,
		    (struct qmgr_outcome){.status = statuses[i], .destination_dead = true});
		assert_int_equal(r.outcome, QUEUE_DISCARDED);
		assert_int_equal(r.notify, 0);
		assert_false(r.no_attempt);
	}
	r = decide(&probing, "a@b", S, 0, QUEUE_VERB_HOLD,
	    (struct qmgr_outcome){.status = DELIVERY_DEFERRED});
	assert_int_equal(r.outcome, QUEUE_HELD);
}

static void
times_of_a_deferral(void **state UNUSED)
{
	static const struct {
		const char *sender;
		int64_t age;
		enum queue_outcome outcome;
		int64_t next; /* from now */
		int64_t expires;
		int64_t warn;
	} cases[] = {
	    {"a@b", 1 * S, QUEUE_DEFERRED, 300 * S, 432000 * S, 14400 * S},
	    {"a@b", 1000 * S, QUEUE_DEFERRED, 1000 * S, 432000 * S, 14400 * S},
	    {"a@b", 100000 * S, QUEUE_DEFERRED, 4000 * S, 432000 * S, 14400 * S},
	    {"a@b", 432001 * S, QUEUE_EXPIRED, 0, 432000 * S, 14400 * S},
	    /* Nobody is warned of a late bounce, which also gets old sooner. */
	    {"", 1 * S, QUEUE_DEFERRED, 300 * S, 3600 * S, 0},
	    {"", 3601 * S, QUEUE_EXPIRED, 0, 3600 * S, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct queue_result r = decide(&rules, cases[i].sender, cases[i].age, 0, 0,
		    (struct qmgr_outcome){.status = DELIVERY_DEFERRED});
		int64_t arrival = NOW - cases[i].age;

		assert_int_equal(r.outcome, cases[i].outcome);
		assert_int_equal(r.next_attempt, cases[i].next != 0 ? NOW + cases[i].next : 0);
		assert_int_equal(r.expires_at, arrival + cases[i].expires);
		assert_int_equal(r.warn_at, cases[i].warn != 0 ? arrival + cases[i].warn : 0);
		assert_int_equal(r.notify, r.outcome == QUEUE_EXPIRED ? FAIL : 0);
		assert_false(r.no_attempt);
	}
}

static void
no_attempt_was_made(void **state UNUSED)
{
	struct queue_result r = decide(&rules, "a@b", S, 0, 0,
	    (struct qmgr_outcome){.status = DELIVERY_DEFERRED, .destination_dead = true});

	assert_true(r.no_attempt);
	r = decide(&rules, "a@b", S, 0, QUEUE_VERB_REQUEUE,
	    (struct qmgr_outcome){.status = DELIVERY_DEFERRED});
	assert_true(r.no_attempt);
	assert_int_equal(r.outcome, QUEUE_DEFERRED);
	assert_int_equal(r.next_attempt, NOW);
}

static void
soft_bounce(void **state UNUSED)
{
	struct qmgr_rules soft = rules;
	struct queue_result r;

	soft.soft_bounce = true;
	r = decide(&soft, "a@b", S, 0, 0, (struct qmgr_outcome){.status = DELIVERY_BOUNCED});
	assert_int_equal(r.outcome, QUEUE_DEFERRED);
	assert_int_equal(r.notify, 0);
	r = decide(
	    &soft, "a@b", 432001 * S, 0, 0, (struct qmgr_outcome){.status = DELIVERY_BOUNCED});
	assert_int_equal(r.outcome, QUEUE_EXPIRED);
	assert_int_equal(r.notify, FAIL);
}

/* confirm_delay_cleared: who was warned, and wanted to be, hears of the success. */
static void
confirm_delay_cleared(void **state UNUSED)
{
	struct qmgr_rules how = rules;
	static const struct {
		int64_t age;
		unsigned wanted;
		int32_t attempts;
		unsigned notify;
	} cases[] = {
	    {20000 * S, 0, 3, OK},
	    {20000 * S, DELAY, 1, OK},
	    {20000 * S, FAIL, 3, 0},
	    {20000 * S, 0, 0, 0},
	    {100 * S, 0, 3, 0},
	};

	how.confirm = true;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct queue_envelope envelope = {
		    .sender = "s@x.test", .arrival = NOW - cases[i].age};
		const struct queue_rcpt rcpt = {
		    .dsn_notify = cases[i].wanted, .attempts = cases[i].attempts};
		const struct qmgr_outcome o = {.status = DELIVERY_SENT};
		struct queue_result r = {.envelope = &envelope, .rcpt = &rcpt, .at = NOW};

		qmgr_decide(&how, 0, &o, &r);
		assert_int_equal(r.notify, cases[i].notify);
		qmgr_decide(&rules, 0, &o, &r);
		assert_int_equal(r.notify, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(outcomes),
	    cmocka_unit_test(probes),
	    cmocka_unit_test(times_of_a_deferral),
	    cmocka_unit_test(no_attempt_was_made),
	    cmocka_unit_test(soft_bounce),
	    cmocka_unit_test(confirm_delay_cleared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
