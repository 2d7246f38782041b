/*
 * test_stream_tls.c - the same calls over TLS: two streams over a socket pair, each in its task.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/stream.h"
#include "task/task.h"
#include "tls/tls.h"

#define SOON  (10 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)
#define BIG   ((size_t)400000)

static char cert_file[] = "/tmp/rowpost-test-XXXXXX";
static struct tls_context *server_context;
static struct tls_context *client_context;
static struct stream *server;
static struct stream *client;
static char *big;

/* ---- around the tests ------------------------------------------------------------------------------------------ */

static void
write_identity(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	FILE *f = fdopen(mkstemp(cert_file), "w");

	assert_non_null(f);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const void *)"mail.example.org", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(f, cert), 1);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(f), 0);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static int
make_contexts(void **state UNUSED)
{
	struct tls_settings for_server = {.server = true, .cert_file = cert_file};
	struct tls_settings for_client = {.verify = TLS_VERIFY_NONE};
	struct err err = {0};

	write_identity();
	server_context = tls_context_new(&for_server, &err);
	client_context = tls_context_new(&for_client, &err);
	big = mem_alloc(BIG);
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 % 251);
	return server_context != NULL && client_context != NULL ? 0 : -1;
}

static int
drop_contexts(void **state UNUSED)
{
	tls_context_unref(&server_context);
	tls_context_unref(&client_context);
	mem_free(big);
	return unlink(cert_file);
}

