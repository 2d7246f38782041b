/*
 * operator_table.c - see operator_table.h.
 */
#include "operator/operator_table.h"

#include "base/log.h"
#include "cluster/cluster_table.h"
#include "operator/operator_session.h"
#include "operator/table_options.h"

struct table_work {
	struct table_options options;
	struct conf *conf;
	int status;
};

/* The way to tables of the cluster. */
static bool
table_editor(void *arg, struct cluster_table_editor *ret, struct err *err)
{
	struct operator_session *s = arg;

	*ret = (struct cluster_table_editor){
	    .conn = operator_session_conn(s, 0, err), .who = operator_session_user(s)};
	return ret->conn != NULL;
}

/* Trouble is told when everything is closed again. */
static bool
table_work(struct operator_session *s, void *arg, struct err *err)
{
	struct table_work *work = arg;
	struct table_command *c = &work->options.command;
	bool ok;

	c->editor = table_editor;
	c->editor_arg = s;
	cluster_table_start(&(struct cluster_table_settings){.pool = operator_session_pool(s, 0)});
	ok = table_options_run(&work->options, work->conf, &work->status, err);
	cluster_table_stop();
	return ok;
}

int
operator_table_main(int argc, char **argv, bool aliases)
{
	struct operator_program program = {.name = aliases ? "postalias" : "postmap", .failure = 1};
	struct table_work work = {0};
	struct err err = {0};

	operator_session_log(program.name);
	table_options_parse(argc, argv, aliases, &work.options);
	program.conf_dir = work.options.conf_dir;
	program.verbose = work.options.verbose;
	work.conf = operator_session_start(&program);
	if (!operator_session_run(work.conf, table_work, &work, &err))
		log_fatal(1, "%s", err.text);
	conf_unref(&work.conf);
	return work.status;
}
