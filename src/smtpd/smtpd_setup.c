/*
 * smtpd_setup.c - see smtpd_setup.h.
 */
#include "smtpd/smtpd_setup.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_level.h"
#include "smtp/smtp_ehlo.h"
#include "smtpd/smtpd_int.h"
#include "table/table.h"

/* HELP came to Postfix after 3.7: who asks for the behaviour of that release has no such command. */
static bool
smtpd_setup_has_help(struct conf *conf)
{
	int64_t level, last_without;

	return conf_level_parse(span_str(conf_str(conf, CONF_compatibility_level)), &level) &&
	       conf_level_parse(SPAN_LIT("3.7"), &last_without) && level > last_without;
}

/* What EHLO announces to everybody, and the keywords that the configuration discards. */
static bool
smtpd_setup_features(struct smtpd_setup *setup, struct err *err)
{
	struct conf *conf = setup->conf;

	setup->features = SMTP_EHLO_PIPELINING | SMTP_EHLO_SIZE | SMTP_EHLO_ETRN |
			  SMTP_EHLO_ENHANCED | SMTP_EHLO_8BITMIME | SMTP_EHLO_DSN |
			  SMTP_EHLO_CHUNKING;
	if (conf_bool(conf, CONF_smtputf8_enable))
		setup->features |= SMTP_EHLO_SMTPUTF8;
	if (!conf_bool(conf, CONF_disable_vrfy_command))
		setup->features |= SMTP_EHLO_VRFY;
	if (!smtp_ehlo_parse_discard(
		span_str(conf_str(conf, CONF_smtpd_discard_ehlo_keywords)), &setup->discard, err))
		log_warn("smtpd_discard_ehlo_keywords: %s", err->text);
	setup->discard_maps = table_list_of(conf, CONF_smtpd_discard_ehlo_keyword_address_maps, 0);
	setup->options = (struct smtp_command_options){
	    .strict_envelopes = conf_bool(conf, CONF_strict_rfc821_envelopes),
	    .strict_smtputf8 = conf_bool(conf, CONF_strict_smtputf8),
	    .verp_delimiters = conf_str(conf, CONF_default_verp_delimiters),
	    .verp_filter = conf_str(conf, CONF_verp_delimiter_filter),
	};
	return true;
}

/* What a bare LF means in DATA, and for whom. */
static bool
smtpd_setup_bare_newline(struct smtpd_setup *setup, struct err *err)
{
	struct conf *conf = setup->conf;

	if (conf_is(conf, CONF_smtpd_forbid_bare_newline, "note"))
		setup->bare_newline = SMTP_DATA_NOTE;
	else if (conf_is(conf, CONF_smtpd_forbid_bare_newline, "reject"))
		setup->bare_newline = SMTP_DATA_REJECT;
	else if (conf_is(conf, CONF_smtpd_forbid_bare_newline, "no"))
		setup->bare_newline = SMTP_DATA_NO;
	else
		setup->bare_newline = SMTP_DATA_NORMALIZE;
	return table_nets_of(
	    conf, CONF_smtpd_forbid_bare_newline_exclusions, &setup->bare_newline_ok, err);
}

/* Who may use the commands that only trusted clients have. */
static bool
smtpd_setup_clients(struct smtpd_setup *setup, struct err *err)
{
	struct conf *conf = setup->conf;

	setup->haproxy = conf_is(conf, CONF_smtpd_upstream_proxy_protocol, "haproxy");
	return table_nets_of(conf, CONF_smtpd_authorized_verp_clients, &setup->verp_clients, err) &&
	       table_nets_of(
		   conf, CONF_smtpd_authorized_xclient_hosts, &setup->xclient_clients, err) &&
	       table_nets_of(
		   conf, CONF_smtpd_authorized_xforward_hosts, &setup->xforward_clients, err);
}

/* A right that cannot be told is not given. */
static bool
smtpd_setup_has_client(const struct smtpd_session *s, struct table_nets *list)
{
	struct err err;

	return table_nets_match_client(list, span_str(s->client_name), span_str(s->client_address),
		   &err) == TABLE_FOUND;
}

/* Keywords that this client is not told of. */
static unsigned
smtpd_setup_discard(const struct smtpd_session *s)
{
	const struct smtpd_setup *setup = s->setup;
	struct buf words CLEANUP(buf_done) = {0};
	unsigned discard = setup->discard;
	struct err err;

	if (table_list_is_empty(setup->discard_maps))
		return discard;
	if (table_list_lookup(setup->discard_maps, span_str(s->client_address), TABLE_KEY_FULL,
		&words, &err) != TABLE_FOUND)
		return discard;
	if (!smtp_ehlo_parse_discard(buf_span(&words), &discard, &err))
		log_warn("smtpd_discard_ehlo_keyword_address_maps: %s", err.text);
	return discard;
}

