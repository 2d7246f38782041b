/*
 * db_pool.c - connections shared by the tasks of a process.
 *
 * A connection is opened by a task of the pool's own, never by the one that wants it, so that giving up waiting does not
 * throw away a connection half made. It goes to whoever has waited longest.
 *
 *	                 opened                    take
 *	connecting ───────────────────> idle ─────────────────> taken
 *	     │                           │ ^                      │
 *	     │ failed: back-off          │ └──────────────────────┤ give
 *	     v                           v server gone            v broken, or in a transaction
 *	   (none)                      (closed)                 (closed)
 *
 * Invariants
 *	1. open = idle + taken; open + connecting <= settings.connections.
 *	2. While somebody waits nothing is idle.
 *	3. While somebody waits, something is on its way: a connection is taken (and will be given back) or connecting.
 *	   pool_settle() restores 2 and 3 after each change; whom nothing can reach any more it turns away.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "db/db_int.h"
#include "task/task.h"

#define BACKOFF_MIN (200 * CLOCK_MILLI) /* where the settings name none */
#define BACKOFF_MAX (10 * CLOCK_SECOND)

struct db_pool {
	struct db_settings settings; /* strings owned */
	struct list idle;            /* struct db_conn; last used first */
	struct list waiters;         /* struct pool_waiter; longest waiting first */
	struct list connectors;      /* struct pool_connector */
	size_t waiting;              /* length of `waiters` */
	size_t open;
	size_t connecting;
	bool up;           /* the last attempt to connect or to use a connection succeeded */
	bool proven;       /* the last attempt to connect succeeded: several may try at once */
	bool closed;       /* db_pool_free() was called; lives on for connections still out */
	char *preferred;   /* owned; the host that answered last */
	int64_t retry_at;  /* no attempt before */
	int64_t backoff;   /* us, the next pause */
	struct err reason; /* of the last failure */
};

struct pool_waiter {
	struct list link;
	struct task_cond cond;
	struct db_conn *conn; /* what the wait was for */
	struct err *err;      /* borrowed; says why it was refused */
	bool refused;         /* nothing will come; the pool may be gone */
};

struct pool_connector {
	struct list link;
	struct db_pool *pool;
	struct task *task;
};

static void pool_settle(struct db_pool *p);

struct db_pool *
db_pool_new(const struct db_settings *settings)
{
	struct db_pool *p = mem_new(struct db_pool);
	struct db_settings *s = &p->settings;

	*s = *settings;
	s->conninfo = mem_strdup(settings->conninfo != NULL ? settings->conninfo : "");
	s->role = mem_strdup(settings->role);
	s->application_name = mem_strdup(settings->application_name);
	s->options = mem_strdup(settings->options);
	s->encoding = mem_strdup(settings->encoding);
	s->connections = MAX(settings->connections, 1);
	if (s->backoff_min <= 0)
		s->backoff_min = BACKOFF_MIN;
	if (s->backoff_max <= 0)
		s->backoff_max = BACKOFF_MAX;
	list_init(&p->idle);
	list_init(&p->waiters);
	list_init(&p->connectors);
	p->up = true;
	p->backoff = s->backoff_min;
	return p;
}

/* Releases a closed pool when its last connection and its last task are gone. */
static void
pool_release(struct db_pool *p)
{
	struct db_settings *s = &p->settings;

	if (!p->closed || p->open > 0 || p->connecting > 0 || p->waiting > 0)
		return;
	mem_free((void *)(uintptr_t)s->conninfo);
	mem_free((void *)(uintptr_t)s->role);
	mem_free((void *)(uintptr_t)s->application_name);
	mem_free((void *)(uintptr_t)s->options);
	mem_free((void *)(uintptr_t)s->encoding);
	mem_free(p->preferred);
	mem_free(p);
}

static void
pool_close(struct db_pool *p, struct db_conn *c)
{
	list_remove(&c->link);
	db_connect_close(&c);
	p->open--;
}

void
db_pool_free(struct db_pool **pool)
{
	struct db_pool *p = *pool;

	*pool = NULL;
	if (p == NULL)
		return;
	p->closed = true;
	(void)err_set(&p->reason, ERR_GONE, "4.3.0", "shutting down");
	LIST_FOREACH_SAFE (c, &p->idle, struct db_conn, link)
		pool_close(p, c);
	LIST_FOREACH (k, &p->connectors, struct pool_connector, link)
		task_cancel(k->task);
	pool_settle(p);
	pool_release(p);
}

void
db_pool_close_idle(struct db_pool *p)
{
	LIST_FOREACH_SAFE (c, &p->idle, struct db_conn, link)
		pool_close(p, c);
}

bool
db_pool_is_up(const struct db_pool *p)
{
	return p->up;
}

/* ---- connecting ------------------------------------------------------------------------------------------------- */

static void
pool_connected(struct db_pool *p, struct db_conn *c)
{
	c->pool = p;
	p->open++;
	p->up = p->proven = true;
	p->backoff = p->settings.backoff_min;
	p->retry_at = 0;
	list_add_front(&p->idle, &c->link);
}

/* The next attempt comes after a pause that doubles each time, with a random quarter off: nodes must not march in step. */
static void
pool_connect_failed(struct db_pool *p, const struct err *err)
{
	int64_t off = (int64_t)random_below((uint32_t)(p->backoff / CLOCK_MILLI / 4) + 1);

	p->up = p->proven = false;
	p->reason = *err;
	p->retry_at = clock_deadline(p->backoff - off * CLOCK_MILLI);
	p->backoff = MIN(2 * p->backoff, p->settings.backoff_max);
	log_debug("database is away: %s", err->text);
}

