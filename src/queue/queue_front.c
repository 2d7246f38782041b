/*
 * queue_front.c - the group commit. A writer takes what has gathered, stores it with one statement, answers those who wait, and
 * takes what gathered meanwhile (rule 5a.17). The second writer begins only when much waits beside a commit under way: with one
 * commit at a time all sessions move in one convoy, and either the database or this process has nothing to do.
 *
 * I1	A waiting message is in exactly one list: `gathering`, or a writer's batch.
 * I2	Whoever waits may leave (deadline, cancelled) while his message is in `gathering`: it is not stored then. Once it is in
 *	the batch its bytes are copied, so he may leave too, without knowing: that is the 451 of a commit in doubt.
 * I3	A message is answered with success only after a COMMIT that came back clean and without a warning (rule 5a.10).
 */
#include "queue/queue_front.h"

#include <string.h>

#include "base/crash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_int.h"
#include "queue/queue_upload.h"

#define OPEN_SET_AGE CLOCK_SECOND /* how old our knowledge of the open set may be */
#define RATE_WINDOW  (CLOCK_SECOND / 10)
#define BUSY_RATE    100                /* messages in such a window, above which gathering pays */
#define RETRY_PAUSE  (CLOCK_SECOND / 5) /* between tries to find out about a commit */
#define SLOW_MEMORY  (10 * CLOCK_SECOND)
#define SIZE_PAUSE   (5 * CLOCK_SECOND)
#define FULL_MEMORY  CLOCK_SECOND /* after a commit that found no room; then the next one may try */
#define WRITERS      2
#define SECOND_PART  4 /* this part of a full batch is worth a commit beside another */

struct waiter {
	const struct queue_message *message; /* borrowed from the waiting task */
	struct list node;
	struct task_cond answered;
	bool taken; /* by a writer, into his batch */
	bool done;
	bool stored;
	struct err err;
};

struct queue_front {
	struct queue_front_settings settings;
	struct queue_process *process; /* owned */
	struct list gathering;         /* waiters */
	size_t gathered;               /* how many, and the size of their contents */
	size_t gathered_bytes;
	size_t writers;
	size_t writing; /* of them, not idle */
	struct task_cond work;
	struct task_group group;
	bool stopping;
	int16_t set;
	int64_t set_known; /* mono us when `set` was read; 0: never */
	int64_t window_start;
	size_t window_count;
	bool busy;              /* in the last window */
	int64_t begun[WRITERS]; /* mono us: start of the writer's commit in flight; 0: none */
	int64_t ended;          /* of the last one */
	bool full;              /* the database is larger than size_limit */
	int64_t no_room_until;  /* mono us: a commit found its disk full; 0: none */
	struct task_cond size_wake;
	struct queue_front_stats stats;
};

/* One group commit. */
struct batch {
	struct list waiters;
	int16_t set; /* where its first try went, and all others have to go */
	struct queue_store ring;
	struct queue_store held;
	/* The message with an upload is alone. Its values are copied, for its waiter may leave and free the upload (I2). */
	bool has_upload;
	int64_t content_id;
	int64_t front_epoch;
	uint64_t upload_size;
	int64_t upload_message;
};

static const struct db_statement sql_size = {
    "front_size", "SELECT pg_database_size(current_database())"};
static const struct db_statement sql_large_queue = {
    "large_queue", "SELECT mailq.large_queue($1, $2, $3, $4)"};

/* ---- gathering ---------------------------------------------------------------------------------------------- */

static void
answer(struct waiter *w, bool stored, const struct err *err)
{
	list_remove(&w->node);
	w->stored = stored;
	if (!stored)
		w->err = *err;
	else if (w->message->upload != NULL)
		queue_upload_stored(w->message->upload);
	w->done = true;
	task_cond_wake_all(&w->answered);
}

static void
answer_all(struct list *waiters, bool stored, const struct err *err)
{
	LIST_FOREACH_SAFE (w, waiters, struct waiter, node)
		answer(w, stored, err);
}

static void
ungather(struct queue_front *f, struct waiter *w)
{
	list_remove(&w->node);
	f->gathered--;
	f->gathered_bytes -= w->message->content.len;
}

