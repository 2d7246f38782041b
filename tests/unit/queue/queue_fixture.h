/*
 * queue_fixture.h - for the tests of the queue: a private PostgreSQL, a database with the schema for each test, a front end and
 * any number of scheduler's desks on it, and a session of the owner to look behind the scenes.
 */
#ifndef TESTS_QUEUE_FIXTURE_H
#define TESTS_QUEUE_FIXTURE_H

#include "../db/db_fixture.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hmap.h"
#include "base/random.h"
#include "queue/queue_claim.h"
#include "queue/queue_content.h"
#include "queue/queue_desk.h"
#include "queue/queue_expire.h"
#include "queue/queue_front.h"
#include "queue/queue_keeper.h"
#include "queue/queue_list.h"
#include "queue/queue_order.h"
#include "queue/queue_record.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "queue/queue_upload.h"

#define TEMPLATE "rowpost_template"

static char test_database[32] = "postgres";
static struct db_pool *owner_pool;
static struct db_conn *owner; /* a session of the superuser in the test's database */

/* ---- databases --------------------------------------------------------------------------------------------------- */

/* Pools that lead to `where` (NULL: the server itself), as `kind`. */
static struct db_pool *
pool_at(const char *where, const char *database, enum queue_session kind, size_t connections)
{
	struct db_settings s = test_settings(where);
	char conninfo[256];

	(void)snprintf(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=%s",
	    where != NULL ? where : cluster_dir, database);
	s.conninfo = conninfo;
	s.role = queue_session_role(kind);
	s.options = queue_session_options(kind);
	s.connections = connections;
	if (kind != QUEUE_SESSION_OWNER)
		s.on_connect = queue_schema_check;
	return db_pool_new(&s);
}

static UNUSED struct db_pool *
pool_of(enum queue_session kind)
{
	return pool_at(NULL, test_database, kind, 4);
}

static void
make_template(void)
{
	struct db_pool *p = pool_at(NULL, "postgres", QUEUE_SESSION_OWNER, 1);
	struct db_conn *c = take(p);
	struct err err = {0};

	script(c, "CREATE DATABASE " TEMPLATE);
	db_pool_give(p, &c);
	db_pool_free(&p);
	p = pool_at(NULL, TEMPLATE, QUEUE_SESSION_OWNER, 1);
	c = take(p);
	if (!queue_schema_migrate(c, soon(), NULL, NULL, &err))
		fail_msg("migrate: %s", err.text);
	db_pool_give(p, &c);
	db_pool_free(&p);
}

static UNUSED int
queue_setup(void **state)
{
	if (cluster_setup(state) != 0)
		return -1;
	run_as_task(make_template);
	return 0;
}

/* A fresh copy of the template for this test, and the owner's session in it. */
static UNUSED void
open_database(void)
{
	static int count;
	struct db_pool *p = pool_at(NULL, "postgres", QUEUE_SESSION_OWNER, 1);
	struct db_conn *c = take(p);
	char sql[128];

	(void)snprintf(test_database, sizeof(test_database), "test_%d", ++count);
	(void)snprintf(sql, sizeof(sql), "CREATE DATABASE %s TEMPLATE " TEMPLATE, test_database);
	script(c, sql);
	db_pool_give(p, &c);
	db_pool_free(&p);
	owner_pool = pool_at(NULL, test_database, QUEUE_SESSION_OWNER, 4);
	owner = take(owner_pool);
}

static UNUSED void
close_database(void)
{
	db_pool_give(owner_pool, &owner);
	db_pool_free(&owner_pool);
}

/* Statements have to outlive the connections that know them: one for each text. */
static const struct db_statement *
statement_of(const char *sql)
{
	static struct hmap made;
	struct db_statement *st = hmap_get(&made, span_str(sql));

	if (st != NULL)
		return st;
	st = mem_new(struct db_statement);
	st->name = mem_printf("test_%zu", made.count);
	st->sql = mem_strdup(sql);
	hmap_put(&made, span_str(sql), st);
	return st;
}

/* The number that a query gives on a session; INT64_MIN for no row or NULL. */
static UNUSED int64_t
ask_on(struct db_conn *c, const char *sql)
{
	struct db_result *r = NULL;
	struct err err = {0};
	int64_t n;

	if (!db_exec(c, statement_of(sql), NULL, 0, soon(), &r, &err))
		fail_msg("%s: %s", sql, err.text);
	n = db_result_rows(r) == 0 || db_result_is_null(r, 0, 0) ? INT64_MIN
								 : db_result_int(r, 0, 0);
	db_result_free(&r);
	return n;
}

static UNUSED int64_t PRINTF_LIKE(1, 2) ask(const char *fmt, ...)
{
	struct buf sql = {0};
	va_list args;
	int64_t n;

	va_start(args, fmt);
	buf_vprintf(&sql, fmt, args);
	va_end(args);
	n = ask_on(owner, buf_str(&sql));
	buf_done(&sql);
	return n;
}