static void
connector_task(void *arg)
{
	struct pool_connector *k = arg;
	struct db_pool *p = k->pool;
	struct err err = {0};
	struct db_conn *c = db_connect_open(&p->settings, &p->preferred, &err);

	list_remove(&k->link);
	mem_free(k);
	p->connecting--;
	if (c != NULL && p->closed)
		db_connect_close(&c);
	else if (c != NULL)
		pool_connected(p, c);
	else if (!p->closed)
		pool_connect_failed(p, &err);
	pool_settle(p);
	pool_release(p);
}

/* False: no task is to be had. */
static bool
pool_start_connector(struct db_pool *p)
{
	struct pool_connector *k = mem_new(struct pool_connector);

	k->pool = p;
	k->task = task_start("db-connect", connector_task, k);
	if (k->task == NULL) {
		mem_free(k);
		return false;
	}
	list_add(&p->connectors, &k->link);
	p->connecting++;
	return true;
}

/* Opens as many connections as there is a want of. While the server is away a single one probes. */
static void
pool_connect(struct db_pool *p)
{
	while (!p->closed && p->connecting < p->waiting && (p->proven || p->connecting == 0) &&
	       p->open + p->connecting < p->settings.connections && clock_mono_us() >= p->retry_at)
		if (!pool_start_connector(p)) {
			(void)err_set(&p->reason, ERR_TEMP, "4.3.0", "too many tasks");
			return;
		}
}

/* ---- taking and giving --------------------------------------------------------------------------------------------- */

static struct pool_waiter *
pool_first_waiter(struct db_pool *p)
{
	return LIST_FIRST(&p->waiters, struct pool_waiter, link);
}

static void
waiter_wake(struct db_pool *p, struct pool_waiter *w)
{
	list_remove(&w->link);
	p->waiting--;
	task_cond_wake_one(&w->cond);
}

/* An idle connection whose server is still there, or NULL. */
static struct db_conn *
pool_idle(struct db_pool *p)
{
	struct db_conn *c;

	while ((c = LIST_FIRST(&p->idle, struct db_conn, link)) != NULL) {
		list_remove(&c->link);
		if (db_connect_is_alive(c))
			return c;
		p->up = false;
		(void)err_set(&p->reason, ERR_TEMP, "4.3.0", "the server closed the connection");
		pool_close(p, c);
	}
	return NULL;
}

static bool
pool_away(const struct db_pool *p, struct err *err)
{
	return err_set(err, p->reason.kind == ERR_NONE ? ERR_TEMP : p->reason.kind, "4.3.0",
	    "database is away: %s", p->reason.text);
}

static void
pool_settle(struct db_pool *p)
{
	struct pool_waiter *w;

	while ((w = pool_first_waiter(p)) != NULL && (w->conn = pool_idle(p)) != NULL)
		waiter_wake(p, w);
	pool_connect(p);
	while ((w = pool_first_waiter(p)) != NULL && (p->closed || p->open + p->connecting == 0)) {
		w->refused = true;
		(void)pool_away(p, w->err);
		waiter_wake(p, w);
	}
}

/* Waits for its turn. False: timed out or cancelled, or nothing will come. */
static bool
waiter_await(struct db_pool *p, struct pool_waiter *w, int64_t deadline, struct err *err)
{
	enum task_wait why = TASK_READY;

	while (w->conn == NULL && !w->refused) {
		int64_t now = clock_mono_us();
		/* At the end of a back-off pause somebody has to start the next attempt. */
		int64_t until = p->retry_at > now ? MIN(deadline, p->retry_at) : deadline;

		why = task_cond_wait(&w->cond, until);
		if (why == TASK_CANCELLED || (why == TASK_TIMEOUT && until == deadline))
			break;
		if (!w->refused)
			pool_settle(p);
	}
	if (w->conn != NULL || w->refused)
		return w->conn != NULL;
	list_remove(&w->link);
	p->waiting--;
	if (why == TASK_CANCELLED)
		return err_set(err, ERR_GONE, "4.3.0", "waiting for the database was cancelled");
	return err_set(err, ERR_TEMP, "4.3.0", "database: no connection free in time");
}

struct db_conn *
db_pool_take(struct db_pool *p, int64_t deadline, struct err *err)
{
	struct pool_waiter w = {.err = err};
	struct db_conn *c = p->waiting == 0 ? pool_idle(p) : NULL;

	if (c != NULL)
		return c;
	list_add(&p->waiters, &w.link);
	p->waiting++;
	pool_settle(p);
	if (!waiter_await(p, &w, deadline, err) && !w.refused)
		pool_release(p);
	return w.conn;
}

void
db_pool_give(struct db_pool *p, struct db_conn **conn)
{
	struct db_conn *c = *conn;

	*conn = NULL;
	if (c == NULL)
		return;
	MUST(c->pool == p && !list_is_linked(&c->link));
	if (PQstatus(c->pg) != CONNECTION_OK)
		p->up = false;
	else if (!c->broken)
		p->up = true;
	if (p->closed || c->broken || c->flight.open || PQstatus(c->pg) != CONNECTION_OK ||
	    PQtransactionStatus(c->pg) != PQTRANS_IDLE) {
		pool_close(p, c);
	} else {
		db_flight_clear(c);
		list_add_front(&p->idle, &c->link);
	}
	pool_settle(p);
	pool_release(p);
}
