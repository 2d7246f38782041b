/*
 * smtp_setup.c - what one configuration compiles to for the SMTP and LMTP client. The two have the same parameters under two
 * prefixes, so that each setting is one row with both.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/smtp_int.h"

/* In the rows below. */
enum { FOR_SMTP, FOR_LMTP };

struct smtp_setup_row {
	enum conf_param param[2];
	size_t offset;
};

#define SMTP_SETUP_ROW(smtp, lmtp, field)                                                          \
	{                                                                                          \
		{smtp, lmtp}, offsetof(struct smtp_setup, field)                                   \
	}

/* clang-format off */
static const struct smtp_setup_row smtp_setup_times[] = {
	SMTP_SETUP_ROW(CONF_smtp_connect_timeout, CONF_lmtp_connect_timeout, connect_timeout),
	SMTP_SETUP_ROW(CONF_smtp_helo_timeout, CONF_lmtp_lhlo_timeout, helo_timeout),
	SMTP_SETUP_ROW(CONF_smtp_xforward_timeout, CONF_lmtp_xforward_timeout, xforward_timeout),
	SMTP_SETUP_ROW(CONF_smtp_mail_timeout, CONF_lmtp_mail_timeout, mail_timeout),
	SMTP_SETUP_ROW(CONF_smtp_rcpt_timeout, CONF_lmtp_rcpt_timeout, rcpt_timeout),
	SMTP_SETUP_ROW(CONF_smtp_data_init_timeout, CONF_lmtp_data_init_timeout, data_init_timeout),
	SMTP_SETUP_ROW(CONF_smtp_data_xfer_timeout, CONF_lmtp_data_xfer_timeout, data_xfer_timeout),
	SMTP_SETUP_ROW(CONF_smtp_data_done_timeout, CONF_lmtp_data_done_timeout, data_done_timeout),
	SMTP_SETUP_ROW(CONF_smtp_rset_timeout, CONF_lmtp_rset_timeout, rset_timeout),
	SMTP_SETUP_ROW(CONF_smtp_quit_timeout, CONF_lmtp_quit_timeout, quit_timeout),
	SMTP_SETUP_ROW(CONF_smtp_connection_cache_time_limit, CONF_lmtp_connection_cache_time_limit, cache_time),
	SMTP_SETUP_ROW(CONF_smtp_connection_reuse_time_limit, CONF_lmtp_connection_reuse_time_limit, reuse_time),
	SMTP_SETUP_ROW(CONF_smtp_pix_workaround_threshold_time, CONF_lmtp_pix_workaround_threshold_time, pix_threshold),
	SMTP_SETUP_ROW(CONF_smtp_pix_workaround_delay_time, CONF_lmtp_pix_workaround_delay_time, pix_delay),
};

static const struct smtp_setup_row smtp_setup_sizes[] = {
	SMTP_SETUP_ROW(CONF_smtp_mx_address_limit, CONF_lmtp_mx_address_limit, order.address_limit),
	SMTP_SETUP_ROW(CONF_smtp_mx_session_limit, CONF_lmtp_mx_session_limit, session_limit),
	SMTP_SETUP_ROW(CONF_smtp_line_length_limit, CONF_lmtp_line_length_limit, line_limit),
	SMTP_SETUP_ROW(CONF_smtp_min_data_rate, CONF_lmtp_min_data_rate, min_data_rate),
	SMTP_SETUP_ROW(CONF_smtp_connection_reuse_count_limit, CONF_lmtp_connection_reuse_count_limit, reuse_count),
};

