/*
 * test_master_plan.c - from master.cf and main.cf to programs, processes, slots and sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/span.h"
#include "master/master_plan.h"

/* A directory with the programs that count as installed. */
static char program_dir[] = "/tmp/rowpost-plan-XXXXXX";
static const char *const programs[] = {"smtpd", "qmgr", "smtp", "pipe"};

static int
make_programs(void **state UNUSED)
{
	if (mkdtemp(program_dir) == NULL)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		char *path CLEANUP(mem_free_str) = mem_printf("%s/%s", program_dir, programs[i]);
		int fd = open(path, O_WRONLY | O_CREAT, 0755);

		if (fd < 0 || close(fd) != 0)
			return -1;
	}
	return 0;
}

static int
remove_programs(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		char *path CLEANUP(mem_free_str) = mem_printf("%s/%s", program_dir, programs[i]);

		(void)unlink(path);
	}
	return rmdir(program_dir);
}

#define MAIN                                                                                       \
	"inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmail_owner = root\n"                  \
	"agent_owner = nobody\n"

static bool
try_plan(const char *main_cf, const char *master, struct master_plan *ret, struct err *err)
{
	struct conf *c = conf_from_text(main_cf);
	struct master_cf services;
	struct master_plan_source source = {
	    .conf = c, .services = &services, .program_dir = program_dir, .cpus = 4};
	bool good;

	assert_true(master_cf_parse(span_str(master), "master.cf", &services, err));
	good = master_plan_make(&source, ret, err);
	master_cf_done(&services);
	conf_unref(&c);
	return good;
}

static struct master_plan
must_plan(const char *main_cf, const char *master)
{
	struct master_plan plan;
	struct err err;

	if (!try_plan(main_cf, master, &plan, &err))
		fail_msg("%s", err.text);
	return plan;
}

static void
front_end_lines(void **state UNUSED)
{
	struct master_plan plan = must_plan(MAIN, "2525 inet n - n - - smtpd\n"
						  "127.0.0.1:587 inet n - n - 7 smtpd -v\n"
						  "  -o syslog_name=postfix/submission\n");
	const struct master_plan_service *s = master_plan_find(&plan, "2525", "inet");

	assert_int_equal(plan.count, 2);
	assert_non_null(s);
	assert_int_equal(s->processes, 2); /* one for each two processors */
	assert_int_equal(s->slots, 10000); /* smtpd_session_limit */
	assert_int_equal(s->want_count, 1);
	assert_string_equal(s->wants[0].key, "inet:127.0.0.1:2525");

	s = master_plan_find(&plan, "127.0.0.1:587", "inet");
	assert_non_null(s);
	assert_int_equal(s->slots, 7);
	assert_int_equal(s->verbose, 1);
	assert_int_equal(s->override_count, 1);
	assert_string_equal(s->overrides[0].value, "postfix/submission");
	assert_int_equal(s->arg_count, 0);
	assert_string_equal(s->wants[0].key, "inet:127.0.0.1:587");
	master_plan_done(&plan);
}

static void
all_interfaces(void **state UNUSED)
{
	struct master_plan plan = must_plan(
	    "inet_interfaces = all\ninet_protocols = all\n", "2525 inet n - n - - smtpd\n");
	const struct master_plan_service *s = &plan.services[0];

	assert_int_equal(s->want_count, 2);
	assert_string_equal(s->wants[0].key, "inet:0.0.0.0:2525");
	assert_string_equal(s->wants[1].key, "inet:[::]:2525");
	assert_true(s->wants[1].wildcard);
	master_plan_done(&plan);
}

static void
scheduler_and_agents(void **state UNUSED)
{
	struct master_plan plan = must_plan(MAIN "smtp_agent_processes = 3\n"
						 "default_process_limit = 50\n",
	    "qmgr unix n - n 300 1 qmgr\n"
	    "smtp unix - - n - - smtp\n"
	    "relay unix - - n - 2 smtp\n"
	    "  -o syslog_name=postfix/relay\n"
	    "dump unix - n n - 1 pipe flags=DR user=nobody argv=/bin/cat { two words }\n");
	const struct master_plan_service *s = master_plan_find(&plan, "qmgr", "unix");

	assert_int_equal(s->processes, 1);
	assert_int_equal(s->want_count, 2);
	assert_string_equal(s->wants[0].key, "unix:private/qmgr");
	assert_int_equal(s->wants[0].mode, 0600);
	assert_int_equal(s->wants[0].uid, 65534); /* agent_owner */
	assert_string_equal(s->wants[1].key, "unix:public/qmgr");

	s = master_plan_find(&plan, "smtp", "unix");
	assert_int_equal(s->processes, 3);
	assert_int_equal(s->slots, 50);
	assert_int_equal(s->want_count, 0);
	s = master_plan_find(&plan, "relay", "unix");
	assert_int_equal(s->processes, 2); /* not more than slots */

	s = master_plan_find(&plan, "dump", "unix");
	assert_int_equal(s->arg_count, 4);
	assert_string_equal(s->args[0], "flags=DR");
	assert_string_equal(s->args[3], "two words");
	master_plan_done(&plan);
}

