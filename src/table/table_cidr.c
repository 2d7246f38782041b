/*
 * table_cidr.c - cidr: tables (cidr_table(5)): rules "network/length result" with "!" and if/endif; the first that matches
 * decides. Keys that are no addresses match nothing.
 */
#include <ctype.h>

#include <arpa/inet.h>

#include "base/mem.h"
#include "table/table_type.h"

struct table_net {
	int family; /* AF_INET or AF_INET6; 0: none */
	uint8_t bytes[16];
	unsigned bits; /* that count */
};

struct table_cidr_rule {
	enum table_rule_kind kind;
	bool negated;
	struct table_net net;
	int line;
	char *result; /* owned */
	size_t after; /* TABLE_RULE_IF: where to go on when it does not hold */
};

struct table_cidr {
	struct table_cidr_rule *rules; /* owned */
	size_t count;
};

static void
table_cidr_close(void *state)
{
	struct table_cidr *c = state;

	for (size_t i = 0; i < c->count; i++)
		mem_free(c->rules[i].result);
	mem_free(c->rules);
	mem_free(c);
}

static bool
table_net_address(struct span text, struct table_net *ret)
{
	char copy[64];

	if (text.len == 0 || text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	memset(ret, 0, sizeof(*ret));
	ret->family = span_find(text, ':') < text.len ? AF_INET6 : AF_INET;
	ret->bits = ret->family == AF_INET6 ? 128 : 32;
	return inet_pton(ret->family, copy, ret->bytes) == 1;
}

/* Clears what is beyond the prefix; true if there was something. */
static bool
table_net_mask(struct table_net *net)
{
	bool extra = false;

	for (unsigned bit = net->bits; bit < (net->family == AF_INET6 ? 128u : 32u); bit++) {
		uint8_t mask = (uint8_t)(0x80u >> (bit % 8));

		extra = extra || (net->bytes[bit / 8] & mask) != 0;
		net->bytes[bit / 8] &= (uint8_t)~mask;
	}
	return extra;
}

/* Both of the same family. */
static bool
table_net_has(const struct table_net *net, const struct table_net *address)
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	return memcmp(net->bytes, address->bytes, whole) == 0 &&
	       (rest == 0 || (net->bytes[whole] & mask) == (address->bytes[whole] & mask));
}

/* "192.0.2.0/24", "[2001:db8::1]", "[2001:db8::]/32" */
static bool
table_net_parse(struct span text, struct table_net *ret, struct err *err)
{
	size_t slash = span_find(text, '/');
	struct span address = span_head(text, slash);
	char clean[INET6_ADDRSTRLEN];
	uint64_t bits;

	if (address.len != 0 && address.ptr[0] == '[') {
		if (address.ptr[address.len - 1] != ']')
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "missing ']' character after \"%.*s\": skipping this rule",
			    SPAN_ARG(address));
		address = span_of(address.ptr + 1, address.len - 2);
	}
	if (slash < text.len && !span_number(span_from(text, slash + 1), 100000, &bits))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad mask value in \"%.*s\": skipping this rule", SPAN_ARG(text));
	if (slash < text.len && !table_net_address(address, ret))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad network value in \"%.*s\": skipping this rule", SPAN_ARG(text));
	if (slash == text.len && !table_net_address(address, ret))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad address pattern: \"%.*s\": skipping this rule", SPAN_ARG(text));
	if (slash == text.len)
		return true;
	if (!span_number(span_from(text, slash + 1), ret->bits, &bits))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad mask length in \"%.*s\": skipping this rule", SPAN_ARG(text));
	ret->bits = (unsigned)bits;
	if (!table_net_mask(ret))
		return true;
	return err_set(err, ERR_CONFIG, "4.3.5",
	    "non-null host address bits in \"%.*s\", perhaps you should use \"%s/%u\" instead: "
	    "skipping this rule",
	    SPAN_ARG(text), inet_ntop(ret->family, ret->bytes, clean, sizeof(clean)), ret->bits);
}

static void
table_cidr_skip(struct span *s, bool (*is)(char c))
{
	while (s->len > 0 && is(s->ptr[0]))
		*s = span_from(*s, 1);
}

static bool
table_cidr_is_space(char c)
{
	return isspace((unsigned char)c) != 0;
}

/* The pattern and, behind white space, the rest of the line. */
static bool
table_cidr_pattern(
    struct span rest, struct table_cidr_rule *rule, struct span *ret_result, struct err *err)
{
	struct span pattern;
	size_t n = 0;

	for (; rest.len > 0 && rest.ptr[0] == '!'; table_cidr_skip(&rest, table_cidr_is_space)) {
		rule->negated = !rule->negated;
		rest = span_from(rest, 1);
	}
	if (rest.len == 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "no address pattern: skipping this rule");
	/* White space within [ ] belongs to nothing: the pattern ends at the first one. */
	while (n < rest.len && !isspace((unsigned char)rest.ptr[n]))
		n++;
	pattern = span_head(rest, n);
	*ret_result = span_trim(span_from(rest, n));
	return table_net_parse(pattern, &rule->net, err);
}