static const struct smtp_setup_row smtp_setup_bools[] = {
	SMTP_SETUP_ROW(CONF_smtp_randomize_addresses, CONF_lmtp_randomize_addresses, order.shuffle),
	SMTP_SETUP_ROW(CONF_smtp_balance_inet_protocols, CONF_lmtp_balance_inet_protocols, order.balance),
	SMTP_SETUP_ROW(CONF_smtp_per_request_deadline, CONF_lmtp_per_request_deadline, request_deadline),
	SMTP_SETUP_ROW(CONF_smtp_skip_5xx_greeting, CONF_lmtp_skip_5xx_greeting, skip_5xx_greeting),
	SMTP_SETUP_ROW(CONF_smtp_skip_quit_response, CONF_lmtp_skip_quit_response, skip_quit_response),
	SMTP_SETUP_ROW(CONF_smtp_quote_rfc821_envelope, CONF_lmtp_quote_rfc821_envelope, quote_envelope),
	SMTP_SETUP_ROW(CONF_smtp_send_xforward_command, CONF_lmtp_send_xforward_command, send_xforward),
	SMTP_SETUP_ROW(CONF_smtp_connection_cache_on_demand, CONF_lmtp_connection_cache_on_demand, cache_on_demand),
	SMTP_SETUP_ROW(CONF_smtp_bind_address_enforce, CONF_lmtp_bind_address_enforce, bind_enforce),
	SMTP_SETUP_ROW(CONF_smtp_defer_if_no_mx_address_found, CONF_lmtp_defer_if_no_mx_address_found, defer_no_mx_address),
	SMTP_SETUP_ROW(CONF_smtp_never_send_ehlo, CONF_smtp_never_send_ehlo, never_ehlo),
	SMTP_SETUP_ROW(CONF_smtp_always_send_ehlo, CONF_smtp_always_send_ehlo, always_ehlo),
	SMTP_SETUP_ROW(CONF_disable_mime_output_conversion, CONF_disable_mime_output_conversion, keep_8bit),
	SMTP_SETUP_ROW(CONF_ignore_mx_lookup_error, CONF_ignore_mx_lookup_error, ignore_mx_error),
	SMTP_SETUP_ROW(CONF_soft_bounce, CONF_soft_bounce, soft_bounce),
};

static const struct smtp_setup_row smtp_setup_texts[] = {
	SMTP_SETUP_ROW(CONF_smtp_helo_name, CONF_lmtp_lhlo_name, helo_name),
	SMTP_SETUP_ROW(CONF_myhostname, CONF_myhostname, hostname),
	SMTP_SETUP_ROW(CONF_smtp_fallback_relay, CONF_lmtp_fallback_relay, fallback_relay),
	SMTP_SETUP_ROW(CONF_smtp_tcp_port, CONF_lmtp_tcp_port, tcp_port),
	SMTP_SETUP_ROW(CONF_best_mx_transport, CONF_best_mx_transport, best_mx_transport),
	SMTP_SETUP_ROW(CONF_smtp_connection_cache_destinations, CONF_lmtp_connection_cache_destinations, cache_destinations),
};
/* clang-format on */

static void *
smtp_setup_field(struct smtp_setup *s, const struct smtp_setup_row *row)
{
	return (char *)s + row->offset;
}

static void
smtp_setup_rows(struct smtp_setup *s)
{
	const struct conf *c = s->conf;
	int proto = s->lmtp ? FOR_LMTP : FOR_SMTP;

	for (size_t i = 0; i < ARRAY_LEN(smtp_setup_times); i++)
		*(int64_t *)smtp_setup_field(s, &smtp_setup_times[i]) =
		    conf_time(c, smtp_setup_times[i].param[proto]);
	for (size_t i = 0; i < ARRAY_LEN(smtp_setup_sizes); i++)
		*(size_t *)smtp_setup_field(s, &smtp_setup_sizes[i]) =
		    conf_size(c, smtp_setup_sizes[i].param[proto]);
	for (size_t i = 0; i < ARRAY_LEN(smtp_setup_bools); i++)
		*(bool *)smtp_setup_field(s, &smtp_setup_bools[i]) =
		    conf_bool(c, smtp_setup_bools[i].param[proto]);
	for (size_t i = 0; i < ARRAY_LEN(smtp_setup_texts); i++)
		*(const char **)smtp_setup_field(s, &smtp_setup_texts[i]) =
		    conf_str(c, smtp_setup_texts[i].param[proto]);
}

static void
smtp_setup_names(struct smtp_setup *s)
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
smtp_setup_protocols(struct smtp_setup *s)
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
smtp_setup_is_loopback(const struct net_addr *a)
{
	char text[NET_ADDR_TEXT];

	net_addr_text(a, text, sizeof(text));
	return span_starts(span_str(text), "127.") || span_equal_str(span_str(text), "::1");
}

