/*
 * test_cleanup_content.c - what becomes of headers and bodies: checks and their actions, MIME structure, rewriting, strictness,
 * duplicates; over a queue that is a fake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cleanup/cleanup.h"
#include "queue/queue_front.h"
#include "queue/queue_upload.h"

#define MAIN_CF                                                                                    \
	"compatibility_level = 3.6\nmyhostname = mail.here.test\nmydomain = here.test\n"           \
	"myorigin = here.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"               \
	"message_size_limit = 0\n"

static struct {
	struct buf content;
	struct buf attrs;
	struct buf rcpts; /* "addr<orig " ... */
	struct buf hold;
	size_t stores;
} seen;

bool
queue_front_store(struct queue_front *f UNUSED, const struct queue_message *m,
    int64_t deadline UNUSED, struct err *err UNUSED)
{
	seen.stores++;
	buf_add_span(&seen.content, m->content);
	buf_add_str(&seen.hold, m->hold != NULL ? m->hold : "");
	for (size_t i = 0; i < m->envelope.attr_count; i++)
		buf_printf(&seen.attrs, "%.*s=%.*s ", SPAN_ARG(m->envelope.attrs[i].name),
		    SPAN_ARG(m->envelope.attrs[i].value));
	for (size_t i = 0; i < m->envelope.rcpt_count; i++) {
		const struct queue_rcpt *r = &m->envelope.rcpts[i];

		buf_printf(&seen.rcpts, "%s%s%s/%u ", r->addr, r->orig_addr != NULL ? "<" : "",
		    r->orig_addr != NULL ? r->orig_addr : "", r->dsn_notify);
	}
	return true;
}

struct queue_upload *
queue_upload_new(struct queue_front *f UNUSED)
{
	fail_msg("nothing here is large");
	return NULL;
}

bool
queue_upload_add(struct queue_upload *u UNUSED, struct span bytes UNUSED, int64_t deadline UNUSED,
    struct err *err UNUSED)
{
	return false;
}

bool
queue_upload_finish(struct queue_upload *u UNUSED, int64_t deadline UNUSED, struct err *err UNUSED)
{
	return false;
}

void
queue_upload_free(struct queue_upload **u)
{
	*u = NULL;
}

static int
teardown(void **state UNUSED)
{
	buf_done(&seen.content);
	buf_done(&seen.attrs);
	buf_done(&seen.rcpts);
	buf_done(&seen.hold);
	memset(&seen, 0, sizeof(seen));
	return 0;
}

/* A message under `main_cf` added to the usual; fed in pieces of `step` bytes. False: refused, `err` says why. */
static bool
send(const char *main_cf, const char *text, size_t step, struct err *err)
{
	char *all CLEANUP(mem_free_str) = mem_printf("%s%s", MAIN_CF, main_cf);
	struct conf *conf = conf_from_text(all);
	struct cleanup_settings settings = cleanup_settings_from(conf);
	struct cleanup *c = cleanup_new(&settings, NULL);
	struct cleanup_envelope *e = cleanup_envelope(c);
	size_t len = strlen(text);
	bool good;

	*e = (struct cleanup_envelope){.msg_id = 1,
	    .queue_id = "4abc",
	    .arrival = 1700000000000000,
	    .sender = "s@client.test",
	    .complete_headers = true,
	    .client_name = "c.test",
	    .client_address = "192.0.2.1",
	    .client_protocol = "ESMTP"};
	cleanup_add_rcpt(c, "r@far.test", "r@far.test", NULL, 0);
	cleanup_add_rcpt(c, "R@FAR.test", "r@far.test", NULL, 0);
	cleanup_add_rcpt(c, "q@far.test", "q@far.test", NULL, 0);
	for (size_t at = 0; at < len; at += step) {
		buf_add(cleanup_content(c), text + at, MIN(step, len - at));
		cleanup_added(c);
	}
	good = cleanup_finish(c, err);
	cleanup_free(&c);
	cleanup_settings_done(&settings);
	conf_unref(&conf);
	return good;
}

/* Whole and in small pieces alike. */
static void
assert_content(const char *main_cf, const char *text, const char *expected)
{
	static const size_t steps[] = {1, 7, 100000};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct err err;

		(void)teardown(NULL);
		if (!send(main_cf, text, steps[i], &err))
			fail_msg("%s", err.text);
		assert_string_equal(buf_str(&seen.content), expected);
	}
}

static void
assert_refused(const char *main_cf, const char *text, int code, const char *dsn, const char *why)
{
	struct err err;

	(void)teardown(NULL);
	assert_false(send(main_cf, text, 5, &err));
	assert_int_equal(err.smtp_code, code);
	assert_string_equal(err.dsn, dsn);
	assert_string_equal(err.text, why);
	assert_int_equal(seen.stores, 0);
}

/* A regexp table of its own for each use. */
static const char *
table(const char *parameter, const char *text)
{
	static char line[256];
	static char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/tmp/test_cleanup_%d", (int)getpid());
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	(void)snprintf(line, sizeof(line), "%s = regexp:%s\n", parameter, path);
	return line;
}

