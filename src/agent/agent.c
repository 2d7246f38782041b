/*
 * agent.c - see agent.h. One task holds the link and reads it; each request becomes a task of its own. When the link breaks, the
 * deliveries go on: they may be past their final dot. Their outcomes wait in `kept` for the next scheduler, beside those that were
 * reported and not recorded.
 */
#include "agent/agent.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_content.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/hmap.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "net/net_connect.h"
#include "service/link.h"

#define AGENT_RECONNECT_MIN (20 * CLOCK_MILLI)
#define AGENT_RECONNECT_MAX (1 * CLOCK_SECOND)
/*
 * Results kept until they are recorded. The scheduler hands out nothing while many wait there (qmgr_outcome.h), so that there are a
 * few thousand at most; beyond these limits the newest are not kept, which may be a second copy if the scheduler dies.
 */
#define AGENT_KEPT_MAX      100000
#define AGENT_KEPT_BYTES    (64u << 20)
/* How long an agent that leaves waits for them. */
#define AGENT_RECORDED_WAIT (5 * CLOCK_SECOND)
/* Most queue databases that a scheduler may speak of. */
#define AGENT_SHARDS_MAX    1024

struct agent_kept {
	struct list node;
	uint32_t number; /* of the delivery, on the present link */
	struct buf payload;
};

/* ---- results that are not recorded yet ---- */

static uint32_t
agent_stranger(struct agent *a)
{
	return DELIVERY_STRANGER | a->strangers++;
}

/* Takes over the payload. */
static void
agent_keep(struct agent *a, uint32_t number, struct buf *payload)
{
	struct agent_kept *kept;

	if (a->kept_by_number.count >= AGENT_KEPT_MAX || a->kept_bytes >= AGENT_KEPT_BYTES)
		return;
	kept = mem_new(struct agent_kept);
	kept->number = number;
	kept->payload = *payload;
	*payload = (struct buf){0};
	a->kept_bytes += kept->payload.len;
	list_add(&a->kept, &kept->node);
	(void)hmap_put(&a->kept_by_number, HMAP_KEY(number), kept);
}

static bool
agent_note_recorded(struct agent *a, struct span payload)
{
	uint32_t number;

	while (payload.len != 0) {
		struct agent_kept *kept;

		if (!delivery_next_recorded(&payload, &number))
			return false;
		kept = hmap_remove(&a->kept_by_number, HMAP_KEY(number));
		if (kept == NULL)
			continue;
		a->kept_bytes -= kept->payload.len;
		list_remove(&kept->node);
		buf_done(&kept->payload);
		mem_free(kept);
	}
	CRASH_POINT("agent-recorded");
	if (a->kept_by_number.count == 0)
		task_cond_wake_all(&a->idle);
	return true;
}

/* To a new scheduler, under numbers of the new link. */
static void
agent_send_kept(struct agent *a)
{
	hmap_done(&a->kept_by_number);
	LIST_FOREACH (kept, &a->kept, struct agent_kept, node) {
		kept->number = agent_stranger(a);
		(void)hmap_put(&a->kept_by_number, HMAP_KEY(kept->number), kept);
		(void)link_send(a->link, DELIVERY_RESULT, kept->number, buf_span(&kept->payload));
	}
}

static void
agent_send_result(struct agent_job *job)
{
	struct agent *a = job->agent;
	struct buf payload CLEANUP(buf_done) = {0};
	uint32_t number;

	job->result.outcomes = job->outcomes;
	job->result.outcome_count = job->request.rcpt_count;
	job->result.msg_id = job->request.msg_id;
	job->result.partly = job->request.partly;
	delivery_write_result(&payload, &job->result);
	CRASH_POINT("agent-before-result");
	number =
	    hmap_get(&a->jobs, HMAP_KEY(job->delivery)) == job ? job->delivery : agent_stranger(a);
	if (a->link != NULL)
		(void)link_send(a->link, DELIVERY_RESULT, number, buf_span(&payload));
	if (delivery_result_counts(&job->result))
		agent_keep(a, number, &payload);
	CRASH_POINT("agent-after-result");
}