/* Runs statements as the owner. */
static UNUSED void PRINTF_LIKE(1, 2) tell(const char *fmt, ...)
{
	struct buf sql = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&sql, fmt, args);
	va_end(args);
	script(owner, buf_str(&sql));
	buf_done(&sql);
}

/* ---- a front end --------------------------------------------------------------------------------------------------- */

struct test_front {
	struct db_pool *pool;
	struct queue_front *front;
};

static UNUSED struct test_front
front_at(const char *where)
{
	struct test_front f = {.pool = pool_at(where, test_database, QUEUE_SESSION_FRONT, 4)};
	struct queue_front_settings s = {.pool = f.pool, .node = "n1", .program = "smtpd"};
	struct err err = {0};

	f.front = queue_front_new(&s);
	if (!queue_front_wait_ready(f.front, soon(), &err))
		fail_msg("front: %s", err.text);
	return f;
}

static UNUSED void
front_close(struct test_front *f)
{
	queue_front_free(&f->front);
	db_pool_free(&f->pool);
}

#define TEST_CONTENT "Subject: test\n\nHello.\n"

/* A message with recipients "r0@d.test", "r1@d.test", ...; the arrays are in `arena`. */
static UNUSED struct queue_message
make_message(struct arena *arena, int64_t msg_id, size_t rcpts)
{
	static const struct queue_attr attrs[] = {
	    {SPAN_LIT("client_name"), SPAN_LIT("c.test")},
	    {SPAN_LIT("encoding"), SPAN_LIT("7bit")},
	};
	struct queue_rcpt *r = arena_alloc(arena, rcpts * sizeof(*r));

	for (size_t i = 0; i < rcpts; i++)
		r[i].addr = arena_printf(arena, "r%zu@d.test", i);
	return (struct queue_message){
	    .envelope =
		{
		    .msg_id = msg_id,
		    .sender = "s@o.test",
		    .arrival = clock_real_us(),
		    .size = sizeof(TEST_CONTENT) - 1,
		    .attrs = attrs,
		    .attr_count = ARRAY_LEN(attrs),
		    .rcpts = r,
		    .rcpt_count = rcpts,
		},
	    .content = SPAN_LIT(TEST_CONTENT),
	};
}

static UNUSED int64_t
mint(struct test_front *f)
{
	struct err err = {0};
	int64_t id = 0;

	if (!queue_front_mint(f->front, &id, &err))
		fail_msg("mint: %s", err.text);
	return id;
}

/* Stores a message with `rcpts` recipients; its id. */
static UNUSED int64_t
store(struct test_front *f, size_t rcpts)
{
	struct arena arena = {0};
	struct queue_message m = make_message(&arena, mint(f), rcpts);
	struct err err = {0};

	if (!queue_front_store(f->front, &m, soon(), &err))
		fail_msg("store: %s", err.text);
	arena_done(&arena);
	return m.envelope.msg_id;
}

/* ---- a scheduler's desk -------------------------------------------------------------------------------------------- */

struct test_desk {
	struct db_pool *pool;
	struct queue_desk *desk;
	int64_t epoch;
	size_t composed; /* bounces */
	size_t notices;  /* recipients in them */
	unsigned last_kind;
};

static UNUSED size_t
test_compose(void *arg, const struct queue_bounce *b, const int64_t *ids, struct queue_message *ret,
    size_t max UNUSED, struct arena *arena)
{
	struct test_desk *d = arg;

	d->composed++;
	d->notices += b->notice_count;
	d->last_kind = b->kind;
	if (*b->envelope->sender == '\0')
		return 0;
	ret[0] = make_message(arena, ids[0], 1);
	ret[0].envelope.sender = "";
	((struct queue_rcpt *)(uintptr_t)ret[0].envelope.rcpts)[0].addr =
	    arena_strdup(arena, b->envelope->sender);
	return 1;
}

/* A desk with a node row of its own. */
static UNUSED void
desk_open(struct test_desk *d, const char *where)
{
	struct queue_desk_settings s = {
	    .node = "n1",
	    .poll_min = 1,
	    .poll_max = 1,
	    .poll_closed = 1,
	    .poll_deferred = 1,
	    .compose = test_compose,
	    .compose_arg = d,
	};

	memset(d, 0, sizeof(*d));
	d->pool = pool_at(where, test_database, QUEUE_SESSION_SCHEDULER, 4);
	s.pool = d->pool;
	d->desk = queue_desk_new(&s);
	d->epoch = random_epoch();
	tell("INSERT INTO mailq.node (epoch, name, state) VALUES (%lld, 'n1', 'up')",
	    (long long)d->epoch);
	queue_desk_set_epoch(d->desk, d->epoch);
	for (int64_t id, end = soon(); !queue_desk_mint(d->desk, &id, &(struct err){0});) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	}
}

