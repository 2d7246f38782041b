/*
 * test_db_tls.c - PostgreSQL over TCP and TLS. The TLS layer inside libpq keeps bytes that poll(2) knows nothing of, so
 * answers of all sizes around a record's must come through without waiting for more.
 */
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "db_fixture.h"

static struct db_pool *pool;
static struct db_conn *conn;

/* A self-signed certificate for "localhost" and its key, in the server's data directory. */
static void
make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *san =
	    X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
	const struct passwd *pw = getpwnam("postgres");
	FILE *f;

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const void *)"localhost", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	X509_add_ext(cert, san, -1);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	f = fopen("data/server.crt", "w");
	assert_int_equal(PEM_write_X509(f, cert), 1);
	assert_int_equal(fclose(f), 0);
	f = fopen("data/server.key", "w");
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod("data/server.key", 0600), 0);
	if (geteuid() == 0 && pw != NULL)
		assert_int_equal(chown("data/server.key", pw->pw_uid, pw->pw_gid), 0);
	X509_EXTENSION_free(san);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static int
setup(void **state)
{
	if (cluster_setup(state) != 0)
		return -1;
	cluster_stop(SIGINT);
	make_certificate();
	/* An address of our own on the loopback, so that the usual port is free. */
	(void)snprintf(
	    cluster_ip, sizeof(cluster_ip), "127.1.%d.%d", getpid() >> 8 & 255, getpid() & 255);
	cluster_start();
	return 0;
}

static void
connect_tls(void)
{
	struct db_settings s = test_settings(NULL);
	char conninfo[256];

	(void)snprintf(conninfo, sizeof(conninfo),
	    "host=localhost hostaddr=%s user=postgres dbname=postgres sslmode=verify-full "
	    "sslrootcert=%s/data/server.crt",
	    cluster_ip, cluster_dir);
	s.conninfo = conninfo;
	pool = db_pool_new(&s);
	conn = take(pool);
}

static void
disconnect(void)
{
	db_pool_give(pool, &conn);
	db_pool_free(&pool);
}

static const struct db_statement in_use = {
    "in_use", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"};
static const struct db_statement repeat = {"repeat", "SELECT repeat('x', $1::int4)"};

static void
fetch(int32_t size)
{
	char n[DB_INT_SIZE];
	struct db_param p = db_param_int4(n, size);
	struct db_result *r = NULL;
	struct err err = {0};

	if (!db_exec(conn, &repeat, &p, 1, soon(), &r, &err))
		fail_msg("%d bytes: %s", (int)size, err.text);
	assert_int_equal(db_result_span(r, 0, 0).len, size);
	db_result_free(&r);
}

static void
body_sizes(void)
{
	struct db_result *r = NULL;
	struct err err = {0};

	connect_tls();
	assert_true(db_exec(conn, &in_use, NULL, 0, soon(), &r, &err));
	assert_true(db_result_bool(r, 0, 0));
	db_result_free(&r);
	for (int32_t size = 1; size < 40000; size += 997)
		fetch(size);
	/* Record and buffer sizes, and what lies beside them with the headers counted. */
	for (int32_t size = 8192 - 100; size < 8192 + 10; size++)
		fetch(size);
	for (int32_t size = 16384 - 100; size < 16384 + 10; size++)
		fetch(size);
	fetch(10000000);
	disconnect();
}

static void
test_answers_of_all_sizes(void **state UNUSED)
{
	run_as_task(body_sizes);
}

static void
body_cancel(void)
{
	static const struct db_statement sleep_long = {"sleep_long", "SELECT pg_sleep(30)"};
	struct db_result *r = NULL;
	struct err err = {0};

	connect_tls();
	assert_false(
	    db_exec(conn, &sleep_long, NULL, 0, clock_deadline(50 * CLOCK_MILLI), &r, &err));
	assert_string_equal(db_error_sqlstate(conn), "57014");
	/* An idle connection over TLS is looked at too. */
	db_pool_give(pool, &conn);
	conn = take(pool);
	assert_int_equal(number(conn, "one", "SELECT 1"), 1);
	disconnect();
}

static void
test_cancel_goes_to_the_same_server(void **state UNUSED)
{
	run_as_task(body_cancel);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers_of_all_sizes),
	    cmocka_unit_test(test_cancel_goes_to_the_same_server),
	};

	return cmocka_run_group_tests(tests, setup, cluster_teardown);
}
