/*
 * smtpd_xclient.c - XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README): who an authorised proxy speaks for.
 * XCLIENT overrides what access rules see and begins the session anew; XFORWARD is for logs and the next server only, for one
 * mail transaction.
 */
#include "smtpd/smtpd_xclient.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "mail/mail_addr.h"
#include "smtp/smtp_ehlo.h"
#include "smtpd/smtpd_int.h"
#include "smtpd/smtpd_setup.h"

#define SMTPD_ATTR_UNAVAILABLE "[UNAVAILABLE]"
#define SMTPD_ATTR_TEMPORARY   "[TEMPUNAVAIL]"

/* RFC 1035 section 2.3.4 */
#define SMTPD_HOST_MAX 255

/* Characters that would mean something in a header or a log. */
static void
smtpd_attr_neuter(struct buf *value)
{
	for (size_t i = 0; i < value->len; i++)
		if (strchr(" <>()\\\";@", value->ptr[i]) != NULL)
			value->ptr[i] = '?';
}

static bool
smtpd_attr_bad(struct smtpd_session *s, const char *name, const struct buf *value)
{
	smtpd_reply(s, 501, "5.5.4", "Bad %s syntax: %.100s", name, buf_str(value));
	return false;
}

/* One "name=value" word, the value decoded and printable. Answers if it is none. */
static bool
smtpd_attr_parse(
    struct smtpd_session *s, struct span word, size_t max, struct span *ret_name, struct buf *value)
{
	size_t equals = span_find(word, '=');

	buf_clear(value);
	*ret_name = span_head(word, equals);
	if (equals + 1 >= word.len) {
		smtpd_reply(s, 501, "5.5.4", "Error: attribute=value expected");
		return false;
	}
	word = span_from(word, equals + 1);
	if (word.len > max) {
		smtpd_reply(s, 501, "5.5.4", "Error: attribute value too long");
		return false;
	}
	/* What is no xtext is meant as it stands. */
	if (!smtp_command_xtext_decode(word, value))
		buf_add_span(value, word);
	buf_mask_controls(value, 0, '?');
	return true;
}

static bool
smtpd_attr_is_port(const struct buf *value)
{
	uint64_t n;

	return value->len <= 5 && span_number(buf_span(value), 99999, &n);
}

/* A numeric address of inet_protocols, with "IPv6:" in front where it is one; `ret` without it. */
static bool
smtpd_attr_is_address(const struct smtpd_session *s, const struct buf *value, struct span *ret)
{
	bool six = !smtpd_setup_is_ipv4_only(s->setup);

	*ret = buf_span(value);
	if (span_starts_nocase(*ret, "IPv6:")) {
		*ret = span_from(*ret, 5);
		return six && mail_addr_is_ipv6(*ret);
	}
	return mail_addr_is_ipv4(*ret) || (six && mail_addr_is_ipv6(*ret));
}

/* ---- XCLIENT ---- */

/* What XCLIENT names as it goes; what it does not name is reset or kept at the end. */
struct smtpd_xclient {
	bool helo;
	bool protocol;
	bool login;
};

typedef bool smtpd_xclient_fn(
    struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given);

/* The state that a name, or the word in its place, stands for. */
static bool
smtpd_xclient_host(struct smtpd_session *s, const char *attr, struct buf *value, char *out,
    size_t size, enum access_name *ret_status)
{
	*ret_status = ACCESS_NAME_OK;
	if (strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) == 0)
		*ret_status = ACCESS_NAME_NONE;
	else if (strcasecmp(buf_str(value), SMTPD_ATTR_TEMPORARY) == 0)
		*ret_status = ACCESS_NAME_TEMP;
	else if (!mail_addr_is_host(buf_span(value)))
		return smtpd_attr_bad(s, attr, value);
	(void)snprintf(out, size, "%s", *ret_status == ACCESS_NAME_OK ? buf_str(value) : "unknown");
	return true;
}

