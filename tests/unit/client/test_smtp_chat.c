/*
 * test_smtp_chat.c - what is kept of a session, which refusals the postmaster hears of, and what he never hears: passwords, and trouble
 * with notifications.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/smtp_int.h"

/* ---- instead of the agent ---- */

static unsigned told;
static bool told_cut;
static char told_peer[100];
static char told_text[MAIL_TRANSCRIPT_MAX + 4096];

void
agent_notice(struct agent *agent UNUSED, const struct delivery_notice *n)
{
	told++;
	told_cut = n->cut;
	(void)snprintf(told_peer, sizeof(told_peer), "%.*s", SPAN_ARG(n->peer));
	(void)snprintf(told_text, sizeof(told_text), "%.*s", SPAN_ARG(n->transcript));
}

/* ---- a session ---- */

struct world {
	struct smtp_state state;
	struct smtp_setup setup;
	struct agent_job job;
	struct smtp_session session;
};

static void
world_begin(struct world *w, unsigned notify, const char *sender)
{
	memset(w, 0, sizeof(*w));
	told = 0;
	w->setup.conf = conf_from_text("double_bounce_sender = dbl\n");
	w->setup.hostname = "mail.own.test";
	w->setup.notify = notify;
	w->job.request.sender = span_str(sender);
	w->session.state = &w->state;
	w->session.setup = &w->setup;
	(void)snprintf(w->session.host.name, sizeof(w->session.host.name), "mx.test");
	(void)snprintf(w->session.address, sizeof(w->session.address), "192.0.2.1");
	assert_true(net_addr_parse("192.0.2.1", 25, &w->session.host.addr));
	smtp_chat_begin(&w->session, &w->job);
}

static void
world_end(struct world *w)
{
	smtp_chat_end(&w->session);
	conf_unref(&w->setup.conf);
}

static void
test_kept(void **state UNUSED)
{
	struct world w;

	world_begin(&w, MAIL_TROUBLE_PROTOCOL, "a@b.test");
	smtp_chat_heard(&w.session, SPAN_LIT("220 mx.test ESMTP"));
	smtp_chat_said(&w.session, SMTP_STEP_EHLO, SPAN_LIT("EHLO own.test"));
	smtp_chat_heard(&w.session, SPAN_LIT(""));
	smtp_chat_heard(&w.session, SPAN_LIT("502 5.5.1 what?"));
	smtp_chat_refused(&w.session, SMTP_STEP_HELO, 502);
	smtp_chat_end(&w.session);
	assert_int_equal(told, 1);
	assert_false(told_cut);
	assert_string_equal(told_peer, "mx.test[192.0.2.1]:25");
	assert_string_equal(
	    told_text, "In:  220 mx.test ESMTP\nOut: EHLO own.test\nIn:  \nIn:  502 5.5.1 what?\n");
	/* It is forgotten then. */
	smtp_chat_end(&w.session);
	assert_int_equal(told, 1);
	world_end(&w);
}

/* Names and passwords, however they are given. */
static void
test_no_passwords(void **state UNUSED)
{
	struct world w;

	world_begin(&w, MAIL_TROUBLE_PROTOCOL, "a@b.test");
	smtp_chat_said(&w.session, SMTP_STEP_AUTH, SPAN_LIT("AUTH PLAIN AHVzZXIAc2VjcmV0"));
	smtp_chat_said(&w.session, SMTP_STEP_AUTH, SPAN_LIT("AUTH LOGIN"));
	smtp_chat_said(&w.session, SMTP_STEP_AUTH, SPAN_LIT("dXNlcg=="));
	smtp_chat_said(&w.session, SMTP_STEP_AUTH, SPAN_LIT("c2VjcmV0"));
	smtp_chat_trouble(&w.session, MAIL_TROUBLE_PROTOCOL);
	world_end(&w);
	assert_string_equal(told_text, "Out: AUTH PLAIN\nOut: AUTH LOGIN\n");
}

static void
test_classes(void **state UNUSED)
{
	static const struct {
		unsigned notify;
		enum smtp_step step;
		int code;
		bool told;
	} cases[] = {
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 500, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 509, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_MAIL, 555, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_DATA, 250, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 354, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_DOT, 600, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_STARTTLS, 500, true},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 510, false},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 550, false},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_GREETING, 554, false},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 421, false},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_RCPT, 450, false},
	    {MAIL_TROUBLE_PROTOCOL, SMTP_STEP_AUTH, 500, false},
	    {MAIL_TROUBLE_DATA, SMTP_STEP_RCPT, 500, false},
	    {0, SMTP_STEP_RCPT, 500, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world w;

		world_begin(&w, cases[i].notify, "a@b.test");
		smtp_chat_heard(&w.session, SPAN_LIT("500 x"));
		smtp_chat_refused(&w.session, cases[i].step, cases[i].code);
		assert_true(cases[i].notify != 0 || w.session.chat.transcript.text.size == 0);
		world_end(&w);
		assert_int_equal(told, cases[i].told);
	}
}

/* About mail that is a notification itself nobody is told. */
static void
test_muted(void **state UNUSED)
{
	static const char *const senders[] = {"", "dbl@mail.own.test", "DBL@mail.own.test"};

	for (size_t i = 0; i < ARRAY_LEN(senders); i++) {
		struct world w;

		world_begin(&w, MAIL_TROUBLE_DATA, senders[i]);
		smtp_chat_trouble(&w.session, MAIL_TROUBLE_DATA);
		world_end(&w);
		assert_int_equal(told, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kept),
	    cmocka_unit_test(test_no_passwords),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_muted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
