/*
 * test_base.c - buffers, spans, arenas, lists, hash table, UTF-8, errors, clocks: the floor that everything stands on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hmap.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/span.h"
#include "base/utf8.h"

static void
test_buf_grows_and_terminates(void **state UNUSED)
{
	struct buf b CLEANUP(buf_done) = {0};

	assert_string_equal(buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%d,", i);
	assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
	assert_int_equal(b.ptr[b.len], '\0');
	buf_consume(&b, 4);
	assert_true(span_starts(buf_span(&b), "2,3,"));
	buf_truncate(&b, 3);
	assert_string_equal(buf_str(&b), "2,3");
}

static void
test_buf_maximum_is_sticky(void **state UNUSED)
{
	struct buf b CLEANUP(buf_done) = {.max = 4};

	buf_add_str(&b, "abc");
	assert_false(b.overflow);
	buf_add_str(&b, "def");
	assert_true(b.overflow);
	assert_string_equal(buf_str(&b), "abcd");
	buf_clear(&b);
	assert_false(b.overflow);
}

static void
test_buf_long_printf_and_numbers(void **state UNUSED)
{
	struct buf b CLEANUP(buf_done) = {0};
	char *taken;

	buf_printf(&b, "%0500d", 7);
	assert_int_equal(b.len, 500);
	taken = buf_take(&b);
	assert_int_equal(taken[499], '7');
	assert_int_equal(b.len, 0);
	mem_free(taken);
	buf_add_u32(&b, 0x01020304);
	buf_add_u16(&b, 0xfffe);
	assert_memory_equal(b.ptr, "\1\2\3\4\xff\xfe", 6);
}

static void
test_span_words_and_numbers(void **state UNUSED)
{
	struct span rest = SPAN_LIT("  a, bc ,,d");
	struct span word;
	uint64_t n = 5;

	assert_true(span_word(&rest, ", ", &word) && span_equal_str(word, "a"));
	assert_true(span_word(&rest, ", ", &word) && span_equal_str(word, "bc"));
	assert_true(span_word(&rest, ", ", &word) && span_equal_str(word, "d"));
	assert_false(span_word(&rest, ", ", &word));
	assert_true(span_number(SPAN_LIT("18446744073709551615"), UINT64_MAX, &n));
	assert_true(n == UINT64_MAX);
	assert_false(span_number(SPAN_LIT("18446744073709551616"), UINT64_MAX, &n));
	assert_false(span_number(SPAN_LIT("12x"), 100, &n));
	assert_false(span_number(SPAN_LIT("101"), 100, &n));
	assert_false(span_number(SPAN_LIT(""), 100, &n));
}

static void
test_span_compare(void **state UNUSED)
{
	assert_true(span_equal_nocase_str(SPAN_LIT("MaIl"), "mail"));
	assert_false(span_equal_str(SPAN_LIT("mail"), "mailx"));
	assert_true(span_ends_nocase(SPAN_LIT("x.EXAMPLE"), ".example"));
	assert_false(span_ends(SPAN_LIT("e"), "example"));
	assert_int_equal(span_find(SPAN_LIT("a@b@c"), '@'), 1);
	assert_int_equal(span_find_last(SPAN_LIT("a@b@c"), '@'), 3);
	assert_int_equal(span_find(SPAN_LIT("abc"), '@'), 3);
	assert_true(span_equal_str(span_trim(SPAN_LIT("\t x y \r\n")), "x y"));
}

static void
test_arena_large_and_small(void **state UNUSED)
{
	struct arena a CLEANUP(arena_done) = {0};
	char *first = arena_strdup(&a, "first");

	for (int i = 0; i < 1000; i++) {
		char *p = arena_alloc(&a, 100);

		assert_int_equal(p[99], 0);
		memset(p, 'x', 100);
	}
	memset(arena_alloc(&a, 300000), 'y', 300000);
	assert_string_equal(first, "first");
	assert_string_equal(arena_printf(&a, "%d-%s", 5, "z"), "5-z");
	assert_null(arena_strdup(&a, NULL));
}

struct thing {
	int n;
	struct list node;
};

static void
test_list_order_and_removal(void **state UNUSED)
{
	struct thing things[4] = {{.n = 0}, {.n = 1}, {.n = 2}, {.n = 3}};
	struct list head, other;
	int sum = 0;

	list_init(&head);
	list_init(&other);
	assert_null(LIST_FIRST(&head, struct thing, node));
	for (size_t i = 0; i < 3; i++)
		list_add(&head, &things[i].node);
	list_add_front(&head, &things[3].node);
	assert_int_equal(LIST_FIRST(&head, struct thing, node)->n, 3);
	LIST_FOREACH_SAFE (t, &head, struct thing, node) {
		if (t->n == 1)
			list_remove(&t->node);
		else
			sum = sum * 10 + t->n;
	}
	assert_int_equal(sum, 302);
	assert_false(list_is_linked(&things[1].node));
	list_splice(&other, &head);
	assert_true(list_is_empty(&head));
	list_remove(&things[3].node);
	list_remove(&things[3].node);
	assert_int_equal(LIST_FIRST(&other, struct thing, node)->n, 0);
}

static void
test_hmap_many_keys(void **state UNUSED)
{
	struct hmap m = {0};
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;
	static int values[5000];
	size_t seen = 0;

	for (int64_t i = 0; i < 5000; i++)
		assert_null(hmap_put(&m, HMAP_KEY(i), &values[i]));
	for (int64_t i = 0; i < 5000; i += 2)
		assert_ptr_equal(hmap_remove(&m, HMAP_KEY(i)), &values[i]);
	for (int64_t i = 0; i < 5000; i++)
		assert_ptr_equal(hmap_get(&m, HMAP_KEY(i)), i % 2 == 0 ? NULL : &values[i]);
	while (hmap_next(&m, &cursor, &key, &value)) {
		assert_int_equal(key.len, 8);
		seen++;
	}
	assert_int_equal(seen, 2500);
	hmap_done(&m);
}

static void
test_hmap_replaces(void **state UNUSED)
{
	struct hmap m = {0};
	int a, b;

	assert_null(hmap_get(&m, SPAN_LIT("k")));
	assert_null(hmap_put(&m, SPAN_LIT("k"), &a));
	assert_ptr_equal(hmap_put(&m, SPAN_LIT("k"), &b), &a);
	assert_int_equal(m.count, 1);
	assert_null(hmap_get(&m, SPAN_LIT("")));
	hmap_done(&m);
}

static void
test_utf8_clean(void **state UNUSED)
{
	struct buf b CLEANUP(buf_done) = {0};

	assert_true(utf8_is_valid(SPAN_LIT("gr\xc3\xbc\xc3\x9f")));
	assert_false(utf8_is_valid(SPAN_LIT("\xc0\xaf")));         /* overlong */
	assert_false(utf8_is_valid(SPAN_LIT("\xed\xa0\x80")));     /* surrogate */
	assert_false(utf8_is_valid(SPAN_LIT("a\0b")));             /* NUL */
	assert_false(utf8_is_valid(SPAN_LIT("\xf4\x90\x80\x80"))); /* above U+10FFFF */
	assert_false(utf8_is_valid(SPAN_LIT("\xe2\x82")));         /* cut */
	utf8_add_clean(&b, SPAN_LIT("a\0b\xff\xc3\xbc"), 100);
	assert_string_equal(buf_str(&b), "a?b?\xc3\xbc");
	buf_clear(&b);
	utf8_add_clean(&b, SPAN_LIT("ab\xc3\xbc"), 3);
	assert_string_equal(buf_str(&b), "ab");
}

