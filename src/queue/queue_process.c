/*
 * queue_process.c - the number under which this process mints message ids (rule 5a.1). The database reserves time ahead
 * for a number, and ids are minted below the reservation only; the next holder of the number begins where the reservation ended.
 * So no id is ever minted twice, whoever is alive, whatever the clocks do.
 */
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "mail/mail_queue_id.h"
#include "queue/queue_int.h"

#define AHEAD      (60 * CLOCK_SECOND) /* reserved beyond now */
#define RENEW      (10 * CLOCK_SECOND)
#define RETRY      (CLOCK_SECOND / 2)
#define SQL_LIMIT  (10 * CLOCK_SECOND)
#define LEAVE_TIME (2 * CLOCK_SECOND)

struct queue_process {
	struct db_pool *pool; /* borrowed */
	char *node;
	char *program;
	int32_t first; /* the range of numbers of this shard */
	int32_t last;
	int64_t epoch; /* of the registration; 0: none */
	int32_t number;
	int64_t next; /* us since 2020: the first that was not minted */
	int64_t reserved;
	bool stopping;
	bool warned;
	struct task *keeper;
	struct task_group group;
	struct task_cond changed; /* registered, or to be stopped */
};

static const struct db_statement sql_register = {"process_register",
    "SELECT my_number, low, high FROM mailq.process_register($1, $2, $3, $4, $5, $6, $7)"};
static const struct db_statement sql_renew = {
    "process_renew", "SELECT mailq.process_renew($1, $2, $3)"};
static const struct db_statement sql_leave = {"process_leave", "SELECT mailq.process_leave($1)"};

/* Microseconds since 2020: the time part of an id. */
static int64_t
id_clock(void)
{
	int64_t us = clock_real_us() - MAIL_QUEUE_ID_EPOCH * CLOCK_SECOND;

	return us > 0 ? us : 0;
}

static bool
register_number(struct queue_process *p, struct db_conn *c, int64_t deadline, struct err *err)
{
	char n[5][DB_INT_SIZE];
	int64_t epoch = random_epoch();
	struct db_param params[] = {
	    db_param_int4(n[0], p->first),
	    db_param_int4(n[1], p->last),
	    db_param_int8(n[2], epoch),
	    db_param_int8(n[3], id_clock()),
	    db_param_int8(n[4], AHEAD),
	    DB_PARAM_TEXT(p->node),
	    DB_PARAM_TEXT(p->program),
	};
	struct db_result *r[1] = {NULL};
	struct db_batch b;

	db_batch_begin(&b, c);
	db_batch_add(&b, &sql_register, params, ARRAY_LEN(params));
	/* Only what is durable counts: a reservation that a failover forgets could be given out again. */
	if (db_batch_commit(&b, deadline, r, NULL, err) != DB_COMMITTED) {
		db_result_free(&r[0]);
		return false;
	}
	if (db_result_is_null(r[0], 0, 0)) {
		db_result_free(&r[0]);
		return err_set(err, ERR_CONFIG, "4.3.0",
		    "all process numbers of the queue database are in use");
	}
	p->number = (int32_t)db_result_int(r[0], 0, 0);
	p->next = db_result_int(r[0], 0, 1);
	p->reserved = db_result_int(r[0], 0, 2);
	p->epoch = epoch;
	db_result_free(&r[0]);
	CRASH_POINT("process-registered");
	task_cond_wake_all(&p->changed);
	return true;
}

enum db_commit
queue_process_touch(struct queue_process *p, struct db_conn *c, int64_t deadline, struct err *err)
{
	char n[3][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], p->epoch),
	    db_param_int8(n[1], id_clock()),
	    db_param_int8(n[2], AHEAD),
	};
	struct db_result *r[1] = {NULL};
	enum db_commit done;
	struct db_batch b;

	db_batch_begin(&b, c);
	db_batch_add(&b, &sql_renew, params, ARRAY_LEN(params));
	done = db_batch_commit(&b, deadline, r, NULL, err);
	if (done == DB_COMMITTED && db_result_is_null(r[0], 0, 0)) {
		/* Somebody else has the number: take another one. Nothing was written, so nothing was confirmed. */
		p->epoch = 0;
		task_cond_wake_all(&p->changed);
		done = DB_COMMIT_FAILED;
		err_set(err, ERR_TEMP, "4.3.0", "the process number is another's now");
	} else if (done == DB_COMMITTED) {
		p->reserved = MAX(p->reserved, db_result_int(r[0], 0, 0));
	}
	db_result_free(&r[0]);
	return done;
}

