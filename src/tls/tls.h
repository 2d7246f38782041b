/*
 * tls.h - the only door to OpenSSL. A context holds certificates and policy; a session encrypts one connection through
 * memory, so that net/stream.c does all the socket I/O. Loading and verifying never block on the network.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct tls_session;

enum tls_verify {
	TLS_VERIFY_NONE, /* encrypt whatever certificate comes */
	TLS_VERIFY_PEER, /* the chain must be trusted; names are the caller's to check (tls_peer) */
};

struct tls_settings {
	bool server;
	const char *cert_file; /* PEM chain; NULL: none (a client without certificate) */
	const char *key_file;  /* NULL: as cert_file */
	const char *ca_file;   /* trust anchors; NULL: none */
	const char *ca_path;
	const char *protocols;  /* Postfix syntax: ">=TLSv1.2", "!SSLv2, !SSLv3" */
	const char *ciphers;    /* OpenSSL list for TLS <= 1.2; NULL: OpenSSL's default */
	enum tls_verify verify; /* of the peer */
	bool ask_cert;          /* server: ask the client for a certificate */
};

/* What the handshake found out. */
struct tls_peer {
	const char *protocol; /* "TLSv1.3" */
	const char *cipher;   /* "TLS_AES_256_GCM_SHA384" */
	int bits;             /* in use */
	int algorithm_bits;
	/*
	 * TLS 1.3: what Postfix logs and writes in Received: behind the bits, with a space in front: " key-exchange X25519
	 * server-signature RSA-PSS (2048 bits) server-digest SHA256". Empty for older protocols.
	 */
	char details[200];
	bool has_cert;
	bool trusted; /* the chain ends in one of our anchors */
	char subject_cn[256];
	char issuer_cn[256];
	char fingerprint
	    [200]; /* SHA-256 of the certificate, XX:XX:... ; empty without certificate */
};

struct tls_context *tls_context_new(const struct tls_settings *settings, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);

/* True if the certificate shown covers `name` (RFC 6125: subjectAltName, wildcard in the first label). */
bool tls_session_matches_name(const struct tls_session *s, const char *name);
/* True if it covers a name below `domain`, which begins with a dot. */
bool tls_session_matches_domain(const struct tls_session *s, const char *domain);

/*
 * The sans-I/O engine that net/stream.c drives. Bytes from the peer go in with _feed, bytes for the peer gather in
 * `out`. Each call returns: done, needs more input, or failed.
 */
enum tls_step { TLS_DONE, TLS_NEEDS_INPUT, TLS_CLOSED, TLS_FAILED };
struct tls_session *tls_session_new(struct tls_context *c, const char *server_name);
void tls_session_free(struct tls_session **s);
void tls_session_feed(struct tls_session *s, const void *ptr, size_t len);
enum tls_step tls_session_handshake(struct tls_session *s, struct buf *out, struct err *err);
/* Decrypts up to `size` bytes into `to`. */
enum tls_step tls_session_read(struct tls_session *s, void *to, size_t size, size_t *ret_len,
    struct buf *out, struct err *err);
enum tls_step tls_session_write(
    struct tls_session *s, const void *ptr, size_t len, struct buf *out, struct err *err);
void tls_session_close(struct tls_session *s, struct buf *out);
const struct tls_peer *tls_session_peer(const struct tls_session *s);

#endif
