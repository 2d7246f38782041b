/*
 * test_sched_job.c - the preemptive scheduler, driven without agents, clock or queue: in which order the entries of jobs go to the slots,
 * against the sequences and bounds of Postfix's SCHEDULER_README.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sched/sched_heap.h"
#include "sched/sched_job.h"
#include "sched/sched_rate.h"

#define MESSAGES     4000
#define DESTINATIONS 64

/* A transport, and messages that are only their job lists. */
struct sim {
	struct sched_transport t;
	struct sched_destination d[DESTINATIONS];
	struct list jobs[MESSAGES];
	int64_t now;
	size_t messages;
	size_t waiting; /* entries */
};

static struct sim *
sim_new(struct sched_slots slots, int window)
{
	struct sim *s = mem_new(struct sim);

	sched_job_init_transport(&s->t);
	s->t.recipient_limit = 1;
	s->t.slots = slots;
	s->t.limits = (struct sched_window_limits){.initial = window, .limit = window};
	for (size_t i = 0; i < DESTINATIONS; i++)
		sched_job_init_destination(&s->d[i], &s->t);
	for (size_t i = 0; i < MESSAGES; i++)
		list_init(&s->jobs[i]);
	s->now = 1000 * CLOCK_SECOND;
	return s;
}

static struct qmgr_message *
sim_message(size_t number)
{
	return (struct qmgr_message *)(uintptr_t)(number + 1);
}

/* `entries` recipients of message `number` for destination `d`. */
static void
sim_add(struct sim *s, size_t number, size_t d, size_t entries)
{
	const struct sched_job_owner owner = {
	    .message = sim_message(number),
	    .jobs = &s->jobs[number],
	    .queued = s->now,
	};

	for (size_t i = 0; i < entries; i++)
		sched_job_add(&s->d[d], &owner, (uint32_t)i);
}

/* Hands out the next entry: the number of its message, or -1. It stays under way. */
static int
sim_start(struct sim *s, struct sched_destination **ret)
{
	struct sched_destination *d = sched_job_next(&s->t);
	struct sched_entry *e;
	int number;

	if (d == NULL)
		return -1;
	if (sched_job_could_preempt(&s->t) && sched_job_preempt(&s->t, s->now))
		d = sched_job_next(&s->t);
	e = sched_job_take(d);
	number = (int)((uintptr_t)e->message - 1);
	sched_entry_free(&e);
	*ret = d;
	return number;
}

static void
sim_end(struct sched_destination *d)
{
	d->busy--;
	sched_job_check(d);
}

/* One slot for all: deliveries one after the other. The message whose turn it was, or -1. */
static int
sim_step(struct sim *s)
{
	struct sched_destination *d;
	int number = sim_start(s, &d);

	if (number >= 0)
		sim_end(d);
	return number;
}

static void
sim_free(struct sim *s)
{
	while (sim_step(s) >= 0)
		continue;
	for (size_t i = 0; i < DESTINATIONS; i++)
		assert_true(list_is_empty(&s->d[i].peers) && s->d[i].todo_count == 0);
	assert_int_equal(s->t.waiting, 0);
	sched_job_done_transport(&s->t);
	mem_free(s);
}

static void
assert_sequence(struct sim *s, const char *expected)
{
	char got[200];
	size_t n = 0;

	for (int number = sim_step(s); number >= 0 && n < sizeof(got) - 1; number = sim_step(s))
		got[n++] = (char)('0' + number);
	got[n] = '\0';
	assert_string_equal(got, expected);
}

/* ---- the sequences of SCHEDULER_README --------------------------------------------------------------------------- */