/* ---- what a delivery may do ---- */

bool
agent_may_go_on(const struct agent_job *job)
{
	const struct agent *a = job->agent;

	for (size_t i = 0; i < a->lease_count && !job->cancelled; i++)
		if (a->leases[i].epoch == job->request.epoch)
			return clock_mono_us() < a->leases[i].until;
	return false;
}

/* The lease of a queue database is renewed, or another epoch's. */
static bool
agent_note_lease(struct agent *a, struct span payload)
{
	struct delivery_lease lease;

	if (!delivery_parse_lease(payload, &lease) || lease.shard >= AGENT_SHARDS_MAX)
		return false;
	if (lease.shard >= a->lease_count) {
		size_t count = lease.shard + 1;

		a->leases = mem_resize(a->leases, count, sizeof(*a->leases));
		memset(
		    a->leases + a->lease_count, 0, (count - a->lease_count) * sizeof(*a->leases));
		a->lease_count = count;
	}
	a->leases[lease.shard] = lease;
	return true;
}

bool
agent_may_finish(struct agent_job *job)
{
	if (!agent_may_go_on(job))
		return false;
	job->in_doubt = true;
	return true;
}

bool
agent_is_dropped(const struct agent_job *job)
{
	return job->cancelled && !job->in_doubt;
}

/* Unless it is in doubt, whatever it waits for ends. */
static void
agent_drop(struct agent_job *job)
{
	if (job->cancelled)
		return;
	job->cancelled = true;
	if (!job->in_doubt)
		task_cancel(job->task);
}

void
agent_settle_open(
    struct agent_job *job, enum delivery_status status, const char *dsn, const char *text)
{
	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		struct delivery_outcome *o = &job->outcomes[i];

		if (o->status != 0)
			continue;
		o->status = status;
		o->dsn = span_str(arena_strdup(&job->arena, dsn));
		o->text = span_str(arena_strdup(&job->arena, text));
	}
}

/* A delivery that was broken off did not fail. */
static void
agent_forget_failures(struct agent_job *job)
{
	job->result.site_error = (struct span){0};
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		if (job->outcomes[i].status == DELIVERY_DEFERRED)
			job->outcomes[i] =
			    (struct delivery_outcome){.rcpt_no = job->outcomes[i].rcpt_no};
}

void
agent_report(struct agent_job *job)
{
	struct agent *a = job->agent;

	if (job->reported)
		return;
	job->reported = true;
	if (agent_is_dropped(job))
		agent_forget_failures(job);
	agent_settle_open(job, DELIVERY_UNTRIED, "4.3.0", "not tried");
	agent_send_result(job);
	if (hmap_get(&a->jobs, HMAP_KEY(job->delivery)) == job)
		(void)hmap_remove(&a->jobs, HMAP_KEY(job->delivery));
	list_remove(&job->node);
}

static void
agent_job_run(void *arg)
{
	struct agent_job *job = arg;
	struct agent *a = job->agent;

	a->kind->deliver(job);
	agent_report(job);
	a->running--;
	agent_content_free(job);
	arena_done(&job->arena);
	mem_free(job);
	task_cond_wake_all(&a->idle);
}

/* The order in which Postfix's agents, and those behind them, see recipients. */
static int
agent_compare_rcpts(const void *a, const void *b)
{
	const struct delivery_rcpt *x = a;
	const struct delivery_rcpt *y = b;

	return mail_addr_compare(x->addr.ptr, y->addr.ptr);
}

