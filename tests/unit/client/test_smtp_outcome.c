/*
 * test_smtp_outcome.c - what a reply, or the loss of a connection, means for recipients: sent, bounced, deferred, the next host. The
 * files around it are replaced here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "client/smtp_filter.h"
#include "client/smtp_int.h"

/* ---- instead of the other files ---- */

static bool dropped;
static bool may_go_on;

bool
agent_is_dropped(const struct agent_job *job UNUSED)
{
	return dropped;
}

bool
agent_may_go_on(const struct agent_job *job UNUSED)
{
	return may_go_on;
}

void
smtp_filter_status(struct smtp_filter *f UNUSED, struct arena *arena UNUSED,
    const char **dsn UNUSED, const char **text UNUSED)
{
}

static int refused_code;

void
smtp_chat_refused(struct smtp_session *session UNUSED, enum smtp_step step UNUSED, int code)
{
	refused_code = code;
}

bool
smtp_session_offers(const struct smtp_session *session UNUSED, unsigned feature UNUSED)
{
	return false;
}

bool
smtp_why_set(struct smtp_why *why, const char *dsn, const char *fmt, ...)
{
	va_list ap;
	char text[500];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(why->dsn, sizeof(why->dsn), "%s", dsn);
	buf_clear(&why->text);
	buf_add_str(&why->text, text);
	return false;
}

/* ---- a delivery to two recipients ---- */

struct world {
	struct smtp_setup setup;
	struct agent_job job;
	struct delivery_rcpt rcpts[2];
	struct delivery_outcome outcomes[2];
	struct smtp_session session;
	struct smtp_delivery d;
};

static struct world *
world_new(bool last_host)
{
	struct world *w = mem_new(struct world);

	dropped = false;
	may_go_on = true;
	w->setup.best_mx_transport = "";
	w->rcpts[0].addr = SPAN_LIT("a@dest.example");
	w->rcpts[1].addr = SPAN_LIT("b@dest.example");
	w->job.request = (struct delivery_request){
	    .queue_id = SPAN_LIT("QID"),
	    .nexthop = SPAN_LIT("dest.example"),
	    .rcpts = w->rcpts,
	    .rcpt_count = 2,
	};
	w->job.outcomes = w->outcomes;
	w->session.setup = &w->setup;
	w->session.stream = (struct stream *)(void *)w; /* connected */
	(void)snprintf(w->session.host.name, sizeof(w->session.host.name), "mx.dest.example");
	(void)snprintf(w->session.address, sizeof(w->session.address), "192.0.2.1");
	w->d = (struct smtp_delivery){
	    .setup = &w->setup, .job = &w->job, .final_server = last_host, .final_nexthop = true};
	return w;
}

static void
world_end(struct world *w)
{
	smtp_reply_done(&w->session.reply);
	buf_done(&w->session.trouble.text);
	buf_done(&w->d.why.text);
	arena_done(&w->job.arena);
	mem_free(w);
}

static void
says(struct world *w, const char *line)
{
	smtp_reply_clear(&w->session.reply);
	assert_int_equal(
	    smtp_reply_line(&w->session.reply, span_str(line), false), SMTP_REPLY_DONE);
}

static void
fails(struct world *w, enum smtp_step step, enum stream_result lost, const char *dsn,
    const char *text)
{
	struct smtp_trouble *t = &w->session.trouble;

	t->step = step;
	t->lost = lost;
	(void)snprintf(t->dsn, sizeof(t->dsn), "%s", dsn);
	buf_clear(&t->text);
	buf_add_str(&t->text, text);
	smtp_outcome_session(&w->session, &w->d);
}

#define TEXT_IS(w, i, expected)                                                                    \
	assert_string_equal(arena_dup(&(w)->job.arena, (w)->outcomes[i].text), expected)

/* ---- tests ---- */

