/*
 * test_tls.c - a client and a server session joined in memory, with certificates made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls/tls_int.h"

/* ---- certificates ----------------------------------------------------------------------------------------------- */

struct identity {
	EVP_PKEY *key;
	X509 *cert;
	char file[96]; /* certificate and key */
};

static char dir[64];
static struct identity ca;
static struct identity stranger; /* another authority, which nobody trusts */
static struct identity host;     /* DNS:mail.example.org, DNS:*.wild.example.org */
static struct identity expired;
static struct identity foreign; /* signed by the stranger */
static struct identity rsa_host;
static struct identity common_name; /* no subjectAltName */

static void
add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(e);
	assert_int_equal(X509_add_ext(cert, e, -1), 1);
	X509_EXTENSION_free(e);
}

static void
write_identity(struct identity *id, const char *name)
{
	FILE *f;

	(void)snprintf(id->file, sizeof(id->file), "%s/%s.pem", dir, name);
	f = fopen(id->file, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, id->cert), 1);
	assert_int_equal(PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(f), 0);
}

static void
make(struct identity *id, const struct identity *issuer, const char *name, const char *cn,
    const char *san, long lifetime)
{
	static long serial = 1;
	X509_NAME *subject;

	if (id->key == NULL)
		id->key = EVP_EC_gen("P-256");
	id->cert = X509_new();
	assert_int_equal(X509_set_version(id->cert, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(id->cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(id->cert), -86400);
	X509_gmtime_adj(X509_getm_notAfter(id->cert), lifetime);
	subject = X509_get_subject_name(id->cert);
	X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const void *)"Test", -1, -1, 0);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const void *)cn, -1, -1, 0);
	X509_set_issuer_name(id->cert, X509_get_subject_name(issuer->cert));
	X509_set_pubkey(id->cert, id->key);
	add_extension(id->cert, NID_basic_constraints,
	    issuer == id ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (san != NULL)
		add_extension(id->cert, NID_subject_alt_name, san);
	assert_true(X509_sign(id->cert, issuer->key, EVP_sha256()) > 0);
	write_identity(id, name);
}

static int
setup(void **state UNUSED)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/tls-test-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	make(&ca, &ca, "ca", "Test CA", NULL, 86400);
	make(&stranger, &stranger, "stranger", "Stranger", NULL, 86400);
	make(&host, &ca, "host", "ignored.example.org",
	    "DNS:mail.example.org,DNS:*.wild.example.org,IP:192.0.2.1", 86400);
	make(&expired, &ca, "expired", "mail.example.org", NULL, -3600);
	make(&foreign, &stranger, "foreign", "mail.example.org", NULL, 86400);
	rsa_host.key = EVP_RSA_gen(2048);
	make(&rsa_host, &ca, "rsa", "mail.example.org", NULL, 86400);
	make(&common_name, &ca, "cn", "mail.example.org", NULL, 86400);
	return 0;
}

static void
forget(struct identity *id)
{
	X509_free(id->cert);
	EVP_PKEY_free(id->key);
	(void)unlink(id->file);
}

static int
teardown(void **state UNUSED)
{
	forget(&ca);
	forget(&stranger);
	forget(&host);
	forget(&expired);
	forget(&foreign);
	forget(&rsa_host);
	forget(&common_name);
	return rmdir(dir);
}

/* ---- two ends ----------------------------------------------------------------------------------------------------- */

struct ends {
	struct tls_context *contexts[2];
	struct tls_session *client;
	struct tls_session *server;
	struct buf to_server;
	struct buf to_client;
	struct err client_err;
	struct err server_err;
};

static void
ends_open(struct ends *e, const struct tls_settings *client, const struct tls_settings *server)
{
	struct err err = {0};

	memset(e, 0, sizeof(*e));
	e->contexts[0] = tls_context_new(client, &err);
	e->contexts[1] = tls_context_new(server, &err);
	if (e->contexts[0] == NULL || e->contexts[1] == NULL)
		fail_msg("%s", err.text);
	e->client = tls_session_new(e->contexts[0], "mail.example.org");
	e->server = tls_session_new(e->contexts[1], NULL);
}

static void
ends_close(struct ends *e)
{
	tls_session_free(&e->client);
	tls_session_free(&e->server);
	tls_context_unref(&e->contexts[0]);
	tls_context_unref(&e->contexts[1]);
	buf_done(&e->to_server);
	buf_done(&e->to_client);
}

/* Carries what has gathered to the other end. */
static void
carry(struct buf *from, struct tls_session *to)
{
	tls_session_feed(to, from->ptr, from->len);
	buf_clear(from);
}

