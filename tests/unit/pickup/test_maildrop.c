/*
 * test_maildrop.c - the records of maildrop: what is written is read again, and what a user may not write is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mail/mail_queue_id.h"
#include "pickup/maildrop.h"

/* A pipe that holds `bytes` and ends. */
static int
pipe_of(struct span bytes)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], bytes.ptr, bytes.len), bytes.len);
	assert_int_equal(close(fds[1]), 0);
	return fds[0];
}

static void
test_round_trip(void **state UNUSED)
{
	static const char binary[] = "a\0b\n3:x\r\n";
	struct buf out CLEANUP(buf_done) = {0};
	struct maildrop_record r;
	struct err err;

	maildrop_put(&out, MAILDROP_VERSION, SPAN_LIT("1"));
	maildrop_put(&out, MAILDROP_PIECE, span_of(binary, sizeof(binary)));
	maildrop_put(&out, MAILDROP_END, (struct span){0});
	struct maildrop_reader in = {.fd = pipe_of(buf_span(&out))};

	assert_int_equal(maildrop_read(&in, &r, &err), MAILDROP_RECORD);
	assert_int_equal(r.type, MAILDROP_VERSION);
	assert_int_equal(maildrop_read(&in, &r, &err), MAILDROP_RECORD);
	assert_int_equal(r.data.len, sizeof(binary));
	assert_memory_equal(r.data.ptr, binary, sizeof(binary));
	assert_int_equal(maildrop_read(&in, &r, &err), MAILDROP_RECORD);
	assert_int_equal(r.type, MAILDROP_END);
	assert_int_equal(maildrop_read(&in, &r, &err), MAILDROP_EOF);
	assert_int_equal(close(in.fd), 0);
	maildrop_reader_done(&in);
}

static void
test_no_records(void **state UNUSED)
{
	static const char *const bad[] = {"V", "V1", "V1:", "V1:x", "V1:xy", "V:x\n", "V-1:x\n",
	    "V1x:x\n", "V999999999:x\n", "L65537:x\n", "V 1:x\n"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct maildrop_reader in = {.fd = pipe_of(span_str(bad[i]))};
		struct maildrop_record r;
		struct err err;

		assert_int_equal(maildrop_read(&in, &r, &err), MAILDROP_BAD);
		assert_int_equal(err.kind, ERR_PERM);
		assert_int_equal(close(in.fd), 0);
		maildrop_reader_done(&in);
	}
}

/* Each letter is a record with a value that is good; is the sequence allowed? */
static bool
allowed(const char *types, bool by_user)
{
	struct maildrop_check check = {.by_user = by_user};
	struct err err;

	for (const char *t = types; *t != '\0'; t++) {
		struct maildrop_record r = {.type = (enum maildrop_type)(unsigned char)*t};

		switch (r.type) {
		case MAILDROP_VERSION:
			r.data = SPAN_LIT("1");
			break;
		case MAILDROP_TIME:
			r.data = SPAN_LIT("1700000000000000");
			break;
		case MAILDROP_RET:
			r.data = SPAN_LIT("HDRS");
			break;
		case MAILDROP_BODY:
			r.data = SPAN_LIT("8BITMIME");
			break;
		case MAILDROP_CONTEXT:
			r.data = SPAN_LIT("remote");
			break;
		case MAILDROP_VERP:
			r.data = SPAN_LIT("+=");
			break;
		case MAILDROP_PURPOSE:
			r.data = SPAN_LIT("record");
			break;
		case MAILDROP_NOTIFY:
			r.data = SPAN_LIT("6");
			break;
		case MAILDROP_ORCPT:
			r.data = SPAN_LIT("rfc822;text");
			break;
		case MAILDROP_CONTENT:
		case MAILDROP_END:
			break;
		case MAILDROP_FULL_NAME:
		case MAILDROP_SENDER:
		case MAILDROP_ENVID:
		case MAILDROP_RCPT:
		case MAILDROP_PIECE:
		case MAILDROP_OLD_ID:
		case MAILDROP_ORIGINAL:
			r.data = SPAN_LIT("text");
		}
		if (!maildrop_allow(&check, &r, &err))
			return false;
	}
	return maildrop_is_complete(&check);
}

