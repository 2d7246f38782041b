/*
 * test_smtp_data.c - contents to and from the wire. Each table is run with the input whole, byte by byte, and in all
 * cuts into two pieces. What the modes make of odd line ends was taken from a Postfix 3.7.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp/smtp_data.h"

#define H   "H: h\r\n\r\n"
#define END "\r\n.\r\n"

/* Results behind the header "H: h\n\n"; `rest` bytes of the input are not used. NULL: the end is not found. */
static const struct {
	const char *in;
	const char *normalize;
	size_t rest;
	const char *no;
	size_t no_rest;
} reads[] = {
    {H "line" END, "line\n", 0, "line\n", 0},
    {H "line" END "QUIT\r\n", "line\n", 6, "line\n", 6},
    {H "\r\n.\r\n", "\n", 0, "\n", 0},
    {H ".\r\n", "", 0, "", 0},
    {H "line\r\r" END, "line\r\r\n", 0, "line\n", 0},
    {H "a\r\rb\r\n.\r\n", "a\r\rb\n", 0, "a\r\rb\n", 0},
    {H ".\r\r\nx" END, "\r\nx\n", 0, "", 6},
    {H "a\n.b\r\nc" END, "a\nb\nc\n", 0, "a\nb\nc\n", 0},
    {H "a\n..\r\nc" END, "a\n.\nc\n", 0, "a\n.\nc\n", 0},
    {H "a\r\n..\nc" END, "a\n.\nc\n", 0, "a\n.\nc\n", 0},
    {H "a\n.\r\nc" END, "a\nc\n", 0, "a\n", 6},
    {H "a\r\n.\nc" END, "a\nc\n", 0, "a\n", 6},
    {H "a\n.\nc" END, "a\nc\n", 0, "a\n", 6},
    {H "a\r.\r\nb" END, "a\r.\nb\n", 0, "a\r.\nb\n", 0},
    {H "a\n\r\n.\r\n", "a\n\n", 0, "a\n\n", 0},
    {H "a\r\n\n.\r\nz" END, "a\n\nz\n", 0, "a\n\n", 6},
    {H "a\r\n.\r\r\nb" END, "a\n\r\nb\n", 0, "a\n", 6},
    {H "a\n.\r\r\nb" END, "a\n\r\nb\n", 0, "a\n", 6},
    {H "a\r\r\n.\r\nb" END, "a\r\n", 6, "a\n", 6},
    {H "a\r\n.x" END, "a\nx\n", 0, "a\nx\n", 0},
    {H ".\rx" END, "\rx\n", 0, "\rx\n", 0},
    {H "\r." END, "\r.\n", 0, "\r.\n", 0},
    {H "no end", NULL, 0, NULL, 0},
    {H "no end\r\n.", NULL, 0, NULL, 0},
    {H "no end\r\n.\r", NULL, 0, NULL, 0},
};

/* Feeds pieces of the given sizes (0: the rest); returns the bytes used. */
static size_t
feed(struct smtp_data_in *d, struct span in, size_t first, size_t each, struct buf *out)
{
	size_t used = 0;

	while (used < in.len && !d->done) {
		size_t n = used == 0 && first != 0 ? first : each != 0 ? each : in.len;
		struct span piece = span_head(span_from(in, used), n);
		size_t took = smtp_data_read(d, piece, out);

		assert_true(took == piece.len || d->done);
		used += took;
	}
	return used;
}

static void
check_read(size_t i, enum smtp_data_mode mode, size_t first, size_t each)
{
	struct span in = span_str(reads[i].in);
	const char *want = mode == SMTP_DATA_NO ? reads[i].no : reads[i].normalize;
	size_t rest = mode == SMTP_DATA_NO ? reads[i].no_rest : reads[i].rest;
	struct smtp_data_in d = {.mode = mode};
	struct buf out CLEANUP(buf_done) = {0};
	size_t used = feed(&d, in, first, each, &out);

	if (d.done != (want != NULL) || used != in.len - rest)
		fail_msg("case %zu, mode %d, cut %zu/%zu: done %d, used %zu of %zu", i, mode, first,
		    each, d.done, used, in.len);
	if (want != NULL &&
	    (strncmp(buf_str(&out), "H: h\n\n", 6) != 0 || strcmp(buf_str(&out) + 6, want) != 0))
		fail_msg(
		    "case %zu, mode %d, cut %zu/%zu: \"%s\"", i, mode, first, each, buf_str(&out));
}