#define H "From: a@b.test\nDate: x\nMessage-Id: <m@b>\n"

static const char mime[] = H "Subject: outer\nContent-Type: multipart/mixed; boundary=bb\n\npre\n"
			     "--bb\nX-Part: 1\n\nspam\n--bb\nContent-Type: message/rfc822\n\n"
			     "Subject: inner\n\nspam too\n--bb--\nepilogue\n";

static void
test_header_actions(void **state UNUSED)
{
	assert_content(table("header_checks",
			   "/^Subject: drop/ IGNORE\n/^Subject: old(.*)/ REPLACE Subject: new$1\n"
			   "/^X-P/ PREPEND X-Before: 1\n/^X-S/ STRIP\n"),
	    H "Subject: drop\nSubject: old one\nX-P: 2\nX-S: 3\nX-T: 4\n\nSubject: drop\n",
	    H "Subject: new one\nX-Before: 1\nX-P: 2\nX-T: 4\n\nSubject: drop\n");
	assert_content(table("header_checks", "/^Subject/ PREPEND no colon\n/^X/ REPLACE none\n"),
	    H "Subject: a\nX: y\n\nb\n", H "Subject: a\nX: y\n\nb\n");
}

static void
test_refusals(void **state UNUSED)
{
	assert_refused(table("header_checks", "/^Subject/ REJECT\n"), H "Subject: x\n\nb\n", 550,
	    "5.7.1", "message content rejected");
	assert_refused(table("header_checks", "/^Subject/ REJECT 4.7.9 later\n"),
	    H "Subject: x\n\nb\n", 451, "4.7.9", "later");
	assert_refused(
	    table("body_checks", "/^spam$/ reject no spam\n"), mime, 550, "5.7.1", "no spam");
	assert_refused("message_reject_characters = \\0Z\n", H "\nabZ\n", 550, "5.7.1",
	    "disallowed character");
	assert_refused("hopcount_limit = 2\n", H "Received: a\nReceived: b\n\nb\n", 554, "5.4.0",
	    "Error: too many hops");
	assert_refused("header_checks = regexp:/nonexistent/file\n", H "\nb\n", 451, "4.3.0",
	    "Error: queue file write error");
}

static void
test_message_actions(void **state UNUSED)
{
	struct err err;

	assert_content(table("header_checks", "/^Subject/ FILTER smtp:[::1]\n"),
	    H "Subject: a\n\nb\n", H "Subject: a\n\nb\n");
	assert_non_null(strstr(buf_str(&seen.attrs), "content_filter=smtp:[::1] "));
	assert_content(table("header_checks", "/^Subject/ HOLD\n"), H "Subject: a\n\nb\n",
	    H "Subject: a\n\nb\n");
	assert_string_equal(buf_str(&seen.hold), "header_checks");
	assert_content(table("header_checks", "/^Subject/ REDIRECT n@far.test\n"),
	    H "Subject: a\n\nb\n", H "Subject: a\n\nb\n");
	assert_string_equal(buf_str(&seen.rcpts), "n@far.test<r@far.test/0 ");
	assert_content(table("header_checks", "/^Subject/ BCC n@far.test\n"), H "Subject: a\n\nb\n",
	    H "Subject: a\n\nb\n");
	assert_string_equal(buf_str(&seen.rcpts), "r@far.test/0 q@far.test/0 n@far.test/1 ");
	(void)teardown(NULL);
	assert_true(
	    send(table("header_checks", "/^Subject/ DISCARD\n"), H "Subject: a\n\nb\n", 9, &err));
	assert_int_equal(seen.stores, 0);
	/* PASS ends all checks. */
	assert_content(table("header_checks", "/^From/ PASS\n/^Subject/ REJECT\n"),
	    H "Subject: a\n\nb\n", H "Subject: a\n\nb\n");
}

static void
test_mime_structure(void **state UNUSED)
{
	assert_content(table("nested_header_checks", "/^Subject: (.*)/ REPLACE Subject: was $1\n"),
	    mime,
	    H
	    "Subject: outer\nContent-Type: multipart/mixed; boundary=bb\n\npre\n--bb\nX-Part: 1\n\n"
	    "spam\n--bb\nContent-Type: message/rfc822\n\nSubject: was inner\n\nspam too\n--bb--\n"
	    "epilogue\n");
	assert_content(table("mime_header_checks", "/^X-Part/ IGNORE\n"), mime,
	    H "Subject: outer\nContent-Type: multipart/mixed; boundary=bb\n\npre\n--bb\n\n"
	      "spam\n--bb\nContent-Type: message/rfc822\n\nSubject: inner\n\nspam too\n--bb--\n"
	      "epilogue\n");
	assert_content(table("body_checks", "/^(pre|spam.*|epi.*)$/ IGNORE\n"), mime,
	    H "Subject: outer\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\nX-Part: 1\n\n"
	      "--bb\nContent-Type: message/rfc822\n\nSubject: inner\n\n--bb--\n");
}

