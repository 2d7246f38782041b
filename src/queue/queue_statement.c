/*
 * queue_statement.c - statements for one set of the ring, and helpers for their parameters and errors.
 */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "queue/queue_int.h"

static struct db_statement *
make_statement(const struct queue_set_sql *t, int16_t set)
{
	struct db_statement *st = mem_new(struct db_statement);
	struct buf sql = {0};
	struct span rest = span_str(t->sql);

	while (rest.len > 0) {
		size_t at = span_find(rest, '%');

		buf_add_span(&sql, span_head(rest, at));
		if (at == rest.len)
			break;
		MUST(rest.ptr[at + 1] == 'K');
		buf_printf(&sql, "%d", set);
		rest = span_from(rest, at + 2);
	}
	st->name = mem_printf("%s_%d", t->name, set);
	st->sql = buf_take(&sql);
	return st;
}

const struct db_statement *
queue_set_statement(struct queue_set_sql *t, int16_t set)
{
	size_t at = (size_t)set;

	MUST(set >= 0);
	if (at >= t->made_count) {
		t->made = mem_resize(t->made, at + 1, sizeof(t->made[0]));
		memset(t->made + t->made_count, 0, (at + 1 - t->made_count) * sizeof(t->made[0]));
		t->made_count = at + 1;
	}
	if (t->made[at] == NULL)
		t->made[at] = make_statement(t, set);
	return t->made[at];
}

void
queue_param_add_clean(struct buf *array, struct span text, size_t max)
{
	struct buf clean = {0};

	if (text.len <= max && utf8_is_valid(text)) {
		db_array_add_bytes(array, text);
		return;
	}
	utf8_add_clean(&clean, text, max);
	db_array_add_bytes(array, buf_span(&clean));
	buf_done(&clean);
}

void
queue_param_add_str(struct buf *array, const char *s)
{
	if (s == NULL)
		db_array_add_null(array);
	else
		db_array_add_bytes(array, span_str(s));
}

bool
queue_error_is(const struct db_conn *c, const char *sqlstate)
{
	return strncmp(db_error_sqlstate(c), sqlstate, strlen(sqlstate)) == 0;
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

static enum db_type
type_of(char letter)
{
	switch (letter) {
	case 'i':
		return DB_INT4;
	case 'q':
		return DB_INT8;
	case 't':
		return DB_TEXT;
	case 'z':
		return DB_TIMESTAMPTZ;
	default:
		UNREACHED();
	}
}

void
queue_columns_begin(struct queue_columns *c, const char *types)
{
	*c = (struct queue_columns){.types = types, .count = strlen(types)};
	MUST(c->count <= QUEUE_COLUMNS_MAX);
	for (size_t i = 0; i < c->count; i++)
		db_array_begin(&c->cols[i], type_of(types[i]));
}

/* The column for the next value, which must be of one of these types. */
static struct buf *
next_column(struct queue_columns *c, const char *types)
{
	struct buf *b = &c->cols[c->at];

	MUST(!c->ended && strchr(types, c->types[c->at]) != NULL);
	if (++c->at == c->count) {
		c->at = 0;
		c->rows++;
	}
	return b;
}

void
queue_columns_int(struct queue_columns *c, int64_t v)
{
	enum db_type type = type_of(c->types[c->at]);

	db_array_add_int(next_column(c, "iq"), type, v);
}

void
queue_columns_time(struct queue_columns *c, int64_t real_us)
{
	struct buf *b = next_column(c, "z");

	if (real_us == 0)
		db_array_add_null(b);
	else
		db_array_add_time(b, real_us);
}

void
queue_columns_str(struct queue_columns *c, const char *s)
{
	queue_param_add_str(next_column(c, "t"), s);
}

void
queue_columns_clean(struct queue_columns *c, const char *text)
{
	queue_param_add_clean(next_column(c, "t"), span_str(text), QUEUE_TEXT_MAX);
}

void
queue_columns_params(struct queue_columns *c, struct db_param *ret)
{
	MUST(c->at == 0);
	for (size_t i = 0; i < c->count; i++) {
		if (!c->ended)
			db_array_end(&c->cols[i]);
		ret[i] = DB_PARAM_BUF(&c->cols[i]);
	}
	c->ended = true;
}

void
queue_columns_done(struct queue_columns *c)
{
	for (size_t i = 0; i < c->count; i++)
		buf_done(&c->cols[i]);
	c->count = 0;
}
