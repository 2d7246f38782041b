/*
 * pickup_service.c - when maildrop is looked into, and by how many tasks at once: as many as make full batches, so that a heap of
 * submissions costs few commits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "net/net_addr.h"
#include "net/net_connect.h"
#include "net/stream.h"
#include "pickup/maildrop.h"
#include "pickup/pickup.h"
#include "pickup/pickup_int.h"
#include "queue/queue_front.h"
#include "task/task.h"

#define LOOK_EVERY   (60 * CLOCK_SECOND) /* nobody said anything */
#define RETRY_AFTER  (2 * CLOCK_SECOND)
#define AT_ONCE      64   /* messages */
#define LIST_MAX     1000 /* file names read before they are dealt with */
#define POKE_TIMEOUT (10 * CLOCK_SECOND)
#define POKES_MAX    200

struct pickup {
	struct service *service;
	struct pickup_setup *setup; /* owned */
	struct cleanup_front front;
	struct net_server door;
	struct task *door_task;  /* NULL: it has ended */
	struct task *scanner;    /* the same */
	struct task_group group; /* scanner and messages */
	struct task_cond wake;
	uint64_t pokes;
	size_t working;
	struct task_cond worked;
	bool again; /* some message of this look met temporary trouble */
};

/* One message on its way. */
struct pickup_job {
	struct pickup *pickup;
	struct pickup_setup *setup; /* a reference */
	struct pickup_dir *dir;     /* borrowed from pickup_look() */
	char *name;                 /* owned */
};

/* ---- setup ---------------------------------------------------------------------------------------------------- */

static bool
pickup_setup_new(struct conf *conf, struct pickup_setup **ret, struct err *err)
{
	struct pickup_setup *setup = mem_new(struct pickup_setup);

	if (!rewrite_new(conf, &setup->rewrite, err)) {
		mem_free(setup);
		return false;
	}
	setup->refs = 1;
	setup->conf = conf_ref(conf);
	setup->cleanup = cleanup_settings_from(conf);
	setup->bounce = bounce_settings_from(conf);
	*ret = setup;
	return true;
}

static void
pickup_setup_unref(struct pickup_setup **setup)
{
	struct pickup_setup *old = *setup;

	*setup = NULL;
	if (old == NULL || --old->refs > 0)
		return;
	rewrite_free(&old->rewrite);
	cleanup_settings_done(&old->cleanup);
	bounce_settings_done(&old->bounce);
	conf_unref(&old->conf);
	mem_free(old);
}

/* ---- one look --------------------------------------------------------------------------------------------------- */

static void
pickup_job_run(void *arg)
{
	struct pickup_job *job = arg;
	struct pickup *p = job->pickup;

	if (pickup_message_take(job->setup, &p->front, job->dir, job->name) == PICKUP_AGAIN)
		p->again = true;
	p->working--;
	task_cond_wake_all(&p->worked);
	pickup_setup_unref(&job->setup);
	mem_free(job->name);
	mem_free(job);
}

static void
pickup_start_job(struct pickup *p, struct pickup_dir *dir, const char *name)
{
	struct pickup_job *job = mem_new(struct pickup_job);

	*job = (struct pickup_job){
	    .pickup = p, .setup = p->setup, .dir = dir, .name = mem_strdup(name)};
	job->setup->refs++;
	p->working++;
	if (task_group_start(&p->group, "pickup message", pickup_job_run, job) != NULL)
		return;
	p->working--;
	p->again = true;
	pickup_setup_unref(&job->setup);
	mem_free(job->name);
	mem_free(job);
}

/* Waits until at most `limit` messages are being worked at. False: told to leave. */
static bool
pickup_wait_jobs(struct pickup *p, size_t limit)
{
	while (p->working > limit)
		if (task_cond_wait(&p->worked, CLOCK_NEVER) == TASK_CANCELLED)
			return false;
	return true;
}