static bool
smtpd_xclient_name(struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given UNUSED)
{
	if (!smtpd_xclient_host(
		s, "NAME", value, s->client_name, sizeof(s->client_name), &s->name_status))
		return false;
	if (s->name_status == ACCESS_NAME_OK) {
		memcpy(s->client_reverse_name, s->client_name, sizeof(s->client_reverse_name));
		s->reverse_name_status = ACCESS_NAME_OK;
	}
	return true;
}

static bool
smtpd_xclient_reverse_name(
    struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given UNUSED)
{
	return smtpd_xclient_host(s, "REVERSE_NAME", value, s->client_reverse_name,
	    sizeof(s->client_reverse_name), &s->reverse_name_status);
}

static bool
smtpd_xclient_addr(struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given UNUSED)
{
	struct span bare;

	if (strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) == 0) {
		s->peer = (struct net_addr){0};
		(void)snprintf(s->client_address, sizeof(s->client_address), "unknown");
		return true;
	}
	if (!smtpd_attr_is_address(s, value, &bare) || !net_addr_parse(bare.ptr, 0, &s->peer))
		return smtpd_attr_bad(s, "ADDR", value);
	(void)snprintf(s->client_address, sizeof(s->client_address), "%s", bare.ptr);
	return true;
}

static bool
smtpd_xclient_number(
    struct smtpd_session *s, const char *attr, struct buf *value, char *out, size_t size)
{
	bool known = strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) != 0;

	if (known && !smtpd_attr_is_port(value))
		return smtpd_attr_bad(s, attr, value);
	(void)snprintf(out, size, "%s", known ? buf_str(value) : "unknown");
	return true;
}

static bool
smtpd_xclient_port(struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given UNUSED)
{
	return smtpd_xclient_number(s, "PORT", value, s->client_port, sizeof(s->client_port));
}

static bool
smtpd_xclient_helo(struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given)
{
	given->helo = true;
	if (strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) == 0) {
		mem_free_str(&s->helo);
		return true;
	}
	if (value->len > SMTPD_HOST_MAX)
		return smtpd_attr_bad(s, "HELO", value);
	smtpd_attr_neuter(value);
	mem_free(s->helo);
	s->helo = span_dup(buf_span(value));
	return true;
}

static bool
smtpd_xclient_proto(struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given)
{
	given->protocol = true;
	s->esmtp = strcasecmp(buf_str(value), "ESMTP") == 0;
	if (!s->esmtp && strcasecmp(buf_str(value), "SMTP") != 0)
		return smtpd_attr_bad(s, "PROTO", value);
	return true;
}

/* The user that a proxy has authenticated, in place of AUTH. */
static bool
smtpd_xclient_login(struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given)
{
	given->login = true;
	if (strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) == 0)
		return true;
	mem_free(s->sasl_username);
	s->sasl_username = span_dup(buf_span(value));
	s->sasl_method = "XCLIENT";
	return true;
}

static bool
smtpd_xclient_destaddr(
    struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given UNUSED)
{
	bool known = strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) != 0;
	struct span bare = SPAN_LIT("unknown");

	if (known && !smtpd_attr_is_address(s, value, &bare))
		return smtpd_attr_bad(s, "DESTADDR", value);
	smtpd_server_address(s);
	(void)snprintf(s->server_address, sizeof(s->server_address), "%s", bare.ptr);
	return true;
}

static bool
smtpd_xclient_destport(
    struct smtpd_session *s, struct buf *value, struct smtpd_xclient *given UNUSED)
{
	smtpd_server_address(s);
	return smtpd_xclient_number(s, "DESTPORT", value, s->server_port, sizeof(s->server_port));
}

