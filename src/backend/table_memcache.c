/*
 * table_memcache.c - memcache:/file (memcache_table(5)): a table in a memcached server, by its text protocol, with an optional table
 * behind it that is asked for what the cache does not have, and whose answers are put into the cache.
 */
#include "backend/backend_types.h"
#include "backend/table_net.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table_query.h"

struct table_memcache {
	size_t users;              /* the table, and lookups under way */
	struct table_query *query; /* `domain`, and what key_format needs */
	char *key_format;          /* owned */
	struct table_net *net;
	struct table *backup; /* owned; NULL: none */
	struct table_net_rules rules;
	int64_t line_limit, data_limit, flags, ttl;
};

static void
memcache_close(void *state)
{
	struct table_memcache *m = state;

	if (--m->users != 0)
		return;
	table_net_close(&m->net);
	table_close(&m->backup);
	table_query_free(&m->query);
	mem_free(m->key_format);
	mem_free(m);
}

/* ---- settings ------------------------------------------------------------------------------------------------------- */

static bool
memcache_read_numbers(struct table_memcache *m, const struct table_settings *s, struct err *err)
{
	int64_t tries = 0, pause = 0, timeout = 0;
	struct {
		const char *setting;
		int64_t fallback, lo, hi;
		int64_t *value;
	} numbers[] = {
	    {"line_size_limit", 1024, 1, TABLE_VALUE_MAX, &m->line_limit},
	    {"data_size_limit", 10240, 1, TABLE_FILE_MAX, &m->data_limit},
	    {"flags", 0, 0, INT32_MAX, &m->flags},
	    {"ttl", 3600, 0, INT32_MAX, &m->ttl},
	    {"max_try", 2, 1, 1000, &tries},
	    {"retry_pause", 1, 1, 86400, &pause},
	    {"timeout", 2, 1, 86400, &timeout},
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (!table_query_number(s, numbers[i].setting, numbers[i].fallback, numbers[i].lo,
			numbers[i].hi, numbers[i].value, err))
			return false;
	m->rules = (struct table_net_rules){
	    .timeout = timeout * CLOCK_SECOND,
	    .pause = pause * CLOCK_SECOND,
	    .tries = (int)tries,
	    .what = "",
	};
	return true;
}

static bool
memcache_read(struct table_memcache *m, const struct table *t, const struct table_settings *s,
    struct err *err)
{
	const char *server = table_query_str(s, "memcache", "inet:localhost:11211");
	const char *backup = table_query_str(s, "backup", "");

	m->key_format = mem_strdup(table_query_str(s, "key_format", "%s"));
	if (!memcache_read_numbers(m, s, err) ||
	    !table_query_open(t->conf, t->spec, s, &m->query, err) ||
	    !table_query_learn(m->query, s, "key_format", m->key_format, err) ||
	    !table_net_open_service(t->conf, span_str(server), &m->net, err))
		return false;
	if (backup[0] != '\0')
		m->backup = table_open(t->conf, span_str(backup), t->flags);
	return true;
}

static bool
memcache_open(struct table *t, struct err *err)
{
	char *name CLEANUP(mem_free_str) = span_dup(t->argument);
	struct table_memcache *m;
	struct table_settings *s = NULL;
	bool ok;

	if (!table_net_is_trusted(t, err))
		return false;
	m = mem_new(struct table_memcache);
	m->users = 1;
	ok = table_query_settings(t->conf, name, &s, err) && memcache_read(m, t, s, err);
	table_query_settings_free(&s);
	if (ok)
		t->state = m;
	else
		memcache_close(m);
	return ok;
}

static const char *
memcache_trouble(struct table *t)
{
	const struct table_memcache *m = t->state;

	return m->backup != NULL ? table_trouble(m->backup) : NULL;
}

/* ---- the protocol --------------------------------------------------------------------------------------------------- */

struct memcache_question {
	const struct table *table;
	const struct table_memcache *memcache;
	struct buf request;
	struct buf *value; /* of a get; NULL for a set */
	bool found;
};

static enum table_net_result
memcache_lost(const struct memcache_question *q, const struct stream *s, enum stream_result r,
    struct err *err)
{
	(void)err_set(err, ERR_TEMP, "4.3.0", "database %s: I/O error: %s", q->table->spec,
	    table_net_reason(s, r));
	return TABLE_NET_LOST;
}

static enum table_net_result
memcache_unexpected(const struct memcache_question *q, struct span line, struct err *err)
{
	(void)err_set(err, ERR_TEMP, "4.3.0", "%.*s: unexpected memcache server reply: %.*s",
	    SPAN_ARG(q->table->argument), SPAN_ARG(span_head(line, 100)));
	return TABLE_NET_LOST;
}

/* "VALUE key flags bytes": how many bytes follow. */
static bool
memcache_read_size(struct span line, uint64_t limit, uint64_t *ret)
{
	struct span word[4];

	for (size_t i = 0; i < ARRAY_LEN(word); i++)
		if (!span_word(&line, " ", &word[i]))
			return false;
	return span_equal_str(word[0], "VALUE") && span_number(word[3], limit, ret);
}

/* The bytes of a value, with their end of line. */
static enum table_net_result
memcache_read_value(struct memcache_question *q, struct stream *s, size_t size, struct err *err)
{
	enum stream_result r;

	buf_clear(q->value);
	r = stream_read_full(s, buf_room(q->value, size + 2), size + 2);
	if (r != STREAM_OK)
		return memcache_lost(q, s, r, err);
	buf_added(q->value, size + 2);
	if (!span_ends(buf_span(q->value), "\r\n") || memchr(q->value->ptr, '\0', size) != NULL)
		return memcache_unexpected(q, SPAN_LIT("a value of another length"), err);
	buf_truncate(q->value, size);
	q->found = true;
	return TABLE_NET_OK;
}

static enum table_net_result
memcache_get(struct stream *s, void *arg, struct err *err)
{
	struct memcache_question *q = arg;
	const struct table_memcache *m = q->memcache;
	enum table_net_result result;
	enum stream_result r;
	struct span line;
	uint64_t size;

	q->found = false;
	if ((r = stream_write_span(s, buf_span(&q->request))) != STREAM_OK ||
	    (r = stream_flush(s)) != STREAM_OK ||
	    (r = stream_read_line(s, (size_t)m->line_limit, &line, NULL)) != STREAM_OK)
		return memcache_lost(q, s, r, err);
	if (span_equal_str(line, "END"))
		return TABLE_NET_OK;
	if (!memcache_read_size(line, (uint64_t)m->data_limit, &size))
		return memcache_unexpected(q, line, err);
	result = memcache_read_value(q, s, (size_t)size, err);
	if (result != TABLE_NET_OK)
		return result;
	r = stream_read_line(s, (size_t)m->line_limit, &line, NULL);
	if (r != STREAM_OK)
		return memcache_lost(q, s, r, err);
	return span_equal_str(line, "END") ? TABLE_NET_OK : memcache_unexpected(q, line, err);
}

static enum table_net_result
memcache_set(struct stream *s, void *arg, struct err *err)
{
	struct memcache_question *q = arg;
	enum stream_result r;
	struct span line;

	if ((r = stream_write_span(s, buf_span(&q->request))) != STREAM_OK ||
	    (r = stream_flush(s)) != STREAM_OK ||
	    (r = stream_read_line(s, (size_t)q->memcache->line_limit, &line, NULL)) != STREAM_OK)
		return memcache_lost(q, s, r, err);
	if (span_equal_str(line, "STORED"))
		return TABLE_NET_OK;
	(void)err_set(err, ERR_TEMP, "4.3.0", "database %s: update failed: %.*s", q->table->spec,
	    SPAN_ARG(span_head(line, 100)));
	return TABLE_NET_LOST;
}

/* ---- lookups -------------------------------------------------------------------------------------------------------- */

/* The protocol has no place for keys with white space. */
static bool
memcache_key_fits(struct span key)
{
	for (size_t i = 0; i < key.len; i++)
		if ((unsigned char)key.ptr[i] <= ' ' || key.ptr[i] == 127)
			return false;
	return key.len != 0;
}

static enum table_result
memcache_ask_cache(const struct table *t, struct table_memcache *m, struct span cache_key,
    struct buf *value, struct err *err)
{
	struct memcache_question q = {.table = t, .memcache = m, .value = value};
	enum table_net_result r;

	buf_printf(&q.request, "get %.*s\r\n", SPAN_ARG(cache_key));
	r = table_net_ask(m->net, &m->rules, memcache_get, &q, err);
	buf_done(&q.request);
	if (r != TABLE_NET_OK)
		return TABLE_ERROR;
	return q.found ? TABLE_FOUND : TABLE_NOT_FOUND;
}

/* That the cache does not take it is logged and no other trouble. */
static void
memcache_store(
    const struct table *t, struct table_memcache *m, struct span cache_key, struct span value)
{
	struct memcache_question q = {.table = t, .memcache = m};
	struct err err = {0};

	if (value.len > (size_t)m->data_limit) {
		log_warn("database %s: data for key %.*s is too long (data_size_limit=%lld) -- not "
			 "stored",
		    t->spec, SPAN_ARG(span_head(cache_key, 100)), (long long)m->data_limit);
		return;
	}
	buf_printf(&q.request, "set %.*s %lld %lld %zu\r\n", SPAN_ARG(cache_key),
	    (long long)m->flags, (long long)m->ttl, value.len);
	buf_add_span(&q.request, value);
	buf_add_str(&q.request, "\r\n");
	(void)table_net_ask(m->net, &m->rules, memcache_set, &q, &err);
	buf_done(&q.request);
}

static enum table_result
memcache_ask(const struct table *t, struct table_memcache *m, struct span key, struct buf *value,
    struct err *err)
{
	struct buf cache_key CLEANUP(buf_done) = {0};
	enum table_result r = table_query_wants(m->query, key, err);

	if (r != TABLE_FOUND)
		return r;
	if (!table_query_expand(m->query, m->key_format, key, NULL, NULL, &cache_key) ||
	    !memcache_key_fits(buf_span(&cache_key)))
		return TABLE_NOT_FOUND;
	r = memcache_ask_cache(t, m, buf_span(&cache_key), value, err);
	if (r == TABLE_FOUND || m->backup == NULL)
		return r;
	r = table_lookup_any(m->backup, key, TABLE_KEY_FULL, value, err);
	if (r == TABLE_FOUND)
		memcache_store(t, m, buf_span(&cache_key), buf_span(value));
	return r;
}

static enum table_result
memcache_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_memcache *m = t->state;
	enum table_result r;

	/* While we wait the settings may be read again. */
	m->users++;
	r = memcache_ask(t, m, key, value, err);
	memcache_close(m);
	/* What went wrong has been logged. */
	err_clear(err);
	return r;
}

static bool
memcache_each(struct table *t,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct table_memcache *m = t->state;

	if (m->backup == NULL) {
		log_warn("database %s: first/next support requires backup database", t->spec);
		return true;
	}
	if (m->backup->trouble != NULL)
		return err_set(err, ERR_CONFIG, "", "%s", m->backup->trouble);
	if (m->backup->type->each == NULL)
		return err_set(err, ERR_CONFIG, "", "table %s: sequence operation is not supported",
		    m->backup->spec);
	return m->backup->type->each(m->backup, each, arg, err);
}

const struct table_type table_memcache_type = {
    .name = "memcache",
    .open = memcache_open,
    .lookup = memcache_lookup,
    .each = memcache_each,
    .inner_trouble = memcache_trouble,
    .close = memcache_close,
    .suffix = "",
    .settings = true,
};
