/*
 * master_command.h - what `rowpost COMMAND` does for the supervisor: one function a command, each returns an exit
 * status (0 good, 1 not). They log under the name postfix-script, and say the same on standard error.
 */
#ifndef MASTER_MASTER_COMMAND_H
#define MASTER_MASTER_COMMAND_H

#include "base/base.h"
#include "conf/conf.h"

struct master_command {
	const char *conf_dir; /* absolute */
	struct conf *conf;
	int verbose;
};

/* Starts master and waits until all listeners are up. */
int master_command_start(struct master_command *cmd);
/* Becomes master, in the foreground. Returns only when that fails. */
int master_command_start_fg(struct master_command *cmd);
/* Each returns when all processes are gone. */
int master_command_stop(struct master_command *cmd);
int master_command_drain(struct master_command *cmd);
int master_command_abort(struct master_command *cmd);
int master_command_reload(struct master_command *cmd);
int master_command_status(struct master_command *cmd);
int master_command_logrotate(struct master_command *cmd);
int master_command_set_permissions(struct master_command *cmd);

/* stop, but the embedded PostgreSQL stays. */
int master_command_stop_keep(struct master_command *cmd);

/*
 * Judges main.cf, master.cf and the host without changing anything; 1 when there are errors. What it finds goes to
 * standard error; when starting, the errors go to the log, and how many warnings there are. In master_check.c.
 */
int master_command_check_files(struct master_command *cmd, bool starting);

#endif