static const struct {
	const char *name;
	smtpd_xclient_fn *set;
} smtpd_xclient_attrs[] = {
    {"NAME", smtpd_xclient_name},
    {"REVERSE_NAME", smtpd_xclient_reverse_name},
    {"ADDR", smtpd_xclient_addr},
    {"PORT", smtpd_xclient_port},
    {"HELO", smtpd_xclient_helo},
    {"PROTO", smtpd_xclient_proto},
    {"LOGIN", smtpd_xclient_login},
    {"DESTADDR", smtpd_xclient_destaddr},
    {"DESTPORT", smtpd_xclient_destport},
};

static bool
smtpd_xclient_set(
    struct smtpd_session *s, struct span name, struct buf *value, struct smtpd_xclient *given)
{
	for (size_t i = 0; i < ARRAY_LEN(smtpd_xclient_attrs); i++)
		if (span_equal_nocase_str(name, smtpd_xclient_attrs[i].name))
			return smtpd_xclient_attrs[i].set(s, value, given);
	smtpd_reply(
	    s, 501, "5.5.4", "Bad XCLIENT attribute name: %.*s", SPAN_ARG(span_head(name, 100)));
	return false;
}

/* What both commands want; answers if they may not go on. */
static bool
smtpd_proxy_allowed(struct smtpd_session *s, struct span args, const char *verb, unsigned feature)
{
	if (s->state >= SMTPD_STATE_MAIL) {
		smtpd_reply(s, 503, "5.5.1", "Error: MAIL transaction in progress");
		return false;
	}
	if (span_trim(args).len == 0) {
		smtpd_reply(s, 501, "5.5.4", "Syntax: %s attribute=value...", verb);
		return false;
	}
	if ((s->authorized & feature) != 0)
		return true;
	smtpd_reply(s, 550, "5.7.0", "Error: insufficient authorization");
	return false;
}

void
smtpd_xclient(struct smtpd_session *s, struct span args)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct smtpd_xclient given = {0};
	struct span word;
	struct span name;

	if (!smtpd_proxy_allowed(s, args, "XCLIENT", SMTP_EHLO_XCLIENT))
		return;
	/* What is not well formed as a whole changes nothing. */
	for (struct span rest = args; span_word(&rest, " \t", &word);)
		if (!smtpd_attr_parse(s, word, SMTPD_HOST_MAX, &name, &value))
			return;
	while (span_word(&args, " \t", &word))
		if (!smtpd_attr_parse(s, word, SMTPD_HOST_MAX, &name, &value) ||
		    !smtpd_xclient_set(s, name, &value, &given))
			return;
	smtpd_mail_reset(s);
	if (!given.helo)
		mem_free_str(&s->helo);
	if (!given.protocol)
		s->esmtp = false;
	if (!given.login) {
		mem_free_str(&s->sasl_username);
		s->sasl_method = NULL;
	}
	smtpd_enter(s, s->helo != NULL ? SMTPD_STATE_HELO : SMTPD_STATE_NEW);
	smtpd_client_changed(s, false);
	s->failed = true; /* in the sense of the log: Postfix counts it as begun, never as done */
}

/* ---- XFORWARD ---- */

typedef bool smtpd_forward_fn(struct smtpd_session *s, struct buf *value, const char **to);

static bool
smtpd_forward_keep(struct smtpd_session *s, const struct buf *value, const char **to)
{
	*to = arena_dup(&s->forward->arena, buf_span(value));
	return true;
}

static bool
smtpd_forward_name(struct smtpd_session *s, struct buf *value, const char **to)
{
	smtpd_attr_neuter(value);
	if (!mail_addr_is_host(buf_span(value)))
		return smtpd_attr_bad(s, "NAME", value);
	return smtpd_forward_keep(s, value, to);
}

static bool
smtpd_forward_addr(struct smtpd_session *s, struct buf *value, const char **to)
{
	struct span bare;

	smtpd_attr_neuter(value);
	if (!smtpd_attr_is_address(s, value, &bare))
		return smtpd_attr_bad(s, "ADDR", value);
	*to = arena_dup(&s->forward->arena, bare);
	return true;
}