static int
set_up(void **state UNUSED)
{
	int ends[2];

	task_init(NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	server = stream_new(ends[0]);
	client = stream_new(ends[1]);
	stream_set_deadline(server, clock_deadline(LATER));
	stream_set_deadline(client, clock_deadline(LATER));
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	stream_free(&server);
	stream_free(&client);
	task_done();
	return 0;
}

static void
serve(void *arg)
{
	struct err err = {0};

	MUST(stream_start_tls_server(server, server_context, &err));
	if (arg != NULL)
		((void (*)(void))(uintptr_t)arg)();
}

static void
be_client(void *arg)
{
	struct err err = {0};

	MUST(stream_start_tls_client(client, client_context, "mail.example.org", &err));
	((void (*)(void))(uintptr_t)arg)();
}

/* Both sides after the handshake, each in its own task. */
static void
run_both(void (*server_fn)(void), void (*client_fn)(void))
{
	assert_non_null(task_start("server", serve, (void *)(uintptr_t)server_fn));
	assert_non_null(task_start("client", be_client, (void *)(uintptr_t)client_fn));
	task_run();
	assert_int_equal(task_count(), 0);
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
	assert_int_equal(task_count(), 0);
}

static void
expect_line(struct stream *s, const char *text)
{
	struct span line;
	bool bare;

	MUST(stream_read_line(s, 100, &line, &bare) == STREAM_OK);
	MUST(span_equal_str(line, text) && !bare);
}

/* ---- talking --------------------------------------------------------------------------------------------------- */

static void
server_talks(void)
{
	char exact[5];

	expect_line(server, "EHLO x");
	/* pipelined: in the same record, so it is here already */
	MUST(stream_has_input(server));
	expect_line(server, "MAIL");
	MUST(stream_read_full(server, exact, 5) == STREAM_OK && memcmp(exact, "12345", 5) == 0);
	MUST(!stream_has_input(server));
	MUST(stream_printf(server, "250 %s\r\n", "ok") == STREAM_OK);
	MUST(stream_flush(server) == STREAM_OK);
	MUST(strcmp(stream_tls(server)->protocol, "TLSv1.3") == 0);
}

static void
client_talks(void)
{
	MUST(stream_write(client, "EHLO x\r\nMAIL\r\n12345", 19) == STREAM_OK);
	MUST(stream_flush(client) == STREAM_OK);
	expect_line(client, "250 ok");
	MUST(stream_tls(client)->has_cert);
	MUST(strcmp(stream_tls(client)->subject_cn, "mail.example.org") == 0);
}

static void
lines_and_bytes(void **state UNUSED)
{
	assert_null(stream_tls(server));
	run_both(server_talks, client_talks);
}

static void
send_big(struct stream *s)
{
	size_t sent = 0;

	for (size_t piece = 1; sent < BIG; sent += piece, piece = piece * 3 + 1) {
		piece = MIN(piece, BIG - sent);
		MUST(stream_write(s, big + sent, piece) == STREAM_OK);
	}
	MUST(stream_flush(s) == STREAM_OK);
}

static void
receive_big(struct stream *s)
{
	size_t got = 0;

	while (got < BIG) {
		struct span bytes;

		MUST(stream_peek(s, &bytes) == STREAM_OK);
		MUST(bytes.len <= 65536 && memcmp(bytes.ptr, big + got, bytes.len) == 0);
		got += bytes.len;
		stream_consume(s, bytes.len);
	}
}

static void
server_echoes(void)
{
	receive_big(server);
	send_big(server);
}

static void
client_echoes(void)
{
	send_big(client);
	receive_big(client);
}

static void
much_there_and_back(void **state UNUSED)
{
	run_both(server_echoes, client_echoes);
}

static void
server_leaves(void)
{
	MUST(stream_write(server, "bye\r\n", 5) == STREAM_OK && stream_flush(server) == STREAM_OK);
	stream_free(&server);
}

static void
client_is_left(void)
{
	struct span bytes;

	expect_line(client, "bye");
	MUST(stream_peek(client, &bytes) == STREAM_EOF);
	MUST(stream_read_line(client, 10, &bytes, NULL) == STREAM_EOF);
}

static void
the_end_is_told(void **state UNUSED)
{
	run_both(server_leaves, client_is_left);
}

static bool waited;

static void
server_waits(void)
{
	struct span bytes;

	stream_set_deadline(server, clock_deadline(SOON));
	MUST(stream_peek(server, &bytes) == STREAM_TIMEOUT);
	waited = true;
	stream_set_deadline(server, clock_deadline(LATER));
	expect_line(server, "late");
}

static void
client_is_late(void)
{
	while (!waited)
		MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(stream_printf(client, "late\r\n") == STREAM_OK && stream_flush(client) == STREAM_OK);
}

static void
deadlines_hold(void **state UNUSED)
{
	waited = false;
	run_both(server_waits, client_is_late);
}

/* ---- handshakes ------------------------------------------------------------------------------------------------ */

static void
put(const char *text)
{
	MUST(send(stream_fd(client), text, strlen(text), 0) == (ssize_t)strlen(text));
}

static void
handshake_with(void *arg)
{
	struct err err = {0};

	stream_set_deadline(server, clock_deadline(SOON));
	MUST(!stream_start_tls_server(server, server_context, &err));
	if (strstr(err.text, arg) == NULL)
		base_bug(__FILE__, __LINE__, err.text);
	MUST(err.kind == ERR_TEMP);
}

static char timeout[] = "timeout", lost[] = "lost connection", any[] = "";

static void
a_silent_peer_times_out(void **state UNUSED)
{
	run(handshake_with, timeout);
}

static void
a_lost_peer_is_told(void **state UNUSED)
{
	stream_free(&client);
	run(handshake_with, lost);
}

static void
garbage_fails(void **state UNUSED)
{
	put("EHLO this is not TLS at all\r\n");
	run(handshake_with, any);
}

static void
handshake_cancelled(void *arg UNUSED)
{
	struct err err = {0};

	MUST(!stream_start_tls_server(server, server_context, &err));
	MUST(err.kind == ERR_GONE);
}

static void
cancel_handshake(void *arg UNUSED)
{
	struct task *t = task_start("handshake", handshake_cancelled, NULL);

	MUST(task_yield() == TASK_READY);
	task_cancel(t);
}

static void
a_handshake_can_be_cancelled(void **state UNUSED)
{
	run(cancel_handshake, NULL);
}

/* RFC 3207: what came in the clear behind STARTTLS is not heard of again. */
static void
server_discards(void *arg UNUSED)
{
	struct err err = {0};

	expect_line(server, "STARTTLS");
	MUST(stream_has_input(server));
	stream_discard_input(server);
	MUST(stream_printf(server, "220 go\r\n") == STREAM_OK && stream_flush(server) == STREAM_OK);
	MUST(stream_start_tls_server(server, server_context, &err));
	expect_line(server, "EHLO y");
}

static void
client_injects(void *arg UNUSED)
{
	struct err err = {0};

	put("STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n");
	expect_line(client, "220 go");
	MUST(stream_start_tls_client(client, client_context, NULL, &err));
	MUST(stream_printf(client, "EHLO y\r\n") == STREAM_OK && stream_flush(client) == STREAM_OK);
}

static void
injected_commands_are_dropped(void **state UNUSED)
{
	assert_non_null(task_start("client", client_injects, NULL));
	run(server_discards, NULL);
}

/* A line in the clear, the hello right behind it: as a proxy's header comes before a wrapped connection. */
static void
server_reads_header(void *arg UNUSED)
{
	struct err err = {0};

	expect_line(server, "PROXY");
	MUST(stream_start_tls_server(server, server_context, &err));
	expect_line(server, "EHLO z");
}

static void
client_sends_header(void *arg UNUSED)
{
	struct err err = {0};

	/* together with the hello that follows at once */
	put("PROXY\r\n");
	MUST(stream_start_tls_client(client, client_context, NULL, &err));
	MUST(stream_printf(client, "EHLO z\r\n") == STREAM_OK && stream_flush(client) == STREAM_OK);
}

static void
a_buffered_hello_counts(void **state UNUSED)
{
	assert_non_null(task_start("client", client_sends_header, NULL));
	run(server_reads_header, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(lines_and_bytes),
	    T(much_there_and_back),
	    T(the_end_is_told),
	    T(deadlines_hold),
	    T(a_silent_peer_times_out),
	    T(a_lost_peer_is_told),
	    T(garbage_fails),
	    T(a_handshake_can_be_cancelled),
	    T(injected_commands_are_dropped),
	    T(a_buffered_hello_counts),
	};

	return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
