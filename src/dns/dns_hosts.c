/*
 * dns_hosts.c - the hosts file (hosts(5)), read once and again after each change.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/hmap.h"
#include "base/mem.h"
#include "dns/dns_int.h"

#define HOSTS_SIZE_MAX (16 * 1024 * 1024)
#define LINE_SIZE      4096

struct host_ip {
	struct dns_ip ip;
	struct host_ip *next;
};

static struct {
	const char *path; /* borrowed; NULL: /etc/hosts */
	bool loaded;
	struct stat seen; /* of the file when it was read */
	struct arena arena;
	struct hmap names; /* -> struct host_ip, in the order of the file */
	struct hmap
	    addresses; /* family and address -> the first name in its first line, in the arena */
} hosts;

static void
hosts_clear(void)
{
	hmap_done(&hosts.names);
	hmap_done(&hosts.addresses);
	arena_done(&hosts.arena);
	hosts.loaded = false;
}

void
dns_hosts_done(void)
{
	hosts_clear();
	hosts.path = NULL;
}

void
dns_hosts_set_path(const char *path)
{
	hosts_clear();
	hosts.path = path;
}

static bool
parse_ip(const char *text, struct dns_ip *ret)
{
	struct dns_ip ip = {.family = AF_INET};

	if (inet_pton(AF_INET, text, ip.addr) != 1) {
		ip.family = AF_INET6;
		if (inet_pton(AF_INET6, text, ip.addr) != 1)
			return false;
	}
	*ret = ip;
	return true;
}

static void
lower(char *text)
{
	for (; *text != '\0'; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text + ('a' - 'A'));
}

static void
hosts_add(const char *name, const struct dns_ip *ip)
{
	struct host_ip *h = arena_new(&hosts.arena, struct host_ip);
	struct host_ip *last = hmap_get(&hosts.names, span_str(name));

	h->ip = *ip;
	if (last == NULL) {
		(void)hmap_put(&hosts.names, span_str(name), h);
		return;
	}
	while (last->next != NULL)
		last = last->next;
	last->next = h;
}

/* The canonical name of an address is the first in its first line (hosts(5)). */
static void
hosts_add_address(const struct dns_ip *ip, const char *name)
{
	struct span key = span_of((const char *)ip, offsetof(struct dns_ip, ttl));

	if (hmap_get(&hosts.addresses, key) == NULL)
		(void)hmap_put(&hosts.addresses, key, arena_strdup(&hosts.arena, name));
}

/* "address name alias...  # comment" */
static void
hosts_add_line(char *line)
{
	struct span rest;
	struct span word;
	struct dns_ip ip;
	char text[DNS_NAME_MAX];

	line[strcspn(line, "#\n")] = '\0';
	rest = span_str(line);
	if (!span_word(&rest, " \t\r", &word) || word.len >= sizeof(text))
		return;
	(void)snprintf(text, sizeof(text), "%.*s", SPAN_ARG(word));
	if (!parse_ip(text, &ip))
		return;
	while (span_word(&rest, " \t\r", &word)) {
		if (word.len >= sizeof(text))
			continue;
		(void)snprintf(text, sizeof(text), "%.*s", SPAN_ARG(word));
		lower(text);
		hosts_add(text, &ip);
		hosts_add_address(&ip, text);
	}
}

static void
hosts_load(const char *path)
{
	char *line = mem_alloc(LINE_SIZE);
	FILE *f = fopen(path, "re");

	hosts_clear();
	hosts.loaded = true;
	while (f != NULL && fgets(line, LINE_SIZE, f) != NULL)
		hosts_add_line(line);
	if (f != NULL)
		(void)fclose(f);
	mem_free(line);
}

static void
hosts_refresh(void)
{
	const char *path = hosts.path != NULL ? hosts.path : "/etc/hosts";
	struct stat st = {0};

	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > HOSTS_SIZE_MAX) {
		hosts_clear();
		return;
	}
	if (hosts.loaded && st.st_ino == hosts.seen.st_ino && st.st_size == hosts.seen.st_size &&
	    memcmp(&st.st_mtim, &hosts.seen.st_mtim, sizeof(st.st_mtim)) == 0)
		return;
	hosts_load(path);
	hosts.seen = st;
}

enum dns_status
dns_hosts_find(const char *host, int family, struct dns_ip **ret, size_t *ret_count)
{
	char name[DNS_NAME_MAX];
	size_t len = strlen(host);
	struct dns_ip *ips = NULL;
	size_t count = 0;

	if (len >= sizeof(name))
		return DNS_NOT_FOUND;
	(void)snprintf(name, sizeof(name), "%s", host);
	if (len > 0 && name[len - 1] == '.')
		name[len - 1] = '\0';
	lower(name);
	hosts_refresh();
	for (const struct host_ip *h = hmap_get(&hosts.names, span_str(name));
	     h != NULL && count < DNS_RECORD_MAX; h = h->next) {
		if (family != AF_UNSPEC && family != h->ip.family)
			continue;
		ips = mem_resize(ips, count + 1, sizeof(*ips));
		ips[count++] = h->ip;
	}
	if (count == 0)
		return DNS_NOT_FOUND;
	*ret = ips;
	*ret_count = count;
	return DNS_FOUND;
}

const char *
dns_hosts_name(const struct dns_ip *ip)
{
	struct dns_ip key = {.family = ip->family};

	memcpy(key.addr, ip->addr, ip->family == AF_INET ? 4 : 16);
	hosts_refresh();
	return hmap_get(
	    &hosts.addresses, span_of((const char *)&key, offsetof(struct dns_ip, ttl)));
}
