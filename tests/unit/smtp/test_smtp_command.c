/*
 * test_smtp_command.c - commands and the replies to bad ones, as a Postfix 3.7 gave them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "smtp/smtp_command.h"

static const struct smtp_command_options lax;

/* "501 5.5.4 text" of a refusal. */
static void
reply_of(const struct err *err, char *out, size_t size)
{
	(void)snprintf(out, size, "%d %s %s", err->smtp_code, err->dsn, err->text);
}

static void
test_split(void **state)
{
	struct span verb, args;

	(void)state;
	smtp_command_split(SPAN_LIT("  mail \tFROM:<a@b>  "), &verb, &args);
	assert_true(span_equal_str(verb, "mail"));
	assert_true(span_equal_str(args, "FROM:<a@b>  "));
	smtp_command_split(SPAN_LIT("QUIT"), &verb, &args);
	assert_true(span_equal_str(verb, "QUIT"));
	assert_int_equal(args.len, 0);
	smtp_command_split(SPAN_LIT(" \t "), &verb, &args);
	assert_int_equal(verb.len, 0);
}

#define MAIL_SYNTAX  "501 5.5.4 Syntax: MAIL FROM:<address>"
#define MAIL_ADDRESS "501 5.1.7 Bad sender address syntax"
#define MAIL_OPTION  "555 5.5.4 Unsupported option: "
#define BAD_ENVID    "501 5.5.4 Bad ENVID parameter syntax"
#define BAD_RET      "501 5.5.4 Bad RET parameter syntax"
#define BAD_SIZE     "501 5.5.4 Bad message size syntax"
#define HUGE_SIZE    "552 5.3.4 Message size exceeds file system imposed limit"