/* Without smtp_bind_address: the one address of that protocol in inet_interfaces, unless it is the loopback's. */
static void
smtp_setup_bind_own(const struct smtp_setup *s, int family, struct smtp_bind *ret)
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
	ret->set = found == 1 && !smtp_setup_is_loopback(&ret->addr);
}

static void
smtp_setup_bind(const struct smtp_setup *s, enum conf_param p, int family, struct smtp_bind *ret)
{
	const char *text = conf_str(s->conf, p);

	*ret = (struct smtp_bind){0};
	if (text[0] == '\0') {
		if (!conf_is(s->conf, CONF_inet_interfaces, "all"))
			smtp_setup_bind_own(s, family, ret);
		return;
	}
	ret->set = net_addr_parse(text, 0, &ret->addr) && net_addr_family(&ret->addr) == family;
	if (!ret->set)
		log_warn("bad %s address to connect from: %s", family == AF_INET ? "IPv4" : "IPv6",
		    text);
}

static void
smtp_setup_addresses(struct smtp_setup *s)
{
	struct err err;

	if (!conf_host_own(s->conf, &s->own, &err) || !conf_host_proxy(s->conf, &s->proxy, &err))
		log_warn("own addresses: %s", err.text);
	smtp_setup_bind(
	    s, s->lmtp ? CONF_lmtp_bind_address : CONF_smtp_bind_address, AF_INET, &s->bind4);
	smtp_setup_bind(
	    s, s->lmtp ? CONF_lmtp_bind_address6 : CONF_smtp_bind_address6, AF_INET6, &s->bind6);
}

static void
smtp_setup_discard(struct smtp_setup *s)
{
	enum conf_param p =
	    s->lmtp ? CONF_lmtp_discard_lhlo_keywords : CONF_smtp_discard_ehlo_keywords;
	struct err err;

	if (!smtp_ehlo_parse_discard(span_str(conf_str(s->conf, p)), &s->discard, &err))
		log_warn("%s: %s",
		    s->lmtp ? "lmtp_discard_lhlo_keywords" : "smtp_discard_ehlo_keywords",
		    err.text);
}

/* The other classes are of no client's trouble. */
static unsigned
smtp_setup_notify(const struct conf *c)
{
	return (conf_has(c, CONF_notify_classes, "data") ? MAIL_TROUBLE_DATA : 0u) |
	       (conf_has(c, CONF_notify_classes, "protocol") ? MAIL_TROUBLE_PROTOCOL : 0u);
}

struct smtp_setup *
smtp_setup_new(const struct service *service, bool lmtp)
{
	struct smtp_setup *s = mem_new(struct smtp_setup);
	struct conf *conf = conf_ref(service->conf);

	s->refs = 1;
	s->conf = conf;
	s->lmtp = lmtp;
	s->filter = smtp_filter_new(conf, lmtp);
	s->checks = smtp_checks_new(conf, lmtp);
	s->generic = smtp_generic_new(conf, lmtp);
	s->tls = smtp_tls_new(conf, lmtp);
	s->sasl = smtp_sasl_new(conf, lmtp);
	smtp_setup_rows(s);
	smtp_setup_names(s);
	smtp_setup_protocols(s);
	smtp_setup_addresses(s);
	smtp_setup_discard(s);
	s->probe_to_data = conf_is(
	    conf, lmtp ? CONF_lmtp_address_verify_target : CONF_smtp_address_verify_target, "data");
	s->notify = smtp_setup_notify(conf);
	smtp_flags_load(s, service);
	return s;
}

struct smtp_setup *
smtp_setup_ref(struct smtp_setup *s)
{
	s->refs++;
	return s;
}

void
smtp_setup_unref(struct smtp_setup **setup)
{
	struct smtp_setup *s = *setup;

	*setup = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	smtp_filter_free(&s->filter);
	smtp_checks_free(&s->checks);
	smtp_generic_free(&s->generic);
	smtp_tls_free(&s->tls);
	smtp_sasl_free(&s->sasl);
	conf_addresses_done(&s->own);
	conf_addresses_done(&s->proxy);
	conf_unref(&s->conf);
	mem_free(s);
}
