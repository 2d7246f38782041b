/*
 * test_cleanup.c - what cleanup hands to the queue, over a queue that is a fake: the header section, the limits, what is
 * uploaded, and what stays when something fails half-way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cleanup/cleanup.h"
#include "mail/mail_header.h"
#include "queue/queue_front.h"
#include "queue/queue_upload.h"

struct queue_upload {
	bool finished;
};

/* What the queue saw. */
static struct {
	struct buf content; /* of the last stored message, its upload included */
	struct buf uploaded;
	struct buf attrs;    /* "name=value " ... */
	struct buf notifies; /* "0 " ... */
	char *orig_addr;
	size_t stores;
	size_t uploads_alive;
	size_t largest_piece;
	bool refuse_store;
	bool refuse_upload;
} seen;

bool
queue_front_store(struct queue_front *f UNUSED, const struct queue_message *m,
    int64_t deadline UNUSED, struct err *err)
{
	if (seen.refuse_store)
		return err_set(err, ERR_TEMP, "4.3.0", "queue database is away");
	seen.stores++;
	if (m->upload != NULL) {
		assert_true(m->upload->finished);
		assert_int_equal(m->content.len, 0);
		buf_add_span(&seen.content, buf_span(&seen.uploaded));
	}
	buf_add_span(&seen.content, m->content);
	assert_int_equal(m->envelope.size, seen.content.len);
	for (size_t i = 0; i < m->envelope.attr_count; i++)
		buf_printf(&seen.attrs, "%.*s=%.*s ", SPAN_ARG(m->envelope.attrs[i].name),
		    SPAN_ARG(m->envelope.attrs[i].value));
	for (size_t i = 0; i < m->envelope.rcpt_count; i++)
		buf_printf(&seen.notifies, "%u ", m->envelope.rcpts[i].dsn_notify);
	if (m->envelope.rcpts[0].orig_addr != NULL)
		seen.orig_addr = mem_strdup(m->envelope.rcpts[0].orig_addr);
	return true;
}

struct queue_upload *
queue_upload_new(struct queue_front *f UNUSED)
{
	seen.uploads_alive++;
	return mem_new(struct queue_upload);
}

bool
queue_upload_add(
    struct queue_upload *u UNUSED, struct span bytes, int64_t deadline UNUSED, struct err *err)
{
	if (seen.refuse_upload)
		return err_set(err, ERR_TEMP, "4.3.0", "queue database is away");
	seen.largest_piece = MAX(seen.largest_piece, bytes.len);
	buf_add_span(&seen.uploaded, bytes);
	return true;
}

bool
queue_upload_finish(struct queue_upload *u, int64_t deadline UNUSED, struct err *err UNUSED)
{
	u->finished = true;
	return true;
}

void
queue_upload_free(struct queue_upload **u)
{
	if (*u != NULL)
		seen.uploads_alive--;
	mem_free(*u);
	*u = NULL;
}

static int
setup(void **state UNUSED)
{
	memset(&seen, 0, sizeof(seen));
	return 0;
}

static int
teardown(void **state UNUSED)
{
	buf_done(&seen.content);
	buf_done(&seen.uploaded);
	buf_done(&seen.attrs);
	buf_done(&seen.notifies);
	mem_free(seen.orig_addr);
	return 0;
}

static const struct cleanup_settings defaults = {
    .hostname = "mail.here.test",
    .mail_name = "Rowpost",
    .message_size_limit = 100000,
    .inline_limit = 4096,
    .header_limit = 102400,
    .hop_limit = 50,
    .long_queue_ids = true,
    .drop = UINT64_C(1) << MAIL_HEADER_BCC | UINT64_C(1) << MAIL_HEADER_RETURN_PATH |
	    UINT64_C(1) << MAIL_HEADER_CONTENT_LENGTH | UINT64_C(1) << MAIL_HEADER_RESENT_BCC,
};

static struct cleanup *
begin(const struct cleanup_settings *settings, bool local_client)
{
	struct cleanup *c = cleanup_new(settings, NULL);
	struct cleanup_envelope *e = cleanup_envelope(c);

	e->msg_id = 1;
	e->queue_id = "4abc";
	e->arrival = 1700000000000000;
	e->sender = "s@client.test";
	e->complete_headers = local_client;
	e->client_name = "unknown";
	e->client_address = "192.0.2.1";
	e->client_protocol = "ESMTP";
	cleanup_add_rcpt(c, "r@here.test", "r", NULL, 0);
	return c;
}

static void
add(struct cleanup *c, const char *text)
{
	buf_add_str(cleanup_content(c), text);
	cleanup_added(c);
}