#define PART(b) "Content-Type: multipart/x; boundary=" b "\n\n--" b "\n"
#define CTE(x)  "Content-Transfer-Encoding: " x "\n"

static void
test_strictness(void **state UNUSED)
{
	assert_refused("strict_7bit_headers = yes\n", H "Subject: \xc3\xa9\n\nb\n", 550, "5.6.0",
	    "improper use of 8-bit data in message header");
	assert_refused("strict_8bitmime_body = yes\n", H "\n\xc3\xa9\n", 550, "5.6.0",
	    "improper use of 8-bit data in message body");
	assert_content("strict_8bitmime_body = yes\n",
	    H "Content-Transfer-Encoding: 8bit\n\n\xc3\xa9\n",
	    H "Content-Transfer-Encoding: 8bit\n\n\xc3\xa9\n");
	/* Who says quoted-printable is not doubted. */
	assert_content("strict_8bitmime_body = yes\n", H CTE("quoted-printable") "\n\xc3\xa9\n",
	    H CTE("quoted-printable") "\n\xc3\xa9\n");
	assert_refused("strict_mime_encoding_domain = yes\n",
	    H "Content-Type: multipart/x; boundary=b\nContent-Transfer-Encoding: base64\n\nx\n",
	    550, "5.6.0", "invalid message/* or multipart/* encoding domain");
	assert_refused("mime_nesting_limit = 1\n", H PART("a") PART("b") PART("c") PART("d") "x\n",
	    550, "5.6.0", "MIME nesting exceeds safety limit");
	assert_content("mime_nesting_limit = 1\n", H PART("a") PART("b") PART("c") "x\n",
	    H PART("a") PART("b") PART("c") "x\n");
}

static void
test_make_7bit(void **state UNUSED)
{
	static const char text[] = H CTE("8bit") "\ncaf\xc3\xa9 = spam\n";

	assert_content("force_mime_input_conversion = yes\n", text,
	    H CTE("quoted-printable") "\ncaf=C3=A9 =3D spam\n");
	/* The checks see what has become of it. */
	assert_refused("force_mime_input_conversion = yes\nbody_checks = "
		       "regexp:{{/=C3=A9 =3D/ REJECT}}\n",
	    text, 550, "5.7.1", "message content rejected");
	/* What nobody calls 8-bit stays as it is. */
	assert_content(
	    "force_mime_input_conversion = yes\n", H "\ncaf\xc3\xa9\n", H "\ncaf\xc3\xa9\n");
	assert_content(
	    "force_mime_input_conversion = yes\ndisable_mime_input_processing = yes\n", text, text);
}

static void
test_rewriting(void **state UNUSED)
{
	assert_content("",
	    "From: joe (Joe)\nDate: x\nMessage-Id: <m@b>\nTo: bob, \"Al\" <al>, c@d.test\n\nb\n",
	    "From: joe@here.test (Joe)\nDate: x\nMessage-Id: <m@b>\n"
	    "To: bob@here.test, \"Al\" <al@here.test>, c@d.test\n\nb\n");
	assert_content("",
	    H "To: user-number-1, user-number-2, user-number-3, user-number-4\n\nb\n",
	    H "To: user-number-1@here.test, user-number-2@here.test,\n"
	      "\tuser-number-3@here.test, user-number-4@here.test\n\nb\n");
	/* What does not change stays as it is, folds and all. */
	assert_content(
	    "", H "To: a@b.test,\n   c@d.test\n\nb\n", H "To: a@b.test,\n   c@d.test\n\nb\n");
}

static void
test_small_things(void **state UNUSED)
{
	assert_content(
	    "message_strip_characters = z\n", H "Subject: azb\n\nzcz\n", H "Subject: ab\n\nc\n");
	assert_content("message_drop_headers = x-odd\n", H "X-Odd: 1\nBcc: k@b.test\n\nb\n",
	    H "Bcc: k@b.test\n\nb\n");
	assert_content(
	    "undisclosed_recipients_header = To: nobody:;\n", H "\nb\n", H "To: nobody:;\n\nb\n");
	assert_content("header_size_limit = 12\n", H "X: 0123456789\n 0123\n\nb\n",
	    "From: a@b.te\nDate: x\nMessage-Id: \nX: 012345678\n\nb\n");
	assert_string_equal(buf_str(&seen.rcpts), "r@far.test/0 q@far.test/0 ");
}

static int
remove_table(void **state UNUSED)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/tmp/test_cleanup_%d", (int)getpid());
	(void)unlink(path);
	return 0;
}

#define TEST(f) cmocka_unit_test_teardown(f, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_header_actions),
	    TEST(test_refusals),
	    TEST(test_message_actions),
	    TEST(test_mime_structure),
	    TEST(test_strictness),
	    TEST(test_make_7bit),
	    TEST(test_rewriting),
	    TEST(test_small_things),
	};

	return cmocka_run_group_tests(tests, NULL, remove_table);
}
