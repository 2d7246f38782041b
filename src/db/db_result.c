/*
 * db_result.c - reading results in PostgreSQL's binary format. struct db_result is libpq's PGresult under a name of our
 * own: the pointer is only ever converted, here and where results are handed out.
 */
#include <string.h>

#include "base/mem.h"
#include "db/db_int.h"

/* PostgreSQL counts microseconds from 2000-01-01 UTC. */
#define POSTGRES_EPOCH (INT64_C(946684800) * CLOCK_SECOND)

static const PGresult *
pg(const struct db_result *r)
{
	return (const void *)r;
}

void
db_result_free(struct db_result **r)
{
	PQclear((PGresult *)*r);
	*r = NULL;
}

size_t
db_result_rows(const struct db_result *r)
{
	return (size_t)PQntuples(pg(r));
}

size_t
db_result_columns(const struct db_result *r)
{
	return (size_t)PQnfields(pg(r));
}

uint64_t
db_result_affected(const struct db_result *r)
{
	/* The function takes a pointer to non-const but changes nothing. */
	const char *text = PQcmdTuples((PGresult *)(uintptr_t)r);
	uint64_t n = 0;

	if (!span_number(span_str(text), UINT64_MAX, &n))
		return 0;
	return n;
}

static void
check_cell(const struct db_result *r, size_t row, size_t column)
{
	MUST(row < (size_t)PQntuples(pg(r)));
	MUST(column < (size_t)PQnfields(pg(r)));
}

bool
db_result_is_null(const struct db_result *r, size_t row, size_t column)
{
	check_cell(r, row, column);
	return PQgetisnull(pg(r), (int)row, (int)column) != 0;
}

struct span
db_result_span(const struct db_result *r, size_t row, size_t column)
{
	check_cell(r, row, column);
	if (PQgetisnull(pg(r), (int)row, (int)column))
		return (struct span){0};
	return span_of(PQgetvalue(pg(r), (int)row, (int)column),
	    (size_t)PQgetlength(pg(r), (int)row, (int)column));
}

/* Big-endian two's complement of 0 to 8 bytes. */
int64_t
db_span_int(struct span element)
{
	uint64_t v = 0;

	MUST(element.len <= sizeof(v));
	if (element.len == 0)
		return 0;
	if ((unsigned char)element.ptr[0] & 0x80)
		v = UINT64_MAX;
	for (size_t i = 0; i < element.len; i++)
		v = v << 8 | (unsigned char)element.ptr[i];
	return (int64_t)v;
}

int64_t
db_result_int(const struct db_result *r, size_t row, size_t column)
{
	return db_span_int(db_result_span(r, row, column));
}

bool
db_result_bool(const struct db_result *r, size_t row, size_t column)
{
	return db_result_int(r, row, column) != 0;
}

int64_t
db_result_time(const struct db_result *r, size_t row, size_t column)
{
	int64_t t = db_result_int(r, row, column);

	/* -infinity and infinity stay what they are: the smallest and the largest number. */
	if (t == INT64_MIN || t > INT64_MAX - POSTGRES_EPOCH)
		return t;
	return t + POSTGRES_EPOCH;
}

char *
db_result_dup(const struct db_result *r, size_t row, size_t column)
{
	if (db_result_is_null(r, row, column))
		return NULL;
	return span_dup(db_result_span(r, row, column));
}

/* ---- arrays ---------------------------------------------------------------------------------------------------- */

static bool
take_int(struct span *rest, int64_t *ret)
{
	if (rest->len < 4)
		return false;
	*ret = db_span_int(span_head(*rest, 4));
	*rest = span_from(*rest, 4);
	return true;
}

bool
db_result_array(const struct db_result *r, size_t row, size_t column, struct db_array_reader *ret)
{
	struct span rest = db_result_span(r, row, column);
	int64_t dimensions;
	int64_t has_null;
	int64_t type;
	int64_t count;
	int64_t lower_bound;

	if (db_result_is_null(r, row, column) || !take_int(&rest, &dimensions) ||
	    !take_int(&rest, &has_null) || !take_int(&rest, &type))
		return false;
	if (dimensions == 0) {
		*ret = (struct db_array_reader){0};
		return true;
	}
	if (dimensions != 1 || !take_int(&rest, &count) || !take_int(&rest, &lower_bound) ||
	    count < 0)
		return false;
	*ret = (struct db_array_reader){.rest = rest, .left = (size_t)count};
	return true;
}

bool
db_array_next(struct db_array_reader *a, struct span *ret_element)
{
	int64_t len;

	if (a->left == 0 || !take_int(&a->rest, &len))
		return false;
	a->left--;
	if (len < 0) {
		*ret_element = (struct span){0};
		return true;
	}
	/* An empty element is not NULL: its pointer stands between its neighbours. */
	MUST((size_t)len <= a->rest.len);
	*ret_element = span_head(a->rest, (size_t)len);
	a->rest = span_from(a->rest, (size_t)len);
	return true;
}