static void
test_documented_sequences(void **state UNUSED)
{
	static const struct {
		struct sched_slots slots;
		const char *expected;
	} cases[] = {
	    /* "if the preemption happened when enough delivery slots accumulate (slot cost 2)" */
	    {{.cost = 2, .discount = 0, .minimum = 3}, "11112211113311"},
	    /* "if we would wait only for 50% of the necessary slots" */
	    {{.cost = 2, .discount = 50, .minimum = 3}, "11221111331111"},
	    /* a loan does the same */
	    {{.cost = 2, .discount = 0, .loan = 1, .minimum = 3}, "11221111331111"},
	    /* a price below 2: nobody overtakes */
	    {{.cost = 1, .discount = 50, .loan = 3, .minimum = 0}, "11111111112233"},
	    /* ten entries can never gather six slots at this price */
	    {{.cost = 2, .discount = 50, .loan = 3, .minimum = 6}, "11111111112233"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sim *s = sim_new(cases[i].slots, 20);

		sim_add(s, 1, 0, 10);
		sim_add(s, 2, 0, 2);
		sim_add(s, 3, 0, 2);
		assert_sequence(s, cases[i].expected);
		sim_free(s);
	}
}

static const struct sched_slots postfix_slots = {
    .cost = 5, .loan = 3, .discount = 50, .minimum = 3};

/* Small mail does not overtake small mail: 14 entries are less than 3 slots of 5. */
static void
test_order_of_arrival(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 20);

	sim_add(s, 1, 0, 14);
	sim_add(s, 2, 0, 1);
	sim_add(s, 3, 1, 2);
	assert_sequence(s, "11111111111111233");
	sim_free(s);
}

static void
test_round_robin_of_destinations(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 20);
	struct sched_destination *d;
	int counts[3] = {0};

	for (size_t i = 0; i < 3; i++)
		sim_add(s, 1, i, 4);
	for (int i = 0; i < 12; i++) {
		assert_int_equal(sim_start(s, &d), 1);
		counts[d - s->d]++;
		/* Nobody is ahead of another by more than one. */
		for (int j = 0; j < 3; j++)
			assert_true(counts[d - s->d] - counts[j] <= 1);
		sim_end(d);
	}
	sim_free(s);
}

/* ---- fairness ---------------------------------------------------------------------------------------------------- */

/*
 * However many single mails wait, a list of n entries is through after n * (k + 1) / k deliveries, and a loan; and of
 * each k + 1 deliveries one is a single mail's.
 */
static void
test_list_against_singles(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 20);
	size_t list = 1000, singles = 0, steps = 0;

	sim_add(s, 0, 0, list);
	for (size_t i = 1; i < MESSAGES; i++)
		sim_add(s, i, 0, 1);
	while (list > 0) {
		int number = sim_step(s);

		steps++;
		if (number == 0)
			list--;
		else
			assert_int_equal(number, ++singles); /* the oldest first */
	}
	assert_in_range(steps, 1190, 1205);
	sim_free(s);
}

/* With lists that overtake lists the factor is k / (k - 1) for the largest. */
static void
test_lists_against_lists(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 20);
	size_t list = 2000, steps = 0;
	size_t next = 1;

	sim_add(s, 0, 0, list);
	while (list > 0) {
		/* There is always a list of 100, one of 20, and single mail. */
		if (next + 10 < MESSAGES && steps % 6 == 0) {
			sim_add(s, next++, 0, steps % 120 == 0 ? 100 : steps % 48 == 0 ? 20 : 1);
			s->now += CLOCK_SECOND;
		}
		if (sim_step(s) == 0)
			list--;
		steps++;
	}
	assert_true(steps <= 2000 * 5 / 4 + 20);
	assert_true(steps > 2200);
	sim_free(s);
}

/* How long a single mail waits behind a list, in deliveries: not longer than without the list, but for one slot's price. */
static void
test_single_behind_list(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 20);

	sim_add(s, 0, 0, 1000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sim_step(s), 0);
	for (size_t i = 1; i < 100; i++) {
		int waited = 0;

		sim_add(s, i, i % 7, 1);
		while (sim_step(s) != (int)i)
			waited++;
		assert_true(waited <= 5);
	}
	sim_free(s);
}