static void
test_mail_replies(void **state)
{
	static const struct {
		const char *args;
		const char *reply; /* NULL: taken */
	} cases[] = {
	    {"", MAIL_SYNTAX},
	    {"FROM", MAIL_SYNTAX},
	    {"FROM:", MAIL_SYNTAX},
	    {"FROM:  ", MAIL_SYNTAX},
	    {"TO:<a@b.test>", MAIL_SYNTAX},
	    {"FROM a@b.test", MAIL_SYNTAX},
	    {"FROM :<a@client.test>", MAIL_SYNTAX},
	    {"FROM: <a@client.test>", NULL},
	    {"from:a@client.test", NULL},
	    {"FROM:<a@client.test>  ", NULL},
	    {"FROM:a@client.test>", NULL},
	    {"FROM:<>", NULL},
	    {"FROM:< >", NULL},
	    {"FROM:<a@client.test", MAIL_ADDRESS},
	    {"FROM:<<a@dest.test> SIZE=1", MAIL_ADDRESS},
	    {"FROM:<a b@dest.test>", MAIL_ADDRESS},
	    {"FROM:<a\tb@dest.test>", MAIL_ADDRESS},
	    {"FROM:<a@dest.test>junk", MAIL_ADDRESS},
	    {"FROM:<\"a@dest.test>", MAIL_ADDRESS},
	    {"FROM:<a\"b c\"@dest.test>", MAIL_ADDRESS},
	    {"FROM:<a(b c)d@dest.test>", MAIL_ADDRESS},
	    {"FROM:<a@b.test>,<c@d.test>", MAIL_ADDRESS},
	    {"FROM:\"a b\"@dest.test", NULL},
	    {"FROM:<\"a b\"@dest.test>\tSIZE=100", NULL},
	    {"FROM:Foo <a@dest.test>", MAIL_OPTION "<a@dest.test>"},
	    {"FROM:(c) <a@dest.test>", MAIL_OPTION "<a@dest.test>"},
	    {"FROM:<a@dest.test> (comment)", MAIL_OPTION "(comment)"},
	    {"FROM:a b@dest.test", MAIL_OPTION "b@dest.test"},
	    {"FROM:<a@dest.test> FOO=\"a b\"", MAIL_OPTION "FOO=\"a b\""},
	    {"FROM:<a@dest.test> =", MAIL_OPTION "="},
	    {"FROM:<a@dest.test> BODY=FOO", MAIL_OPTION "BODY=FOO"},
	    {"FROM:<a@dest.test> BODY", MAIL_OPTION "BODY"},
	    {"FROM:<a@dest.test> BODY=BINARYMIME", MAIL_OPTION "BODY=BINARYMIME"},
	    {"FROM:<a@dest.test> SIZE", MAIL_OPTION "SIZE"},
	    {"FROM:<a@dest.test> XVERP", MAIL_OPTION "XVERP"},
	    {"FROM:<a@dest.test> REQUIRETLS", MAIL_OPTION "REQUIRETLS"},
	    {"FROM:<a@dest.test> SIZE=1 SIZE=2", NULL},
	    {"FROM:<a@dest.test> SIZE=abc", BAD_SIZE},
	    {"FROM:<a@dest.test> SIZE=", BAD_SIZE},
	    {"FROM:<a@dest.test> SIZE=-5", BAD_SIZE},
	    {"FROM:<a@dest.test> SIZE=9223372036854775807", NULL},
	    {"FROM:<a@dest.test> SIZE=9223372036854775808", HUGE_SIZE},
	    {"FROM:<a@dest.test> SIZE=99999999999999999999", HUGE_SIZE},
	    {"FROM:<a@dest.test> RET=FULL ENVID=abc", NULL},
	    {"FROM:<a@dest.test> RET=BAD", BAD_RET},
	    {"FROM:<a@dest.test> RET=HDRS RET=FULL", BAD_RET},
	    {"FROM:<a@dest.test> ENVID=a+4", BAD_ENVID},
	    {"FROM:<a@dest.test> ENVID=", BAD_ENVID},
	    {"FROM:<a@dest.test> ENVID=a+01", BAD_ENVID},
	    {"FROM:<a@dest.test> ENVID=a ENVID=b", BAD_ENVID},
	    {"FROM:<a@dest.test> ENVID=a+20b", NULL},
	    {"FROM:<a@dest.test> AUTH=<>", NULL},
	    {"FROM:<a@dest.test> AUTH=a+4", NULL},
	    {"FROM:<j\xc3\xb6@dest.test>", NULL},
	    {"FROM:<j\xc3\xb6@dest.test> SMTPUTF8", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena arena CLEANUP(arena_done) = {0};
		struct smtp_mail mail;
		struct err err;
		char reply[600] = "";
		bool good =
		    smtp_command_parse_mail(span_str(cases[i].args), &lax, &arena, &mail, &err);

		if (!good)
			reply_of(&err, reply, sizeof(reply));
		if (good != (cases[i].reply == NULL) ||
		    (!good && strcmp(reply, cases[i].reply) != 0))
			fail_msg("MAIL %s: \"%s\"", cases[i].args, reply);
	}
}

static void
test_mail_values(void **state)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct smtp_mail mail;
	struct err err;

	(void)state;
	assert_true(smtp_command_parse_mail(
	    SPAN_LIT("from:<\"a b\"@x.test> size=100 body=8bitmime ret=hdrs envid=q+2Br smtputf8 "
		     "auth=e+3Dmc2"),
	    &lax, &arena, &mail, &err));
	assert_string_equal(mail.addr, "a b@x.test");
	assert_string_equal(mail.given, "\"a b\"@x.test");
	assert_true(mail.has_size);
	assert_int_equal(mail.size, 100);
	assert_int_equal(mail.body, SMTP_BODY_8BITMIME);
	assert_int_equal(mail.ret, SMTP_RET_HDRS);
	assert_string_equal(mail.envid, "q+2Br");
	assert_string_equal(mail.auth, "e=mc2");
	assert_true(mail.smtputf8);
	assert_null(mail.verp);
	assert_true(smtp_command_parse_mail(
	    SPAN_LIT("FROM:<> BODY=7BIT AUTH=<>"), &lax, &arena, &mail, &err));
	assert_string_equal(mail.addr, "");
	assert_int_equal(mail.body, SMTP_BODY_7BIT);
	assert_string_equal(mail.auth, "");
	assert_false(mail.has_size);
	assert_null(mail.envid);
}

