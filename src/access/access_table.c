/*
 * access_table.c - check_*_access: which parts of a name, address or network are asked of a table, and in which order
 * (postfix-features 3.7). What the table says is done in access_action.c.
 */
#include "access/access_int.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "table/table_address.h"

/* Does what the lookup came to. */
static enum access_result
access_table_result(struct access_context *ctx, const struct access_item *item, const char *key,
    enum table_result found, const char *value, bool *ret_found)
{
	*ret_found = found != TABLE_NOT_FOUND;
	if (found == TABLE_NOT_FOUND)
		return ACCESS_DUNNO;
	if (found == TABLE_ERROR)
		value = "451 4.3.5 Server configuration error";
	return access_action(ctx, item->restriction->thing, item->argument, key, value);
}

enum access_result
access_check_name(
    struct access_context *ctx, const struct access_item *item, const char *name, bool *ret_found)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct err err;
	enum table_result found = table_domain_lookup(
	    item->tables, span_str(name), ctx->access->parents_match, &value, &err);

	return access_table_result(ctx, item, name, found, buf_str(&value), ret_found);
}

enum access_result
access_check_network(struct access_context *ctx, const struct access_item *item,
    const char *address, bool *ret_found)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct span key = span_str(address);
	char separator = span_find(key, ':') < key.len ? ':' : '.';
	enum table_key kind = TABLE_KEY_FULL;
	enum table_result found = TABLE_NOT_FOUND;
	struct err err;

	while (found == TABLE_NOT_FOUND) {
		size_t last;

		found = table_list_lookup(item->tables, key, kind, &value, &err);
		last = span_find_last(key, separator);
		if (last == key.len)
			break;
		key = span_head(key, last);
		kind = TABLE_KEY_PARTIAL;
	}
	return access_table_result(ctx, item, address, found, buf_str(&value), ret_found);
}

enum access_result
access_forbid_ok(struct access_context *ctx, const struct access_item *item, const char *name,
    enum access_result result)
{
	if (result != ACCESS_OK)
		return result;
	log_warn("restriction %s returns OK for %s", item->restriction->name, name);
	log_warn("this is not allowed for security reasons");
	log_warn("use DUNNO instead of OK if you want to make an exception");
	return access_reject_broken(ctx);
}

enum access_result
access_check_client_table(struct access_context *ctx, const struct access_item *item)
{
	const char *name = access_thing_value(ctx, item->restriction->thing);
	enum access_result result;
	bool found;

	result = access_check_name(ctx, item, name, &found);
	if (result == ACCESS_DUNNO && !found)
		result = access_check_network(ctx, item, ctx->request->client_address, &found);
	if (item->restriction->thing == ACCESS_THING_REVERSE_CLIENT)
		return access_forbid_ok(ctx, item, name, result);
	return result;
}

/* HELO and ETRN. */
enum access_result
access_check_helo_table(struct access_context *ctx, const struct access_item *item)
{
	const char *name = access_thing_value(ctx, item->restriction->thing);
	bool found;

	return name != NULL ? access_check_name(ctx, item, name, &found) : ACCESS_DUNNO;
}

static enum access_result
access_check_null_sender(struct access_context *ctx, const struct access_item *item)
{
	struct buf value CLEANUP(buf_done) = {0};
	const char *key = conf_str(ctx->access->conf, CONF_smtpd_null_access_lookup_key);
	struct err err;
	enum table_result found =
	    table_list_lookup(item->tables, span_str(key), TABLE_KEY_FULL, &value, &err);
	bool ignored;

	return access_table_result(ctx, item, key, found, buf_str(&value), &ignored);
}

enum access_result
access_check_address_table(struct access_context *ctx, const struct access_item *item)
{
	const struct access *a = ctx->access;
	enum access_thing thing = item->restriction->thing;
	const char *address = access_thing_value(ctx, thing);
	const struct table_address_rules rules = {
	    .forms = TABLE_ADDRESS_FULL | TABLE_ADDRESS_NOEXT | TABLE_ADDRESS_DOMAIN |
		     (a->parents_match ? TABLE_ADDRESS_PARENTS : TABLE_ADDRESS_DOTPARENTS) |
		     TABLE_ADDRESS_LOCAL_AT,
	    .delimiters = conf_str(a->conf, CONF_recipient_delimiter),
	    .owner_request_split = !conf_bool(a->conf, CONF_owner_request_special),
	};
	struct buf value CLEANUP(buf_done) = {0};
	char *folded CLEANUP(mem_free_str) = NULL;
	enum access_result result;
	enum table_result table_found;
	struct err err;
	bool found;

	if (address == NULL)
		return ACCESS_DUNNO;
	if (address[0] == '\0')
		return access_check_null_sender(ctx, item);
	/* In lower case for every kind of table: "$1" of a pattern is that too. */
	folded = mem_strdup(address);
	mail_addr_fold(folded, strlen(folded));
	table_found =
	    table_address_lookup(item->tables, &rules, span_str(folded), &value, NULL, &err);
	result = access_table_result(ctx, item, address, table_found, buf_str(&value), &found);
	/* A recipient with routing inside is not what the table knows. */
	if (result == ACCESS_OK && thing == ACCESS_THING_RCPT &&
	    access_is_untrusted_route(ctx, span_str(address)))
		return ACCESS_DUNNO;
	return result;
}