/* A message through the whole of it. */
static void
assert_stored(const char *text, bool local_client, const char *expected)
{
	struct cleanup *c = begin(&defaults, local_client);
	struct err err;

	add(c, text);
	if (!cleanup_finish(c, &err))
		fail_msg("%s", err.text);
	assert_string_equal(buf_str(&seen.content), expected);
	cleanup_free(&c);
}

#define COMPLETE "From: a@b\nDate: x\nMessage-Id: <m@b>\n"

static void
test_complete_message_is_kept(void **state UNUSED)
{
	assert_stored(COMPLETE "\nbody\n", true, COMPLETE "\nbody\n");
	assert_string_equal(seen.orig_addr, "r");
}

static void
test_stranger_gets_no_headers(void **state UNUSED)
{
	assert_stored("Subject: x\n\nbody\n", false, "Subject: x\n\nbody\n");
}

static void
test_missing_headers(void **state UNUSED)
{
	assert_stored("Subject: x\nDate: y\n\nbody\n", true,
	    "Subject: x\nDate: y\nMessage-Id: <4abc@mail.here.test>\nFrom: s@client.test\n\nbody\n");
}

static void
test_drops_bcc(void **state UNUSED)
{
	assert_stored(COMPLETE "Bcc: secret@b,\n other@b\nTo: c\n\nBcc: body\n", true,
	    COMPLETE "To: c\n\nBcc: body\n");
}

static void
test_no_blank_line(void **state UNUSED)
{
	assert_stored(COMPLETE "no header\n", true, COMPLETE "\nno header\n");
}

static void
test_attributes(void **state UNUSED)
{
	struct cleanup *c = begin(&defaults, false);
	struct cleanup_envelope *e = cleanup_envelope(c);
	struct err err;

	e->envid = "one+two";
	e->ret = "HDRS";
	e->smtputf8 = true;
	e->body_8bit = true;
	add(c, "Subject: \xc3\xb6\n\nx\n");
	assert_true(cleanup_finish(c, &err));
	assert_non_null(strstr(buf_str(&seen.attrs), "envid=one+two ret=HDRS smtputf8=header "));
	assert_non_null(strstr(buf_str(&seen.attrs), "encoding=8bit"));
	cleanup_free(&c);
}

/* Our own Received: line counts too. */
/* Who asked for a report of success hears that the alias was expanded; what it became reports nothing of that kind. */
static void
test_expanded(void **state UNUSED)
{
	struct conf *conf = conf_from_text(
	    "myhostname = h.test\nvirtual_alias_maps = inline:{a@x.test=b@y.test}\n");
	struct cleanup_settings settings = cleanup_settings_from(conf);
	struct cleanup *c = begin(&settings, false);
	struct err err;

	cleanup_add_rcpt(c, "a@x.test", "A@x.test", "rfc822;o", QUEUE_NOTIFY_SUCCESS);
	cleanup_add_rcpt(c, "c@x.test", "c@x.test", NULL, QUEUE_NOTIFY_SUCCESS);
	cleanup_add_rcpt(
	    c, "A@x.test", "a@x.test", NULL, QUEUE_NOTIFY_FAILURE | QUEUE_NOTIFY_SUCCESS);
	add(c, "A: b\n\nx\n");
	assert_true(cleanup_finish(c, &err));
	assert_non_null(strstr(buf_str(&seen.attrs),
	    "expanded=2\ta@x.test\tA@x.test\trfc822;o expanded=6\tA@x.test\ta@x.test\t "));
	assert_string_equal(buf_str(&seen.notifies), "0 1 2 4 ");
	cleanup_free(&c);
	cleanup_settings_done(&settings);
	conf_unref(&conf);
}

static void
test_hops(void **state UNUSED)
{
	for (unsigned n = 49; n <= 50; n++) {
		struct cleanup *c = begin(&defaults, false);
		struct err err;

		for (unsigned i = 0; i < n; i++)
			add(c, "Received: x\n");
		add(c, "\nbody\n");
		assert_int_equal(cleanup_finish(c, &err), n < 50);
		if (n >= 50)
			assert_int_equal(err.smtp_code, 554);
		cleanup_free(&c);
	}
}

static void
test_size_limit_counts_crlf(void **state UNUSED)
{
	struct cleanup_settings settings = defaults;

	/* "A: b\n\nx\n" is 8 bytes and three line ends; 618 is for the envelope. */
	settings.message_size_limit = 618 + 12;
	for (unsigned too_much = 0; too_much < 2; too_much++) {
		struct cleanup *c = begin(&settings, false);
		struct err err;

		add(c, "A: b\n\nx");
		add(c, too_much != 0 ? "yz\n" : "\n");
		assert_int_equal(cleanup_size(c), too_much != 0 ? 13 : 11);
		assert_int_equal(cleanup_finish(c, &err), too_much == 0);
		if (too_much != 0)
			assert_int_equal(err.smtp_code, 552);
		cleanup_free(&c);
	}
	assert_int_equal(seen.stores, 1);
}

