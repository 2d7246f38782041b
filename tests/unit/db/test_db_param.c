/*
 * test_db_param.c - the binary formats, against the bytes that array_send() and friends give; no server needed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "db/db.h"
#include "db/db_int.h"

static void
test_empty_array_has_no_dimension(void **state UNUSED)
{
	static const char want[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20};
	struct buf b = {0};

	db_array_begin(&b, DB_INT8);
	db_array_end(&b);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.ptr, want, sizeof(want));
	buf_done(&b);
}

static void
test_array_of_int2_with_null(void **state UNUSED)
{
	static const unsigned char want[] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 21, 0, 0, 0, 2, 0, 0,
	    0, 1, 0, 0, 0, 2, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff};
	struct buf b = {0};

	db_array_begin(&b, DB_INT2);
	db_array_add_int(&b, DB_INT2, -2);
	db_array_add_null(&b);
	db_array_end(&b);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.ptr, want, sizeof(want));
	buf_done(&b);
}

static void
test_array_begin_starts_anew(void **state UNUSED)
{
	struct buf b = {0};

	db_array_begin(&b, DB_TEXT);
	db_array_add_bytes(&b, SPAN_LIT("left over"));
	db_array_begin(&b, DB_TEXT);
	db_array_end(&b);
	assert_int_equal(b.len, 12);
	buf_done(&b);
}

static void
test_time_counts_from_2000(void **state UNUSED)
{
	char out[DB_INT_SIZE];
	struct db_param p = db_param_time(out, INT64_C(946684800) * CLOCK_SECOND + 5);

	assert_int_equal(p.len, 8);
	assert_true(p.binary);
	assert_int_equal(db_span_int(span_of(p.value, 8)), 5);
	p = db_param_time(out, INT64_MAX);
	assert_true(db_span_int(span_of(p.value, 8)) == INT64_MAX);
}

static void
test_span_int_of_every_width(void **state UNUSED)
{
	assert_int_equal(db_span_int(span_of("\x7f", 1)), 127);
	assert_int_equal(db_span_int(span_of("\xff\xff", 2)), -1);
	assert_int_equal(db_span_int(span_of("\x80\0\0\0", 4)), INT32_MIN);
	assert_true(db_span_int(span_of("\x80\0\0\0\0\0\0\0", 8)) == INT64_MIN);
	assert_int_equal(db_span_int((struct span){0}), 0);
}

static void
test_cancel_key_from_trace(void **state UNUSED)
{
	uint32_t pid = 0;
	uint32_t secret = 0;

	assert_true(db_cancel_key_parse("B\t8\tAuthenticationOk\nB\t12\tBackendKeyData\t 4711 "
					"-2\nB\t5\tReadyForQuery\t I\n",
	    &pid, &secret));
	assert_int_equal(pid, 4711);
	assert_int_equal(secret, UINT32_C(0xfffffffe));
	assert_false(db_cancel_key_parse("B\t5\tReadyForQuery\t I\n", &pid, &secret));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_empty_array_has_no_dimension),
	    cmocka_unit_test(test_array_of_int2_with_null),
	    cmocka_unit_test(test_array_begin_starts_anew),
	    cmocka_unit_test(test_time_counts_from_2000),
	    cmocka_unit_test(test_span_int_of_every_width),
	    cmocka_unit_test(test_cancel_key_from_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
