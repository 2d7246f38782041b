/*
 * table_socketmap.c - socketmap:inet:host:port:name and socketmap:unix:path:name (socketmap_table(5)): the name of a table and
 * the key in one netstring, the answer in another: "OK value", "NOTFOUND ", "TEMP reason".
 */
#include "backend/table_socketmap.h"

#include "backend/backend_types.h"
#include "backend/table_net.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define SOCKETMAP_DIGITS_MAX 9

static const struct table_net_rules socketmap_rules = {
    .timeout = 100 * CLOCK_SECOND,
    .tries = 2,
    .what = "",
};

struct table_socketmap {
	struct table_net *net;
	char *name; /* owned */
};

/* ---- the protocol --------------------------------------------------------------------------------------------------- */

enum table_socketmap_answer
table_socketmap_answer(struct span answer, struct span *ret_text)
{
	size_t space = span_find(answer, ' ');
	struct span word = span_head(answer, space);

	*ret_text = span_from(answer, space + 1);
	/* An "OK" without a place for a value is none. */
	if (span_equal_str(word, "OK"))
		return space < answer.len ? TABLE_SOCKETMAP_FOUND : TABLE_SOCKETMAP_NOT_FOUND;
	if (span_equal_str(word, "NOTFOUND"))
		return TABLE_SOCKETMAP_NOT_FOUND;
	if (span_equal_str(word, "TEMP"))
		return TABLE_SOCKETMAP_TEMP;
	if (span_equal_str(word, "TIMEOUT"))
		return TABLE_SOCKETMAP_TIMEOUT;
	return span_equal_str(word, "PERM") ? TABLE_SOCKETMAP_PERM : TABLE_SOCKETMAP_UNKNOWN;
}

/* ---- netstrings ----------------------------------------------------------------------------------------------------- */

struct socketmap_question {
	const struct table *table;
	struct buf request;
	struct buf answer;
};

static enum table_net_result
socketmap_failed(const struct socketmap_question *q, const char *why, bool lost, struct err *err)
{
	(void)err_set(err, ERR_TEMP, "4.3.0", "table %s lookup error: %s", q->table->spec, why);
	return lost ? TABLE_NET_LOST : TABLE_NET_BAD;
}

static enum table_net_result
socketmap_lost(const struct socketmap_question *q, const struct stream *s, enum stream_result r,
    struct err *err)
{
	return socketmap_failed(
	    q, r == STREAM_EOF ? "unexpected disconnect" : table_net_reason(s, r), true, err);
}

/* "123:" */
static enum table_net_result
socketmap_read_length(
    const struct socketmap_question *q, struct stream *s, size_t *ret, struct err *err)
{
	size_t length = 0;
	char c;

	for (int digits = 0;; digits++) {
		enum stream_result r = stream_read_full(s, &c, 1);

		if (r != STREAM_OK)
			return socketmap_lost(q, s, r, err);
		if (c == ':' && digits != 0)
			break;
		if (c < '0' || c > '9' || digits == SOCKETMAP_DIGITS_MAX)
			return socketmap_failed(q, "input format error", false, err);
		length = length * 10 + (size_t)(c - '0');
	}
	if (length > conf_size(q->table->conf, CONF_socketmap_max_reply_size))
		return socketmap_failed(q, "input exceeds size limit", false, err);
	*ret = length;
	return TABLE_NET_OK;
}

static enum table_net_result
socketmap_talk(struct stream *s, void *arg, struct err *err)
{
	struct socketmap_question *q = arg;
	enum stream_result r = stream_write_span(s, buf_span(&q->request));
	enum table_net_result answered;
	size_t length = 0;

	if (r == STREAM_OK)
		r = stream_flush(s);
	if (r != STREAM_OK)
		return socketmap_lost(q, s, r, err);
	answered = socketmap_read_length(q, s, &length, err);
	if (answered != TABLE_NET_OK)
		return answered;
	buf_clear(&q->answer);
	r = stream_read_full(s, buf_room(&q->answer, length + 1), length + 1);
	if (r != STREAM_OK)
		return socketmap_lost(q, s, r, err);
	buf_added(&q->answer, length + 1);
	if (q->answer.ptr[length] != ',' || memchr(q->answer.ptr, '\0', length) != NULL)
		return socketmap_failed(q, "input format error", false, err);
	buf_truncate(&q->answer, length);
	return TABLE_NET_OK;
}

/* ---- lookups -------------------------------------------------------------------------------------------------------- */

static bool
socketmap_open(struct table *t, struct err *err)
{
	size_t colon = span_find_last(t->argument, ':');
	struct table_socketmap *m;
	struct table_net *net;

	if (!table_net_is_trusted(t, err))
		return false;
	if (colon == t->argument.len)
		return err_set(
		    err, ERR_CONFIG, "4.3.5", "socketmap requires server:socketmap argument");
	if (!table_net_open_service(t->conf, span_head(t->argument, colon), &net, err))
		return false;
	m = mem_new(struct table_socketmap);
	m->net = net;
	m->name = span_dup(span_from(t->argument, colon + 1));
	t->state = m;
	return true;
}

static void
socketmap_close(void *state)
{
	struct table_socketmap *m = state;

	table_net_close(&m->net);
	mem_free(m->name);
	mem_free(m);
}

/* What the server said: an error is told in its words. */
static enum table_result
socketmap_take(const struct table *t, struct span answer, struct buf *value)
{
	static const char *const kinds[] = {
	    [TABLE_SOCKETMAP_TEMP] = "temporary",
	    [TABLE_SOCKETMAP_TIMEOUT] = "timeout",
	    [TABLE_SOCKETMAP_PERM] = "permanent",
	    [TABLE_SOCKETMAP_UNKNOWN] = "unknown",
	};
	struct span text;
	enum table_socketmap_answer kind = table_socketmap_answer(answer, &text);

	if (kind == TABLE_SOCKETMAP_NOT_FOUND)
		return TABLE_NOT_FOUND;
	if (kind == TABLE_SOCKETMAP_FOUND) {
		buf_add_span(value, text);
		return TABLE_FOUND;
	}
	log_warn("%s socketmap server %s error%s%.*s", t->spec, kinds[kind],
	    text.len != 0 ? ": " : "", SPAN_ARG(span_head(text, 400)));
	return TABLE_ERROR;
}

static enum table_result
socketmap_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_socketmap *m = t->state;
	struct socketmap_question q = {.table = t};
	enum table_result found = TABLE_ERROR;
	size_t length = strlen(m->name) + 1 + key.len;

	if (length > conf_size(t->conf, CONF_socketmap_max_query_size)) {
		log_warn("table %s lookup error: query exceeds size limit", t->spec);
		return TABLE_ERROR;
	}
	buf_printf(&q.request, "%zu:%s ", length, m->name);
	buf_add_span(&q.request, key);
	buf_add_char(&q.request, ',');
	if (table_net_ask(m->net, &socketmap_rules, socketmap_talk, &q, err) == TABLE_NET_OK)
		found = socketmap_take(t, buf_span(&q.answer), value);
	buf_done(&q.request);
	buf_done(&q.answer);
	/* It has been logged. */
	err_clear(err);
	return found;
}

const struct table_type table_socketmap_type = {
    .name = "socketmap",
    .open = socketmap_open,
    .lookup = socketmap_lookup,
    .close = socketmap_close,
    .pattern = true,
    .network = true,
};
