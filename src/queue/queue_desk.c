/*
 * queue_desk.c - a scheduler's desk: epoch, leases, what is known of the ring.
 */
#include "queue/queue_desk.h"

#include <string.h>

#include "base/mem.h"
#include "queue/queue_int.h"

#define RING_AGE CLOCK_SECOND
#define SET_MAX  4096 /* sets that a ring can have, at most */

static const struct db_statement sql_ring = {"ring",
    "SELECT part, state, (extract(epoch FROM clock_timestamp() - since) * 1000000)::int8 "
    "FROM mailq.ring"};

/* ---- leases -------------------------------------------------------------------------------------------------- */

struct queue_lease *
queue_lease_new(struct queue_desk *d, int16_t set, int64_t batch_id, int32_t recipients)
{
	struct queue_lease *l = mem_new(struct queue_lease);

	l->refs = 1; /* the desk's */
	l->epoch = d->epoch;
	l->set = set;
	l->batch_id = batch_id;
	l->recipients = recipients;
	list_add(&d->leases, &l->node);
	return l;
}

static struct queue_lease *
deferred_lease_new(struct queue_desk *d)
{
	struct queue_lease *l = mem_new(struct queue_lease);

	l->refs = 1;
	l->epoch = d->epoch;
	l->deferred = true;
	return l;
}

void
queue_lease_ref(struct queue_lease *l)
{
	l->refs++;
}

void
queue_lease_unref(struct queue_lease **ll)
{
	struct queue_lease *l = *ll;

	if (l == NULL)
		return;
	*ll = NULL;
	MUST(l->refs > 0);
	if (--l->refs > 0)
		return;
	MUST(!list_is_linked(&l->node));
	queue_lease_unref(&l->under);
	mem_free(l);
}

void
queue_lease_close(struct queue_lease *l)
{
	if (!list_is_linked(&l->node))
		return;
	list_remove(&l->node);
	queue_lease_unref(&l);
}

void
queue_lease_to_deferred(struct queue_desk *d, struct queue_lease *l)
{
	MUST(d->deferred != NULL && d->deferred->epoch == l->epoch);
	l->deferred = true;
	l->under = d->deferred;
	queue_lease_ref(l->under);
	l->doubtful = false;
	queue_lease_close(l);
}

bool
queue_lease_is_lost(const struct queue_lease *l)
{
	return l->lost || (l->under != NULL && l->under->lost);
}

int64_t
queue_lease_epoch(const struct queue_lease *l)
{
	return l->epoch;
}

/* ---- the epoch ------------------------------------------------------------------------------------------------ */

void
queue_desk_set_epoch(struct queue_desk *d, int64_t epoch)
{
	if (epoch == d->epoch)
		return;
	LIST_FOREACH_SAFE (l, &d->leases, struct queue_lease, node) {
		l->lost = true;
		queue_lease_close(l);
	}
	if (d->deferred != NULL)
		d->deferred->lost = true;
	queue_lease_unref(&d->deferred);
	d->epoch = epoch;
	d->doubt = false;
	d->doubt_count = 0;
	buf_clear(&d->doubt_msgs);
	if (epoch != 0)
		d->deferred = deferred_lease_new(d);
}

int64_t
queue_desk_epoch(const struct queue_desk *d)
{
	return d->epoch;
}

bool
queue_desk_mint(struct queue_desk *d, int64_t *ret_msg_id, struct err *err)
{
	return queue_process_mint(d->process, ret_msg_id, err);
}

/* ---- the ring ------------------------------------------------------------------------------------------------- */

static void
learn_set(struct queue_desk *d, const struct db_result *r, size_t row)
{
	size_t part = (size_t)db_result_int(r, row, 0);
	struct span state = db_result_span(r, row, 1);
	struct queue_set *s;

	MUST(part < SET_MAX);
	if (part >= d->set_count) {
		d->sets = mem_resize(d->sets, part + 1, sizeof(d->sets[0]));
		memset(d->sets + d->set_count, 0, (part + 1 - d->set_count) * sizeof(d->sets[0]));
		d->set_count = part + 1;
	}
	s = &d->sets[part];
	s->known = true;
	s->open = span_equal_str(state, "open");
	s->draining = span_equal_str(state, "draining");
	s->since = clock_mono_us() - db_result_int(r, row, 2);
}