static void
test_err_keeps_text_of_itself(void **state UNUSED)
{
	struct err err;

	assert_false(err_set(&err, ERR_TEMP, "4.4.1", "connect: %s", "refused"));
	(void)err_prefix(&err, "host %s", "h");
	assert_string_equal(err.text, "host h: connect: refused");
	assert_string_equal(err.dsn, "4.4.1");
	(void)err_set_smtp(&err, ERR_PERM, 550, "5.1.1", "was: %s", err.text);
	assert_string_equal(err.text, "was: host h: connect: refused");
	assert_int_equal(err.smtp_code, 550);
}

static void
test_clock_formats(void **state UNUSED)
{
	char out[64];

	(void)setenv("TZ", "UTC", 1);
	tzset();
	clock_format_mail(1793620800, out, sizeof(out));
	assert_string_equal(out, "Mon, 2 Nov 2026 12:00:00 +0000 (UTC)");
	clock_format_mail(1795262400, out, sizeof(out));
	assert_string_equal(out, "Sat, 21 Nov 2026 12:00:00 +0000 (UTC)");
	clock_fake(1000, 2000);
	assert_int_equal(clock_deadline(500), 1500);
	assert_true(clock_deadline(CLOCK_NEVER) == CLOCK_NEVER);
	assert_true(clock_deadline(CLOCK_NEVER - 10) == CLOCK_NEVER);
	clock_fake(-1, -1);
}

static void
test_random_spread(void **state UNUSED)
{
	int64_t a = random_epoch();
	int64_t b = random_epoch();
	bool seen[10] = {false};

	assert_true(a > 0 && b > 0 && a != b);
	for (int i = 0; i < 2000; i++)
		seen[random_below(10)] = true;
	for (int i = 0; i < 10; i++)
		assert_true(seen[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_buf_grows_and_terminates),
	    cmocka_unit_test(test_buf_maximum_is_sticky),
	    cmocka_unit_test(test_buf_long_printf_and_numbers),
	    cmocka_unit_test(test_span_words_and_numbers),
	    cmocka_unit_test(test_span_compare),
	    cmocka_unit_test(test_arena_large_and_small),
	    cmocka_unit_test(test_list_order_and_removal),
	    cmocka_unit_test(test_hmap_many_keys),
	    cmocka_unit_test(test_hmap_replaces),
	    cmocka_unit_test(test_utf8_clean),
	    cmocka_unit_test(test_err_keeps_text_of_itself),
	    cmocka_unit_test(test_clock_formats),
	    cmocka_unit_test(test_random_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
