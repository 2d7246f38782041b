/*
 * cleanup_front.c - see cleanup_front.h.
 */
#include "cleanup/cleanup_front.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/cluster_table.h"
#include "db/db.h"
#include "mail/mail_queue_id.h"
#include "queue/queue_front.h"
#include "service/service.h"
#include "service/service_database.h"
#include "service/service_queue.h"
#include "service/shelf.h"
#include "task/task.h"

/* How often the other shards are looked at while the preferred one is waited for. */
#define LOOK_AGAIN (50 * CLOCK_MILLI)

/* The shape of queue_front_settings.before_store. */
static void
cleanup_front_shelve(void *shelf, const struct queue_message *m)
{
	if (m->upload == NULL && m->hold == NULL)
		shelf_put(shelf, m->envelope.msg_id, m->content);
}

static struct queue_front *
cleanup_front_new(struct cleanup_front *f, const struct service *s, size_t shard)
{
	const struct conf *conf = s->conf;

	return queue_front_new(&(struct queue_front_settings){
	    .pool = f->shards[shard].pool,
	    .node = conf_str(conf, CONF_node_name),
	    .program = s->kind->program,
	    .shard = shard,
	    .shards = f->shard_count,
	    .batch_messages = conf_size(conf, CONF_queue_batch_message_limit),
	    .batch_bytes = conf_size(conf, CONF_queue_batch_size_limit),
	    .batch_rcpts = conf_size(conf, CONF_queue_batch_recipient_limit),
	    .gather = conf_time(conf, CONF_queue_batch_gather_time),
	    .inline_max = conf_size(conf, CONF_queue_inline_size_limit),
	    .chunk_size = conf_size(conf, CONF_queue_chunk_size),
	    .commit_timeout = conf_time(conf, CONF_queue_database_commit_timeout),
	    .latency_limit = conf_time(conf, CONF_queue_database_latency_limit),
	    .size_limit = (int64_t)conf_size(conf, CONF_database_size_limit),
	    .upload_timeout = conf_time(conf, CONF_queue_upload_timeout),
	    .before_store = cleanup_front_shelve,
	    .before_store_arg = s->shelf,
	    .on_stored = poke_send,
	    .on_stored_arg = &f->poke,
	});
}

void
cleanup_front_open(struct cleanup_front *f, const struct service *s)
{
	f->shard_count = service_database_count(s->conf);
	f->shards = mem_zalloc(f->shard_count * sizeof(*f->shards));
	poke_init(&f->poke, conf_str(s->conf, CONF_queue_directory));
	for (size_t i = 0; i < f->shard_count; i++) {
		/* Three connections: two commits in flight, and uploads. */
		f->shards[i].pool = service_queue_pool(
		    s, i, conf_size(s->conf, CONF_queue_database_front_connections));
		f->shards[i].front = cleanup_front_new(f, s, i);
	}
	f->turn = s->instance;
	f->tables = service_queue_pool(s, 0, CLUSTER_TABLE_CONNECTIONS);
	cluster_table_start(&(struct cluster_table_settings){.pool = f->tables});
}

struct queue_front *
cleanup_front_pick(struct cleanup_front *f, struct err *err)
{
	size_t first = f->turn++ % f->shard_count;
	struct err other;

	for (size_t i = 0; i < f->shard_count; i++) {
		struct queue_front *front = f->shards[(first + i) % f->shard_count].front;

		if (queue_front_is_ready(front, i == 0 ? err : &other))
			return front;
	}
	return NULL;
}

struct queue_front *
cleanup_front_of(const struct cleanup_front *f, int64_t msg_id)
{
	size_t shard = mail_queue_id_process(msg_id) / (MAIL_QUEUE_ID_PROCESS / f->shard_count);

	return f->shards[MIN(shard, f->shard_count - 1)].front;
}

bool
cleanup_front_wait_ready(struct cleanup_front *f, int64_t deadline, struct err *err)
{
	while (cleanup_front_pick(f, err) == NULL) {
		int64_t look = MIN(deadline, clock_deadline(LOOK_AGAIN));

		if (clock_mono_us() >= deadline || task_is_cancelled())
			return false;
		if (queue_front_wait_ready(f->shards[f->turn % f->shard_count].front, look, err))
			return true;
	}
	return true;
}

void
cleanup_front_close(struct cleanup_front *f)
{
	cluster_table_stop();
	db_pool_free(&f->tables);
	for (size_t i = 0; i < f->shard_count; i++) {
		queue_front_free(&f->shards[i].front);
		db_pool_free(&f->shards[i].pool);
	}
	mem_free(f->shards);
	poke_done(&f->poke);
	*f = (struct cleanup_front){0};
}
