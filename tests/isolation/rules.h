/*
 * rules.h - for the tests of the protocol rules: the queue's fixture, things done in tasks of their own, and the frame of a test:
 * RULE(name) { ... } is a test with a fresh database, a front end `f` and a scheduler's desk `d`.
 */
#ifndef TESTS_ISOLATION_RULES_H
#define TESTS_ISOLATION_RULES_H

#include "../unit/queue/queue_fixture.h"

#include "queue/queue_history.h"

struct rule {
	struct test_front f;
	struct test_desk d;
};

#define RULE(name)                                                                                 \
	static void name##_body(struct rule *t);                                                   \
	static void name##_task(void)                                                              \
	{                                                                                          \
		rule_run(name##_body);                                                             \
	}                                                                                          \
	static void name(void **state UNUSED)                                                      \
	{                                                                                          \
		run_as_task(name##_task);                                                          \
	}                                                                                          \
	static void name##_body(struct rule *t UNUSED)

static UNUSED void
rule_run(void (*body)(struct rule *t))
{
	struct rule t;

	open_database();
	t.f = front_at(NULL);
	desk_open(&t.d, NULL);
	body(&t);
	desk_close(&t.d);
	front_close(&t.f);
	close_database();
}

/* ---- in a task of its own ---------------------------------------------------------------------------------------- */

struct aside {
	void (*fn)(void *arg);
	void *arg;
	bool done;
	struct task_cond cond;
};

static UNUSED void
aside_task(void *arg)
{
	struct aside *a = arg;

	a->fn(a->arg);
	a->done = true;
	task_cond_wake_all(&a->cond);
}

static UNUSED void
aside_start(struct aside *a, void (*fn)(void *arg), void *arg)
{
	*a = (struct aside){.fn = fn, .arg = arg};
	assert_non_null(task_start("aside", aside_task, a));
}

static UNUSED void
aside_join(struct aside *a)
{
	int64_t end = soon();

	while (!a->done)
		assert_int_equal(task_cond_wait(&a->cond, end), TASK_READY);
}

/* Recording one outcome aside. */
struct aside_record {
	struct aside aside;
	struct test_desk *desk;
	struct queue_result result;
	bool ok;
	struct err err;
};

static UNUSED void
aside_record_run(void *arg)
{
	struct aside_record *a = arg;
	struct queue_result *list[] = {&a->result};

	a->ok = queue_record_flush(a->desk->desk, list, 1, soon(), &a->err);
}

static UNUSED void
aside_record(struct aside_record *a, struct test_desk *d, struct queue_result r)
{
	*a = (struct aside_record){.desk = d, .result = r};
	aside_start(&a->aside, aside_record_run, a);
}

/* Storing one message aside. */
struct aside_store {
	struct aside aside;
	struct test_front *front;
	struct arena arena;
	struct queue_message message;
	bool ok;
	struct err err;
};

static UNUSED void
aside_store_run(void *arg)
{
	struct aside_store *a = arg;

	a->ok = queue_front_store(a->front->front, &a->message, soon(), &a->err);
}

static UNUSED void
aside_store(struct aside_store *a, struct test_front *f)
{
	*a = (struct aside_store){.front = f};
	a->message = make_message(&a->arena, mint(f), 1);
	aside_start(&a->aside, aside_store_run, a);
}

static UNUSED void
aside_store_join(struct aside_store *a)
{
	aside_join(&a->aside);
	arena_done(&a->arena);
}

/* ---- other things that happen -------------------------------------------------------------------------------------- */

/* Waits until `sessions` sessions wait for a lock. */
static UNUSED void
await_lock_waits(int64_t sessions)
{
	int64_t end = soon();

	while (ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
		   "AND wait_event_type = 'Lock'") < sessions) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	}
}

/* A node is declared dead, as an observer would. */
static UNUSED void
declare_dead(const struct test_desk *d)
{
	tell("UPDATE mailq.node SET state = 'dead' WHERE epoch = %lld", (long long)d->epoch);
}

/* Everything that a takeover brings, until there is nothing more. */
static UNUSED struct queue_claims
take_over(struct test_desk *d)
{
	struct queue_claims all = {0};
	struct err err = {0};
	bool more = true;

	while (more) {
		struct queue_claims c = {0};

		if (!queue_claim_takeover(d->desk, &wide, soon(), &c, &more, &err))
			fail_msg("takeover: %s", err.text);
		for (size_t i = 0; i < c.count; i++) {
			all.items = mem_resize(all.items, all.count + 1, sizeof(all.items[0]));
			all.items[all.count++] = c.items[i];
			c.items[i] = NULL;
		}
		queue_claims_done(&c);
	}
	return all;
}

/* Closes the open set as if long ago; the next look of each desk is to see it. */
static UNUSED void
rotate_now(void)
{
	tell("SELECT mailq.ring_rotate('0 s', 0, 64); "
	     "UPDATE mailq.ring SET since = now() - interval '1 hour' WHERE state = 'draining'");
	(void)task_sleep_until(clock_deadline(CLOCK_SECOND + 50 * CLOCK_MILLI));
}

#endif