static void
test_order(void **state UNUSED)
{
	assert_true(allowed("VSRMLZ", true));
	assert_true(allowed("VFSEDBWXPNRRMLLNRZ", true));
	assert_true(allowed("VSORNORMLZ", true)); /* sendmail -bs */
	assert_true(allowed("VTSRMZ", false));
	assert_true(allowed("VSGRMZ", false));
	assert_false(allowed("VSGRMZ", true));
	assert_true(allowed("VSMLRZ", true)); /* sendmail -t */
	assert_false(allowed("VTSRMLZ", true));
	assert_false(allowed("SRMLZ", true));
	assert_false(allowed("VVSRMLZ", true));
	assert_false(allowed("VSSRMLZ", true));
	assert_false(allowed("VRMLZ", true));
	assert_false(allowed("VSRLZ", true));
	assert_false(allowed("VSRMLFZ", true));
	assert_false(allowed("VSRMLRLZ", true));
	assert_false(allowed("VSRML", true));
	assert_false(allowed("VSRMLZZ", true));
	assert_false(allowed("VSRMLZR", true));
	assert_false(allowed("VSQRMLZ", true));
}

static void
test_values(void **state UNUSED)
{
	static const struct {
		enum maildrop_type type;
		const char *text;
		bool good;
	} cases[] = {
	    {MAILDROP_RCPT, "a@b", true},
	    {MAILDROP_RCPT, "", false},
	    {MAILDROP_RCPT, "a@b\nc@d", false},
	    {MAILDROP_RCPT, "caf\xe9@b", false},
	    {MAILDROP_ORCPT, "rfc822;a@b", true},
	    {MAILDROP_ORCPT, "a@b", false},
	    {MAILDROP_NOTIFY, "15", true},
	    {MAILDROP_NOTIFY, "16", false},
	    {MAILDROP_NOTIFY, "-1", false},
	    {MAILDROP_RET, "hdrs", false},
	    {MAILDROP_BODY, "BINARYMIME", false},
	    {MAILDROP_CONTEXT, "local", false},
	    {MAILDROP_VERP, "+", false},
	    {MAILDROP_FULL_NAME, "two\nlines", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct maildrop_check check = {.by_user = true};
		struct maildrop_record r = {.type = MAILDROP_VERSION, .data = SPAN_LIT("1")};
		struct err err;

		assert_true(maildrop_allow(&check, &r, &err));
		r = (struct maildrop_record){cases[i].type, span_str(cases[i].text)};
		assert_int_equal(maildrop_allow(&check, &r, &err), cases[i].good);
	}
}

static void
test_names(void **state UNUSED)
{
	char id[MAIL_QUEUE_ID_SIZE];
	char name[64];
	struct span base;
	int64_t msg_id;

	assert_true(maildrop_parse_name(SPAN_LIT("64F2A0"), &base, &msg_id));
	assert_int_equal(msg_id, 0);
	mail_queue_id_format(mail_queue_id_make(INT64_C(1700000000000000), 7), id);
	(void)snprintf(name, sizeof(name), "64F2A0.%s", id);
	assert_true(maildrop_parse_name(span_str(name), &base, &msg_id));
	assert_int_equal(msg_id, mail_queue_id_make(INT64_C(1700000000000000), 7));
	assert_true(span_equal_str(base, "64F2A0"));
	assert_false(maildrop_parse_name(SPAN_LIT("."), &base, &msg_id));
	assert_false(maildrop_parse_name(SPAN_LIT(".."), &base, &msg_id));
	assert_false(maildrop_parse_name(SPAN_LIT("64F2A0.x"), &base, &msg_id));
	assert_false(maildrop_parse_name(SPAN_LIT("a b"), &base, &msg_id));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_no_records),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
