/*
 * test_db_pool.c - the pool: limits and fairness, the server going away and coming back, several hosts, start-up checks.
 */
#include <netinet/in.h>

#include <arpa/inet.h>

#include "db_fixture.h"
#include "dns/dns.h"

/* ---- fairness ---------------------------------------------------------------------------------------------------- */

static struct db_pool *pool;
static int turn_order[8];
static size_t turns;
static struct task_group takers;

static void
taker_task(void *arg)
{
	struct db_conn *c = take(pool);

	turn_order[turns++] = (int)(intptr_t)arg;
	assert_int_equal(number(c, "one", "SELECT 1"), 1);
	db_pool_give(pool, &c);
}

static void
body_fair(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_conn *a;
	struct err err = {0};

	s.connections = 1;
	turns = 0;
	pool = db_pool_new(&s);
	a = take(pool);
	for (intptr_t i = 0; i < 8; i++)
		assert_non_null(task_group_start(&takers, "taker", taker_task, (void *)i));
	(void)task_yield();
	/* The limit holds, and who cannot wait is told so. */
	assert_null(db_pool_take(pool, clock_deadline(20 * CLOCK_MILLI), &err));
	assert_int_equal(err.kind, ERR_TEMP);
	assert_int_equal(turns, 0);
	db_pool_give(pool, &a);
	assert_int_equal(task_group_wait(&takers, soon()), TASK_READY);
	for (int i = 0; i < 8; i++)
		assert_int_equal(turn_order[i], i);
	db_pool_free(&pool);
}

static void
test_first_come_first_served(void **state UNUSED)
{
	run_as_task(body_fair);
}

static void
body_limit(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_conn *c[4];
	struct db_conn *none;
	struct err err = {0};
	int64_t pids[4];

	pool = db_pool_new(&s);
	for (int i = 0; i < 4; i++) {
		c[i] = take(pool);
		pids[i] = number(c[i], "pid", "SELECT pg_backend_pid()::int8");
	}
	none = db_pool_take(pool, clock_deadline(20 * CLOCK_MILLI), &err);
	assert_null(none);
	for (int i = 0; i < 4; i++)
		db_pool_give(pool, &c[i]);
	/* The one used last comes first: the others may rest. */
	c[0] = take(pool);
	assert_int_equal(number(c[0], "pid", "SELECT pg_backend_pid()::int8"), pids[3]);
	db_pool_give(pool, &c[0]);
	/* Giving nothing is allowed. */
	db_pool_give(pool, &none);
	db_pool_free(&pool);
}

static void
test_limit_and_reuse(void **state UNUSED)
{
	run_as_task(body_limit);
}

static void
body_late_give(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_pool *gone;
	struct db_conn *c;

	pool = db_pool_new(&s);
	c = take(pool);
	gone = pool;
	db_pool_free(&pool);
	assert_null(pool);
	assert_int_equal(number(c, "one", "SELECT 1"), 1);
	db_pool_give(gone, &c);
}

static void
test_connection_outlives_its_pool(void **state UNUSED)
{
	run_as_task(body_late_give);
}

/* ---- the server goes away ------------------------------------------------------------------------------------------ */

static void
body_restart(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_conn *a;
	struct db_conn *b;
	struct err err = {0};
	int64_t quickest = TEST_PATIENCE;

	pool = db_pool_new(&s);
	a = take(pool);
	b = take(pool);
	db_pool_give(pool, &b);
	assert_true(db_pool_is_up(pool));
	cluster_stop(SIGINT);
	/* Both the connection in use and the idle one are seen to be dead. */
	struct db_result *r = NULL;
	static const struct db_statement one = {"one", "SELECT 1"};
	assert_false(db_exec(a, &one, NULL, 0, soon(), &r, &err));
	db_pool_give(pool, &a);
	assert_false(db_pool_is_up(pool));
	assert_null(db_pool_take(pool, soon(), &err));
	assert_int_equal(err.kind, ERR_TEMP);
	assert_non_null(strstr(err.text, "database is away: "));
	/* During the pause the answer comes at once: the quickest of some, for the machine may do other things. */
	for (int i = 0; i < 20; i++) {
		int64_t start = clock_mono_us();

		assert_null(db_pool_take(pool, soon(), &err));
		quickest = MIN(quickest, clock_mono_us() - start);
	}
	assert_true(quickest < 10 * CLOCK_MILLI);
	cluster_start();
	a = take(pool);
	assert_int_equal(number(a, "one", "SELECT 1"), 1);
	assert_true(db_pool_is_up(pool));
	db_pool_give(pool, &a);
	db_pool_free(&pool);
}

static void
test_restart_of_the_server(void **state UNUSED)
{
	run_as_task(body_restart);
}