static void
test_mail_options(void **state)
{
	static const struct {
		struct smtp_command_options options;
		const char *args;
		const char *reply;
	} cases[] = {
	    {{.no_smtputf8 = true}, "FROM:<a@b.test> SMTPUTF8", MAIL_OPTION "SMTPUTF8"},
	    {{.no_dsn = true}, "FROM:<a@b.test> RET=FULL", "501 5.7.1 DSN support is disabled"},
	    {{.no_dsn = true}, "FROM:<a@b.test> ENVID=x", "501 5.7.1 DSN support is disabled"},
	    {{.no_auth = true}, "FROM:<a@b.test> AUTH=<>", MAIL_OPTION "AUTH=<>"},
	    {{.strict_smtputf8 = true}, "FROM:<j\xc3\xb6@b.test>",
		"553 5.6.7 Must declare SMTPUTF8 to send unicode address"},
	    {{.strict_smtputf8 = true}, "FROM:<j\xc3\xb6@b.test> SMTPUTF8", NULL},
	    {{.strict_envelopes = true}, "FROM:a@b.test", MAIL_ADDRESS},
	    {{.strict_envelopes = true}, "FROM:<a@b.test>", NULL},
	    {{.verp = true, .verp_delimiters = "+="}, "FROM:<a@b.test> XVERP", NULL},
	    {{.verp = true}, "FROM:<a@b.test> XVERP=-=", NULL},
	    {{.verp = true}, "FROM:<a@b.test> XVERP=-",
		"501 5.5.4 Error: XVERP needs two characters from -=+"},
	    {{.verp = true}, "FROM:<a@b.test> XVERPX", MAIL_OPTION "XVERPX"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena arena CLEANUP(arena_done) = {0};
		struct smtp_mail mail;
		struct err err;
		char reply[600] = "";
		bool good = smtp_command_parse_mail(
		    span_str(cases[i].args), &cases[i].options, &arena, &mail, &err);

		if (!good)
			reply_of(&err, reply, sizeof(reply));
		if (good != (cases[i].reply == NULL))
			fail_msg("%s: %s", cases[i].args, reply);
		if (!good)
			assert_string_equal(reply, cases[i].reply);
		else if (cases[i].options.verp)
			assert_int_equal(strlen(mail.verp), 2);
	}
}

#define RCPT_SYNTAX  "501 5.5.4 Syntax: RCPT TO:<address>"
#define RCPT_ADDRESS "501 5.1.3 Bad recipient address syntax"
#define BAD_NOTIFY   "501 5.5.4 Error: Bad NOTIFY parameter syntax"
#define BAD_ORCPT    "501 5.5.4 Error: Bad ORCPT parameter syntax"

static void
test_rcpt(void **state)
{
	static const struct {
		const char *args;
		const char *reply; /* NULL: taken */
		unsigned notify;
		const char *orcpt;
	} cases[] = {
	    {"", RCPT_SYNTAX, 0, NULL},
	    {"TO", RCPT_SYNTAX, 0, NULL},
	    {"TO:", RCPT_SYNTAX, 0, NULL},
	    {"FROM:<b@dest.test>", RCPT_SYNTAX, 0, NULL},
	    {"TO:<>", RCPT_ADDRESS, 0, NULL},
	    {"TO:<\"\">", RCPT_ADDRESS, 0, NULL},
	    {"TO:<>>", RCPT_ADDRESS, 0, NULL},
	    {"TO:<b@dest.test", RCPT_ADDRESS, 0, NULL},
	    {"TO:<b@dest.test>junk", RCPT_ADDRESS, 0, NULL},
	    {"TO:<b@dest.test> <c@dest.test>", "555 5.5.4 Unsupported option: <c@dest.test>", 0,
		NULL},
	    {"TO:<b@dest.test> SIZE=1", "555 5.5.4 Unsupported option: SIZE=1", 0, NULL},
	    {"TO: <b@dest.test>", NULL, 0, NULL},
	    {"TO:b@dest.test", NULL, 0, NULL},
	    {"TO:<a@b> NOTIFY=SUCCESS", NULL, SMTP_NOTIFY_SUCCESS, NULL},
	    {"TO:<a@b> notify=success,failure,delay", NULL,
		SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY, NULL},
	    {"TO:<a@b> NOTIFY=SUCCESS,,FAILURE", NULL, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE,
		NULL},
	    {"TO:<a@b> NOTIFY=NEVER,NEVER", NULL, SMTP_NOTIFY_NEVER, NULL},
	    {"TO:<a@b> NOTIFY=NEVER,SUCCESS", BAD_NOTIFY, 0, NULL},
	    {"TO:<a@b> NOTIFY=NEVER NOTIFY=SUCCESS", BAD_NOTIFY, 0, NULL},
	    {"TO:<a@b> NOTIFY=", BAD_NOTIFY, 0, NULL},
	    {"TO:<a@b> NOTIFY=FOO", BAD_NOTIFY, 0, NULL},
	    {"TO:<a@b> ORCPT=rfc822;a+40b", NULL, 0, "rfc822;a@b"},
	    {"TO:<a@b> ORCPT=rfc822;", NULL, 0, "rfc822;"},
	    {"TO:<a@b> ORCPT=rfc822;a;b", NULL, 0, "rfc822;a;b"},
	    {"TO:<a@b> ORCPT=x400;a", NULL, 0, "x400;a"},
	    {"TO:<a@b> ORCPT=;x", BAD_ORCPT, 0, NULL},
	    {"TO:<a@b> ORCPT=rfc822", BAD_ORCPT, 0, NULL},
	    {"TO:<a@b> ORCPT=rfc822;a+4", BAD_ORCPT, 0, NULL},
	    {"TO:<a@b> ORCPT=rfc822;a+00b", BAD_ORCPT, 0, NULL},
	    {"TO:<a@b> ORCPT=rfc822;a ORCPT=rfc822;b", BAD_ORCPT, 0, NULL},
	    {"TO:<a@b> orcpt=rfc822;x notify=never", NULL, SMTP_NOTIFY_NEVER, "rfc822;x"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena arena CLEANUP(arena_done) = {0};
		struct smtp_rcpt rcpt;
		struct err err;
		char reply[600] = "";
		bool good =
		    smtp_command_parse_rcpt(span_str(cases[i].args), &lax, &arena, &rcpt, &err);

		if (!good)
			reply_of(&err, reply, sizeof(reply));
		if (good != (cases[i].reply == NULL))
			fail_msg("RCPT %s: %s", cases[i].args, reply);
		if (!good) {
			assert_string_equal(reply, cases[i].reply);
			continue;
		}
		assert_int_equal(rcpt.notify, cases[i].notify);
		if (cases[i].orcpt == NULL)
			assert_null(rcpt.orcpt);
		else
			assert_string_equal(rcpt.orcpt, cases[i].orcpt);
	}
}

static void
test_rcpt_bytes(void **state)
{
	const struct smtp_command_options no_dsn = {.no_dsn = true};
	struct arena arena CLEANUP(arena_done) = {0};
	struct smtp_rcpt rcpt;
	struct err err;

	(void)state;
	assert_false(smtp_command_parse_rcpt(SPAN_LIT("TO:<a\0b@c>"), &lax, &arena, &rcpt, &err));
	assert_int_equal(err.smtp_code, 501);
	assert_string_equal(err.dsn, "5.1.3");
	assert_false(smtp_command_parse_rcpt(
	    SPAN_LIT("TO:<a@c> NOTIFY=NEVER"), &no_dsn, &arena, &rcpt, &err));
	assert_string_equal(err.text, "DSN support is disabled");
	assert_true(
	    smtp_command_parse_rcpt(SPAN_LIT("TO:<@r.test:<u@v>>"), &lax, &arena, &rcpt, &err));
	assert_string_equal(rcpt.addr, "u@v");
	assert_string_equal(rcpt.given, "@r.test:<u@v>");
}

static void
test_vrfy(void **state)
{
	static const struct {
		const char *args;
		const char *addr; /* NULL: refused */
		const char *reply;
	} cases[] = {
	    {"rp_alice", "rp_alice", NULL},
	    {"<a@rp.test>", "a@rp.test", NULL},
	    {"\"a b\"@rp.test", "a b@rp.test", NULL},
	    {"a@rp.test SMTPUTF8", "a@rp.test", NULL},
	    {"<a@b@c>", "a@b@c", NULL},
	    {"", NULL, "501 5.5.4 Syntax: VRFY address [SMTPUTF8]"},
	    {"rp_alice extra", NULL, RCPT_ADDRESS},
	    {"<>", NULL, RCPT_ADDRESS},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena arena CLEANUP(arena_done) = {0};
		struct smtp_rcpt rcpt;
		struct err err;
		char reply[600] = "";
		bool good =
		    smtp_command_parse_vrfy(span_str(cases[i].args), &lax, &arena, &rcpt, &err);

		assert_int_equal(good, cases[i].addr != NULL);
		if (good) {
			assert_string_equal(rcpt.addr, cases[i].addr);
			continue;
		}
		reply_of(&err, reply, sizeof(reply));
		assert_string_equal(reply, cases[i].reply);
	}
}

static void
test_bdat(void **state)
{
	static const struct {
		const char *args;
		bool good;
		uint64_t size;
		bool last;
	} cases[] = {
	    {"100", true, 100, false},
	    {"0 LAST", true, 0, true},
	    {"5 last ", true, 5, true},
	    {"", false, 0, false},
	    {"x", false, 0, false},
	    {"-1", false, 0, false},
	    {"1 FOO", false, 0, false},
	    {"5 LAST x", false, 0, false},
	    {"99999999999999999999", false, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct smtp_bdat bdat;
		struct err err;
		char reply[600];

		assert_int_equal(
		    smtp_command_parse_bdat(span_str(cases[i].args), &bdat, &err), cases[i].good);
		if (cases[i].good) {
			assert_int_equal(bdat.size, cases[i].size);
			assert_int_equal(bdat.last, cases[i].last);
			continue;
		}
		reply_of(&err, reply, sizeof(reply));
		assert_string_equal(reply, "521 5.5.4 Syntax: BDAT count [LAST]");
	}
}

static void
test_xtext(void **state)
{
	static const struct {
		const char *plain;
		const char *xtext;
	} cases[] = {
	    {"", ""},
	    {"a/b=c@dest.test", "a/b+3Dc@dest.test"},
	    {"a+b c", "a+2Bb+20c"},
	    {"\xc3\xb6", "+C3+B6"},
	};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		smtp_command_xtext_encode(span_str(cases[i].plain), &out);
		assert_string_equal(buf_str(&out), cases[i].xtext);
		buf_clear(&out);
		assert_true(smtp_command_xtext_decode(span_str(cases[i].xtext), &out));
		assert_string_equal(buf_str(&out), cases[i].plain);
		buf_clear(&out);
	}
	buf_add_str(&out, "kept");
	assert_false(smtp_command_xtext_decode(SPAN_LIT("abc+"), &out));
	assert_false(smtp_command_xtext_decode(SPAN_LIT("abc+4"), &out));
	assert_false(smtp_command_xtext_decode(SPAN_LIT("abc+4g"), &out));
	assert_string_equal(buf_str(&out), "kept");
}

static void
test_words(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	for (unsigned notify = 0; notify < 16; notify += 2)
		assert_int_equal(
		    smtp_command_notify_parse(span_str(smtp_command_notify_text(notify))), notify);
	assert_string_equal(smtp_command_notify_text(SMTP_NOTIFY_NEVER), "NEVER");
	assert_string_equal(smtp_command_ret_text(SMTP_RET_HDRS), "HDRS");
	assert_string_equal(smtp_command_ret_text(SMTP_RET_NONE), "");
	smtp_command_write_mail(&out, SPAN_LIT("a b@c"));
	smtp_command_write_rcpt(&out, SPAN_LIT("d@e"));
	smtp_command_write_mail(&out, SPAN_LIT(""));
	assert_string_equal(buf_str(&out), "MAIL FROM:<\"a b\"@c>RCPT TO:<d@e>MAIL FROM:<>");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_split),
	    cmocka_unit_test(test_mail_replies),
	    cmocka_unit_test(test_mail_values),
	    cmocka_unit_test(test_mail_options),
	    cmocka_unit_test(test_rcpt),
	    cmocka_unit_test(test_rcpt_bytes),
	    cmocka_unit_test(test_vrfy),
	    cmocka_unit_test(test_bdat),
	    cmocka_unit_test(test_xtext),
	    cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
