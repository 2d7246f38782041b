/*
 * tls_int.h - what the files of this room share.
 */
#ifndef TLS_TLS_INT_H
#define TLS_TLS_INT_H

#include <openssl/ssl.h>

#include "tls/tls.h"

struct tls_context {
	SSL_CTX *ctx; /* owned */
	bool server;
	size_t refs;
};

/* What a protocol list says. */
struct tls_protocols {
	int min;         /* TLS1_2_VERSION and the like; 0: no limit */
	int max;         /* the same */
	uint64_t refuse; /* SSL_OP_NO_... for what is left out in between */
};

/*
 * Reads Postfix's syntax (postconf(5), smtp_tls_protocols): names to allow, names with '!' to refuse, ">=" and "<=" as
 * limits; the two kinds may be mixed. Empty: all. False: an unknown word, or nothing is left.
 */
bool tls_protocols_parse(const char *text, struct tls_protocols *ret, struct err *err) MUST_CHECK;

/* OpenSSL's first queued error as readable text; empties the queue. `fallback` when there is none. */
void tls_error_text(const char *fallback, char *out, size_t size);

/* Fills `peer` after the handshake. */
void tls_peer_fill(SSL *ssl, bool server, struct tls_peer *peer);

#endif