/* Old and not so small goes before young and small. */
static void
test_candidate_by_age(void **state UNUSED)
{
	struct sim *s =
	    sim_new((struct sched_slots){.cost = 2, .discount = 50, .loan = 3, .minimum = 3}, 20);

	sim_add(s, 0, 0, 100);
	sim_add(s, 1, 0, 4);
	s->now += 100 * CLOCK_SECOND;
	sim_add(s, 2, 0, 1);
	assert_int_equal(sim_step(s), 0);
	assert_int_equal(sim_step(s), 1);
	sim_free(s);
}

/* ---- destinations that are full ------------------------------------------------------------------------------------ */

static void
test_full_destinations_are_passed_over(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 2);
	struct sched_destination *d, *full;

	sim_add(s, 1, 0, 5);
	sim_add(s, 2, 1, 1);
	sim_add(s, 3, 0, 1);
	assert_int_equal(sim_start(s, &full), 1);
	assert_int_equal(sim_start(s, &full), 1);
	assert_int_equal(sim_start(s, &d), 2);
	assert_int_equal(sim_start(s, &d), -1);
	sim_end(full);
	assert_int_equal(sim_start(s, &d), 1); /* to one destination: in the order of arrival */
	assert_int_equal(sim_start(s, &d), -1);
	sim_end(full);
	sim_end(full);
	sim_end(&s->d[1]);
	assert_sequence(s, "113");
	sim_free(s);
}

/* A candidate whose destination is full does not overtake, another does. */
static void
test_full_candidates(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 1);
	struct sched_destination *d, *full;

	sim_add(s, 9, 1, 1);
	assert_int_equal(sim_start(s, &full), 9);
	sim_add(s, 1, 0, 100);
	sim_add(s, 2, 1, 1);
	assert_int_equal(sim_step(s), 1);
	assert_int_equal(sim_step(s), 1);
	sim_add(s, 3, 2, 1);
	assert_int_equal(sim_start(s, &d), 3);
	sim_end(d);
	sim_end(full);
	sim_free(s);
}

static void
test_unlimited_window(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 0);
	struct sched_destination *d = NULL;

	sim_add(s, 1, 0, 50);
	for (int i = 0; i < 50; i++)
		assert_int_equal(sim_start(s, &d), 1);
	for (int i = 0; i < 50; i++)
		sim_end(d);
	sim_free(s);
}

/* ---- what was bought and not used --------------------------------------------------------------------------------- */

static void
test_unused_slots_come_back(void **state UNUSED)
{
	struct sim *s = sim_new((struct sched_slots){.cost = 2, .discount = 0, .minimum = 3}, 20);
	struct sched_job *list;
	struct sched_entry *e;

	sim_add(s, 1, 0, 100);
	list = CONTAINER_OF(s->t.jobs.next, struct sched_job, node);
	sim_add(s, 2, 0, 3);
	for (int i = 0; i < 6; i++)
		assert_int_equal(sim_step(s), 1);
	assert_int_equal(list->slots, 6);
	assert_int_equal(sim_step(s), 2);
	assert_int_equal(list->slots, 0);
	/* An operator takes the other two away. */
	for (int i = 0; i < 2; i++) {
		e = sched_job_first(&s->d[0]);
		assert_ptr_equal(e->message, sim_message(2));
		sched_job_withdraw(e);
		sched_entry_free(&e);
	}
	assert_int_equal(list->slots, 4);
	sim_free(s);
}

/* The overtaken ends first; who overtook it belongs to nobody then. */
static void
test_parent_ends_first(void **state UNUSED)
{
	struct sim *s =
	    sim_new((struct sched_slots){.cost = 2, .discount = 50, .loan = 3, .minimum = 3}, 1);
	struct sched_destination *d;

	sim_add(s, 1, 0, 8);
	sim_add(s, 2, 1, 3);
	assert_int_equal(sim_step(s), 1);
	assert_int_equal(sim_start(s, &d), 2); /* 2 overtakes, then its destination is full */
	for (int i = 0; i < 7; i++)
		assert_int_equal(sim_step(s), 1);
	assert_int_equal(sim_step(s), -1);
	sim_end(d);
	assert_sequence(s, "22");
	sim_free(s);
}

