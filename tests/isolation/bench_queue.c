/*
 * bench_queue.c - what the queue costs without SMTP around it: sessions that store, a scheduler that claims and records, in
 * one process, against a given server. Prints messages a second, CPU of this process and of PostgreSQL per message, WAL.
 *
 *	bench_queue CONNINFO [BYTES [SESSIONS [SECONDS [DEFERRED_PERCENT]]]]
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "queue/queue_claim.h"
#include "queue/queue_desk.h"
#include "queue/queue_front.h"
#include "queue/queue_record.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "task/task.h"

#define FLUSH 500

static struct {
	const char *conninfo;
	size_t bytes;
	size_t sessions;
	int64_t seconds;
	unsigned deferred; /* percent */
	struct db_pool *front_pool;
	struct db_pool *desk_pool;
	struct queue_front *front;
	struct queue_desk *desk;
	struct buf content;
	bool stop;
	size_t alive; /* sessions */
	size_t stored;
	size_t claimed;
	size_t recorded;
	size_t flushes;
	size_t claims;
	struct task_cond work;
	struct task_group group;
	struct queue_claimed *todo[200000];
	size_t todo_count;
} b;

static const struct db_statement sql_wal = {
    "bench_wal", "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8"};
static const struct db_statement sql_parent = {"bench_pid", "SELECT pg_backend_pid()"};
static const struct db_statement sql_node = {
    "bench_node", "INSERT INTO mailq.node (epoch, name, state) VALUES ($1, 'bench', 'up')"};

/* ---- CPU ------------------------------------------------------------------------------------------------------------- */

/* Parent, and CPU seconds with those of reaped children when `reaped`. */
static double
process_cpu(int pid, bool reaped, int *ret_parent)
{
	char path[64];
	char line[1024];
	unsigned long t[4] = {0};
	FILE *f;
	char *p;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	p = fgets(line, sizeof(line), f) != NULL ? strrchr(line, ')') : NULL;
	(void)fclose(f);
	if (p == NULL || sscanf(p + 2, "%*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu",
			     ret_parent, &t[0], &t[1], &t[2], &t[3]) != 5)
		return 0;
	return (double)(t[0] + t[1] + (reaped ? t[2] + t[3] : 0)) / (double)sysconf(_SC_CLK_TCK);
}

static double
server_cpu(int postmaster)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	double sum;
	int parent;

	sum = process_cpu(postmaster, true, &parent);
	while (d != NULL && (e = readdir(d)) != NULL) {
		int pid = (int)strtol(e->d_name, NULL, 10);
		double t;

		if (pid <= 0)
			continue;
		t = process_cpu(pid, false, &parent);
		if (parent == postmaster && pid != postmaster)
			sum += t;
	}
	(void)closedir(d);
	return sum;
}

