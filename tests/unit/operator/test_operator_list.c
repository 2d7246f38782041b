/*
 * test_operator_list.c - the listing of the queue against what Postfix 3.7 prints for the same messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_list.h"

/* Sat Nov 21 10:48:20 2026 UTC */
#define ARRIVAL (INT64_C(1795258100) * 1000000 + 250000)

static struct queue_list_row
row(enum queue_place place, unsigned process, const char *sender, const char *addr,
    const char *reason)
{
	return (struct queue_list_row){
	    .place = place,
	    .msg_id = mail_queue_id_make(ARRIVAL, process),
	    .sender = sender,
	    .size = 3301,
	    .arrival = ARRIVAL,
	    .addr = addr,
	    .reason = reason,
	};
}

static char *
listing(enum operator_list_form form, const struct queue_list_row *rows, size_t count)
{
	struct operator_list l = {.form = form};
	struct buf out = {0};

	for (size_t i = 0; i < count; i++)
		operator_list_row(&l, &rows[i], &out);
	operator_list_end(&l, &out);
	operator_list_done(&l);
	return buf_take(&out);
}

/* `expected` has ID<n> for the id of process n (one digit), padded as it stands. */
static void
check(enum operator_list_form form, const struct queue_list_row *rows, size_t count,
    const char *expected)
{
	struct buf want = {0};
	char *got = listing(form, rows, count);

	for (const char *p = expected; *p != '\0'; p++) {
		char id[MAIL_QUEUE_ID_SIZE];

		if (strncmp(p, "ID<", 3) != 0) {
			buf_add_char(&want, *p);
			continue;
		}
		mail_queue_id_format(mail_queue_id_make(ARRIVAL, (unsigned)(p[3] - '0')), id);
		buf_add_str(&want, id);
		p += 4;
	}
	assert_string_equal(got, buf_str(&want));
	buf_done(&want);
	mem_free(got);
}

static void
test_empty(void **state)
{
	(void)state;
	check(OPERATOR_LIST_SHORT, NULL, 0, "Mail queue is empty\n");
	check(OPERATOR_LIST_LONG, NULL, 0, "Mail queue is empty\n");
	check(OPERATOR_LIST_JSON, NULL, 0, "");
}

static void
test_table(void **state)
{
	static const char refused[] = "connect to 127.0.0.1[127.0.0.1]:1: Connection refused";
	struct queue_list_row rows[] = {
	    row(QUEUE_ACTIVE, 1, "s@client.test", "a@short.test", refused),
	    row(QUEUE_ACTIVE, 1, "s@client.test", "b@short.test", refused),
	    row(QUEUE_ACTIVE, 1, "s@client.test", "c@x.test", ""),
	    row(QUEUE_DEFERRED_PLACE, 2, "", "a b@dest.test", ""),
	    row(QUEUE_HOLD, 3, "s2@client.test", "hold@dest.test", ""),
	};

	(void)state;
	rows[0].forced_expire = rows[1].forced_expire = rows[2].forced_expire = true;
	check(OPERATOR_LIST_LONG, rows, 5,
	    "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
	    "ID<1>*#        3301 Sat Nov 21 10:48:20 s@client.test\n"
	    "                       (connect to 127.0.0.1[127.0.0.1]:1: Connection refused)\n"
	    "                                               a@short.test\n"
	    "                                               b@short.test\n"
	    "                                                          (reason unavailable)\n"
	    "                                               c@x.test\n"
	    "\n"
	    "ID<2>          3301 Sat Nov 21 10:48:20 MAILER-DAEMON\n"
	    "                                               \"a b\"@dest.test\n"
	    "\n"
	    "ID<3>!         3301 Sat Nov 21 10:48:20 s2@client.test\n"
	    "                                               hold@dest.test\n"
	    "\n"
	    "-- 9 Kbytes in 3 Requests.\n");
}

static void
test_table_for_short_ids(void **state)
{
	struct queue_list_row r = row(QUEUE_DEFERRED_PLACE, 1, "s@client.test", "a@short.test",
	    "host 127.0.0.1[127.0.0.1] said: 450 4.2.0 mailbox busy, try later (in reply to RCPT TO command)");

	(void)state;
	r.size = 349;
	check(OPERATOR_LIST_SHORT, &r, 1,
	    "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
	    "ID<1>     349 Sat Nov 21 10:48:20  s@client.test\n"
	    "(host 127.0.0.1[127.0.0.1] said: 450 4.2.0 mailbox busy, try later (in reply to RCPT TO command))\n"
	    "                                         a@short.test\n"
	    "\n"
	    "-- 0 Kbytes in 1 Request.\n");
}

/* The same message, partly deferred and partly in delivery, is listed in both places. */
static void
test_two_places(void **state)
{
	struct queue_list_row rows[] = {
	    row(QUEUE_ACTIVE, 1, "s@c.test", "a@d.test", ""),
	    row(QUEUE_DEFERRED_PLACE, 1, "s@c.test", "b@d.test", "busy"),
	};

	(void)state;
	check(OPERATOR_LIST_JSON, rows, 2,
	    "{\"queue_name\": \"active\", \"queue_id\": \"ID<1>\", \"arrival_time\": 1795258100, "
	    "\"message_size\": 3301, \"forced_expire\": false, \"sender\": \"s@c.test\", "
	    "\"recipients\": [{\"address\": \"a@d.test\"}]}\n"
	    "{\"queue_name\": \"deferred\", \"queue_id\": \"ID<1>\", \"arrival_time\": 1795258100, "
	    "\"message_size\": 3301, \"forced_expire\": false, \"sender\": \"s@c.test\", "
	    "\"recipients\": [{\"address\": \"b@d.test\", \"delay_reason\": \"busy\"}]}\n");
}

static void
test_json_quoting(void **state)
{
	struct queue_list_row rows[] = {
	    row(QUEUE_HOLD, 1, "", "a\"b@hold.test", "tab\there, \"quoted\" \\ \x1b[31m\x7f"),
	    row(QUEUE_HOLD, 1, "", "j\xc3\xb6rg@d.test", ""),
	};

	(void)state;
	rows[0].forced_expire = true;
	check(OPERATOR_LIST_JSON, rows, 2,
	    "{\"queue_name\": \"hold\", \"queue_id\": \"ID<1>\", \"arrival_time\": 1795258100, "
	    "\"message_size\": 3301, \"forced_expire\": true, \"sender\": \"MAILER-DAEMON\", "
	    "\"recipients\": [{\"address\": \"\\\"a\\\\\\\"b\\\"@hold.test\", \"delay_reason\": "
	    "\"tab\\there, \\\"quoted\\\" \\\\ \\u001B[31m\\u007F\"}, "
	    "{\"address\": \"j\xc3\xb6rg@d.test\"}]}\n");
}

/* What a peer said must not reach the terminal as a command. */
static void
test_table_is_printable(void **state)
{
	struct queue_list_row r =
	    row(QUEUE_DEFERRED_PLACE, 1, "s@c.test", "a@d.test", "\x1b]0;x\x07");
	char *got = listing(OPERATOR_LIST_SHORT, &r, 1);

	(void)state;
	assert_non_null(strstr(got, "(?]0;x?)\n"));
	mem_free(got);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_table_for_short_ids),
	    cmocka_unit_test(test_two_places),
	    cmocka_unit_test(test_json_quoting),
	    cmocka_unit_test(test_table_is_printable),
	};

	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
