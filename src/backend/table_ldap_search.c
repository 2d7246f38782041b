/*
 * table_ldap_search.c - one lookup: the search, and what is made of its entries. Values of special attributes name further
 * entries (a DN) or searches (a URL); these wait in a list and are done one after the other, so that a directory that goes round
 * in circles meets recursion_limit and not the end of the stack.
 */
#include <string.h>
#include <sys/time.h>

#include "backend/table_ldap.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table_type.h"

/* More further searches than this in one lookup are no list that mail is sent to. */
#define LDAP_SEARCHES_MAX 100000

/* An entry or a search that a value names. */
struct search_reference {
	struct list node;
	char *text;    /* owned: a DN or a URL */
	int64_t depth; /* 1: found in the first search */
};

/* A lookup under way. */
struct search {
	struct table_ldap *ldap;
	struct span key;
	struct table_query_result result;
	struct list references; /* what is still to be done, the next one in front */
	struct list found;      /* what the present entries name, in their order */
	size_t searches;
	int64_t depth; /* of the present entries */
	struct err *err;
};

/* ---- quoting ----------------------------------------------------------------------------------------------------- */

void
table_ldap_quote_filter(void *arg UNUSED, struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '*' || c == '(' || c == ')' || c == '\\' || c == '\0')
			buf_printf(out, "\\%02X", (unsigned char)c);
		else
			buf_add_char(out, c);
	}
}

void
table_ldap_quote_dn(void *arg UNUSED, struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		/* strchr() finds the NUL too. */
		if (strchr("\t #,\\\"+<>;=", c) != NULL)
			buf_printf(out, "\\%02X", (unsigned char)c);
		else
			buf_add_char(out, c);
	}
}

/* ---- searching --------------------------------------------------------------------------------------------------- */

/* What is to be searched. */
struct search_question {
	const char *base, *filter;
	int scope;
	char **attributes;
};

static int
search_ask_server(const struct table_ldap *l, const struct search_question *q, LDAPMessage **ret)
{
	struct timeval limit = {.tv_sec = l->server.timeout};
	int result = LDAP_SUCCESS;
	int code, id;

	*ret = NULL;
	code = ldap_search_ext(l->ld, q->base, q->scope, q->filter, q->attributes, false, NULL,
	    NULL, &limit, l->size_limit != 0 ? (int)l->size_limit : LDAP_NO_LIMIT, &id);
	if (code == LDAP_SUCCESS)
		code = table_ldap_wait(l->ld, id, l->server.timeout, ret);
	if (code != LDAP_SUCCESS)
		return code;
	code = ldap_parse_result(l->ld, *ret, &result, NULL, NULL, NULL, NULL, false);
	return result != LDAP_SUCCESS ? result : code;
}

