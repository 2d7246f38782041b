/*
 * test_bounce.c - who is told: the sender about his message, the postmaster about a notification if he wants it, nobody about that one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bounce/bounce.h"
#include "mail/mail_queue_id.h"

#define MAIN_CF                                                                                    \
	"compatibility_level = 3.6\nmyhostname = mail.here.test\nmydomain = here.test\n"           \
	"myorigin = here.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"

static const char content[] = "Subject: hello\nMessage-Id: <1@x>\n\nThe body.\n";

struct asked {
	const char *main_cf;
	const char *sender;
	unsigned kind;
	bool content_is_all;
};

static size_t
compose(const struct asked *a, struct queue_message *ret, struct arena *arena)
{
	struct conf *conf = conf_from_text(a->main_cf);
	struct bounce_settings settings = bounce_settings_from(conf);
	const int64_t ids[] = {mail_queue_id_make(INT64_C(1795262401000000), 3),
	    mail_queue_id_make(INT64_C(1795262401000001), 3)};
	const struct queue_envelope envelope = {
	    .msg_id = mail_queue_id_make(INT64_C(1795262400000000), 7),
	    .sender = a->sender,
	    .arrival = INT64_C(1795262400000000),
	    .size = sizeof(content) - 1,
	};
	const struct queue_notice notice = {
	    .kind = a->kind,
	    .action = a->kind == QUEUE_NOTIFY_DELAY ? "delayed" : "failed",
	    .addr = "bob@far.test",
	    .dsn = "5.1.1",
	    .text =
		"host mx.far.test[192.0.2.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)",
	    .remote_mta = "mx.far.test",
	    .diagnostic = "smtp; 550 5.1.1 no such user",
	    .expires_at = INT64_C(1795694400000000),
	};
	const struct queue_bounce bounce = {
	    .envelope = &envelope,
	    .content = SPAN_LIT(content),
	    .content_is_all = a->content_is_all,
	    .kind = a->kind,
	    .notices = &notice,
	    .notice_count = 1,
	};
	size_t count = bounce_compose(&settings, &bounce, ids, ret, 2, arena);

	bounce_settings_done(&settings);
	conf_unref(&conf);
	return count;
}

static bool
has(const struct queue_message *m, const char *text)
{
	return memmem(m->content.ptr, m->content.len, text, strlen(text)) != NULL;
}

static void
test_sender_is_told(void **state UNUSED)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(
	    compose(
		&(struct asked){MAIN_CF, "alice@near.test", QUEUE_NOTIFY_FAILURE, true}, m, &arena),
	    1);
	assert_string_equal(m[0].envelope.sender, "");
	assert_int_equal(m[0].envelope.rcpt_count, 1);
	assert_string_equal(m[0].envelope.rcpts[0].addr, "alice@near.test");
	assert_int_equal(m[0].envelope.size, m[0].content.len);
	assert_true(span_starts(m[0].content, "Received: by mail.here.test"));
	assert_true(has(&m[0], "Subject: Undelivered Mail Returned to Sender\n"));
	assert_true(has(&m[0], "Final-Recipient: rfc822; bob@far.test\n"));
	assert_true(has(&m[0], "Action: failed\nStatus: 5.1.1\n"));
	assert_true(has(&m[0], "Diagnostic-Code: smtp; 550 5.1.1 no such user\n"));
	assert_true(has(&m[0], "The body.\n"));
}

static void
test_large_message_returns_headers(void **state UNUSED)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(
	    compose(&(struct asked){MAIN_CF, "alice@near.test", QUEUE_NOTIFY_FAILURE, false}, m,
		&arena),
	    1);
	assert_true(has(&m[0], "Subject: hello\n"));
	assert_false(has(&m[0], "The body.\n"));
}

static void
test_null_sender_is_not_told(void **state UNUSED)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(
	    compose(&(struct asked){MAIN_CF, "", QUEUE_NOTIFY_FAILURE, true}, m, &arena), 0);
}

static void
test_postmaster_wants_double_bounces(void **state UNUSED)
{
	const char *main_cf = MAIN_CF "notify_classes = 2bounce\n";
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(
	    compose(&(struct asked){main_cf, "", QUEUE_NOTIFY_FAILURE, true}, m, &arena), 1);
	assert_string_equal(m[0].envelope.sender, "double-bounce@mail.here.test");
	assert_string_equal(m[0].envelope.rcpts[0].addr, "postmaster@here.test");
	/* About that one nobody is told: no loop. */
	assert_int_equal(compose(&(struct asked){main_cf, "double-bounce@mail.here.test",
				     QUEUE_NOTIFY_FAILURE, true},
			     m, &arena),
	    0);
}

