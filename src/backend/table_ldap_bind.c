/*
 * table_ldap_bind.c - the session with an LDAP server: made when it is needed, bound as the settings say.
 */
#include "backend/table_ldap.h"

#include <string.h>
#include <sys/time.h>
#if __has_include(<sasl/sasl.h>)
#include <sasl/sasl.h>
#define HAVE_SASL 1
#endif

#include "base/log.h"

void
table_ldap_disconnect(struct table_ldap *l)
{
	if (l->ld != NULL)
		(void)ldap_unbind_ext_s(l->ld, NULL, NULL);
	l->ld = NULL;
}

int
table_ldap_wait(LDAP *ld, int id, int64_t timeout, LDAPMessage **ret)
{
	struct timeval limit = {.tv_sec = timeout};
	int code = LDAP_SUCCESS;

	switch (ldap_result(ld, id, LDAP_MSG_ALL, &limit, ret)) {
	case -1:
		(void)ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code);
		return code != LDAP_SUCCESS ? code : LDAP_OTHER;
	case 0:
		(void)ldap_abandon_ext(ld, id, NULL, NULL);
		return LDAP_TIMEOUT;
	default:
		return LDAP_SUCCESS;
	}
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static bool
table_ldap_set(LDAP *ld, int option, const void *value, const char *what, struct err *err)
{
	int code = ldap_set_option(ld, option, value);

	if (code == LDAP_OPT_SUCCESS)
		return true;
	return err_set(
	    err, ERR_TEMP, "4.3.0", "unable to set %s: %d: %s", what, code, ldap_err2string(code));
}

static bool
table_ldap_set_tls(LDAP *ld, const struct table_ldap_server *s, struct err *err)
{
	const struct {
		int option;
		const char *value, *what;
	} texts[] = {
	    {LDAP_OPT_X_TLS_RANDOM_FILE, s->tls_random_file, "tls_random_file"},
	    {LDAP_OPT_X_TLS_CACERTFILE, s->tls_ca_cert_file, "tls_ca_cert_file"},
	    {LDAP_OPT_X_TLS_CACERTDIR, s->tls_ca_cert_dir, "tls_ca_cert_dir"},
	    {LDAP_OPT_X_TLS_CERTFILE, s->tls_cert, "tls_cert"},
	    {LDAP_OPT_X_TLS_KEYFILE, s->tls_key, "tls_key"},
	    {LDAP_OPT_X_TLS_CIPHER_SUITE, s->tls_cipher_suite, "tls_cipher_suite"},
	};
	int require = s->tls_require_cert ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER;
	int is_server = 0;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].value[0] != '\0' &&
		    !table_ldap_set(ld, texts[i].option, texts[i].value, texts[i].what, err))
			return false;
	/* The last one makes the context of what was set before. */
	return table_ldap_set(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &require, "tls_require_cert", err) &&
	       table_ldap_set(ld, LDAP_OPT_X_TLS_NEWCTX, &is_server, "a new TLS context", err);
}

static bool
table_ldap_set_all(LDAP *ld, const struct table_ldap_server *s, struct err *err)
{
	struct timeval limit = {.tv_sec = s->timeout};
	int version = (int)s->version;
	int dereference = (int)s->dereference;
	int debug = (int)s->debuglevel;

	if (debug != 0)
		(void)ldap_set_option(NULL, LDAP_OPT_DEBUG_LEVEL, &debug);
	return table_ldap_set(ld, LDAP_OPT_NETWORK_TIMEOUT, &limit, "network timeout", err) &&
	       table_ldap_set(ld, LDAP_OPT_TIMEOUT, &limit, "timeout", err) &&
	       table_ldap_set(ld, LDAP_OPT_PROTOCOL_VERSION, &version, "version", err) &&
	       table_ldap_set(ld, LDAP_OPT_DEREF, &dereference, "dereference", err) &&
	       table_ldap_set(ld, LDAP_OPT_REFERRALS,
		   s->chase_referrals ? LDAP_OPT_ON : LDAP_OPT_OFF, "chase_referrals", err) &&
	       (!s->tls || table_ldap_set_tls(ld, s, err));
}

/* ---- binding ----------------------------------------------------------------------------------------------------- */

