/*
 * test_dns_wire.c - reading messages byte by byte: names, compression, and everything a hostile server may put there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "dns/dns_int.h"

#define MESSAGE(lit) span_of((lit), sizeof(lit) - 1)

static void
test_plain_and_compressed_names(void **state UNUSED)
{
	struct span m = MESSAGE("\3WWW\7example\3ORG\0\4mail\xc0\4\xc0\x00");
	char name[DNS_NAME_MAX];
	size_t at = 0;

	assert_true(dns_wire_name(m, &at, name));
	assert_string_equal(name, "www.example.org");
	assert_int_equal(at, 17);
	assert_true(dns_wire_name(m, &at, name));
	assert_string_equal(name, "mail.example.org");
	assert_int_equal(at, 24);
	assert_true(dns_wire_name(m, &at, name));
	assert_string_equal(name, "www.example.org");
	assert_int_equal(at, 26);
	assert_false(dns_wire_name(m, &at, name));
}

static void
test_root_is_the_empty_name(void **state UNUSED)
{
	char name[DNS_NAME_MAX];
	size_t at = 0;

	assert_true(dns_wire_name(MESSAGE("\0"), &at, name));
	assert_string_equal(name, "");
	assert_int_equal(at, 1);
}

static void
test_names_that_lead_nowhere(void **state UNUSED)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
	    {"", 0},
	    {"\3ab", 3},        /* label cut */
	    {"\3abc", 4},       /* no end */
	    {"\xc0", 1},        /* half a pointer */
	    {"\xc0\x05", 2},    /* pointer behind the end */
	    {"\xc0\x00", 2},    /* pointer to itself */
	    {"\1a\xc0\x00", 4}, /* loop that grows */
	    {"\x41"
	     "abc",
		4}, /* reserved label kinds */
	    {"\x81"
	     "abc",
		4},
	};
	char name[DNS_NAME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		size_t at = 0;
		/* An exact copy, so that the address sanitizer sees a read beyond it. */
		char *copy = mem_dup(bad[i].bytes, bad[i].len);

		copy = mem_resize(copy, MAX(bad[i].len, 1), 1);
		assert_false(dns_wire_name(span_of(copy, bad[i].len), &at, name));
		mem_free(copy);
	}
}

static void
test_name_of_any_length(void **state UNUSED)
{
	char bytes[400];
	char name[DNS_NAME_MAX];

	for (size_t labels = 1; labels < 6; labels++) {
		size_t at = 0;

		for (size_t i = 0; i < labels; i++) {
			bytes[i * 64] = 63;
			memset(bytes + i * 64 + 1, 'x', 63);
		}
		bytes[labels * 64] = 0;
		assert_int_equal(
		    dns_wire_name(span_of(bytes, labels * 64 + 1), &at, name), labels <= 4);
	}
}

static void
test_odd_bytes_become_question_marks(void **state UNUSED)
{
	char name[DNS_NAME_MAX];
	size_t at = 0;

	assert_true(dns_wire_name(MESSAGE("\5a.b\0\xff\3c/d\0"), &at, name));
	assert_string_equal(name, "a?b??.c/d");
	assert_false(dns_wire_is_host_name(name));
}

static void
test_query_names(void **state UNUSED)
{
	char long_label[80] = "";

	memset(long_label, 'a', 64);
	assert_true(dns_wire_is_query_name("example.org"));
	assert_true(dns_wire_is_query_name("example.org."));
	assert_true(dns_wire_is_query_name("_25._tcp.mail.example.org"));
	assert_true(dns_wire_is_query_name("localhost"));
	assert_false(dns_wire_is_query_name(""));
	assert_false(dns_wire_is_query_name("."));
	assert_false(dns_wire_is_query_name(".example.org"));
	assert_false(dns_wire_is_query_name("example..org"));
	assert_false(dns_wire_is_query_name("exam ple.org"));
	assert_false(dns_wire_is_query_name("ex\xc3\xa4mple.org"));
	assert_false(dns_wire_is_query_name("a\\.b"));
	assert_false(dns_wire_is_query_name(long_label));
	assert_true(dns_wire_is_query_name(long_label + 1));
}

static void
test_host_names(void **state UNUSED)
{
	assert_true(dns_wire_is_host_name("mx1.example.org"));
	assert_true(dns_wire_is_host_name("mx_1.example.org"));
	assert_true(dns_wire_is_host_name("192.0.2.1"));
	assert_false(dns_wire_is_host_name(""));
	assert_false(dns_wire_is_host_name("-a.example.org"));
	assert_false(dns_wire_is_host_name("a-.example.org"));
	assert_false(dns_wire_is_host_name("a..b"));
	assert_false(dns_wire_is_host_name("a*.b"));
}