/* ---- invariants ----------------------------------------------------------------------------------------------------- */

static void
check_heap(const struct sim *s)
{
	for (size_t i = 1; i < s->t.ready.count; i++)
		assert_false(sched_heap_before(s->t.ready.items[i], s->t.ready.items[(i - 1) / 2]));
	for (size_t i = 0; i < DESTINATIONS; i++) {
		const struct sched_destination *d = &s->d[i];
		bool ready = !list_is_empty(&d->peers) && d->busy < d->window.window;
		int64_t rank = INT64_MIN;

		assert_int_equal(d->ready_at != 0, ready); /* J1 */
		LIST_FOREACH (peer, &d->peers, struct sched_peer, by_destination) {
			assert_true(peer->job->rank > rank);         /* J2 */
			assert_false(list_is_empty(&peer->entries)); /* J3 */
			rank = peer->job->rank;
		}
	}
	LIST_FOREACH (job, &s->t.jobs, struct sched_job, node) {
		assert_false(list_is_empty(&job->peers));
		if (job->node.next != &s->t.jobs)
			assert_true(
			    job->rank < CONTAINER_OF(job->node.next, struct sched_job, node)->rank);
	}
}

/* Any order of arrivals, ends and withdrawals: the structure holds, and every entry is handed out or withdrawn once. */
static void
test_invariants(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 3);
	struct sched_destination *running[DESTINATIONS * 3], *d;
	size_t count = 0, in = 0, out = 0;
	uint32_t r = 1;

	for (size_t i = 0; i < 12000; i++) {
		r = r * 1664525u + 1013904223u;
		s->now += r >> 20;
		if (i % 3 == 0 && i / 3 < MESSAGES) {
			for (size_t to = 0; to < 1 + (r >> 8) % 3; to++) {
				size_t entries = (r >> 12) % 50 == 0 ? 60 : 1;

				sim_add(s, i / 3, ((r >> 16) + to * 7) % DESTINATIONS, entries);
				in += entries;
			}
		} else if (i % 50 == 1 && s->t.jobs.next != &s->t.jobs) {
			struct sched_job *job =
			    CONTAINER_OF(s->t.jobs.prev, struct sched_job, node);
			struct sched_peer *peer =
			    CONTAINER_OF(job->peers.next, struct sched_peer, by_job);
			struct sched_entry *e =
			    CONTAINER_OF(peer->entries.next, struct sched_entry, node);

			sched_job_withdraw(e);
			sched_entry_free(&e);
			out++;
		} else if (count == ARRAY_LEN(running) || (count > 0 && (r >> 9) % 2 == 0)) {
			size_t at = (r >> 10) % count;

			sim_end(running[at]);
			running[at] = running[--count];
		} else if (sim_start(s, &d) >= 0) {
			running[count++] = d;
			out++;
		}
		if (i % 16 == 0)
			check_heap(s);
	}
	while (count > 0)
		sim_end(running[--count]);
	while (sim_step(s) >= 0)
		out++;
	assert_int_equal(in, out);
	sim_free(s);
}

/* Between two jobs there is room for any number of others. */
static void
test_ranks_never_run_out(void **state UNUSED)
{
	struct sim *s =
	    sim_new((struct sched_slots){.cost = 2, .discount = 100, .loan = 0, .minimum = 1}, 1);
	struct sched_destination *d;

	/* A job that stays in front, blocked, so that overtakers go between it and the list. */
	sim_add(s, 0, 1, 2);
	assert_int_equal(sim_start(s, &d), 0);
	sim_add(s, 1, 0, 1000);
	for (size_t i = 2; i < 300; i++)
		sim_add(s, i, 2, 1);
	for (int i = 0; i < 900; i++) {
		assert_true(sim_step(s) > 0);
		check_heap(s);
	}
	sim_end(d);
	sim_free(s);
}

/* ---- pauses ---------------------------------------------------------------------------------------------------------- */

