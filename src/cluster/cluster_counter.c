/*
 * cluster_counter.c - see cluster_counter.h. What others appended is taken once: each process numbers its exchanges, and their
 * rows become visible together. Rows are read again for two exchanges, since a lower id may become visible after a higher one.
 *
 * What somebody has open is told as it is, not as it changed, and told again now and then for those who came later. Who is not
 * heard of for a while is dead, and has nothing open.
 */
#include "cluster/cluster_counter.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/hmap.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "task/task.h"

#define KINDS  CLUSTER_COUNTER_KINDS
#define SLICES 16 /* of the window: an event is forgotten after 15/16 to all of it */

#define WINDOW   (60 * CLOCK_SECOND)
#define PAUSE    CLOCK_SECOND
#define LIMIT    (2 * CLOCK_SECOND)  /* of an exchange */
#define SIGN     (5 * CLOCK_SECOND)  /* while anything is open here: a sign of life */
#define DEAD     (20 * CLOCK_SECOND) /* without one */
#define REPEAT   (20 * CLOCK_SECOND) /* all that is open is told again */
#define ROWS_MAX 5000                /* told in one exchange; the rest in the next */
#define KEYS_MAX 200000 /* with more than that in memory new ones of the others are passed over */
#define UNTOLD   UINT32_MAX

/* What another process has open under a key. */
struct elsewhere {
	int64_t process;
	uint32_t open;
};

struct counted {
	struct list changed; /* in counter->changed while there is something to tell */
	char *key;           /* owned */
	size_t key_len;
	uint32_t open;                  /* by us */
	uint32_t told;                  /* what the others know of it; UNTOLD: not sure */
	uint32_t fresh[KINDS];          /* our events that the others do not know of */
	uint32_t events[SLICES][KINDS]; /* everybody's */
	int64_t slice;                  /* number of the newest one */
	struct elsewhere *elsewhere;    /* owned */
	size_t elsewhere_count;
};

struct process {
	int64_t id;
	int64_t taken; /* number of its last exchange that we took */
	int64_t seen;  /* ... in the present one */
	int64_t heard; /* mono us */
};

struct cluster_counter {
	struct cluster_counter_settings settings;
	int64_t id;
	int64_t number;
	struct hmap keys;
	struct hmap processes; /* by id */
	struct list changed;
	uint64_t open; /* by us, all keys */
	int64_t low;   /* ids up to here are not read again */
	int64_t mid;   /* the highest before the last exchange, which is `low` after the next */
	int64_t high;
	int64_t active;    /* mono us: something was counted */
	int64_t told;      /* mono us of the last exchange */
	int64_t repeat_at; /* mono us */
	int64_t sweep_at;
	bool away; /* the last exchange failed */
	struct task_group group;
	struct task *task;
};

/*
 * $1 process, $2 number, $3 keys, $4 open, $5 kinds, $6 events, $7 after, $8 us kept
 */
static const struct db_statement sql_exchange = {"counter_exchange",
    "SELECT * FROM mailq.counter_exchange($1::int8, $2::int8, $3::text[], $4::int4[], $5::int4, "
    "$6::int4[], $7::int8, $8::int8 * interval '1 microsecond')"};

enum {
	COL_ID,
	COL_AGE,
	COL_PROCESS,
	COL_FLUSH,
	COL_KEY,
	COL_OPEN,
	COL_EVENTS,
};

/* ---- counting ------------------------------------------------------------------------------------------------------ */

static int64_t
slice_at(const struct cluster_counter *c, int64_t mono_us)
{
	return mono_us / MAX(c->settings.window / SLICES, (int64_t)1);
}

static struct counted *
counted_of(struct cluster_counter *c, struct span key)
{
	struct counted *k = hmap_get(&c->keys, key);

	if (k != NULL)
		return k;
	k = mem_new(struct counted);
	k->key = span_dup(key);
	k->key_len = key.len;
	k->slice = slice_at(c, clock_mono_us());
	(void)hmap_put(&c->keys, key, k);
	return k;
}

static void
counted_free(struct cluster_counter *c, struct counted *k)
{
	(void)hmap_remove(&c->keys, span_of(k->key, k->key_len));
	list_remove(&k->changed);
	mem_free(k->elsewhere);
	mem_free(k->key);
	mem_free(k);
}

/* Nothing is open and nothing was counted for a while: what the others count does not matter now. */
static bool
is_quiet(const struct cluster_counter *c)
{
	return c->open == 0 && list_is_empty(&c->changed) &&
	       c->active + c->settings.window < clock_mono_us();
}

