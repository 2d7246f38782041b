/*
 * master_reload.c - from the configuration on disk to the jobs that run, at start and on reload. First everything that
 * can fail: reading, checking, planning, binding. Then what cannot: jobs are kept, replaced, started, sent away.
 */
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_check.h"
#include "master/master_database.h"
#include "master/master_dirs.h"
#include "master/master_int.h"

/*
 * What a running system cannot change: sockets, directories and the database's logins hang on it; and mail that one process puts into a
 * queue database is delivered only if the others know it too.
 */
static const struct {
	enum conf_param param;
	const char *name;
} fixed[] = {
    {CONF_queue_directory, "queue_directory"},
    {CONF_data_directory, "data_directory"},
    {CONF_database_directory, "database_directory"},
    {CONF_database_socket_directory, "database_socket_directory"},
    {CONF_database_owner, "database_owner"},
    {CONF_queue_databases, "queue_databases"},
    {CONF_mail_owner, "mail_owner"},
    {CONF_scheduler_owner, "scheduler_owner"},
    {CONF_agent_owner, "agent_owner"},
    {CONF_console_owner, "console_owner"},
    {CONF_setgid_group, "setgid_group"},
};

bool
master_reload_plan(struct master *m, const struct conf *c, struct master_plan *ret, struct err *err)
{
	struct master_cf services = {0};
	struct master_plan_source source = {
	    .conf = c,
	    .services = &services,
	    .program_dir = m->program_dir,
	    .cpus = (size_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1),
	};
	bool good;

	if (!master_cf_load(m->conf_dir, &services, err))
		return false;
	good = master_plan_make(&source, ret, err);
	master_cf_done(&services);
	return good;
}

/* The first mistake that stands in the files. */
static bool
check_files(struct master *m, struct err *err)
{
	struct conf_findings findings = {0};
	bool good = true;

	conf_check(m->conf_dir, &findings);
	for (size_t i = 0; i < findings.count && good; i++) {
		const struct conf_finding *f = &findings.list[i];

		if (f->severity != CONF_ERROR)
			continue;
		good = f->line > 0 ? err_set(err, ERR_CONFIG, "", "%s: line %d: %s", f->file,
					 f->line, f->text)
				   : err_set(err, ERR_CONFIG, "", "%s: %s", f->file, f->text);
	}
	conf_findings_done(&findings);
	return good;
}

static bool
check_fixed(const struct conf *old, const struct conf *fresh, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		if (strcmp(conf_str(old, fixed[i].param), conf_str(fresh, fixed[i].param)) != 0)
			return err_set(err, ERR_CONFIG, "",
			    "%s cannot change while the mail system is running: stop and start it",
			    fixed[i].name);
	return true;
}

/* All that may say no. */
static bool
prepare(struct master *m, struct conf **ret_conf, struct master_plan *ret_plan, struct err *err)
{
	struct conf_source source = {.dir = m->conf_dir, .program = "master"};

	if (!check_files(m, err) || !conf_load(&source, ret_conf, err))
		return false;
	if (check_fixed(m->conf, *ret_conf, err) && master_dirs_users_exist(*ret_conf, err) &&
	    master_reload_plan(m, *ret_conf, ret_plan, err)) {
		if (master_sockets_open(&m->sockets, ret_plan, err))
			return true;
		master_plan_done(ret_plan);
	}
	conf_unref(ret_conf);
	return false;
}

static struct master_job *
find_job(struct master *m, const struct master_plan_service *s)
{
	LIST_FOREACH (job, &m->jobs, struct master_job, node)
		if (strcmp(job->plan.name, s->name) == 0 && strcmp(job->plan.type, s->type) == 0)
			return job;
	return NULL;
}

/* Jobs that the plan does not have any more. */
static void
send_away(struct master *m, const struct master_plan *plan)
{
	LIST_FOREACH_SAFE (job, &m->jobs, struct master_job, node)
		if (master_plan_find(plan, job->plan.name, job->plan.type) == NULL)
			master_job_leave(job);
}

void
master_reload_apply(struct master *m, struct master_plan *plan)
{
	send_away(m, plan);
	master_sockets_close(&m->sockets, plan);
	for (size_t i = 0; i < plan->count; i++) {
		struct master_plan_service *s = &plan->services[i];
		struct master_job *job = find_job(m, s);

		if (job != NULL && s->kind->spread != MASTER_RENEWED &&
		    strcmp(job->plan.fingerprint, s->fingerprint) == 0) {
			master_job_reload(job);
			continue;
		}
		if (job != NULL)
			master_job_leave(job);
		(void)master_job_start(m, s);
	}
}

bool
master_reload(struct master *m, struct err *err)
{
	struct master_plan plan;
	struct conf *fresh;
	bool good;

	if (m->stopping || task_lock_take(&m->change, CLOCK_NEVER) != TASK_READY)
		return err_set(err, ERR_PERM, "", "the mail system is stopping");
	/* The word to stop may have come while we waited for our turn. */
	good = m->stopping ? err_set(err, ERR_PERM, "", "the mail system is stopping")
			   : prepare(m, &fresh, &plan, err);
	if (good) {
		conf_unref(&m->conf);
		m->conf = fresh;
		log_info("reload -- version %s, configuration %s",
		    conf_str(m->conf, CONF_mail_version), m->conf_dir);
		master_reload_apply(m, &plan);
		master_plan_done(&plan);
		if (m->database != NULL)
			master_database_reload(m->database);
	} else {
		log_error("reload refused, the old configuration stays: %s", err->text);
	}
	task_lock_give(&m->change);
	return good;
}
