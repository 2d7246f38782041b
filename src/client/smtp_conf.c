/*
 * smtp_conf.c - the settings of the SMTP and LMTP client. The two have the same parameters under two prefixes, so that each
 * setting is one row with both.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sysexits.h>

#include "base/log.h"
#include "client/smtp_int.h"

/* In the rows below. */
enum { FOR_SMTP, FOR_LMTP };

struct smtp_conf_row {
	enum conf_param param[2];
	size_t offset;
};

#define SMTP_CONF_ROW(smtp, lmtp, field)                                                           \
	{                                                                                          \
		{smtp, lmtp}, offsetof(struct smtp_state, field)                                   \
	}

/* clang-format off */
static const struct smtp_conf_row smtp_conf_times[] = {
	SMTP_CONF_ROW(CONF_smtp_connect_timeout, CONF_lmtp_connect_timeout, connect_timeout),
	SMTP_CONF_ROW(CONF_smtp_helo_timeout, CONF_lmtp_lhlo_timeout, helo_timeout),
	SMTP_CONF_ROW(CONF_smtp_xforward_timeout, CONF_lmtp_xforward_timeout, xforward_timeout),
	SMTP_CONF_ROW(CONF_smtp_mail_timeout, CONF_lmtp_mail_timeout, mail_timeout),
	SMTP_CONF_ROW(CONF_smtp_rcpt_timeout, CONF_lmtp_rcpt_timeout, rcpt_timeout),
	SMTP_CONF_ROW(CONF_smtp_data_init_timeout, CONF_lmtp_data_init_timeout, data_init_timeout),
	SMTP_CONF_ROW(CONF_smtp_data_xfer_timeout, CONF_lmtp_data_xfer_timeout, data_xfer_timeout),
	SMTP_CONF_ROW(CONF_smtp_data_done_timeout, CONF_lmtp_data_done_timeout, data_done_timeout),
	SMTP_CONF_ROW(CONF_smtp_rset_timeout, CONF_lmtp_rset_timeout, rset_timeout),
	SMTP_CONF_ROW(CONF_smtp_quit_timeout, CONF_lmtp_quit_timeout, quit_timeout),
	SMTP_CONF_ROW(CONF_smtp_connection_cache_time_limit, CONF_lmtp_connection_cache_time_limit, cache_time),
	SMTP_CONF_ROW(CONF_smtp_connection_reuse_time_limit, CONF_lmtp_connection_reuse_time_limit, reuse_time),
	SMTP_CONF_ROW(CONF_smtp_pix_workaround_threshold_time, CONF_lmtp_pix_workaround_threshold_time, pix_threshold),
	SMTP_CONF_ROW(CONF_smtp_pix_workaround_delay_time, CONF_lmtp_pix_workaround_delay_time, pix_delay),
};

static const struct smtp_conf_row smtp_conf_sizes[] = {
	SMTP_CONF_ROW(CONF_smtp_mx_address_limit, CONF_lmtp_mx_address_limit, order.address_limit),
	SMTP_CONF_ROW(CONF_smtp_mx_session_limit, CONF_lmtp_mx_session_limit, session_limit),
	SMTP_CONF_ROW(CONF_smtp_line_length_limit, CONF_lmtp_line_length_limit, line_limit),
	SMTP_CONF_ROW(CONF_smtp_min_data_rate, CONF_lmtp_min_data_rate, min_data_rate),
	SMTP_CONF_ROW(CONF_smtp_connection_reuse_count_limit, CONF_lmtp_connection_reuse_count_limit, reuse_count),
};

