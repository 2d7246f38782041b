/*
 * test_pipe_status.c - what the end of a delivery command means.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mailbox/pipe_status.h"

#define EXITED(code) ((code) << 8)

static void
check(int wait_status, const char *output, enum delivery_status status, const char *dsn,
    const char *text, const char *diagnostic)
{
	struct arena arena = {0};
	struct pipe_status s;

	pipe_status_judge(wait_status, "/bin/x", span_str(output), &arena, &s);
	assert_int_equal(s.status, status);
	assert_string_equal(s.dsn, dsn);
	assert_string_equal(s.text, text);
	if (diagnostic == NULL)
		assert_null(s.diagnostic);
	else
		assert_string_equal(s.diagnostic, diagnostic);
	arena_done(&arena);
}

static void
test_success(void **state)
{
	(void)state;
	check(EXITED(0), "", DELIVERY_SENT, "2.0.0", "", NULL);
	check(EXITED(0), "5.7.1 all the same", DELIVERY_SENT, "2.0.0", "5.7.1 all the same", NULL);
}

static void
test_sysexits(void **state)
{
	static const struct {
		int code;
		const char *dsn;
		const char *text;
	} exits[] = {
	    {64, "5.3.0", "command line usage error"},
	    {65, "5.6.0", "data format error"},
	    {66, "5.3.0", "cannot open input"},
	    {67, "5.1.1", "user unknown"},
	    {68, "5.1.2", "host name unknown"},
	    {69, "5.3.0", "service unavailable"},
	    {70, "5.3.0", "internal software error"},
	    {71, "4.3.0", "system resource problem"},
	    {72, "5.3.0", "critical OS file missing"},
	    {73, "5.2.0", "can't create user output file"},
	    {74, "5.3.0", "input/output error"},
	    {75, "4.3.0", "temporary failure"},
	    {76, "5.5.0", "remote error in protocol"},
	    {77, "5.7.0", "permission denied"},
	    {78, "5.3.5", "local configuration error"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(exits); i++) {
		char diagnostic[100];

		(void)snprintf(diagnostic, sizeof(diagnostic), "x-unix; %s", exits[i].text);
		check(EXITED(exits[i].code), "",
		    exits[i].dsn[0] == '4' ? DELIVERY_DEFERRED : DELIVERY_BOUNCED, exits[i].dsn,
		    exits[i].text, diagnostic);
	}
	check(EXITED(67), "who?", DELIVERY_BOUNCED, "5.1.1", "user unknown. Command output: who?",
	    "x-unix; who?");
}

static void
test_other_statuses(void **state)
{
	(void)state;
	check(EXITED(99), "", DELIVERY_BOUNCED, "5.3.0", "Command died with status 99: \"/bin/x\"",
	    "x-unix; unknown mail system error 99");
	check(EXITED(99), "why", DELIVERY_BOUNCED, "5.3.0",
	    "Command died with status 99: \"/bin/x\". Command output: why", "x-unix; why");
	check(9, "", DELIVERY_DEFERRED, "4.3.0", "Command died with signal 9: \"/bin/x\"",
	    "x-unix; internal software error");
}

static void
test_output_with_code(void **state)
{
	(void)state;
	check(EXITED(67), "4.2.2 full", DELIVERY_DEFERRED, "4.2.2", "full", "x-unix; full");
	check(EXITED(75), "5.7.77 no", DELIVERY_BOUNCED, "5.7.77", "no", "x-unix; no");
	check(EXITED(67), "2.0.0 fine", DELIVERY_BOUNCED, "5.0.0", "fine", "x-unix; fine");
	check(EXITED(67), "5.7.1", DELIVERY_BOUNCED, "5.7.1", "(description unavailable)", NULL);
	check(EXITED(67), "5.7.1x no", DELIVERY_BOUNCED, "5.1.1",
	    "user unknown. Command output: 5.7.1x no", "x-unix; 5.7.1x no");
}

static void
test_late(void **state)
{
	struct arena arena = {0};
	struct pipe_status s;

	(void)state;
	pipe_status_late("/bin/x", span_str("hm"), &arena, &s);
	assert_int_equal(s.status, DELIVERY_BOUNCED);
	assert_string_equal(s.text, "Command time limit exceeded: \"/bin/x\". Command output: hm");
	arena_done(&arena);
}

static void
test_clean(void **state)
{
	char text[] = "a\tb\nc\001d \303\251 \351\n";

	(void)state;
	pipe_status_clean(text, sizeof(text) - 1);
	assert_string_equal(text, "a b c_d \303\251 _ ");
	pipe_status_clean(NULL, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_success),
	    cmocka_unit_test(test_sysexits),
	    cmocka_unit_test(test_other_statuses),
	    cmocka_unit_test(test_output_with_code),
	    cmocka_unit_test(test_late),
	    cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