static void
test_query_has_question_and_edns(void **state UNUSED)
{
	struct buf q = {0};

	dns_wire_query(&q, 0x1234, "Example.org.", DNS_TYPE_MX, true);
	assert_int_equal(q.len, 12 + 13 + 4 + 11);
	assert_memory_equal(q.ptr,
	    "\x12\x34\x01\x20\0\1\0\0\0\0\0\1\7Example\3org\0\0\x0f\0\1\0\0\x29\x04\xd0\0\0\0\0\0\0",
	    q.len);
	buf_done(&q);
}

/* Every cut of a sound message, and every byte of it changed, must be read without harm. */
static void
test_damaged_messages_do_no_harm(void **state UNUSED)
{
	static const char sound[] = "\x12\x34\x81\x80\0\1\0\3\0\0\0\0"
				    "\1a\1b\0\0\x0f\0\1"
				    "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1c\xc0\x0e"
				    "\1c\xc0\x0e\0\x0f\0\1\0\0\0\x3c\0\6\0\x0a\1m\xc0\x0e"
				    "\1c\xc0\x0e\0\x0f\0\1\0\0\0\x3c\0\3\0\x14\0";
	const size_t size = sizeof(sound) - 1;
	size_t found = 0;

	for (size_t round = 0; round <= size + size * 256; round++) {
		size_t len = round <= size ? round : size;
		char *copy = mem_resize(mem_dup(sound, len), MAX(len, 1), 1);
		struct dns_answer a;

		if (round > size)
			copy[(round - size - 1) / 256] = (char)((round - size - 1) % 256);
		if (dns_wire_begin(span_of(copy, len), &a)) {
			struct dns_record r;
			size_t at = a.at;
			size_t seen = 0;
			bool malformed = false;
			char name[DNS_NAME_MAX];

			while (dns_wire_next(&a, DNS_TYPE_MX, &at, &seen, &r, &malformed)) {
				size_t in = r.at + 2;

				found += dns_wire_name(a.bytes, &in, name);
			}
			if (round == size) {
				assert_false(malformed);
				assert_int_equal(found >= 2, 1);
				assert_string_equal(a.owner, "c.b");
			}
		}
		mem_free(copy);
	}
	assert_true(found > size * 256);
}

/* How long answers hold. Each message: header with counts, question "a", then records of a pointer to it. */
static void
test_how_long_an_answer_holds(void **state UNUSED)
{
#define QUESTION      "\1a\0\0\1\0\1"
#define A_RECORD(ttl) "\xc0\x0c\0\1\0\1\0\0\0" ttl "\0\4\1\2\3\4"
#define SOA_RECORD(ttl, minimum)                                                                   \
	"\xc0\x0c\0\6\0\1\0\0\0" ttl "\0\x16\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0" minimum
#define HEAD(rcode, answers, authority) "ii\x81" rcode "\0\1\0" answers "\0" authority "\0\0"
	const struct {
		struct span message;
		bool kept;
		bool found;
		uint32_t ttl;
	} cases[] = {
	    {MESSAGE(HEAD("\x80", "\2", "\0") QUESTION A_RECORD("\x1e") A_RECORD("\x14")), true,
		true, 20},
	    {MESSAGE(HEAD("\x80", "\1", "\0") QUESTION A_RECORD("\0")), true, true, 0},
	    {MESSAGE(HEAD("\x83", "\0", "\1") QUESTION SOA_RECORD("\x1e", "\x0a")), true, false,
		10},
	    {MESSAGE(HEAD("\x80", "\0", "\1") QUESTION SOA_RECORD("\x05", "\x0a")), true, false, 5},
	    {MESSAGE(HEAD("\x80", "\1", "\1") QUESTION A_RECORD("\x1e") SOA_RECORD("\1", "\1")),
		true, true, 30},
	    {MESSAGE(HEAD("\x83", "\0", "\0") QUESTION), false, false, 0},
	    {MESSAGE(HEAD("\x82", "\1", "\0") QUESTION A_RECORD("\x1e")), false, false, 0},
	    {MESSAGE(HEAD("\x80", "\2", "\0") QUESTION A_RECORD("\x1e")), false, false, 0},
	    {MESSAGE("ii\x81"), false, false, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t ttl = 0;
		bool found = false;

		assert_int_equal(dns_wire_ttl(cases[i].message, &ttl, &found), cases[i].kept);
		if (!cases[i].kept)
			continue;
		assert_int_equal(found, cases[i].found);
		assert_int_equal(ttl, cases[i].ttl);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain_and_compressed_names),
	    cmocka_unit_test(test_root_is_the_empty_name),
	    cmocka_unit_test(test_names_that_lead_nowhere),
	    cmocka_unit_test(test_name_of_any_length),
	    cmocka_unit_test(test_odd_bytes_become_question_marks),
	    cmocka_unit_test(test_query_names),
	    cmocka_unit_test(test_host_names),
	    cmocka_unit_test(test_query_has_question_and_edns),
	    cmocka_unit_test(test_damaged_messages_do_no_harm),
	    cmocka_unit_test(test_how_long_an_answer_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