static double
own_cpu(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- the parts --------------------------------------------------------------------------------------------------------- */

static struct db_pool *
open_pool(enum queue_session kind, size_t connections)
{
	return db_pool_new(&(struct db_settings){
	    .conninfo = b.conninfo,
	    .role = queue_session_role(kind),
	    .options = queue_session_options(kind),
	    .application_name = "bench_queue",
	    .connections = connections,
	    .connect_timeout = 5 * CLOCK_SECOND,
	    .statement_timeout = 30 * CLOCK_SECOND,
	    .backoff_min = CLOCK_MILLI,
	    .backoff_max = CLOCK_SECOND,
	});
}

static void
session(void *arg UNUSED)
{
	static const struct queue_attr attrs[] = {
	    {SPAN_LIT("client_name"), SPAN_LIT("client.example.org")},
	    {SPAN_LIT("client_address"), SPAN_LIT("192.0.2.25")},
	    {SPAN_LIT("client_port"), SPAN_LIT("34567")},
	    {SPAN_LIT("helo_name"), SPAN_LIT("client.example.org")},
	    {SPAN_LIT("protocol_name"), SPAN_LIT("ESMTP")},
	    {SPAN_LIT("encoding"), SPAN_LIT("7bit")},
	    {SPAN_LIT("message_id"), SPAN_LIT("<20261121101112.34567@client.example.org>")},
	};
	struct queue_rcpt rcpt = {.addr = "recipient@destination.example.com"};
	struct err err;

	while (!b.stop) {
		struct queue_message m = {
		    .envelope = {.sender = "sender@source.example.org",
			.arrival = clock_real_us(),
			.size = b.content.len,
			.attrs = attrs,
			.attr_count = ARRAY_LEN(attrs),
			.rcpts = &rcpt,
			.rcpt_count = 1},
		    .content = buf_span(&b.content),
		};

		if (!queue_front_mint(b.front, &m.envelope.msg_id, &err) ||
		    !queue_front_store(b.front, &m, clock_deadline(60 * CLOCK_SECOND), &err)) {
			fprintf(stderr, "store: %s\n", err.text);
			exit(1);
		}
		b.stored++;
	}
	b.alive--;
}

static void
claimer(void *arg UNUSED)
{
	const struct queue_budget budget = {.messages = 2000, .rcpts = 20000, .bytes = 16u << 20};
	struct err err;

	while (b.alive > 0 || b.claimed < b.stored) {
		struct queue_claims c;

		if (b.todo_count > 20000 || queue_claim_incoming_due(b.desk) > clock_mono_us()) {
			(void)task_sleep_until(
			    MAX(queue_claim_incoming_due(b.desk), clock_mono_us() + CLOCK_MILLI));
			continue;
		}
		if (!queue_claim_incoming(
			b.desk, &budget, clock_deadline(60 * CLOCK_SECOND), &c, &err)) {
			fprintf(stderr, "claim: %s\n", err.text);
			exit(1);
		}
		b.claims += c.count > 0;
		b.claimed += c.count;
		for (size_t i = 0; i < c.count; i++) {
			b.todo[b.todo_count++] = c.items[i];
			c.items[i] = NULL;
		}
		queue_claims_done(&c);
		task_cond_wake_all(&b.work);
	}
	task_cond_wake_all(&b.work);
}

static void
flush(struct queue_claimed **messages, size_t count)
{
	static struct queue_result results[FLUSH];
	struct queue_result *list[FLUSH];
	int64_t now = clock_real_us();
	struct err err;

	for (size_t i = 0; i < count; i++) {
		bool defer = random_below(100) < b.deferred;

		results[i] = (struct queue_result){
		    .lease = messages[i]->lease,
		    .envelope = &messages[i]->envelope,
		    .rcpt = &messages[i]->envelope.rcpts[0],
		    .outcome = defer ? QUEUE_DEFERRED : QUEUE_SENT,
		    .at = now,
		    .dsn = defer ? "4.4.1" : "2.0.0",
		    .text = "250 2.0.0 Ok: queued as 4XyzAbCdEfGh",
		    .relay = "mx.destination.example.com[192.0.2.1]:25",
		    .transport = "smtp",
		    .nexthop = "destination.example.com",
		    .next_attempt = now + 3600 * CLOCK_SECOND,
		    .expires_at = now + 86400 * CLOCK_SECOND,
		    .last = true,
		};
		list[i] = &results[i];
	}
	if (!queue_record_flush(b.desk, list, count, clock_deadline(60 * CLOCK_SECOND), &err)) {
		fprintf(stderr, "record: %s\n", err.text);
		exit(1);
	}
	b.flushes++;
	b.recorded += count;
}

static void
recorder(void *arg UNUSED)
{
	while (b.alive > 0 || b.recorded < b.stored) {
		struct queue_claimed *now[FLUSH];
		size_t count = MIN(b.todo_count, (size_t)FLUSH);

		if (count == 0) {
			(void)task_cond_wait(&b.work, clock_deadline(10 * CLOCK_MILLI));
			continue;
		}
		memcpy(now, b.todo, count * sizeof(now[0]));
		memmove(b.todo, b.todo + count, (b.todo_count - count) * sizeof(b.todo[0]));
		b.todo_count -= count;
		flush(now, count);
		for (size_t i = 0; i < count; i++)
			queue_claimed_free(&now[i]);
	}
}

/* ---- the frame ------------------------------------------------------------------------------------------------------------ */

static int64_t
ask(struct db_conn *c, const struct db_statement *st)
{
	struct db_result *r = NULL;
	struct err err;
	int64_t n;

	if (!db_exec(c, st, NULL, 0, clock_deadline(60 * CLOCK_SECOND), &r, &err)) {
		fprintf(stderr, "%s: %s\n", st->sql, err.text);
		exit(1);
	}
	n = db_result_int(r, 0, 0);
	db_result_free(&r);
	return n;
}

static void
open_desk(struct db_conn *c)
{
	int64_t epoch = random_epoch();
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, epoch);
	struct err err;

	if (!db_command(c, &sql_node, &param, 1, clock_deadline(CLOCK_SECOND), NULL, &err))
		exit(1);
	b.desk_pool = open_pool(QUEUE_SESSION_SCHEDULER, 4);
	b.desk =
	    queue_desk_new(&(struct queue_desk_settings){.pool = b.desk_pool, .node = "bench"});
	queue_desk_set_epoch(b.desk, epoch);
}