static bool
search_failed(struct search *u, int code)
{
	return err_set(
	    u->err, ERR_TEMP, "4.3.0", "search error %d: %s", code, ldap_err2string(code));
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

/* "mail;lang-en" is a kind of "mail" (RFC 4512 section 2.5.2). */
static bool
search_is_kind_of(const char *attribute, const char *wanted)
{
	size_t len = strlen(wanted);

	return strncasecmp(attribute, wanted, len) == 0 &&
	       (attribute[len] == '\0' || attribute[len] == ';');
}

/* Where `attribute` stands in the list; (size_t)-1: nowhere. */
static size_t
search_attribute_index(const struct table_ldap *l, const char *attribute)
{
	for (size_t i = 0; l->attributes[i] != NULL; i++)
		if (search_is_kind_of(attribute, l->attributes[i]))
			return i;
	return (size_t)-1;
}

/* Has the entry a value of one of the attributes from `from` up to `to`? */
static bool
search_entry_has(const struct table_ldap *l, LDAPMessage *entry, size_t from, size_t to)
{
	for (size_t i = from; i < to && l->attributes[i] != NULL; i++) {
		struct berval **values = ldap_get_values_len(l->ld, entry, l->attributes[i]);
		bool some = ldap_count_values_len(values) > 0;

		ldap_value_free_len(values);
		if (some)
			return true;
	}
	return false;
}

static void
search_refer(struct search *u, struct berval *value)
{
	struct search_reference *r = mem_new(struct search_reference);

	r->text = mem_dup(value->bv_val, value->bv_len);
	r->depth = u->depth + 1;
	list_add(&u->found, &r->node);
}

static bool
search_add_values(struct search *u, struct berval **values, bool special)
{
	for (size_t i = 0; values[i] != NULL; i++) {
		struct span value = span_of(values[i]->bv_val, values[i]->bv_len);

		if (special)
			search_refer(u, values[i]);
		else if (!table_query_add(u->ldap->query, u->key, value, &u->result, u->err))
			return false;
	}
	return true;
}

static bool
search_add_attribute(struct search *u, LDAPMessage *entry, const char *name, size_t index)
{
	struct table_ldap *l = u->ldap;
	bool special = index >= l->special_from;
	struct berval **values;
	bool good;

	if (special && u->depth >= l->recursion_limit)
		return err_set(u->err, ERR_TEMP, "4.3.0",
		    "recursion limit exceeded for special attribute %s", name);
	values = ldap_get_values_len(l->ld, entry, name);
	good = values == NULL || search_add_values(u, values, special);
	ldap_value_free_len(values);
	return good;
}

static bool
search_add_entry(struct search *u, LDAPMessage *entry)
{
	struct table_ldap *l = u->ldap;
	bool terminal = search_entry_has(l, entry, 0, l->leaf_from);
	bool group = search_entry_has(l, entry, l->special_from, (size_t)-1);
	BerElement *at = NULL;
	bool good = true;
	char *name;

	for (name = ldap_first_attribute(l->ld, entry, &at); name != NULL && good;
	     name = ldap_next_attribute(l->ld, entry, at)) {
		size_t index = search_attribute_index(l, name);
		bool wanted = terminal ? index < l->leaf_from : index != (size_t)-1;

		/* Leaf attributes of a group are those of its members. */
		if (!terminal && group && index >= l->leaf_from && index < l->ordinary_from)
			wanted = false;
		if (wanted)
			good = search_add_attribute(u, entry, name, index);
		ldap_memfree(name);
	}
	if (name != NULL)
		ldap_memfree(name);
	ber_free(at, 0);
	return good;
}

static bool
search_add_entries(struct search *u, LDAPMessage *answer)
{
	struct table_ldap *l = u->ldap;
	int64_t count = 0;

	for (LDAPMessage *e = ldap_first_entry(l->ld, answer); e != NULL;
	     e = ldap_next_entry(l->ld, e)) {
		if (l->size_limit != 0 && ++count > l->size_limit)
			return err_set(u->err, ERR_TEMP, "4.3.0",
			    "query size limit (%lld) exceeded", (long long)l->size_limit);
		if (!search_add_entry(u, e))
			return false;
	}
	/* What these entries name comes before what waits already. */
	list_splice(&u->found, &u->references);
	list_splice(&u->references, &u->found);
	return true;
}

/* ---- references -------------------------------------------------------------------------------------------------- */

/*
 * What to read of the entries that a URL asks for: of what it names (nothing: all) the attributes that count here, the more
 * special of both names. NULL: none, skip it.
 */
static char **
search_url_attributes(const struct table_ldap *l, const LDAPURLDesc *url)
{
	char **names = NULL;
	size_t count = 0;

	for (size_t i = 0; url->lud_attrs[i] != NULL; i++)
		for (size_t j = 0; l->attributes[j] != NULL; j++) {
			char *more = NULL;

			if (search_is_kind_of(l->attributes[j], url->lud_attrs[i]))
				more = l->attributes[j];
			else if (search_is_kind_of(url->lud_attrs[i], l->attributes[j]))
				more = url->lud_attrs[i];
			if (more == NULL)
				continue;
			names = mem_resize(names, count + 2, sizeof(*names));
			names[count++] = more;
			names[count] = NULL;
		}
	return names;
}

static bool
search_follow_url(struct search *u, const char *text, LDAPMessage **ret, int *ret_code)
{
	struct table_ldap *l = u->ldap;
	char **attributes = l->attributes, **own = NULL;
	LDAPURLDesc *url;
	int code = ldap_url_parse(text, &url);

	*ret = NULL;
	*ret_code = LDAP_SUCCESS;
	if (code != LDAP_URL_SUCCESS)
		return err_set(u->err, ERR_TEMP, "4.3.0", "malformed URL %s: error %d", text, code);
	if (url->lud_attrs != NULL && url->lud_attrs[0] != NULL)
		attributes = own = search_url_attributes(l, url);
	if (attributes != NULL)
		*ret_code = search_ask_server(l,
		    &(struct search_question){
			url->lud_dn, url->lud_filter, url->lud_scope, attributes},
		    ret);
	mem_free(own);
	ldap_free_urldesc(url);
	return true;
}

static bool
search_follow(struct search *u, const struct search_reference *r)
{
	struct table_ldap *l = u->ldap;
	LDAPMessage *answer = NULL;
	bool good = true;
	int code;

	if (++u->searches > LDAP_SEARCHES_MAX)
		return err_set(u->err, ERR_TEMP, "4.3.0", "more than %d searches for one key",
		    LDAP_SEARCHES_MAX);
	if (ldap_is_ldap_url(r->text))
		good = search_follow_url(u, r->text, &answer, &code);
	else
		code = search_ask_server(l,
		    &(struct search_question){
			r->text, "(objectclass=*)", LDAP_SCOPE_BASE, l->attributes},
		    &answer);
	u->depth = r->depth;
	if (good && code == LDAP_NO_SUCH_OBJECT)
		log_warn("DN %s not found, skipping", r->text);
	else if (good && code != LDAP_SUCCESS)
		good = search_failed(u, code);
	else if (good && answer != NULL)
		good = search_add_entries(u, answer);
	(void)ldap_msgfree(answer);
	return good;
}

static void
search_reference_free(struct list *node)
{
	struct search_reference *r = CONTAINER_OF(node, struct search_reference, node);

	list_remove(node);
	mem_free(r->text);
	mem_free(r);
}

static bool
search_follow_all(struct search *u)
{
	bool good = true;

	while (good && !list_is_empty(&u->references)) {
		struct list *first = u->references.next;

		list_remove(first);
		good = search_follow(u, CONTAINER_OF(first, struct search_reference, node));
		search_reference_free(first);
	}
	return good;
}

static void
search_forget(struct search *u)
{
	while (!list_is_empty(&u->references))
		search_reference_free(u->references.next);
	while (!list_is_empty(&u->found))
		search_reference_free(u->found.next);
}

/* ---- the lookup -------------------------------------------------------------------------------------------------- */

/* The first search; once more over a new connection when the old one has gone. */
static bool
search_first_search(struct search *u, const struct search_question *q, LDAPMessage **ret, int *code)
{
	struct table_ldap *l = u->ldap;
	bool kept = l->ld != NULL;

	if (!table_ldap_connect(l, u->err))
		return false;
	*code = search_ask_server(l, q, ret);
	if (*code != LDAP_SERVER_DOWN || !kept)
		return true;
	(void)ldap_msgfree(*ret);
	*ret = NULL;
	table_ldap_disconnect(l);
	if (!table_ldap_connect(l, u->err))
		return false;
	*code = search_ask_server(l, q, ret);
	return true;
}

/* The base is a key's own: then no such base is no such key. */
static bool
search_judge(struct search *u, const struct search_question *q, int code, LDAPMessage *answer)
{
	struct table_ldap *l = u->ldap;

	if (code == LDAP_SUCCESS)
		return search_add_entries(u, answer) && search_follow_all(u);
	if (code == LDAP_NO_SUCH_OBJECT && l->dynamic_base)
		return true;
	if (code == LDAP_NO_SUCH_OBJECT)
		return err_set(u->err, ERR_TEMP, "4.3.0", "search base '%s' not found: %d: %s",
		    q->base, code, ldap_err2string(code));
	return search_failed(u, code);
}

enum table_result
table_ldap_search(struct table_ldap *l, struct span key, struct buf *value, struct err *err)
{
	struct search u = {.ldap = l, .key = key, .result = {.out = value}, .depth = 1, .err = err};
	struct buf base CLEANUP(buf_done) = {0};
	struct buf filter CLEANUP(buf_done) = {0};
	LDAPMessage *answer = NULL;
	struct search_question q = {.scope = l->scope, .attributes = l->attributes};
	int code = LDAP_SUCCESS;
	bool good;

	if (!table_query_expand(l->query, l->search_base, key, table_ldap_quote_dn, NULL, &base) ||
	    !table_query_expand(
		l->query, l->query_filter, key, table_ldap_quote_filter, NULL, &filter))
		return TABLE_NOT_FOUND;
	q.base = buf_str(&base);
	q.filter = buf_str(&filter);
	list_init(&u.references);
	list_init(&u.found);
	good = search_first_search(&u, &q, &answer, &code) && search_judge(&u, &q, code, answer);
	search_forget(&u);
	(void)ldap_msgfree(answer);
	if (code != LDAP_SUCCESS && code != LDAP_NO_SUCH_OBJECT)
		table_ldap_disconnect(l);
	if (!good)
		return TABLE_ERROR;
	return value->len != 0 ? TABLE_FOUND : TABLE_NOT_FOUND;
}