static const struct smtp_conf_row smtp_conf_bools[] = {
	SMTP_CONF_ROW(CONF_smtp_randomize_addresses, CONF_lmtp_randomize_addresses, order.shuffle),
	SMTP_CONF_ROW(CONF_smtp_balance_inet_protocols, CONF_lmtp_balance_inet_protocols, order.balance),
	SMTP_CONF_ROW(CONF_smtp_per_request_deadline, CONF_lmtp_per_request_deadline, request_deadline),
	SMTP_CONF_ROW(CONF_smtp_skip_5xx_greeting, CONF_lmtp_skip_5xx_greeting, skip_5xx_greeting),
	SMTP_CONF_ROW(CONF_smtp_skip_quit_response, CONF_lmtp_skip_quit_response, skip_quit_response),
	SMTP_CONF_ROW(CONF_smtp_quote_rfc821_envelope, CONF_lmtp_quote_rfc821_envelope, quote_envelope),
	SMTP_CONF_ROW(CONF_smtp_send_xforward_command, CONF_lmtp_send_xforward_command, send_xforward),
	SMTP_CONF_ROW(CONF_smtp_connection_cache_on_demand, CONF_lmtp_connection_cache_on_demand, cache_on_demand),
	SMTP_CONF_ROW(CONF_smtp_bind_address_enforce, CONF_lmtp_bind_address_enforce, bind_enforce),
	SMTP_CONF_ROW(CONF_smtp_defer_if_no_mx_address_found, CONF_lmtp_defer_if_no_mx_address_found, defer_no_mx_address),
	SMTP_CONF_ROW(CONF_smtp_never_send_ehlo, CONF_smtp_never_send_ehlo, never_ehlo),
	SMTP_CONF_ROW(CONF_smtp_always_send_ehlo, CONF_smtp_always_send_ehlo, always_ehlo),
	SMTP_CONF_ROW(CONF_disable_mime_output_conversion, CONF_disable_mime_output_conversion, keep_8bit),
	SMTP_CONF_ROW(CONF_ignore_mx_lookup_error, CONF_ignore_mx_lookup_error, ignore_mx_error),
	SMTP_CONF_ROW(CONF_soft_bounce, CONF_soft_bounce, soft_bounce),
};

static const struct smtp_conf_row smtp_conf_texts[] = {
	SMTP_CONF_ROW(CONF_smtp_helo_name, CONF_lmtp_lhlo_name, helo_name),
	SMTP_CONF_ROW(CONF_myhostname, CONF_myhostname, hostname),
	SMTP_CONF_ROW(CONF_smtp_fallback_relay, CONF_lmtp_fallback_relay, fallback_relay),
	SMTP_CONF_ROW(CONF_smtp_tcp_port, CONF_lmtp_tcp_port, tcp_port),
	SMTP_CONF_ROW(CONF_best_mx_transport, CONF_best_mx_transport, best_mx_transport),
	SMTP_CONF_ROW(CONF_smtp_connection_cache_destinations, CONF_lmtp_connection_cache_destinations, cache_destinations),
};
/* clang-format on */

static void *
smtp_conf_field(struct smtp_state *s, const struct smtp_conf_row *row)
{
	return (char *)s + row->offset;
}

static void
smtp_conf_rows(struct smtp_state *s)
{
	const struct conf *c = s->conf;
	int proto = s->lmtp ? FOR_LMTP : FOR_SMTP;

	for (size_t i = 0; i < ARRAY_LEN(smtp_conf_times); i++)
		*(int64_t *)smtp_conf_field(s, &smtp_conf_times[i]) =
		    conf_time(c, smtp_conf_times[i].param[proto]);
	for (size_t i = 0; i < ARRAY_LEN(smtp_conf_sizes); i++)
		*(size_t *)smtp_conf_field(s, &smtp_conf_sizes[i]) =
		    conf_size(c, smtp_conf_sizes[i].param[proto]);
	for (size_t i = 0; i < ARRAY_LEN(smtp_conf_bools); i++)
		*(bool *)smtp_conf_field(s, &smtp_conf_bools[i]) =
		    conf_bool(c, smtp_conf_bools[i].param[proto]);
	for (size_t i = 0; i < ARRAY_LEN(smtp_conf_texts); i++)
		*(const char **)smtp_conf_field(s, &smtp_conf_texts[i]) =
		    conf_str(c, smtp_conf_texts[i].param[proto]);
}

static void
smtp_conf_names(struct smtp_state *s)
{
	const struct conf *c = s->conf;
	enum conf_param level = s->lmtp ? CONF_lmtp_dns_support_level : CONF_smtp_dns_support_level;
	enum conf_param lookup = s->lmtp ? CONF_lmtp_host_lookup : CONF_smtp_host_lookup;
	enum conf_param options =
	    s->lmtp ? CONF_lmtp_dns_resolver_options : CONF_smtp_dns_resolver_options;

	/* disable_dns_lookups is the old name of "disabled", and counts where the new one is empty. */
	s->dns_enabled = conf_str(c, level)[0] != '\0' ? !conf_is(c, level, "disabled")
						       : !conf_bool(c, CONF_disable_dns_lookups);
	s->lookup_dns = s->dns_enabled && conf_has(c, lookup, "dns");
	s->lookup_native = !s->dns_enabled || conf_has(c, lookup, "native");
	s->dns_search = conf_str(c, options)[0] != '\0';
}