static bool
agent_start_job(struct agent *a, uint32_t delivery, struct span payload)
{
	struct agent_job *job = mem_new(struct agent_job);
	char *copy = arena_dup(&job->arena, payload);

	job->agent = a;
	job->delivery = delivery;
	job->started = clock_real_us();
	if (!delivery_parse_request(span_of(copy, payload.len), &job->arena, &job->request)) {
		arena_done(&job->arena);
		mem_free(job);
		return false;
	}
	if (job->request.rcpt_count > 1)
		qsort(job->request.rcpts, job->request.rcpt_count, sizeof(*job->request.rcpts),
		    agent_compare_rcpts);
	job->outcomes = arena_alloc(&job->arena, job->request.rcpt_count * sizeof(*job->outcomes));
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		job->outcomes[i].rcpt_no = job->request.rcpts[i].rcpt_no;
	(void)hmap_put(&a->jobs, HMAP_KEY(delivery), job);
	list_add(&a->all, &job->node);
	a->running++;
	job->task = task_start("delivery", agent_job_run, job);
	MUST(job->task != NULL);
	return true;
}

/* One frame from the scheduler; false: it does not speak our language. */
static bool
agent_frame(struct agent *a, uint8_t type, uint32_t delivery, struct span payload)
{
	struct agent_job *job = hmap_get(&a->jobs, HMAP_KEY(delivery));
	struct delivery_content piece;

	switch (type) {
	case DELIVERY_REQUEST:
		return job == NULL && agent_start_job(a, delivery, payload);
	case DELIVERY_CONTENT:
		if (!delivery_parse_content(payload, &piece))
			return false;
		if (job != NULL)
			agent_content_arrived(job, &piece);
		return true;
	case DELIVERY_CANCEL:
		if (job != NULL)
			agent_drop(job);
		return true;
	case DELIVERY_LEASE:
		return agent_note_lease(a, payload);
	case DELIVERY_RECORDED:
		return agent_note_recorded(a, payload);
	default:
		return false;
	}
}

/* What only the outcome of a delivery under way can tell, before this scheduler hands it to somebody else. */
static void
agent_tell_doubts(struct agent *a)
{
	LIST_FOREACH (job, &a->all, struct agent_job, node) {
		size_t count = job->request.rcpt_count;
		struct delivery_doubt doubt = {.msg_id = job->request.msg_id, .rcpt_count = count};

		if (!job->in_doubt)
			continue;
		doubt.rcpt_nos = arena_alloc(&job->arena, count * sizeof(*doubt.rcpt_nos));
		for (size_t i = 0; i < count; i++)
			doubt.rcpt_nos[i] = job->request.rcpts[i].rcpt_no;
		delivery_write_doubt(
		    link_send_begin(a->link, DELIVERY_DOUBT, DELIVERY_STRANGER), &doubt);
		link_send_end(a->link);
	}
}

static void
agent_say_hello(struct agent *a)
{
	const struct delivery_hello hello = {
	    .service = span_str(a->service->name),
	    .pid = getpid(),
	    .slots = (uint32_t)a->service->slots,
	};
	struct buf payload CLEANUP(buf_done) = {0};

	delivery_write_hello(&payload, &hello);
	(void)link_send(a->link, DELIVERY_HELLO, 0, buf_span(&payload));
	agent_tell_doubts(a);
	agent_send_kept(a);
	CRASH_POINT("agent-enlisted");
}

/* The deliveries of a link that broke: those in doubt report to the next link, the others are dropped. */
static void
agent_disown_jobs(struct agent *a)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&a->jobs, &cursor, &key, &value)) {
		struct agent_job *job = value;

		agent_drop(job);
	}
	hmap_done(&a->jobs);
}

static void
agent_serve(struct agent *a, struct stream *stream)
{
	enum stream_result r;
	struct span payload;
	uint32_t delivery;
	uint8_t type;

	a->link = link_new(stream);
	agent_say_hello(a);
	for (;;) {
		r = link_receive(a->link, CLOCK_NEVER, &type, &delivery, &payload);
		if (r != STREAM_OK)
			break;
		if (!agent_frame(a, type, delivery, payload)) {
			log_warn("scheduler sent a malformed frame of type %u", type);
			break;
		}
	}
	link_free(&a->link);
	task_cond_wake_all(&a->idle);
	a->lease_count = 0;
	agent_disown_jobs(a);
}

