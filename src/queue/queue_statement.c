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
