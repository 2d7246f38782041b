/*
 * conf_net_list.c - network lists: see conf_net_list.h.
 */
#include "conf/conf_net_list.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf_value.h"
#include "conf/main_cf.h"

#define FILE_DEPTH_MAX 20 /* a file may name a file; this stops two that name each other */

enum item_kind {
	ITEM_NET,
	ITEM_NAME,
	ITEM_TABLE,
};

struct item {
	enum item_kind kind;
	bool negative; /* '!' in front */
	sa_family_t family;
	unsigned prefix;
	unsigned char net[16];
	char *text; /* owned; TABLE: type:table, NAME: host name or domain */
};

struct conf_net_list {
	struct item *items; /* owned */
	size_t count;
};

/* Who is looked for. */
struct client {
	struct span name; /* empty: unknown */
	bool subdomains;  /* "example.com" in the list means what is below it too */
};

struct address {
	sa_family_t family;
	unsigned char bytes[16];
};

struct parser {
	struct conf_net_list *list;
	const char *what;
	struct err *err;
	int depth;
};

static const struct client nobody;

static bool parse_list(struct parser *p, struct span text, bool negative);

static bool
fail(struct parser *p, struct span item, const char *why)
{
	return err_set(p->err, ERR_CONFIG, "4.3.5", "parameter %s: %s: \"%.*s\"", p->what, why,
	    SPAN_ARG(item));
}

/* An IPv4 address in IPv6 form is an IPv4 address. */
static void
unmap(struct address *a)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (a->family != AF_INET6 || memcmp(a->bytes, mapped, sizeof(mapped)) != 0)
		return;
	a->family = AF_INET;
	memmove(a->bytes, a->bytes + 12, 4);
}