static bool
keep_once(struct queue_process *p, struct err *err)
{
	int64_t deadline = clock_deadline(SQL_LIMIT);
	struct db_conn *c = db_pool_take(p->pool, deadline, err);
	bool ok;

	if (c == NULL)
		return false;
	if (p->epoch == 0)
		ok = register_number(p, c, deadline, err);
	else
		ok = queue_process_touch(p, c, deadline, err) == DB_COMMITTED && p->epoch != 0;
	db_pool_give(p->pool, &c);
	return ok;
}

/* Until it is time again; or sooner, when somebody found the database away: as long as that is so, nobody else tries. */
static void
rest(struct queue_process *p, int64_t until)
{
	enum task_wait woken = TASK_TIMEOUT;

	while (!p->stopping && woken == TASK_TIMEOUT && clock_mono_us() < until) {
		woken = task_cond_wait(&p->changed, MIN(until, clock_deadline(RETRY)));
		if (!db_pool_is_up(p->pool))
			return;
	}
}

static void
keep(void *arg)
{
	struct queue_process *p = arg;
	struct err err;

	while (!p->stopping && !task_is_cancelled()) {
		bool ok;

		err_clear(&err);
		ok = keep_once(p, &err);
		if (!ok && !p->warned && err.kind != ERR_NONE && !task_is_cancelled()) {
			log_warn("queue database: %s", err.text);
			p->warned = true;
		}
		if (ok)
			p->warned = false;
		rest(p, clock_deadline(ok ? RENEW : RETRY));
	}
}

struct queue_process *
queue_process_new(const struct queue_process_settings *settings)
{
	struct queue_process *p = mem_new(struct queue_process);
	size_t shards = MAX(settings->shards, (size_t)1);
	size_t span = MAIL_QUEUE_ID_PROCESS / shards;

	MUST(span > 0 && settings->shard < shards);
	p->pool = settings->pool;
	p->node = mem_strdup(settings->node);
	p->program = mem_strdup(settings->program);
	p->first = (int32_t)(settings->shard * span);
	p->last = (int32_t)(p->first + span - 1);
	p->keeper = task_group_start(&p->group, "queue number", keep, p);
	return p;
}

static void
leave(struct queue_process *p)
{
	int64_t deadline = clock_deadline(LEAVE_TIME);
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, p->epoch);
	struct db_conn *c;
	struct err err;

	if (p->epoch == 0 || (c = db_pool_take(p->pool, deadline, &err)) == NULL)
		return;
	/* Not done: the number is free after a while anyway. */
	if (!db_command(c, &sql_leave, &param, 1, deadline, NULL, &err))
		log_debug("queue database: %s", err.text);
	db_pool_give(p->pool, &c);
}

void
queue_process_free(struct queue_process **pp)
{
	struct queue_process *p = *pp;

	if (p == NULL)
		return;
	task_shield(true);
	p->stopping = true;
	task_cond_wake_all(&p->changed);
	task_group_wait(&p->group, CLOCK_NEVER);
	leave(p);
	task_shield(false);
	mem_free(p->node);
	mem_free(p->program);
	mem_free(p);
	*pp = NULL;
}

bool
queue_process_mint(struct queue_process *p, int64_t *ret_msg_id, struct err *err)
{
	int64_t us = id_clock();

	if (p->epoch == 0)
		return err_set(err, ERR_TEMP, "4.3.0", "queue database is away");
	/* A clock that jumped beyond the reservation, or back: ids go on from the last one. */
	if (us < p->next || us >= p->reserved)
		us = p->next;
	if (us >= p->reserved)
		return err_set(
		    err, ERR_TEMP, "4.3.0", "queue database is away: no message id left");
	p->next = us + 1;
	*ret_msg_id =
	    mail_queue_id_make(us + MAIL_QUEUE_ID_EPOCH * CLOCK_SECOND, (unsigned)p->number);
	return true;
}

bool
queue_process_is_registered(const struct queue_process *p)
{
	return p->epoch != 0;
}

int64_t
queue_process_epoch(const struct queue_process *p)
{
	return p->epoch;
}

bool
queue_process_wait(struct queue_process *p, int64_t deadline, struct err *err)
{
	while (p->epoch == 0)
		if (task_cond_wait(&p->changed, deadline) != TASK_READY)
			return err_set(err, ERR_TEMP, "4.3.0", "queue database is away");
	return true;
}