static void
smtp_conf_protocols(struct smtp_state *s)
{
	const struct conf *c = s->conf;
	enum conf_param preference =
	    s->lmtp ? CONF_lmtp_address_preference : CONF_smtp_address_preference;
	bool all = conf_has(c, CONF_inet_protocols, "all");

	s->ipv4 = all || conf_has(c, CONF_inet_protocols, "ipv4");
	s->ipv6 = all || conf_has(c, CONF_inet_protocols, "ipv6");
	s->order.first_family = conf_is(c, preference, "ipv4")   ? AF_INET
				: conf_is(c, preference, "ipv6") ? AF_INET6
								 : AF_UNSPEC;
}

static bool
smtp_conf_is_loopback(const struct net_addr *a)
{
	char text[NET_ADDR_TEXT];

	net_addr_text(a, text, sizeof(text));
	return span_starts(span_str(text), "127.") || span_equal_str(span_str(text), "::1");
}

/* Without smtp_bind_address: the one address of that protocol in inet_interfaces, unless it is the loopback's. */
static void
smtp_conf_bind_own(const struct smtp_state *s, int family, struct smtp_bind *ret)
{
	size_t found = 0;

	for (size_t i = 0; i < s->own.count; i++) {
		const struct sockaddr_storage *sa = &s->own.list[i].addr;

		if (sa->ss_family != family)
			continue;
		found++;
		ret->addr.sa = *sa;
		ret->addr.len =
		    family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	}
	ret->set = found == 1 && !smtp_conf_is_loopback(&ret->addr);
}

static void
smtp_conf_bind(const struct smtp_state *s, enum conf_param p, int family, struct smtp_bind *ret)
{
	const char *text = conf_str(s->conf, p);

	*ret = (struct smtp_bind){0};
	if (text[0] == '\0') {
		if (!conf_is(s->conf, CONF_inet_interfaces, "all"))
			smtp_conf_bind_own(s, family, ret);
		return;
	}
	ret->set = net_addr_parse(text, 0, &ret->addr) && net_addr_family(&ret->addr) == family;
	if (!ret->set)
		log_warn("bad %s address to connect from: %s", family == AF_INET ? "IPv4" : "IPv6",
		    text);
}

static void
smtp_conf_addresses(struct smtp_state *s)
{
	struct err err;

	conf_addresses_done(&s->own);
	conf_addresses_done(&s->proxy);
	if (!conf_host_own(s->conf, &s->own, &err) || !conf_host_proxy(s->conf, &s->proxy, &err))
		log_warn("own addresses: %s", err.text);
	smtp_conf_bind(
	    s, s->lmtp ? CONF_lmtp_bind_address : CONF_smtp_bind_address, AF_INET, &s->bind4);
	smtp_conf_bind(
	    s, s->lmtp ? CONF_lmtp_bind_address6 : CONF_smtp_bind_address6, AF_INET6, &s->bind6);
}

static void
smtp_conf_discard(struct smtp_state *s)
{
	enum conf_param p =
	    s->lmtp ? CONF_lmtp_discard_lhlo_keywords : CONF_smtp_discard_ehlo_keywords;
	struct err err;

	if (!smtp_ehlo_parse_discard(span_str(conf_str(s->conf, p)), &s->discard, &err))
		log_warn("%s: %s",
		    s->lmtp ? "lmtp_discard_lhlo_keywords" : "smtp_discard_ehlo_keywords",
		    err.text);
}

void
smtp_conf_load(struct smtp_state *s)
{
	smtp_filter_unref(&s->filter);
	s->filter = smtp_filter_new(s->conf, s->lmtp);
	smtp_checks_unref(&s->checks);
	s->checks = smtp_checks_new(s->conf, s->lmtp);
	smtp_generic_unref(&s->generic);
	s->generic = smtp_generic_new(s->conf, s->lmtp);
	smtp_tls_unref(&s->tls);
	s->tls = smtp_tls_new(s->conf, s->lmtp);
	smtp_sasl_unref(&s->sasl);
	s->sasl = smtp_sasl_new(s->conf, s->lmtp);
	smtp_conf_rows(s);
	smtp_conf_names(s);
	smtp_conf_protocols(s);
	smtp_conf_addresses(s);
	smtp_conf_discard(s);
	s->probe_to_data = conf_is(s->conf,
	    s->lmtp ? CONF_lmtp_address_verify_target : CONF_smtp_address_verify_target, "data");
	smtp_flags_load(s);
}
