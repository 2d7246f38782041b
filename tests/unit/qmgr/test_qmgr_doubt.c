/*
 * test_qmgr_doubt.c - recipients that may be delivered already are kept back until that is known. The scheduler around them is
 * replaced here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_schedule.h"

#define MESSAGE INT64_C(4711)

/* ---- instead of the scheduler ---- */

static size_t deferred;
static size_t scheduled;
static uint32_t last;
static bool lost;

void
qmgr_outcome_unreported(struct qmgr *q UNUSED, struct qmgr_message *m UNUSED, uint32_t rcpt,
    const char *transport UNUSED, const char *why UNUSED)
{
	deferred++;
	last = rcpt;
}

void
qmgr_schedule_rcpt(struct qmgr *q UNUSED, struct qmgr_message *m UNUSED, uint32_t rcpt)
{
	scheduled++;
	last = rcpt;
}

bool
queue_lease_is_lost(const struct queue_lease *l UNUSED)
{
	return lost;
}

/* ---- a message with three recipients, and an agent ---- */

struct world {
	struct qmgr q;
	struct sched_transport transport;
	struct qmgr_agent agent;
	struct queue_rcpt rcpts[3];
	struct queue_claimed claimed;
	struct qmgr_message m;
};

static struct world *
world_new(uint32_t *named, size_t count)
{
	struct world *w = mem_new(struct world);
	const struct delivery_doubt doubt = {MESSAGE, named, count};

	deferred = scheduled = 0;
	last = UINT32_MAX;
	lost = false;
	w->agent.transport = &w->transport;
	list_init(&w->agent.doubts);
	for (int32_t i = 0; i < 3; i++)
		w->rcpts[i].rcpt_no = 10 + i;
	w->claimed.envelope =
	    (struct queue_envelope){.msg_id = MESSAGE, .rcpts = w->rcpts, .rcpt_count = 3};
	w->m.claimed = &w->claimed;
	w->m.envelope = &w->claimed.envelope;
	qmgr_doubt_add(&w->q, &w->agent, &doubt);
	return w;
}

static void
world_end(struct world *w)
{
	qmgr_doubt_agent_gone(&w->q, &w->agent);
	assert_int_equal(w->q.doubts.count, 0);
	assert_int_equal(w->q.doubts_held, 0);
	hmap_done(&w->q.doubts);
	mem_free(w);
}

static void
only_what_was_named_is_held(void **state UNUSED)
{
	struct world *w = world_new((uint32_t[]){11}, 1);

	assert_false(qmgr_doubt_hold(&w->q, &w->m, 0));
	assert_true(qmgr_doubt_hold(&w->q, &w->m, 1));
	assert_false(qmgr_doubt_hold(&w->q, &w->m, 2));
	assert_int_equal(w->q.doubts_held, 1);
	/* It is named again, when the agent enlists anew: nothing changes. */
	qmgr_doubt_add(&w->q, &w->agent, &(struct delivery_doubt){MESSAGE, (uint32_t[]){11}, 1});
	assert_int_equal(w->q.doubts.count, 1);
	world_end(w);
	assert_int_equal(deferred, 1);
	assert_int_equal(last, 1);
}

static void
a_report_ends_it(void **state UNUSED)
{
	struct world *w = world_new((uint32_t[]){10, 12}, 2);
	struct qmgr_message *m = NULL;
	uint32_t rcpt = 99;

	assert_true(qmgr_doubt_hold(&w->q, &w->m, 2));
	assert_true(qmgr_doubt_end(&w->q, MESSAGE, 12, &m, &rcpt));
	assert_ptr_equal(m, &w->m);
	assert_int_equal(rcpt, 2);
	/* The other one was not here: there is nobody to give back, and it may be delivered from now on. */
	assert_false(qmgr_doubt_end(&w->q, MESSAGE, 10, &m, &rcpt));
	assert_false(qmgr_doubt_hold(&w->q, &w->m, 0));
	assert_false(qmgr_doubt_end(&w->q, MESSAGE, 12, &m, &rcpt));
	world_end(w);
	assert_int_equal(deferred + scheduled, 0);
}

static void
a_lost_lease_gives_it_back(void **state UNUSED)
{
	struct world *w = world_new((uint32_t[]){10, 11}, 2);

	assert_true(qmgr_doubt_hold(&w->q, &w->m, 0));
	qmgr_doubt_drop_lost(&w->q);
	assert_int_equal(scheduled, 0);
	lost = true;
	qmgr_doubt_drop_lost(&w->q);
	assert_int_equal(scheduled, 1);
	assert_int_equal(last, 0);
	/* Still in doubt: it is kept back again if it comes back. */
	assert_true(qmgr_doubt_hold(&w->q, &w->m, 0));
	world_end(w);
	assert_int_equal(deferred, 1);
}

static void
they_are_listed(void **state UNUSED)
{
	struct world *w = world_new((uint32_t[]){10, 12}, 2);
	int64_t msg_ids[2];
	int32_t rcpt_nos[2];

	assert_int_equal(w->q.doubts.count, 2);
	assert_int_equal(qmgr_doubt_list(&w->q, msg_ids, rcpt_nos), 2);
	assert_int_equal(msg_ids[0], MESSAGE);
	assert_int_equal(msg_ids[1], MESSAGE);
	assert_int_equal(rcpt_nos[0] + rcpt_nos[1], 22);
	world_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_what_was_named_is_held),
	    cmocka_unit_test(a_report_ends_it),
	    cmocka_unit_test(a_lost_lease_gives_it_back),
	    cmocka_unit_test(they_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