static void
report(double seconds, double server, double own, int64_t wal)
{
	struct queue_front_stats s;
	double n = (double)b.recorded;

	queue_front_stats_get(b.front, &s);
	printf("%zu bytes, %zu sessions, %u %% deferred: %.0f msg/s; CPU ms/msg: PostgreSQL %.4f, "
	       "this %.4f; WAL %.0f B/msg; messages a commit %.1f, a claim %.1f, a flush %.1f\n",
	    b.bytes, b.sessions, b.deferred, n / seconds, server * 1000 / n, own * 1000 / n,
	    (double)wal / n, (double)s.messages / (double)MAX(s.batches, (uint64_t)1),
	    n / (double)MAX(b.claims, (size_t)1), n / (double)MAX(b.flushes, (size_t)1));
}

static void
run(void *arg UNUSED)
{
	struct db_pool *owner = open_pool(QUEUE_SESSION_OWNER, 1);
	int64_t deadline = clock_deadline(60 * CLOCK_SECOND);
	struct err err = {0};
	struct db_conn *c = db_pool_take(owner, deadline, &err);
	double server;
	double own;
	int64_t started;
	int64_t wal;
	int postmaster = 0;

	if (c == NULL || !queue_schema_migrate(c, deadline, NULL, NULL, &err)) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	(void)process_cpu((int)ask(c, &sql_parent), false, &postmaster);
	open_desk(c);
	b.front_pool = open_pool(QUEUE_SESSION_FRONT, 4);
	b.front = queue_front_new(&(struct queue_front_settings){
	    .pool = b.front_pool, .node = "bench", .program = "bench"});
	if (!queue_front_wait_ready(b.front, deadline, &err))
		exit(1);
	server = server_cpu(postmaster);
	own = own_cpu();
	wal = ask(c, &sql_wal);
	started = clock_mono_us();
	b.alive = b.sessions;
	for (size_t i = 0; i < b.sessions; i++)
		(void)task_group_start(&b.group, "session", session, NULL);
	(void)task_group_start(&b.group, "claimer", claimer, NULL);
	(void)task_group_start(&b.group, "recorder", recorder, NULL);
	(void)task_sleep_until(started + b.seconds * CLOCK_SECOND);
	b.stop = true;
	(void)task_group_wait(&b.group, CLOCK_NEVER);
	report((double)(clock_mono_us() - started) / 1e6, server_cpu(postmaster) - server,
	    own_cpu() - own, ask(c, &sql_wal) - wal);
	db_pool_give(owner, &c);
	queue_front_free(&b.front);
	queue_desk_free(&b.desk);
	db_pool_free(&owner);
	db_pool_free(&b.front_pool);
	db_pool_free(&b.desk_pool);
	task_stop(CLOCK_SECOND);
}

static size_t
argument(int argc, char **argv, int i, size_t other)
{
	return argc > i ? (size_t)strtoul(argv[i], NULL, 10) : other;
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr,
		    "usage: bench_queue CONNINFO [BYTES [SESSIONS [SECONDS [DEFERRED]]]]\n");
		return 1;
	}
	b.conninfo = argv[1];
	b.bytes = argument(argc, argv, 2, 1024);
	b.sessions = argument(argc, argv, 3, 100);
	b.seconds = (int64_t)argument(argc, argv, 4, 5);
	b.deferred = (unsigned)argument(argc, argv, 5, 0);
	for (unsigned i = 0; b.content.len < b.bytes; i++)
		buf_printf(&b.content, "Line %u of a message that looks like text, %x.\n", i,
		    i * 2654435761u);
	buf_truncate(&b.content, b.bytes);
	task_init(NULL);
	(void)task_start("bench", run, NULL);
	task_run();
	task_done();
	buf_done(&b.content);
	return 0;
}
