/*
 * mail_received.c - see mail_received.h.
 */
#include "mail/mail_received.h"

#include "mail/mail_addr.h"
#include "mail/mail_date.h"

const char *
mail_received_protocol(bool esmtp, bool tls, bool auth, bool smtputf8)
{
	static const char *const plain[2][2] = {{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}};
	static const char *const utf8[2][2] = {
	    {"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}};

	if (!esmtp)
		return "SMTP";
	return smtputf8 ? utf8[tls][auth] : plain[tls][auth];
}

/* " key-exchange X25519", " server-signature RSA-PSS (2048 bits) server-digest SHA256", ... */
static void
mail_received_algorithm(
    struct buf *out, const char *what, const char *name, const char *curve, int bits)
{
	buf_printf(out, " %s %s", what, name);
	if (curve != NULL && curve[0] != '\0')
		buf_printf(out, " (%s)", curve);
	else if (bits > 0)
		buf_printf(out, " (%d bits)", bits);
}

static bool
mail_received_has(const char *s)
{
	return s != NULL && s[0] != '\0';
}

static void
mail_received_tls_client(struct buf *out, const struct mail_received_tls *tls)
{
	if (mail_received_has(tls->client_signature)) {
		buf_add_str(out, "\n\t");
		mail_received_algorithm(out, "client-signature", tls->client_signature,
		    tls->client_curve, tls->client_bits);
		if (mail_received_has(tls->client_digest))
			buf_printf(out, " client-digest %s", tls->client_digest);
	}
	buf_add_str(out, ")\n");
	if (tls->client_present)
		buf_printf(out, "\t(Client CN \"%s\", Issuer \"%s\" (%s))\n",
		    tls->client_cn != NULL ? tls->client_cn : "",
		    tls->issuer_cn != NULL ? tls->issuer_cn : "",
		    tls->client_trusted ? "verified OK" : "not verified");
	else if (tls->client_asked)
		buf_add_str(out, "\t(Client did not present a certificate)\n");
	else
		buf_add_str(out, "\t(No client certificate requested)\n");
}

static void
mail_received_tls(struct buf *out, const struct mail_received_tls *tls)
{
	buf_printf(out, "\t(using %s with cipher %s (%d/%d bits)", tls->protocol, tls->cipher,
	    tls->cipher_bits, tls->cipher_all_bits);
	if (mail_received_has(tls->kex)) {
		buf_add_str(out, "\n\t");
		mail_received_algorithm(
		    out, "key-exchange", tls->kex, tls->kex_curve, tls->kex_bits);
	}
	if (mail_received_has(tls->server_signature)) {
		if (!mail_received_has(tls->kex))
			buf_add_str(out, "\n\t");
		mail_received_algorithm(out, "server-signature", tls->server_signature,
		    tls->server_curve, tls->server_bits);
		if (mail_received_has(tls->server_digest))
			buf_printf(out, " server-digest %s", tls->server_digest);
	}
	mail_received_tls_client(out, tls);
}

void
mail_received_write(struct buf *out, const struct mail_received *r)
{
	const char *tag = strchr(r->client_addr, ':') != NULL ? "IPv6:" : "";

	buf_printf(out, "Received: from %s (%s [%s%s])\n",
	    r->helo != NULL ? r->helo : r->client_name, r->client_name, tag, r->client_addr);
	if (r->tls != NULL)
		mail_received_tls(out, r->tls);
	if (r->auth_user != NULL)
		buf_printf(out, "\t(Authenticated sender: %s)\n", r->auth_user);
	buf_printf(out, "\tby %s (%s) with %s", r->host, r->mail_name, r->protocol);
	if (r->queue_id != NULL)
		buf_printf(out, " id %s", r->queue_id);
	if (r->rcpt != NULL) {
		buf_add_str(out, "\n\tfor <");
		mail_addr_quote(out, span_str(r->rcpt));
		buf_add_str(out, ">; ");
	} else {
		buf_add_str(out, ";\n\t");
	}
	mail_date_write(out, r->second);
	buf_add_char(out, '\n');
}

void
mail_received_write_local(struct buf *out, const char *host, const char *mail_name, unsigned uid,
    const char *queue_id, int64_t second)
{
	buf_printf(
	    out, "Received: by %s (%s, from userid %u)\n\tid %s; ", host, mail_name, uid, queue_id);
	mail_date_write(out, second);
	buf_add_char(out, '\n');
}

void
mail_received_write_internal(
    struct buf *out, const char *host, const char *mail_name, const char *queue_id, int64_t second)
{
	buf_printf(out, "Received: by %s (%s)\n\tid %s; ", host, mail_name, queue_id);
	mail_date_write(out, second);
	buf_add_char(out, '\n');
}