/* `w` is in no list. */
static void
batch_add(struct batch *b, struct waiter *w)
{
	w->taken = true;
	list_add(&b->waiters, &w->node);
	queue_store_add(w->message->hold != NULL ? &b->held : &b->ring, w->message);
	if (w->message->upload == NULL)
		return;
	b->has_upload = true;
	b->content_id = queue_upload_content_id(w->message->upload);
	b->front_epoch = queue_upload_front_epoch(w->message->upload);
	b->upload_size = queue_upload_size(w->message->upload);
	b->upload_message = w->message->envelope.msg_id;
}

/* Would `m` fit into the batch? The first always does. A message with an upload is a batch of its own. */
static bool
batch_fits(const struct queue_front *f, const struct batch *b, const struct queue_message *m)
{
	const struct queue_front_settings *s = &f->settings;
	size_t count = b->ring.count + b->held.count;

	if (count == 0)
		return true;
	if (b->has_upload || m->upload != NULL || count >= s->batch_messages)
		return false;
	return (size_t)(b->ring.bytes + b->held.bytes) + m->content.len <= s->batch_bytes &&
	       (size_t)(b->ring.rcpts + b->held.rcpts) + m->envelope.rcpt_count <= s->batch_rcpts;
}

static void
batch_fill(struct queue_front *f, struct batch *b)
{
	LIST_FOREACH_SAFE (w, &f->gathering, struct waiter, node) {
		if (!batch_fits(f, b, w->message))
			return;
		if (f->settings.before_store != NULL)
			f->settings.before_store(f->settings.before_store_arg, w->message);
		ungather(f, w);
		batch_add(b, w);
	}
}

static void
batch_done(struct batch *b)
{
	MUST(list_is_empty(&b->waiters));
	queue_store_done(&b->ring);
	queue_store_done(&b->held);
}

/* ---- one try to commit ---------------------------------------------------------------------------------------- */

static bool
know_open_set(struct queue_front *f, struct db_conn *c, int64_t deadline, struct err *err)
{
	if (f->set_known != 0 && clock_mono_us() - f->set_known < OPEN_SET_AGE)
		return true;
	if (!queue_ring_open_set(c, deadline, &f->set, err))
		return false;
	f->set_known = clock_mono_us();
	return true;
}

static void
add_upload(struct db_batch *d, const struct batch *b)
{
	char n[4][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], b->content_id),
	    db_param_int8(n[1], b->front_epoch),
	    db_param_int8(n[2], (int64_t)b->upload_size),
	    db_param_int8(n[3], b->upload_message),
	};

	db_batch_add(d, &sql_large_queue, params, ARRAY_LEN(params));
}

static enum db_commit
batch_commit(struct batch *b, struct db_conn *c, int64_t deadline, struct err *err)
{
	struct db_batch d;
	enum db_commit done;

	db_batch_begin(&d, c);
	if (b->ring.count > 0)
		queue_store_send(&b->ring, &d, b->set);
	if (b->held.count > 0)
		queue_store_send_held(&b->held, &d);
	if (b->has_upload)
		add_upload(&d, b);
	CRASH_POINT("accept-before-commit");
	done = db_batch_commit(&d, deadline, NULL, NULL, err);
	CRASH_POINT("accept-after-commit");
	return done;
}

/* ---- commits in doubt (rule 5a.10) ---------------------------------------------------------------------------- */

/*
 * The same insert again, into the same set: a key that is there already means that the first try was committed; but
 * perhaps not yet safely, so one more write has to come back clean.
 */
static enum db_commit
find_out_once(struct queue_front *f, struct batch *b, int64_t deadline, struct err *err)
{
	struct db_conn *c = db_pool_take(f->settings.pool, deadline, err);
	enum db_commit done;

	if (c == NULL)
		return DB_COMMIT_IN_DOUBT;
	done = batch_commit(b, c, deadline, err);
	if (done == DB_COMMIT_FAILED && queue_error_is(c, "23505")) {
		done = queue_process_touch(f->process, c, deadline, err);
		if (done == DB_COMMIT_FAILED)
			done = DB_COMMIT_IN_DOUBT;
	} else if (done == DB_COMMIT_FAILED) {
		/* What failed for another reason says nothing about the first try. */
		done = DB_COMMIT_IN_DOUBT;
	}
	db_pool_give(f->settings.pool, &c);
	return done;
}

