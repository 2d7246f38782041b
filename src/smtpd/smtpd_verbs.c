/*
 * smtpd_verbs.c - the verbs of SMTP as a table, and those too small for a file of their own.
 */
#include "smtpd/smtpd_int.h"

/* clang-format off */
static const struct smtpd_verb smtpd_verbs[] = {
	{ "HELO", SMTPD_HELO, SMTPD_JUNK | SMTPD_LAST_IN_GROUP, smtpd_helo },
	{ "EHLO", SMTPD_EHLO, SMTPD_JUNK | SMTPD_LAST_IN_GROUP, smtpd_ehlo },
	{ "STARTTLS", SMTPD_STARTTLS, 0,           smtpd_starttls },
	{ "AUTH", SMTPD_AUTH, 0,                   smtpd_auth },
	{ "MAIL", SMTPD_MAIL, 0,                   smtpd_mail },
	{ "RCPT", SMTPD_RCPT, 0,                   smtpd_rcpt },
	{ "DATA", SMTPD_DATA, SMTPD_LAST_IN_GROUP, smtpd_data },
	{ "BDAT", SMTPD_BDAT, 0,                   smtpd_bdat },
	{ "RSET", SMTPD_RSET, SMTPD_JUNK,          smtpd_rset },
	{ "NOOP", SMTPD_NOOP, SMTPD_JUNK | SMTPD_LAST_IN_GROUP, smtpd_noop },
	{ "VRFY", SMTPD_VRFY, SMTPD_JUNK | SMTPD_LAST_IN_GROUP, smtpd_vrfy },
	{ "ETRN", SMTPD_ETRN, SMTPD_JUNK,          smtpd_etrn },
	{ "QUIT", SMTPD_QUIT, 0,                   smtpd_quit },
	{ "XCLIENT", SMTPD_XCLIENT, 0,             smtpd_xclient },
	{ "XFORWARD", SMTPD_XFORWARD, 0,           smtpd_xforward },
	{ "HELP", SMTPD_HELP, 0,                   smtpd_help },
};
/* clang-format on */

const struct smtpd_verb *
smtpd_verb_find(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(smtpd_verbs); i++)
		if (span_equal_nocase_str(word, smtpd_verbs[i].name))
			return &smtpd_verbs[i];
	return NULL;
}

const char *
smtpd_command_name(enum smtpd_command c)
{
	static const char *const names[SMTPD_COMMAND_COUNT] = {
	    [SMTPD_HELO] = "HELO",
	    [SMTPD_EHLO] = "EHLO",
	    [SMTPD_STARTTLS] = "STARTTLS",
	    [SMTPD_AUTH] = "AUTH",
	    [SMTPD_MAIL] = "MAIL",
	    [SMTPD_RCPT] = "RCPT",
	    [SMTPD_DATA] = "DATA",
	    [SMTPD_BDAT] = "BDAT",
	    [SMTPD_RSET] = "RSET",
	    [SMTPD_NOOP] = "NOOP",
	    [SMTPD_VRFY] = "VRFY",
	    [SMTPD_ETRN] = "ETRN",
	    [SMTPD_QUIT] = "QUIT",
	    [SMTPD_XCLIENT] = "XCLIENT",
	    [SMTPD_XFORWARD] = "XFORWARD",
	    [SMTPD_HELP] = "HELP",
	    [SMTPD_UNKNOWN] = "UNKNOWN",
	};

	return names[c];
}

void
smtpd_rset(struct smtpd_session *s, struct span args)
{
	if (span_trim(args).len != 0)
		return smtpd_reply(s, 501, "5.5.4", "Syntax: RSET");
	smtpd_mail_reset(s);
	smtpd_notice_flush(s);
	smtpd_reply(s, 250, "2.0.0", "Ok");
}

void
smtpd_noop(struct smtpd_session *s, struct span args UNUSED)
{
	smtpd_reply(s, 250, "2.0.0", "Ok");
}

void
smtpd_quit(struct smtpd_session *s, struct span args UNUSED)
{
	smtpd_reply(s, 221, "2.0.0", "Bye");
	smtpd_enter(s, SMTPD_STATE_CLOSED);
}

/* RFC 5321 section 4.1.1.8: where help is to be had. Not for a compatibility_level from before Postfix had it. */
void
smtpd_help(struct smtpd_session *s, struct span args UNUSED)
{
	smtpd_reply(s, 214, "2.0.0", "See https://www.postfix.org/smtpd.8.html");
}

/* Neither is offered: these are the answers of a server without TLS and SASL. */
void
smtpd_starttls(struct smtpd_session *s, struct span args)
{
	if (span_trim(args).len != 0)
		return smtpd_reply(s, 501, "5.5.4", "Syntax: STARTTLS");
	smtpd_reply(s, 502, "5.5.1", "Error: command not implemented");
}

void
smtpd_auth(struct smtpd_session *s, struct span args UNUSED)
{
	smtpd_reply(s, 503, "5.5.1", "Error: authentication not enabled");
}
