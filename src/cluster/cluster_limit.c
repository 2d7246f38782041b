/*
 * cluster_limit.c - see cluster_limit.h; mailq.limit_lease() in schema/0004-counters.sql divides.
 */
#include "cluster/cluster_limit.h"

#include "base/buf.h"

/* $1 epoch, $2 names, $3 limits, $4 used, $5 wanted, $6 us of grace. Rows: number from 1, slots. */
static const struct db_statement sql_lease = {"limit_lease",
    "SELECT n, slots FROM mailq.limit_lease($1::int8, $2::text[], $3::int4[], $4::int4[], "
    "$5::int4[], $6::int8 * interval '1 microsecond')"};

struct columns {
	struct buf names;
	struct buf limits;
	struct buf used;
	struct buf wants;
};

static void
columns_fill(struct columns *c, const struct cluster_limit *list, size_t count)
{
	db_array_begin(&c->names, DB_TEXT);
	db_array_begin(&c->limits, DB_INT4);
	db_array_begin(&c->used, DB_INT4);
	db_array_begin(&c->wants, DB_INT4);
	for (size_t i = 0; i < count; i++) {
		MUST(list[i].limit > 0 && list[i].used >= 0 && list[i].want >= list[i].used);
		db_array_add_bytes(&c->names, span_str(list[i].name));
		db_array_add_int(&c->limits, DB_INT4, list[i].limit);
		db_array_add_int(&c->used, DB_INT4, list[i].used);
		db_array_add_int(&c->wants, DB_INT4, list[i].want);
	}
	db_array_end(&c->names);
	db_array_end(&c->limits);
	db_array_end(&c->used);
	db_array_end(&c->wants);
}

static bool
take_answer(const struct db_result *r, struct cluster_limit *list, size_t count, struct err *err)
{
	if (db_result_rows(r) != count)
		return err_set(err, ERR_GONE, "4.3.0", "the epoch is over");
	for (size_t i = 0; i < count; i++) {
		int64_t n = db_result_int(r, i, 0);

		MUST(n >= 1 && (size_t)n <= count);
		list[n - 1].slots = (int32_t)db_result_int(r, i, 1);
	}
	return true;
}

bool
cluster_limit_lease(struct db_conn *c, int64_t epoch, int64_t grace, struct cluster_limit *list,
    size_t count, int64_t deadline, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct columns cols = {0};
	struct db_result *r = NULL;
	bool ok;

	if (count == 0)
		return true;
	columns_fill(&cols, list, count);
	struct db_param params[] = {
	    db_param_int8(n[0], epoch),
	    DB_PARAM_BUF(&cols.names),
	    DB_PARAM_BUF(&cols.limits),
	    DB_PARAM_BUF(&cols.used),
	    DB_PARAM_BUF(&cols.wants),
	    db_param_int8(n[1], grace),
	};
	ok = db_exec(c, &sql_lease, params, ARRAY_LEN(params), deadline, &r, err) &&
	     take_answer(r, list, count, err);
	db_result_free(&r);
	buf_done(&cols.names);
	buf_done(&cols.limits);
	buf_done(&cols.used);
	buf_done(&cols.wants);
	return ok;
}