static void
body_not_there(void)
{
	struct db_settings s = test_settings("/nonexistent");
	struct err err = {0};

	pool = db_pool_new(&s);
	for (int i = 0; i < 3; i++) {
		assert_null(db_pool_take(pool, soon(), &err));
		assert_int_equal(err.kind, ERR_TEMP);
		assert_non_null(strstr(err.text, "database is away: connection to server"));
		assert_non_null(strstr(err.text, "/nonexistent"));
	}
	assert_false(db_pool_is_up(pool));
	db_pool_free(&pool);
}

static void
test_server_that_is_not_there(void **state UNUSED)
{
	run_as_task(body_not_there);
}

static void
body_no_storm(void)
{
	struct db_settings s = test_settings(proxy_start());
	struct err err = {0};
	int64_t until = clock_deadline(400 * CLOCK_MILLI);

	/* The proxy accepts, but cuts each connection at once. */
	s.backoff_min = 50 * CLOCK_MILLI;
	s.backoff_max = 200 * CLOCK_MILLI;
	pool = db_pool_new(&s);
	while (clock_mono_us() < until || proxy.accepted < 2) {
		proxy.mode = PROXY_CUT_REQUEST;
		assert_null(db_pool_take(pool, soon(), &err));
		(void)task_yield();
	}
	/* 50 + 100 + 200 + 200 ms, less a quarter at most: never more than seven attempts. */
	assert_in_range(proxy.accepted, 2, 7);
	db_pool_free(&pool);
}

static void
test_back_off_limits_attempts(void **state UNUSED)
{
	run_as_task(body_no_storm);
}

static void
body_idle_closed(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_conn *a;
	struct db_conn *b;
	int64_t deadline = soon();
	int64_t pid;

	pool = db_pool_new(&s);
	a = take(pool);
	b = take(pool);
	pid = number(b, "pid", "SELECT pg_backend_pid()::int8");
	db_pool_give(pool, &b);
	static char sql[96];
	(void)snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 5000)", (int)pid);
	script(a, sql);
	while (number(a, "left",
		   "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
		   "'rowpost/test'") > 1)
		assert_true(clock_mono_us() < deadline);
	b = take(pool);
	assert_true(number(b, "pid", "SELECT pg_backend_pid()::int8") != pid);
	db_pool_give(pool, &a);
	db_pool_give(pool, &b);
	db_pool_free(&pool);
}

static void
test_idle_connection_closed_by_the_server(void **state UNUSED)
{
	run_as_task(body_idle_closed);
}

/* ---- start-up check -------------------------------------------------------------------------------------------------- */

static int checks;
static bool check_passes;

static bool
check_schema(struct db_conn *c, void *arg, struct err *err)
{
	checks++;
	assert_ptr_equal(arg, &checks);
	assert_int_equal(number(c, "one", "SELECT 1"), 1);
	if (check_passes)
		return true;
	return err_set(err, ERR_CONFIG, "4.3.5", "schema version 7 is newer than this program");
}

static void
body_check(void)
{
	struct db_settings s = test_settings(NULL);
	struct err err = {0};
	struct db_conn *c;

	s.on_connect = check_schema;
	s.on_connect_arg = &checks;
	checks = 0;
	check_passes = false;
	pool = db_pool_new(&s);
	assert_null(db_pool_take(pool, soon(), &err));
	assert_non_null(strstr(err.text, "schema version 7 is newer"));
	assert_int_equal(err.kind, ERR_CONFIG);
	check_passes = true;
	c = take(pool);
	assert_int_equal(checks, 2);
	db_pool_give(pool, &c);
	db_pool_free(&pool);
}

static void
test_check_of_a_new_connection(void **state UNUSED)
{
	run_as_task(body_check);
}

/* ---- the end while somebody waits ------------------------------------------------------------------------------------ */

static struct err waiters_err;

static void
waiting_task(void *arg UNUSED)
{
	assert_null(db_pool_take(pool, soon(), &waiters_err));
}