static void
free_all(struct hmap *map)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *v;

	while (hmap_next(map, &at, &key, &v))
		mem_free(v);
	hmap_done(map);
	*map = (struct hmap){0};
}

/* Rows went by unread meanwhile: what is still there is read anew. */
static void
wake_up(struct cluster_counter *c)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *v;

	while (hmap_next(&c->keys, &at, &key, &v))
		counted_free(c, v);
	free_all(&c->processes);
	c->low = c->mid = c->high = 0;
}

/* Where we count. */
static struct counted *
counted_here(struct cluster_counter *c, struct span key)
{
	if (is_quiet(c))
		wake_up(c);
	return counted_of(c, key);
}

static void
note_change(struct cluster_counter *c, struct counted *k)
{
	c->active = clock_mono_us();
	if (!list_is_linked(&k->changed))
		list_add(&c->changed, &k->changed);
}

static uint32_t
add_up(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

/* Slices that have passed become those to come. */
static void
turn(struct cluster_counter *c, struct counted *k)
{
	int64_t now = slice_at(c, clock_mono_us());

	if (now - k->slice >= SLICES)
		memset(k->events, 0, sizeof(k->events));
	else
		while (k->slice < now)
			memset(k->events[++k->slice % SLICES], 0, sizeof(k->events[0]));
	k->slice = MAX(now, k->slice);
}

static unsigned
sum_open(const struct counted *k)
{
	uint32_t n = k->open;

	for (size_t i = 0; i < k->elsewhere_count; i++)
		n = add_up(n, k->elsewhere[i].open);
	return n;
}

static unsigned
sum_events(const struct counted *k, unsigned kind)
{
	uint32_t n = 0;

	for (size_t i = 0; i < SLICES; i++)
		n = add_up(n, k->events[i][kind]);
	return n;
}

unsigned
cluster_counter_open(struct cluster_counter *c, struct span key)
{
	struct counted *k = counted_here(c, key);

	k->open++;
	c->open++;
	note_change(c, k);
	return sum_open(k);
}

unsigned
cluster_counter_close(struct cluster_counter *c, struct span key)
{
	struct counted *k = counted_of(c, key);

	MUST(k->open > 0);
	k->open--;
	c->open--;
	note_change(c, k);
	return sum_open(k);
}

unsigned
cluster_counter_event(struct cluster_counter *c, struct span key, unsigned kind)
{
	struct counted *k = counted_here(c, key);

	MUST(kind < KINDS);
	turn(c, k);
	k->fresh[kind] = add_up(k->fresh[kind], 1);
	k->events[k->slice % SLICES][kind] = add_up(k->events[k->slice % SLICES][kind], 1);
	note_change(c, k);
	return sum_events(k, kind);
}

unsigned
cluster_counter_is_open(const struct cluster_counter *c, struct span key)
{
	const struct counted *k = hmap_get(&c->keys, key);

	return k != NULL ? sum_open(k) : 0;
}

unsigned
cluster_counter_events(struct cluster_counter *c, struct span key, unsigned kind)
{
	struct counted *k = hmap_get(&c->keys, key);

	MUST(kind < KINDS);
	if (k == NULL)
		return 0;
	turn(c, k);
	return sum_events(k, kind);
}

/* ---- what the others have ------------------------------------------------------------------------------------------ */

static void
set_elsewhere(struct counted *k, int64_t process, uint32_t open)
{
	for (size_t i = 0; i < k->elsewhere_count; i++) {
		if (k->elsewhere[i].process != process)
			continue;
		k->elsewhere[i].open = open;
		if (open == 0)
			k->elsewhere[i] = k->elsewhere[--k->elsewhere_count];
		return;
	}
	if (open == 0)
		return;
	k->elsewhere = mem_resize(k->elsewhere, k->elsewhere_count + 1, sizeof(k->elsewhere[0]));
	k->elsewhere[k->elsewhere_count++] = (struct elsewhere){process, open};
}

static void
add_events(struct cluster_counter *c, struct counted *k, int64_t when, struct db_array_reader *a)
{
	int64_t slice = slice_at(c, when);
	struct span element;

	turn(c, k);
	if (slice <= k->slice - SLICES)
		return;
	for (size_t kind = 0; kind < KINDS && db_array_next(a, &element); kind++) {
		uint32_t *at = &k->events[MIN(slice, k->slice) % SLICES][kind];

		*at = add_up(*at, (uint32_t)db_span_int(element));
	}
}

static struct process *
process_of(struct cluster_counter *c, int64_t id)
{
	struct process *p = hmap_get(&c->processes, HMAP_KEY(id));

	if (p == NULL) {
		p = mem_new(struct process);
		p->id = id;
		(void)hmap_put(&c->processes, HMAP_KEY(p->id), p);
	}
	return p;
}

static void
take_row(struct cluster_counter *c, const struct db_result *r, size_t row)
{
	struct process *p = process_of(c, db_result_int(r, row, COL_PROCESS));
	int64_t when = clock_mono_us() - db_result_int(r, row, COL_AGE);
	int64_t number = db_result_int(r, row, COL_FLUSH);
	struct span key = db_result_span(r, row, COL_KEY);
	struct db_array_reader events;
	struct counted *k;

	p->heard = MAX(p->heard, when);
	p->seen = MAX(p->seen, number);
	if (number <= p->taken || key.len == 0 ||
	    (c->keys.count >= KEYS_MAX && hmap_get(&c->keys, key) == NULL))
		return;
	k = counted_of(c, key);
	set_elsewhere(k, p->id, (uint32_t)db_result_int(r, row, COL_OPEN));
	if (db_result_array(r, row, COL_EVENTS, &events))
		add_events(c, k, when, &events);
}

static void
take_rows(struct cluster_counter *c, const struct db_result *r)
{
	size_t rows = db_result_rows(r);
	struct hmap_cursor at = {0};
	struct span key;
	void *p;

	for (size_t i = 0; i < rows; i++)
		take_row(c, r, i);
	while (hmap_next(&c->processes, &at, &key, &p))
		((struct process *)p)->taken = ((struct process *)p)->seen;
	c->low = c->mid;
	c->mid = c->high;
	if (rows > 0)
		c->high = MAX(c->high, db_result_int(r, rows - 1, COL_ID));
}

static void
forget_process(struct cluster_counter *c, struct process *p)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *k;

	while (hmap_next(&c->keys, &at, &key, &k))
		set_elsewhere(k, p->id, 0);
	(void)hmap_remove(&c->processes, HMAP_KEY(p->id));
	mem_free(p);
}