/* True if both ends agreed. */
static bool
shake_hands(struct ends *e)
{
	enum tls_step c = TLS_NEEDS_INPUT;
	enum tls_step s = TLS_NEEDS_INPUT;

	for (int i = 0; i < 10 && (c != TLS_DONE || s != TLS_DONE); i++) {
		if (c == TLS_NEEDS_INPUT)
			c = tls_session_handshake(e->client, &e->to_server, &e->client_err);
		carry(&e->to_server, e->server);
		if (s == TLS_NEEDS_INPUT)
			s = tls_session_handshake(e->server, &e->to_client, &e->server_err);
		carry(&e->to_client, e->client);
		if (c == TLS_FAILED || s == TLS_FAILED)
			return false;
	}
	return c == TLS_DONE && s == TLS_DONE;
}

static struct tls_settings
client_settings(void)
{
	return (struct tls_settings){.ca_file = ca.file, .protocols = ">=TLSv1.2"};
}

static struct tls_settings
server_settings(const struct identity *id)
{
	return (struct tls_settings){
	    .server = true, .cert_file = id->file, .protocols = ">=TLSv1.2"};
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

static void
test_handshake_tells_about_the_peer(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	const struct tls_peer *peer;
	struct ends e;

	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	peer = tls_session_peer(e.client);
	assert_string_equal(peer->protocol, "TLSv1.3");
	assert_string_equal(peer->cipher, "TLS_AES_256_GCM_SHA384");
	assert_int_equal(peer->bits, 256);
	assert_int_equal(peer->algorithm_bits, 256);
	assert_true(peer->has_cert);
	assert_true(peer->trusted);
	assert_string_equal(peer->subject_cn, "ignored.example.org");
	assert_string_equal(peer->issuer_cn, "Test CA");
	assert_int_equal(strlen(peer->fingerprint), 32 * 3 - 1);
	assert_int_equal(peer->fingerprint[2], ':');
	assert_string_equal(peer->details,
	    " key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256");
	assert_string_equal(tls_session_peer(e.server)->details, peer->details);
	assert_false(tls_session_peer(e.server)->has_cert);
	assert_false(tls_session_peer(e.server)->trusted);
	ends_close(&e);
}

static void
test_details_of_rsa_and_of_older_protocols(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&rsa_host);
	struct ends e;

	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_string_equal(tls_session_peer(e.server)->details,
	    " key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256");
	ends_close(&e);
	s.protocols = "TLSv1.2";
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_string_equal(tls_session_peer(e.server)->protocol, "TLSv1.2");
	assert_string_equal(tls_session_peer(e.server)->details, "");
	ends_close(&e);
}

static void
test_names(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	struct ends e;

	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_true(tls_session_matches_name(e.client, "mail.example.org"));
	assert_true(tls_session_matches_name(e.client, "MAIL.example.org."));
	assert_true(tls_session_matches_name(e.client, "a.wild.example.org"));
	assert_false(tls_session_matches_name(e.client, "a.b.wild.example.org"));
	assert_false(tls_session_matches_name(e.client, "wild.example.org"));
	assert_false(tls_session_matches_name(e.client, ".example.org"));
	assert_false(tls_session_matches_name(e.client, "example.org"));
	assert_false(tls_session_matches_name(e.client, ""));
	/* The common name does not count where there are alternative names. */
	assert_false(tls_session_matches_name(e.client, "ignored.example.org"));
	/* The server saw no certificate at all. */
	assert_false(tls_session_matches_name(e.server, "mail.example.org"));
	ends_close(&e);
	s = server_settings(&common_name);
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_true(tls_session_matches_name(e.client, "mail.example.org"));
	ends_close(&e);
}

static void
expect_untrusted(const struct identity *id, const char *reason)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(id);
	struct ends e;

	/* Encryption without trust is allowed, and reported as such. */
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_true(tls_session_peer(e.client)->has_cert);
	assert_false(tls_session_peer(e.client)->trusted);
	ends_close(&e);

	c.verify = TLS_VERIFY_PEER;
	ends_open(&e, &c, &s);
	assert_false(shake_hands(&e));
	assert_non_null(strstr(e.client_err.text, reason));
	assert_int_equal(e.client_err.kind, ERR_TEMP);
	assert_string_equal(e.client_err.dsn, "4.7.5");
	/* Once failed, always failed. */
	assert_int_equal(tls_session_handshake(e.client, &e.to_server, &e.client_err), TLS_FAILED);
	ends_close(&e);
}