static void
test_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		for (int mode = SMTP_DATA_NORMALIZE; mode <= SMTP_DATA_REJECT; mode++) {
			for (size_t first = 0; first < strlen(reads[i].in); first++)
				check_read(i, (enum smtp_data_mode)mode, first, 0);
			check_read(i, (enum smtp_data_mode)mode, 1, 1);
			check_read(i, (enum smtp_data_mode)mode, 3, 3);
		}
	}
}

static void
test_first_line(void **state)
{
	static const struct {
		const char *in;
		const char *out;
	} cases[] = {
	    {"From me Sat\r\nA: b\r\n.\r\n", "X-Mailbox-Line: From me Sat\nA: b\n"},
	    {">>From me\r\n.\r\n", "X-Mailbox-Line: >>From me\n"},
	    {"From a\r\n>From b\r\nA: b\r\nFrom c\r\n.\r\n",
		"X-Mailbox-Line: From a\nX-Mailbox-Line: >From b\nA: b\nFrom c\n"},
	    {"From a\r\n.\r\n", "X-Mailbox-Line: From a\n"},
	    {"From a\r\n b\r\n.\r\n", "X-Mailbox-Line: From a\n\n b\n"},
	    {"From: me\r\n.\r\n", "From: me\n"},
	    {"From\r\n.\r\n", "From\n"},
	    {">Fro\r\n.\r\n", ">Fro\n"},
	    {">>>>>>>>>>>>>>>>>>>>\r\n.\r\n", ">>>>>>>>>>>>>>>>>>>>\n"},
	    {" indented\r\n.\r\n", "\n indented\n"},
	    {"\tindented\r\n.\r\n", "\n\tindented\n"},
	    {"A: b\r\nFrom me\r\n x\r\n.\r\n", "A: b\nFrom me\n x\n"},
	    {"..dot\r\n.\r\n", ".dot\n"},
	    {".\r\n", ""},
	    {"\r\nbody only\r\n.\r\n", "\nbody only\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (size_t first = 0; first < strlen(cases[i].in); first++) {
			struct smtp_data_in d = {0};
			struct buf out CLEANUP(buf_done) = {0};

			(void)feed(&d, span_str(cases[i].in), first, first % 2, &out);
			assert_true(d.done);
			assert_string_equal(buf_str(&out), cases[i].out);
		}
	}
}

static void
test_counts(void **state)
{
	struct smtp_data_in d = {.replace_cr = true};
	struct span in = SPAN_LIT("A: b\r\n\nx\ry\nz\0z\r\r\n.\n\r\n.\r\n");
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	assert_int_equal(smtp_data_read(&d, in, &out), in.len);
	assert_true(d.done);
	assert_int_equal(d.bare_lf, 3);
	assert_int_equal(d.lines, 5);
	assert_true(span_equal(buf_span(&out), SPAN_LIT("A: b\n\nx y\nz\0z \n\n")));
	assert_int_equal(smtp_data_read(&d, in, &out), 0);
}

