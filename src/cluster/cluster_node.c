/*
 * cluster_node.c - registration, heartbeat, observation, in one task over one connection that it keeps.
 *
 * I1	may_deliver is true only within lease - margin of the sending of the last renewal that hit our row, counted by our own
 *	monotonic clock (6/10 of the lease, while we hold no lock), and never after a renewal failed until one succeeds again.
 * I2	Others declare us dead no sooner than `lease` after they saw our counter move, or, when our session is gone (its
 *	advisory lock is free), 6/10 of that: a node whose session broke knows it by its next heartbeat, within 6/10.
 * I3	Nobody is declared dead on the word of more than one session, or of a server that was started meanwhile, or across a
 *	pause in which we did not look: then the observation starts anew.
 */
#include "cluster/cluster_node.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "task/task.h"

#define RETRY        (CLOCK_SECOND / 5)
#define SESSION_GONE 6 /* tenths of the lease after which a node without a session is dead */

struct observation {
	int64_t epoch;
	int64_t beat;
	int64_t moved; /* mono us: when we saw the counter at this value first */
	bool seen;     /* in the present look */
};

struct cluster_node {
	struct cluster_node_settings settings;
	char *name;
	int64_t epoch;
	enum cluster_node_state state;
	int64_t renewed; /* mono us: when the last good renewal was sent */
	bool begun;      /* begin() returned true for this lease */
	bool drain;      /* wanted by us */
	bool drained;    /* in the row: wanted by us or an operator */
	bool stopping;
	struct db_conn *conn; /* owned; NULL: none */
	bool locked;          /* the connection has the advisory lock */
	int64_t server;       /* its start time */
	struct hmap observed; /* epoch -> struct observation */
	int64_t looked;       /* mono us of the last look */
	struct task_group group;
	struct task_cond wake;
};

static const struct db_statement sql_register = {"node_register",
    "INSERT INTO mailq.node (epoch, name, state) VALUES ($1, $2, CASE WHEN $3 = 1 THEN 'draining' "
    "ELSE 'up' END)"};
static const struct db_statement sql_renew = {"node_renew",
    "UPDATE mailq.node SET beat = beat + 1, state = CASE WHEN drain OR $2 = 1 THEN 'draining' "
    "ELSE 'up' END WHERE epoch = $1 AND state <> 'dead' "
    "RETURNING state = 'draining', pg_postmaster_start_time()"};
static const struct db_statement sql_look = {"node_look",
    "SELECT epoch, beat, pg_postmaster_start_time() FROM mailq.node WHERE state <> 'dead' "
    "AND epoch <> $1"};
static const struct db_statement sql_lock = {"node_lock", "SELECT pg_try_advisory_lock($1)"};
static const struct db_statement sql_is_free = {
    "node_is_free", "SELECT pg_try_advisory_xact_lock($1)"};
/* Only if the counter has not moved since we looked. */
static const struct db_statement sql_declare = {"node_declare",
    "UPDATE mailq.node SET state = 'dead', changed = now() WHERE epoch = $1 AND beat = $2 "
    "AND state <> 'dead'"};
static const struct db_statement sql_leave = {
    "node_leave", "UPDATE mailq.node SET state = 'dead', changed = now() WHERE epoch = $1"};

/* ---- the connection --------------------------------------------------------------------------------------------- */

static int64_t
statement_deadline(const struct cluster_node *n)
{
	return clock_deadline(n->settings.lease / 3);
}

static void
forget_observations(struct cluster_node *n)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *o;

	while (hmap_next(&n->observed, &at, &key, &o))
		mem_free(o);
	hmap_done(&n->observed);
	n->observed = (struct hmap){0};
}

static void
drop_connection(struct cluster_node *n)
{
	if (n->conn != NULL)
		db_pool_give(n->settings.pool, &n->conn);
	n->locked = false;
	forget_observations(n);
}

/* Holds the lock that shows others that our session lives. */
static bool
take_lock(struct cluster_node *n, struct err *err)
{
	char out[DB_INT_SIZE];
	struct db_param param = db_param_int8(out, n->epoch);
	struct db_result *r = NULL;

	if (n->settings.pooler || n->epoch == 0 || n->locked)
		return true;
	if (!db_exec(n->conn, &sql_lock, &param, 1, statement_deadline(n), &r, err))
		return false;
	n->locked = db_result_bool(r, 0, 0);
	db_result_free(&r);
	return true;
}

