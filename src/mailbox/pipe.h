/*
 * pipe.h - delivery to commands, pipe(8), as a service of master: what src/cmd/pipe.c starts.
 */
#ifndef MAILBOX_PIPE_H
#define MAILBOX_PIPE_H

#include "agent/agent.h"
#include "base/err.h"
#include "conf/conf.h"
#include "conf/master_cf.h"

extern const struct agent_kind pipe_agent_kind;

/* Would a line of master.cf deliver: are its attributes right, are user and command there? For `rowpost check`. */
bool pipe_check(
    const struct conf *conf, const struct master_service *line, struct err *err) MUST_CHECK;

#endif