static int
table_ldap_bind_simple(LDAP *ld, const struct table_ldap_server *s)
{
	struct berval secret = {
	    .bv_len = strlen(s->bind_pw), .bv_val = (char *)(uintptr_t)s->bind_pw};
	LDAPMessage *answer = NULL;
	int code, id, result;

	code = ldap_sasl_bind(ld, s->bind_dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, &id);
	if (code == LDAP_SUCCESS)
		code = table_ldap_wait(ld, id, s->timeout, &answer);
	if (code != LDAP_SUCCESS)
		return code;
	code = ldap_parse_result(ld, answer, &result, NULL, NULL, NULL, NULL, true);
	return code == LDAP_SUCCESS ? result : code;
}

#ifdef HAVE_SASL
/* Answers what the mechanism wants to know. */
static int
table_ldap_interact(LDAP *ld UNUSED, unsigned flags UNUSED, void *defaults, void *questions)
{
	const struct table_ldap_server *s = defaults;

	for (sasl_interact_t *q = questions; q->id != SASL_CB_LIST_END; q++) {
		const char *text = NULL;

		switch (q->id) {
		case SASL_CB_GETREALM:
			text = s->sasl_realm;
			break;
		case SASL_CB_AUTHNAME:
			text = s->bind_dn;
			break;
		case SASL_CB_USER:
			text = s->sasl_authz_id;
			break;
		case SASL_CB_PASS:
			text = s->bind_pw;
			break;
		default:
			break;
		}
		if (text == NULL || text[0] == '\0')
			text = q->defresult != NULL ? q->defresult : "";
		q->result = text;
		q->len = (unsigned)strlen(text);
	}
	return LDAP_SUCCESS;
}

static int
table_ldap_bind_sasl(LDAP *ld, const struct table_ldap_server *s)
{
	struct buf properties CLEANUP(buf_done) = {0};

	if (s->sasl_minssf > 0) {
		buf_printf(&properties, "minssf=%lld", (long long)s->sasl_minssf);
		if (ldap_set_option(ld, LDAP_OPT_X_SASL_SECPROPS, buf_str(&properties)) !=
		    LDAP_OPT_SUCCESS)
			return LDAP_PARAM_ERROR;
	}
	return ldap_sasl_interactive_bind_s(ld, NULL,
	    s->sasl_mechs[0] != '\0' ? s->sasl_mechs : NULL, NULL, NULL, LDAP_SASL_QUIET,
	    table_ldap_interact, (void *)(uintptr_t)s);
}
#else
static int
table_ldap_bind_sasl(LDAP *ld UNUSED, const struct table_ldap_server *s UNUSED)
{
	return LDAP_AUTH_METHOD_NOT_SUPPORTED;
}
#endif

static bool
table_ldap_bind(LDAP *ld, const struct table_ldap_server *s, struct err *err)
{
	int code = LDAP_SUCCESS;

	switch (s->bind) {
	case TABLE_LDAP_BIND_NONE:
		break;
	case TABLE_LDAP_BIND_SIMPLE:
		code = table_ldap_bind_simple(ld, s);
		break;
	case TABLE_LDAP_BIND_SASL:
		code = table_ldap_bind_sasl(ld, s);
		break;
	}
	if (code == LDAP_SUCCESS)
		return true;
	return err_set(err, ERR_TEMP, "4.3.0", "unable to bind to server %s with dn %s: %d (%s)",
	    s->uris, s->bind_dn[0] != '\0' ? s->bind_dn : "empty or implicit", code,
	    ldap_err2string(code));
}

bool
table_ldap_connect(struct table_ldap *l, struct err *err)
{
	const struct table_ldap_server *s = &l->server;
	int code;

	if (l->ld != NULL)
		return true;
	code = ldap_initialize(&l->ld, s->uris);
	if (code != LDAP_SUCCESS)
		return err_set(err, ERR_TEMP, "4.3.0", "unable to init LDAP server %s: %d: %s",
		    s->uris, code, ldap_err2string(code));
	if (!table_ldap_set_all(l->ld, s, err))
		return table_ldap_disconnect(l), false;
	code = s->start_tls ? ldap_start_tls_s(l->ld, NULL, NULL) : LDAP_SUCCESS;
	if (code != LDAP_SUCCESS)
		(void)err_set(err, ERR_TEMP, "4.3.0", "unable to set STARTTLS: %d: %s", code,
		    ldap_err2string(code));
	if (code != LDAP_SUCCESS || !table_ldap_bind(l->ld, s, err))
		return table_ldap_disconnect(l), false;
	return true;
}
