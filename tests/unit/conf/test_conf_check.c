/*
 * test_conf_check.c - what `rowpost check` says of a configuration directory.
 */
#include "conf/conf_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/span.h"

#define SAFE_MASTER "2525 inet n - n - - smtpd\n"
#define PLAIN_MAIN                                                                                 \
	"compatibility_level = 3.6\nmyhostname = mx.example.com\nmynetworks = 127.0.0.0/8\n"       \
	"inet_interfaces = loopback-only\n"

static char dir[] = "/tmp/rowpost-check-XXXXXX";

static void
write_file(const char *name, const char *text)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s/%s", dir, name);
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	(void)fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int
make_dir(void **state UNUSED)
{
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **state UNUSED)
{
	write_file("main.cf", "");
	write_file("master.cf", "");
	char *main_file CLEANUP(mem_free_str) = mem_printf("%s/main.cf", dir);
	char *master_file CLEANUP(mem_free_str) = mem_printf("%s/master.cf", dir);
	(void)unlink(main_file);
	(void)unlink(master_file);
	return rmdir(dir);
}

/* The findings, one a line, with the directory left out. */
static char *
findings(const char *main_text, const char *master_text, size_t *ret_errors)
{
	struct conf_findings f;
	struct buf out CLEANUP(buf_done) = {0};

	write_file("main.cf", main_text);
	write_file("master.cf", master_text);
	conf_check(dir, &f);
	for (size_t i = 0; i < f.count; i++) {
		struct buf line CLEANUP(buf_done) = {0};

		conf_finding_print(&f.list[i], &line);
		assert_true(span_starts(buf_span(&line), dir));
		buf_printf(&out, "%s\n", buf_str(&line) + strlen(dir) + 1);
	}
	*ret_errors = f.errors;
	conf_findings_done(&f);
	return mem_strdup(buf_str(&out));
}

static void
expect(const char *more_main, const char *master_text, size_t errors, const char *line)
{
	char *main_text CLEANUP(mem_free_str) = mem_printf("%s%s", PLAIN_MAIN, more_main);
	size_t found;
	char *said CLEANUP(mem_free_str) = findings(main_text, master_text, &found);

	if (strstr(said, line) == NULL || found != errors)
		fail_msg("%zu errors:\n%s", found, said);
}

static void
nothing_to_say(void **state UNUSED)
{
	size_t errors;
	char *said CLEANUP(mem_free_str) = findings(PLAIN_MAIN, SAFE_MASTER, &errors);

	assert_string_equal(said, "");
	assert_int_equal(errors, 0);
}

static void
errors_have_a_place(void **state UNUSED)
{
	expect("nonsense\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: missing '=' after attribute name: \"nonsense\"\n");
	expect("message_size_limit = x\nqueue_run_delay = 5x\n", SAFE_MASTER, 2,
	    "main.cf, line 5: error: bad numerical configuration: message_size_limit = x\n");
	expect("message_size_limit = x\nqueue_run_delay = 5x\n", SAFE_MASTER, 2,
	    "main.cf, line 6: error: parameter queue_run_delay: bad time value or unit: 5x\n");
	expect("", "smtp inet n\n", 1, "master.cf, line 1: error: bad field count\n");
	expect("", SAFE_MASTER "587 inet n - n - - smtpd\n  -o smtpd_recipient_limit=none\n", 1,
	    "master.cf, line 2: error: service 587: bad numerical configuration: smtpd_recipient_limit = none\n");
	expect("",
	    SAFE_MASTER
	    "587 inet n - n - - smtpd -o smtpd_client_restrictions=permit_mynetworks, reject\n",
	    1, "master.cf, line 2: error: service 587: unexpected command-line argument: reject");
	expect("myhostname = bad..name\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: parameter myhostname: bad parameter value: bad..name\n");
	expect("mynetworks = 10.1.0.0/8\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: parameter mynetworks: non-null host address bits in: \"10.1.0.0/8\"\n");
	expect("inet_interfaces = 203.0.113.250\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: parameter inet_interfaces: no local interface found for 203.0.113.250\n");
	expect("relayhost = $relayhost\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: unreasonable macro call nesting");
}