static void
built_in_and_missing_are_noted(void **state UNUSED)
{
	struct master_plan plan = must_plan(MAIN, "cleanup unix n - n - 0 cleanup\n"
						  "pickup unix n - n 60 1 pickup\n"
						  "strange unix n - n - 0 strange\n");

	assert_int_equal(plan.count, 0);
	assert_int_equal(plan.note_count, 3);
	assert_int_equal(plan.notes[0].severity, CONF_INFO);
	assert_int_equal(plan.notes[0].line, 1);
	assert_int_equal(plan.notes[1].severity, CONF_WARN);
	assert_int_equal(plan.notes[2].severity, CONF_ERROR);
	assert_non_null(strstr(plan.notes[2].text, "strange"));
	master_plan_done(&plan);
}

static void
mistakes_name_their_line(void **state UNUSED)
{
	static const char *const bad[] = {
	    "qmgr unix n - n 300 1 qmgr\n1:2:nowhere inet n - n - - smtpd\n",
	    "qmgr unix n - n 300 1 qmgr\nno-such-port-name inet n - n - - smtpd\n",
	    "qmgr unix n - n 300 1 qmgr\n25 inet n - n - - qmqpd\n",
	    "qmgr unix n - n 300 1 qmgr\n25 inet n - n - - strange\n",
	    "qmgr unix n - n 300 1 qmgr\n[::1]:25 inet n - n - - smtpd\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct master_plan plan;
		struct err err;

		err_clear(&err);
		assert_false(try_plan(MAIN, bad[i], &plan, &err));
		assert_int_equal(err.kind, ERR_CONFIG);
		if (strstr(err.text, "line 2") == NULL)
			fail_msg("%s", err.text);
	}
}

/* What a reload compares: the same text gives the same fingerprint, a change of substance another. */
static void
fingerprints_tell_changes(void **state UNUSED)
{
	static const struct {
		const char *main_cf;
		const char *master;
		bool same;
	} cases[] = {
	    {MAIN, "2525 inet n - n - - smtpd\n", true},
	    {MAIN "myhostname = other.example\n", "2525 inet n  -  n - - smtpd\n", true},
	    {MAIN, "2525 inet n - n - 5 smtpd\n", false},
	    {MAIN, "2525 inet n - n - - smtpd -o x=y\n", false},
	    {MAIN, "2525 inet n - n - - smtpd -v\n", false},
	    {MAIN "smtpd_processes = 7\n", "2525 inet n - n - - smtpd\n", false},
	    {MAIN "inet_interfaces = all\n", "2525 inet n - n - - smtpd\n", false},
	};
	struct master_plan first = must_plan(cases[0].main_cf, cases[0].master);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct master_plan plan = must_plan(cases[i].main_cf, cases[i].master);
		bool same =
		    strcmp(first.services[0].fingerprint, plan.services[0].fingerprint) == 0;

		assert_int_equal(same, cases[i].same);
		master_plan_done(&plan);
	}
	master_plan_done(&first);
}

static void
shares_add_up(void **state UNUSED)
{
	for (size_t slots = 1; slots < 50; slots++) {
		for (size_t processes = 1; processes <= slots; processes++) {
			size_t sum = 0;

			for (size_t i = 0; i < processes; i++) {
				size_t share = master_plan_share(slots, processes, i);

				assert_true(share >= 1);
				sum += share;
			}
			assert_int_equal(sum, slots);
		}
	}
}

static void
kinds_are_complete(void **state UNUSED)
{
	const struct master_kind *kind;
	size_t n = 0;

	while ((kind = master_kind_at(n)) != NULL) {
		assert_ptr_equal(master_kind_find(kind->command), kind);
		assert_int_equal(kind->program == NULL, kind->spread == MASTER_BUILTIN);
		n++;
	}
	assert_true(n > 20);
	assert_null(master_kind_find("no-such-daemon"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(front_end_lines),
	    cmocka_unit_test(all_interfaces),
	    cmocka_unit_test(scheduler_and_agents),
	    cmocka_unit_test(built_in_and_missing_are_noted),
	    cmocka_unit_test(mistakes_name_their_line),
	    cmocka_unit_test(fingerprints_tell_changes),
	    cmocka_unit_test(shares_add_up),
	    cmocka_unit_test(kinds_are_complete),
	};

	return cmocka_run_group_tests(tests, make_programs, remove_programs);
}
