/*
 * tls_session.c - one encrypted connection without a socket. OpenSSL reads and writes through a BIO of ours: input is
 * what was fed, output goes straight to the buffer of the call under way, so that nothing is copied twice and an idle
 * session keeps no buffer.
 */
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/mem.h"
#include "tls/tls_int.h"

#define INPUT_KEEP 4096 /* bytes of input buffer an idle session may keep */

struct tls_session {
	struct tls_context *context; /* a reference of ours */
	SSL *ssl;                    /* owned */
	struct buf in;               /* fed and not yet read by OpenSSL */
	size_t in_at;                /* how much of it is read */
	struct buf *out;             /* borrowed, for the length of one call */
	bool failed;                 /* OpenSSL gave up: no more calls to it */
	bool done;                   /* the handshake is over */
	struct tls_peer peer;
};

/* ---- BIO ------------------------------------------------------------------------------------------------------- */

static int
bio_read(BIO *bio, char *to, int size)
{
	struct tls_session *s = BIO_get_data(bio);
	size_t left = s->in.len - s->in_at;
	size_t n = MIN(left, (size_t)size);

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	(void)memcpy(to, s->in.ptr + s->in_at, n);
	s->in_at += n;
	if (s->in_at < s->in.len)
		return (int)n;
	s->in_at = 0;
	buf_clear(&s->in);
	if (s->in.size > INPUT_KEEP)
		buf_done(&s->in);
	return (int)n;
}

static int
bio_write(BIO *bio, const char *from, int len)
{
	struct tls_session *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	MUST(s->out != NULL);
	buf_add(s->out, from, (size_t)len);
	return len;
}

static long
bio_ctrl(BIO *bio UNUSED, int command, long number UNUSED, void *ptr UNUSED)
{
	return command == BIO_CTRL_FLUSH;
}

static BIO *
bio_new(struct tls_session *s)
{
	static BIO_METHOD *method; /* for the life of the process */
	BIO *bio;

	if (method == NULL) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tls_session");
		MUST(method != NULL);
		(void)BIO_meth_set_read(method, bio_read);
		(void)BIO_meth_set_write(method, bio_write);
		(void)BIO_meth_set_ctrl(method, bio_ctrl);
	}
	bio = BIO_new(method);
	MUST(bio != NULL);
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	return bio;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

/* The name for SNI (RFC 6066 section 3: a host name, never an address, no final dot). */
static void
set_server_name(SSL *ssl, const char *name)
{
	char host[256];
	unsigned char ip[16];
	size_t len = strlen(name);

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(host))
		return;
	(void)memcpy(host, name, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1)
		return;
	(void)SSL_set_tlsext_host_name(ssl, host);
}

struct tls_session *
tls_session_new(struct tls_context *c, const char *server_name)
{
	struct tls_session *s = mem_new(struct tls_session);
	BIO *bio = bio_new(s);

	s->context = tls_context_ref(c);
	s->ssl = SSL_new(c->ctx);
	MUST(s->ssl != NULL);
	SSL_set_bio(s->ssl, bio, bio);
	if (c->server) {
		SSL_set_accept_state(s->ssl);
	} else {
		SSL_set_connect_state(s->ssl);
		if (server_name != NULL)
			set_server_name(s->ssl, server_name);
	}
	return s;
}

void
tls_session_free(struct tls_session **session)
{
	struct tls_session *s = *session;

	*session = NULL;
	if (s == NULL)
		return;
	SSL_free(s->ssl);
	buf_done(&s->in);
	tls_context_unref(&s->context);
	mem_free(s);
}

void
tls_session_feed(struct tls_session *s, const void *ptr, size_t len)
{
	buf_add(&s->in, ptr, len);
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

/* Names a certificate that was refused, or the first reason in OpenSSL's queue. */
static enum tls_step
step_failed(struct tls_session *s, struct err *err)
{
	long verdict = SSL_get_verify_result(s->ssl);
	unsigned long code = ERR_peek_error();
	char reason[200];

	s->failed = true;
	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK) {
		ERR_clear_error();
		(void)err_set(err, ERR_TEMP, "4.7.5", "certificate verification failed: %s",
		    X509_verify_cert_error_string(verdict));
		return TLS_FAILED;
	}
	tls_error_text("unknown TLS error", reason, sizeof(reason));
	(void)err_set(err, ERR_TEMP, "4.7.5", "%s", reason);
	return TLS_FAILED;
}

/* What the result `n` of an OpenSSL call means. */
static enum tls_step
step_result(struct tls_session *s, int n, struct err *err)
{
	switch (SSL_get_error(s->ssl, n)) {
	case SSL_ERROR_NONE:
		return TLS_DONE;
	case SSL_ERROR_WANT_READ:
		return TLS_NEEDS_INPUT;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		return step_failed(s, err);
	}
}

static enum tls_step
step_refused(struct err *err)
{
	(void)err_set(err, ERR_TEMP, "4.7.5", "the TLS session had failed before");
	return TLS_FAILED;
}

enum tls_step
tls_session_handshake(struct tls_session *s, struct buf *out, struct err *err)
{
	enum tls_step step;

	if (s->failed)
		return step_refused(err);
	ERR_clear_error();
	s->out = out;
	step = step_result(s, SSL_do_handshake(s->ssl), err);
	s->out = NULL;
	if (step == TLS_DONE && !s->done) {
		s->done = true;
		tls_peer_fill(s->ssl, s->context->server, &s->peer);
	}
	return step;
}

enum tls_step
tls_session_read(
    struct tls_session *s, void *to, size_t size, size_t *ret_len, struct buf *out, struct err *err)
{
	enum tls_step step;
	int n;

	MUST(size > 0);
	if (s->failed)
		return step_refused(err);
	ERR_clear_error();
	s->out = out;
	n = SSL_read(s->ssl, to, (int)MIN(size, (size_t)INT_MAX));
	step = step_result(s, n, err);
	s->out = NULL;
	if (step == TLS_DONE)
		*ret_len = (size_t)n;
	return step;
}

enum tls_step
tls_session_write(
    struct tls_session *s, const void *ptr, size_t len, struct buf *out, struct err *err)
{
	enum tls_step step = TLS_DONE;

	if (s->failed)
		return step_refused(err);
	if (len == 0)
		return TLS_DONE;
	MUST(len <= INT_MAX);
	ERR_clear_error();
	s->out = out;
	/* Output never has to wait, so all of it is taken at once. */
	step = step_result(s, SSL_write(s->ssl, ptr, (int)len), err);
	s->out = NULL;
	return step;
}

void
tls_session_close(struct tls_session *s, struct buf *out)
{
	if (s->failed || !s->done)
		return;
	ERR_clear_error();
	s->out = out;
	(void)SSL_shutdown(s->ssl);
	s->out = NULL;
	ERR_clear_error();
}

const struct tls_peer *
tls_session_peer(const struct tls_session *s)
{
	return &s->peer;
}

bool
tls_session_matches_name(const struct tls_session *s, const char *name)
{
	X509 *cert = SSL_get0_peer_certificate(s->ssl);
	char host[256];
	size_t len = strlen(name);

	/* A leading dot would match all names below it. */
	if (cert == NULL || name[0] == '.')
		return false;
	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(host))
		return false;
	(void)memcpy(host, name, len);
	host[len] = '\0';
	return X509_check_host(cert, host, len, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

bool
tls_session_matches_domain(const struct tls_session *s, const char *domain)
{
	X509 *cert = SSL_get0_peer_certificate(s->ssl);

	return cert != NULL && domain[0] == '.' && domain[1] != '\0' &&
	       X509_check_host(
		   cert, domain, strlen(domain), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}