void
smtpd_setup_authorize(struct smtpd_session *s, bool first)
{
	const struct smtpd_setup *setup = s->setup;

	s->authorized &= ~SMTP_EHLO_XCLIENT;
	if (smtpd_setup_has_client(s, setup->xclient_clients))
		s->authorized |= SMTP_EHLO_XCLIENT;
	if (first && smtpd_setup_has_client(s, setup->xforward_clients))
		s->authorized |= SMTP_EHLO_XFORWARD;
	if (first && smtpd_setup_has_client(s, setup->verp_clients))
		s->authorized |= SMTP_EHLO_XVERP;
	s->offers = (setup->features | s->authorized) & ~smtpd_setup_discard(s);
	s->options = setup->options;
	s->options.no_smtputf8 = (s->offers & SMTP_EHLO_SMTPUTF8) == 0;
	s->options.no_dsn = (s->offers & SMTP_EHLO_DSN) == 0;
	s->options.verp = (s->authorized & SMTP_EHLO_XVERP) != 0;
}

bool
smtpd_setup_is_ipv4_only(const struct smtpd_setup *setup)
{
	return !conf_has(setup->conf, CONF_inet_protocols, "all") &&
	       !conf_has(setup->conf, CONF_inet_protocols, "ipv6");
}

bool
smtpd_setup_forbids_bare_lf(const struct smtpd_setup *setup, const struct net_addr *peer)
{
	struct err err;

	return table_nets_match(setup->bare_newline_ok,
		   (const struct sockaddr *)(const void *)&peer->sa, &err) != TABLE_FOUND;
}

bool
smtpd_setup_new(struct conf *conf, struct smtpd_setup **ret, struct err *err)
{
	struct smtpd_setup *setup = mem_new(struct smtpd_setup);

	setup->refs = 1;
	setup->conf = conf_ref(conf);
	setup->hostname = conf_str(conf, CONF_myhostname);
	setup->message_size_limit = conf_size(conf, CONF_message_size_limit);
	setup->has_help = smtpd_setup_has_help(conf);
	setup->line_limit = conf_size(conf, CONF_line_length_limit);
	setup->cleanup = cleanup_settings_from(conf);
	setup->command_filter = table_list_of(conf, CONF_smtpd_command_filter, 0);
	setup->notify = smtpd_notice_wanted(conf);
	setup->wants_utf8 = conf_bool(conf, CONF_smtputf8_enable);
	setup->soft_bounce = conf_bool(conf, CONF_soft_bounce);
	setup->footer_maps = table_list_of(conf, CONF_smtpd_reject_footer_maps, 0);
	setup->filter_maps = table_list_of(conf, CONF_smtpd_reject_filter_maps, 0);
	buf_printf(&setup->banner, "220 %s", conf_str(conf, CONF_smtpd_banner));
	if (!domain_list_of(conf, CONF_smtpd_noop_commands, &setup->noop_commands, err) ||
	    !domain_list_of(conf, CONF_smtpd_forbidden_commands, &setup->forbidden_commands, err) ||
	    !smtpd_setup_features(setup, err) || !smtpd_setup_bare_newline(setup, err) ||
	    !smtpd_setup_clients(setup, err) ||
	    !domain_list_of(conf, CONF_fast_flush_domains, &setup->flush_domains, err) ||
	    !rewrite_new(conf, &setup->rewrite, err) ||
	    !access_new(conf, setup->rewrite, &setup->access, err) ||
	    !access_client_rate_new(conf, &setup->client_rate, err)) {
		smtpd_setup_unref(&setup);
		return false;
	}
	*ret = setup;
	return true;
}

struct smtpd_setup *
smtpd_setup_ref(struct smtpd_setup *setup)
{
	setup->refs++;
	return setup;
}

void
smtpd_setup_unref(struct smtpd_setup **setup)
{
	struct smtpd_setup *old = *setup;

	*setup = NULL;
	if (old == NULL || --old->refs > 0)
		return;
	access_free(&old->access);
	access_client_rate_free(&old->client_rate);
	rewrite_free(&old->rewrite);
	cleanup_settings_done(&old->cleanup);
	table_nets_free(&old->bare_newline_ok);
	table_nets_free(&old->verp_clients);
	table_nets_free(&old->xclient_clients);
	table_nets_free(&old->xforward_clients);
	table_list_close(&old->discard_maps);
	table_list_close(&old->command_filter);
	domain_list_free(&old->noop_commands);
	domain_list_free(&old->forbidden_commands);
	table_list_close(&old->footer_maps);
	table_list_close(&old->filter_maps);
	domain_list_free(&old->flush_domains);
	buf_done(&old->banner);
	conf_unref(&old->conf);
	mem_free(old);
}