/* Reads up to LIST_MAX names, oldest first as far as names tell. */
static size_t
pickup_list(DIR *dir, char **names)
{
	struct dirent *entry;
	size_t count = 0;

	while (count < LIST_MAX && (entry = readdir(dir)) != NULL) {
		struct span base;
		int64_t msg_id;

		if (maildrop_parse_name(span_str(entry->d_name), &base, &msg_id))
			names[count++] = mem_strdup(entry->d_name);
	}
	return count;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All that is in maildrop now. */
static void
pickup_look(struct pickup *p)
{
	char **names = mem_resize(NULL, LIST_MAX, sizeof(*names));
	DIR *dir = opendir(MAILDROP_DIR);
	struct pickup_dir open_dir = {.fd = dir != NULL ? dirfd(dir) : -1};
	size_t count = 0;
	bool stay = dir != NULL;

	if (dir == NULL) {
		log_warn("open %s: %s", MAILDROP_DIR, strerror(errno));
		p->again = true;
	}
	while (stay && (count = pickup_list(dir, names)) != 0) {
		qsort(names, count, sizeof(*names), compare_names);
		for (size_t i = 0; i < count; i++) {
			stay = stay && !p->service->leaving && pickup_wait_jobs(p, AT_ONCE - 1);
			if (stay)
				pickup_start_job(p, &open_dir, names[i]);
			mem_free(names[i]);
		}
	}
	/* Those that are left hold the directory's descriptor. */
	task_shield(true);
	(void)pickup_wait_jobs(p, 0);
	task_shield(false);
	if (dir != NULL)
		(void)closedir(dir);
	mem_free(names);
}

static void
pickup_scan(void *arg)
{
	struct pickup *p = arg;
	int64_t pause = RETRY_AFTER;
	struct err err;

	while (!p->service->leaving && !task_is_cancelled()) {
		uint64_t pokes = p->pokes;

		p->again = false;
		if (cleanup_front_wait_ready(&p->front, clock_deadline(LOOK_EVERY), &err))
			pickup_look(p);
		if (p->pokes == pokes && !p->service->leaving)
			(void)task_cond_wait(
			    &p->wake, clock_deadline(p->again ? pause : LOOK_EVERY));
		/* A message that is in trouble by itself is not to fill the log. */
		pause = p->again ? MIN(2 * pause, LOOK_EVERY) : RETRY_AFTER;
	}
	p->scanner = NULL;
}

/* ---- pokes ------------------------------------------------------------------------------------------------------ */

/* Every byte from a postdrop says: look. */
static void
pickup_poked(struct stream *s, const struct net_addr *peer UNUSED, void *arg)
{
	struct pickup *p = arg;
	struct span bytes;

	stream_set_deadline(s, clock_deadline(POKE_TIMEOUT));
	while (stream_peek(s, &bytes) == STREAM_OK) {
		stream_consume(s, bytes.len);
		p->pokes++;
		task_cond_wake_all(&p->wake);
	}
	stream_free(&s);
}

static void
pickup_listen(void *arg)
{
	struct pickup *p = arg;

	net_server_run(&p->door);
	p->door_task = NULL;
}

/* ---- the service ------------------------------------------------------------------------------------------------ */

static void
pickup_init(struct service *s)
{
	struct pickup *p = mem_new(struct pickup);
	struct err err;

	p->service = s;
	s->state = p;
	if (!pickup_setup_new(s->conf, &p->setup, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
}

static void
pickup_run(struct service *s)
{
	struct pickup *p = s->state;
	struct err err;

	if (!dns_init(&(struct dns_settings){0}, &err))
		log_fatal(EX_OSERR, "%s", err.text);
	cleanup_front_open(&p->front, s);
	if (s->listen_count > 0) {
		p->door = (struct net_server){
		    .fd = s->listen_fds[0],
		    .limit = POKES_MAX,
		    .task_name = "pickup poke",
		    .session = pickup_poked,
		    .arg = p,
		};
		p->door_task = task_start("pickup listener", pickup_listen, p);
	}
	p->scanner = task_group_start(&p->group, "pickup scanner", pickup_scan, p);
}

static void
pickup_reload(struct service *s)
{
	struct pickup *p = s->state;
	struct pickup_setup *setup;
	struct err err;

	if (!pickup_setup_new(s->conf, &setup, &err)) {
		log_warn("%s: the old configuration stays in force", err.text);
		return;
	}
	pickup_setup_unref(&p->setup);
	p->setup = setup;
}

/* What has begun is stored; the rest of maildrop waits for the next process. */
static void
pickup_stopping(struct service *s)
{
	struct pickup *p = s->state;

	if (p->door_task != NULL)
		task_cancel(p->door_task);
	task_cond_wake_all(&p->wake);
	if (p->scanner != NULL)
		task_cancel(p->scanner);
	while (p->group.alive > 0 && task_group_wait(&p->group, CLOCK_NEVER) == TASK_READY)
		continue;
	cleanup_front_close(&p->front);
	task_stop(CLOCK_SECOND);
}

const struct service_kind pickup_kind = {
    .program = "pickup",
    .privilege = SERVICE_FRONT_END,
    .init = pickup_init,
    .run = pickup_run,
    .reload = pickup_reload,
    .stopping = pickup_stopping,
};