static bool
is_idle(const struct counted *k)
{
	static const uint32_t none[SLICES][KINDS];

	return k->open == 0 && k->elsewhere_count == 0 && !list_is_linked(&k->changed) &&
	       memcmp(k->events, none, sizeof(none)) == 0;
}

/* Processes that are dead, and keys under which there is nothing any more. */
static void
sweep(struct cluster_counter *c)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *v;

	while (hmap_next(&c->processes, &at, &key, &v))
		if (((struct process *)v)->heard < clock_mono_us() - DEAD)
			forget_process(c, v);
	if (clock_mono_us() < c->sweep_at)
		return;
	c->sweep_at = clock_deadline(MAX(c->settings.window / SLICES, CLOCK_SECOND));
	at = (struct hmap_cursor){0};
	while (hmap_next(&c->keys, &at, &key, &v)) {
		turn(c, v);
		if (is_idle(v))
			counted_free(c, v);
	}
}

/* ---- the exchange -------------------------------------------------------------------------------------------------- */

/* What is told in one exchange. */
struct news {
	struct buf keys;
	struct buf open;
	struct buf events;
	size_t count;
};

static void
news_add(struct news *n, struct span key, uint32_t open, const uint32_t events[KINDS])
{
	db_array_add_bytes(&n->keys, key);
	db_array_add_int(&n->open, DB_INT4, (int32_t)MIN(open, (uint32_t)INT32_MAX));
	for (size_t i = 0; i < KINDS; i++)
		db_array_add_int(&n->events, DB_INT4, (int32_t)MIN(events[i], (uint32_t)INT32_MAX));
	n->count++;
}

/* From here on it counts as told: if the exchange fails, events stay our own affair, and what is open is told again. */
static void
news_gather(struct cluster_counter *c, struct news *n)
{
	static const uint32_t none[KINDS];

	db_array_begin(&n->keys, DB_TEXT);
	db_array_begin(&n->open, DB_INT4);
	db_array_begin(&n->events, DB_INT4);
	LIST_FOREACH_SAFE (k, &c->changed, struct counted, changed) {
		if (n->count == ROWS_MAX)
			break;
		list_remove(&k->changed);
		if (k->told == k->open && memcmp(k->fresh, none, sizeof(none)) == 0)
			continue;
		news_add(n, span_of(k->key, k->key_len), k->open, k->fresh);
		memset(k->fresh, 0, sizeof(k->fresh));
		k->told = k->open;
	}
	if (n->count == 0 && c->open > 0 && c->told + SIGN < clock_mono_us())
		news_add(n, SPAN_LIT(""), 0, none);
	db_array_end(&n->keys);
	db_array_end(&n->open);
	db_array_end(&n->events);
}