static bool
connect(struct cluster_node *n, struct err *err)
{
	if (n->conn == NULL)
		n->conn = db_pool_take(n->settings.pool, statement_deadline(n), err);
	return n->conn != NULL && take_lock(n, err);
}

/* ---- registration and renewal --------------------------------------------------------------------------------- */

static bool
enlist(struct cluster_node *n, struct err *err)
{
	int64_t epoch = random_epoch();
	int64_t sent = clock_mono_us();
	char out[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(out[0], epoch),
	    DB_PARAM_TEXT(n->name),
	    db_param_int4(out[1], n->drain),
	};
	struct db_batch b;

	db_batch_begin(&b, n->conn);
	db_batch_add(&b, &sql_register, params, ARRAY_LEN(params));
	if (db_batch_commit(&b, statement_deadline(n), NULL, NULL, err) != DB_COMMITTED)
		return false; /* if it was stored after all, it is a node that never beats */
	CRASH_POINT("node-registered");
	n->epoch = epoch;
	n->locked = false;
	n->renewed = sent;
	n->begun = false;
	n->drained = n->drain;
	return take_lock(n, err);
}

/* A server that was started meanwhile: what was observed before says nothing. */
static void
note_server(struct cluster_node *n, int64_t started)
{
	if (n->server != started)
		forget_observations(n);
	n->server = started;
}

/* False with ERR_GONE: our row was declared dead. */
static bool
renew(struct cluster_node *n, struct err *err)
{
	int64_t sent = clock_mono_us();
	char out[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(out[0], n->epoch),
	    db_param_int4(out[1], n->drain),
	};
	struct db_result *r[1] = {NULL};
	struct db_batch b;

	db_batch_begin(&b, n->conn);
	db_batch_add(&b, &sql_renew, params, ARRAY_LEN(params));
	if (db_batch_commit(&b, statement_deadline(n), r, NULL, err) != DB_COMMITTED) {
		db_result_free(&r[0]);
		return false;
	}
	CRASH_POINT("node-renewed");
	if (db_result_rows(r[0]) == 0) {
		db_result_free(&r[0]);
		return err_set(err, ERR_GONE, "4.3.0", "another node declared this one dead");
	}
	n->drained = db_result_bool(r[0], 0, 0);
	note_server(n, db_result_time(r[0], 0, 1));
	db_result_free(&r[0]);
	n->renewed = sent;
	return true;
}

/* ---- observing others (rule 5a.8) -------------------------------------------------------------------------------- */

static struct observation *
observe(struct cluster_node *n, int64_t epoch, int64_t beat, int64_t now)
{
	struct observation *o = hmap_get(&n->observed, HMAP_KEY(epoch));

	if (o == NULL) {
		o = mem_new(struct observation);
		o->epoch = epoch;
		o->beat = beat - 1;
		hmap_put(&n->observed, HMAP_KEY(epoch), o);
	}
	if (o->beat != beat) {
		o->beat = beat;
		o->moved = now;
	}
	o->seen = true;
	return o;
}

/* Is the advisory lock of that node free, so that its session is gone? */
static bool
session_is_gone(struct cluster_node *n, int64_t epoch)
{
	char out[DB_INT_SIZE];
	struct db_param param = db_param_int8(out, epoch);
	struct db_result *r = NULL;
	struct err err;
	bool gone;

	if (n->settings.pooler ||
	    !db_exec(n->conn, &sql_is_free, &param, 1, statement_deadline(n), &r, &err))
		return false;
	gone = db_result_bool(r, 0, 0);
	db_result_free(&r);
	return gone;
}

static bool
is_dead(struct cluster_node *n, const struct observation *o)
{
	int64_t still = clock_mono_us() - o->moved;

	if (still >= n->settings.lease)
		return true;
	return still >= n->settings.lease * SESSION_GONE / 10 && session_is_gone(n, o->epoch);
}

