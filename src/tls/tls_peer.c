/*
 * tls_peer.c - what is known of the other side after the handshake, in the words Postfix logs it.
 */
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls/tls_int.h"

/*
 * The last common name, which is the most specific; "" if there is none, or one with a NUL inside (made to look like
 * another name to C programs). Other control characters become '?'.
 */
static void
name_text(const X509_NAME *name, int nid, char *out, size_t size)
{
	unsigned char *utf8 = NULL;
	int at = -1;
	int len;

	out[0] = '\0';
	for (int next; (next = X509_NAME_get_index_by_NID(name, nid, at)) >= 0;)
		at = next;
	if (at < 0)
		return;
	len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	if (len > 0 && memchr(utf8, '\0', (size_t)len) == NULL)
		(void)snprintf(out, size, "%.*s", len, (const char *)utf8);
	for (char *c = out; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	OPENSSL_free(utf8);
}

static void
fill_fingerprint(const X509 *cert, char *out, size_t size)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	size_t at = 0;

	out[0] = '\0';
	if (X509_digest(cert, EVP_sha256(), digest, &len) != 1)
		return;
	for (unsigned i = 0; i < len && at + 4 < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%02X", i > 0 ? ":" : "", digest[i]);
}

/* ---- key exchange and signatures (TLS 1.3, where the name of the cipher does not tell) ---------------------------- */

static void add(char *out, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void
add(char *out, size_t size, const char *fmt, ...)
{
	size_t len = strlen(out);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(out + len, size - len, fmt, args);
	va_end(args);
}

static void
add_key(
    char *out, size_t size, const char *what, const EVP_PKEY *key, const char *rsa, const char *ec)
{
	int id = EVP_PKEY_get_base_id(key);
	char group[64];
	size_t len = 0;

	if (id == EVP_PKEY_RSA || id == EVP_PKEY_RSA_PSS || id == EVP_PKEY_DH)
		add(out, size, " %s %s (%d bits)", what, rsa, EVP_PKEY_get_bits(key));
	else if (id == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1)
		add(out, size, " %s %s (%s)", what, ec, group);
	else
		add(out, size, " %s %s", what, OBJ_nid2sn(id));
}

static void
add_signature(
    char *out, size_t size, const char *side, const X509 *cert, bool has_digest, int digest)
{
	const EVP_PKEY *key = cert != NULL ? X509_get0_pubkey(cert) : NULL;
	char what[32];

	if (key == NULL)
		return;
	(void)snprintf(what, sizeof(what), "%s-signature", side);
	/* TLS 1.3 knows RSA signatures only with PSS padding. */
	add_key(out, size, what, key, "RSA-PSS", "ECDSA");
	if (has_digest && digest != NID_undef)
		add(out, size, " %s-digest %s", side, OBJ_nid2sn(digest));
}

static void
fill_details(SSL *ssl, bool server, const X509 *peer_cert, char *out, size_t size)
{
	EVP_PKEY *key = NULL;
	int digest = NID_undef;
	bool known;
	const char *ours = server ? "server" : "client";
	const char *theirs = server ? "client" : "server";
	const X509 *our_cert = SSL_get_certificate(ssl);

	out[0] = '\0';
	if (SSL_version(ssl) < TLS1_3_VERSION)
		return;
	if (SSL_get_peer_tmp_key(ssl, &key) == 1) {
		add_key(out, size, "key-exchange", key, "DHE", "ECDHE");
		EVP_PKEY_free(key);
	}
	/* A client's certificate counts only if it was asked for: then there is a signature. */
	known = SSL_get_signature_nid(ssl, &digest) == 1 && digest != NID_undef;
	if (server)
		add_signature(out, size, ours, our_cert, known, digest);
	known = SSL_get_peer_signature_nid(ssl, &digest) == 1 && digest != NID_undef;
	add_signature(out, size, theirs, peer_cert, known, digest);
	known = SSL_get_signature_nid(ssl, &digest) == 1 && digest != NID_undef;
	if (!server && known)
		add_signature(out, size, ours, our_cert, known, digest);
}

void
tls_peer_fill(SSL *ssl, bool server, struct tls_peer *peer)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	*peer = (struct tls_peer){
	    .protocol = SSL_get_version(ssl),
	    .cipher = SSL_get_cipher_name(ssl),
	    .has_cert = cert != NULL,
	    .trusted = cert != NULL && SSL_get_verify_result(ssl) == X509_V_OK,
	};
	peer->bits = SSL_CIPHER_get_bits(SSL_get_current_cipher(ssl), &peer->algorithm_bits);
	fill_details(ssl, server, cert, peer->details, sizeof(peer->details));
	if (cert == NULL)
		return;
	name_text(X509_get_subject_name(cert), NID_commonName, peer->subject_cn,
	    sizeof(peer->subject_cn));
	name_text(
	    X509_get_issuer_name(cert), NID_commonName, peer->issuer_cn, sizeof(peer->issuer_cn));
	if (peer->issuer_cn[0] == '\0')
		name_text(X509_get_issuer_name(cert), NID_organizationName, peer->issuer_cn,
		    sizeof(peer->issuer_cn));
	fill_fingerprint(cert, peer->fingerprint, sizeof(peer->fingerprint));
}