/* Everything that is open will be told again. */
static void
repeat(struct cluster_counter *c)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *v;

	c->repeat_at = clock_deadline(REPEAT);
	while (hmap_next(&c->keys, &at, &key, &v)) {
		struct counted *k = v;

		if (k->open == 0 && k->told == 0)
			continue;
		k->told = UNTOLD;
		if (!list_is_linked(&k->changed))
			list_add(&c->changed, &k->changed);
	}
}

static bool
run_exchange(struct cluster_counter *c, struct db_conn *conn, int64_t deadline, struct err *err)
{
	char n[5][DB_INT_SIZE];
	struct news news = {0};
	struct db_result *r = NULL;
	bool ok;

	if (clock_mono_us() >= c->repeat_at)
		repeat(c);
	news_gather(c, &news);
	struct db_param params[] = {
	    db_param_int8(n[0], c->id),
	    db_param_int8(n[1], ++c->number),
	    DB_PARAM_BUF(&news.keys),
	    DB_PARAM_BUF(&news.open),
	    db_param_int4(n[2], KINDS),
	    DB_PARAM_BUF(&news.events),
	    db_param_int8(n[3], c->low),
	    db_param_int8(n[4], MAX(c->settings.window, WINDOW)),
	};
	ok = db_exec(conn, &sql_exchange, params, ARRAY_LEN(params), deadline, &r, err);
	if (ok) {
		c->told = news.count > 0 ? clock_mono_us() : c->told;
		take_rows(c, r);
	} else {
		repeat(c);
	}
	db_result_free(&r);
	buf_done(&news.keys);
	buf_done(&news.open);
	buf_done(&news.events);
	return ok;
}

bool
cluster_counter_exchange(struct cluster_counter *c, int64_t deadline, struct err *err)
{
	struct db_conn *conn = db_pool_take(c->settings.pool, deadline, err);
	bool ok;

	if (conn == NULL)
		return false;
	ok = run_exchange(c, conn, deadline, err);
	CRASH_POINT("counter-exchanged");
	db_pool_give(c->settings.pool, &conn);
	if (ok)
		sweep(c);
	return ok;
}

static void
run(void *arg)
{
	struct cluster_counter *c = arg;
	struct err err;

	while (task_sleep_until(clock_deadline(c->settings.pause)) != TASK_CANCELLED) {
		bool away;

		if (is_quiet(c))
			continue;
		away = !cluster_counter_exchange(c, clock_deadline(LIMIT), &err);
		if (away && !c->away && !task_is_cancelled())
			log_warn("client counters: %s: counting alone", err.text);
		c->away = away;
	}
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

struct cluster_counter *
cluster_counter_new(const struct cluster_counter_settings *settings)
{
	struct cluster_counter *c = mem_new(struct cluster_counter);

	c->settings = *settings;
	if (c->settings.window <= 0)
		c->settings.window = WINDOW;
	if (c->settings.pause <= 0)
		c->settings.pause = PAUSE;
	c->id = random_epoch();
	c->active = clock_mono_us() - c->settings.window - 1;
	c->repeat_at = clock_deadline(REPEAT);
	list_init(&c->changed);
	c->task = task_group_start(&c->group, "client counters", run, c);
	return c;
}

void
cluster_counter_set_window(struct cluster_counter *c, int64_t window)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *v;

	if (window <= 0 || window == c->settings.window)
		return;
	c->settings.window = window;
	while (hmap_next(&c->keys, &at, &key, &v)) {
		struct counted *k = v;

		memset(k->events, 0, sizeof(k->events));
		k->slice = slice_at(c, clock_mono_us());
	}
}

void
cluster_counter_free(struct cluster_counter **cc)
{
	struct cluster_counter *c = *cc;
	struct hmap_cursor at = {0};
	struct span key;
	struct err err;
	void *v;

	*cc = NULL;
	if (c == NULL)
		return;
	/* The end of the process may have ended it already. */
	if (c->group.alive > 0)
		task_cancel(c->task);
	task_shield(true);
	(void)task_group_wait(&c->group, CLOCK_NEVER);
	if (!list_is_empty(&c->changed) && !c->away &&
	    !cluster_counter_exchange(c, clock_deadline(CLOCK_SECOND), &err))
		log_debug("client counters: %s", err.text);
	task_shield(false);
	while (hmap_next(&c->keys, &at, &key, &v))
		counted_free(c, v);
	hmap_done(&c->keys);
	free_all(&c->processes);
	mem_free(c);
}