bool
queue_desk_know_ring(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	struct db_result *r = NULL;
	int64_t now = clock_mono_us();

	if (d->sets_known != 0 && now - d->sets_known < RING_AGE)
		return true;
	if (!db_exec(c, &sql_ring, NULL, 0, deadline, &r, err))
		return false;
	for (size_t i = 0; i < db_result_rows(r); i++)
		learn_set(d, r, i);
	db_result_free(&r);
	if (d->set_count == 0)
		return err_set(err, ERR_CONFIG, "4.3.0", "the queue has no ring");
	d->sets_known = now;
	return true;
}

int16_t
queue_desk_open_set(const struct queue_desk *d)
{
	for (size_t i = 0; i < d->set_count; i++)
		if (d->sets[i].open)
			return (int16_t)i;
	return 0;
}

/* ---- mail of our own ------------------------------------------------------------------------------------------ */

bool
queue_desk_store(
    struct queue_desk *d, const struct queue_message *m, int64_t deadline, struct err *err)
{
	struct db_conn *c = queue_desk_take(d, deadline, err);
	struct queue_store store = {0};
	struct db_batch batch;
	bool ok;

	if (c == NULL)
		return false;
	ok = queue_desk_know_ring(d, c, deadline, err);
	if (ok) {
		queue_store_add(&store, m);
		db_batch_begin(&batch, c);
		queue_store_send(&store, &batch, queue_desk_open_set(d));
		ok = db_batch_commit(&batch, deadline, NULL, NULL, err) == DB_COMMITTED;
	}
	queue_store_done(&store);
	queue_desk_give(d, &c);
	return ok;
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

struct db_conn *
queue_desk_take(struct queue_desk *d, int64_t deadline, struct err *err)
{
	if (d->epoch == 0) {
		err_set(err, ERR_GONE, "4.3.0", "this scheduler has no epoch");
		return NULL;
	}
	return db_pool_take(d->settings.pool, deadline, err);
}

void
queue_desk_give(struct queue_desk *d, struct db_conn **c)
{
	db_pool_give(d->settings.pool, c);
}

static void
fill_defaults(struct queue_desk_settings *s)
{
	/* clang-format off */
	if (s->claim_batches == 0)  s->claim_batches = 8;
	if (s->claim_inline == 0)   s->claim_inline = 64u << 10;
	if (s->claim_page == 0)     s->claim_page = 5000;
	if (s->poll_min == 0)       s->poll_min = 2 * CLOCK_MILLI;
	if (s->poll_max == 0)       s->poll_max = 50 * CLOCK_MILLI;
	if (s->poll_closed == 0)    s->poll_closed = 100 * CLOCK_MILLI;
	if (s->poll_deferred == 0)  s->poll_deferred = 500 * CLOCK_MILLI;
	if (s->rotate == 0)         s->rotate = 30 * CLOCK_SECOND;
	if (s->set_limit == 0)      s->set_limit = 64;
	if (s->set_bytes == 0)      s->set_bytes = 1u << 30;
	if (s->history == 0)        s->history = 30 * 86400 * CLOCK_SECOND;
	if (s->upload_timeout == 0) s->upload_timeout = 3600 * CLOCK_SECOND;
	if (s->bounce_bytes == 0)   s->bounce_bytes = 50000;
	/* clang-format on */
}

struct queue_desk *
queue_desk_new(const struct queue_desk_settings *settings)
{
	struct queue_desk *d = mem_new(struct queue_desk);
	struct queue_process_settings process = {
	    .pool = settings->pool,
	    .node = settings->node,
	    .program = "qmgr",
	    .shard = settings->shard,
	    .shards = settings->shards,
	};

	d->settings = *settings;
	d->settings.node = d->node = mem_strdup(settings->node);
	fill_defaults(&d->settings);
	d->pause = d->settings.poll_min;
	d->repair_after = INT64_MIN;
	d->reread_at = clock_deadline(QUEUE_REREAD_PAUSE);
	list_init(&d->leases);
	d->process = queue_process_new(&process);
	return d;
}

void
queue_desk_free(struct queue_desk **dd)
{
	struct queue_desk *d = *dd;

	if (d == NULL)
		return;
	queue_desk_set_epoch(d, 0);
	queue_process_free(&d->process);
	buf_done(&d->doubt_msgs);
	mem_free(d->sets);
	mem_free(d->node);
	mem_free(d);
	*dd = NULL;
}