static void
test_chunks(void **state)
{
	static const struct {
		const char *chunks[4];
		const char *out;
	} cases[] = {
	    {{"A: b\r\n\r\n", ".\r\n..x\r\n"}, "A: b\n\n.\n..x\n"},
	    {{"A: b\r", "\n\r\nunfinished"}, "A: b\n\nunfinished\n"},
	    {{"A: b\r\n\r\nx\r"}, "A: b\n\nx\r\n"},
	    {{"Fro", "m me\r\n"}, "X-Mailbox-Line: From me\n"},
	    {{"Fro"}, "Fro\n"},
	    {{""}, ""},
	    {{"\r\n"}, "\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct smtp_data_in d = {0};
		struct buf out CLEANUP(buf_done) = {0};

		for (size_t n = 0; cases[i].chunks[n] != NULL; n++)
			smtp_data_read_chunk(
			    &d, span_str(cases[i].chunks[n]), cases[i].chunks[n + 1] == NULL, &out);
		assert_string_equal(buf_str(&out), cases[i].out);
	}
}

static void
test_write(void **state)
{
	static const struct {
		size_t limit;
		const char *content;
		const char *wire;
	} cases[] = {
	    {998, "", ".\r\n"},
	    {998, "A: b\n\nbody\n", "A: b\r\n\r\nbody\r\n.\r\n"},
	    {998, "no end", "no end\r\n.\r\n"},
	    {998, ".\n..\n.x\nx.\n", "..\r\n...\r\n..x\r\nx.\r\n.\r\n"},
	    {998, "a\r\nb\r\r\n", "a\r\r\nb\r\r\r\n.\r\n"},
	    {10, "1234567890\n", "1234567890\r\n.\r\n"},
	    {10, "12345678901\n", "1234567890\r\n 1\r\n.\r\n"},
	    {10, "1234567890123456789\n", "1234567890\r\n 123456789\r\n.\r\n"},
	    {10, "12345678901234567890\n", "1234567890\r\n 123456789\r\n 0\r\n.\r\n"},
	    {10, "1234567890.\n", "1234567890\r\n .\r\n.\r\n"},
	    {10, ".23456789012\n", "..234567890\r\n 12\r\n.\r\n"},
	    {10, "1234567890", "1234567890\r\n.\r\n"},
	    {0, "12345678901234567890\n", "12345678901234567890\r\n.\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct span content = span_str(cases[i].content);

		for (size_t cut = 0; cut <= content.len; cut++) {
			struct smtp_data_out w = {.line_limit = cases[i].limit};
			struct buf out CLEANUP(buf_done) = {0};

			smtp_data_write(&w, span_head(content, cut), &out);
			for (size_t at = cut; at < content.len; at += 2)
				smtp_data_write(&w, span_head(span_from(content, at), 2), &out);
			smtp_data_write_end(&w, &out);
			assert_string_equal(buf_str(&out), cases[i].wire);
		}
	}
}

/* What is written comes back, whatever it is. */
static void
test_round_trip(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 500; round++) {
		static const char bytes[] = "..\n\n\r ab";
		struct buf content CLEANUP(buf_done) = {0};
		struct buf wire CLEANUP(buf_done) = {0};
		struct buf back CLEANUP(buf_done) = {0};
		struct smtp_data_out w = {0};
		struct smtp_data_in d = {0};

		buf_add_str(&content, "A: b\n");
		for (int i = 0; i < 60; i++) {
			seed = seed * 1664525 + 1013904223;
			buf_add_char(&content, bytes[(seed >> 24) % (sizeof(bytes) - 1)]);
		}
		buf_add_char(&content, '\n');
		smtp_data_write(&w, buf_span(&content), &wire);
		smtp_data_write_end(&w, &wire);
		assert_int_equal(smtp_data_read(&d, buf_span(&wire), &back), wire.len);
		assert_true(d.done);
		assert_int_equal(d.bare_lf, 0);
		assert_string_equal(buf_str(&back), buf_str(&content));
	}
}

/* A run of CRs is text after the first thousand: memory stays small, and the size of the message is known. */
static void
test_many_cr(void **state)
{
	static char crs[4096];
	const bool replace[] = {false, true};

	(void)state;
	memset(crs, '\r', sizeof(crs));
	for (size_t i = 0; i < ARRAY_LEN(replace); i++) {
		struct smtp_data_in d = {.replace_cr = replace[i]};
		struct smtp_data_in chunk = d;
		struct buf out CLEANUP(buf_done) = {0};

		assert_int_equal(smtp_data_read(&d, SPAN_LIT("a: b\r\n.x"), &out), 8);
		for (int n = 0; n < 1000; n++) {
			buf_clear(&out);
			assert_int_equal(
			    smtp_data_read(&d, span_of(crs, sizeof(crs)), &out), sizeof(crs));
			assert_true(out.len >= sizeof(crs) - 1024);
			assert_true(out.size <= 4 * sizeof(crs));
		}
		buf_clear(&out);
		assert_int_equal(smtp_data_read(&d, SPAN_LIT("\n.\r\n"), &out), 4);
		assert_true(d.done);
		assert_int_equal(out.len, 1024);
		assert_int_equal(out.ptr[0], replace[i] ? ' ' : '\r');
		for (int n = 0; n < 100; n++)
			smtp_data_read_chunk(&chunk, span_of(crs, sizeof(crs)), false, &out);
		assert_true(out.len > 99 * sizeof(crs));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_first_line),
	    cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_chunks),
	    cmocka_unit_test(test_write),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_many_cr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
