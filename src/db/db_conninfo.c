/*
 * db_conninfo.c - reading a connection string and resolving the names in it. libpq resolves names with getaddrinfo(),
 * which would stop every session of the process; so each name is looked up here and handed over as `hostaddr`. A name
 * with several addresses becomes several hosts, as it does inside libpq.
 */
#include <netinet/in.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/mem.h"
#include "db/db_int.h"
#include "dns/dns.h"

#define HOSTS_MAX 64 /* addresses tried in all; a longer list is cut */

/* libpq rejects this value only after it has merged the string with service file, environment and defaults. */
#define PROBE_VALUE "not-yet"

const char *
db_conninfo_get(const struct db_conninfo *info, const char *keyword)
{
	for (const PQconninfoOption *o = info->options; o->keyword != NULL; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val != NULL ? o->val : "";
	return "";
}

/* Merges `text` with all other sources of settings. Reads files, sends nothing. */
static bool
conninfo_merge(const char *text, struct db_conninfo *info, struct err *err)
{
	const char *keywords[] = {"dbname", "gssencmode", NULL};
	const char *values[] = {text, PROBE_VALUE, NULL};
	char *syntax = NULL;
	char reason[256];
	PQconninfoOption *parsed = PQconninfoParse(text, &syntax);
	PGconn *probe;

	if (parsed == NULL) {
		(void)err_set(err, ERR_CONFIG, "4.3.5", "bad connection string: %.*s",
		    (int)strcspn(syntax != NULL ? syntax : "", "\n"), syntax);
		PQfreemem(syntax);
		return false;
	}
	PQconninfoFree(parsed);
	probe = PQconnectStartParams(keywords, values, 1);
	MUST(probe != NULL);
	info->options = PQconninfo(probe);
	MUST(info->options != NULL);
	db_connect_error_text(probe, reason, sizeof(reason));
	PQfinish(probe);
	if (strcmp(db_conninfo_get(info, "gssencmode"), PROBE_VALUE) != 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "bad connection string: %s", reason);
	return true;
}

/* Element `index` of a comma-separated list as a fresh string; a single element stands for all when `shared`. */
static char *
list_element(const char *list, size_t index, bool shared)
{
	if (shared && strchr(list, ',') == NULL)
		index = 0;
	for (; index > 0; index--) {
		const char *comma = strchr(list, ',');

		if (comma == NULL)
			return mem_strdup("");
		list = comma + 1;
	}
	return mem_dup(list, strcspn(list, ","));
}

static size_t
list_count(const char *list)
{
	size_t n = 1;

	if (*list == '\0')
		return 0;
	for (; *list != '\0'; list++)
		n += *list == ',';
	return n;
}

static void
hosts_add(struct db_conninfo *info, const char *name, const char *addr, const char *port)
{
	struct db_host *h;

	if (info->count == HOSTS_MAX)
		return;
	info->hosts = mem_resize(info->hosts, info->count + 1, sizeof(*info->hosts));
	h = &info->hosts[info->count++];
	h->name = mem_strdup(name);
	h->addr = mem_strdup(addr);
	h->port = mem_strdup(port);
}

/* Adds all addresses of `name`. */
static bool
hosts_resolve(
    struct db_conninfo *info, const char *name, const char *port, int64_t deadline, struct err *err)
{
	struct dns_ip *ips = NULL;
	size_t count = 0;
	char text[INET6_ADDRSTRLEN];
	enum dns_status status;

	/* Some processes have no other use for a resolver. */
	if (!dns_is_ready() && !dns_init(&(struct dns_settings){0}, err))
		return false;
	status = dns_native(name, AF_UNSPEC, deadline, &ips, &count, err);
	if (status != DNS_FOUND)
		return err_set(
		    err, ERR_TEMP, "4.3.0", "database host %s: %s", name, dns_status_text(status));
	for (size_t i = 0; i < count; i++)
		if (inet_ntop(ips[i].family, ips[i].addr, text, sizeof(text)) != NULL)
			hosts_add(info, name, text, port);
	mem_free(ips);
	return true;
}

/* One element of the host list: an address, a path (or nothing, libpq's default path), or a name. */
static bool
hosts_add_one(struct db_conninfo *info, const char *name, const char *addr, const char *port,
    int64_t deadline, struct err *err)
{
	if (*addr != '\0' || *name == '\0' || *name == '/' || *name == '@') {
		hosts_add(info, name, addr, port);
		return true;
	}
	return hosts_resolve(info, name, port, deadline, err);
}

static bool
hosts_read(struct db_conninfo *info, int64_t deadline, struct err *err)
{
	const char *names = db_conninfo_get(info, "host");
	const char *addrs = db_conninfo_get(info, "hostaddr");
	const char *ports = db_conninfo_get(info, "port");
	size_t count = MAX(list_count(names), list_count(addrs));
	size_t port_count = list_count(ports);

	if (*names != '\0' && *addrs != '\0' && list_count(names) != list_count(addrs))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad connection string: host and hostaddr differ in number");
	count = MAX(count, 1);
	if (port_count > 1 && port_count != count)
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad connection string: %zu ports for %zu hosts", port_count, count);
	for (size_t i = 0; i < count; i++) {
		char *name CLEANUP(mem_free_str) = list_element(names, i, false);
		char *addr CLEANUP(mem_free_str) = list_element(addrs, i, false);
		char *port CLEANUP(mem_free_str) = list_element(ports, i, true);

		/* The last reason stands if no host is left. */
		(void)hosts_add_one(info, name, addr, port, deadline, err);
	}
	return info->count > 0;
}

bool
db_conninfo_read(const char *text, int64_t deadline, struct db_conninfo *ret, struct err *err)
{
	struct db_conninfo info = {0};

	if (!conninfo_merge(text, &info, err) || !hosts_read(&info, deadline, err)) {
		db_conninfo_done(&info);
		return false;
	}
	*ret = info;
	return true;
}

void
db_conninfo_done(struct db_conninfo *info)
{
	for (size_t i = 0; i < info->count; i++) {
		mem_free(info->hosts[i].name);
		mem_free(info->hosts[i].addr);
		mem_free(info->hosts[i].port);
	}
	mem_free(info->hosts);
	PQconninfoFree(info->options);
	*info = (struct db_conninfo){0};
}