static void
test_trust(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	struct ends e;

	expect_untrusted(&expired, "certificate has expired");
	expect_untrusted(&foreign, "unable to get local issuer certificate");
	expect_untrusted(&stranger, "self-signed certificate");
	c.verify = TLS_VERIFY_PEER;
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_true(tls_session_peer(e.client)->trusted);
	ends_close(&e);
}

static void
test_client_certificates(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	struct ends e;

	s.ask_cert = true;
	s.ca_file = ca.file;
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_false(tls_session_peer(e.server)->has_cert);
	ends_close(&e);

	c.cert_file = common_name.file;
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_true(tls_session_peer(e.server)->trusted);
	assert_string_equal(tls_session_peer(e.server)->subject_cn, "mail.example.org");
	assert_non_null(
	    strstr(tls_session_peer(e.server)->details, " client-signature ECDSA (prime256v1)"));
	ends_close(&e);

	c.cert_file = foreign.file;
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_true(tls_session_peer(e.server)->has_cert);
	assert_false(tls_session_peer(e.server)->trusted);
	ends_close(&e);

	s.verify = TLS_VERIFY_PEER;
	ends_open(&e, &c, &s);
	assert_false(shake_hands(&e));
	ends_close(&e);
	c.cert_file = NULL;
	c.protocols = "TLSv1.2";
	ends_open(&e, &c, &s);
	assert_false(shake_hands(&e));
	assert_non_null(strstr(e.server_err.text, "peer did not return a certificate"));
	ends_close(&e);
}

static void
test_bytes_go_both_ways(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	const size_t size = 300000;
	char *sent = mem_alloc(size);
	char *got = mem_zalloc(size);
	size_t at = 0;
	size_t n = 0;
	struct ends e;

	for (size_t i = 0; i < size; i++)
		sent[i] = (char)(i * 7919 >> 3);
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_int_equal(
	    tls_session_read(e.client, got, 10, &n, &e.to_server, &e.client_err), TLS_NEEDS_INPUT);
	assert_int_equal(
	    tls_session_write(e.client, sent, size, &e.to_server, &e.client_err), TLS_DONE);
	assert_int_equal(
	    tls_session_write(e.client, sent, 0, &e.to_server, &e.client_err), TLS_DONE);
	/* In pieces that cut every record. */
	while (e.to_server.len > 0 || at < size) {
		size_t piece = MIN(e.to_server.len, (size_t)1777);
		enum tls_step step;

		tls_session_feed(e.server, e.to_server.ptr, piece);
		buf_consume(&e.to_server, piece);
		while (
		    (step = tls_session_read(e.server, got + at, MIN(size - at + 1, (size_t)5000),
			 &n, &e.to_client, &e.server_err)) == TLS_DONE)
			at += n;
		assert_int_equal(step, TLS_NEEDS_INPUT);
	}
	assert_memory_equal(sent, got, size);
	assert_int_equal(
	    tls_session_write(e.server, "250 Ok\r\n", 8, &e.to_client, &e.server_err), TLS_DONE);
	carry(&e.to_client, e.client);
	assert_int_equal(
	    tls_session_read(e.client, got, size, &n, &e.to_server, &e.client_err), TLS_DONE);
	assert_int_equal(n, 8);
	assert_memory_equal(got, "250 Ok\r\n", 8);
	ends_close(&e);
	mem_free(sent);
	mem_free(got);
}

static void
test_orderly_end(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	char byte;
	size_t n;
	struct ends e;

	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	tls_session_close(e.client, &e.to_server);
	carry(&e.to_server, e.server);
	assert_int_equal(
	    tls_session_read(e.server, &byte, 1, &n, &e.to_client, &e.server_err), TLS_CLOSED);
	ends_close(&e);
}

static void
test_garbage(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	char byte;
	size_t n;
	struct ends e;

	/* A client that goes on in the clear. */
	ends_open(&e, &c, &s);
	tls_session_feed(e.server, "EHLO client.example.org\r\n", 25);
	assert_int_equal(tls_session_handshake(e.server, &e.to_client, &e.server_err), TLS_FAILED);
	assert_non_null(strstr(e.server_err.text, "wrong version number"));
	ends_close(&e);
	/* A record changed on the way. */
	ends_open(&e, &c, &s);
	assert_true(shake_hands(&e));
	assert_int_equal(
	    tls_session_write(e.client, "QUIT\r\n", 6, &e.to_server, &e.client_err), TLS_DONE);
	e.to_server.ptr[e.to_server.len - 1] ^= 1;
	carry(&e.to_server, e.server);
	assert_int_equal(
	    tls_session_read(e.server, &byte, 1, &n, &e.to_client, &e.server_err), TLS_FAILED);
	assert_int_equal(
	    tls_session_write(e.server, "x", 1, &e.to_client, &e.server_err), TLS_FAILED);
	tls_session_close(e.server, &e.to_client);
	ends_close(&e);
}