static bool
declare(struct cluster_node *n, const struct observation *o)
{
	char out[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(out[0], o->epoch),
	    db_param_int8(out[1], o->beat),
	};
	uint64_t rows = 0;
	struct err err;

	if (!db_command(n->conn, &sql_declare, params, ARRAY_LEN(params), statement_deadline(n),
		&rows, &err))
		return false;
	CRASH_POINT("node-declared-dead");
	return rows > 0;
}

static void
sweep_observations(struct cluster_node *n)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *value;

	while (hmap_next(&n->observed, &at, &key, &value)) {
		struct observation *o = value;

		if (o->seen) {
			o->seen = false;
			continue;
		}
		hmap_remove(&n->observed, key);
		mem_free(o);
	}
}

/* After a pause in which we did not look (stopped, or the server stood still) all counters may stand for our own reason. */
static void
check_pause(struct cluster_node *n, int64_t now)
{
	if (n->looked != 0 && now - n->looked > n->settings.lease / 2)
		forget_observations(n);
	n->looked = now;
}

static size_t
look(struct cluster_node *n, struct err *err)
{
	char out[DB_INT_SIZE];
	struct db_param param = db_param_int8(out, n->epoch);
	struct db_result *r = NULL;
	size_t dead = 0;
	int64_t now;

	if (!db_exec(n->conn, &sql_look, &param, 1, statement_deadline(n), &r, err))
		return 0;
	now = clock_mono_us();
	check_pause(n, now);
	for (size_t i = 0; i < db_result_rows(r); i++) {
		struct observation *o;

		note_server(n, db_result_time(r, i, 2));
		o = observe(n, db_result_int(r, i, 0), db_result_int(r, i, 1), now);
		if (is_dead(n, o))
			dead += declare(n, o);
	}
	db_result_free(&r);
	sweep_observations(n);
	return dead;
}

/* ---- the life of a lease ----------------------------------------------------------------------------------------- */

static bool
is_current(const struct cluster_node *n)
{
	return n->epoch != 0 && n->state != CLUSTER_NODE_DOUBT &&
	       clock_mono_us() - n->renewed < n->settings.lease - n->settings.margin;
}

static void
enter_doubt(struct cluster_node *n)
{
	if (n->state == CLUSTER_NODE_UP || n->state == CLUSTER_NODE_DRAINING)
		n->state = CLUSTER_NODE_DOUBT;
}

static void
lose(struct cluster_node *n)
{
	int64_t epoch = n->epoch;

	n->epoch = 0;
	n->begun = false;
	n->state = CLUSTER_NODE_NONE;
	if (n->settings.events.lost != NULL)
		n->settings.events.lost(n->settings.events.arg, epoch);
}

/* After an outage facts come first, then the renewal, then the leases (rule 5a.8). */
static bool
recover(struct cluster_node *n)
{
	const struct cluster_node_events *e = &n->settings.events;

	return n->state != CLUSTER_NODE_DOUBT || e->recover == NULL || e->recover(e->arg);
}

static bool
begin_lease(struct cluster_node *n, bool fresh)
{
	const struct cluster_node_events *e = &n->settings.events;

	if (n->begun && n->state != CLUSTER_NODE_DOUBT)
		return true;
	n->begun = e->begin == NULL || e->begin(e->arg, n->epoch, fresh);
	return n->begun;
}

/* One heartbeat. False: try again soon. */
static bool
beat(struct cluster_node *n, struct err *err)
{
	bool fresh;
	size_t dead;

	if (n->epoch != 0 && !is_current(n))
		enter_doubt(n);
	fresh = !n->begun && n->state != CLUSTER_NODE_DOUBT;
	if (!connect(n, err))
		return false;
	if (n->epoch == 0 && !enlist(n, err))
		return false;
	if (!recover(n) || !renew(n, err))
		return false;
	if (!begin_lease(n, fresh))
		return false;
	n->state = n->drained ? CLUSTER_NODE_DRAINING : CLUSTER_NODE_UP;
	if (n->settings.events.renewed != NULL)
		n->settings.events.renewed(
		    n->settings.events.arg, n->epoch, cluster_node_lease_until(n));
	dead = look(n, err);
	if (dead > 0 && n->settings.events.dead != NULL)
		n->settings.events.dead(n->settings.events.arg, dead);
	return true;
}

