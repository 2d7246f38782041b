/*
 * pipe_command.h - running a command that gets a message on its standard input: with somebody's rights for good, a clean
 * environment, a time limit, and its output kept. For pipe(8) and local(8), in a worker.
 */
#ifndef MAILBOX_PIPE_COMMAND_H
#define MAILBOX_PIPE_COMMAND_H

#include <sys/types.h>

#include "agent/agent_worker_side.h"
#include "base/base.h"
#include "mailbox/mailbox_copy.h"
#include "mailbox/pipe_status.h"

struct pipe_command {
	/* One of the two. */
	const char *const *argv; /* NULL at the end; run as it is */
	const char *command;     /* a line: by a shell when it needs one, or always by `shell` */
	const char *shell;       /* local_command_shell; "" or NULL: none */
	uid_t uid;
	gid_t gid;
	const char *directory; /* NULL: the queue directory */
	const char *chroot;    /* NULL: none */
	const char *const
	    *env; /* "NAME=VALUE" beside export_environment, NULL at the end; may be NULL */
	int64_t time_limit;  /* us */
	uint64_t file_limit; /* most bytes of a file that it writes; 0: none */
	const char *program; /* for messages of our own to its standard error: "pipe", "local" */
};

/*
 * Runs it on a copy of the message and waits for its end. False: the lease is over and nothing was started. Blocks, at most for the time
 * limit.
 */
bool pipe_command_run(struct agent_work *w, const struct pipe_command *c,
    const struct mailbox_copy *copy, struct pipe_status *ret) MUST_CHECK;

#endif