static void
undefined_classes(void **state UNUSED)
{
	expect("smtpd_restriction_classes = gray, black\nblack = reject\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: restriction class `gray' needs a definition\n");
	expect("smtpd_restriction_classes = black\nblack =\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: restriction class `black' needs a definition\n");
}

static void
open_relay(void **state UNUSED)
{
	expect("smtpd_relay_restrictions = permit_mynetworks\n", SAFE_MASTER, 1,
	    "main.cf, line 5: error: in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, "
	    "specify at least one working instance of: reject_unauth_destination");
	expect("", SAFE_MASTER "26 inet n - n - - smtpd -o smtpd_relay_restrictions=permit\n", 1,
	    "master.cf, line 2: error: in parameter smtpd_relay_restrictions or");
	expect("mynetworks = 0.0.0.0/0\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: mynetworks holds");

	size_t errors;
	char *said CLEANUP(mem_free_str) =
	    findings(PLAIN_MAIN "smtpd_relay_restrictions =\n"
				"smtpd_recipient_restrictions = permit_mynetworks,\n"
				"  reject_unauth_destination\n",
		SAFE_MASTER, &errors);
	assert_int_equal(errors, 0);
}

static void
settings_without_effect(void **state UNUSED)
{
	expect("mynetwroks = 10.0.0.0/8\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: unused parameter: mynetwroks=10.0.0.0/8; did you mean mynetworks?\n");
	expect("myorigin = $nothing\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: undefined parameter: nothing\n");
	expect("relayhost = a\nrelayhost = b\n", SAFE_MASTER, 0,
	    "main.cf, line 6: warning: overriding earlier entry: relayhost=a\n");
	expect("", SAFE_MASTER SAFE_MASTER, 0,
	    "master.cf, line 2: warning: overriding earlier entry of line 1: 2525/inet\n");
	expect("process_name = x\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: read-only parameter assignment: process_name\n");
	expect("compatibility_level = 1\n", SAFE_MASTER, 0,
	    "main.cf, line 5: info: using backwards-compatible default setting mynetworks_style=subnet\n");
	expect("compatibility_level = 99\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: compatibility_level 99");
}

static void
contradictions(void **state UNUSED)
{
	size_t errors;

	expect("virtual_alias_domains = a.example, mx.example.com\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: do not list domain mx.example.com in BOTH mydestination and "
	    "virtual_alias_domains\n");
	expect("ring_rotate_time = 19s\n", SAFE_MASTER, 0,
	    "warning: ring_rotate_time is less than a third of queue_database_commit_timeout: mail "
	    "whose commit was in doubt could be stored twice\n");
	char *enough CLEANUP(mem_free_str) =
	    findings("ring_rotate_time = 20s\n", SAFE_MASTER, &errors);
	assert_null(strstr(enough, "ring_rotate_time"));
	expect("message_size_limit = 99999999\n", SAFE_MASTER, 0,
	    "warning: mailbox_size_limit is smaller than message_size_limit\n");
	expect("minimal_backoff_time = 2h\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: minimal_backoff_time is longer than maximal_backoff_time\n");
	expect("scheduler_owner = rowpost\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: mail_owner and scheduler_owner are the same user: rowpost\n");
}