static enum db_commit
find_out(struct queue_front *f, struct batch *b, int64_t deadline, struct err *err)
{
	enum db_commit done = DB_COMMIT_IN_DOUBT;

	f->stats.in_doubt++;
	CRASH_POINT("accept-in-doubt");
	while (done == DB_COMMIT_IN_DOUBT && !list_is_empty(&b->waiters) &&
	       clock_mono_us() < deadline) {
		task_sleep_until(clock_deadline(RETRY_PAUSE));
		done = find_out_once(f, b, deadline, err);
	}
	return done;
}

/* ---- the writer ------------------------------------------------------------------------------------------------- */

/* Is this the message's own fault, rather than the server's state? */
static bool
is_data_error(const struct db_conn *c)
{
	return queue_error_is(c, "22") || queue_error_is(c, "23") || queue_error_is(c, "54");
}

static void
refused(struct db_conn *c, struct err *err)
{
	if (queue_error_is(c, "53")) /* disk full and the like */
		err_set_smtp(err, ERR_TEMP, 452, "4.3.1", "queue database: %s", err->text);
	else if (queue_error_is(c, "22000")) /* mailq.large_queue(): the reaper took us for dead */
		err_set(err, ERR_TEMP, "4.3.0", "queue database: %s", err->text);
	else if (queue_error_is(c, "22"))
		err_set(err, ERR_PERM, "5.6.0", "message cannot be stored: %s", err->text);
	else
		err_set(err, ERR_TEMP, "4.3.0", "queue database: %s", err->text);
}

/* Takes the set and runs one commit; *ret_split: the server refused the data of a batch of several. */
static bool
commit_once(
    struct queue_front *f, struct batch *b, int64_t deadline, bool *ret_split, struct err *err)
{
	struct db_conn *c = db_pool_take(f->settings.pool, deadline, err);
	enum db_commit done;

	*ret_split = false;
	if (c == NULL)
		return false;
	if (!know_open_set(f, c, deadline, err)) {
		db_pool_give(f->settings.pool, &c);
		return false;
	}
	b->set = f->set;
	done = batch_commit(b, c, deadline, err);
	if (done == DB_COMMIT_FAILED) {
		*ret_split = is_data_error(c) && b->ring.count + b->held.count > 1;
		refused(c, err);
		f->set_known = 0;
		if (queue_error_is(c, "53"))
			f->no_room_until = clock_deadline(FULL_MEMORY);
	}
	db_pool_give(f->settings.pool, &c);
	if (done == DB_COMMIT_IN_DOUBT)
		done = find_out(f, b, deadline, err);
	if (done == DB_COMMITTED)
		return true;
	if (done == DB_COMMIT_UNSAFE)
		err_set(err, ERR_TEMP, "4.3.0", "queue database: no confirmation from the standby");
	else if (done == DB_COMMIT_IN_DOUBT)
		err_set(
		    err, ERR_TEMP, "4.3.0", "queue database: outcome of the commit is not known");
	return false;
}

static void
write_split(struct queue_front *f, struct batch *b, int64_t deadline)
{
	f->stats.splits++;
	while (!list_is_empty(&b->waiters)) {
		struct waiter *w = LIST_FIRST(&b->waiters, struct waiter, node);
		struct batch one = {0};
		struct err err;
		bool split;

		err_clear(&err);
		list_init(&one.waiters);
		list_remove(&w->node);
		batch_add(&one, w);
		answer_all(&one.waiters, commit_once(f, &one, deadline, &split, &err), &err);
		batch_done(&one);
	}
}

static void
write_batch(struct queue_front *f, int64_t *begun)
{
	int64_t deadline = clock_deadline(f->settings.commit_timeout);
	struct batch b = {0};
	struct err err;
	bool split = false;
	size_t count;

	err_clear(&err);
	list_init(&b.waiters);
	batch_fill(f, &b);
	count = b.ring.count + b.held.count;
	*begun = clock_mono_us();
	if (commit_once(f, &b, deadline, &split, &err)) {
		f->stats.messages += count;
		f->stats.batches++;
		answer_all(&b.waiters, true, NULL);
		if (f->settings.on_stored != NULL)
			f->settings.on_stored(f->settings.on_stored_arg);
	} else if (split) {
		write_split(f, &b, deadline);
	} else {
		answer_all(&b.waiters, false, &err);
	}
	f->ended = clock_mono_us();
	f->stats.last_commit = f->ended - *begun;
	*begun = 0;
	batch_done(&b);
}

