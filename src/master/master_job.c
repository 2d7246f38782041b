/*
 * master_job.c - a line of master.cf at work: its processes together.
 *
 *	master_job_start() -> running, in master.jobs -> master_job_leave() -> finishing, in master.leaving -> freed
 *
 * A line that a reload changed is a new job beside the old one: the old finishes its sessions while the new accepts on
 * the same sockets.
 */
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "master/master_int.h"
#include "service/service_control.h"

/* What a process gets beyond drain_time to go by itself before it is killed. */
#define KILL_GRACE (7 * CLOCK_SECOND)

static void
job_free(struct master_job *job)
{
	struct master_plan plan = {.services = mem_new(struct master_plan_service), .count = 1};

	plan.services[0] = job->plan;
	master_plan_done(&plan);
	mem_free(job->processes);
	mem_free(job);
}

struct master_job *
master_job_start(struct master *m, struct master_plan_service *plan)
{
	struct master_job *job = mem_new(struct master_job);

	job->master = m;
	job->plan = *plan;
	*plan = (struct master_plan_service){0};
	job->processes = mem_zalloc(job->plan.processes * sizeof(job->processes[0]));
	list_add(&m->jobs, &job->node);
	for (size_t i = 0; i < job->plan.processes; i++) {
		struct master_process *p = &job->processes[i];

		p->job = job;
		p->instance = i;
		p->control = -1;
		MUST(task_group_start(&job->keepers, "keeper", master_process_keep, p) != NULL);
	}
	return job;
}

bool
master_job_is_ready(const struct master_job *job)
{
	for (size_t i = 0; i < job->plan.processes; i++)
		if (job->processes[i].state != MASTER_PROCESS_READY)
			return false;
	return true;
}

bool
master_job_has_failed(const struct master_job *job)
{
	for (size_t i = 0; i < job->plan.processes; i++)
		if (job->processes[i].failures > 0)
			return true;
	return false;
}

static void
tell(struct master_job *job, enum service_message message, int fd)
{
	for (size_t i = 0; i < job->plan.processes; i++)
		if (job->processes[i].control >= 0)
			(void)service_control_send(job->processes[i].control, message, fd);
}

void
master_job_reload(struct master_job *job)
{
	tell(job, SERVICE_RELOAD, -1);
}

void
master_job_new_log(struct master_job *job, int fd)
{
	tell(job, SERVICE_NEW_LOG, fd);
}

void
master_job_signal(struct master_job *job, int signo)
{
	for (size_t i = 0; i < job->plan.processes; i++)
		master_process_signal(&job->processes[i], signo);
}

static void
on_kill_limit(void *arg)
{
	struct master_job *job = arg;

	log_warn("%s: processes did not go in time, killing them", job->plan.program);
	master_job_signal(job, SIGKILL);
	/* A keeper may have been about to start one more. */
	task_timer_arm(&job->kill_limit, clock_deadline(CLOCK_SECOND));
}

static void
see_off(void *arg)
{
	struct master_job *job = arg;
	struct master *m = job->master;

	(void)task_group_wait(&job->keepers, CLOCK_NEVER);
	task_timer_disarm(&job->kill_limit);
	list_remove(&job->node);
	job_free(job);
	task_cond_wake_all(&m->changed);
}

void
master_job_leave(struct master_job *job)
{
	struct master *m = job->master;

	if (job->leaving)
		return;
	job->leaving = true;
	for (size_t i = 0; i < job->plan.processes; i++)
		if (job->processes[i].state != MASTER_PROCESS_PAUSE)
			job->processes[i].state = MASTER_PROCESS_LEAVING;
	tell(job, SERVICE_LEAVE, -1);
	task_cond_wake_all(&job->changed);
	job->kill_limit.fn = on_kill_limit;
	job->kill_limit.arg = job;
	task_timer_arm(
	    &job->kill_limit, clock_deadline(conf_time(m->conf, CONF_drain_time) + KILL_GRACE));
	list_remove(&job->node);
	list_add(&m->leaving, &job->node);
	MUST(task_start("see-off", see_off, job) != NULL);
}