/* What is accepted at start, and shows itself as mail that waits. */
static void
routes(void **state UNUSED)
{
	size_t errors;

	expect("virtual_transport = dovecot\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: virtual_transport names transport \"dovecot\", for which master.cf "
	    "has no line: its mail would wait\n");
	expect("content_filter = amavis:[127.0.0.1]:10024\n", SAFE_MASTER, 0,
	    "content_filter names transport \"amavis\"");
	expect("relayhost = smtp://relay.example:587\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: relayhost: \"smtp://relay.example:587\" is no host");
	expect("relayhost = [a.example\n", SAFE_MASTER, 0, "\"[a.example\" is no host");
	expect("relayhost = [a.example]25\n", SAFE_MASTER, 0, "\"[a.example]25\" is no host");
	expect("relayhost = \"[a.example]\"\n", SAFE_MASTER, 0, "is no host");
	expect("relayhost = a.example # ours\n", SAFE_MASTER, 0,
	    "relayhost: what stands behind \"#\" is no comment, but part of the value\n");
	expect("relay_domains = a.example, *.b.example\n", SAFE_MASTER, 0,
	    "relay_domains: \"*.b.example\" matches no domain");
	expect("virtual_mailbox_domains = a.example\n", SAFE_MASTER, 0,
	    "virtual_mailbox_domains without virtual_uid_maps: virtual(8) cannot deliver their mail\n");
	expect("myorigin = a.example\n relayhost = [b.example]\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: the value of myorigin goes on with \"relayhost =\"");

	expect("", SAFE_MASTER "26 inet n - n - - smtpd -o cleanup_service_name=sub\n", 1,
	    "master.cf, line 2: error: service 26: cleanup_service_name is \"sub\", for which master.cf has no line\n");
	expect("rewrite_service_name = other\n", SAFE_MASTER, 0,
	    "main.cf, line 5: warning: parameter rewrite_service_name has no effect: this service is built in\n");

	char *said CLEANUP(mem_free_str) = findings(PLAIN_MAIN
	    "default_transport = smtp:x\nvirtual_transport = mine\nlocal_transport = error:no\n"
	    "relayhost = a.example:587, [b.example]:submission, [::1]:25 [ipv6:::1] 192.0.2.1\n"
	    "mailbox_transport = lmtp:unix:private/x\nvirtual_mailbox_domains = c.example\n"
	    "transport_maps = inline:{ a = b }\n",
	    SAFE_MASTER
	    "smtp unix - - n - - smtp\nmine unix - - n - - lmtp\nlmtp unix - - n - - lmtp\n"
	    "26 inet n - n - - smtpd -o cleanup_service_name=sub\nsub unix n - n - 0 cleanup\n",
	    &errors);
	assert_string_equal(said, "");
}

static void
used_after_all(void **state UNUSED)
{
	size_t errors;
	char *said CLEANUP(mem_free_str) = findings(PLAIN_MAIN
	    "mine = a\nmyorigin = $mine.example\nclass = permit_mynetworks\n"
	    "smtpd_restriction_classes = class\nslow_destination_rate_delay = 1s\n"
	    "transport_maps = proxy:ldap:dir\ndir_server_host = h\nport_name = x\n",
	    SAFE_MASTER "slow unix - - n - - smtp -o syslog_name=$port_name\n", &errors);

	assert_int_equal(errors, 0);
	assert_null(strstr(said, "unused"));
}

/* The files of conf/ are correct and relay for nobody. */
static void
shipped_files(void **state UNUSED)
{
	struct conf_findings f;

	conf_check("conf", &f);
	for (size_t i = 0; i < f.count; i++)
		if (f.list[i].severity == CONF_ERROR || strstr(f.list[i].text, "unused") != NULL ||
		    strstr(f.list[i].text, "relay?") != NULL)
			fail_msg("%s, line %d: %s", f.list[i].file, f.list[i].line, f.list[i].text);
	assert_int_equal(f.errors, 0);
	conf_findings_done(&f);
}

static void
no_directory(void **state UNUSED)
{
	struct conf_findings f;

	conf_check("/nowhere/at/all", &f);
	assert_int_equal(f.errors, 2);
	assert_string_equal(f.list[0].file, "/nowhere/at/all/main.cf");
	assert_non_null(strstr(f.list[0].text, "No such file or directory"));
	conf_findings_done(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_to_say),
	    cmocka_unit_test(errors_have_a_place),
	    cmocka_unit_test(undefined_classes),
	    cmocka_unit_test(open_relay),
	    cmocka_unit_test(settings_without_effect),
	    cmocka_unit_test(contradictions),
	    cmocka_unit_test(routes),
	    cmocka_unit_test(used_after_all),
	    cmocka_unit_test(shipped_files),
	    cmocka_unit_test(no_directory),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