static UNUSED void
desk_close(struct test_desk *d)
{
	queue_desk_free(&d->desk);
	db_pool_free(&d->pool);
}

static const struct queue_budget wide = {.messages = 10000, .rcpts = 100000, .bytes = 64u << 20};

/* One claim of new mail. */
static UNUSED struct queue_claims
claim(struct test_desk *d)
{
	struct queue_claims c = {0};
	struct err err = {0};

	if (!queue_claim_incoming(d->desk, &wide, soon(), &c, &err))
		fail_msg("claim: %s", err.text);
	return c;
}

/* Claims until there are `count` messages. */
static UNUSED struct queue_claims
claim_count(struct test_desk *d, size_t count)
{
	struct queue_claims all = claim(d);
	int64_t end = soon();

	while (all.count < count) {
		struct queue_claims more = claim(d);

		assert_true(clock_mono_us() < end);
		for (size_t i = 0; i < more.count; i++) {
			all.items = mem_resize(all.items, all.count + 1, sizeof(all.items[0]));
			all.items[all.count++] = more.items[i];
			more.items[i] = NULL;
		}
		queue_claims_done(&more);
		(void)task_yield();
	}
	assert_int_equal(all.count, count);
	return all;
}

/* Claims one deferred message at least. */
static UNUSED struct queue_claims
claim_deferred(struct test_desk *d)
{
	struct queue_claims c = {0};
	struct err err = {0};

	if (!queue_claim_deferred(d->desk, &wide, soon(), &c, &err))
		fail_msg("claim deferred: %s", err.text);
	return c;
}

/* An outcome for recipient `rcpt` of a claimed message. */
static UNUSED struct queue_result
outcome(const struct queue_claimed *m, size_t rcpt, enum queue_outcome o)
{
	int64_t now = clock_real_us();

	assert_true(rcpt < m->envelope.rcpt_count);
	return (struct queue_result){
	    .lease = m->lease,
	    .envelope = &m->envelope,
	    .rcpt = &m->envelope.rcpts[rcpt],
	    .outcome = o,
	    .at = now,
	    .dsn = o == QUEUE_SENT       ? "2.0.0"
		   : o == QUEUE_DEFERRED ? "4.4.1"
					 : "5.1.1",
	    .text = "text",
	    .relay = "mx.d.test[127.0.0.1]:25",
	    .transport = "smtp",
	    .nexthop = "d.test",
	    .next_attempt = now - CLOCK_SECOND,
	    .expires_at = now + 86400 * CLOCK_SECOND,
	    .notify = o == QUEUE_BOUNCED || o == QUEUE_EXPIRED ? QUEUE_NOTIFY_FAILURE : 0,
	    .action = "failed",
	    .last = rcpt + 1 == m->envelope.rcpt_count,
	};
}

/* Records one outcome; what became of it. */
static UNUSED enum queue_recorded
record_one(struct test_desk *d, struct queue_result r)
{
	struct queue_result *list[] = {&r};
	struct err err = {0};

	if (!queue_record_flush(d->desk, list, 1, soon(), &err))
		fail_msg("record: %s", err.text);
	return r.recorded;
}

/* Records the same outcome for every recipient of every message, in one call. */
static UNUSED void
record_all(struct test_desk *d, const struct queue_claims *c, enum queue_outcome o)
{
	struct queue_result *results;
	struct queue_result **list;
	struct err err = {0};
	size_t total = 0;
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		total += c->items[i]->envelope.rcpt_count;
	results = mem_zalloc(total * sizeof(*results));
	list = mem_zalloc(total * sizeof(*list));
	for (size_t i = 0; i < c->count; i++)
		for (size_t k = 0; k < c->items[i]->envelope.rcpt_count; k++) {
			results[n] = outcome(c->items[i], k, o);
			list[n] = &results[n];
			n++;
		}
	if (!queue_record_flush(d->desk, list, total, soon(), &err))
		fail_msg("record: %s", err.text);
	for (size_t i = 0; i < total; i++)
		assert_int_equal(results[i].recorded, QUEUE_RECORD_STORED);
	mem_free(results);
	mem_free(list);
}

/* ---- looking --------------------------------------------------------------------------------------------------------- */

static UNUSED int64_t
rows_of(const char *table)
{
	return ask("SELECT count(*) FROM %s", table);
}

/* Nothing is left of any mail. */
static UNUSED void
assert_queue_empty(void)
{
	assert_int_equal(rows_of("rowpost.queue"), 0);
	assert_int_equal(rows_of("mailq.batch"), 0);
	assert_int_equal(rows_of("mailq.active"), 0);
	assert_int_equal(rows_of("mailq.deferred_message"), 0);
	assert_int_equal(rows_of("mailq.notification"), 0);
}

#endif
