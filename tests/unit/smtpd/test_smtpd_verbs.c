/*
 * test_smtpd_verbs.c - the table of verbs: found in either case, named for the log, and which of them may not be pipelined past.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/smtpd_int.h"

static void
test_every_command_has_a_name_and_a_verb(void **state UNUSED)
{
	for (enum smtpd_command c = 0; c < SMTPD_UNKNOWN; c++) {
		const char *name = smtpd_command_name(c);
		const struct smtpd_verb *verb;

		assert_non_null(name);
		verb = smtpd_verb_find(span_str(name));
		assert_non_null(verb);
		assert_int_equal(verb->command, c);
		assert_non_null(verb->handler);
	}
	assert_string_equal(smtpd_command_name(SMTPD_UNKNOWN), "UNKNOWN");
}

static void
test_verbs_are_whole_words(void **state UNUSED)
{
	assert_ptr_equal(smtpd_verb_find(SPAN_LIT("mAiL")), smtpd_verb_find(SPAN_LIT("MAIL")));
	assert_null(smtpd_verb_find(SPAN_LIT("MAI")));
	assert_null(smtpd_verb_find(SPAN_LIT("MAILX")));
	assert_null(smtpd_verb_find(span_of("", 0)));
}

/* RFC 2920 section 3.1: these end a group. */
static void
test_groups(void **state UNUSED)
{
	static const char *const last[] = {"EHLO", "DATA", "VRFY", "NOOP", "HELO"};
	static const char *const inside[] = {"MAIL", "RCPT", "RSET", "BDAT"};

	for (size_t i = 0; i < ARRAY_LEN(last); i++)
		assert_true((smtpd_verb_find(span_str(last[i]))->flags & SMTPD_LAST_IN_GROUP) != 0);
	for (size_t i = 0; i < ARRAY_LEN(inside); i++)
		assert_true(
		    (smtpd_verb_find(span_str(inside[i]))->flags & SMTPD_LAST_IN_GROUP) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_command_has_a_name_and_a_verb),
	    cmocka_unit_test(test_verbs_are_whole_words),
	    cmocka_unit_test(test_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
