/*
 * conf_check_routes.c - `rowpost check` of where main.cf sends mail: everything here is accepted when the service starts, and shows
 * itself only as mail that waits.
 */
#include <ctype.h>
#include <string.h>

#include "base/span.h"
#include "conf/conf_check_int.h"
#include "conf/conf_value.h"

/* ---- transports ---- */

/* These the scheduler does itself, whether master.cf has a line for them or not. */
static bool
is_built_in(struct span name)
{
	return span_equal_str(name, "error") || span_equal_str(name, "retry") ||
	       span_equal_str(name, "discard");
}

static bool
is_service(const struct check *k, struct span name)
{
	for (size_t i = 0; i < k->master_cf.count; i++)
		if (k->master_cf.services[i].type == MASTER_CF_UNIX &&
		    span_equal_str(name, k->master_cf.services[i].fields[MASTER_CF_FIELD_NAME]))
			return true;
	return is_built_in(name);
}

static void
check_transports(struct check *k, const struct conf *c)
{
	/* Each is "transport" or "transport:nexthop". */
	static const enum conf_param transports[] = {CONF_local_transport, CONF_virtual_transport,
	    CONF_relay_transport, CONF_default_transport, CONF_mailbox_transport,
	    CONF_fallback_transport, CONF_content_filter};

	for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
		struct span value = span_trim(span_str(conf_str(c, transports[i])));
		struct span name = span_head(value, span_find(value, ':'));

		/* Defaults name services that a small master.cf need not have. */
		if (name.len != 0 && conf_is_set(c, transports[i]) && !is_service(k, name))
			ADD_PARAM(k, CONF_WARN, transports[i],
			    "%s names transport \"%.*s\", for which master.cf has no line: its mail would wait",
			    conf_param_info(transports[i])->name, SPAN_ARG(name));
	}
}

/* Its header checks and copies would be left out without a word. The default one is built in. */
void
conf_check_cleanup(struct check *k, const struct conf *c, const struct master_service *s)
{
	static const char *const takes_mail[] = {"smtpd", "qmqpd", "pickup"};
	const char *name = conf_str(c, CONF_cleanup_service_name);
	bool takes = false;

	for (size_t i = 0; i < ARRAY_LEN(takes_mail); i++)
		takes = takes || strcmp(master_cf_command(s), takes_mail[i]) == 0;
	if (takes && strcmp(name, conf_param_info(CONF_cleanup_service_name)->def) != 0 &&
	    !is_service(k, span_str(name)))
		conf_check_add(k, CONF_ERROR, k->master_file, s->line,
		    "service %s: cleanup_service_name is \"%s\", for which master.cf has no line",
		    s->fields[MASTER_CF_FIELD_NAME], name);
}

/* ---- next hops ---- */

static bool
is_port(struct span port)
{
	if (port.len == 0)
		return false;
	for (size_t i = 0; i < port.len; i++)
		if (!isalnum((unsigned char)port.ptr[i]) && port.ptr[i] != '-' &&
		    port.ptr[i] != '_')
			return false;
	return true;
}

/* A name or an IPv4 address; `literal`: an IPv6 one too. */
static bool
is_host(struct span host, bool literal)
{
	for (size_t i = 0; i < host.len; i++)
		if (!isalnum((unsigned char)host.ptr[i]) && strchr("-._", host.ptr[i]) == NULL &&
		    (signed char)host.ptr[i] >= 0 &&
		    !(literal && strchr(":%", host.ptr[i]) != NULL))
			return false;
	return host.len != 0;
}

/* "host", "host:port", "[host]" or "[host]:port". */
static bool
is_nexthop(struct span item)
{
	bool literal = item.ptr[0] == '[';
	struct span host = literal ? span_from(item, 1) : item;
	size_t end = span_find(host, literal ? ']' : ':');
	struct span port = span_from(host, end);

	if (literal && port.len != 0)
		port = span_from(port, 1);
	else if (literal)
		return false; /* no closing bracket */
	host = span_head(host, end);
	return is_host(host, literal) &&
	       (port.len == 0 || (port.ptr[0] == ':' && is_port(span_from(port, 1))));
}

static void
check_nexthops(struct check *k, const struct conf *c)
{
	static const enum conf_param lists[] = {CONF_relayhost, CONF_smtp_fallback_relay};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct span rest = span_str(conf_str(c, lists[i])), item;

		while (conf_value_item(&rest, &item)) {
			if (item.ptr[0] == '#')
				ADD_PARAM(k, CONF_WARN, lists[i],
				    "%s: what stands behind \"#\" is no comment, but part of the value",
				    conf_param_info(lists[i])->name);
			else if (!is_nexthop(item))
				ADD_PARAM(k, CONF_WARN, lists[i],
				    "%s: \"%.*s\" is no host, host:port, [host] or [host]:port",
				    conf_param_info(lists[i])->name, SPAN_ARG(item));
			else
				continue;
			break; /* one mistake makes many odd words */
		}
	}
}

/* ---- domains ---- */

static void
check_wildcards(struct check *k, const struct conf *c)
{
	static const enum conf_param lists[] = {CONF_mydestination, CONF_virtual_alias_domains,
	    CONF_virtual_mailbox_domains, CONF_relay_domains};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct span rest = span_str(conf_str(c, lists[i])), item;

		while (conf_value_item(&rest, &item))
			if (item.ptr[0] == '*' || item.ptr[0] == '@')
				ADD_PARAM(k, CONF_WARN, lists[i],
				    "%s: \"%.*s\" matches no domain: there are no wildcards, and no \"@\"",
				    conf_param_info(lists[i])->name, SPAN_ARG(item));
	}
}

/* virtual(8) delivers nothing as long as it does not know as whom. */
static void
check_virtual_owners(struct check *k, const struct conf *c)
{
	static const enum conf_param needed[] = {
	    CONF_virtual_mailbox_base, CONF_virtual_uid_maps, CONF_virtual_gid_maps};
	const char *domains = conf_str(c, CONF_virtual_mailbox_domains);

	if (domains[0] == '\0' || !conf_is_set(c, CONF_virtual_mailbox_domains) ||
	    strcmp(conf_str(c, CONF_virtual_transport), "virtual") != 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (conf_str(c, needed[i])[0] == '\0')
			ADD_PARAM(k, CONF_WARN, CONF_virtual_mailbox_domains,
			    "virtual_mailbox_domains without %s: virtual(8) cannot deliver their mail",
			    conf_param_info(needed[i])->name);
}

void
conf_check_routes(struct check *k, const struct conf *c)
{
	if (k->master_read)
		check_transports(k, c);
	check_nexthops(k, c);
	check_wildcards(k, c);
	check_virtual_owners(k, c);
}