static void
one_reply_one_recipient(void **state UNUSED)
{
	static const struct {
		const char *reply;
		enum smtp_step step;
		bool last;
		int status; /* 0: open */
		const char *dsn;
	} cases[] = {
	    {"250 2.0.0 Ok: queued", SMTP_STEP_DOT, true, DELIVERY_SENT, "2.0.0"},
	    {"250 Ok", SMTP_STEP_DOT, false, DELIVERY_SENT, "2.0.0"},
	    /* Sent is sent, whatever class its code claims. */
	    {"250 5.1.1 well", SMTP_STEP_DOT, true, DELIVERY_SENT, "2.0.0"},
	    {"550 5.1.1 no such user", SMTP_STEP_RCPT, false, DELIVERY_BOUNCED, "5.1.1"},
	    {"550 no", SMTP_STEP_RCPT, true, DELIVERY_BOUNCED, "5.0.0"},
	    {"450 4.2.0 busy", SMTP_STEP_RCPT, true, DELIVERY_DEFERRED, "4.2.0"},
	    /* Another host may take it. */
	    {"450 4.2.0 busy", SMTP_STEP_RCPT, false, 0, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world *w = world_new(cases[i].last);

		says(w, cases[i].reply);
		refused_code = 0;
		smtp_outcome_rcpt(&w->session, &w->d, 1, cases[i].step);
		assert_int_equal(w->outcomes[0].status, 0);
		assert_int_equal(w->outcomes[1].status, cases[i].status);
		assert_true(span_equal_str(w->outcomes[1].dsn, cases[i].dsn));
		assert_int_equal(smtp_outcome_is_open(&w->d, 1), cases[i].status == 0);
		assert_int_equal(w->job.result.site_error.len, 0);
		/* The postmaster may want to hear of any refusal. */
		assert_int_equal(refused_code,
		    cases[i].status == DELIVERY_SENT ? 0 : strtol(cases[i].reply, NULL, 10));
		world_end(w);
	}
}

static void
texts_as_postfix_has_them(void **state UNUSED)
{
	struct world *w = world_new(true);

	says(w, "550 5.1.1 no such user");
	smtp_outcome_rcpt(&w->session, &w->d, 0, SMTP_STEP_RCPT);
	TEXT_IS(w, 0,
	    "host mx.dest.example[192.0.2.1] said: 550 5.1.1 no such user "
	    "(in reply to RCPT TO command)");
	assert_true(span_equal_str(w->outcomes[0].remote_mta, "mx.dest.example"));
	assert_true(span_equal_str(w->outcomes[0].diagnostic, "smtp; 550 5.1.1 no such user"));
	says(w, "250 2.0.0 Ok: queued as X");
	smtp_outcome_rcpt(&w->session, &w->d, 1, SMTP_STEP_DOT);
	TEXT_IS(w, 1, "250 2.0.0 Ok: queued as X");
	world_end(w);
}

static void
lost_connections(void **state UNUSED)
{
	static const struct {
		enum smtp_step step;
		enum stream_result lost;
		const char *text;
	} cases[] = {
	    {SMTP_STEP_MAIL, STREAM_EOF,
		"lost connection with mx.dest.example[192.0.2.1] while sending MAIL FROM"},
	    {SMTP_STEP_DATA, STREAM_TIMEOUT,
		"conversation with mx.dest.example[192.0.2.1] timed out while sending DATA "
		"command"},
	    {SMTP_STEP_DOT, STREAM_EOF,
		"lost connection with mx.dest.example[192.0.2.1] while sending end of data -- "
		"message may be sent more than once"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world *w = world_new(true);

		/* One recipient was refused before: its outcome stays. */
		says(w, "550 5.1.1 no such user");
		smtp_outcome_rcpt(&w->session, &w->d, 0, SMTP_STEP_RCPT);
		fails(w, cases[i].step, cases[i].lost, "", "");
		assert_int_equal(w->outcomes[0].status, DELIVERY_BOUNCED);
		assert_int_equal(w->outcomes[1].status, DELIVERY_DEFERRED);
		assert_true(span_equal_str(w->outcomes[1].dsn, "4.4.2"));
		TEXT_IS(w, 1, cases[i].text);
		assert_true(span_equal_str(w->job.result.site_error, cases[i].text));
		world_end(w);
	}
}

static void
refusals_of_all(void **state UNUSED)
{
	static const struct {
		enum smtp_step step;
		const char *dsn;
		const char *reply;
		bool last;
		int status;
		bool site;
	} cases[] = {
	    {SMTP_STEP_MAIL, "5.7.1", "550 5.7.1 no", false, DELIVERY_BOUNCED, false},
	    {SMTP_STEP_MAIL, "4.3.2", "450 4.3.2 later", true, DELIVERY_DEFERRED, false},
	    {SMTP_STEP_MAIL, "4.3.2", "450 4.3.2 later", false, 0, false},
	    {SMTP_STEP_GREETING, "4.3.2", "421 4.3.2 busy", true, DELIVERY_DEFERRED, true},
	    {SMTP_STEP_DOT, "5.6.0", "554 5.6.0 no", true, DELIVERY_BOUNCED, false},
	    /* "250" where something else has to come: the other side is out of its mind. */
	    {SMTP_STEP_DATA, "2.0.0", "250 2.0.0 Ok", true, DELIVERY_BOUNCED, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world *w = world_new(cases[i].last);

		fails(w, cases[i].step, STREAM_OK, cases[i].dsn, cases[i].reply);
		assert_int_equal(w->outcomes[0].status, cases[i].status);
		assert_int_equal(w->outcomes[1].status, cases[i].status);
		assert_int_equal(w->job.result.site_error.len != 0, cases[i].site);
		world_end(w);
	}
}

static void
no_host_is_left(void **state UNUSED)
{
	struct world *w = world_new(false);

	w->session.stream = NULL;
	fails(w, SMTP_STEP_CONNECT, STREAM_ERROR, "4.4.1", "Connection refused");
	assert_true(smtp_outcome_any_open(&w->d));
	smtp_outcome_leftover(&w->d);
	assert_int_equal(w->outcomes[1].status, DELIVERY_DEFERRED);
	assert_true(span_equal_str(w->outcomes[1].dsn, "4.4.1"));
	assert_true(span_equal_str(w->outcomes[1].relay, "none"));
	TEXT_IS(w, 1, "connect to mx.dest.example[192.0.2.1]: Connection refused");
	assert_true(w->job.result.site_error.len != 0);
	world_end(w);
}

static void
what_was_dropped_is_untried(void **state UNUSED)
{
	struct world *w = world_new(true);

	dropped = true;
	fails(w, SMTP_STEP_MAIL, STREAM_EOF, "", "");
	smtp_outcome_leftover(&w->d);
	assert_int_equal(w->outcomes[0].status, 0);
	assert_int_equal(w->job.result.site_error.len, 0);
	/* The lease is over: the content is not asked for any more. */
	dropped = false;
	may_go_on = false;
	fails(w, SMTP_STEP_BODY, STREAM_CANCELLED, "", "");
	assert_int_equal(w->outcomes[0].status, 0);
	/* The content could not be had, for another reason: that is no trouble of the site. */
	may_go_on = true;
	fails(w, SMTP_STEP_BODY, STREAM_CANCELLED, "", "");
	assert_int_equal(w->outcomes[0].status, DELIVERY_DEFERRED);
	assert_true(span_equal_str(w->outcomes[0].dsn, "4.3.0"));
	assert_int_equal(w->job.result.site_error.len, 0);
	world_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_reply_one_recipient),
	    cmocka_unit_test(texts_as_postfix_has_them),
	    cmocka_unit_test(lost_connections),
	    cmocka_unit_test(refusals_of_all),
	    cmocka_unit_test(no_host_is_left),
	    cmocka_unit_test(what_was_dropped_is_untried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
