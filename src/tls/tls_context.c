/*
 * tls_context.c - certificates, trust anchors and policy, loaded once and shared by all sessions of their kind.
 */
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tls/tls_int.h"

void
tls_error_text(const char *fallback, char *out, size_t size)
{
	unsigned long code = ERR_get_error();
	const char *reason = ERR_reason_error_string(code);

	if (code == 0)
		(void)snprintf(out, size, "%s", fallback);
	else if (reason != NULL)
		(void)snprintf(out, size, "%s", reason);
	else
		ERR_error_string_n(code, out, size);
	ERR_clear_error();
}

static bool
fail(struct err *err, const char *what, const char *subject)
{
	char reason[200];

	tls_error_text("unknown reason", reason, sizeof(reason));
	return err_set(err, ERR_CONFIG, "4.3.5", "%s %s: %s", what, subject, reason);
}

/* A key with a pass phrase must not make a daemon ask at a terminal. */
static int
no_passphrase(char *buf UNUSED, int size UNUSED, int rwflag UNUSED, void *arg UNUSED)
{
	return -1;
}

/*
 * Verifies, and lets the handshake go on whatever the verdict: it stands in the session (the first error, which a
 * callback for each certificate would lose).
 */
static int
verify_and_go_on(X509_STORE_CTX *store, void *arg UNUSED)
{
	(void)X509_verify_cert(store);
	return 1;
}

static bool
load_certificate(SSL_CTX *ctx, const struct tls_settings *s, struct err *err)
{
	const char *key = s->key_file != NULL ? s->key_file : s->cert_file;

	if (s->cert_file == NULL) {
		if (s->server)
			return err_set(
			    err, ERR_CONFIG, "4.3.5", "a TLS server needs a certificate");
		return true;
	}
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, s->cert_file) != 1)
		return fail(err, "cannot load certificate", s->cert_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return fail(err, "cannot load private key", key);
	if (SSL_CTX_check_private_key(ctx) != 1)
		return fail(err, "private key does not fit the certificate", s->cert_file);
	return true;
}

static bool
load_anchors(SSL_CTX *ctx, const struct tls_settings *s, struct err *err)
{
	if (s->ca_file != NULL && SSL_CTX_load_verify_file(ctx, s->ca_file) != 1)
		return fail(err, "cannot load trust anchors", s->ca_file);
	if (s->ca_path != NULL && SSL_CTX_load_verify_dir(ctx, s->ca_path) != 1)
		return fail(err, "cannot use trust anchors", s->ca_path);
	if (s->server && s->ask_cert && s->ca_file != NULL)
		SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(s->ca_file));
	return true;
}

static bool
set_protocols(SSL_CTX *ctx, const struct tls_settings *s, struct err *err)
{
	struct tls_protocols p;

	if (!tls_protocols_parse(s->protocols != NULL ? s->protocols : "", &p, err))
		return false;
	if (s->protocols != NULL && (SSL_CTX_set_min_proto_version(ctx, p.min) != 1 ||
					SSL_CTX_set_max_proto_version(ctx, p.max) != 1))
		return fail(err, "cannot set TLS protocols", s->protocols);
	(void)SSL_CTX_set_options(ctx, p.refuse);
	if (s->ciphers != NULL && SSL_CTX_set_cipher_list(ctx, s->ciphers) != 1)
		return fail(err, "cannot use cipher list", s->ciphers);
	return true;
}

static void
set_verification(SSL_CTX *ctx, const struct tls_settings *s)
{
	if (s->verify == TLS_VERIFY_PEER) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		return;
	}
	SSL_CTX_set_cert_verify_callback(ctx, verify_and_go_on, NULL);
	/* A server asks for a certificate only in this mode. */
	if (!s->server || s->ask_cert)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
}

static void
set_modes(SSL_CTX *ctx, bool server)
{
	static const unsigned char id[] = "rowpost";

	/* An idle session keeps no buffers; the peer may not start over in mid-session. */
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (!server)
		return;
	(void)SSL_CTX_set_dh_auto(ctx, 1);
	(void)SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
	(void)SSL_CTX_set_num_tickets(ctx, 1);
}

struct tls_context *
tls_context_new(const struct tls_settings *settings, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(settings->server ? TLS_server_method() : TLS_client_method());
	struct tls_context *c;

	ERR_clear_error();
	if (ctx == NULL) {
		(void)fail(err, "cannot start", "OpenSSL");
		return NULL;
	}
	set_modes(ctx, settings->server);
	set_verification(ctx, settings);
	if (!set_protocols(ctx, settings, err) || !load_certificate(ctx, settings, err) ||
	    !load_anchors(ctx, settings, err)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	c = mem_new(struct tls_context);
	*c = (struct tls_context){.ctx = ctx, .server = settings->server, .refs = 1};
	return c;
}

struct tls_context *
tls_context_ref(struct tls_context *c)
{
	c->refs++;
	return c;
}

void
tls_context_unref(struct tls_context **context)
{
	struct tls_context *c = *context;

	*context = NULL;
	if (c == NULL || --c->refs > 0)
		return;
	SSL_CTX_free(c->ctx);
	mem_free(c);
}