/* "1.2.3.4", "[::1]", "::1", "IPv6:::1" */
static bool
parse_address(struct span text, struct address *ret)
{
	char copy[INET6_ADDRSTRLEN + 1];

	if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
		text = span_of(text.ptr + 1, text.len - 2);
	if (span_starts_nocase(text, "IPv6:"))
		text = span_from(text, 5);
	if (text.len == 0 || text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	*ret = (struct address){.family = AF_INET};
	if (inet_pton(AF_INET, copy, ret->bytes) == 1)
		return true;
	ret->family = AF_INET6;
	return inet_pton(AF_INET6, copy, ret->bytes) == 1;
}

static bool
parse_client(struct span text, struct address *ret)
{
	if (!parse_address(text, ret))
		return false;
	unmap(ret);
	return true;
}

static void
add_item(struct conf_net_list *list, const struct item *item)
{
	list->items = mem_resize(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = *item;
}

static bool
parse_net(struct parser *p, struct span text, bool negative)
{
	size_t slash = span_find(text, '/');
	struct address a;
	uint64_t prefix;

	if (!parse_address(span_head(text, slash), &a))
		return fail(p, text, "bad network or address");
	/*
	 * "[::ffff:127.0.0.0]/104", which Debian's main.cf has, is a network of IPv6: it matches nobody, as in Postfix, for a client
	 * with such an address counts by its IPv4 address.
	 */
	if (slash == text.len)
		unmap(&a);
	unsigned bits = a.family == AF_INET ? 32 : 128;
	if (slash == text.len)
		prefix = bits;
	else if (!span_number(span_from(text, slash + 1), bits, &prefix))
		return fail(p, text, "bad net/mask pattern");
	struct item item = {
	    .kind = ITEM_NET, .negative = negative, .family = a.family, .prefix = (unsigned)prefix};
	memcpy(item.net, a.bytes, sizeof(item.net));
	/* "192.0.2.1/24" is more likely a typing error than a wish; Postfix refuses it too. */
	for (unsigned bit = item.prefix; bit < bits; bit++)
		if ((a.bytes[bit / 8] & (0x80u >> bit % 8)) != 0)
			return fail(p, text, "non-null host address bits in");
	add_item(p->list, &item);
	return true;
}

static bool
parse_file(struct parser *p, struct span name, bool negative)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct buf line CLEANUP(buf_done) = {0};
	char *file CLEANUP(mem_free_str) = span_dup(name);
	int number = 0, first;

	if (p->depth >= FILE_DEPTH_MAX)
		return fail(p, name, "files nested too deeply");
	if (!main_cf_read(file, &text, p->err))
		return err_prefix(p->err, "parameter %s", p->what);
	struct span rest = buf_span(&text);
	p->depth++;
	while (main_cf_line(&rest, &number, &line, &first))
		if (!parse_list(p, buf_span(&line), negative))
			return err_prefix(p->err, "%s, line %d", file, first);
	p->depth--;
	return true;
}

/* A host name or a domain, as in a list of clients: letters among dots, and no digits alone. */
static bool
is_name(struct span text)
{
	bool letter = false;

	for (size_t i = 0; i < text.len; i++) {
		letter = letter || isalpha((unsigned char)text.ptr[i]);
		if (!isalnum((unsigned char)text.ptr[i]) && strchr("-._", text.ptr[i]) == NULL)
			return false;
	}
	return letter;
}

static void
add_text(struct parser *p, enum item_kind kind, struct span text, bool negative)
{
	struct item item = {.kind = kind, .negative = negative, .text = span_dup(text)};

	add_item(p->list, &item);
}

static bool
parse_item(struct parser *p, struct span text, bool negative)
{
	while (text.len > 0 && text.ptr[0] == '!') {
		negative = !negative;
		text = span_from(text, 1);
	}
	if (text.len == 0)
		return fail(p, text, "no pattern after '!'");
	if (text.ptr[0] == '/')
		return parse_file(p, text, negative);
	/* "hash:/etc/x" is a table; "[::1]", "::1" and "2001:db8::/32" are not. */
	struct address ignored;
	size_t colon = span_find(text, ':');
	if (colon < text.len && text.ptr[0] != '[' &&
	    !parse_address(span_head(text, span_find(text, '/')), &ignored)) {
		add_text(p, ITEM_TABLE, text, negative);
		return true;
	}
	if (is_name(text)) {
		add_text(p, ITEM_NAME, text, negative);
		return true;
	}
	return parse_net(p, text, negative);
}

static bool
parse_list(struct parser *p, struct span text, bool negative)
{
	struct span item;

	while (conf_value_item(&text, &item))
		if (!parse_item(p, item, negative))
			return false;
	return true;
}

bool
conf_net_list_parse(struct span text, const char *what, struct conf_net_list **ret, struct err *err)
{
	struct conf_net_list *list = mem_new(struct conf_net_list);
	struct parser p = {.list = list, .what = what, .err = err};

	if (!parse_list(&p, text, false)) {
		conf_net_list_free(&list);
		return false;
	}
	*ret = list;
	return true;
}

void
conf_net_list_free(struct conf_net_list **list)
{
	if (list == NULL || *list == NULL)
		return;
	for (size_t i = 0; i < (*list)->count; i++)
		mem_free((*list)->items[i].text);
	mem_free((*list)->items);
	mem_free(*list);
	*list = NULL;
}

static bool
net_holds(const struct item *item, const struct address *a)
{
	unsigned whole = item->prefix / 8, rest = item->prefix % 8;

	if (item->family != a->family || memcmp(item->net, a->bytes, whole) != 0)
		return false;
	return rest == 0 || ((item->net[whole] ^ a->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

void
conf_net_list_tables(
    const struct conf_net_list *list, void (*found)(void *arg, const char *table), void *arg)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].kind == ITEM_TABLE)
			found(arg, list->items[i].text);
}

/* "host.example.com", ".example.com" (what is below), "example.com" (the same where lists say so). */
static bool
name_matches(const struct item *item, const struct client *client)
{
	size_t len = strlen(item->text);

	if (span_equal_nocase_str(client->name, item->text))
		return true;
	if (client->name.len <= len || !span_ends_nocase(client->name, item->text))
		return false;
	return item->text[0] == '.' ||
	       (client->subdomains && client->name.ptr[client->name.len - len - 1] == '.');
}

static bool
item_matches(const struct item *item, const struct client *client, const struct address *a,
    const struct conf_net_tables *tables, bool *ret_found, struct err *err)
{
	char text[INET6_ADDRSTRLEN] = "";
	struct conf_net_question question;

	*ret_found = false;
	switch (item->kind) {
	case ITEM_NET:
		*ret_found = net_holds(item, a);
		return true;
	case ITEM_NAME:
		*ret_found = name_matches(item, client);
		return true;
	case ITEM_TABLE:
		if (a->family != AF_UNSPEC)
			(void)inet_ntop(a->family, a->bytes, text, sizeof(text));
		question = (struct conf_net_question){item->text, client->name, text};
		return tables == NULL || tables->lookup(tables->arg, &question, ret_found, err);
	}
	UNREACHED();
}

static bool
match(const struct conf_net_list *list, const struct client *client, const struct address *a,
    const struct conf_net_tables *tables, bool *ret_found, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		bool found;

		if (!item_matches(&list->items[i], client, a, tables, &found, err))
			return false;
		if (found) {
			*ret_found = !list->items[i].negative;
			return true;
		}
	}
	*ret_found = false;
	return true;
}

bool
conf_net_list_match(const struct conf_net_list *list, const struct sockaddr *address,
    const struct conf_net_tables *tables, bool *ret_found, struct err *err)
{
	struct address a = {.family = address->sa_family};

	if (address->sa_family == AF_INET) {
		memcpy(a.bytes, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
		return match(list, &nobody, &a, tables, ret_found, err);
	}
	*ret_found = false;
	if (address->sa_family != AF_INET6)
		return true;
	const struct in6_addr *v6 =
	    &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	a.family = IN6_IS_ADDR_V4MAPPED(v6) ? AF_INET : AF_INET6;
	if (a.family == AF_INET)
		memcpy(a.bytes, v6->s6_addr + 12, 4);
	else
		memcpy(a.bytes, v6->s6_addr, 16);
	return match(list, &nobody, &a, tables, ret_found, err);
}

bool
conf_net_list_match_text(const struct conf_net_list *list, struct span address,
    const struct conf_net_tables *tables, bool *ret_found, struct err *err)
{
	struct address a;

	*ret_found = false;
	return !parse_client(address, &a) || match(list, &nobody, &a, tables, ret_found, err);
}

bool
conf_net_list_match_client(const struct conf_net_list *list, struct span name, bool subdomains,
    struct span address, const struct conf_net_tables *tables, bool *ret_found, struct err *err)
{
	struct client client = {.name = name, .subdomains = subdomains};
	struct address a;

	if (!parse_client(address, &a))
		a = (struct address){.family = AF_UNSPEC};
	return match(list, &client, &a, tables, ret_found, err);
}