static void
test_destination_rate_delay(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 1);
	struct sched_destination *d;
	int64_t now = 0;

	s->t.destination_rate_delay = 2 * CLOCK_SECOND;
	sim_add(s, 1, 0, 3);
	sim_add(s, 2, 1, 1);
	for (int i = 0; i < 3; i++) {
		int64_t until;

		assert_int_equal(sim_start(s, &d), 1);
		d->busy--;
		sched_rate_ended(d, now);
		until = sched_rate_release(&s->t, now + CLOCK_SECOND);
		assert_int_equal(until, now + 2 * CLOCK_SECOND);
		/* Others go on meanwhile. */
		assert_int_equal(sim_start(s, &d), i == 0 ? 2 : -1);
		if (i == 0)
			sim_end(d);
		now = until;
		assert_int_equal(sched_rate_release(&s->t, now), CLOCK_NEVER);
	}
	s->t.destination_rate_delay = 0;
	sim_free(s);
}

static void
test_transport_rate_delay(void **state UNUSED)
{
	struct sim *s = sim_new(postfix_slots, 20);
	struct sched_destination *d;

	s->t.transport_rate_delay = CLOCK_SECOND;
	sim_add(s, 1, 0, 1);
	sim_add(s, 1, 1, 1);
	assert_int_equal(sim_start(s, &d), 1);
	s->t.busy++;
	sched_rate_began(&s->t);
	assert_true(s->t.rate_locked); /* for as long as it runs */
	assert_int_equal(sched_rate_release(&s->t, 100 * CLOCK_SECOND), CLOCK_NEVER);
	assert_true(s->t.rate_locked);
	s->t.busy--;
	d->busy--;
	sched_rate_ended(d, 100 * CLOCK_SECOND);
	assert_int_equal(sched_rate_release(&s->t, 100 * CLOCK_SECOND), 101 * CLOCK_SECOND);
	assert_true(s->t.rate_locked);
	assert_int_equal(sched_rate_release(&s->t, 101 * CLOCK_SECOND), CLOCK_NEVER);
	assert_false(s->t.rate_locked);
	sim_free(s);
}

/* Recipients go together as far as the transport takes them and a request has room. */
static void
test_bytes(void **state)
{
	struct sim *s = sim_new((struct sched_slots){0}, 5);
	struct sched_job_owner owner = {
	    .message = sim_message(0),
	    .jobs = &s->jobs[0],
	    .queued = s->now,
	    .bytes = SCHED_ENTRY_BYTES / 3,
	};

	(void)state;
	s->t.recipient_limit = 0;
	for (uint32_t i = 0; i < 7; i++)
		sched_job_add(&s->d[0], &owner, i);
	assert_int_equal(s->d[0].todo_count, 3);
	assert_int_equal(sched_job_first(&s->d[0])->rcpt_count, 3);
	/* One that is larger goes alone. */
	owner.bytes = 2 * SCHED_ENTRY_BYTES;
	sched_job_add(&s->d[0], &owner, 7);
	assert_int_equal(s->d[0].todo_count, 4);
	sim_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_documented_sequences),
	    cmocka_unit_test(test_order_of_arrival),
	    cmocka_unit_test(test_round_robin_of_destinations),
	    cmocka_unit_test(test_list_against_singles),
	    cmocka_unit_test(test_lists_against_lists),
	    cmocka_unit_test(test_single_behind_list),
	    cmocka_unit_test(test_candidate_by_age),
	    cmocka_unit_test(test_full_destinations_are_passed_over),
	    cmocka_unit_test(test_full_candidates),
	    cmocka_unit_test(test_unlimited_window),
	    cmocka_unit_test(test_unused_slots_come_back),
	    cmocka_unit_test(test_parent_ends_first),
	    cmocka_unit_test(test_invariants),
	    cmocka_unit_test(test_ranks_never_run_out),
	    cmocka_unit_test(test_destination_rate_delay),
	    cmocka_unit_test(test_transport_rate_delay),
	    cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
