/*
 * master_status.c - what `rowpost status` shows: one line a process, for people and for awk.
 */
#include <unistd.h>

#include "base/clock.h"
#include "master/master_database.h"
#include "master/master_int.h"

#define MINUTE (60 * CLOCK_SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static const char *const state_names[] = {
    [MASTER_PROCESS_PAUSE] = "pausing",
    [MASTER_PROCESS_STARTING] = "starting",
    [MASTER_PROCESS_READY] = "ready",
    [MASTER_PROCESS_LEAVING] = "leaving",
};

/* "3d04h", "2h05m", "1m30s" */
static void
add_age(struct buf *out, int64_t us)
{
	if (us >= DAY)
		buf_printf(
		    out, "%lldd%02lldh", (long long)(us / DAY), (long long)(us % DAY / HOUR));
	else if (us >= HOUR)
		buf_printf(
		    out, "%lldh%02lldm", (long long)(us / HOUR), (long long)(us % HOUR / MINUTE));
	else
		buf_printf(out, "%lldm%02llds", (long long)(us / MINUTE),
		    (long long)(us % MINUTE / CLOCK_SECOND));
}

static void
add_row(struct buf *out, const char *service, const char *program, const char *state, pid_t pid,
    int64_t age)
{
	struct buf text CLEANUP(buf_done) = {0};

	if (pid > 0)
		add_age(&text, age);
	buf_printf(out, "%-24s %-12s %-9s %7d %8s", service, program, state, (int)pid,
	    pid > 0 ? buf_str(&text) : "-");
}

static void
add_job(const struct master_job *job, struct buf *out)
{
	struct buf service CLEANUP(buf_done) = {0};

	buf_printf(&service, "%s/%s", job->plan.name, job->plan.type);
	for (size_t i = 0; i < job->plan.processes; i++) {
		const struct master_process *p = &job->processes[i];

		add_row(out, buf_str(&service), job->plan.kind->program, state_names[p->state],
		    p->pid, clock_mono_us() - p->started);
		buf_printf(out, " %8u %7zu\n", p->starts > 0 ? p->starts - 1 : 0,
		    master_plan_share(job->plan.slots, job->plan.processes, i));
	}
}

void
master_status_write(const struct master *m, struct buf *out)
{
	buf_printf(out, "%-24s %-12s %-9s %7s %8s %8s %7s\n", "service", "program", "state", "pid",
	    "up", "restarts", "slots");
	add_row(out, "-", "master", m->stopping ? "leaving" : "ready", getpid(),
	    clock_real_us() - m->started);
	buf_printf(out, " %8d %7s\n", 0, "-");
	if (m->database != NULL) {
		struct master_database_status db = master_database_status(m->database);

		add_row(out, "-", "postgres", db.state, db.pid, db.age);
		buf_printf(out, " %8u %7s\n", db.restarts, "-");
	}
	LIST_FOREACH (job, &m->jobs, struct master_job, node)
		add_job(job, out);
	LIST_FOREACH (job, &m->leaving, struct master_job, node)
		add_job(job, out);
}