/* Above some rate a short pause makes fuller batches, which costs less per message. */
static void
gather(struct queue_front *f)
{
	if (f->busy && f->settings.gather > 0)
		task_sleep_until(clock_deadline(f->settings.gather));
}

static bool
is_worth_a_commit(const struct queue_front *f)
{
	if (list_is_empty(&f->gathering))
		return false;
	return f->writing == 0 || f->stopping ||
	       f->gathered >= f->settings.batch_messages / SECOND_PART ||
	       f->gathered_bytes >= f->settings.batch_bytes / SECOND_PART;
}

static void
writer(void *arg)
{
	struct queue_front *f = arg;
	int64_t *begun = &f->begun[f->writers++];

	/* All who have a message wait for it; and who came first need not wait for the whole crowd to come together. */
	task_urgent();
	while (!f->stopping || !list_is_empty(&f->gathering)) {
		if (!is_worth_a_commit(f)) {
			if (task_cond_wait(&f->work, CLOCK_NEVER) == TASK_CANCELLED)
				f->stopping = true;
			continue;
		}
		/* The end of the process does not cut a commit short. */
		task_shield(true);
		f->writing++;
		if (!f->stopping)
			gather(f);
		if (!list_is_empty(&f->gathering))
			write_batch(f, begun);
		f->writing--;
		task_shield(false);
	}
}

/* ---- the size of the database ------------------------------------------------------------------------------------ */

static bool
read_size(struct queue_front *f, int64_t *ret)
{
	int64_t deadline = clock_deadline(SIZE_PAUSE);
	struct db_result *r = NULL;
	struct err err;
	struct db_conn *c = db_pool_take(f->settings.pool, deadline, &err);

	if (c == NULL)
		return false;
	if (db_exec(c, &sql_size, NULL, 0, deadline, &r, &err))
		*ret = db_result_int(r, 0, 0);
	db_pool_give(f->settings.pool, &c);
	if (r == NULL)
		return false;
	db_result_free(&r);
	return true;
}

static void
size_watcher(void *arg)
{
	struct queue_front *f = arg;

	while (!f->stopping && !task_is_cancelled()) {
		int64_t size = 0;
		bool full = read_size(f, &size) && size > f->settings.size_limit;

		if (full != f->full)
			log_warn(
			    "queue database: %lld bytes, database_size_limit is %lld: new mail is %s",
			    (long long)size, (long long)f->settings.size_limit,
			    full ? "refused" : "taken again");
		f->full = full;
		if (!f->stopping)
			(void)task_cond_wait(&f->size_wake, clock_deadline(SIZE_PAUSE));
	}
}

/* ---- the callers' side ------------------------------------------------------------------------------------------ */

static void
count_rate(struct queue_front *f)
{
	int64_t now = clock_mono_us();

	f->window_count++;
	if (now - f->window_start < RATE_WINDOW)
		return;
	f->busy = f->window_count > BUSY_RATE && now - f->window_start < 2 * RATE_WINDOW;
	f->window_start = now;
	f->window_count = 0;
}

/* Recipients are kept as lines: none is empty, and none has a line end in it (rule 5a.12). */
static bool
are_lines(const struct queue_envelope *e)
{
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (*e->rcpts[i].addr == '\0' || strchr(e->rcpts[i].addr, '\n') != NULL)
			return false;
	return true;
}

bool
queue_front_store(
    struct queue_front *f, const struct queue_message *m, int64_t deadline, struct err *err)
{
	struct waiter w = {.message = m};

	MUST(m->envelope.rcpt_count > 0);
	if (!are_lines(&m->envelope))
		return err_set(
		    err, ERR_PERM, "5.1.3", "recipient address empty or with a line end");
	if (f->stopping)
		return err_set(err, ERR_TEMP, "4.3.0", "shutting down");
	count_rate(f);
	list_add(&f->gathering, &w.node);
	f->gathered++;
	f->gathered_bytes += m->content.len;
	if (is_worth_a_commit(f))
		task_cond_wake_one(&f->work);
	while (!w.done) {
		enum task_wait got = task_cond_wait(&w.answered, deadline);

		if (got == TASK_READY || w.done)
			continue;
		if (w.taken) /* I2 */
			list_remove(&w.node);
		else
			ungather(f, &w);
		return err_set(err, got == TASK_CANCELLED ? ERR_GONE : ERR_TEMP, "4.3.0",
		    "queue database: no answer in time");
	}
	if (!w.stored)
		*err = w.err;
	return w.stored;
}

