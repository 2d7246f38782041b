/*
 * master_check.c - `rowpost check`: what is wrong, or will surprise, in main.cf, master.cf and on this host. At start
 * the same without the things that are only good to know.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_check.h"
#include "conf/master_cf.h"
#include "master/master_command.h"
#include "master/master_database.h"
#include "master/master_dirs.h"
#include "master/master_plan.h"
#include "master/master_programs.h"
#include "service/service_database.h"
#include "service/service_log.h"

struct report {
	bool starting; /* log the errors and how many warnings there are; else print all */
	int errors;
	int warnings;
};

static void
say(struct report *r, enum conf_severity severity, const char *text)
{
	if (severity == CONF_ERROR)
		r->errors++;
	if (severity == CONF_WARN)
		r->warnings++;
	if (!r->starting)
		(void)fprintf(stderr, "rowpost: %s: %s\n", conf_severity_name(severity), text);
	else if (severity == CONF_ERROR)
		log_error("%s", text);
}

static void
check_texts(struct master_command *cmd, struct report *r)
{
	struct conf_findings findings = {0};

	conf_check(cmd->conf_dir, &findings);
	for (size_t i = 0; i < findings.count; i++) {
		const struct conf_finding *f = &findings.list[i];
		char *text CLEANUP(mem_free_str) =
		    f->line > 0 ? mem_printf("%s: line %d: %s", f->file, f->line, f->text)
				: mem_printf("%s: %s", f->file, f->text);

		say(r, f->severity, text);
	}
	conf_findings_done(&findings);
}

/* A line whose scheduler or front end is missing makes a system that only half works. */
static void
check_whole(const struct master_plan *plan, struct report *r)
{
	bool scheduler = false;

	for (size_t i = 0; i < plan->count; i++)
		scheduler = scheduler || strcmp(plan->services[i].kind->program, "qmgr") == 0;
	if (!scheduler)
		say(r, CONF_WARN,
		    "master.cf starts no qmgr: mail would be accepted but never delivered from here");
}

static void
check_services(struct master_command *cmd, struct report *r)
{
	struct buf programs CLEANUP(buf_done) = {0};
	struct master_cf services = {0};
	struct master_plan plan = {0};
	struct master_plan_source source = {.conf = cmd->conf, .services = &services, .cpus = 1};
	struct err err;

	/* A file that cannot be read was reported with the texts. */
	if (!master_programs_dir(cmd->conf, &programs, &err) ||
	    !master_cf_load(cmd->conf_dir, &services, &err))
		return;
	source.program_dir = buf_str(&programs);
	if (master_plan_make(&source, &plan, &err)) {
		for (size_t i = 0; i < plan.note_count; i++) {
			char *text CLEANUP(mem_free_str) = mem_printf("%s/master.cf: line %d: %s",
			    cmd->conf_dir, plan.notes[i].line, plan.notes[i].text);

			/* master itself logs the warnings when it starts the services. */
			if (!r->starting)
				say(r, plan.notes[i].severity, text);
		}
		check_whole(&plan, r);
	} else {
		say(r, CONF_ERROR, err.text);
	}
	master_plan_done(&plan);
	master_cf_done(&services);
}

static void
check_host(struct master_command *cmd, struct report *r)
{
	struct buf programs CLEANUP(buf_done) = {0};
	struct err err;
	int fd;

	if (!master_dirs_users_exist(cmd->conf, &err))
		say(r, CONF_ERROR, err.text);
	if (service_database_is_embedded(cmd->conf) &&
	    !master_database_programs(cmd->conf, &programs, &err))
		say(r, CONF_ERROR, err.text);
	if (geteuid() == 0 && !service_log_open(cmd->conf, &fd, &err))
		say(r, CONF_ERROR, err.text);
	else if (geteuid() == 0 && fd >= 0)
		(void)close(fd);
}

int
master_command_check_files(struct master_command *cmd, bool starting)
{
	struct report r = {.starting = starting};

	check_texts(cmd, &r);
	/* Without a configuration that can be loaded the texts are all there is to judge. */
	if (cmd->conf != NULL) {
		check_services(cmd, &r);
		check_host(cmd, &r);
	}
	if (starting && r.warnings > 0)
		log_info("%d remarks on the configuration: rowpost -c %s check", r.warnings,
		    cmd->conf_dir);
	return r.errors > 0 ? 1 : 0;
}
