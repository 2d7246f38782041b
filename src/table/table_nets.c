/*
 * table_nets.c - see table_nets.h.
 */
#include "table/table_nets.h"

#include "base/mem.h"
#include "conf/conf_net_list.h"
#include "conf/conf_param.h"
#include "table/table_address.h"
#include "table/table_type.h"

struct table_nets {
	struct conf *conf; /* counted */
	struct conf_net_list *list;
	struct table_list *tables; /* keeps them open */
	bool subdomains;           /* parent_domain_matches_subdomains names it */
};

/* The list asks for a table by its name: it is one that is open. */
static bool
table_nets_lookup(void *arg, const struct conf_net_question *q, bool *ret_found, struct err *err)
{
	struct table_nets *n = arg;
	struct buf value CLEANUP(buf_done) = {0};
	struct table *t = table_open(n->conf, span_str(q->table), 0);
	enum table_result r = TABLE_NOT_FOUND;

	if (q->name.len != 0 && !span_equal_str(q->name, "unknown"))
		r = table_knows_domain(t, q->name, n->subdomains, err);
	if (r == TABLE_NOT_FOUND && q->address[0] != '\0')
		r = table_lookup_any(t, span_str(q->address), TABLE_KEY_FULL, &value, err);
	table_close(&t);
	*ret_found = r == TABLE_FOUND;
	return r != TABLE_ERROR;
}

static void
table_nets_keep(void *arg, const char *spec)
{
	struct buf *specs = arg;

	buf_printf(specs, "%s ", spec);
}

bool
table_nets_of(struct conf *conf, enum conf_param p, struct table_nets **ret, struct err *err)
{
	const char *name = conf_param_info(p)->name;
	struct buf specs CLEANUP(buf_done) = {0};
	struct conf_net_list *list;
	struct table_nets *n;

	if (!conf_net_list_parse(span_str(conf_str(conf, p)), name, &list, err))
		return false;
	n = mem_new(struct table_nets);
	n->conf = conf_ref(conf);
	n->list = list;
	n->subdomains = conf_has(conf, CONF_parent_domain_matches_subdomains, name);
	conf_net_list_tables(list, table_nets_keep, &specs);
	n->tables = table_list_open(conf, buf_str(&specs), name, 0);
	*ret = n;
	return true;
}

void
table_nets_free(struct table_nets **n)
{
	if (*n == NULL)
		return;
	conf_net_list_free(&(*n)->list);
	table_list_close(&(*n)->tables);
	conf_unref(&(*n)->conf);
	mem_free(*n);
	*n = NULL;
}

enum table_result
table_nets_match(struct table_nets *n, const struct sockaddr *address, struct err *err)
{
	struct conf_net_tables tables = {.lookup = table_nets_lookup, .arg = n};
	bool found = false;

	if (!conf_net_list_match(n->list, address, &tables, &found, err))
		return TABLE_ERROR;
	return found ? TABLE_FOUND : TABLE_NOT_FOUND;
}

enum table_result
table_nets_match_client(
    struct table_nets *n, struct span name, struct span address, struct err *err)
{
	struct conf_net_tables tables = {.lookup = table_nets_lookup, .arg = n};
	bool found = false;

	if (!conf_net_list_match_client(
		n->list, name, n->subdomains, address, &tables, &found, err))
		return TABLE_ERROR;
	return found ? TABLE_FOUND : TABLE_NOT_FOUND;
}