bool
queue_front_is_ready(struct queue_front *f, struct err *err)
{
	int64_t now = clock_mono_us();
	int64_t limit = f->settings.latency_limit;
	bool slow = false;

	if (!queue_process_is_registered(f->process) || !db_pool_is_up(f->settings.pool))
		return err_set(err, ERR_TEMP, "4.3.0", "queue database is away");
	if (f->full || now < f->no_room_until)
		return err_set_smtp(err, ERR_TEMP, 452, "4.3.1", "queue database is full");
	if (limit <= 0)
		return true;
	/* A slow commit counts while it lasts, and for a while after: then the next one may tell. */
	for (size_t i = 0; i < WRITERS; i++)
		slow = slow || (f->begun[i] != 0 && now - f->begun[i] > limit);
	if (slow || (f->stats.last_commit > limit && now - f->ended < SLOW_MEMORY))
		return err_set_smtp(err, ERR_TEMP, 452, "4.3.1", "queue database is slow");
	return true;
}

bool
queue_front_wait_ready(struct queue_front *f, int64_t deadline, struct err *err)
{
	return queue_process_wait(f->process, deadline, err);
}

bool
queue_front_mint(struct queue_front *f, int64_t *ret_msg_id, struct err *err)
{
	return queue_process_mint(f->process, ret_msg_id, err);
}

size_t
queue_front_inline_max(const struct queue_front *f)
{
	return f->settings.inline_max;
}

void
queue_front_stats_get(const struct queue_front *f, struct queue_front_stats *ret)
{
	*ret = f->stats;
}

struct db_pool *
queue_front_pool(const struct queue_front *f)
{
	return f->settings.pool;
}

struct queue_process *
queue_front_process(const struct queue_front *f)
{
	return f->process;
}

struct task_group *
queue_front_group(struct queue_front *f)
{
	return &f->group;
}

size_t
queue_front_chunk_size(const struct queue_front *f)
{
	return f->settings.chunk_size;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void
fill_defaults(struct queue_front_settings *s)
{
	if (s->batch_messages == 0)
		s->batch_messages = 200;
	if (s->batch_bytes == 0)
		s->batch_bytes = 1u << 20;
	if (s->batch_rcpts == 0)
		s->batch_rcpts = 5000;
	if (s->gather == 0)
		s->gather = CLOCK_MILLI;
	if (s->inline_max == 0)
		s->inline_max = 1u << 20;
	if (s->chunk_size == 0)
		s->chunk_size = 256u << 10;
	if (s->commit_timeout == 0)
		s->commit_timeout = 60 * CLOCK_SECOND;
}

struct queue_front *
queue_front_new(const struct queue_front_settings *settings)
{
	struct queue_front *f = mem_new(struct queue_front);
	struct queue_process_settings process = {
	    .pool = settings->pool,
	    .node = settings->node,
	    .program = settings->program,
	    .shard = settings->shard,
	    .shards = settings->shards,
	};

	f->settings = *settings;
	fill_defaults(&f->settings);
	list_init(&f->gathering);
	f->process = queue_process_new(&process);
	for (size_t i = 0; i < WRITERS; i++)
		task_group_start(&f->group, "queue writer", writer, f);
	if (f->settings.size_limit > 0)
		task_group_start(&f->group, "queue size", size_watcher, f);
	return f;
}

void
queue_front_free(struct queue_front **ff)
{
	struct queue_front *f = *ff;

	if (f == NULL)
		return;
	task_shield(true);
	f->stopping = true;
	task_cond_wake_all(&f->work);
	task_cond_wake_all(&f->size_wake);
	task_group_wait(&f->group, CLOCK_NEVER);
	queue_process_free(&f->process);
	task_shield(false);
	mem_free(f);
	*ff = NULL;
}