/* A server that takes connections and says nothing: its pool is freed, with its last task, before the waiter runs again. */
static void
body_free_beside_waiter(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char dir[sizeof(cluster_dir) + 8];
	struct db_settings s;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(dir, sizeof(dir), "%s/mute", cluster_dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/.s.PGSQL.5432", dir);
	assert_int_equal(bind(fd, (void *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 16), 0);
	s = test_settings(dir);
	pool = db_pool_new(&s);
	assert_non_null(task_group_start(&takers, "waiter", waiting_task, NULL));
	for (int i = 0; i < 3; i++)
		(void)task_yield();
	db_pool_free(&pool);
	assert_int_equal(task_group_wait(&takers, soon()), TASK_READY);
	assert_int_equal(waiters_err.kind, ERR_GONE);
	(void)close(fd);
}

static void
test_free_beside_one_who_waits(void **state UNUSED)
{
	run_as_task(body_free_beside_waiter);
}

/* ---- several hosts ------------------------------------------------------------------------------------------------------ */

/* A TCP port on 127.0.0.1 where nobody listens, but which nobody else can get meanwhile. */
static int
dead_port(int *ret_fd)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);

	*ret_fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(*ret_fd, (void *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(*ret_fd, (void *)&sin, &len), 0);
	return ntohs(sin.sin_port);
}

static void
connects_to(const char *conninfo)
{
	struct db_settings s = test_settings(NULL);
	struct db_conn *c;
	struct err err = {0};

	s.conninfo = conninfo;
	pool = db_pool_new(&s);
	c = db_pool_take(pool, soon(), &err);
	if (c == NULL)
		fail_msg("%s: %s", conninfo, err.text);
	assert_int_equal(number(c, "one", "SELECT 1"), 1);
	db_pool_give(pool, &c);
	db_pool_free(&pool);
}

static void
body_hosts(void)
{
	struct err err = {0};
	char conninfo[512];
	char encoded[128] = "";
	int fd;
	int port = dead_port(&fd);

	assert_true(dns_init(
	    &(struct dns_settings){.servers = "127.0.0.1:1", .tries = 1, .timeout = CLOCK_SECOND},
	    &err));
	(void)snprintf(conninfo, sizeof(conninfo),
	    "host=localhost,%s port=%d,5432 user=postgres dbname=postgres "
	    "target_session_attrs=read-write",
	    cluster_dir, port);
	connects_to(conninfo);
	for (const char *p = cluster_dir; *p != '\0'; p++)
		(void)snprintf(encoded + strlen(encoded), sizeof(encoded) - strlen(encoded),
		    *p == '/' ? "%%2F" : "%c", *p);
	(void)snprintf(conninfo, sizeof(conninfo),
	    "postgresql://postgres@127.0.0.1:%d,%s:5432/postgres?target_session_attrs=primary",
	    port, encoded);
	connects_to(conninfo);
	(void)snprintf(conninfo, sizeof(conninfo),
	    "postgresql:///postgres?host=%s&user=postgres&target_session_attrs=prefer-standby",
	    cluster_dir);
	connects_to(conninfo);
	close(fd);
	dns_done();
}

static void
test_dead_first_host(void **state UNUSED)
{
	run_as_task(body_hosts);
}

static void
refuses(const char *conninfo, const char *reason)
{
	struct db_settings s = test_settings(NULL);
	struct err err = {0};

	s.conninfo = conninfo;
	pool = db_pool_new(&s);
	assert_null(db_pool_take(pool, soon(), &err));
	if (strstr(err.text, reason) == NULL)
		fail_msg("%s: %s", conninfo, err.text);
	db_pool_free(&pool);
}

static void
body_bad_conninfo(void)
{
	char conninfo[512];

	refuses("host", "bad connection string: missing \"=\"");
	refuses("postgresql://[::1/x", "bad connection string");
	refuses("service=no_such_service", "definition of service \"no_such_service\" not found");
	refuses("host=a,b port=1,2,3", "3 ports for 2 hosts");
	refuses("host=a,b hostaddr=127.0.0.1", "differ in number");
	(void)snprintf(conninfo, sizeof(conninfo),
	    "host=%s user=postgres dbname=postgres target_session_attrs=standby", cluster_dir);
	refuses(conninfo, "standby");
	(void)snprintf(
	    conninfo, sizeof(conninfo), "host=%s user=postgres dbname=no_such_db", cluster_dir);
	refuses(conninfo, "database \"no_such_db\" does not exist");
}

static void
test_bad_connection_strings(void **state UNUSED)
{
	run_as_task(body_bad_conninfo);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_first_come_first_served),
	    cmocka_unit_test(test_limit_and_reuse),
	    cmocka_unit_test(test_connection_outlives_its_pool),
	    cmocka_unit_test(test_restart_of_the_server),
	    cmocka_unit_test(test_server_that_is_not_there),
	    cmocka_unit_test(test_back_off_limits_attempts),
	    cmocka_unit_test(test_idle_connection_closed_by_the_server),
	    cmocka_unit_test(test_check_of_a_new_connection),
	    cmocka_unit_test(test_free_beside_one_who_waits),
	    cmocka_unit_test(test_dead_first_host),
	    cmocka_unit_test(test_bad_connection_strings),
	};

	return cmocka_run_group_tests(tests, cluster_setup, cluster_teardown);
}
