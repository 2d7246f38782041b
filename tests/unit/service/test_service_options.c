/*
 * test_service_options.c - the command line between master and a service: what one writes the other reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "service/service_options.h"

static size_t
word_count(char **argv)
{
	size_t n = 0;

	while (argv[n] != NULL)
		n++;
	return n;
}

static char program[] = "smtpd", dash_c[] = "-c", dir[] = "/etc/rowpost";

static void
round_trip(void **state UNUSED)
{
	struct conf_override overrides[] = {{"syslog_name", "postfix/submission"}, {"x", "a = b"}};
	char flags[] = "flags=DRhu", user[] = "user=vmail", argument[] = "argv=-v";
	char *args[] = {flags, user, argument};
	struct service_options in = {.conf_dir = "/etc/rowpost",
	    .name = "127.0.0.1:2525",
	    .type = "inet",
	    .instance = 1,
	    .instances = 2,
	    .slots = 50,
	    .listen_count = 2,
	    .control_fd = 5,
	    .lock_fd = 6,
	    .verbose = 2,
	    .overrides = overrides,
	    .override_count = 2,
	    .args = args,
	    .arg_count = 3};
	struct service_options out;
	struct err err;
	char **argv = service_options_argv("/usr/lib/rowpost/smtpd", &in);

	assert_string_equal(argv[0], "/usr/lib/rowpost/smtpd");
	assert_true(service_options_parse((int)word_count(argv), argv, &out, &err));
	assert_string_equal(out.conf_dir, "/etc/rowpost");
	assert_string_equal(out.name, "127.0.0.1:2525");
	assert_string_equal(out.type, "inet");
	assert_int_equal(out.instance, 1);
	assert_int_equal(out.instances, 2);
	assert_int_equal(out.slots, 50);
	assert_int_equal(out.listen_count, 2);
	assert_int_equal(out.control_fd, 5);
	assert_int_equal(out.lock_fd, 6);
	assert_int_equal(out.verbose, 2);
	assert_int_equal(out.override_count, 2);
	assert_string_equal(out.overrides[0].name, "syslog_name");
	assert_string_equal(out.overrides[0].value, "postfix/submission");
	assert_string_equal(out.overrides[1].value, "a = b");
	assert_int_equal(out.arg_count, 3);
	assert_string_equal(out.args[2], "argv=-v");
	service_options_done(&out);
	service_options_free_argv(&argv);
	assert_null(argv);
}

static void
defaults_for_a_start_by_hand(void **state UNUSED)
{
	char *argv[] = {program, dash_c, dir, NULL};
	struct service_options o;
	struct err err;

	assert_true(service_options_parse(3, argv, &o, &err));
	assert_int_equal(o.instances, 1);
	assert_int_equal(o.slots, 1);
	assert_int_equal(o.listen_count, 0);
	assert_int_equal(o.control_fd, -1);
	assert_int_equal(o.lock_fd, -1);
	service_options_done(&o);
}

static void
mistakes_are_named(void **state UNUSED)
{
	static const char *const bad[] = {"-i0", "-i2/2", "-ix/1", "-s-1", "-s1x", "-L65", "-oname",
	    "-o=value", "-Q", "-C99999999", "-c"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char *word = mem_strdup(bad[i]);
		char *argv[] = {program, dash_c, dir, word, NULL};
		struct service_options o;
		struct err err;

		err_clear(&err);
		assert_false(service_options_parse(4, argv, &o, &err));
		assert_int_equal(err.kind, ERR_CONFIG);
		assert_true(err.text[0] != '\0');
		mem_free(word);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(defaults_for_a_start_by_hand),
	    cmocka_unit_test(mistakes_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
