/*
 * test_postconf.c - the command postconf: what it prints and what it leaves in the files. Each run is a child process,
 * as it ends by exit() where something is wrong. Expectations are those of postconf 3.7.11, except that comments keep
 * their place when master.cf is edited.
 */
#include "conf/postconf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/main_cf.h"

#define ARGS_MAX 12

static char dir[] = "/tmp/rowpost-postconf-XXXXXX";

static char *
path(const char *name)
{
	return mem_printf("%s/%s", dir, name);
}

static void
write_file(const char *name, const char *text)
{
	char *file CLEANUP(mem_free_str) = path(name);
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	(void)fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static char *
read_file(const char *name)
{
	char *file CLEANUP(mem_free_str) = path(name);
	struct buf text = {0};
	struct err err;

	if (!main_cf_read(file, &text, &err))
		fail_msg("%s", err.text);
	return buf_take(&text);
}

static int
make_dir(void **state UNUSED)
{
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **state UNUSED)
{
	static const char *const names[] = {"main.cf", "master.cf", "out", "log"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *file CLEANUP(mem_free_str) = path(names[i]);

		(void)unlink(file);
	}
	return rmdir(dir);
}

static void
child(char **argv, int argc)
{
	static const struct postconf_lists lists = {.lock_types = "dotlock\n"};
	char *out CLEANUP(mem_free_str) = path("out");
	char *log CLEANUP(mem_free_str) = path("log");

	if (freopen(out, "w", stdout) == NULL || freopen(log, "w", stderr) == NULL)
		_exit(99);
	log_setup(&(struct log_settings){.tag = "postconf", .fd = -1, .also_stderr = true});
	int status = postconf_main(argc, argv, &lists);
	(void)fflush(NULL);
	_exit(status);
}

/* Runs postconf with the words of `words`, separated by '|'; returns its exit status. */
static int
run(const char *words)
{
	char *copy CLEANUP(mem_free_str) = mem_strdup(words);
	char *argv[ARGS_MAX] = {(char *)(uintptr_t) "postconf", (char *)(uintptr_t) "-c", dir};
	int argc = 3, status;

	for (char *rest = copy; rest != NULL;) {
		assert_true(argc < ARGS_MAX - 1);
		argv[argc++] = strsep(&rest, "|");
	}
	(void)fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(argv, argc);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
expect_out(const char *words, const char *want)
{
	assert_int_equal(run(words), 0);
	char *out CLEANUP(mem_free_str) = read_file("out");
	if (strcmp(out, want) != 0)
		fail_msg("postconf %s:\n%s---- instead of\n%s", words, out, want);
}

static void
expect_log(const char *words, int status, const char *want)
{
	int got = run(words);
	char *log CLEANUP(mem_free_str) = read_file("log");

	if (got != status || strstr(log, want) == NULL)
		fail_msg("postconf %s: status %d\n%s---- instead of\n%s", words, got, log, want);
}

static void
expect_file(const char *words, const char *name, const char *want)
{
	if (run(words) != 0) {
		char *log CLEANUP(mem_free_str) = read_file("log");

		fail_msg("postconf %s: %s", words, log);
	}
	char *text CLEANUP(mem_free_str) = read_file(name);
	if (strcmp(text, want) != 0)
		fail_msg("postconf %s:\n%s---- instead of\n%s", words, text, want);
}

static void
show_main(void **state UNUSED)
{
	write_file("main.cf",
	    "myhostname = h.ex\nmine = $myhostname\nmyorigin = $mine\n"
	    "relayhost = a   b\n  c {x   y}\nunused = 1\nfoo_destination_rate_delay = 3s\n");
	write_file("master.cf", "foo unix - - n - - smtp\n");
	char *set CLEANUP(mem_free_str) =
	    mem_printf("config_directory = %s\nfoo_destination_rate_delay = 3s\n"
		       "mine = $myhostname\nmyhostname = h.ex\nmyorigin = $mine\n"
		       "relayhost = a b c {x y}\n",
		dir);
	expect_out("-n", set);
	expect_log("-n", 0, "/main.cf: unused parameter: unused=1\n");
	expect_out("-h|myorigin|mine", "$mine\n$myhostname\n");
	expect_out("-H|myorigin|mine", "myorigin\nmine\n");
	expect_out("-x|myorigin", "myorigin = h.ex\n");
	expect_out("-d|myorigin|mine|foo_destination_rate_delay",
	    "myorigin = $myhostname\nfoo_destination_rate_delay = $default_destination_rate_delay\n");
	expect_log("-d|mine", 0, "postconf: warning: mine: unknown parameter\n");
	expect_out("-C|user", "mine = $myhostname\n");
	expect_out("-o|relayhost=zzz|relayhost", "relayhost = zzz\n");
	expect_out("-xh|smtpd_timeout|mydomain", "300s\nex\n");
	expect_out("-l", "dotlock\n");
	expect_log("-hH|x", 1, "fatal: specify one of -h -H\n");
	expect_log("-C|bogus", 1, "fatal: unknown -C option value \"bogus\" in \"bogus\"\n");
	expect_log("-o|bogus|x", 1,
	    "invalid parameter override: bogus: missing '=' after attribute name\n");
	expect_out("transport_maps", "transport_maps =\n");
	expect_log("transport_time_limit", 0, "transport_time_limit: unknown parameter\n");
}

static void
fold(void **state UNUSED)
{
	write_file("main.cf",
	    "smtpd_recipient_restrictions = check_sender_access inline:{a0=OK}, "
	    "check_sender_access inline:{a1=OK}, check_sender_access inline:{a2=OK}\n");
	write_file("master.cf", "");
	expect_out("-f|smtpd_recipient_restrictions",
	    "smtpd_recipient_restrictions = check_sender_access inline:{a0=OK},\n"
	    "    check_sender_access inline:{a1=OK}, check_sender_access inline:{a2=OK}\n");
}

#define MASTER                                                                                     \
	"# top\nsmtp inet n - n - - smtpd\n -o a=b\n\n# second\nfoo unix - - n - - smtp "          \
	"-o { smtp_helo_name = a  b } -o syslog_name=x/$service_name\n#tail\n"                     \
	"pickup unix n - n 60 1 pickup\n"

static void
show_master(void **state UNUSED)
{
	write_file("main.cf", "");
	write_file("master.cf", MASTER);
	expect_out("-M|foo", "foo        unix  -       -       n       -       -       smtp "
			     "-o {smtp_helo_name=a  b} -o syslog_name=x/$service_name\n");
	expect_out("-Mf|foo/unix|pickup",
	    "foo        unix  -       -       n       -       -       smtp\n"
	    "    -o {smtp_helo_name=a  b}\n"
	    "    -o syslog_name=x/$service_name\n"
	    "pickup     unix  n       -       n       60      1       pickup\n");
	expect_out(
	    "-M|*/inet", "smtp       inet  n       -       n       -       -       smtpd -o a=b\n");
	expect_log("-M|nosuch", 0, "warning: unmatched request: \"nosuch\"\n");
	expect_out("-F|*/*/wakeup",
	    "smtp/inet/wakeup = -\nfoo/unix/wakeup = -\npickup/unix/wakeup = 60\n");
	expect_out("-Fh|smtp/inet/command", "smtpd -o a=b\n");
	expect_out("-Px|foo", "foo/unix/smtp_helo_name = a b\nfoo/unix/syslog_name = x/foo\n");
	expect_out("-P|smtp/inet/a", "smtp/inet/a = b\n");
	expect_log("-F|smtp/inet/bogus", 1, "fatal: invalid service attribute name: \"bogus\"\n");
	expect_log("-Mh", 1, "fatal: with option -M, do not specify -h\n");
}

#define MAIN                                                                                       \
	"# top\nmyhostname = h.ex\n\nrelayhost = a,\n  b\n# in\n  c\n#  old\nmyorigin = x\nmyorigin = y\n"

static void
edit_main(void **state UNUSED)
{
	write_file("master.cf", "");
	write_file("main.cf", MAIN);
	expect_file("-e|relayhost =  new  one|added=1", "main.cf",
	    "# top\nmyhostname = h.ex\n\nrelayhost = new  one\n# in\n#  old\nmyorigin = x\nmyorigin = y\n"
	    "added = 1\n");
	write_file("main.cf", MAIN);
	expect_file("myorigin=z", "main.cf",
	    "# top\nmyhostname = h.ex\n\nrelayhost = a,\n  b\n# in\n  c\n#  old\nmyorigin = z\nmyorigin = z\n");
	write_file("main.cf", MAIN);
	expect_file("-X|relayhost|myorigin|nosuch", "main.cf",
	    "# top\nmyhostname = h.ex\n\n# in\n#  old\n");
	write_file("main.cf", MAIN);
	expect_file("-#|relayhost", "main.cf",
	    "# top\nmyhostname = h.ex\n\n#relayhost = a,\n#  b\n# in\n#  c\n#  old\nmyorigin = x\nmyorigin = y\n");
	write_file("main.cf", "last = 1");
	expect_file("-e|a=1|a=2", "main.cf", "last = 1\na = 2\n");
	expect_log("-e|nothing", 1, "fatal: missing '=' after attribute name: \"nothing\"\n");
	expect_log("-e|a b=c", 1, "fatal: missing '=' after attribute name: \"a b=c\"\n");
	expect_log("-e|#a=1", 1, "accepts no comment input\n");
	expect_log("-e|a=1\nb=2", 1, "accepts no multi-line input\n");
	expect_log("-X|a=1", 1, "fatal: specify one of -e -X\n");
	expect_log("-e", 1, "fatal: -e requires name=value argument\n");
	expect_file("-x|last", "main.cf", "last = 1\na = 2\n");
}

static void
edit_master(void **state UNUSED)
{
	write_file("main.cf", "");
	write_file("master.cf", MASTER);
	expect_file("-Me|smtp/inet=smtp inet n - - - - smtpd -o x=y", "master.cf",
	    "# top\nsmtp       inet  n       -       -       -       -       smtpd\n    -o x=y\n\n# second\n"
	    "foo unix - - n - - smtp -o { smtp_helo_name = a  b } -o syslog_name=x/$service_name\n#tail\n"
	    "pickup unix n - n 60 1 pickup\n");
	write_file("master.cf", "a unix - - n - - smtp\n");
	expect_file("-Me|b/unix=b unix - - n - - smtp -o {x = y z}", "master.cf",
	    "a unix - - n - - smtp\nb          unix  -       -       n       -       -       smtp\n"
	    "    -o {x=y z}\n");
	expect_file("-MX|a/unix", "master.cf",
	    "b          unix  -       -       n       -       -       smtp\n    -o {x=y z}\n");
	expect_file("-M#|b/unix", "master.cf",
	    "#b          unix  -       -       n       -       -       smtp\n#    -o {x=y z}\n");
	write_file("master.cf", "a unix - - n - - smtp -v\n# c\nb unix - - n - - smtp arg\n");
	expect_file("-Pe|a/unix/x=1|a/unix/y=2|b/unix/x=3", "master.cf",
	    "a          unix  -       -       n       -       -       smtp -v\n    -o x=1\n    -o y=2\n# c\n"
	    "b          unix  -       -       n       -       -       smtp\n    -o x=3\n    arg\n");
	expect_file("-PX|a/unix/x", "master.cf",
	    "a          unix  -       -       n       -       -       smtp -v\n    -o y=2\n# c\n"
	    "b          unix  -       -       n       -       -       smtp\n    -o x=3\n    arg\n");
	expect_file("-Fe|*/unix/chroot=y", "master.cf",
	    "a          unix  -       -       y       -       -       smtp -v\n    -o y=2\n# c\n"
	    "b          unix  -       -       y       -       -       smtp\n    -o x=3\n    arg\n");
	expect_file("-Fe|a/unix/command=lmtp", "master.cf",
	    "a          unix  -       -       y       -       -       lmtp\n# c\n"
	    "b          unix  -       -       y       -       -       smtp\n    -o x=3\n    arg\n");
	expect_log("-Fe|a/unix/chroot=z", 1, "invalid chroot field \"z\"");
	expect_log("-Me|a/unix=a unix - -", 1, "bad field count");
	expect_log("-MX|a", 1, "-Me, -MX or -M# requires service_name/type\n");
	expect_log("-Pe|a/unix=b", 1, "-Pe or -PX requires service_name/type/parameter\n");
	expect_log("-Pe|a/unix/x=b c", 1, "-Pe does not accept whitespace in parameter value\n");
	expect_log("-Pe|nosuch/unix/x=b", 0, "unmatched service_name/type: \"nosuch/unix/x=b\"\n");
}

static void
bad_files(void **state UNUSED)
{
	write_file("main.cf", "a = b\nnonsense\n");
	write_file("master.cf", "");
	expect_log("-n", 1, "/main.cf, line 2: missing '=' after attribute name: \"nonsense\"\n");
	write_file("main.cf", "relayhost = $relayhost\nmyorigin = ${x\n");
	expect_log("-x|relayhost", 1, "fatal: macro processing error\n");
	expect_log("-x|myorigin", 1, "truncated macro reference: \"${x\"\n");
	write_file("main.cf", "");
	write_file("master.cf", "x foo - - n - - smtp\n");
	expect_log("-M", 1, "fatal: invalid type field \"foo\" in \"x foo - - n - - smtp\"\n");
	write_file("master.cf", "smtp inet\n");
	expect_log("-n", 1, "master.cf: line 1: bad field count\n");
	expect_log("-M", 1, "master.cf: line 1: bad field count\n");
	expect_log("-d|message_size_limit", 1, "master.cf: line 1: bad field count\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(show_main),
	    cmocka_unit_test(fold),
	    cmocka_unit_test(show_master),
	    cmocka_unit_test(edit_main),
	    cmocka_unit_test(edit_master),
	    cmocka_unit_test(bad_files),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
