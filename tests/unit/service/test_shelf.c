/*
 * test_shelf.c - contents in shared memory: what is put is found, byte for byte; what was displaced is not found; a reader beside busy
 * writers never gets a content that is not whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "mail/mail_queue_id.h"
#include "service/shelf.h"

#define SIZE    ((size_t)1 << 20)
#define T0      ((MAIL_QUEUE_ID_EPOCH + 1000) * CLOCK_SECOND) /* some day in 2020 */
#define NUMBER  7
#define WRITERS 3

static int fd;
static struct shelf *writer, *reader;
static struct buf got;

static int
set_up(void **state UNUSED)
{
	int to_read;

	clock_fake(CLOCK_SECOND, T0);
	fd = shelf_create(SIZE);
	to_read = shelf_read_only(fd);
	assert_true(fd >= 0 && to_read >= 0);
	writer = shelf_open(fd);
	reader = shelf_open(to_read);
	assert_non_null(writer);
	assert_non_null(reader);
	assert_ptr_equal(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, to_read, 0), MAP_FAILED);
	(void)close(to_read);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	shelf_close(&writer);
	shelf_close(&reader);
	(void)close(fd);
	buf_done(&got);
	clock_fake(-1, -1);
	return 0;
}

/* A content that tells which one it is, everywhere in it. */
static void
put(int64_t msg_id, size_t len)
{
	char *bytes = malloc(len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)((size_t)msg_id * 31 + i);
	shelf_put(writer, msg_id, span_of(bytes, len));
	free(bytes);
}

static bool
is_content_of(int64_t msg_id, size_t offset, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if (bytes.ptr[i] != (char)((size_t)msg_id * 31 + offset + i))
			return false;
	return true;
}

static bool
find(int64_t msg_id, size_t size, size_t offset, size_t max, size_t want)
{
	buf_clear(&got);
	if (!shelf_read(reader, msg_id, size, offset, max, &got))
		return false;
	assert_int_equal(got.len, want);
	assert_true(is_content_of(msg_id, offset, buf_span(&got)));
	return true;
}

static int64_t
id(int n)
{
	return mail_queue_id_make(T0 + n, NUMBER);
}

static void
what_is_put_is_found(void **state UNUSED)
{
	put(id(1), 5000);
	put(id(2), SHELF_LEAST);
	assert_true(find(id(1), 5000, 0, 65536, 5000));
	assert_true(find(id(1), 5000, 0, 4096, 4096));
	assert_true(find(id(1), 5000, 4096, 4096, 904));
	assert_true(find(id(1), 5000, 5000, 4096, 0));
	assert_true(find(id(2), SHELF_LEAST, 0, 65536, SHELF_LEAST));
	assert_false(find(id(1), 5000, 5001, 4096, 0));
	assert_false(find(id(3), 5000, 0, 4096, 0));
	/* Another message's, of another queue database. */
	assert_false(find(id(1), 4999, 0, 4096, 0));
	assert_false(find(id(1), 5001, 0, 4096, 0));
}

static void
too_small_and_too_large_are_not_put(void **state UNUSED)
{
	put(id(1), SHELF_LEAST - 1);
	put(id(2), SIZE / 16 + 1);
	assert_false(find(id(1), SHELF_LEAST - 1, 0, SIZE, 0));
	assert_false(find(id(2), SIZE / 16 + 1, 0, SIZE, 0));
	assert_int_equal(shelf_create(1000), -1);
	shelf_put(NULL, id(1), SPAN_LIT("x"));
	assert_false(shelf_read(NULL, id(1), 1, 0, 1, &got));
}

/* Contents that end and begin again at the end of the memory are among these. */
static void
the_oldest_is_displaced(void **state UNUSED)
{
	for (int i = 1; i <= 100; i++) {
		put(id(i), 50000);
		for (int back = 0; back < 15 && back < i; back++)
			assert_true(find(id(i - back), 50000, 0, SIZE, 50000));
		if (i > 21)
			assert_false(find(id(i - 21), 50000, 0, SIZE, 0));
	}
}

static bool
holds(int64_t msg_id)
{
	struct buf numbers CLEANUP(buf_done) = {0};
	int64_t first;
	int32_t number;
	bool has = false;

	shelf_holds(reader, &first, &numbers);
	for (size_t at = 0; at + sizeof(number) <= numbers.len; at += sizeof(number)) {
		memcpy(&number, numbers.ptr + at, sizeof(number));
		has = has || number == (int32_t)mail_queue_id_process(msg_id);
	}
	return has && msg_id >= first;
}

static void
what_it_holds_can_be_told(void **state UNUSED)
{
	assert_false(holds(id(1)));
	put(id(1), 50000);
	assert_true(holds(id(1)));
	assert_true(holds(id(2)));
	assert_false(holds(id(-1)));                                 /* older than the shelf */
	assert_false(holds(mail_queue_id_make(T0 + 1, NUMBER + 1))); /* another process */
	for (int i = 2; i <= 100; i++) {
		clock_fake(CLOCK_SECOND, T0 + i);
		put(id(i), 50000);
		/* Whatever it says it holds is there: a quarter of the memory further on, too. */
		for (int old = 1; old <= i; old++)
			assert_true(!holds(id(old)) || find(id(old), 50000, 0, SIZE, 50000));
		assert_true(holds(id(i)));
	}
	assert_false(holds(id(80)));
}

static size_t
size_of(int i)
{
	return 20000 + (size_t)(i % 64 % 7) * 1000;
}

static void
write_for_ever(int n)
{
	shelf_close(&writer);
	writer = shelf_open(fd);
	for (int i = 0;; i++)
		put(mail_queue_id_make(T0 + i % 64, (unsigned)n), size_of(i));
}

/* What is found under an id is a content of that id, however many write at once; three laps of the memory at least. */
static void
a_reader_beside_writers(void **state UNUSED)
{
	pid_t pids[WRITERS];
	size_t found = 0;

	for (int n = 0; n < WRITERS; n++) {
		pids[n] = fork();
		assert_true(pids[n] >= 0);
		if (pids[n] == 0)
			write_for_ever(n);
	}
	for (int i = 0; found < 1000; i++) {
		int64_t msg_id = mail_queue_id_make(T0 + i % 64, (unsigned)(i % WRITERS));

		buf_clear(&got);
		if (!shelf_read(reader, msg_id, size_of(i), 0, SIZE, &got))
			continue;
		found++;
		assert_true(got.len == size_of(i) && is_content_of(msg_id, 0, buf_span(&got)));
	}
	for (int n = 0; n < WRITERS; n++) {
		assert_int_equal(kill(pids[n], SIGKILL), 0);
		assert_int_equal(waitpid(pids[n], NULL, 0), pids[n]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(what_is_put_is_found),
	    T(too_small_and_too_large_are_not_put),
	    T(the_oldest_is_displaced),
	    T(what_it_holds_can_be_told),
	    T(a_reader_beside_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
