/*
 * test_qmgr_page.c - when further recipients of a large list are read, and how many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "qmgr/qmgr_page.h"

static const struct sched_pool pool = {
    .limit = 20000, .extra = 1000, .refill_limit = 100, .refill_delay = 5 * CLOCK_SECOND};

static void
test_page_size(void **state UNUSED)
{
	static const struct {
		const char *what;
		struct qmgr_page_state s;
		size_t size;
	} cases[] = {
	    {"nothing here: as much as a statement reads", {.open = 0}, 5000},
	    {"room for more", {.waiting = 5000, .here = 5000, .open = 5000}, 5000},
	    {"room for a part", {.waiting = 17000, .here = 17000, .open = 17000}, 3000},
	    {"no room", {.waiting = 20000, .here = 20000, .open = 20000}, 0},
	    {"no room, however long", {.waiting = 20000, .open = 20000, .elapsed = INT64_MAX}, 0},
	    {"too little room to be worth it", {.waiting = 19950, .open = 19950}, 0},
	    {"but after a while it is",
		{.waiting = 19950, .open = 19950, .elapsed = 6 * CLOCK_SECOND}, 50},
	    {"the refill limit", {.waiting = 19900, .open = 19900}, 100},
	    {"others' lists fill the room: some, so that it goes on", {.waiting = 30000, .open = 0},
		10},
	    {"the extra room is for who overtook",
		{.waiting = 20000, .open = 20000, .overtook = true}, 1000},
	    {"stragglers: settled recipients count a quarter", {.here = 40000, .open = 40}, 5000},
	    {"stragglers in too many pages", {.here = 80000, .open = 40}, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct qmgr_page_state s = cases[i].s;
		size_t size;

		s.minimum = 10;
		s.most = 5000;
		size = qmgr_page_size(&pool, &s);
		if (size != cases[i].size)
			fail_msg("%s: %zu", cases[i].what, size);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_page_size)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