static bool
smtpd_forward_port(struct smtpd_session *s, struct buf *value, const char **to)
{
	return smtpd_attr_is_port(value) ? smtpd_forward_keep(s, value, to)
					 : smtpd_attr_bad(s, "PORT", value);
}

static bool
smtpd_forward_text(struct smtpd_session *s, struct buf *value, const char **to)
{
	smtpd_attr_neuter(value);
	return smtpd_forward_keep(s, value, to);
}

static bool
smtpd_forward_proto(struct smtpd_session *s, struct buf *value, const char **to)
{
	return value->len <= 64 ? smtpd_forward_text(s, value, to)
				: smtpd_attr_bad(s, "PROTO", value);
}

static bool
smtpd_forward_source(struct smtpd_session *s, const struct buf *value)
{
	bool local = strcasecmp(buf_str(value), "LOCAL") == 0;

	if (!local && strcasecmp(buf_str(value), "REMOTE") != 0)
		return smtpd_attr_bad(s, "SOURCE", value);
	s->forward->has_source = true;
	s->forward->local = local;
	return true;
}

static bool
smtpd_forward_set(struct smtpd_session *s, struct span name, struct buf *value)
{
	struct smtpd_forward *f = s->forward;
	const struct {
		const char *name;
		smtpd_forward_fn *set;
		const char **to;
		const char *unknown;
	} attrs[] = {
	    {"NAME", smtpd_forward_name, &f->name, "unknown"},
	    {"ADDR", smtpd_forward_addr, &f->address, "unknown"},
	    {"PORT", smtpd_forward_port, &f->port, "unknown"},
	    {"HELO", smtpd_forward_text, &f->helo, NULL},
	    {"PROTO", smtpd_forward_proto, &f->protocol, "unknown"},
	    {"IDENT", smtpd_forward_text, &f->ident, NULL},
	};

	if (span_equal_nocase_str(name, "SOURCE"))
		return smtpd_forward_source(s, value);
	for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
		if (!span_equal_nocase_str(name, attrs[i].name))
			continue;
		if (strcasecmp(buf_str(value), SMTPD_ATTR_UNAVAILABLE) != 0)
			return attrs[i].set(s, value, attrs[i].to);
		*attrs[i].to = attrs[i].unknown;
		return true;
	}
	smtpd_reply(
	    s, 501, "5.5.4", "Bad XFORWARD attribute name: %.*s", SPAN_ARG(span_head(name, 100)));
	return false;
}

/* Whatever is not told stays unknown: nothing of the proxy's own connection may stand in its place. */
static void
smtpd_forward_begin(struct smtpd_session *s)
{
	if (s->forward != NULL)
		return;
	s->forward = mem_new(struct smtpd_forward);
	s->forward->name = "unknown";
	s->forward->address = "unknown";
	s->forward->port = "unknown";
	s->forward->protocol = "unknown";
}

void
smtpd_forward_done(struct smtpd_session *s)
{
	if (s->forward == NULL)
		return;
	arena_done(&s->forward->arena);
	mem_free(s->forward);
	s->forward = NULL;
}

void
smtpd_xforward(struct smtpd_session *s, struct span args)
{
	struct buf value CLEANUP(buf_done) = {0};
	bool first = s->forward == NULL;
	struct span word;
	struct span name;

	if (!smtpd_proxy_allowed(s, args, "XFORWARD", SMTP_EHLO_XFORWARD))
		return;
	smtpd_forward_begin(s);
	while (span_word(&args, " \t", &word)) {
		if (smtpd_attr_parse(s, word, SMTPD_HOST_MAX, &name, &value) &&
		    smtpd_forward_set(s, name, &value))
			continue;
		/* Refused: as if it had not been said, unless something stands from before. */
		if (first)
			smtpd_forward_done(s);
		return;
	}
	smtpd_reply(s, 250, "2.0.0", "Ok");
}