static bool
table_cidr_word(struct span line, const char *word)
{
	size_t n = strlen(word);

	return span_starts_nocase(line, word) &&
	       (line.len == n || isspace((unsigned char)line.ptr[n]) || line.ptr[n] == '!');
}

static bool
table_cidr_rule(
    struct span line, size_t open_ifs, bool in_files, struct table_cidr_rule *rule, struct err *err)
{
	struct buf content CLEANUP(buf_done) = {0};
	struct span result;

	if (table_cidr_word(line, "endif")) {
		rule->kind = TABLE_RULE_ENDIF;
		if (open_ifs == 0)
			return err_set(
			    err, ERR_CONFIG, "4.3.5", "ENDIF without IF: skipping this rule");
		if (line.len > strlen("endif"))
			return err_set(
			    err, ERR_CONFIG, "4.3.5", "garbage after ENDIF: skipping this rule");
		return true;
	}
	if (table_cidr_word(line, "if")) {
		rule->kind = TABLE_RULE_IF;
		line = span_trim(span_from(line, 2));
		if (!table_cidr_pattern(line, rule, &result, err))
			return false;
		if (result.len == 0)
			return true;
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad mask value in \"%.*s\": skipping this rule", SPAN_ARG(line));
	}
	rule->kind = TABLE_RULE_RESULT;
	if (!table_cidr_pattern(line, rule, &result, err))
		return false;
	if (result.len == 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "no lookup result: skipping this rule");
	if (in_files && !table_add_files(&content, result, err))
		return false;
	rule->result = in_files ? buf_take(&content) : span_dup(result);
	return true;
}

/* Each if gets to know its endif; one without reaches to the end. */
static void
table_cidr_link(struct table_cidr *c, struct table_rules *source, const struct table *t)
{
	size_t *open = mem_resize(NULL, c->count + 1, sizeof(*open));
	size_t depth = 0;

	for (size_t i = 0; i < c->count; i++) {
		if (c->rules[i].kind == TABLE_RULE_IF)
			open[depth++] = i;
		else if (c->rules[i].kind == TABLE_RULE_ENDIF)
			c->rules[open[--depth]].after = i + 1;
	}
	while (depth > 0) {
		struct table_cidr_rule *rule = &c->rules[open[--depth]];

		rule->after = c->count;
		source->number = rule->line;
		table_rules_warn(source, t, "IF has no matching ENDIF");
	}
	mem_free(open);
}

static bool
table_cidr_open(struct table *t, struct err *err)
{
	struct table_rules source CLEANUP(table_rules_done) = {0};
	struct table_cidr *c;
	struct span line;
	size_t open_ifs = 0;
	bool in_files = (t->flags & TABLE_FILE_VALUES) != 0;

	if (!table_rules_open(&source, t, err))
		return false;
	c = mem_new(struct table_cidr);
	while (table_rules_next(&source, &line)) {
		struct table_cidr_rule rule = {.line = source.number};
		struct err problem = {0};

		if (!table_cidr_rule(span_trim(line), open_ifs, in_files, &rule, &problem)) {
			table_rules_warn(&source, t, "%s", problem.text);
			continue;
		}
		open_ifs += rule.kind == TABLE_RULE_IF;
		open_ifs -= rule.kind == TABLE_RULE_ENDIF;
		c->rules = mem_resize(c->rules, c->count + 1, sizeof(*c->rules));
		c->rules[c->count++] = rule;
	}
	table_cidr_link(c, &source, t);
	t->state = c;
	return true;
}

static enum table_result
table_cidr_lookup(struct table *t, struct span key, struct buf *value, struct err *err UNUSED)
{
	const struct table_cidr *c = t->state;
	struct table_net address;

	if (!table_net_address(key, &address))
		return TABLE_NOT_FOUND;
	for (size_t i = 0; i < c->count;) {
		const struct table_cidr_rule *rule = &c->rules[i++];
		bool holds;

		if (rule->kind == TABLE_RULE_ENDIF)
			continue;
		/* "!" speaks of the other addresses of the same family. */
		holds = rule->net.family == address.family &&
			table_net_has(&rule->net, &address) != rule->negated;
		if (rule->kind == TABLE_RULE_IF) {
			if (!holds)
				i = rule->after;
		} else if (holds) {
			buf_add_str(value, rule->result);
			return TABLE_FOUND;
		}
	}
	return TABLE_NOT_FOUND;
}

const struct table_type table_cidr_type = {
    .name = "cidr",
    .open = table_cidr_open,
    .lookup = table_cidr_lookup,
    .close = table_cidr_close,
    .suffix = "",
    .pattern = true,
};
