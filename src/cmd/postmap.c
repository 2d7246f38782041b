/*
 * postmap.c - build and query lookup tables (postmap(1)).
 */
#include "base/log.h"
#include "operator/operator_session.h"
#include "table/table_options.h"

int
main(int argc, char **argv)
{
	struct operator_program program = {.name = "postmap", .failure = 1};
	struct table_options options;
	struct conf *conf;
	int status;

	operator_session_log(program.name);
	table_options_parse(argc, argv, false, &options);
	program.conf_dir = options.conf_dir;
	program.verbose = options.verbose;
	conf = operator_session_start(&program);
	status = table_options_run(&options, conf);
	conf_unref(&conf);
	return status;
}