static void
test_delay_warning(void **state UNUSED)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(compose(&(struct asked){MAIN_CF "delay_warning_time = 4h\n",
				     "alice@near.test", QUEUE_NOTIFY_DELAY, true},
			     m, &arena),
	    1);
	assert_true(has(&m[0], "Subject: Delayed Mail (still being retried)\n"));
	assert_true(has(&m[0], "Will-Retry-Until: "));
}

/* notify_classes = bounce: the postmaster gets the headers, from an address that is never answered. */
static void
test_postmaster_copy(void **state UNUSED)
{
	const char *main_cf =
	    MAIN_CF "notify_classes = bounce\nbounce_notice_recipient = pm@far.test\n";
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(
	    compose(
		&(struct asked){main_cf, "alice@near.test", QUEUE_NOTIFY_FAILURE, true}, m, &arena),
	    2);
	assert_string_equal(m[1].envelope.sender, "double-bounce@mail.here.test");
	assert_string_equal(m[1].envelope.rcpts[0].addr, "pm@far.test");
	assert_true(has(&m[1], "Subject: Postmaster Copy: Undelivered Mail\n"));
	assert_true(has(&m[0], "The body.\n"));
	assert_false(has(&m[1], "The body.\n"));
}

static char template_path[] = "/tmp/test_bounce_XXXXXX";

static const char *
write_template(const char *text)
{
	static char main_cf[1000];
	int fd = mkstemp(template_path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	(void)snprintf(main_cf, sizeof(main_cf),
	    MAIN_CF "delay_warning_time = 4h\nbounce_template_file = %s\n", template_path);
	return main_cf;
}

static void
test_template(void **state UNUSED)
{
	const char *main_cf = write_template(
	    "# comment\nfailure_template = <<EOF\nCharset: us-ascii\nFrom: DAEMON (us)\n"
	    "Subject: sorry\n\nFrom $myhostname after $delay_warning_time_hours h, $$5.\nEOF\n"
	    "delay_template = <<END\nBogus: x\nFrom: a\nSubject: b\n\nx\nEND\n");
	struct arena arena CLEANUP(arena_done) = {0};
	struct queue_message m[2];

	assert_int_equal(
	    compose(
		&(struct asked){main_cf, "alice@near.test", QUEUE_NOTIFY_FAILURE, true}, m, &arena),
	    1);
	assert_true(has(&m[0], "\nFrom: DAEMON@here.test (us)\nSubject: sorry\n"));
	assert_true(has(&m[0], "\n\nFrom mail.here.test after 4 h, $5.\n\n<bob@far.test>: "));
	/* One with a mistake is not used. */
	assert_int_equal(
	    compose(
		&(struct asked){main_cf, "alice@near.test", QUEUE_NOTIFY_DELAY, true}, m, &arena),
	    1);
	assert_true(has(&m[0], "Subject: Delayed Mail (still being retried)\n"));
	assert_int_equal(unlink(template_path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sender_is_told),
	    cmocka_unit_test(test_large_message_returns_headers),
	    cmocka_unit_test(test_null_sender_is_not_told),
	    cmocka_unit_test(test_postmaster_wants_double_bounces),
	    cmocka_unit_test(test_delay_warning),
	    cmocka_unit_test(test_postmaster_copy),
	    cmocka_unit_test(test_template),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