static struct stream *
agent_connect(struct agent *a, struct err *err)
{
	struct net_addr to;
	char *path =
	    mem_printf("%s/private/qmgr", conf_str(a->service->conf, CONF_queue_directory));
	struct stream *stream = NULL;

	if (!net_addr_unix(path, &to))
		(void)err_set(err, ERR_CONFIG, "4.3.5", "%s: path too long for a socket", path);
	else
		stream = net_connect(&to, NULL, clock_deadline(5 * CLOCK_SECOND), err);
	mem_free(path);
	return stream;
}

/* The link's own task, for the life of the process: connect, serve, begin again. */
static void
agent_run(void *arg)
{
	struct agent *a = arg;
	const struct service *s = a->service;
	int64_t pause = AGENT_RECONNECT_MIN;

	while (!task_is_cancelled() && !s->leaving) {
		struct err err;
		struct stream *stream = agent_connect(a, &err);

		if (stream != NULL) {
			agent_serve(a, stream);
			pause = AGENT_RECONNECT_MIN;
		}
		if (task_sleep_until(clock_deadline(pause)) == TASK_CANCELLED)
			break;
		pause = MIN(pause * 2, AGENT_RECONNECT_MAX);
	}
}

/* What would die with us: a scheduler that is there says soon that it has it. */
static void
agent_wait_recorded(struct agent *a)
{
	int64_t deadline = clock_deadline(AGENT_RECORDED_WAIT);

	while (a->link != NULL && a->kept_by_number.count != 0 &&
	       task_cond_wait(&a->idle, deadline) == TASK_READY)
		continue;
}

static void
agent_stopping(struct service *s)
{
	struct agent *a = s->state;

	if (a->link != NULL)
		(void)link_send(a->link, DELIVERY_LEAVING, 0, (struct span){0});
	while (a->running > 0 && task_cond_wait(&a->idle, CLOCK_NEVER) == TASK_READY)
		continue;
	if (a->kind->stopping != NULL)
		a->kind->stopping(a);
	if (a->link != NULL)
		(void)link_wait_backlog(a->link, 0, clock_deadline(2 * CLOCK_SECOND));
	agent_wait_recorded(a);
	task_stop(CLOCK_SECOND);
}

static void
agent_reload(struct service *s)
{
	struct agent *a = s->state;

	if (a->kind->configure != NULL)
		a->kind->configure(a);
}

static const struct agent_kind *agent_kind_here;

static void
agent_init(struct service *s)
{
	struct agent *a = mem_new(struct agent);

	a->service = s;
	a->kind = agent_kind_here;
	list_init(&a->kept);
	list_init(&a->all);
	s->state = a;
}

static void
agent_start(struct service *s)
{
	agent_reload(s);
	MUST(task_start("scheduler link", agent_run, s->state) != NULL);
}

int
agent_main(int argc, char **argv, const struct agent_kind *kind)
{
	struct service_kind service = kind->service;

	agent_kind_here = kind;
	service.init = agent_init;
	service.run = agent_start;
	service.reload = agent_reload;
	service.stopping = agent_stopping;
	return service_main(argc, argv, &service);
}

void
agent_report_idle(struct agent *a, const char *nexthop, uint32_t count)
{
	const struct delivery_idle idle = {.nexthop = span_str(nexthop), .count = count};
	struct buf payload CLEANUP(buf_done) = {0};

	if (a->link == NULL)
		return;
	delivery_write_idle(&payload, &idle);
	(void)link_send(a->link, DELIVERY_IDLE, 0, buf_span(&payload));
}

void
agent_notice(struct agent *a, const struct delivery_notice *notice)
{
	if (a->link == NULL) {
		log_warn(
		    "postmaster notice about %.*s is lost: no scheduler", SPAN_ARG(notice->peer));
		return;
	}
	delivery_write_notice(link_send_begin(a->link, DELIVERY_NOTICE, 0), notice);
	link_send_end(a->link);
}