/* Never more in memory than the limit and a piece of input; the header section is completed all the same. */
static void
test_large_is_uploaded(void **state UNUSED)
{
	struct cleanup *c = begin(&defaults, true);
	struct err err;

	add(c, "Subject: x\n\n");
	for (unsigned i = 0; i < 1000; i++)
		add(c, "0123456789012345678901234567890123456789\n");
	assert_true(cleanup_finish(c, &err));
	assert_true(seen.largest_piece < 3 * defaults.inline_limit);
	assert_non_null(strstr(buf_str(&seen.content), "\nMessage-Id: <4abc@mail.here.test>\n"));
	assert_true(seen.content.len > 41000);
	cleanup_free(&c);
	assert_int_equal(seen.uploads_alive, 0);
}

/* Too large after the upload began: what was uploaded is given up at once, what still comes is dropped. */
static void
test_too_large_gives_the_upload_up(void **state UNUSED)
{
	struct cleanup *c = begin(&defaults, false);
	struct err err;

	add(c, "Subject: x\n\n");
	for (unsigned i = 0; i < 4000; i++)
		add(c, "0123456789012345678901234567890123456789\n");
	assert_int_equal(seen.uploads_alive, 0);
	assert_int_equal(cleanup_content(c)->len, 0);
	assert_false(cleanup_finish(c, &err));
	assert_int_equal(err.smtp_code, 552);
	cleanup_free(&c);
	assert_int_equal(seen.stores, 0);
}

static void
test_failing_queue(void **state UNUSED)
{
	struct cleanup *c = begin(&defaults, false);
	struct err err;

	seen.refuse_store = true;
	add(c, "A: b\n\nx\n");
	assert_false(cleanup_finish(c, &err));
	assert_int_equal(err.kind, ERR_TEMP);
	cleanup_free(&c);

	seen.refuse_upload = true;
	c = begin(&defaults, false);
	add(c, "A: b\n\n");
	for (unsigned i = 0; i < 1000; i++)
		add(c, "Subject: 012345678901234567890\n");
	assert_false(cleanup_finish(c, &err));
	assert_int_equal(err.kind, ERR_TEMP);
	cleanup_free(&c);
	assert_int_equal(seen.uploads_alive, 0);
}

/* Header sections above the inline limit stay whole, so that a late Bcc: is dropped too; they end somewhere. */
static void
test_long_header_section(void **state UNUSED)
{
	struct cleanup_settings settings = defaults;
	struct cleanup *c = begin(&settings, true);
	struct err err;

	for (unsigned i = 0; i < 1000; i++)
		add(c, "X-Line: 0123456789\nX-");
	add(c, "End: x\nBcc: secret@b\n\nbody\n");
	assert_true(cleanup_finish(c, &err));
	assert_null(strstr(buf_str(&seen.content), "secret"));
	assert_non_null(strstr(buf_str(&seen.content), "\nX-End: x\n"));
	assert_non_null(strstr(buf_str(&seen.content), "\nFrom: s@client.test\n\nbody\n"));
	cleanup_free(&c);

	settings.message_size_limit = 0;
	c = begin(&settings, true);
	for (unsigned i = 0; i < 100 && cleanup_size(c) < 5000000; i++) {
		for (unsigned j = 0; j < 4000; j++)
			buf_add_str(cleanup_content(c), "X-Line: 0123456789\n");
		cleanup_added(c);
	}
	assert_false(cleanup_finish(c, &err));
	assert_int_equal(err.smtp_code, 552);
	cleanup_free(&c);
}

/* A session that ends in the middle: nothing is stored, nothing is left. */
static void
test_given_up(void **state UNUSED)
{
	struct cleanup *c = begin(&defaults, false);

	add(c, "A: b\n\n");
	for (unsigned i = 0; i < 1000; i++)
		add(c, "Subject: 012345678901234567890\n");
	assert_int_equal(seen.uploads_alive, 1);
	cleanup_free(&c);
	assert_null(c);
	assert_int_equal(seen.uploads_alive, 0);
	assert_int_equal(seen.stores, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_complete_message_is_kept),
	    TEST(test_stranger_gets_no_headers),
	    TEST(test_missing_headers),
	    TEST(test_drops_bcc),
	    TEST(test_no_blank_line),
	    TEST(test_attributes),
	    TEST(test_expanded),
	    TEST(test_hops),
	    TEST(test_size_limit_counts_crlf),
	    TEST(test_large_is_uploaded),
	    TEST(test_too_large_gives_the_upload_up),
	    TEST(test_failing_queue),
	    TEST(test_long_header_section),
	    TEST(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
