/*
 * pipe.h - delivery to commands, pipe(8), as a service of master: what src/cmd/pipe.c starts.
 */
#ifndef MAILBOX_PIPE_H
#define MAILBOX_PIPE_H

#include "agent/agent.h"

extern const struct agent_kind pipe_agent_kind;

#endif