static void
test_no_common_protocol(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	struct ends e;

	c.protocols = "TLSv1.2";
	s.protocols = ">=TLSv1.3";
	ends_open(&e, &c, &s);
	assert_false(shake_hands(&e));
	assert_non_null(strstr(e.server_err.text, "unsupported protocol"));
	ends_close(&e);
}

static void
expect_protocols(const char *text, int min, int max, uint64_t refuse)
{
	struct tls_protocols p;
	struct err err = {0};

	if (!tls_protocols_parse(text, &p, &err))
		fail_msg("%s", err.text);
	assert_int_equal(p.min, min);
	assert_int_equal(p.max, max);
	assert_int_equal(p.refuse, refuse);
}

static void
test_protocol_lists(void **state UNUSED)
{
	struct tls_protocols p;
	struct err err = {0};

	expect_protocols("", 0, 0, 0);
	expect_protocols("!SSLv2, !SSLv3", 0, 0, SSL_OP_NO_SSLv3);
	expect_protocols("!SSLv2 !SSLv3:!tlsv1,!TLSv1.1", 0, 0,
	    SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1);
	expect_protocols(">=TLSv1.2", TLS1_2_VERSION, 0, 0);
	expect_protocols(">=TLSv1.1, <=TLSv1.2", TLS1_1_VERSION, TLS1_2_VERSION, 0);
	expect_protocols(
	    "TLSv1.2, TLSv1.3", 0, 0, SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1);
	expect_protocols(">=TLSv1.2, >=", 0, 0, 0);
	assert_false(tls_protocols_parse("TLSv1.4", &p, &err));
	assert_string_equal(err.text, "unknown TLS protocol \"TLSv1.4\" in \"TLSv1.4\"");
	assert_int_equal(err.kind, ERR_CONFIG);
	assert_false(tls_protocols_parse(">=TLSv1.3, !TLSv1.3", &p, &err));
	assert_false(tls_protocols_parse("TLSv1.2 !", &p, &err));
	assert_false(tls_protocols_parse("SSLv2", &p, &err));
}

static void
expect_bad_context(const struct tls_settings *s, const char *reason)
{
	struct err err = {0};

	assert_null(tls_context_new(s, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	if (strstr(err.text, reason) == NULL)
		fail_msg("%s", err.text);
}

static void
test_bad_settings(void **state UNUSED)
{
	expect_bad_context(&(struct tls_settings){.server = true}, "needs a certificate");
	expect_bad_context(&(struct tls_settings){.cert_file = "/nonexistent"},
	    "cannot load certificate /nonexistent: ");
	expect_bad_context(
	    &(struct tls_settings){.cert_file = host.file, .key_file = "/nonexistent"},
	    "cannot load private key /nonexistent: ");
	expect_bad_context(&(struct tls_settings){.cert_file = host.file, .key_file = ca.file},
	    "key values mismatch");
	expect_bad_context(&(struct tls_settings){.ca_file = "/nonexistent"},
	    "cannot load trust anchors /nonexistent: ");
	expect_bad_context(&(struct tls_settings){.protocols = "ssl"}, "unknown TLS protocol");
	expect_bad_context(&(struct tls_settings){.ciphers = "nonsense"}, "cannot use cipher list");
}

static void
test_context_outlives_its_first_owner(void **state UNUSED)
{
	struct tls_settings c = client_settings();
	struct tls_settings s = server_settings(&host);
	struct ends e;

	ends_open(&e, &c, &s);
	/* A reload drops the contexts under running sessions. */
	tls_context_unref(&e.contexts[0]);
	tls_context_unref(&e.contexts[1]);
	assert_true(shake_hands(&e));
	ends_close(&e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_handshake_tells_about_the_peer),
	    cmocka_unit_test(test_details_of_rsa_and_of_older_protocols),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_trust),
	    cmocka_unit_test(test_client_certificates),
	    cmocka_unit_test(test_bytes_go_both_ways),
	    cmocka_unit_test(test_orderly_end),
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_no_common_protocol),
	    cmocka_unit_test(test_protocol_lists),
	    cmocka_unit_test(test_bad_settings),
	    cmocka_unit_test(test_context_outlives_its_first_owner),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