static void
live(void *arg)
{
	struct cluster_node *n = arg;

	while (!n->stopping && !task_is_cancelled()) {
		int64_t started = clock_mono_us();
		struct err err;
		bool ok;

		err_clear(&err);
		ok = beat(n, &err);
		/* Our own end says ERR_GONE too. */
		if (!ok && err.kind == ERR_GONE && n->epoch != 0 && !task_is_cancelled()) {
			lose(n);
			continue;
		}
		if (!ok) {
			log_debug("heartbeat: %s", err.text);
			enter_doubt(n);
			if (err.kind != ERR_NONE)
				drop_connection(n);
		}
		if (!n->stopping)
			task_cond_wait(
			    &n->wake, ok ? started + n->settings.heartbeat : clock_deadline(RETRY));
	}
	drop_connection(n);
}

/* ---- the scheduler's side ------------------------------------------------------------------------------------------ */

bool
cluster_node_may_deliver(const struct cluster_node *n)
{
	return (n->state == CLUSTER_NODE_UP || n->state == CLUSTER_NODE_DRAINING) && is_current(n);
}

bool
cluster_node_may_begin(const struct cluster_node *n)
{
	/* A heartbeat that takes its time is no reason. */
	int64_t most = MAX(n->settings.lease / 2, n->settings.heartbeat * 3 / 2);

	return cluster_node_may_deliver(n) && clock_mono_us() - n->renewed < most;
}

int64_t
cluster_node_lease_until(const struct cluster_node *n)
{
	return cluster_node_may_deliver(n) ? n->renewed + n->settings.lease - n->settings.margin
					   : 0;
}

bool
cluster_node_may_claim(const struct cluster_node *n)
{
	return n->state == CLUSTER_NODE_UP && !n->drain && is_current(n);
}

int64_t
cluster_node_epoch(const struct cluster_node *n)
{
	return n->epoch;
}

enum cluster_node_state
cluster_node_state(const struct cluster_node *n)
{
	if ((n->state == CLUSTER_NODE_UP || n->state == CLUSTER_NODE_DRAINING) && !is_current(n))
		return CLUSTER_NODE_DOUBT;
	return n->state;
}

void
cluster_node_suspect(struct cluster_node *n)
{
	task_cond_wake_all(&n->wake);
}

void
cluster_node_drain(struct cluster_node *n, bool on)
{
	n->drain = on;
	task_cond_wake_all(&n->wake);
}

struct cluster_node *
cluster_node_new(const struct cluster_node_settings *settings)
{
	struct cluster_node *n = mem_new(struct cluster_node);

	n->settings = *settings;
	n->settings.name = n->name = mem_strdup(settings->name);
	if (n->settings.heartbeat == 0)
		n->settings.heartbeat = 2 * CLOCK_SECOND;
	if (n->settings.lease == 0)
		n->settings.lease = 10 * CLOCK_SECOND;
	if (n->settings.margin == 0)
		n->settings.margin = 2 * CLOCK_SECOND;
	task_group_start(&n->group, "node", live, n);
	return n;
}

static void
stop(struct cluster_node *n)
{
	n->stopping = true;
	task_cond_wake_all(&n->wake);
	task_group_wait(&n->group, CLOCK_NEVER);
}

bool
cluster_node_leave(struct cluster_node *n, int64_t deadline, struct err *err)
{
	char out[DB_INT_SIZE];
	struct db_param param = db_param_int8(out, n->epoch);
	struct db_conn *c;
	bool ok;

	task_shield(true);
	stop(n);
	n->state = CLUSTER_NODE_LEFT;
	if (n->epoch == 0) {
		task_shield(false);
		return true;
	}
	c = db_pool_take(n->settings.pool, deadline, err);
	ok = c != NULL && db_command(c, &sql_leave, &param, 1, deadline, NULL, err);
	if (c != NULL)
		db_pool_give(n->settings.pool, &c);
	n->epoch = 0;
	task_shield(false);
	return ok;
}

void
cluster_node_free(struct cluster_node **nn)
{
	struct cluster_node *n = *nn;

	if (n == NULL)
		return;
	task_shield(true);
	stop(n);
	task_shield(false);
	mem_free(n->name);
	mem_free(n);
	*nn = NULL;
}
