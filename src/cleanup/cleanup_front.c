/*
 * cleanup_front.c - see cleanup_front.h.
 */
#include "cleanup/cleanup_front.h"

#include "db/db.h"
#include "queue/queue_front.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "service/service.h"
#include "service/service_database.h"

/* One front end talks to one shard; two connections: the commit in flight, and uploads. */
static struct db_pool *
cleanup_front_pool(const struct service *s, size_t shard)
{
	const struct conf *conf = s->conf;
	struct buf conninfo CLEANUP(buf_done) = {0};
	struct buf name CLEANUP(buf_done) = {0};

	service_database_conninfo(conf, SERVICE_FRONT_END, shard, &conninfo);
	buf_printf(&name, "rowpost/%s", s->kind->program);
	return db_pool_new(&(struct db_settings){
	    .conninfo = buf_str(&conninfo),
	    .role = queue_session_role(QUEUE_SESSION_FRONT),
	    .application_name = buf_str(&name),
	    .pooler = conf_bool(conf, CONF_queue_database_pooler),
	    .options = queue_session_options(QUEUE_SESSION_FRONT),
	    .connections = conf_size(conf, CONF_queue_database_front_connections),
	    .connect_timeout = conf_time(conf, CONF_queue_database_connect_timeout),
	    .statement_timeout = conf_time(conf, CONF_queue_database_timeout),
	    .backoff_min = conf_time(conf, CONF_queue_database_retry_min_time),
	    .backoff_max = conf_time(conf, CONF_queue_database_retry_max_time),
	    .on_connect = queue_schema_check,
	});
}

void
cleanup_front_open(struct cleanup_front *f, const struct service *s)
{
	const struct conf *conf = s->conf;
	size_t shards = service_database_count(conf);
	size_t shard = s->instance % shards;

	f->pool = cleanup_front_pool(s, shard);
	poke_init(&f->poke, conf_str(conf, CONF_queue_directory));
	f->front = queue_front_new(&(struct queue_front_settings){
	    .pool = f->pool,
	    .node = conf_str(conf, CONF_node_name),
	    .program = s->kind->program,
	    .shard = shard,
	    .shards = shards,
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
	    .on_stored = poke_send,
	    .on_stored_arg = &f->poke,
	});
}

void
cleanup_front_close(struct cleanup_front *f)
{
	queue_front_free(&f->front);
	db_pool_free(&f->pool);
	poke_done(&f->poke);
}
