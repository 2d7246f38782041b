/*
 * db_param.c - building parameters in PostgreSQL's binary format (src/backend/utils/adt/arrayfuncs.c, array_recv):
 * an array is dimensions, has-null flag, element type, count, lower bound, then each element with its length in front.
 */
#include <endian.h>
#include <string.h>

#include "db/db_int.h"

#define POSTGRES_EPOCH (INT64_C(946684800) * CLOCK_SECOND)
#define ARRAY_HAS_NULL 4  /* offset of the flag */
#define ARRAY_COUNT    12 /* offset of the count */
#define ARRAY_HEADER   20

static uint32_t
load_u32(const char *from)
{
	uint32_t v;

	(void)memcpy(&v, from, sizeof(v));
	return be32toh(v);
}

static void
store_u32(char *to, uint32_t v)
{
	v = htobe32(v);
	(void)memcpy(to, &v, sizeof(v));
}

void
db_array_begin(struct buf *b, enum db_type type)
{
	buf_clear(b);
	buf_add_u32(b, 1);
	buf_add_u32(b, 0);
	buf_add_u32(b, (uint32_t)type);
	buf_add_u32(b, 0);
	buf_add_u32(b, 1);
}

/* The count in the header goes up with each element, so that db_array_end() has little to do. */
static void
array_count_one(struct buf *b)
{
	store_u32(b->ptr + ARRAY_COUNT, load_u32(b->ptr + ARRAY_COUNT) + 1);
}

void
db_array_add_int(struct buf *b, enum db_type type, int64_t v)
{
	array_count_one(b);
	switch (type) {
	case DB_BOOL:
		buf_add_u32(b, 1);
		buf_add_u8(b, v != 0);
		return;
	case DB_INT2:
		MUST(v >= INT16_MIN && v <= INT16_MAX);
		buf_add_u32(b, 2);
		buf_add_u16(b, (uint16_t)v);
		return;
	case DB_INT4:
		MUST(v >= INT32_MIN && v <= INT32_MAX);
		buf_add_u32(b, 4);
		buf_add_u32(b, (uint32_t)v);
		return;
	case DB_INT8:
	case DB_TIMESTAMPTZ:
		buf_add_u32(b, 8);
		buf_add_u64(b, (uint64_t)v);
		return;
	case DB_TEXT:
	case DB_BYTEA:
		break;
	}
	UNREACHED();
}

/* A time beyond what int64 holds stands for infinity. */
static int64_t
to_postgres_time(int64_t real_us)
{
	if (real_us == INT64_MAX || real_us == INT64_MIN)
		return real_us;
	return real_us - POSTGRES_EPOCH;
}

void
db_array_add_time(struct buf *b, int64_t real_us)
{
	db_array_add_int(b, DB_TIMESTAMPTZ, to_postgres_time(real_us));
}

void
db_array_add_bytes(struct buf *b, struct span bytes)
{
	MUST(bytes.len <= INT32_MAX);
	array_count_one(b);
	buf_add_u32(b, (uint32_t)bytes.len);
	buf_add_span(b, bytes);
}

void
db_array_add_null(struct buf *b)
{
	array_count_one(b);
	store_u32(b->ptr + ARRAY_HAS_NULL, 1);
	buf_add_u32(b, UINT32_MAX);
}

void
db_array_end(struct buf *b)
{
	MUST(!b->overflow && b->len >= ARRAY_HEADER);
	if (load_u32(b->ptr + ARRAY_COUNT) > 0)
		return;
	/* An empty array has no dimension at all. */
	store_u32(b->ptr, 0);
	buf_truncate(b, ARRAY_COUNT);
}

struct db_param
db_param_int8(char out[DB_INT_SIZE], int64_t v)
{
	uint64_t wire = htobe64((uint64_t)v);

	(void)memcpy(out, &wire, sizeof(wire));
	return DB_PARAM_BINARY(out, sizeof(wire));
}

struct db_param
db_param_int4(char out[DB_INT_SIZE], int32_t v)
{
	store_u32(out, (uint32_t)v);
	return DB_PARAM_BINARY(out, 4);
}

struct db_param
db_param_time(char out[DB_INT_SIZE], int64_t real_us)
{
	return db_param_int8(out, to_postgres_time(real_us));
}
